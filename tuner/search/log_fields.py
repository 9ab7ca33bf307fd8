"""Fields of log lines: which study, trial, attempt and worker a line is about."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from types import MappingProxyType

_FIELDS: ContextVar[Mapping[str, object]] = ContextVar("tuner_log_fields", default=MappingProxyType({}))


@contextlib.contextmanager
def log_fields(**more: object) -> Iterator[None]:
    """Add these fields to every log line of this block, besides those of the blocks around it."""
    token = _FIELDS.set({**_FIELDS.get(), **more})
    try:
        yield
    finally:
        _FIELDS.reset(token)


def add_log_fields(**more: object) -> None:
    """Add these fields to every log line from here to the end of the surrounding block."""
    _FIELDS.set({**_FIELDS.get(), **more})


class AddFields(logging.Filter):
    """Adds the fields of `log_fields` to each record; those of the logging call itself take precedence."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields; every record passes."""
        for name, value in _FIELDS.get().items():
            record.__dict__.setdefault(name, value)
        return True
