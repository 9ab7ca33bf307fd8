"""Limiting the memory that reading a file may take, before it is allocated.

A small file can need any amount of memory: 4 MB of gzip can expand to 4 GB, and an HDF5 file can declare a size and
store nothing. Every reader computes what it is about to need and calls `require` before it allocates.
"""

from __future__ import annotations

import mmap
import re
import resource
import sys
from importlib import import_module
from pathlib import Path
from typing import Final

import psutil

from tuner.errors import DataError, TunerError, UsageError

OPTION: Final = "--max-memory"
_BLAS: Final = "scipy.linalg.cython_blas"  # what Numba imports before it runs a compiled function
_BLAS_ROOM: Final = 2**27  # its import takes 97 MB of address space, including the buffer
_UNITS: Final = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY: Final = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SIZE: Final = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)\s*([KMGT]?)(i?)(?:B|bytes)?", re.IGNORECASE)

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([smh]?)")


def parse_size(text: str) -> int:
    """Parse a size of memory.

    Parameters
    ----------
    text : str
        A number and a unit: ``8 GB``, ``500MB``, ``1.5 GiB``; a number alone means bytes.

    Returns
    -------
    int, bytes

    Raises
    ------
    UsageError
        The text is not a size above 0.
    """
    found = _SIZE.fullmatch(text.strip())
    size = 0.0
    if found:
        units = _BINARY if found[3] else _UNITS
        size = float(found[1]) * units[found[2].upper()]
    if size < 1:
        raise UsageError(f"{OPTION} {text!r} is not a size; write a number and a unit, e.g. 500 MB, 8 GB, 1.5 GiB.")
    return int(size)


def parse_duration(text: str, option: str = "--time-limit") -> float:
    """Parse a duration such as 90s, 30m, 2h; a number alone means seconds.

    Parameters
    ----------
    text : str
        A number and a unit, as typed by the user.
    option : str
        Name of the option, for the error message.

    Returns
    -------
    float, seconds

    Raises
    ------
    UsageError
        The text is not a duration above 0.
    """
    found = _DURATION.fullmatch(text.strip())
    if not found or float(found[1]) <= 0:
        raise UsageError(f"{option} {text!r} is not a duration; write 90s, 30m or 2h.")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


def word_size(n_bytes: int) -> str:
    """Write a number of bytes as text, e.g. ``4.3 GB``."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if n_bytes >= size:
            tenths = (10 * n_bytes + size // 2) // size  # in integers, because a float overflows at 1e308
            return f"{tenths // 10}.{tenths % 10} {unit}"
    return f"{n_bytes} bytes"


def memory_here(root: Path = Path("/")) -> int:
    """Largest amount of memory that this process can use.

    Parameters
    ----------
    root : Path
        Parent folder of ``proc`` and ``sys``.

    Returns
    -------
    int, bytes
        The machine's memory, or less if a control group (of either version, or a parent of it) or the process's own
        limit of address space allows less.
    """
    soft = resource.getrlimit(resource.RLIMIT_AS)[0]
    limits = [] if soft == resource.RLIM_INFINITY else [soft]
    return min([int(psutil.virtual_memory().total), *limits, *_control_groups(root)])


def default_limit() -> int:
    """Half of the available memory, in bytes."""
    return memory_here() // 2


def load_blas() -> None:
    """Load SciPy's OpenBLAS if address space is limited (``ulimit -v``), before trainings use it up.

    If there is no room for its buffer of 32 MB, OpenBLAS tries to allocate it again and again and never returns.

    Raises
    ------
    OSError
        There is not enough address space left.
    """
    if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY or _BLAS in sys.modules:
        return
    mmap.mmap(-1, _BLAS_ROOM).close()
    import_module(_BLAS)


def _control_groups(root: Path) -> list[int]:
    """Memory limits of this process's control groups and of all their parents."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []  # no control groups on this system
    found = []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            base, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            base, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        below = base / path.lstrip("/")
        for folder in (below, *below.parents):
            if not folder.is_relative_to(base):
                break
            try:
                text = (folder / name).read_text(encoding="ascii").strip()
            except (OSError, UnicodeDecodeError):
                continue  # in a container the path may be that of the host; the container's own limit is at the base
            if text.isdigit():  # version 2 has "max" if there is no limit
                found.append(int(text))
    return found


def require(
    where: object, n_bytes: int, limit: int | None, what: str = "reading it", error: type[TunerError] = DataError
) -> None:
    """Refuse an allocation above the memory limit, before it is made.

    Parameters
    ----------
    where : object
        The file, as named in the message.
    n_bytes : int
        Memory that will be needed.
    limit : int, optional, bytes
        Memory that is allowed (``--max-memory``); by default half of the available memory.
    what : str
        What needs the memory, e.g. ``"reading it"`` or ``"X_train of shape (10, 4, 200)"``.
    error : type of TunerError
        Type of the error.

    Raises
    ------
    TunerError
        The limit would be exceeded; of type `error`, and names file, size, limit and option.
    """
    allowed = default_limit() if limit is None else limit
    if n_bytes <= allowed:
        return
    here = memory_here()
    remedy = f"allow more with {OPTION} '{word_size(n_bytes + n_bytes // 10)}'"
    if n_bytes > here:
        remedy = f"read it on a machine with more memory than the {word_size(here)} here, or make it smaller"
    raise error(
        f"{where}: {what} takes about {word_size(n_bytes)} of memory; {word_size(allowed)} are allowed ({OPTION}, "
        f"by default half of the available memory). If the file is correct, {remedy}."
    )
