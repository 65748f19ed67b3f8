"""Schedules: pure functions of epoch and step. No torch, no state, nothing to save."""

from snowmelt.schedules.curves import CURVE_KINDS, Curve, CurveKind
from snowmelt.schedules.learning_rate import LEARNING_RATE_KINDS, LearningRateKind, LearningRateSchedule
from snowmelt.schedules.plan import ALPHA, DECODER, Plan, PlanEpoch, PlanStage, Schedules, make_plan
from snowmelt.schedules.temperature import TEMPERATURE_KINDS, TemperatureKind, TemperatureSchedule
from snowmelt.schedules.thaw import ThawSchedule
from snowmelt.schedules.weights import WEIGHT_KINDS, WeightKind, WeightSchedule

__all__ = [
    "ALPHA",
    "CURVE_KINDS",
    "DECODER",
    "LEARNING_RATE_KINDS",
    "TEMPERATURE_KINDS",
    "WEIGHT_KINDS",
    "Curve",
    "CurveKind",
    "LearningRateKind",
    "LearningRateSchedule",
    "Plan",
    "PlanEpoch",
    "PlanStage",
    "Schedules",
    "TemperatureKind",
    "TemperatureSchedule",
    "ThawSchedule",
    "WeightKind",
    "WeightSchedule",
    "make_plan",
]
