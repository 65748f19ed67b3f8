"""The picture files of a folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import overload

from snowmelt.data.images import IMAGE_SUFFIXES


class FolderFiles(Sequence[Path]):
    """Files of one folder. Only the names are kept: a million paths would take half a gigabyte."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.folder = folder
        self.names = list(names)

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> FolderFiles: ...
    def __getitem__(self, index: int | slice) -> Path | FolderFiles:
        if isinstance(index, slice):
            return FolderFiles(self.folder, self.names[index])
        return self.folder / self.names[index]


def picture_files(folder: Path) -> FolderFiles:
    """The files of a folder that look like pictures, sorted by name. Sub-folders and hidden files are passed over."""
    with os.scandir(folder) as entries:
        names = [
            entry.name
            for entry in entries
            if os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES
            and not entry.name.startswith(".")
            and not entry.is_dir()
        ]
    return FolderFiles(folder, sorted(names))
