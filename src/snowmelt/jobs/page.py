"""``report.html``: written when a run ends, and again whenever it is asked for."""

from __future__ import annotations

import webbrowser
from pathlib import Path

from snowmelt.errors import SnowmeltError
from snowmelt.jobs.opening import EXPERIMENTS, names_close_to
from snowmelt.jobs.records import best_plain, read_record
from snowmelt.reporting import RunFolder
from snowmelt.reporting.page import Plain, WrittenPage, size_of, write_page


def report_run(source: str | Path, output: Path | None = None, opens: bool = False) -> Path:
    """Write the page of a run from what lies in its folder, whether or not it still trains; the path of the page.

    Args:
        source: a run folder, or a name under ``experiments/``.
        output: another file than ``report.html`` in the run folder.
        opens: show it in the browser.

    Raises:
        SnowmeltError: no such run, or the file cannot be written.
    """
    folder = find_folder(Path(source))
    path = folder.report_file if output is None else output
    if path.is_dir():
        raise SnowmeltError(
            f"{path}: is a folder; give --output a file, such as {path / 'report.html'}", code="output-taken"
        )
    page = write_report(folder, path)
    print(f"{path} ({size_of(page.size)})", flush=True)
    if page.left_out:
        print(f"{len(page.left_out)} pictures were left out to keep it small; they lie in {folder.root}", flush=True)
    if opens and not webbrowser.open(path.resolve().as_uri()):
        print("no browser could be started; open the file by hand", flush=True)
    return path


def write_report(folder: RunFolder, path: Path | None = None) -> WrittenPage:
    """Write the page, with the best plain student among the neighbours that were trained on the same data.

    Raises:
        SnowmeltError: it cannot be written.
    """
    target = folder.report_file if path is None else path
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return write_page(folder, target, plain=plain_beside(folder), teaches=folder.root.parent.name == "teachers")
    except OSError as error:
        raise SnowmeltError(
            f"{target}: cannot be written ({error}); name another file with --output", code="file-unwritable"
        ) from error


def refresh_report(root: Path) -> None:
    """Write the page of a run anew where it has one: scores or figures have come that belong into it."""
    if RunFolder(root).report_file.is_file():
        write_report(RunFolder(root))


def find_folder(source: Path) -> RunFolder:
    """The run folder that is meant; raises ``SnowmeltError`` with the names that are close."""
    root = source if source.is_dir() else EXPERIMENTS / source
    if source.is_file():
        raise SnowmeltError(f"{source}: is a file; give the run folder or its name", code="run-missing")
    if not root.is_dir():
        raise SnowmeltError(f"{source}: there is no such run{names_close_to(source)}", code="run-missing")
    if (root / "comparison.json").is_file() and not RunFolder(root).is_run:
        raise SnowmeltError(
            f"{root}: is a comparison; comparison.json and comparison.png have all of it, and "
            f"`snowmelt report {root / 'ARM-seed0'}` makes the page of one of its runs",
            code="run-missing",
        )
    if not RunFolder(root).is_run:
        raise SnowmeltError(
            f"{root}: is no run folder (it has no config.yaml){names_close_to(root / 'x')}", code="run-missing"
        )
    return RunFolder(root.resolve() if root.name in ("", ".", "..") else root)


def plain_beside(folder: RunFolder) -> Plain | None:
    """The best student without a teacher among the runs beside this one, on the same data at the same size."""
    record = read_record(folder.root)
    if record is None or not record.get("data") or folder.root.parent.name == "teachers":
        return None
    found = best_plain(folder.root.parent, record["data"], record.get("image_size"), str(record.get("encoder")))
    return None if found is None else Plain(found[0].name, found[1])
