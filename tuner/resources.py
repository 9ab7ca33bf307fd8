"""Finding study and search-space files: in the current folder first, then among those shipped with the package.

A name (``zbed2``) is looked up as ``./studies/zbed2.toml``, then ``./zbed2.toml``, then among the shipped files.
Anything with a slash or the ending ``.toml`` is used as a path.
"""

from __future__ import annotations

import errno
import stat
from pathlib import Path
from typing import Literal

from tuner.errors import LONGEST, SearchSpaceError, StudyError, TunerError, unknown

RUNS = Path("runs")  # default folder of studies and their files, in the current folder

Kind = Literal["studies", "search_spaces"]

_WORDS: dict[Kind, tuple[str, type[TunerError]]] = {
    "studies": ("study", StudyError),
    "search_spaces": ("search space", SearchSpaceError),
}


def find_resource(kind: Kind, name: str, folder: Path) -> Path:
    """Find the file of a study or search space.

    Parameters
    ----------
    kind : {"studies", "search_spaces"}
        Kind of file.
    name : str
        A name (``zbed2``), or a path (contains ``/`` or ends with ``.toml``), which may be relative to `folder`.
    folder : pathlib.Path
        The current folder; its files take precedence over the shipped ones.

    Returns
    -------
    pathlib.Path
        Absolute path of an existing file.

    Raises
    ------
    StudyError, SearchSpaceError
        There is no such file, in which case the nearest known name is given; or it is a folder or a pipe, or may not
                be accessed.
    """
    word, error = _WORDS[kind]
    if "/" in name or name.endswith(".toml"):
        path = folder / name
        if _is_file(path, name, error, others=True):
            return path.resolve()
        known = list_resources(kind, folder)
        stem = Path(name).stem
        hint = f"The {word} {stem!r} exists: give its name without '.toml'." if stem in known else "Check the path."
        raise error(f"{name}: there is no such {word} file in {folder.resolve()}. {hint}")
    found = _named(kind, name, folder)
    if found is None:
        raise error(unknown(word, name, list_resources(kind, folder)))
    return found


def list_resources(kind: Kind, folder: Path) -> dict[str, Path]:
    """List every name that `find_resource` knows with its file, sorted by name.

    Parameters
    ----------
    kind : {"studies", "search_spaces"}
        Kind of file.
    folder : pathlib.Path
        The current folder. Files directly in it are listed only if they shadow a known name, because it may contain
        any other TOML files.
    """
    names = {path.stem for place in (folder / kind, _shipped(kind)) for path in place.glob("*.toml")}
    found = ((name, _named(kind, name, folder)) for name in sorted(names))
    return {name: path for name, path in found if path is not None}


def _named(kind: Kind, name: str, folder: Path) -> Path | None:
    for place in (folder / kind, folder, _shipped(kind)):
        path = place / f"{name}.toml"
        if name and _is_file(path, str(path), _WORDS[kind][1]):
            return path.resolve()
    return None


def _is_file(path: Path, shown: str, error: type[TunerError], *, others: bool = False) -> bool:
    """Whether a path is a regular file; with `others`, a folder or a pipe raises an error that says so."""
    try:
        mode = path.stat().st_mode
    except OSError as e:
        if e.errno in (errno.ENOENT, errno.ENOTDIR):
            return False
        raise error(f"{shown[:LONGEST]}: cannot be looked up ({e.strerror}).") from e
    except ValueError:  # a path with a null byte
        return False
    if others and not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "a pipe, a socket or a device, which can be read only once"
        raise error(f"{shown}: it is {what}; expected a TOML file.")
    return stat.S_ISREG(mode)


def _shipped(kind: Kind) -> Path:
    """Folder of shipped files: inside the package, or beside it in an editable install."""
    package = Path(__file__).parent
    inside = package / kind
    return inside if inside.is_dir() else package.parent / kind
