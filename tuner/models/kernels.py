"""The library of the C++ kernels in this folder: built once per kind of processor, loaded once per process.

It runs with the rights of the person who loads it. It is therefore kept in a folder that nobody else can write to, its
name is the digest of what it was built from, and its own digest, stored next to it, is checked before it is opened; if
it differs, the library is built again.
"""

from __future__ import annotations

import ctypes
import hashlib
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from filelock import FileLock
from torch import Tensor

from tuner.errors import CacheError
from tuner.private import private_folder

_HERE = Path(__file__).parent
_SOURCES = tuple(_HERE / name for name in ("convolutions.cpp", "elementwise.cpp", "norms.cpp"))
_OPTIONS = ("-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
_COMPILERS = ("c++", "g++", "clang++")
_BUILD_SECONDS = 300
# Kernels whose scratch memory grows with the data; the others take a few kilobytes.
_ALLOCATE = frozenset({"weight_gradient", "first_forward", "first_highest", "first_gradient"})


class Library:
    """The loaded kernels, if any."""

    loaded: ctypes.CDLL | None = None


def find_compiler() -> str | None:
    """Path of the C++ compiler that `load` would use; None if there is none."""
    return next((path for name in _COMPILERS if (path := shutil.which(name))), None)


def load(folder: Path) -> str:
    """Build the kernels if `folder` lacks them, and load them.

    Parameters
    ----------
    folder : Path
        Cache folder that only this user can write to; created if it does not exist. Several processes may share it:
        one builds, the others wait.

    Returns
    -------
    str
        Empty if the kernels are loaded, otherwise the reason why not, e.g. that others can write to `folder`.
    """
    compiler = find_compiler()
    if compiler is None:
        return f"no C++ compiler ({', '.join(_COMPILERS)}) on the PATH"
    texts = (source.read_text(encoding="utf-8") for source in (_HERE / "maps.hpp", *_SOURCES))
    identity = "\0".join((*texts, *_OPTIONS, compiler, platform.machine(), _processor()))
    name = f"kernels-{hashlib.sha256(identity.encode()).hexdigest()}"
    try:
        built = private_folder(folder) / f"{name}.so"
        if not _is_whole(built):
            with FileLock(built.with_name("compile.lock"), timeout=_BUILD_SECONDS):
                if not _is_whole(built):
                    _build(compiler, built)
        Library.loaded = ctypes.CDLL(str(built))
    except subprocess.CalledProcessError as error:
        return f"{compiler} failed: {error.stderr.strip().splitlines()[-1:]}"
    except (CacheError, OSError, subprocess.TimeoutExpired) as error:  # failing to get the lock is an OSError
        return str(error)
    return ""


def _digest_of(built: Path) -> Path:
    return built.with_suffix(".sha256")


def _is_whole(built: Path) -> bool:
    """Return whether the library exists and is byte for byte the one that was built."""
    try:
        recorded = _digest_of(built).read_text(encoding="ascii").strip()
        return hashlib.sha256(built.read_bytes()).hexdigest() == recorded
    except (FileNotFoundError, UnicodeDecodeError):
        return False


def _processor() -> str:
    """Description of the processor, which differs between processors for which -march=native means something else."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.platform() + platform.processor()
    return "".join(line for line in lines if line.startswith(("flags", "Features", "model name")))


def _build(compiler: str, built: Path) -> None:
    with tempfile.TemporaryDirectory(dir=built.parent) as scratch:
        new = Path(scratch) / built.name
        command = [compiler, *_OPTIONS, f"-I{_HERE}", *map(str, _SOURCES), "-o", str(new)]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_BUILD_SECONDS)
        digest = Path(scratch) / _digest_of(built).name
        digest.write_text(hashlib.sha256(new.read_bytes()).hexdigest(), encoding="ascii")
        new.replace(built)
        digest.replace(_digest_of(built))


def call(name: str, *arguments: Tensor | int | float | None) -> int:
    """Call a kernel: tensors are passed by address, integers as 64 bits, floats as C floats.

    Returns
    -------
    int
        The kernel's result; meaningless for kernels that return nothing.

    Raises
    ------
    MemoryError
        The kernel ran out of memory.
    """
    function = getattr(Library.loaded, name)
    function.restype = ctypes.c_int64
    values: list[Any] = []
    for argument in arguments:
        if isinstance(argument, Tensor):
            values.append(ctypes.c_void_p(argument.data_ptr()))
        elif argument is None:
            values.append(ctypes.c_void_p(None))
        else:
            values.append(ctypes.c_float(argument) if isinstance(argument, float) else ctypes.c_int64(argument))
    returned = int(function(*values))
    if name in _ALLOCATE and Library.loaded.memory_ran_out():  # type: ignore[union-attr]
        raise MemoryError(f"out of memory in the compiled kernel {name}")
    return returned
