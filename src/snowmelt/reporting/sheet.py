"""A table that is whole on a narrow console too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

FIRST = "arm"  # head of the column of names
LEAST = 12  # longer names may be folded to this many characters before a table breaks in two
WIDE = 10_000  # columns of a console on which everything fits


class Sheet:
    """A table of named rows that breaks between columns where the console is too narrow, so that no number is cut."""

    def __init__(self, title: str, heads: Sequence[str], caption: str | None = None, first: str = FIRST) -> None:
        """``first``: head of the column of names."""
        self.title, self.heads, self.caption, self.first = title, tuple(heads), caption, first
        self.rows: list[tuple[str, ...]] = []
        self.sections: set[int] = set()  # rows with a line above

    def add_row(self, name: str, *cells: str) -> None:
        """A row: the name, then a cell for each of ``heads``."""
        if len(cells) != len(self.heads):
            raise ValueError(f"{name}: {len(cells)} cells for {len(self.heads)} columns")
        self.rows.append((name, *cells))

    def add_section(self) -> None:
        """A line above the next row."""
        self.sections.add(len(self.rows))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for first, end, name_width in self._pieces(console, options):
            yield self._table(first, end, name_width, self.title if first == 0 else None)
        if self.caption is not None:
            yield Text(self.caption, style="table.caption")

    def _pieces(self, console: Console, options: ConsoleOptions) -> Iterator[tuple[int, int, int]]:
        """Columns ``first`` up to ``end``, as many as there is room for, and the width of the names beside them."""
        longest = max(cell_len(name) for name in (self.first, *(row[0] for row in self.rows)))
        first = 0
        while first < len(self.heads):
            end, room = first + 1, self._room(console, options, first, first + 1)
            while end < len(self.heads):
                more = self._room(console, options, first, end + 1)
                if more < min(longest, LEAST):
                    break
                end, room = end + 1, more
            yield first, end, max(len(self.first), min(longest, room))
            first = end

    def _room(self, console: Console, options: ConsoleOptions, first: int, end: int) -> int:
        """Characters that the columns ``first`` up to ``end`` leave for names."""
        wide = options.update(width=WIDE)
        table = self._table(first, end, len(self.first), None)
        return options.max_width - Measurement.get(console, wide, table).maximum + len(self.first)

    def _table(self, first: int, end: int, name_width: int, title: str | None) -> Table:
        table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
        table.add_column(self.first, overflow="fold", width=name_width)
        for head in self.heads[first:end]:
            table.add_column(head, justify="right", no_wrap=True)
        for position, row in enumerate(self.rows):
            if position in self.sections:
                table.add_section()
            table.add_row(row[0], *row[1 + first : 1 + end])
        return table
