"""Damaged files of every kind that Snowmelt reads, through the ways in that its commands use.

    python benchmarks/reliability/fuzz.py --cases 5000 --folder FOLDER

Each case is a sound file with one change, which a seed and a number decide, in a folder of its own, read in a process
that is forked from a warm one. It is a violation if anything but a refusal in one line that names the file comes of it
(of settings: the file, the setting or its value), if it takes more than ten seconds of a processor, three minutes or
2 GiB, if it starts a program, connects anywhere or unpickles a name, or if any file outside of the run folder comes,
goes or changes. Ends with code 1 where there is one, and keeps those files.

    python benchmarks/reliability/fuzz.py --folder FOLDER --only images:17      that case again, and what it says
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import torch
from common import table, write_json
from fuzz_sandbox import Outcome, changed, judge, listing, run_case
from fuzz_seeds import Seed, onnx_seeds
from fuzz_ways import Kind, Room, all_kinds, damage, engine
from PIL import Image

from snowmelt.errors import SnowmeltError


@dataclass(frozen=True)
class Case:
    """One damaged file and the way in that it takes.

    ``sound``: a seed that is left as it is, which has to be taken.
    """

    kind: Kind
    number: int
    seed: int
    sound: Seed | None = None

    @property
    def name(self) -> str:
        return f"{self.kind.name}:{self.number}"


def cases(kinds: list[Kind], count: int, seed: int) -> Iterator[Case]:
    """``count`` cases or a few more, spread over the kinds by their shares."""
    whole = sum(kind.share for kind in kinds)
    for kind in kinds:
        for number in range(-(-round(count * kind.share * 1000 / whole) // 1000)):
            yield Case(kind, number, seed)


def sound_cases(kinds: list[Kind]) -> list[Case]:
    """Every sound file through every way in."""
    found = []
    for kind in kinds:
        count = len(kind.ways)
        found += [
            Case(kind, number * count + way, 0, seed) for number, seed in enumerate(kind.seeds) for way in range(count)
        ]
    return found


def set_up(case: Case, others: list[bytes], root: Path, model: bytes) -> tuple[Room, str, str]:
    """Write the files of a case below ``root``; the room, the way in and what was done to the file."""
    random = Random(f"{case.seed}:{case.name}")
    shutil.rmtree(root, ignore_errors=True)
    for folder in ("input", "run", "place", "beside"):
        (root / folder).mkdir(parents=True)
    (root / "beside" / "secret.txt").write_text("nobody reads or writes this")
    (root / "outside.bin").write_bytes(bytes(4096))
    (root / "model.onnx").write_bytes(model)
    seed, path, content, what = damage(case.kind, random, others)
    if case.sound is not None:
        seed, path, content, what = case.sound, case.sound.path, case.sound.content, "nothing"
    room_input = root / ("run" if case.kind.owned else "input")
    for name, body in {**seed.around, path: content}.items():
        if name == seed.path and name != path:
            continue
        target = room_input / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(body)
    way = list(case.kind.ways)[case.number % len(case.kind.ways)]
    return Room(room_input, root / "run", room_input / path), way, what


def run(
    case: Case, others: list[bytes], root: Path, model: bytes, apart: bool = True
) -> tuple[Outcome, str, str, Room]:
    """Run one case, and look at what it left behind.

    Args:
        apart: in a process of its own; otherwise nothing stops it, and only files below ``root`` are watched.
    """
    room, way, what = set_up(case, others, root, model)

    def job() -> tuple[int, str] | None:
        said = case.kind.ways[way](room)
        return None if said is None else (said.code, said.text)

    before = listing(root, room.output)
    names = (room.file.name, room.file.stem)
    if case.kind.name == "YAML settings":  # what is settled later, with the data, is told by the setting or its value
        names += tuple(re.findall(r"[\w.-]{4,}", room.file.read_text(errors="replace")))
    if apart:
        outcome = run_case(job, SnowmeltError, names, room.output, root / "place", root.with_name(f"{root.name}.txt"))
    else:
        outcome = Outcome()
        judge(job, SnowmeltError, names, outcome)
    if case.sound is not None and outcome.state == "refused":
        outcome.violate(f"refused, but it is sound: {' '.join(outcome.what)}")
    for name in changed(before, listing(root, room.output)):
        outcome.violate(f"changed {Path(name).relative_to(root)}")
    return outcome, way, what, room


def fuzz(
    chosen: list[Case], others: list[bytes], folder: Path, say: Any = print, apart: bool = True
) -> list[dict[str, Any]]:
    """Run the cases one after the other; a row for each. Violations keep their file in ``folder``/violations."""
    model = onnx_seeds()[1].content
    rows = []
    for case in chosen:
        outcome, way, what, room = run(case, others, folder / "case", model, apart)
        row = {"case": case.name, "kind": case.kind.name, "way": way, "damage": what, **vars(outcome)}
        rows.append(row)
        if outcome.state == "violation":
            kept = folder / "violations" / case.name.replace(" ", "_").replace(":", "_")
            kept.mkdir(parents=True, exist_ok=True)
            if room.file.exists():
                shutil.copy(room.file, kept / room.file.name)
            say(f"{case.name} {way} ({what}): {' | '.join(outcome.what)}", flush=True)
    return rows


def summarise(rows: list[dict[str, Any]]) -> str:
    """Counts by kind, the slowest case and the largest."""
    by_kind: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_kind[row["kind"]].append(row)
    lines = []
    for kind, found in {**by_kind, "all": rows}.items():
        count = Counter(row["state"] for row in found)
        slowest, largest = (max(row[key] for row in found) for key in ("seconds", "memory"))
        counts = [count[state] for state in ("accepted", "refused", "violation")]
        lines.append([kind, len(found), *counts, f"{slowest:.2f}", f"{largest / 2**20:.0f}"])
    return table(["kind", "cases", "accepted", "refused", "violations", "slowest s", "peak MiB"], lines)


def warm_up() -> tuple[list[Kind], list[bytes]]:
    """Import what children would import, and make the sound files."""
    torch.set_num_threads(1)
    Image.init()
    import onnxruntime  # noqa: F401

    import snowmelt.jobs.planning
    import snowmelt.jobs.predicting
    import snowmelt.jobs.surveying
    import snowmelt.reporting.survey_plots  # noqa: F401

    engine()
    kinds = all_kinds()
    return kinds, [seed.content for kind in kinds for seed in kind.seeds if len(seed.content) < 10**5]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, required=True, help="scratch space; violations stay there")
    parser.add_argument("--kind", action="append", help="only this kind; may be given several times")
    parser.add_argument("--only", help="one case, KIND:NUMBER, and what it says")
    parser.add_argument("--json", type=Path, help="keep every row in this file")
    options = parser.parse_args(arguments)
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    kinds, others = warm_up()
    if options.only:
        name, _, number = options.only.rpartition(":")
        chosen = [Case(kind, int(number), options.seed) for kind in kinds if kind.name == name]
    else:
        wanted = [kind for kind in kinds if options.kind is None or kind.name in options.kind]
        chosen = list(cases(wanted, options.cases, options.seed))
    refused = [row for row in fuzz(sound_cases(kinds), others, folder) if row["state"] != "accepted"]
    if refused and not options.only:
        print("sound files are not taken, so what becomes of damaged ones says little")
        return 1
    rows = fuzz(chosen, others, folder)
    if options.only:
        print(rows)
    print(summarise(rows))
    print(f"{len(rows)} cases in {time.monotonic() - begun:.0f} s, seed {options.seed}")
    if options.json is not None:
        write_json(options.json, {"seed": options.seed, "rows": rows})
    return int(any(row["state"] == "violation" for row in rows))


if __name__ == "__main__":
    sys.exit(main())
