"""Small files that the tests of this room write and read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from data_files import WriteFolder, save_image, save_mask


@pytest.fixture
def write_folder(tmp_path: Path) -> WriteFolder:
    """Write ``images`` and ``masks`` of the given number of pairs below a folder, and return that folder."""

    def write(name: str = "data", count: int = 3, values: tuple[int, ...] = (0, 1), prefix: str = "img") -> Path:
        root = tmp_path / name
        for index in range(count):
            save_image(root / "images" / f"{prefix}{index}.png", seed=index)
            save_mask(root / "masks" / f"{prefix}{index}.png", values)
        return root

    return write


@pytest.fixture
def coco(tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """Write a COCO data set of one 8 x 12 picture, ``a.png`` with id 7, after a change to its content."""

    def write(change: Callable[[dict[str, Any]], None] | None = None) -> tuple[Path, Path]:
        folder = tmp_path / "pictures"
        save_image(folder / "a.png")
        content: dict[str, Any] = {
            "images": [{"id": 7, "file_name": "a.png", "height": 8, "width": 12}],
            "categories": [{"id": 3, "name": "dog"}, {"id": 1, "name": "person"}],
            "annotations": [],
        }
        if change is not None:
            change(content)
        path = tmp_path / "coco.json"
        path.write_text(json.dumps(content))
        return folder, path

    return write
