"""``snowmelt demo``: teach, plan, distil, score, on embedded data."""

from __future__ import annotations

import time

from snowmelt.config_manager import ConfigManager
from snowmelt.jobs.page import write_report
from snowmelt.jobs.planning import plan_experiment
from snowmelt.jobs.scoring import score_run
from snowmelt.jobs.signals import going_on_by_itself
from snowmelt.jobs.teaching import teach_experiment
from snowmelt.jobs.training import train_experiment
from snowmelt.reporting import RunFolder


@going_on_by_itself()
def run_demo() -> None:
    """The whole cycle; an earlier demo's student is moved aside, its teacher is reused."""
    started = time.perf_counter()
    config = ConfigManager.get_config("demo")
    print("\n[1/4] teach: a UNet with EfficientNet-B0 learns the task\n")
    teach_experiment(config)
    print("\n[2/4] plan: what the student's training will do, before it does it\n")
    plan_experiment(config)
    print("\n[3/4] distil: a UNet with a small MobileNetV3 learns from it, cooling and thawing\n")
    train_experiment(config, overwrite=True)
    print("\n[4/4] score: both on images that neither has seen\n")
    score_run(config)
    root = config.output / config.name
    write_report(RunFolder(root))  # with the scores just taken
    seconds = time.perf_counter() - started
    print(f"\nDone in {seconds:.0f} s. Open {root / 'report.html'} in a browser, then:")
    print("  snowmelt configs                      the named experiments")
    print("  snowmelt plan auto --data DIR         the plan for your own images and masks")
    print("  snowmelt train auto --data DIR        and their training")
