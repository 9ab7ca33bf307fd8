"""The heartbeat of a running attempt: sent while training makes progress, and never stopped by an error."""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Protocol, Self

from tuner.errors import AttemptSuperseded, TunerError
from tuner.storage.attempts import Attempt
from tuner.storage.outage import DatabaseGone

log = logging.getLogger("tuner.heartbeat")

JOIN_SECONDS = 2.0  # how long leaving the block waits for a beat that is being sent


class Beats(Protocol):
    """What a heartbeat needs from a storage."""

    @property
    def trouble(self) -> float:
        """Monotonic time at which the database was last away."""
        ...

    def beat(
        self, attempt: Attempt, progress: Mapping[str, Any] | None = None, *, patience: float | None = None
    ) -> None:
        """Store one heartbeat."""
        ...


class Heartbeat:
    """Sends heartbeats for an attempt from its own thread while the block runs.

    Each `tick` reports that the training is alive. After `stall_after` seconds without a tick, the training counts as
    hung: the beats pause and `on_hang` is called until the next tick. Time in which the database was away, or this
    process was stopped, does not count. After a storage error, the beat is tried again at the next interval.
    `superseded` is set when another worker has been given the slot.

    Parameters
    ----------
    storage : FencedStorage
        Receives the beats.
    attempt : Attempt
        The attempt to keep alive.
    interval : float
        Seconds between beats; the grace of `FencedStorage.reap` should be several of them.
    stall_after : float
        Seconds without a tick after which the training counts as hung.
    on_gone : callable, optional
        Called once in the thread if the database file was removed or replaced: no result can be stored any more.
    on_hang : callable, optional
        Called in the thread with a description of the hang, at each interval while it lasts. Nothing in Python can
        end a hung call, so it should count the failure and end the process.

    Attributes
    ----------
    superseded : threading.Event
        Set once the attempt no longer holds its slot; the training should stop.

    Examples
    --------
    >>> with Heartbeat(storage, attempt, interval=5, stall_after=1800) as heartbeat:  # doctest: +SKIP
    ...     fit(..., on_epoch=lambda record: heartbeat.tick({"epoch": record.epoch}))
    """

    def __init__(
        self,
        storage: Beats,
        attempt: Attempt,
        *,
        interval: float,
        stall_after: float,
        on_hang: Callable[[str], None] | None = None,
        on_gone: Callable[[DatabaseGone], None] | None = None,
    ) -> None:
        self.storage, self.attempt, self.on_gone = storage, attempt, on_gone
        self.interval, self.stall_after, self.on_hang = interval, stall_after, on_hang
        self.superseded = threading.Event()
        self._stop = threading.Event()
        self._ticks = 0
        self._silence = 0.0  # seconds without a tick, at the thread's last look
        self._progress: Mapping[str, Any] | None = None
        here = contextvars.copy_context()  # so that its log lines have the attempt's fields, too
        self._thread = threading.Thread(
            target=here.run, args=(self._run,), name=f"heartbeat-{attempt.number}", daemon=True
        )

    def tick(self, progress: Mapping[str, Any] | None = None) -> None:
        """Note that the training makes progress; `progress` (JSON) is sent with the next beat."""
        self._ticks += 1
        if progress is not None:
            self._progress = dict(progress)

    @property
    def stalled(self) -> bool:
        """Whether the training has not ticked for longer than `stall_after`."""
        return self._silence > self.stall_after

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(JOIN_SECONDS)  # a later beat finds the attempt ended and changes nothing

    def _run(self) -> None:
        away, looked, ticks = False, time.monotonic(), self._ticks
        while not self._stop.wait(self.interval):
            now = time.monotonic()
            if self._ticks != ticks or self.storage.trouble >= looked:
                self._silence = 0.0
            else:
                self._silence += min(now - looked, 2 * self.interval)  # longer: the process was stopped
            looked, ticks = now, self._ticks
            try:
                if self.stalled:
                    self._hang()
                elif not self.superseded.is_set():
                    self.storage.beat(self.attempt, self._progress, patience=0)
            except AttemptSuperseded:
                if not self._stop.is_set():
                    self.superseded.set()
            except DatabaseGone as e:
                if self.on_gone is not None and not self._stop.is_set():
                    self.on_gone(e)
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

    def _hang(self) -> None:
        if self.on_hang is not None and not self._stop.is_set():
            last = (self._progress or {}).get("epoch")
            since = "no epoch was finished" if last is None else f"epoch {last} was the last"
            self.on_hang(f"the training hung: no progress for {self._silence:.0f} s, {since}")
