"""Checkpoints for workers on several machines: copies of the local file in a remote store.

Each attempt writes its own object, named by its token, and reads those of the earlier attempts of its slot. So an
attempt that lost its slot may resume at any instruction, and still nobody reads what it writes. If the store is a
folder, the checkpoints are kept beside it and nothing is copied.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from pathlib import Path

from tuner.errors import StorageError
from tuner.files import make_folder, moved, sync
from tuner.models.checkpoint import reached
from tuner.storage.artifacts import CHECKPOINTS, Artifacts
from tuner.storage.attempts import Attempt
from tuner.storage.storage import FencedStorage
from tuner.storage.store import read, write

log = logging.getLogger("tuner.worker")

EVERY_SECONDS = 30.0
HAND_OVER_SECONDS = 3.0  # a stop must not wait for a store that is away
SHARE = 20  # after an upload of t seconds there is none for 20 t seconds, so uploads take at most 1/20 of the time


class Checkpoints:
    """Copies of the checkpoints of the slots that one process runs.

    Parameters
    ----------
    storage : FencedStorage
        Has the attempts of the slots.
    artifacts : Artifacts
        Its store receives the copies, if it is remote.
    every : float
        Shortest time between two uploads of a slot, in seconds.
    """

    def __init__(self, storage: FencedStorage, artifacts: Artifacts, *, every: float = EVERY_SECONDS) -> None:
        self.storage, self.artifacts, self.every = storage, artifacts, every
        self._attempt: Attempt | None = None
        self._path = Path()
        self._due = 0.0
        self._older: list[str] = []
        self._failed = False

    def open(self, attempt: Attempt, path: Path) -> None:
        """Download the checkpoint of an earlier attempt to `path`, unless that has reached the same epoch already.

        Parameters
        ----------
        attempt : Attempt
            Live; `save`, `hand_over` and `delete` refer to it until the next one is opened.
        path : Path
            Local checkpoint of the attempt; it may exist.
        """
        self._attempt = None  # an interrupt during the download must not replace a copy that was not read
        self._due, self._older, self._failed = time.monotonic() + self.every, [], False
        if self.artifacts.remote and attempt.attempt > 1:
            self._fetch(attempt, path)
        self._attempt, self._path = attempt, path

    def _fetch(self, attempt: Attempt, path: Path) -> None:
        arrived = path.with_name(f".{path.name}.arrived")
        try:
            self._older = self._copies(attempt)
            for key in self._older:
                make_folder(path.parent)
                arrived.write_bytes(read(self.artifacts.store, key))
                epochs = reached(arrived)
                if epochs < 0:
                    log.warning("trial %d: the checkpoint %s of the store is damaged", attempt.number, key)
                    continue
                if epochs > reached(path):
                    sync(arrived)
                    moved(arrived, path)
                    log.info("trial %d: continues from epoch %d of the store", attempt.number, epochs)
                break
        except (StorageError, OSError) as e:
            log.warning("trial %d: no checkpoint from the store (%s)", attempt.number, e)
        finally:
            with contextlib.suppress(OSError):
                arrived.unlink(missing_ok=True)

    def save(self) -> None:
        """Copy the checkpoint to the store if it is due; if the store is away, only the copy is lost."""
        if self.artifacts.remote and time.monotonic() >= self._due:
            self._upload()

    def hand_over(self) -> None:
        """Copy the checkpoint before the slot is handed back, if that takes only seconds."""
        if self.artifacts.remote:
            thread = threading.Thread(target=self._upload, daemon=True)
            thread.start()
            thread.join(HAND_OVER_SECONDS)

    def _upload(self) -> None:
        started = time.monotonic()
        if self._attempt is None or not self._path.is_file():
            return
        try:
            write(self.artifacts.store, CHECKPOINTS + self._attempt.token, self._path.read_bytes())
            while self._older:
                self.artifacts.store.remove(self._older.pop())
        except (StorageError, OSError) as e:
            if not self._failed:
                log.warning("trial %d: the checkpoint stays on this machine (%s)", self._attempt.number, e)
            self._failed = True
        ended = time.monotonic()
        self._due = ended + max(self.every, SHARE * (ended - started))

    def withdraw(self) -> None:
        """Remove this attempt's own copy after the study was deleted: nobody would read it or find it."""
        if self._attempt is None or not self.artifacts.remote:
            return
        try:
            self.artifacts.store.remove(CHECKPOINTS + self._attempt.token)
        except StorageError as e:
            log.warning("trial %d: a copy of its checkpoint is left (%s)", self._attempt.number, e)

    def delete(self) -> None:
        """Remove all copies of the slot, which has ended; those that cannot be removed now remain as leftovers."""
        if self._attempt is None or not self.artifacts.remote:
            return
        try:
            for key in self._copies(self._attempt):
                self.artifacts.store.remove(key)
        except StorageError as e:
            log.warning("trial %d: copies of its checkpoint are left (%s)", self._attempt.number, e)

    def _copies(self, attempt: Attempt) -> list[str]:
        """Keys of the slot's copies, that of the latest attempt first."""
        there = {s.key for s in self.artifacts.store.find(CHECKPOINTS)}
        tokens = self.storage.slot_tokens(attempt.trial_id)
        return [CHECKPOINTS + t for t in sorted(tokens, key=lambda t: -tokens[t]) if CHECKPOINTS + t in there]
