"""Is a damaged checkpoint ever taken for a whole one? A real one is damaged in many ways and read again.

    python benchmarks/reliability/damage.py                         2,000 mutations of a fresh checkpoint
    python benchmarks/reliability/damage.py --count 200 --encoder timm-efficientnet-b0 --json damage.json

Each mutation has to be told apart (a ``Damaged`` error) or harmless (the very content that was written). The last line
is the verdict, and the exit code is 1 where one was neither. ``--bare`` damages the same content as PyTorch alone saves
it, to see what its own reader notices.
"""

from __future__ import annotations

import argparse
import json
import pickle
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import torch

from snowmelt.training.sealing import Damaged, read_sealed, write_sealed

Mutation = Callable[[bytearray, random.Random], None]


def flip(content: bytearray, drawn: random.Random) -> None:
    content[drawn.randrange(len(content))] ^= 1 << drawn.randrange(8)


def flip_some(content: bytearray, drawn: random.Random) -> None:
    for _ in range(drawn.randint(2, 64)):
        flip(content, drawn)


def flip_at_an_end(content: bytearray, drawn: random.Random) -> None:
    place = drawn.randrange(2000)
    content[place if drawn.random() < 0.5 else -1 - place] ^= 1 << drawn.randrange(8)


def cut(content: bytearray, drawn: random.Random) -> None:
    del content[drawn.randrange(len(content)) :]


def cut_a_little(content: bytearray, drawn: random.Random) -> None:
    del content[-drawn.randint(1, 300) :]


def lose_a_block(content: bytearray, drawn: random.Random) -> None:
    """Zeros where a disk has lost a block."""
    start = drawn.randrange(len(content)) // 4096 * 4096
    block = content[start : start + 4096]
    content[start : start + len(block)] = bytes(len(block))


def lose_the_end(content: bytearray, drawn: random.Random) -> None:
    """Zeros up to the right length, as after a power cut."""
    count = drawn.randint(1, len(content) // 2)
    content[-count:] = bytes(count)


def swap_blocks(content: bytearray, drawn: random.Random) -> None:
    first, second = (drawn.randrange(len(content) // 4096) * 4096 for _ in range(2))
    content[first : first + 4096], content[second : second + 4096] = (
        content[second : second + 4096],
        content[first : first + 4096],
    )


def remove(content: bytearray, drawn: random.Random) -> None:
    start = drawn.randrange(len(content))
    del content[start : start + drawn.randint(1, 5000)]


def insert(content: bytearray, drawn: random.Random) -> None:
    start = drawn.randrange(len(content) + 1)
    content[start:start] = drawn.randbytes(drawn.randint(1, 5000))


def overwrite(content: bytearray, drawn: random.Random) -> None:
    """Another file's bytes."""
    content[:] = drawn.randbytes(drawn.randint(0, 5000))


MUTATIONS: dict[str, Mutation] = {
    "one bit": flip,
    "2 to 64 bits": flip_some,
    "one bit near an end": flip_at_an_end,
    "cut anywhere": cut,
    "cut by up to 300 bytes": cut_a_little,
    "a block of zeros": lose_a_block,
    "zeros at the end": lose_the_end,
    "two blocks swapped": swap_blocks,
    "bytes removed": remove,
    "bytes inserted": insert,
    "another file": overwrite,
}


def content_of(encoder: str) -> dict[str, Any]:
    """What a run has after a step of its optimizer."""
    torch.manual_seed(0)
    network = smp.Unet(encoder, encoder_weights=None, classes=1, decoder_channels=(16, 8, 8, 8, 8))
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.randn(2, 3, 64, 64)).mean().backward()
    optimizer.step()
    return {
        "format": 1,
        "identity": {"seed": 0},
        "state": {"step": 1},
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
    }


def same(left: Any, right: Any) -> bool:
    """The same to the bit, NaN included."""
    if isinstance(left, torch.Tensor):
        return (
            isinstance(right, torch.Tensor)
            and (left.dtype, left.shape) == (right.dtype, right.shape)
            and left.contiguous().numpy().tobytes() == right.contiguous().numpy().tobytes()
        )
    if isinstance(left, dict):
        return (
            isinstance(right, dict) and left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
        )
    if isinstance(left, list | tuple):
        return type(left) is type(right) and len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


def told(path: Path, content: dict[str, Any], bare: bool) -> str:
    """What reading the file says of it; ``WRONG`` where it gives other content without a word."""
    try:
        read = torch.load(path, weights_only=True) if bare else read_sealed(path)
    except Damaged as error:
        return error.what.split(":")[0].split(" (")[0]
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError, ValueError, KeyError) as error:
        if not bare:
            raise
        return f"refused ({type(error).__name__})"
    written = {key: value for key, value in read.items() if key != "sealed"} if isinstance(read, dict) else read
    return "harmless: the content that was written" if same(content, written) else "WRONG"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000, help="mutations")
    parser.add_argument("--encoder", default="tu-mobilenetv3_small_050")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bare", action="store_true", help="as PyTorch alone saves and reads it")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    drawn, counts = random.Random(given.seed), Counter[tuple[str, str]]()
    content = content_of(given.encoder)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "last.ckpt"
        began = time.process_time()
        if given.bare:
            torch.save(content, path)
        else:
            write_sealed(path, content, keep=path.with_name("previous.ckpt"))
        seconds = time.process_time() - began
        whole = path.read_bytes()
        assert told(path, content, given.bare).startswith("harmless")
        names = list(MUTATIONS)
        for number in range(given.count):
            name, damaged = names[number % len(names)], bytearray(whole)
            MUTATIONS[name](damaged, drawn)
            path.write_bytes(damaged)
            counts[name, told(path, content, given.bare)] += 1
    print(f"a checkpoint of {len(whole):,} bytes, saved in {seconds:.2f} s of the processor\n")
    for (name, what), count in sorted(counts.items()):
        print(f"{count:6}  {name:<24}{what}")
    wrong = sum(count for (_, what), count in counts.items() if what == "WRONG")
    harmless = sum(count for (_, what), count in counts.items() if what.startswith("harmless"))
    print(f"\n{given.count} mutations: {given.count - wrong - harmless} told apart, {harmless} harmless, {wrong} wrong")
    if given.json is not None:
        rows = [{"mutation": name, "told": what, "count": count} for (name, what), count in sorted(counts.items())]
        given.json.write_text(json.dumps({"bytes": len(whole), "rows": rows, "wrong": wrong}, indent=2) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
