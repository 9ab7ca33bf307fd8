"""The kinds of stores, by their address: a folder, or a prefix of an S3 bucket."""

from __future__ import annotations

import contextlib
import errno
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from optuna.artifacts import FileSystemArtifactStore

from tuner.errors import StorageError
from tuner.files import make_folder, replacing
from tuner.resources import RUNS
from tuner.storage.outage import room
from tuner.storage.store import Store, StoreAway, Stored, check_key

# A disk that is full, read-only, failing or away for now.
PASSING = frozenset(
    {
        errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT,
        errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENODEV, errno.ENXIO,
    }
)  # fmt: skip


def open_store(where: str | Path, *, reading: bool = False) -> Store:
    """Open a store, and see that it answers.

    Parameters
    ----------
    where : str or Path
        A folder, which is made, or ``s3://BUCKET/PREFIX``. Credentials, region and endpoint of S3 are AWS's own
        environment variables and files.
    reading : bool
        A folder is not made before something is written.

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
        return FolderStore(Path(where), make=not reading)
    try:
        from tuner.storage.s3 import open_s3
    except ModuleNotFoundError as e:
        raise StorageError("artifacts in s3:// need boto3; pip install 'tuner[s3]'.") from e
    return open_s3(text)


def is_remote(where: str | Path) -> bool:
    """Whether an address of artifacts is no folder."""
    return str(where).startswith("s3:")


def local_folder(where: str | Path) -> Path:
    """The folder of the artifacts; of a store that is none, the default one. Logs and checkpoints lie beside it."""
    return RUNS / "artifacts" if is_remote(where) else Path(where)


class FolderStore(FileSystemArtifactStore):
    """Objects as files of a folder.

    Parameters
    ----------
    folder : Path
        Where the files lie.
    make : bool
        Whether it is made now if it does not exist, or not before something is written.

    Raises
    ------
    StorageError
        The folder cannot be made.
    """

    def __init__(self, folder: Path, *, make: bool = True) -> None:
        try:
            if make:
                make_folder(folder)
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
        """Write a file beside its place and move it there: no reader sees a half, and no power cut leaves one."""
        path = self._folder / check_key(artifact_id)
        try:
            make_folder(path.parent)
            with replacing(path, prefix="") as part:  # a name that tells whose half it was
                part.write_bytes(content_body.read())
        except OSError as e:
            what = f"{self._folder}: cannot write {artifact_id} ({e.strerror}"
            if e.errno in PASSING:
                raise StoreAway(f"{what}; {room(self._folder)}).") from e
            raise StorageError(f"{what}).") from e

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
