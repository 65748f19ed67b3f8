"""The validation mIoU of some runs over their epochs, in one picture; the best epoch of each is marked.

    python benchmarks/ccp/draw_curves.py teachers.png parts=experiments/teachers/NAME person=experiments/teachers/NAME

One panel for each run, as their scores need not be of one task.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from snowmelt.reporting import read_metrics

INK, LINE = "#1d3247", "#1f77b4"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("picture", type=Path, help="PNG to write")
    parser.add_argument("runs", nargs="+", metavar="LABEL=RUN", help="a run folder, which holds metrics.csv")
    arguments = parser.parse_args()
    runs = [text.partition("=") for text in arguments.runs]
    figure = Figure(figsize=(1.2 + 4.2 * len(runs), 3.4), dpi=110, layout="constrained")
    for position, (label, _, run) in enumerate(runs, start=1):
        axes = figure.add_subplot(1, len(runs), position)
        scores = scores_of(Path(run))
        best = max(scores, key=lambda epoch: scores[epoch])
        axes.plot(list(scores), list(scores.values()), color=LINE, marker="o", markersize=3)
        axes.plot([best], [scores[best]], marker="*", markersize=13, color="#d95f02")
        axes.set_title(f"{label}: best {scores[best]:.4f} in epoch {best}", color=INK, fontsize=11)
        axes.set_xlabel("epoch (from 0)")
        axes.set_ylabel("mIoU on validation")
        axes.grid(alpha=0.3)
    FigureCanvasAgg(figure).print_png(str(arguments.picture))
    print(f"{arguments.picture}: {len(runs)} runs")


def scores_of(run: Path) -> dict[int, float]:
    """Validation mIoU by epoch, as the run logged it."""
    rows = read_metrics(run / "metrics.csv")
    return {int(row["epoch"]): float(row["miou"]) for row in rows if row["miou"] is not None}


if __name__ == "__main__":
    main()
