"""Writing files so that they exist completely or not at all, even after a power cut.

A rename is atomic for processes, but not on the disk: after a power cut, a file system may have the new name but not
the content that was never flushed, and the file is empty. So the content is flushed to the disk before the rename, and
the folder, which contains the name, after it. A file that the database refers to later is then certain to exist.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

HALF: Final = ".part"
"""Ending of a file that is being written, and of one that a kill leaves unfinished."""

# Some network and user-space file systems cannot open or flush folders; then there is nothing to do.
_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF, errno.EACCES, errno.EPERM, errno.EISDIR}


def write_atomically(path: str | Path, content: bytes, *, durable: bool = True) -> None:
    """Replace a file atomically: readers, even after a kill or a power cut, find the old or the new one.

    Parameters
    ----------
    path : str or Path
        Its folder must exist. A symbolic link is followed: the file to which it points is replaced.
    content : bytes
        The whole content.
    durable : bool
        Whether the new file survives a power cut after the return. Otherwise the old one may come back, undamaged.

    Raises
    ------
    OSError
        It cannot be written; an existing file is unchanged.
    """
    if os.path.exists(path) and not os.path.isfile(path):  # a pipe or a device is written directly
        Path(path).write_bytes(content)
        return
    with replacing(path, durable=durable) as part:
        part.write_bytes(content)


@contextlib.contextmanager
def replacing(path: str | Path, *, durable: bool = True, prefix: str = ".") -> Iterator[Path]:
    """Let a block write a temporary file beside `path`, and then rename it as `write_atomically` does.

    Parameters
    ----------
    path : str or Path
        As for `write_atomically`.
    durable : bool
        As for `write_atomically`.
    prefix : str
        Beginning of the temporary name, which continues with the name of `path` and random letters.

    Yields
    ------
    Path
        An empty file whose name ends with ``.part``. An exception in the block removes it.
    """
    path = Path(os.path.realpath(path)) if os.path.islink(path) else Path(path)
    handle, name = tempfile.mkstemp(prefix=f"{prefix}{path.name[:150]}.", suffix=HALF, dir=path.parent)
    part = Path(name)
    try:
        os.close(handle)
        part.chmod(_mode(path))  # mkstemp allows only the owner
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
    """Mode of the file that is replaced, or the mode that the process would give a new file."""
    with contextlib.suppress(OSError):
        return path.stat().st_mode & 0o777
    return 0o666 & ~_umask()


def _umask() -> int:
    with contextlib.suppress(OSError, ValueError):  # if /proc is missing, or does not have it
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    return 0o022


def sync(path: Path) -> None:
    """Flush the content of a file to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk, if its file system can."""
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
    """Create a folder and its missing parents; the new names survive a power cut.

    Raises
    ------
    OSError
        It cannot be created.
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
    """Rename a file whose content was flushed before; the new name survives a power cut."""
    os.replace(source, target)
    sync_folder(target.parent)


def remove_empty(folder: Path) -> None:
    """Remove a folder and its parent if they are empty."""
    for one in (folder, folder.parent):
        with contextlib.suppress(OSError):  # not empty, or gone
            one.rmdir()


@contextlib.contextmanager
def replacing_folder(path: str | Path) -> Iterator[Path]:
    """Let a block fill a temporary folder beside `path`, and then give it this name: it appears whole or not at all.

    Parameters
    ----------
    path : str or Path
        Its parent must exist. A folder that is there already is replaced; it comes back if the new one cannot have
        its name.

    Yields
    ------
    Path
        An empty folder, for files; an exception in the block removes it.

    Raises
    ------
    OSError
        It cannot be written.
    """
    path = Path(os.path.realpath(path)) if os.path.islink(path) else Path(path)
    part = Path(tempfile.mkdtemp(prefix=f".{path.name[:150]}.", suffix=HALF, dir=path.parent))
    try:
        part.chmod(0o777 & ~_umask())
        yield part
        for file in part.iterdir():
            sync(file)
        sync_folder(part)
        _take_place(part, path)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    sync_folder(path.parent)


def _take_place(part: Path, path: Path) -> None:
    """Rename a folder; what had the name is removed once it is done."""
    if not path.is_dir():
        os.rename(part, path)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{path.name[:150]}.", suffix=HALF, dir=path.parent))
    os.rename(path, old)  # over an empty folder
    try:
        os.rename(part, path)
    except BaseException:
        os.rename(old, path)
        raise
    shutil.rmtree(old, ignore_errors=True)
