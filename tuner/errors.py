"""The exceptions of this package, and functions that word errors.

An error says what was wrong, where, and what to do. `exit_code` is the exit status of the command line:
1 if something failed, 2 if the user should type something else.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable

LONGEST = 200  # characters of a name that is shown


class TunerError(Exception):
    """Base class of all errors that this package raises on purpose."""

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
    """A device that this machine does not have, or that has no memory left."""

    exit_code = 2


class SearchSpaceError(TunerError):
    """A search-space file that is malformed or names something unknown."""

    exit_code = 2


class StudyError(TunerError):
    """A study file that is malformed, or a stored study that does not match the given files."""

    exit_code = 2


class ForeignStudy(StudyError):
    """A study in the database that another program created."""

    exit_code = 1


class NoResult(TunerError):
    """A study in which trials have ended but none completed: there is nothing to show, score or recommend."""


class StorageError(TunerError):
    """A database or artifact store that cannot be reached, read, or written."""


class CacheError(TunerError):
    """A cache folder into which others could put code, or that cannot be written."""


class AttemptSuperseded(TunerError):
    """An attempt whose slot was given to another worker; its results must not be stored."""


class StudyGone(AttemptSuperseded):
    """A study that was deleted, or deleted and created again, while a process worked on it."""


_MEMORY = (  # in messages about failed allocations of torch on the CPU, C++, CUDA and the dynamic loader
    "can't allocate memory",
    "cannot allocate memory",
    "bad_alloc",
    "out of memory",
    "failed to map segment from shared object",
    "could not create a primitive",  # oneDNN; errors with other causes name a "primitive descriptor"
)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or one that it was raised from, means that memory ran out."""
    while error is not None:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
            return True
        if type(error).__name__ == "OutOfMemoryError":  # of torch on a GPU; nothing here imports torch
            return True
        text = str(error).lower().replace("primitive descriptor", "")
        if isinstance(error, RuntimeError | ImportError | OSError) and any(words in text for words in _MEMORY):
            return True
        error = _before(error)
    return False


def root_of(error: BaseException) -> BaseException:
    """The first error in the chain of causes, which says what happened."""
    while (before := _before(error)) is not None:
        error = before
    return error


def _before(error: BaseException) -> BaseException | None:
    """The cause of an error; for a library that failed to load, also a cause that it did not name (llvmlite)."""
    if error.__cause__ is None and not error.__suppress_context__ and isinstance(error, ImportError | OSError):
        return error.__context__
    return error.__cause__


def unknown(kind: str, name: object, known: Iterable[object]) -> str:
    """Word an error about an unknown name, with the nearest known name, or all of them.

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
    """What to do about a file without read permission, as a sentence to append; empty for any other error."""
    denied = error.errno in (errno.EACCES, errno.EPERM)
    return " Ask its owner for permission to read the file and its folder." if denied else ""


def reason_of(error: BaseException) -> str:
    """An error in one line: its message, preceded by its type if it is not an error of this package."""
    text = " ".join(str(error).split())
    if isinstance(error, TunerError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
