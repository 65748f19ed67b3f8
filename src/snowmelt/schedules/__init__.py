"""Schedules: pure functions of epoch and step. No torch, no state, nothing to save."""

from snowmelt.schedules.learning_rate import LEARNING_RATE_KINDS, LearningRateKind, LearningRateSchedule
from snowmelt.schedules.plan import DECODER, Plan, PlanEpoch, PlanStage, Schedules, make_plan
from snowmelt.schedules.temperature import TEMPERATURE_KINDS, TemperatureKind, TemperatureSchedule
from snowmelt.schedules.thaw import ThawSchedule

__all__ = [
    "DECODER",
    "LEARNING_RATE_KINDS",
    "TEMPERATURE_KINDS",
    "LearningRateKind",
    "LearningRateSchedule",
    "Plan",
    "PlanEpoch",
    "PlanStage",
    "Schedules",
    "TemperatureKind",
    "TemperatureSchedule",
    "ThawSchedule",
    "make_plan",
]
