"""Folders in which nobody else can put, change or replace anything: what is loaded as code lies in one.

A library that is opened and a cache that is unpickled run as the person who reads them. A predictable name in a
folder that others can write is therefore no place for them: whoever makes it first runs code as its victim.

The rule, of every folder on the way from the root, symbolic links followed by hand: it belongs to root or to us, and
nobody else may write to it, or it carries the sticky bit, as /tmp does. A link counts only in a folder that nobody
else may write to. The last folder belongs to us, with mode 0700. (J. A. Kupsch, B. P. Miller: "How to open a file and
not get hacked", ARES 2008.) Every step opens the folder first and then looks at what it has opened, so that none can
be exchanged between the look and the step.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tuner.errors import CacheError

LINKS = 40  # symbolic links on one way, as the kernel counts
TEMPORARY = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))  # beside what the environment names
PREFIX = "tuner-private-"


def private_folder(folder: Path) -> Path:
    """Make a folder that only we can use, or accept one that is so.

    A folder of ours that others may read, but not write, is closed to them. One that others may write is refused, also
    if it is ours: what lies in it may be theirs.

    Parameters
    ----------
    folder : Path
        Missing folders on the way are made, with mode 0700.

    Returns
    -------
    Path
        The same folder, absolute and without symbolic links.

    Raises
    ------
    CacheError
        Which folder on the way lets others in, and how; or that it cannot be made or written.
    """
    path, opened = _walk(folder, make=True)
    try:
        status = os.fstat(opened)
        if status.st_uid != os.geteuid():
            raise CacheError(f"{path} belongs to uid {status.st_uid}, not to uid {os.geteuid()}.")
        if _others_write(status):
            raise CacheError(f"{path} can be written by others (mode {stat.S_IMODE(status.st_mode):04o}). Remove it.")
        if stat.S_IMODE(status.st_mode) != 0o700:
            os.fchmod(opened, 0o700)
        _try_to_write(opened)
    except OSError as e:
        raise CacheError(f"{path} cannot be written ({e.strerror}).") from e
    finally:
        os.close(opened)
    return path


def temporary_private_folder() -> Path:
    """Make a private folder of a random name that goes when this process ends.

    Raises
    ------
    CacheError
        There is no temporary folder in which nobody else can replace it.
    """
    reasons: list[str] = []
    for parent in _temporary_folders():
        try:
            made = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        except OSError as e:
            reasons.append(f"{parent} cannot be written ({e.strerror}).")
            continue
        try:
            folder = private_folder(made)
        except CacheError as e:
            reasons.append(str(e))
            with contextlib.suppress(OSError):
                made.rmdir()
            continue
        atexit.register(_remove, folder, os.getpid())
        return folder
    raise CacheError(f"there is no folder that only you can write: {' '.join(reasons)} Name one with TUNER_CACHE_DIR.")


def first_private(folders: Iterable[Path]) -> tuple[Path | None, list[str]]:
    """The first of `folders` that is, or can be made, private, and why each one before it is not."""
    reasons: list[str] = []
    for folder in folders:
        try:
            return private_folder(folder), reasons
        except CacheError as e:
            reasons.append(str(e))
    return None, reasons


def is_guarded(folder: Path) -> bool:
    """Whether nobody else can write to an existing folder or exchange it; others may read it."""
    try:
        _, opened = _walk(folder, make=False)
    except CacheError:
        return False
    try:
        status = os.fstat(opened)
        return status.st_uid in (0, os.geteuid()) and not _others_write(status)
    finally:
        os.close(opened)


def _walk(folder: Path, *, make: bool) -> tuple[Path, int]:
    """Open a folder step by step from the root; its real path and its descriptor.

    Raises
    ------
    CacheError
        A folder on the way in which others can exchange what we go to, or one that cannot be entered.
    """
    left = [part for part in reversed(Path(os.path.abspath(folder)).parts) if part != os.sep]
    here, opened, links = Path(os.sep), os.open(os.sep, os.O_RDONLY | os.O_DIRECTORY), 0
    try:
        while left:
            name = left.pop()
            if name in ("", os.curdir):
                continue
            _check_parent(here, os.fstat(opened))
            target = _link(here, name, opened)
            if target is not None:
                links += 1
                if links > LINKS:
                    raise CacheError(f"{folder}: too many symbolic links.")
                if target.startswith(os.sep):
                    os.close(opened)
                    here, opened = Path(os.sep), os.open(os.sep, os.O_RDONLY | os.O_DIRECTORY)
                left += reversed(target.split(os.sep))
                continue
            step = _enter(here, name, opened, make=make)
            os.close(opened)
            opened, here = step, here.parent if name == os.pardir else here / name
    except BaseException:
        os.close(opened)
        raise
    return here, opened


def _enter(here: Path, name: str, parent: int, *, make: bool) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    try:
        with contextlib.suppress(FileNotFoundError):
            return os.open(name, flags, dir_fd=parent)
        if not make:
            raise CacheError(f"{here / name} does not exist.")
        with contextlib.suppress(FileExistsError):  # made by another process meanwhile: looked at like any other
            os.mkdir(name, 0o700, dir_fd=parent)
        return os.open(name, flags, dir_fd=parent)
    except OSError as e:
        raise CacheError(f"{here / name} cannot be used ({e.strerror}).") from e


def _link(here: Path, name: str, parent: int) -> str | None:
    """Where a symbolic link leads; None for what is none.

    Raises
    ------
    CacheError
        A link that somebody else made, or could have made.
    """
    try:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except OSError:
        return None  # opening it says why
    if not stat.S_ISLNK(status.st_mode):
        return None
    if status.st_uid not in (0, os.geteuid()) or _others_write(os.fstat(parent)):
        raise CacheError(f"{here / name} is a symbolic link that somebody else may have made.")
    try:
        return os.readlink(name, dir_fd=parent)
    except OSError as e:
        raise CacheError(f"{here / name} cannot be read ({e.strerror}).") from e


def _check_parent(folder: Path, status: os.stat_result) -> None:
    """Refuse a folder whose owner, or others, can exchange what lies in it."""
    if folder != Path(os.sep) and status.st_uid not in (0, os.geteuid()):  # whoever has the root has everything
        raise CacheError(f"{folder} belongs to uid {status.st_uid}, who can exchange what lies in it.")
    if _others_write(status) and not status.st_mode & stat.S_ISVTX:
        mode = f"{stat.S_IMODE(status.st_mode):04o}"
        raise CacheError(f"{folder} can be written by others (mode {mode}), who can exchange what lies in it.")


def _others_write(status: os.stat_result) -> bool:
    """Whether the mode lets others write; a group of the owner alone (same number, no members) is nobody else."""
    if status.st_mode & stat.S_IWOTH:
        return True
    return bool(status.st_mode & stat.S_IWGRP) and not _is_own_group(status)


def _is_own_group(status: os.stat_result) -> bool:
    if status.st_uid != status.st_gid:
        return False
    try:
        import grp

        entry = grp.getgrgid(status.st_gid)
    except (ImportError, KeyError):
        return False
    import pwd

    try:
        own = pwd.getpwuid(status.st_uid).pw_name
    except KeyError:
        return False
    return set(entry.gr_mem) <= {own} and entry.gr_name == own


def _try_to_write(folder: int) -> None:
    """Create and remove a file: a folder of ours may lie on a disk that is full or read-only."""
    name = f".{os.getpid()}.{os.urandom(6).hex()}"
    os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=folder))
    os.unlink(name, dir_fd=folder)


def _temporary_folders() -> list[Path]:
    with contextlib.suppress(OSError):  # FileNotFoundError where none can be written
        return list(dict.fromkeys((Path(tempfile.gettempdir()), *TEMPORARY)))
    return list(TEMPORARY)


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # not by a child that was forked
        shutil.rmtree(folder, ignore_errors=True)
