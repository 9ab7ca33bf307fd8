"""What a store of bytes by key is, and how it is read and written patiently.

Stores have the methods of Optuna's artifact stores, so that its dashboard reads them, and list what they hold. What
goes wrong is a StorageError of one line without secrets. `stores.py` and `remote.py` have the kinds.
"""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol, TypeVar

from tuner.errors import StorageError
from tuner.files import HALF
from tuner.storage.outage import Outage

T = TypeVar("T")

PART = 1 << 20  # bytes read at a time

FIRST_PAUSE, LAST_PAUSE = 0.5, 10.0  # seconds between tries
# One file: a part of a key is a name, never a path.
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class Stored(NamedTuple):
    """One object of a store.

    Attributes
    ----------
    key : str
        Its name, parts separated by ``/``.
    size : int
        Bytes.
    modified : float
        When it was written, in seconds since the epoch by the store's clock.
    """

    key: str
    size: int
    modified: float


class ObjectNotFound(StorageError):
    """A store that answers has no object of this key."""


class StoreAway(StorageError):
    """A store that may answer later: no connection, no bucket, no permission, a full or read-only disk."""


class TooLarge(StorageError):
    """An object that is larger than it may be; it was not read."""


class Store(Protocol):
    """Bytes by key. Besides these methods it has `open_reader`, `write` and `remove` of an Optuna artifact store."""

    @property
    def address(self) -> str:
        """Where it is, without secrets."""
        ...

    @property
    def folder(self) -> Path | None:
        """The folder that it is; None for a store that no path reaches."""
        ...

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Open an object; ObjectNotFound if there is none of this key."""
        ...

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Write an object whole or not at all; one of this key is replaced."""
        ...

    def remove(self, artifact_id: str) -> None:
        """Remove an object; one that is not there is removed already."""
        ...

    def find(self, prefix: str = "") -> Iterator[Stored]:
        """Objects whose keys begin with `prefix`, in no order."""
        ...

    def clock(self) -> float:
        """The time by the clock that `find` tells times by, in seconds since the epoch."""
        ...


def check_key(key: str) -> str:
    """Refuse a key that could leave the store.

    Raises
    ------
    StorageError
        An empty part, one that begins with a dot, or letters that are none of a name.
    """
    if len(key) > 500 or not all(_PART.fullmatch(part) for part in key.split("/")):
        raise StorageError(f"{key[:80]!r} is no name of a stored file.")
    return key


def patiently(work: Callable[[], T], *, until: float) -> T:
    """Run `work` until it succeeds, its error is final, or the monotonic time `until` has come.

    Raises
    ------
    StorageError
        The store refuses, or stayed away.
    """
    pause, started = FIRST_PAUSE, time.monotonic()
    outage = Outage(until - started)
    place = ""
    while True:
        try:
            result = work()
        except StoreAway as e:
            place = str(e).partition(": ")[0]
            if time.monotonic() + pause > until:
                raise
            outage.failed(str(e), started=started, at_once=True)
        else:
            outage.worked(place)
            return result
        time.sleep(pause)
        pause = min(2 * pause, LAST_PAUSE)


def read(store: Store, key: str, limit: int | None = None) -> bytes:
    """Read an object.

    Parameters
    ----------
    store : Store
        Where.
    key : str
        Which.
    limit : int, optional
        Refuse what is larger, in bytes.

    Raises
    ------
    ObjectNotFound
        There is none of this key.
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
    """In parts: one read of a size that was declared too large would take that memory at once."""
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
