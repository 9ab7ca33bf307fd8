"""Output of the workers: a pipe to the supervisor for what should be seen now, and a log file for everything.

The pipe needs no disk, so a worker's last message arrives even if its log is on a full disk. The worker writes to the
log file itself, so it can go on writing if the supervisor is stopped or killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from tuner.storage.outage import room

LARGEST_LOG = 16_000_000  # bytes; one older file of that size is kept
LOOK_SECONDS = 10.0  # between two checks of its size
KEPT_LOGS = 200  # per study; older ones are removed when a run begins, except those of the last day
KEPT_SECONDS = 86_400.0


class NoticePipe:
    """The reading end of a pipe from one worker; without a handle nothing is received."""

    def __init__(self, handle: int | None = None) -> None:
        self._handle, self._rest = handle, b""
        self.last = ""

    @classmethod
    def pair(cls) -> tuple[NoticePipe, int]:
        """A new pipe, and the handle that its worker writes to."""
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        return cls(reading), writing

    def receive(self) -> list[str]:
        """Notices since the last call; the reason for which the worker ends is kept in `last`."""
        if self._handle is None:
            return []
        with contextlib.suppress(BlockingIOError):
            while part := os.read(self._handle, 65536):
                self._rest += part
        *lines, self._rest = self._rest.split(b"\n")
        found = []
        for line in lines:
            with contextlib.suppress(ValueError, KeyError, TypeError):  # not written by a worker
                said = json.loads(line)
                if said["last"]:
                    self.last = str(said["message"])
                else:
                    found.append(str(said["message"]))
        return found

    def close(self) -> None:
        """Close the reading end."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


class LogFile:
    """The log of one worker of this process: ``worker-0.HOST-PROCESS.log``, bounded in size.

    Parameters
    ----------
    folder : Path
        Folder of the log, which is created when it is needed.
    index : int
        Index of the worker.
    """

    def __init__(self, folder: Path, index: int) -> None:
        host = re.sub(r"[^A-Za-z0-9-]+", "-", socket.gethostname())[:64].strip("-") or "host"
        self.path = folder / f"worker-{index}.{host}-{os.getpid()}.log"
        self._looked = 0.0

    @contextlib.contextmanager
    def open(self, say: Callable[[str], None]) -> Iterator[int | IO[bytes]]:
        """Open it for a worker; if that fails, say so and return the stderr of this process instead."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = self.path.open("ab")
        except OSError as e:
            say(
                f"{self.path}: the log cannot be written ({e.strerror}; {room(self.path.parent)}); "
                "what this worker logs is shown here instead."
            )
            yield _stderr()
            return
        with file:
            yield file

    def last_line(self) -> str:
        """The last message; empty if there is none."""
        try:
            with self.path.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - 65536))
                lines = file.read().decode(errors="replace").strip().splitlines()
        except OSError:
            return ""
        if not lines:
            return ""
        with contextlib.suppress(ValueError, KeyError, TypeError):  # a JSON log
            return str(json.loads(lines[-1])["message"])
        return lines[-1].removeprefix("error: ")

    def keep_small(self) -> None:
        """If the file has grown large, copy it to ``.log.1`` and empty it; the worker, which appends, writes on."""
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        with contextlib.suppress(OSError):  # on a full disk it stays as it is until there is room
            if self.path.stat().st_size > LARGEST_LOG:
                shutil.copyfile(self.path, self.path.with_name(f"{self.path.name}.1"))
                os.truncate(self.path, 0)


def remove_old_logs(folder: Path) -> None:
    """Remove the oldest logs of a folder that has many, except those of the last day."""
    with contextlib.suppress(OSError):  # logs that cannot be read or removed stay
        logs = sorted(((p.stat().st_mtime, p) for p in folder.glob("worker-*.log*")), reverse=True)
        for written, path in logs[KEPT_LOGS:]:
            if time.time() - written > KEPT_SECONDS:
                path.unlink(missing_ok=True)


def _stderr() -> int:
    try:
        return sys.__stderr__.fileno() if sys.__stderr__ is not None else os.open(os.devnull, os.O_WRONLY)
    except (OSError, ValueError):  # closed, or not a file
        return -3  # subprocess.DEVNULL
