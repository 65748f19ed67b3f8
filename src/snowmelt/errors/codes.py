"""Every kind of mistake that has a code, in the order of docs/errors.md.

A code says what the user has to mend, so many messages share one. A code that was published keeps its meaning.
"""

from __future__ import annotations

from snowmelt.errors.advice import Advice
from snowmelt.errors.codes_of_input import SETTINGS_AND_DATA
from snowmelt.errors.codes_of_runs import NETWORKS_AND_RUNS

CODES: dict[str, Advice] = {**SETTINGS_AND_DATA, **NETWORKS_AND_RUNS}
