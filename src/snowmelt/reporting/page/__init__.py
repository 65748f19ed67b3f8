"""``report.html``: a run as one page that opens from disk and asks no network for anything."""

from snowmelt.reporting.page.reading import RunContent, read_run
from snowmelt.reporting.page.tables import size_of
from snowmelt.reporting.page.words import Plain
from snowmelt.reporting.page.writing import WrittenPage, make_page, write_page

__all__ = ["Plain", "RunContent", "WrittenPage", "make_page", "read_run", "size_of", "write_page"]
