"""Names that a stored study is read by, apart from what runs one: who only reads need not wait for torch."""

from __future__ import annotations

from typing import Final

IDENTITY: Final = "tuner:identity"
SOURCE: Final = "tuner:source"
CONFIRMATION: Final = ".confirmation"
CONTROLS: Final = ".controls"
# Of the objectives (search/objective.py, which a test compares with this); every other one is maximised.
MINIMIZED: Final = frozenset({"loss", "match_null", "parameters", "seconds"})


def maximized(objective: str) -> bool:
    """Whether more of an objective is better."""
    return objective not in MINIMIZED
