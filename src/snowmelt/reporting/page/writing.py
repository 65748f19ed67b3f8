"""The page itself: from what was read to one file that needs nothing else."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from snowmelt._version import __version__
from snowmelt.evaluation import class_colors
from snowmelt.evaluation.overlays import FALSE_ALARM, MISSED
from snowmelt.reporting.csv_cells import replace_file
from snowmelt.reporting.page import class_plots, tables, words
from snowmelt.reporting.page.curve_plots import curve_plots
from snowmelt.reporting.page.marks import Plot
from snowmelt.reporting.page.pictures import Budget, panels_of, samples_of, worst_of
from snowmelt.reporting.page.plan_plot import plan_plot
from snowmelt.reporting.page.reading import RunContent, Sheet, listed, read_run
from snowmelt.reporting.run_folder import RunFolder

LARGEST = 12_000_000  # bytes of the whole file
TEXT_ROOM = 1_000_000  # bytes kept for everything but pictures and Plotly's script
LONGEST_SETTINGS = 200_000  # characters


@dataclass(frozen=True)
class WrittenPage:
    """How large the file became, and the pictures that found no room in it."""

    size: int
    left_out: tuple[str, ...]


def write_page(
    folder: RunFolder, target: Path | None = None, plain: words.Plain | None = None, teaches: bool = False
) -> WrittenPage:
    """Write ``report.html`` of the run in ``folder``, or ``target``, replacing an older one in one step.

    Args:
        plain: the best student without a teacher to compare with.
        teaches: the run is a teacher's.
    """
    html, budget = make_page(read_run(folder), plain, teaches)
    path = folder.report_file if target is None else target
    replace_file(path, html)
    return WrittenPage(len(html.encode("utf-8")), tuple(budget.left_out))


def make_page(content: RunContent, plain: words.Plain | None = None, teaches: bool = False) -> tuple[str, Budget]:
    """The page as text, and what became of its pictures."""
    if teaches:
        content = replace(content, sheets=tuple(replace(each, who="teacher") for each in content.sheets))
    who = "teacher" if teaches else "student"
    script = packed_plotly()
    budget = Budget(LARGEST - TEXT_ROOM - len(script))
    plots = _plots(content, who)
    sheet = content.sheets[0] if content.sheets else None
    evaluated = next((each for each in content.sheets if each.file.startswith("evaluation/")), None)
    samples = samples_of(content, budget, who)
    panels = [] if samples else panels_of(content, budget)
    worst = [] if evaluated is None else worst_of(evaluated, content.folder.root, budget)
    values = {
        "name": content.name,
        "who": who,
        "layers": list(dict.fromkeys(layer for sample in samples for layer in sample.layers)),
        "runs": content.runs,
        "written": f"{datetime.now():%Y-%m-%d %H:%M}",
        "version": __version__,
        "verdict": words.verdict(content, plain, teaches),
        "figures": words.key_figures(content, teaches),
        "run": words.name_for_commands(content),
        "plots": plots,
        "thaws": any(shape["line"]["dash"] == "dot" for plot in plots["curves"] for shape in plot.layout["shapes"]),
        "rollbacks": any(row.get("rollbacks") for row in content.metrics),
        "sheet": sheet,
        "evaluated": evaluated,
        "classes": None if sheet is None else tables.class_table(sheet),
        "whole": None if evaluated is None else tables.whole_table(evaluated),
        "groups": [] if evaluated is None else tables.group_tables(evaluated),
        "mistakes": [] if (counted := _counted(content)) is None else class_plots.confusions(counted),
        "counted": counted,
        "latency": tables.latency_table(content.benchmark),
        "bought": sentence if isinstance(sentence := content.benchmark.get("sentence"), str) else "",
        "samples": samples,
        "panels": panels,
        "worst": worst,
        "panelled": any("panel" in each.layers for each in worst),  # as they were before they came in layers
        "swatches": _swatches(content.classes),
        "settings": _settings(content.settings),
        "provenance": _provenance(content.provenance),
        "advice": [entry for entry in listed(content.record.get("advice")) if isinstance(entry, Mapping)],
        "warnings": content.warnings,
        "log": content.log,
        "doubts": content.doubts,
        "budget": budget,
        "plot_data": [plot.for_page() for plot in plots.values() if plot is not None and not isinstance(plot, list)]
        + [plot.for_page() for plot in plots["curves"]],
        "plotly": script,
    }
    return _template().render(values), budget


def _plots(content: RunContent, who: str) -> dict[str, Any]:
    sheet = content.sheets[0] if content.sheets else None
    counted = _counted(content)
    calibrated = [class_plots.reliability_plot(each) for each in content.sheets]
    named: dict[str, Plot | None] = {
        "plan": plan_plot(content),
        "iou": None if sheet is None else class_plots.iou_plot(sheet),
        "confusion": None if counted is None else class_plots.confusion_plot(counted),
        "reliability": next(filter(None, calibrated), None),
    }
    return {**named, "curves": curve_plots(content, who)}


def _counted(content: RunContent) -> Sheet | None:
    """The first scores with a confusion matrix."""
    return next((each for each in content.sheets if class_plots.shares_of(each) is not None), None)


@cache
def packed_plotly() -> str:
    """Plotly's script, gzipped, as base64: 2.0 MB in place of 4.8; the page unpacks it.

    The Python package has the whole script and no smaller bundle.
    """
    from plotly.offline import get_plotlyjs  # read where a page is written, and nowhere else

    return base64.b64encode(gzip.compress(get_plotlyjs().encode("utf-8"), 6, mtime=0)).decode("ascii")


@cache
def _template() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("snowmelt.reporting.page", "template"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    folder = files("snowmelt.reporting.page") / "template"
    environment.globals["style"] = (folder / "report.css").read_text(encoding="utf-8")
    environment.globals["script"] = (folder / "report.js").read_text(encoding="utf-8")
    return environment.get_template("report.html.jinja")


def _swatches(classes: tuple[str, ...]) -> list[tuple[str, str]]:
    """Name and colour of each class in the pictures, and of the two kinds of errors."""
    colors = [_hex(color) for color in class_colors(len(classes))]
    errors = [("errors: missed or confused", _hex(MISSED)), ("errors: false alarm", _hex(FALSE_ALARM))]
    return [*zip(classes, colors, strict=True), *errors]


def _hex(color: Any) -> str:
    return "#" + "".join(f"{int(part):02x}" for part in color)


def _settings(settings: Mapping[str, Any]) -> str:
    text = yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True) if settings else ""
    if len(text) > LONGEST_SETTINGS:
        return text[:LONGEST_SETTINGS] + "\n# the rest is in config.yaml"
    return text


def _provenance(provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = [(key, str(provenance[key])) for key in ("created", "git_commit") if provenance.get(key)]
    versions = provenance.get("versions")
    return found + ([(str(key), str(value)) for key, value in versions.items()] if isinstance(versions, dict) else [])
