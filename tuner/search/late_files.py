"""Files of ended trials, kept in memory until the store, which was full or away, can be written."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Mapping
from typing import NamedTuple

from tuner.errors import StorageError
from tuner.storage.artifacts import Artifacts
from tuner.storage.attempts import Attempt
from tuner.storage.outage import duration, notices
from tuner.storage.storage import FencedStorage

log = logging.getLogger("tuner.worker")

LARGEST = 256_000_000  # bytes kept in memory; a trial has about 1 MB
TRY_SECONDS = 10.0  # between two tries
LEAVE_SECONDS = 120.0  # how long a worker with nothing left to do waits for the store


class _Kept(NamedTuple):
    attempt: Attempt
    label: str
    files: Mapping[str, bytes]


class LateFiles:
    """Files that one worker could not write, and writes as soon as possible.

    Parameters
    ----------
    storage : FencedStorage
        Has the trials.
    artifacts : Artifacts
        The store; each try is a single request, without waiting.
    """

    def __init__(self, storage: FencedStorage, artifacts: Artifacts) -> None:
        self.storage = storage
        self.artifacts = copy.copy(artifacts)
        self.artifacts.patience = 0.0
        self._kept: list[_Kept] = []
        self._tried = 0.0

    def keep(self, attempt: Attempt, label: str, files: Mapping[str, bytes]) -> None:
        """Keep the files of an attempt whose trial was stored without them; above `LARGEST` the oldest are dropped."""
        self._kept.append(_Kept(attempt, label, files))
        self._tried = time.monotonic()
        while sum(len(content) for kept in self._kept for content in kept.files.values()) > LARGEST:
            lost = self._kept.pop(0)
            notices.warning("%s: its files were given up; tuner rerun restores them.", lost.label)

    def write(self) -> None:
        """Write what can be written, if another try is due."""
        if self._kept and time.monotonic() - self._tried >= TRY_SECONDS:
            self._try()

    def finish(self, *, wait: bool) -> None:
        """Write what can be written before the process ends.

        Parameters
        ----------
        wait : bool
            Try for a while instead of once.
        """
        end = time.monotonic() + (LEAVE_SECONDS if wait else 0.0)
        if self._kept:
            self._try()
        if self._kept and wait:
            notices.warning(
                "%s; the worker waits up to %s for the store before it leaves.", self._words(), duration(LEAVE_SECONDS)
            )
        while self._kept and time.monotonic() < end:
            time.sleep(min(TRY_SECONDS, 1.0))
            self._try()
        if self._kept:
            notices.warning("%s; tuner rerun restores them.", self._words())

    def _words(self) -> str:
        return f"files of {', '.join(kept.label for kept in self._kept)} could not be written"

    def _try(self) -> None:
        self._tried = time.monotonic()
        while self._kept:
            kept = self._kept[0]
            try:
                entries = self.artifacts.put(kept.files, kept.attempt.token, late=True)
                stored = self.storage.add_files(kept.attempt.study_id, kept.attempt.number, entries)
            except StorageError as e:
                log.info("%s: its files cannot be written yet (%s)", kept.label, e)
                return
            if stored:
                notices.warning("%s: its files are written now.", kept.label)
            else:  # the study was deleted, or a rerun has restored them
                self.artifacts.discard(entries)
            self._kept.pop(0)
