"""Cache folders of this process: for data, which is checked when read, and for code, which only its user may write.

Data are kept in the cache: TUNER_CACHE_DIR, else XDG_CACHE_HOME/tuner, else ~/.cache/tuner. Code, that is, kernels
built here and what numba has compiled, is kept in a folder that nobody else can write (`tuner.private`). If there is
none, a private temporary folder is used, which is removed when the process ends; the workers of a run share the run's.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from tuner.cli import logs
from tuner.errors import CacheError
from tuner.private import first_private, is_guarded, private_folder, temporary_private_folder

TEMPORARY = "TUNER_PRIVATE_DIR"  # the temporary folder of the process that started this one
NUMBA = "NUMBA_CACHE_DIR"
# Caches of libraries whose defaults are predictable folders in the temporary folder, or in an unguarded home.
LIBRARIES = {"TORCHINDUCTOR_CACHE_DIR": "torch", "TRITON_CACHE_DIR": "triton"}


class Told:
    """Reasons why a wanted folder is not used: kept until a command needs the folder, and printed once."""

    waiting: dict[str, None] = {}  # noqa: RUF012  # an ordered set of this process
    done: dict[str, None] = {}  # noqa: RUF012


def cache_dir() -> Path:
    """Folder of downloads and screened motif databases.

    Raises
    ------
    CacheError
        There is no usable folder.
    """
    if given := os.environ.get("TUNER_CACHE_DIR"):
        reason = _unwritable(Path(given))
        if not reason:
            return Path(given)
        _remember("TUNER_CACHE_DIR", [reason])
    elif (home := _home_cache()) is not None:
        found, reasons = first_private([home])
        if found is not None:
            return found
        _remember("the cache", reasons)
    folder = _temporary()
    _tell(folder)
    return folder


def code_dir() -> Path:
    """Folder of code that this process loads, to which only this user can write.

    With TUNER_CACHE_DIR it is the user's own subfolder there, or, if others can replace that, the user's own cache.

    Raises
    ------
    CacheError
        There is no such folder, not even a temporary one.
    """
    folder = _code()
    _tell(folder)
    return folder


def numba_dir() -> Path:
    """Folder for numba's compiled code: NUMBA_CACHE_DIR if nobody else can write there, else below `code_dir`.

    Raises
    ------
    CacheError
        As for `code_dir`.
    """
    folder = _numba()
    _tell(folder)
    return folder


def prepare_places() -> None:
    """Tell libraries that are imported later where to keep their caches.

    Nothing is printed and nothing fails here, because most commands load no such code; those that do call `code_dir`.
    """
    try:
        os.environ[NUMBA] = str(_numba())
    except CacheError:
        os.environ.pop(NUMBA, None)
        return
    for variable, name in LIBRARIES.items():
        os.environ.setdefault(variable, str(_code() / name))
    if not _home_is_guarded():
        os.environ.setdefault("MPLCONFIGDIR", str(private_folder(_code() / "matplotlib")))


def _code() -> Path:
    given, home = os.environ.get("TUNER_CACHE_DIR"), _home_cache()
    wanted = [Path(given) / f"code-{os.geteuid()}"] if given else []
    found, reasons = first_private([*wanted, *([] if home is None else [home])])
    _remember("compiled code", reasons)
    return found or _temporary()


def _numba() -> Path:
    if given := os.environ.get(NUMBA):
        if is_guarded(Path(given)):
            return Path(given)
        found, reasons = first_private([Path(given)])
        if found is not None:
            return found
        _remember(NUMBA, reasons)
    return private_folder(_code() / "numba")


def _temporary() -> Path:
    """A temporary folder for this process and those that it starts."""
    if inherited := os.environ.get(TEMPORARY):
        found, _ = first_private([Path(inherited)])
        if found is not None:
            return found
    made = temporary_private_folder()
    os.environ[TEMPORARY] = str(made)
    return made


def _home(variable: str, name: str) -> Path | None:
    """A folder of the XDG standard; None if no home is known."""
    if given := os.environ.get(variable):
        return Path(given)
    try:
        home = Path.home()
    except RuntimeError:  # no HOME, and no entry of this user in the password file
        return None
    return home / name if home.is_absolute() else None


def _home_cache() -> Path | None:
    base = _home("XDG_CACHE_HOME", ".cache")
    return None if base is None else base / "tuner"


def _home_is_guarded() -> bool:
    """Whether libraries can keep their settings and caches in the default places."""
    bases = (_home("XDG_CACHE_HOME", ".cache"), _home("XDG_CONFIG_HOME", ".config"))
    return all(
        base is not None and is_guarded(_existing(base)) and os.access(_existing(base), os.W_OK) for base in bases
    )


def _existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.parents) if place.exists())


def _unwritable(folder: Path) -> str:
    """Why a folder cannot be written; empty if it can."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as e:
        return f"{folder} cannot be written ({e.strerror})."


def _remember(what: str, reasons: list[str]) -> None:
    Told.waiting |= {f"warning: {what}: {reason}": None for reason in reasons}


def _tell(folder: Path) -> None:
    """Say once why something is kept in `folder`."""
    for text in [text for text in Told.waiting if text not in Told.done]:
        logs.say(f"{text} {folder} is used instead.")
        Told.done[text] = None
    Told.waiting.clear()
