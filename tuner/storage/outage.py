"""Notices about a database or store that is away, and the check for a database file that is gone for good.

Notices go to the logger ``tuner.notice``: what the user should see now, even if a worker process reports it.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

from tuner.errors import StorageError

T = TypeVar("T")

notices = logging.getLogger("tuner.notice")

SAY_SECONDS = 1.0  # a shorter outage is not reported
AGAIN_SECONDS = 300.0  # between two notices of one outage


class DatabaseGone(StorageError):
    """A SQLite file was removed or replaced while it was open; whatever is written to it now is lost."""


class Outage:
    """Reports that something is away, why and since when, repeats that now and then, and reports when it is back.

    Parameters
    ----------
    patience : float
        Longest wait in seconds, for the notice.
    """

    def __init__(self, patience: float) -> None:
        self.patience = patience
        self._lock = threading.Lock()
        self._since: float | None = None
        self._said: float | None = None

    def failed(self, reason: str, *, started: float, at_once: bool = False) -> None:
        """Record a failed try; `started` is the monotonic time at which the caller began to wait."""
        now = time.monotonic()
        with self._lock:
            self._since = min(started, now) if self._since is None else self._since
            due = self._said is None and (at_once or now - self._since >= SAY_SECONDS)
            if due or (self._said is not None and now - self._said >= AGAIN_SECONDS):
                waited = f", for {now - self._since:.0f} s so far" if self._said is not None else ""
                notices.warning("%s Waiting for it%s, %s at most.", reason, waited, duration(self.patience))
                self._said = now

    def worked(self, what: str) -> None:
        """Record a successful try."""
        if self._since is None:
            return
        with self._lock:
            if self._said is not None and self._since is not None:
                notices.warning("%s is back after %.0f s.", what, time.monotonic() - self._since)
            self._since = self._said = None


def pauses(first: float, last: float) -> Iterator[float]:
    """Seconds between tries: `first`, then twice as long each time, `last` at most."""
    while True:
        yield first
        first = min(2 * first, last)


class Away(NamedTuple):
    """What does not answer, and why."""

    place: str
    reason: str


def wait_for(
    work: Callable[[], T], *, away: Callable[[StorageError], Away | None], until: float, between: Iterator[float]
) -> T:
    """Run `work` until it succeeds, its error is final, or there is no time for another try; report the wait.

    Parameters
    ----------
    work : callable
        One try.
    away : callable
        What is away by a StorageError, or None if the error is final.
    until : float
        Monotonic time after which no try begins.
    between : iterator of float
        Seconds between tries, see `pauses`.

    Raises
    ------
    StorageError
        The last error of `work`.
    """
    started, place = time.monotonic(), ""
    outage = Outage(until - started)
    while True:
        try:
            result = work()
        except StorageError as e:
            found, pause = away(e), next(between)
            if found is None or time.monotonic() + pause > until:
                raise
            place = found.place
            outage.failed(found.reason, started=started, at_once=True)
        else:
            outage.worked(place)
            return result
        time.sleep(pause)


class OpenFile:
    """A file, to find out later whether its path still refers to it.

    Parameters
    ----------
    path : Path
        Path of an existing file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # A handle without access: it keeps the inode number from being reused, and closing it does not drop SQLite's
        # locks, as closing any other handle of the file would.
        handle = getattr(os, "O_PATH", None)
        self._handle = None if handle is None else os.open(path, handle | os.O_CLOEXEC)
        if self._handle is not None:
            weakref.finalize(self, os.close, self._handle)
        self._identity = _identity(os.stat(path))

    def check(self) -> None:
        """Check that the path still refers to this file.

        Raises
        ------
        DatabaseGone
            It was removed, moved away or replaced.
        """
        try:
            now = _identity(os.stat(self.path))
        except OSError as e:
            if e.errno not in (errno.ENOENT, errno.ENOTDIR):
                return  # a disk that does not answer tells nothing about the file
            raise DatabaseGone(
                f"{self.path}: the database was removed or moved away while it was in use; results cannot be stored. "
                "Put it back, or run the study again."
            ) from e
        if now != self._identity:
            raise DatabaseGone(
                f"{self.path}: the database was replaced by another file while it was in use; results of this process "
                "are not in the new one. The same command continues with the file that is there now."
            )


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def duration(seconds: float) -> str:
    """A time as text: ``15 min``, ``40 s``."""
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"


def room(folder: Path) -> str:
    """Describe how much space is free on the disk of a folder, or why nothing can be written there.

    Returns
    -------
    str
        ``0 bytes of 4.2 MB are free in runs``
    """
    if not folder.exists():
        return f"there is no folder {folder}"
    try:
        disk = os.statvfs(folder)
    except OSError as e:
        return f"{folder} does not answer: {e.strerror}"
    if disk.f_flag & os.ST_RDONLY:
        return f"the file system of {folder} is mounted read-only"
    free, size = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
    if disk.f_files and not disk.f_favail:
        return f"no file can be created in {folder}: its file system has no inode left"
    return f"{_bytes(free)} of {_bytes(size)} are free in {folder}"


def _bytes(n: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if n < 1000:
            return f"{n:.0f} bytes" if unit == "bytes" else f"{n:.1f} {unit}"
        n /= 1000
    return f"{n:.1f} TB"
