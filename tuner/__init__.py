"""tuner: search for CNNs that predict transcription-factor binding and show the motif.

The names below are imported when they are first used, so that `import tuner` is fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tuner.api import Data as Data
    from tuner.api import Ensemble as Ensemble
    from tuner.api import Filters as Filters
    from tuner.api import Model as Model
    from tuner.api import Progress as Progress
    from tuner.api import Study as Study
    from tuner.api import Trial as Trial
    from tuner.api import attribute as attribute
    from tuner.api import match as match
    from tuner.api import open_study as open_study
    from tuner.api import run as run
    from tuner.api.classifier import TunerClassifier as TunerClassifier
    from tuner.errors import TunerError as TunerError
    from tuner.models.architectures import build_model as build_model
    from tuner.models.recipe import Recipe as Recipe
    from tuner.models.training import fit as fit
    from tuner.motifs.database import load_database as load_database
    from tuner.predictor.folder import load_model as load_model
    from tuner.predictor.predictor import Predictor as Predictor

__version__ = "0.1.0"

_HOMES = {
    "Data": "tuner.api",
    "Ensemble": "tuner.api",
    "Filters": "tuner.api",
    "Model": "tuner.api",
    "Predictor": "tuner.predictor.predictor",
    "Progress": "tuner.api",
    "Recipe": "tuner.models.recipe",
    "Study": "tuner.api",
    "Trial": "tuner.api",
    "TunerClassifier": "tuner.api.classifier",
    "TunerError": "tuner.errors",
    "attribute": "tuner.api",
    "build_model": "tuner.models.architectures",
    "fit": "tuner.models.training",
    "load_database": "tuner.motifs.database",
    "load_model": "tuner.predictor.folder",
    "match": "tuner.api",
    "open_study": "tuner.api",
    "run": "tuner.api",
}

__all__ = [
    "Data",
    "Ensemble",
    "Filters",
    "Model",
    "Predictor",
    "Progress",
    "Recipe",
    "Study",
    "Trial",
    "TunerClassifier",
    "TunerError",
    "attribute",
    "build_model",
    "fit",
    "load_database",
    "load_model",
    "match",
    "open_study",
    "run",
]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'tuner' has no attribute {name!r}")
    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """All names, including public ones that have not been imported yet."""
    return sorted({*globals(), *__all__})
