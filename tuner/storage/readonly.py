"""Reading a SQLite file that cannot be written, without leaving a trace.

In write-ahead mode, SQLite creates files beside the database even to read it, which is impossible in a folder of
another user or on a read-only disk. Committed changes may still be in ``-wal``, or unfinished ones have to be undone
from ``-journal``; if SQLite cannot read these files in place, a private copy is read.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path
from urllib.parse import quote

from sqlalchemy.engine import URL

from tuner.private import temporary_private_folder

_WAL = 2  # read and write version in bytes 18 and 19 of a file in write-ahead mode (sqlite.org/fileformat2.html)


def is_closed(url: URL) -> bool:
    """Whether a database is a SQLite file that this process cannot write."""
    if url.get_backend_name() != "sqlite":
        return False
    path = Path(str(url.database))
    return path.is_file() and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK))


class Reader:
    """Opens read-only connections to one file.

    Parameters
    ----------
    path : Path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._copied: tuple[object, Path] | None = None

    def connect(self) -> sqlite3.Connection:
        """Open a connection that sees what is committed now.

        Raises
        ------
        sqlite3.Error
            The file is not a database, or is damaged.
        OSError
            It cannot be read.
        """
        wal, shm, journal = (self._beside(name) for name in ("-wal", "-shm", "-journal"))
        with self.path.open("rb") as file:
            ahead = file.read(20)[18:20] == bytes([_WAL, _WAL])
        pending = _size(wal) if ahead else _size(journal)
        if not pending:
            # In write-ahead mode nothing is written to the file while there is no -wal file.
            return _open(self.path, "mode=ro&immutable=1" if ahead else "mode=ro")
        if ahead and _size(shm):
            with contextlib.suppress(sqlite3.OperationalError):
                return _open(self.path, "mode=ro")
        return _open(self.copy(), "mode=rw")

    def copy(self) -> Path:
        """A private copy of the file and of those beside it; copied again if one of them has changed."""
        files = [p for p in (self.path, self._beside("-wal"), self._beside("-journal")) if p.is_file()]
        now = [(p.name, p.stat().st_size, p.stat().st_mtime_ns, p.stat().st_ino) for p in files]
        if self._copied is None or self._copied[0] != now:
            folder = temporary_private_folder()
            for file in files:
                shutil.copyfile(file, folder / file.name)
            self._copied = (now, folder / self.path.name)
        return self._copied[1]

    def _beside(self, suffix: str) -> Path:
        return self.path.with_name(self.path.name + suffix)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _open(path: Path, how: str) -> sqlite3.Connection:
    """Open a connection and read once, because SQLite opens the file only then."""
    opened = sqlite3.connect(f"file:{quote(str(path))}?{how}", uri=True, timeout=30, check_same_thread=False)
    try:
        opened.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException:
        opened.close()
        raise
    return opened
