"""The interface of a store of bytes by key, and reading, writing and waiting for one that is away.

Stores have the methods of Optuna's artifact stores, so that its dashboard can read them, and can also list their
objects. Their errors are StorageErrors of one line without secrets. `stores.py` and `remote.py` implement them.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol, TypeVar

from tuner.errors import StorageError
from tuner.files import HALF
from tuner.storage.outage import Away, pauses, wait_for

T = TypeVar("T")

PART = 1 << 20  # bytes read at a time

FIRST_PAUSE, LAST_PAUSE = 0.5, 10.0  # seconds between tries
# Each part of a key is a file name, never a path.
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class Stored(NamedTuple):
    """An object of a store.

    Attributes
    ----------
    key : str
        Its name, with parts separated by ``/``.
    size : int
        Size in bytes.
    modified : float
        When it was written, in seconds since the epoch by the store's clock.
    """

    key: str
    size: int
    modified: float


class ObjectNotFound(StorageError):
    """The store answers, but has no object with this key."""


class StoreAway(StorageError):
    """The store may answer later: no connection, no bucket, no permission, a full or read-only disk.

    Parameters
    ----------
    place : str
        The store.
    reason : str
        Why it does not answer.
    """

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place}: {reason}")
        self.place = place


class TooLarge(StorageError):
    """The object is larger than allowed; it was not read."""


class Store(Protocol):
    """Bytes by key; `open_reader`, `write` and `remove` are the methods of an Optuna artifact store."""

    @property
    def address(self) -> str:
        """Where it is, without secrets."""
        ...

    @property
    def folder(self) -> Path | None:
        """The folder of the objects; None for a remote store."""
        ...

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Open an object; raises ObjectNotFound if there is none with this key."""
        ...

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Write an object completely or not at all; an existing one with this key is replaced."""
        ...

    def remove(self, artifact_id: str) -> None:
        """Remove an object; does nothing if it does not exist."""
        ...

    def find(self, prefix: str = "") -> Iterator[Stored]:
        """Objects whose keys begin with `prefix`, in no particular order."""
        ...

    def clock(self) -> float:
        """Seconds since the epoch by the clock of the times that `find` returns."""
        ...


def check_key(key: str) -> str:
    """Refuse a key that could lead out of the store.

    Raises
    ------
    StorageError
        A part is empty, begins with a dot, or contains characters that a name cannot have.
    """
    if len(key) > 500 or not all(_PART.fullmatch(part) for part in key.split("/")):
        raise StorageError(f"{key[:80]!r} is not the name of a stored file.")
    return key


def patiently(work: Callable[[], T], *, until: float) -> T:
    """Run `work` until it succeeds, its error is final, or the monotonic time `until` is reached.

    Raises
    ------
    StorageError
        The store refuses, or stayed away.
    """
    return wait_for(
        work,
        away=lambda e: Away(e.place, str(e)) if isinstance(e, StoreAway) else None,
        until=until,
        between=pauses(FIRST_PAUSE, LAST_PAUSE),
    )


def read(store: Store, key: str, limit: int | None = None) -> bytes:
    """Read an object.

    Parameters
    ----------
    store : Store
        The store.
    key : str
        Key of the object.
    limit : int, optional
        Largest accepted size in bytes.

    Raises
    ------
    ObjectNotFound
        There is none with this key.
    TooLarge
        It has more than `limit` bytes.
    StorageError
        It cannot be read.
    """
    try:
        with store.open_reader(key) as stream:
            content = stream.read() if limit is None else _at_most(stream, limit + 1)
    except OSError as e:
        raise StorageError(f"{store.address}: cannot read {key} ({e.strerror}).") from e
    if limit is not None and len(content) > limit:
        raise TooLarge(f"{store.address}: {key} is larger than {limit} bytes; it was not read.")
    return content


def _at_most(stream: BinaryIO, size: int) -> bytes:
    """Read in parts, because a single read would allocate the declared size at once."""
    parts = []
    while size > 0 and (part := stream.read(min(size, PART))):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def write(store: Store, key: str, content: bytes) -> None:
    """Write an object.

    Raises
    ------
    StorageError
        It cannot be written.
    """
    try:
        store.write(key, io.BytesIO(content))
    except OSError as e:
        raise StorageError(f"{store.address}: cannot write {key} ({e.strerror}).") from e


__all__ = [
    "HALF",
    "ObjectNotFound",
    "Store",
    "StoreAway",
    "Stored",
    "TooLarge",
    "check_key",
    "patiently",
    "read",
    "write",
]
