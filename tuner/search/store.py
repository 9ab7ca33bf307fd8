"""Stores of bytes by key: a folder, or a prefix of an S3 bucket.

Both are Optuna artifact stores, so that its dashboard reads them, and list what they hold besides. What goes wrong
is a StorageError of one line without secrets.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol, TypeVar

from optuna.artifacts import FileSystemArtifactStore
from optuna.artifacts.exceptions import ArtifactNotFound

from tuner.errors import StorageError

T = TypeVar("T")

HALF = ".part"  # ending of a file that is being written, and of what a kill then leaves
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
    age : float
        Seconds since it was written, by the store's clock.
    """

    key: str
    size: int
    age: float


class StoreAway(StorageError):
    """A store that may answer later: no connection, no bucket, no permission."""


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
        """Open an object; ArtifactNotFound if there is none of this key."""
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


def open_store(where: str | Path) -> Store:
    """Open a store, and see that it answers.

    Parameters
    ----------
    where : str or Path
        A folder, which is made, or ``s3://BUCKET/PREFIX``. Credentials, region and endpoint of S3 are AWS's own
        environment variables and files.

    Raises
    ------
    StorageError
        A folder that cannot be made, an address that is none, a bucket that does not answer.
    """
    text = str(where)
    if not text.startswith("s3:"):
        if "://" in text:
            raise StorageError(
                f"{text.partition('://')[0]}://: artifacts are kept in a folder or in s3://BUCKET/PREFIX."
            )
        return FolderStore(Path(where))
    try:
        from tuner.search.s3 import open_s3
    except ModuleNotFoundError as e:
        raise StorageError("artifacts in s3:// need boto3; pip install 'tuner[s3]'.") from e
    return open_s3(text)


def is_remote(where: str | Path) -> bool:
    """Whether an address of artifacts is no folder."""
    return str(where).startswith("s3:")


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
    pause = FIRST_PAUSE
    while True:
        try:
            return work()
        except StoreAway:
            if time.monotonic() + pause > until:
                raise
        time.sleep(pause)
        pause = min(2 * pause, LAST_PAUSE)


class FolderStore(FileSystemArtifactStore):
    """Objects as files of a folder.

    Parameters
    ----------
    folder : Path
        Made if it does not exist.

    Raises
    ------
    StorageError
        The folder cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise StorageError(
                f"{folder}: cannot keep artifacts here ({e.strerror}). Choose another folder with --artifacts."
            ) from e
        super().__init__(folder)
        self._folder = folder

    @property
    def address(self) -> str:
        """The folder."""
        return str(self._folder)

    @property
    def folder(self) -> Path:
        """The folder."""
        return self._folder

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Open a file."""
        return super().open_reader(check_key(artifact_id))

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Write a file beside its place and move it there, so that no reader sees a half."""
        path = self._folder / check_key(artifact_id)
        part = path.with_name(f"{path.name}.{uuid.uuid4().hex}{HALF}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(content_body.read())
            os.replace(part, path)
        except OSError as e:
            raise StorageError(f"{self._folder}: cannot write {artifact_id} ({e.strerror}).") from e
        finally:
            part.unlink(missing_ok=True)

    def remove(self, artifact_id: str) -> None:
        """Remove a file."""
        try:
            (self._folder / check_key(artifact_id)).unlink(missing_ok=True)
        except OSError as e:
            raise StorageError(f"{self._folder}: cannot remove {artifact_id} ({e.strerror}).") from e

    def find(self, prefix: str = "") -> Iterator[Stored]:
        """Files, those in sub-folders and half-written ones included."""
        parent, _, start = prefix.rpartition("/")
        base = self._folder / check_key(parent) if parent else self._folder
        now = time.time()
        for top in base.glob(f"{check_key(start) if start else ''}*"):
            for path in (top, *top.rglob("*")) if top.is_dir() else (top,):
                with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                    found = path.stat()
                    if stat.S_ISREG(found.st_mode):
                        yield Stored(path.relative_to(self._folder).as_posix(), found.st_size, now - found.st_mtime)


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
    ArtifactNotFound
        There is none of this key.
    StorageError
        It cannot be read, or is too large.
    """
    try:
        with store.open_reader(key) as stream:
            content = stream.read() if limit is None else stream.read(limit + 1)
    except OSError as e:
        raise StorageError(f"{store.address}: cannot read {key} ({e.strerror}).") from e
    if limit is not None and len(content) > limit:
        raise StorageError(f"{store.address}: {key} is larger than {limit} bytes; it was not read.")
    return content


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
    "HALF", "ArtifactNotFound", "FolderStore", "Store", "StoreAway", "Stored",
    "check_key", "is_remote", "open_store", "patiently", "read", "write",
]  # fmt: skip
