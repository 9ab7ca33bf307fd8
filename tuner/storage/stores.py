"""Opening a store by its address (a folder, or a prefix of a bucket), and the store in a folder."""

from __future__ import annotations

import contextlib
import errno
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tuner.errors import StorageError
from tuner.files import make_folder, replacing
from tuner.resources import RUNS
from tuner.storage.outage import room
from tuner.storage.store import ObjectNotFound, Store, StoreAway, Stored, check_key

# Errors of a disk that is full, read-only, failing or away for now.
PASSING = frozenset(
    {
        errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT,
        errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENODEV, errno.ENXIO,
    }
)  # fmt: skip

REMOTE = ("s3", "gs", "az")  # schemes of `remote.py`, which is imported only for them
_PLACES = "s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX"


def open_store(where: str | Path, *, reading: bool = False) -> Store:
    """Open a store and check that it answers.

    Parameters
    ----------
    where : str or Path
        A folder, which is created, or ``s3://BUCKET/PREFIX``, ``gs://BUCKET/PREFIX``, ``az://CONTAINER/PREFIX``.
        Credentials, region and endpoint come from the provider's own environment variables and files.
    reading : bool
        Do not create the folder before something is written.

    Raises
    ------
    StorageError
        A folder that cannot be created, an invalid address, or a bucket that does not answer.
    """
    text = str(where)
    scheme = _scheme(text)
    if scheme in REMOTE:
        from tuner.storage.remote import open_remote

        return open_remote(text)
    if "://" in text:
        raise StorageError(f"{scheme}://: artifacts are kept in a folder, or in {_PLACES}.")
    return FolderStore(Path(where), make=not reading)


def is_remote(where: str | Path) -> bool:
    """Whether an address of artifacts is that of a bucket."""
    return _scheme(str(where)) in REMOTE


def _scheme(text: str) -> str:
    return text.partition(":")[0] if ":" in text else ""


def local_folder(where: str | Path) -> Path:
    """The folder of the artifacts, or the default one for a remote store. Logs and checkpoints are kept beside it."""
    return RUNS / "artifacts" if is_remote(where) else Path(where)


class FolderStore:
    """Objects as files of a folder.

    Parameters
    ----------
    folder : Path
        Folder of the files.
    make : bool
        Create the folder now if it does not exist, instead of when something is written.

    Raises
    ------
    StorageError
        The folder cannot be created.
    """

    def __init__(self, folder: Path, *, make: bool = True) -> None:
        try:
            if make:
                make_folder(folder)
        except OSError as e:
            raise StorageError(
                f"{folder}: cannot keep artifacts here ({e.strerror}). Choose another folder with --artifacts."
            ) from e
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
        path = self._folder / check_key(artifact_id)
        try:
            return path.open("rb")
        except FileNotFoundError as e:
            raise ObjectNotFound(f"{self._folder}: there is no {artifact_id}.") from e

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Write to a temporary file and rename it, so that neither a reader nor a power cut finds half a file."""
        path = self._folder / check_key(artifact_id)
        try:
            make_folder(path.parent)
            with replacing(path, prefix="") as part:  # a name that identifies the owner of a half-written file
                part.write_bytes(content_body.read())
        except OSError as e:
            what = f"cannot write {artifact_id} ({e.strerror}"
            if e.errno in PASSING:
                raise StoreAway(str(self._folder), f"{what}; {room(self._folder)}).") from e
            raise StorageError(f"{self._folder}: {what}).") from e

    def remove(self, artifact_id: str) -> None:
        """Remove a file."""
        try:
            (self._folder / check_key(artifact_id)).unlink(missing_ok=True)
        except OSError as e:
            raise StorageError(f"{self._folder}: cannot remove {artifact_id} ({e.strerror}).") from e

    def find(self, prefix: str = "") -> Iterator[Stored]:
        """Files, including those in subfolders and half-written ones."""
        parent, _, start = prefix.rpartition("/")
        base = self._folder / check_key(parent) if parent else self._folder
        for top in base.glob(f"{check_key(start) if start else ''}*"):
            for path in (top, *top.rglob("*")) if top.is_dir() else (top,):
                with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                    found = path.stat()
                    if stat.S_ISREG(found.st_mode):
                        yield Stored(path.relative_to(self._folder).as_posix(), found.st_size, found.st_mtime)

    def clock(self) -> float:
        """The clock of this machine."""
        return time.time()
