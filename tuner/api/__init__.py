"""The Python interface: functions named like the commands, which return tables and arrays instead of printing.

Nothing here prints, reads an environment variable or ends the process.
"""

from __future__ import annotations

from tuner.api.data import Data, DataCheck
from tuner.api.model import Ensemble, Model, attribute
from tuner.api.motifs import match
from tuner.api.progress import Progress
from tuner.api.running import run
from tuner.api.study import Study, open_study
from tuner.api.trial import Filters, Trial

__all__ = [
    "Data",
    "DataCheck",
    "Ensemble",
    "Filters",
    "Model",
    "Progress",
    "Study",
    "Trial",
    "attribute",
    "match",
    "open_study",
    "run",
]
