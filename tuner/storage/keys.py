"""Names that a stored study is read by, apart from what runs one: who only reads need not wait for torch."""

from __future__ import annotations

from typing import Final

IDENTITY: Final = "tuner:identity"
SOURCE: Final = "tuner:source"
CONFIRMATION: Final = ".confirmation"
CONTROLS: Final = ".controls"
