"""Files that are there whole or not at all, also after a power cut.

A rename is one step to every process, but not to the disk: a file system may keep the new name and lose the content
that was never forced out, and the file is empty after the power returns. So the content is forced out before the
rename, and the folder, which holds the name, after it. What is then written to the database refers to a file that is
there.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

HALF: Final = ".part"
"""Ending of a file that is being written, and of what a kill then leaves."""

# Some network and user-space file systems open no folder for this, or force nothing out: there is nothing to do then.
_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF, errno.EACCES, errno.EPERM, errno.EISDIR}


def write_atomically(path: str | Path, content: bytes, *, durable: bool = True) -> None:
    """Replace a file in one step: readers, and whoever comes after a kill or a power cut, find the old or the new one.

    Parameters
    ----------
    path : str or Path
        Its folder exists. A link is followed: the file it points to is replaced.
    content : bytes
        All of it.
    durable : bool
        Whether the new file outlasts a power cut from the return on. Without it the old one may come back, whole.

    Raises
    ------
    OSError
        It cannot be written; what was there is untouched.
    """
    if os.path.exists(path) and not os.path.isfile(path):  # a pipe or a device has no place beside it, nor a half
        Path(path).write_bytes(content)
        return
    with replacing(path, durable=durable) as part:
        part.write_bytes(content)


@contextlib.contextmanager
def replacing(path: str | Path, *, durable: bool = True, prefix: str = ".") -> Iterator[Path]:
    """Let a block write a file beside `path`, and then move it there as `write_atomically` does.

    Parameters
    ----------
    path : str or Path
        As for `write_atomically`.
    durable : bool
        As for `write_atomically`.
    prefix : str
        Of the name that the file has until then; behind it come that of `path` and random letters.

    Yields
    ------
    Path
        An empty file whose name ends in ``.part``. An exception of the block removes it.
    """
    path = Path(os.path.realpath(path)) if os.path.islink(path) else Path(path)
    handle, name = tempfile.mkstemp(prefix=f"{prefix}{path.name[:150]}.", suffix=HALF, dir=path.parent)
    part = Path(name)
    try:
        os.close(handle)
        part.chmod(_mode(path))  # mkstemp's is for its owner alone
        yield part
        sync(part)
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(path.parent)


def _mode(path: Path) -> int:
    """Rights of the file that is replaced; of a new one, what the process would give it."""
    with contextlib.suppress(OSError):
        return path.stat().st_mode & 0o777
    return 0o666 & ~_umask()


def _umask() -> int:
    with contextlib.suppress(OSError, ValueError):  # where there is no /proc, or it does not say
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    return 0o022


def sync(path: Path) -> None:
    """Force the content of a file out to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Force the names in a folder out to the disk, where its file system can."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as e:
        if e.errno not in _NO_FOLDER_SYNC:
            raise
        return
    try:
        os.fsync(handle)
    except OSError as e:
        if e.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(handle)


def make_folder(folder: str | Path) -> None:
    """Make a folder and those above it as far as they are missing; the new names outlast a power cut.

    Raises
    ------
    OSError
        It cannot be made.
    """
    folder = Path(folder)
    new = []
    while not folder.is_dir() and folder != folder.parent:
        new.append(folder)
        folder = folder.parent
    for one in reversed(new):
        one.mkdir(exist_ok=True)
        sync_folder(one.parent)


def moved(source: Path, target: Path) -> None:
    """Rename a file whose content was forced out before; the new name outlasts a power cut."""
    os.replace(source, target)
    sync_folder(target.parent)


def remove_empty(folder: Path) -> None:
    """Remove a folder, and the one that it lies in, if nothing is left there."""
    for one in (folder, folder.parent):
        with contextlib.suppress(OSError):  # it holds something, or is gone
            one.rmdir()
