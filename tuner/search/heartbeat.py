"""The heartbeat of a running attempt: sent while the training makes progress, and never ended by an error."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol, Self

from tuner.errors import AttemptSuperseded, TunerError
from tuner.search.attempts import Attempt

log = logging.getLogger("tuner.heartbeat")

JOIN_SECONDS = 2.0  # how long leaving the block waits for a beat that is under way


class Beats(Protocol):
    """What a heartbeat needs of a storage."""

    def beat(
        self, attempt: Attempt, progress: Mapping[str, Any] | None = None, *, patience: float | None = None
    ) -> None:
        """Store one heartbeat."""
        ...


class Heartbeat:
    """Beats for an attempt from a thread of its own, while the block runs.

    Each `tick` says that the training is alive. Without a tick for `stall_after` seconds the beats pause, so
    that the slot is reaped from a hung training; the next tick resumes them. A storage error is retried at
    the next interval and ends nothing. When another worker has been given the slot, `superseded` is set.

    Parameters
    ----------
    storage : FencedStorage
        Where to beat.
    attempt : Attempt
        For what.
    interval : float
        Seconds between beats; the grace of `FencedStorage.reap` should be several of them.
    stall_after : float
        Seconds without a tick after which the training counts as hung.

    Attributes
    ----------
    superseded : threading.Event
        Set once the attempt no longer holds its slot; the training should stop.

    Examples
    --------
    >>> with Heartbeat(storage, attempt, interval=5, stall_after=1800) as heartbeat:  # doctest: +SKIP
    ...     fit(..., on_epoch=lambda record: heartbeat.tick({"epoch": record.epoch}))
    """

    def __init__(self, storage: Beats, attempt: Attempt, *, interval: float, stall_after: float) -> None:
        self.storage, self.attempt = storage, attempt
        self.interval, self.stall_after = interval, stall_after
        self.superseded = threading.Event()
        self._stop = threading.Event()
        self._last_tick = time.monotonic()
        self._progress: Mapping[str, Any] | None = None
        self._thread = threading.Thread(target=self._run, name=f"heartbeat-{attempt.number}", daemon=True)

    def tick(self, progress: Mapping[str, Any] | None = None) -> None:
        """Note that the training makes progress; `progress` (JSON) goes out with the next beat."""
        self._last_tick = time.monotonic()
        if progress is not None:
            self._progress = dict(progress)

    @property
    def stalled(self) -> bool:
        """Whether the last tick is longer ago than `stall_after`."""
        return time.monotonic() - self._last_tick > self.stall_after

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(JOIN_SECONDS)  # a beat that comes later finds the attempt ended and changes nothing

    def _run(self) -> None:
        away = False
        while not self._stop.wait(self.interval):
            if self.stalled:
                continue
            try:
                self.storage.beat(self.attempt, self._progress, patience=0)
            except AttemptSuperseded:
                if not self._stop.is_set():
                    self.superseded.set()
                return
            except Exception as e:  # any error that ended this thread would cost a healthy trial its slot
                if not away:
                    reason = str(e) if isinstance(e, TunerError) else f"{type(e).__name__}: {e}"
                    log.warning("trial %d: no heartbeat, will retry: %s", self.attempt.number, reason)
                away = True
                continue
            if away:
                log.info("trial %d: heartbeat is back", self.attempt.number)
            away = False
