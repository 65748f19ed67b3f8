"""How far a comparison's arms overfit: the task's loss on validation minus that on training images, in the last epoch.

    python benchmarks/ccp/gaps.py experiments/NAME-compare

Mean and standard deviation over the seeds of each arm, from the runs' metrics.csv.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

from snowmelt.reporting import read_metrics


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("comparison", type=Path, help="folder of a comparison")
    gaps: dict[str, list[float]] = {}
    for table in sorted(parser.parse_args().comparison.glob("*-seed*/metrics.csv")):
        gaps.setdefault(table.parent.name.rpartition("-seed")[0], []).append(gap_of(table))
    if not gaps:
        raise SystemExit("no runs there: give a folder that snowmelt compare wrote")
    for arm, found in gaps.items():
        spread = f" ± {statistics.stdev(found):.4f}" if len(found) > 1 else ""
        print(f"{arm:12s} {statistics.fmean(found):.4f}{spread} ({len(found)} seed{'s' * (len(found) > 1)})")


def gap_of(table: Path) -> float:
    """Validation minus training loss (cross-entropy and Dice) in the last row."""
    last = read_metrics(table)[-1]
    return float(last["val/task"]) - float(last["train/task"])


if __name__ == "__main__":
    main()
