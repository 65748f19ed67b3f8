"""Looking a data set over before anything trains on it: counts, sizes, classes, and whatever is wrong or odd."""

from snowmelt.data.survey.findings import Finding, Item
from snowmelt.data.survey.opening import Opened, open_parts
from snowmelt.data.survey.surveying import Survey, survey
from snowmelt.data.survey.suspicion import FEW, small_regions

__all__ = ["FEW", "Finding", "Item", "Opened", "Survey", "open_parts", "small_regions", "survey"]
