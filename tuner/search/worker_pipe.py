"""How a supervisor hears its workers: a pipe for what should be seen now, and a log file for everything.

The pipe needs no disk, so a worker's last words arrive also where its log is on a full one. The log's handle is the
worker's own, so that a supervisor that is stopped or killed stops nobody from writing.
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

LARGEST_LOG = 16_000_000  # bytes; one predecessor of that size is kept
LOOK_SECONDS = 10.0  # between two looks at its size
KEPT_LOGS = 200  # of a stage; older ones go when a run begins, those of the last day never
KEPT_SECONDS = 86_400.0


class Ear:
    """The reading end of a pipe from one worker; without one, nothing is heard."""

    def __init__(self, handle: int | None = None) -> None:
        self._handle, self._rest = handle, b""
        self.last = ""

    @classmethod
    def pair(cls) -> tuple[Ear, int]:
        """An ear, and the handle for the worker to speak into."""
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        return cls(reading), writing

    def listen(self) -> list[str]:
        """What was said since; the reason why the worker ends is kept in `last`."""
        if self._handle is None:
            return []
        with contextlib.suppress(BlockingIOError):
            while part := os.read(self._handle, 65536):
                self._rest += part
        *lines, self._rest = self._rest.split(b"\n")
        found = []
        for line in lines:
            with contextlib.suppress(ValueError, KeyError, TypeError):  # a foreign program's words are none
                said = json.loads(line)
                if said["last"]:
                    self.last = str(said["message"])
                else:
                    found.append(str(said["message"]))
        return found

    def close(self) -> None:
        """Hear no more."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


class LogFile:
    """The log of one worker of this process: ``worker-0.HOST-PROCESS.log``, bounded in size.

    Parameters
    ----------
    folder : Path
        Where; made when it is needed, again too.
    index : int
        Which worker.
    """

    def __init__(self, folder: Path, index: int) -> None:
        host = re.sub(r"[^A-Za-z0-9-]+", "-", socket.gethostname())[:64].strip("-") or "host"
        self.path = folder / f"worker-{index}.{host}-{os.getpid()}.log"
        self._looked = 0.0

    @contextlib.contextmanager
    def open(self, say: Callable[[str], None]) -> Iterator[int | IO[bytes]]:
        """Open it for a worker; where that cannot be, say so and give it the stderr of this process."""
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
        """The last message, if there is any."""
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
        """Move what is there to ``.log.1`` where it has grown large; the worker appends, and goes on at the start."""
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        with contextlib.suppress(OSError):  # a full disk: then it stays as it is until there is room
            if self.path.stat().st_size > LARGEST_LOG:
                shutil.copyfile(self.path, self.path.with_name(f"{self.path.name}.1"))
                os.truncate(self.path, 0)


def remove_old_logs(folder: Path) -> None:
    """Remove the oldest logs of a folder that has many, but none of the last day."""
    with contextlib.suppress(OSError):  # one that cannot be read or removed stays
        logs = sorted(((p.stat().st_mtime, p) for p in folder.glob("worker-*.log*")), reverse=True)
        for written, path in logs[KEPT_LOGS:]:
            if time.time() - written > KEPT_SECONDS:
                path.unlink(missing_ok=True)


def _stderr() -> int:
    try:
        return sys.__stderr__.fileno() if sys.__stderr__ is not None else os.open(os.devnull, os.O_WRONLY)
    except (OSError, ValueError):  # closed, or no file
        return -3  # subprocess.DEVNULL
