"""Folders in which nobody else can add, change or replace anything; files that are loaded as code are kept in one.

Loading a library or unpickling a cache runs code with the rights of the person who does it. A predictable name in a
folder that others can write to is therefore no safe place: whoever creates it first can run code as the victim.

The rule, for every folder on the path from the root, with symbolic links resolved one by one: it belongs to root or to
us, and nobody else may write to it, or it has the sticky bit, as /tmp does. A link is followed only in a folder that
nobody else may write to. The last folder belongs to us and has mode 0700. (J. A. Kupsch, B. P. Miller: "How to open a
file and not get hacked", ARES 2008.) Every step opens a folder first and then checks what it has opened, so that none
can be replaced between the check and the next step.
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

LINKS = 40  # most symbolic links on one path; the kernel's limit
TEMPORARY = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))  # tried after those that the environment names
PREFIX = "tuner-private-"


def private_folder(folder: Path) -> Path:
    """Create a folder that only we can use, or accept an existing one.

    A folder of ours that others may read but not write to gets mode 0700. One that others may write to is refused even
    if it is ours, because files in it may be theirs.

    Parameters
    ----------
    folder : Path
        Missing folders on the path are created with mode 0700.

    Returns
    -------
    Path
        The same folder, absolute and without symbolic links.

    Raises
    ------
    CacheError
        A folder on the path lets others in, or the folder cannot be created or written to.
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
    """Create a private folder with a random name that is removed when this process ends.

    Raises
    ------
    CacheError
        There is no temporary folder in which nobody else could replace it.
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
    """Return the first of `folders` that is private or can be created so, and why each one before it is not."""
    reasons: list[str] = []
    for folder in folders:
        try:
            return private_folder(folder), reasons
        except CacheError as e:
            reasons.append(str(e))
    return None, reasons


def is_guarded(folder: Path) -> bool:
    """Return whether nobody else can write to an existing folder or replace it; others may read it."""
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
    """Open a folder step by step from the root, and return its real path and its descriptor.

    Raises
    ------
    CacheError
        A folder on the path cannot be entered, or others can replace what is in it.
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
        with contextlib.suppress(FileExistsError):  # created by another process meanwhile: checked like any other
            os.mkdir(name, 0o700, dir_fd=parent)
        return os.open(name, flags, dir_fd=parent)
    except OSError as e:
        raise CacheError(f"{here / name} cannot be used ({e.strerror}).") from e


def _link(here: Path, name: str, parent: int) -> str | None:
    """Return the target of a symbolic link, or None if the name is not a link.

    Raises
    ------
    CacheError
        The link was made by somebody else, or could have been.
    """
    try:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except OSError:
        return None  # opening it raises the error
    if not stat.S_ISLNK(status.st_mode):
        return None
    if status.st_uid not in (0, os.geteuid()) or _others_write(os.fstat(parent)):
        raise CacheError(f"{here / name} is a symbolic link that somebody else may have made.")
    try:
        return os.readlink(name, dir_fd=parent)
    except OSError as e:
        raise CacheError(f"{here / name} cannot be read ({e.strerror}).") from e


def _check_parent(folder: Path, status: os.stat_result) -> None:
    """Refuse a folder if its owner or others can replace what is in it."""
    if folder != Path(os.sep) and status.st_uid not in (0, os.geteuid()):  # the owner of the root can do anything
        raise CacheError(f"{folder} belongs to uid {status.st_uid}, who can replace what is in it.")
    if _others_write(status) and not status.st_mode & stat.S_ISVTX:
        mode = f"{stat.S_IMODE(status.st_mode):04o}"
        raise CacheError(f"{folder} can be written by others (mode {mode}), who can replace what is in it.")


def _others_write(status: os.stat_result) -> bool:
    """Return whether others may write; the owner's own group (same number, no members) is not others."""
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
    """Create and remove a file, because the folder may be on a disk that is full or read-only."""
    name = f".{os.getpid()}.{os.urandom(6).hex()}"
    os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=folder))
    os.unlink(name, dir_fd=folder)


def _temporary_folders() -> list[Path]:
    with contextlib.suppress(OSError):  # FileNotFoundError if none can be written to
        return list(dict.fromkeys((Path(tempfile.gettempdir()), *TEMPORARY)))
    return list(TEMPORARY)


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # not in a forked child
        shutil.rmtree(folder, ignore_errors=True)
