"""Pictures without masks, alone and behind labelled ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from snowmelt.data.checking import examine_all
from snowmelt.data.file_memory import FileMemory
from snowmelt.data.images import IMAGE_SUFFIXES, read_image, read_reduced
from snowmelt.data.picture_files import picture_files
from snowmelt.data.samples import UNLABELLED, Sample, Source
from snowmelt.data.working import Working, load_working
from snowmelt.errors import SnowmeltError

PREFIX = "unlabelled/"


class UnlabelledSource:
    """Every picture of a folder, its mask full of ``UNLABELLED``. Sub-folders and hidden files do not count.

    ``classes``: those of the labelled pictures, if they are needed; a picture alone knows none. ``index_folder``: where
    it is kept what was found in each file, so that no unchanged file is read a second time.
    Raises ``SnowmeltError`` if the folder is missing or holds no pictures.
    """

    def __init__(self, folder: Path, classes: Sequence[str] = (), index_folder: Path | None = None) -> None:
        if not folder.is_dir():
            raise SnowmeltError(
                f"{folder}: no such folder of unlabelled images; check data.unlabelled", code="data-folder-missing"
            )
        self.folder = folder
        self.classes = tuple(classes)
        self.files = picture_files(folder)
        if not self.files:
            raise SnowmeltError(
                f"{folder}: holds no unlabelled images ({', '.join(IMAGE_SUFFIXES)}; sub-folders do not count)",
                code="data-no-images",
            )
        self._memory = FileMemory(index_folder)

    def __len__(self) -> int:
        return len(self.files)

    def load(self, index: int) -> Sample:
        image = read_image(self.files[index])
        return Sample(image, np.full(image.shape[:2], UNLABELLED, dtype=np.uint8), self.name(index))

    def load_reduced(self, index: int, long_side: int) -> Sample:
        image, shape = read_reduced(self.files[index], long_side)
        return Sample(image, np.full(shape, UNLABELLED, dtype=np.uint8), self.name(index))

    def name(self, index: int) -> str:
        return self.files[index].name

    def digest(self, index: int) -> str:
        return self._memory.digest(self.files[index])

    def mask_digest(self, index: int) -> str:
        return "unlabelled"

    def check(self) -> None:
        try:
            examine_all(lambda index: self._memory.picture_size(self.files[index]), len(self), self.name)
        finally:
            self._memory.save()

    def describe(self) -> str:
        return f"{len(self)} unlabelled images of {self.folder}"


class JoinedSource:
    """The items of ``labelled``, then those of ``unlabelled`` with ``"unlabelled/"`` before their names.

    ``labelled`` is afterwards the number of the labelled items. The same picture in both is not looked for here: see
    ``overlap``. Raises ``SnowmeltError`` where the classes differ or a labelled item already has such a name.
    """

    def __init__(self, labelled: Source, unlabelled: Source) -> None:
        if unlabelled.classes and unlabelled.classes != labelled.classes:
            raise SnowmeltError(
                f"{unlabelled.describe()}: its classes {', '.join(unlabelled.classes)} are not those of the labelled "
                f"images, {', '.join(labelled.classes)}",
                code="data-classes-differ",
            )
        self.sources = (labelled, unlabelled)
        self.labelled = len(labelled)
        self.classes = labelled.classes
        taken = {labelled.name(index) for index in range(self.labelled)}
        for index in range(self.labelled, len(self)):
            if self.name(index) in taken:
                raise SnowmeltError(
                    f"{self.name(index)}: the name of both a labelled and an unlabelled image; rename one of them",
                    code="unlabelled-overlap",
                )

    def __len__(self) -> int:
        return self.labelled + len(self.sources[1])

    def load(self, index: int) -> Sample:
        source, position = self._find(index)
        sample = source.load(position)
        return sample if index < self.labelled else Sample(sample.image, sample.mask, self.name(index))

    def working(self, index: int, side: int, exact: bool) -> Working:
        """The part's own, from its store where it has one."""
        source, position = self._find(index)
        return load_working(source, position, side, exact)

    def name(self, index: int) -> str:
        source, position = self._find(index)
        return source.name(position) if index < self.labelled else PREFIX + source.name(position)

    def digest(self, index: int) -> str:
        source, position = self._find(index)
        return source.digest(position)

    def check(self) -> None:
        for source in self.sources:
            source.check()

    def describe(self) -> str:
        return " and ".join(source.describe() for source in self.sources)

    def _find(self, index: int) -> tuple[Source, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        if index < self.labelled:
            return self.sources[0], index
        return self.sources[1], index - self.labelled
