"""Private folders, for files that are loaded as code: nobody else can add, change or replace anything in them.

A shared library that is loaded or a cache that is unpickled runs code with the rights of the reader. So a predictable
name in a folder that others can write is not safe: whoever creates it first can run code as the victim.

The rule for every folder on the path from the root, with symbolic links resolved step by step: it belongs to root or
to us, and nobody else may write to it unless it has the sticky bit, as /tmp does. A link is accepted only in a folder
to which nobody else may write. The last folder belongs to us and has mode 0700. (J. A. Kupsch, B. P. Miller: "How to
open a file and not get hacked", ARES 2008.) Every step first opens a folder and then checks the opened one, so that it
cannot be replaced between check and use.
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

LINKS = 40  # symbolic links on one path, the limit of the kernel
TEMPORARY = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))  # besides the one that the environment names
PREFIX = "tuner-private-"


def private_folder(folder: Path) -> Path:
    """Create a folder that only we can use, or accept an existing one.

    If others may read our folder, but not write to it, they lose that permission. If others may write to it, it is
    refused even if it is ours, because its files may be theirs.

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
        A folder on the path lets others in, or cannot be created or written; the message says which, and why.
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
    """Create a private folder with a random name, which is removed when this process ends.

    Raises
    ------
    CacheError
        In every temporary folder others could replace it.
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
    """The first of `folders` that is private or can be made so, and why each one before it is not."""
    reasons: list[str] = []
    for folder in folders:
        try:
            return private_folder(folder), reasons
        except CacheError as e:
            reasons.append(str(e))
    return None, reasons


def is_guarded(folder: Path) -> bool:
    """Whether nobody else can write to or replace an existing folder; others may read it."""
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
    """Open a folder step by step from the root; returns its real path and file descriptor.

    Raises
    ------
    CacheError
        In a folder on the path others can replace the next one, or it cannot be entered.
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
    """Target of a symbolic link; None if it is not one.

    Raises
    ------
    CacheError
        The link was created by somebody else, or could have been.
    """
    try:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except OSError:
        return None  # opening it reports why
    if not stat.S_ISLNK(status.st_mode):
        return None
    if status.st_uid not in (0, os.geteuid()) or _others_write(os.fstat(parent)):
        raise CacheError(f"{here / name} is a symbolic link that somebody else may have created.")
    try:
        return os.readlink(name, dir_fd=parent)
    except OSError as e:
        raise CacheError(f"{here / name} cannot be read ({e.strerror}).") from e


def _check_parent(folder: Path, status: os.stat_result) -> None:
    """Refuse a folder of another owner, or one in which others can replace files."""
    if folder != Path(os.sep) and status.st_uid not in (0, os.geteuid()):  # whoever owns the root can do anything
        raise CacheError(f"{folder} belongs to uid {status.st_uid}, who can replace what is in it.")
    if _others_write(status) and not status.st_mode & stat.S_ISVTX:
        mode = f"{stat.S_IMODE(status.st_mode):04o}"
        raise CacheError(f"{folder} can be written by others (mode {mode}), who can replace what is in it.")


def _others_write(status: os.stat_result) -> bool:
    """Whether others may write; the owner's own group (same number, no other members) does not count."""
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
    with contextlib.suppress(OSError):  # FileNotFoundError if none can be written
        return list(dict.fromkeys((Path(tempfile.gettempdir()), *TEMPORARY)))
    return list(TEMPORARY)


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # not in a forked child
        shutil.rmtree(folder, ignore_errors=True)
