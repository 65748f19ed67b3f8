"""Study: arms that differ in one thing, what their scores can tell, and what cannot be told."""

from snowmelt.study.advice import Advice, advise
from snowmelt.study.arms import Arm, base_of, make_arms
from snowmelt.study.comparison import ArmResult, ArmRun, Comparison, TeacherResult
from snowmelt.study.rules import RunFacts
from snowmelt.study.statistics import Difference, Spread, iou_of, mean_iou_of, paired_difference, spread_of
from snowmelt.study.verdict import Answer, Verdict, verdict_of

__all__ = [
    "Advice",
    "Answer",
    "Arm",
    "ArmResult",
    "ArmRun",
    "Comparison",
    "Difference",
    "RunFacts",
    "Spread",
    "TeacherResult",
    "Verdict",
    "advise",
    "base_of",
    "iou_of",
    "make_arms",
    "mean_iou_of",
    "paired_difference",
    "spread_of",
    "verdict_of",
]
