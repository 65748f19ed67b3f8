"""``snowmelt check-data`` as a shell calls it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tiny_experiments import write_data_folder


def test_exit_codes(snowmelt_command: Callable[..., Any], tmp_path: Path) -> None:
    folder = write_data_folder(tmp_path / "data")
    assert snowmelt_command("check-data", str(folder)).code == 0
    (folder / "masks/000.png").unlink()
    answer = snowmelt_command("check-data", str(folder), "--json")
    assert answer.code == 1
    assert json.loads(answer.out)["sound"] is False
    assert answer.err == ""
    missing = snowmelt_command("check-data", str(tmp_path / "none"))
    assert missing.code == 1
    assert missing.err.startswith("error[data-folder-missing]: ") and missing.err.count("\n") == 1
    assert snowmelt_command("check-data").code == 2
