"""Stopping a worker: by signals, a deadline or the end of its parent process.

It imports little, so that a process notices its parent's end while it is still importing the rest.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

RELEASE_SECONDS = 4.0  # after a signal, until the slot is handed back from another thread
LEAVE_SECONDS = 8.0  # after a signal, until the process ends whatever it is doing; schedulers often kill at 10 s
PARENT_SECONDS = 0.5
STOPS = (signal.SIGTERM, signal.SIGINT)


class Interrupted(BaseException):
    """The worker was told to stop. It is not an Exception, so that no retry swallows it."""


class Stopper:
    """Turns SIGTERM, SIGINT, a deadline and the parent's death into a clean stop.

    In an `interruptible` block a signal interrupts the work at once; elsewhere (while a result is stored) it waits
    for the next check. If the main thread reaches neither (a call into native code, a database that does not answer),
    `release` is called from another thread, and the process ends.

    Parameters
    ----------
    deadline : float or None
        Unix time after which no slot is claimed and a running one is handed back.
    parent : int or None
        Process id of the parent; its end is a request to stop.

    Attributes
    ----------
    requested : bool
        Whether a signal was received.
    leaving : bool
        Whether no further slot should be claimed.
    release : callable or None
        Hands back the slot of this process; safe to call from any thread and more than once.
    """

    def __init__(self, deadline: float | None = None, parent: int | None = None) -> None:
        self.deadline = deadline
        self.requested = False
        self.leaving = False
        self.release: Callable[[], None] | None = None
        self._number = 0
        self._interruptible = False
        if parent is not None:
            threading.Thread(target=self._watch, args=(parent,), name="parent", daemon=True).start()

    def install(self) -> None:
        """Handle SIGTERM and SIGINT from now on. Before, they end the process at once, because it has no slot yet."""
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        for number in STOPS:
            signal.signal(number, self._on_signal)
        # Python's own handlers run only when the main thread leaves native code; this byte is sent at once.
        signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._end_late, args=(ours, theirs), name="stopper", daemon=True).start()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.requested, self._number = True, number
        if self._interruptible:
            self._interruptible = False
            raise Interrupted

    def leave(self, at_once: bool) -> None:
        """Leave after the running trial, or at once; called from another thread."""
        self.leaving = True
        if at_once:
            os.kill(os.getpid(), signal.SIGTERM)

    def _end_late(self, ours: socket.socket, theirs: socket.socket) -> None:
        while not (number := next((n for n in ours.recv(64) if n in STOPS), 0)):
            pass
        self.requested = True
        time.sleep(RELEASE_SECONDS)
        if self.release is not None:
            thread = threading.Thread(target=self.release, name="release", daemon=True)
            thread.start()
            thread.join(LEAVE_SECONDS - RELEASE_SECONDS)
        theirs.close()
        os._exit(128 + number)  # as a shell reports that a process was ended by this signal

    def _watch(self, parent: int) -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """Code in this block may be interrupted at any instruction."""
        self._interruptible = True
        try:
            self.check()
            yield
        finally:
            self._interruptible = False

    @property
    def late(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and time.time() >= self.deadline

    def check(self) -> None:
        """Raise Interrupted if a stop was requested or the deadline has passed."""
        if self.requested or self.late:
            raise Interrupted

    def resign(self) -> None:
        """If a signal stopped this process, end it by the same signal, so that the sender sees that work is left."""
        if self._number:
            signal.signal(self._number, signal.SIG_DFL)
            signal.raise_signal(self._number)


class LocalStopper(Stopper):
    """A Stopper inside a program that continues afterwards, such as a notebook: it ends the work, not the process.

    Parameters
    ----------
    deadline : float or None
        As for `Stopper`.
    """

    def __init__(self, deadline: float | None = None) -> None:
        super().__init__(deadline)

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended the work."""
        return bool(self._number)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """In this block Ctrl-C hands the running slot back; a second one raises KeyboardInterrupt. Main thread only."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGINT, self._on_signal)
        try:
            yield
        finally:
            if before is not None:  # a handler that was not set by Python cannot be restored
                signal.signal(signal.SIGINT, before)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        super()._on_signal(number, frame)

    def leave(self, at_once: bool) -> None:
        """Leave after the running trial, or after its current epoch; called from another thread."""
        self.leaving = True
        self.requested = self.requested or at_once

    def resign(self) -> None:
        """Do nothing: the process continues."""
