"""The exception tree, and the one sentence that names the nearest known name.

An error says what was wrong, where, and what to do. `exit_code` is what the command line leaves with:
1 for something that failed, 2 for something the user can type differently.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable

LONGEST = 200  # characters of a name that is shown


class TunerError(Exception):
    """Root of every error this package raises on purpose."""

    exit_code = 1


class UsageError(TunerError):
    """A command line that asks for something that does not exist or contradicts itself."""

    exit_code = 2


class DataError(TunerError):
    """A data file that is missing, broken, or not what its reader expects."""


class MotifError(TunerError):
    """A motif file, matrix, or database that cannot be matched."""


class ModelError(TunerError):
    """A network that cannot be built from these hyperparameters."""


class AttributionError(TunerError):
    """An attribution that cannot be computed, or whose contributions do not add up."""


class TrainingDiverged(TunerError):
    """The loss or the weights stopped being finite."""


class MetricError(TunerError):
    """A metric that is undefined for these labels or scores."""


class DeviceError(TunerError):
    """A device that does not exist here, or has no memory left."""

    exit_code = 2


class SearchSpaceError(TunerError):
    """A search-space file that is malformed or names something unknown."""

    exit_code = 2


class StudyError(TunerError):
    """A study file that is malformed, or a stored study that does not fit the files at hand."""

    exit_code = 2


class ForeignStudy(StudyError):
    """A study of the database that another program made."""

    exit_code = 1


class NoResult(TunerError):
    """A study whose trials have ended without one that completed: nothing can be shown, scored or recommended."""


class StorageError(TunerError):
    """A database or artifact store that cannot be reached, read, or written."""


class CacheError(TunerError):
    """A folder that others could put code into, or in which nothing can be kept."""


class AttemptSuperseded(TunerError):
    """An attempt whose slot was given to another worker; its results must not be stored."""


class StudyGone(AttemptSuperseded):
    """A study that was deleted, or deleted and made again, while a process worked on it."""


_MEMORY = (  # what programs say that got no memory: torch on the CPU, C++, CUDA, the loader of shared libraries
    "can't allocate memory",
    "cannot allocate memory",
    "bad_alloc",
    "out of memory",
    "failed to map segment from shared object",
    "could not create a primitive",  # oneDNN; where it is not memory, a "primitive descriptor"
)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or what it was raised from, says that memory ran out, whoever asked for it."""
    while error is not None:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
            return True
        if type(error).__name__ == "OutOfMemoryError":  # torch's on a GPU, whatever it says; nothing here imports torch
            return True
        text = str(error).lower().replace("primitive descriptor", "")
        if isinstance(error, RuntimeError | ImportError | OSError) and any(words in text for words in _MEMORY):
            return True
        error = _before(error)
    return False


def root_of(error: BaseException) -> BaseException:
    """The first of the errors that an error was raised from: it says what happened."""
    while (before := _before(error)) is not None:
        error = before
    return error


def _before(error: BaseException) -> BaseException | None:
    """What an error was raised from; of a library that failed to load, also what it forgot to name (llvmlite)."""
    if error.__cause__ is None and not error.__suppress_context__ and isinstance(error, ImportError | OSError):
        return error.__context__
    return error.__cause__


def unknown(kind: str, name: object, known: Iterable[object]) -> str:
    """Word an unknown name: what it is, the nearest known names, else all of them.

    Parameters
    ----------
    kind : str
        What the name was supposed to be, e.g. ``"activation"``.
    name : object
        The name as given.
    known : iterable of object
        Every name that would have worked.

    Returns
    -------
    str
        ``unknown activation 'exponentail'; did you mean 'exponential'?``
    """
    names = sorted(str(k) for k in known)
    given = str(name)
    name = given if len(given) <= LONGEST else given[:LONGEST] + "..."
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names) or 'none'}."
    return f"unknown {kind} {name!r}; {hint}"


def permission(error: OSError) -> str:
    """What to do about a file that may not be read, as a sentence after others; nothing where that is not the fault."""
    denied = error.errno in (errno.EACCES, errno.EPERM)
    return " Ask its owner for permission to read the file and its folder." if denied else ""


def reason_of(error: BaseException) -> str:
    """Word an error in one line: an error of this package as it is, any other with its type."""
    text = " ".join(str(error).split())
    if isinstance(error, TunerError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
