"""Artifacts of trials (weights, filters, figures, tables): bytes in a store, names in the storage.

Optuna's own upload writes to the storage at once, even if another worker has the trial by then. Here the bytes go
to the store first and their entries are returned, to be stored in the same transaction as the trial's result, so a
superseded attempt leaves no entry. The entries have Optuna's form, so its dashboard shows them. The id of a file
begins with the token of the attempt that wrote it, so the writer of a file without an entry is still known.
"""

from __future__ import annotations

import contextlib
import json
import mimetypes
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from optuna.trial import FrozenTrial

from tuner.errors import StorageError
from tuner.storage.digests import (
    PREFIX,
    BadFile,
    Digest,
    describe,
    difference,
    expected_of,
    missing_names,
    name_of,
    not_written,
    recorded_digests,
    remedy_for,
    unusable,
)
from tuner.storage.keys import DIGESTS, MISSING, SIZES
from tuner.storage.store import ObjectNotFound, Store, StoreAway, TooLarge, patiently, read, write
from tuner.storage.stores import open_store

__all__ = [
    "DIGESTS",
    "MISSING",
    "OWNER",
    "PREFIX",
    "SIZES",
    "Artifacts",
    "BadFile",
    "Digest",
    "Held",
    "entries_of",
    "is_identifier",
    "missing_names",
    "not_written",
    "undigested",
]

# Key prefix and fields as optuna.artifacts writes them (Optuna 5.0).
CHECKPOINTS = "checkpoints/"  # prefix of the keys of checkpoint copies in a remote store
OWNER = 24  # characters that the ids of an attempt's files share with its token: 74 random bits
PATIENCE_SECONDS = 120.0

TYPES: Mapping[str, str] = {
    ".tsv": "text/tab-separated-values",
    ".meme": "text/plain",
    ".safetensors": "application/octet-stream",
    ".toml": "text/plain",
}


class Held(NamedTuple):
    """A file of a trial: where it is, without secrets, and whether it is still there."""

    place: str
    present: bool


class Artifacts:
    """The artifacts of trials in a store.

    Parameters
    ----------
    where : str or Path
        A folder, which is created, or ``s3://BUCKET/PREFIX``, ``gs://``, ``az://``.
    patience : float
        Seconds that one call waits for a store that is away. Opening does not wait.
    reading : bool
        Do not create the folder before something is written.

    Raises
    ------
    StorageError
        The folder cannot be created; the bucket does not answer.
    """

    def __init__(self, where: str | Path, *, patience: float = PATIENCE_SECONDS, reading: bool = False) -> None:
        self.store: Store = open_store(where, reading=reading)
        self.patience = patience

    @property
    def address(self) -> str:
        """Where the store is, without secrets."""
        return self.store.address

    @property
    def remote(self) -> bool:
        """Whether the store is not a folder."""
        return self.store.folder is None

    def put(self, files: Mapping[str, bytes], token: str | None = None, *, late: bool = False) -> dict[str, str]:
        """Write files to the store.

        Parameters
        ----------
        files : mapping of str to bytes
            File name (as users see it) -> content.
        token : str, optional
            Token of the attempt that writes them; without it, the files belong to the study.
        late : bool
            The attempt has ended: the files get ids that differ from those that it wrote.

        Returns
        -------
        dict of str to str
            System attributes that make the files artifacts of the trial that has them.

        Raises
        ------
        StorageError
            The store cannot be written, e.g. because the disk is full or the bucket stayed away. Files already
            written are removed again, or remain as leftovers.
        """
        until = time.monotonic() + self.patience
        entries: dict[str, str] = {}
        sizes: dict[str, int] = {}
        for i, (name, content) in enumerate(files.items()):
            identifier = str(uuid.uuid4()) if token is None else f"{token[:OWNER]}{_tail(i, late)}"
            kind = TYPES.get(Path(name).suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
            meta = {"artifact_id": identifier, "filename": name, "mimetype": kind, "encoding": None}
            entries[PREFIX + identifier] = json.dumps(meta)
            sizes[identifier] = len(content)
            try:
                self._write(identifier, content, until)
            except StoreAway as e:
                if not self.remote:  # on a full disk they take space; from a bucket nothing can be removed now
                    self.discard(entries)
                raise StorageError(f"{str(e).rstrip('.')}; waited {self.patience:.0f} s to write {name}.") from e
            except StorageError as e:
                self.discard(entries)
                raise StorageError(f"{name}: {e}") from e
        return entries if token is None else {**entries, SIZES: json.dumps(sizes), DIGESTS: describe(files)}

    def _write(self, key: str, content: bytes, until: float) -> None:
        patiently(lambda: write(self.store, key, content), until=until)

    def restore(self, identifier: str, content: bytes) -> None:
        """Write a lost or damaged file again, under its old id.

        Raises
        ------
        StorageError
            The store cannot be written.
        """
        self._write(identifier, content, time.monotonic() + self.patience)

    def discard(self, entries: Iterable[str]) -> None:
        """Remove the files of `entries` as far as possible now; the rest remain as leftovers."""
        with contextlib.suppress(StorageError):
            self.remove(entries)

    def remove(self, entries: Iterable[str]) -> None:
        """Remove the files of `entries`, as far as they exist.

        Raises
        ------
        StorageError
            A file cannot be removed.
        """
        until = time.monotonic() + self.patience
        for key in entries:
            identifier = key.removeprefix(PREFIX)
            if key.startswith(PREFIX) and is_identifier(identifier):  # another program's entry names no file of ours
                patiently(lambda one=identifier: self.store.remove(one), until=until)  # type: ignore[misc]

    def held(self, trial: FrozenTrial) -> dict[str, Held]:
        """Files of a trial by the name that users see; a file may have been lost since."""
        return {name: Held(self._place(i), self._exists(i)) for name, i in entries_of(trial)}

    def holds(self, trial: FrozenTrial, name: str) -> bool:
        """Whether a trial has a file and it is still in the store."""
        return any(self._exists(i) for n, i in entries_of(trial) if n == name)

    def paths(self, trial: FrozenTrial) -> dict[str, Path]:
        """Path of each file of a trial; empty for a remote store."""
        folder = self.store.folder
        return {} if folder is None else {name: folder / i for name, i in entries_of(trial)}

    def names(self, trial: FrozenTrial) -> list[str]:
        """Names of the files of a trial."""
        return [name for name, _ in entries_of(trial)]

    def _place(self, identifier: str) -> str:
        return f"{self.address}/{identifier}"

    def _exists(self, identifier: str) -> bool:
        until = time.monotonic() + self.patience
        return patiently(lambda: any(s.key == identifier for s in self.store.find(identifier)), until=until)

    def get(self, trial: FrozenTrial, name: str) -> bytes:
        """Read one file of a trial.

        Raises
        ------
        BadFile
            It is missing from the store, or it is not what was stored.
        StorageError
            The trial has no such file, or the store stayed away.
        """
        what = f"{name_of(trial)}: {name}"
        for known, identifier in entries_of(trial):
            if known == name:
                expected = expected_of(trial, name, identifier)
                return self.read(identifier, what, expected=expected, remedy=remedy_for(trial))
        if name in missing_names(trial.system_attrs):
            raise BadFile(f"{what} could not be written when the trial ended. {remedy_for(trial)}", missing=True)
        raise StorageError(f"{name_of(trial)} has no artifact {name}.")

    def text(self, trial: FrozenTrial, name: str) -> str:
        """Read one file of a trial as text; raises like `get`, and BadFile if it is not text."""
        content = self.get(trial, name)
        try:
            return content.decode()
        except UnicodeDecodeError as e:
            raise unusable(trial, name, "it is not text") from e

    def read(
        self,
        identifier: str,
        what: str,
        limit: int | None = None,
        *,
        expected: Digest = Digest(None, None),  # noqa: B008  it cannot be changed
        remedy: str = "",
    ) -> bytes:
        """Read a file by its id and check that it is what was stored.

        Parameters
        ----------
        identifier : str
            Id of the file.
        what : str
            Its name in errors.
        limit : int, optional
            Largest number of bytes to read.
        expected : Digest
            Its recorded digest, as far as there is one.
        remedy : str
            A sentence that ends the error.

        Raises
        ------
        BadFile
            It is missing from the store, or is another file.
        StorageError
            The store stayed away, or the file is larger than `limit`.
        """
        until = time.monotonic() + self.patience
        try:
            content = patiently(lambda: read(self.store, identifier, limit or expected.size), until=until)
        except ObjectNotFound as e:
            raise BadFile(
                f"{what} is missing from {self.address}; was the study made with another --artifacts folder? "
                f"{remedy}".rstrip(),
                missing=True,
            ) from e
        except TooLarge as e:
            raise BadFile(f"{what} is damaged: {e} {remedy}".rstrip(), missing=False) from e
        wrong = difference(content, expected)
        if wrong:
            place = self._place(identifier)
            raise BadFile(f"{what} is damaged: {place} {wrong}. {remedy}".rstrip(), missing=not content)
        return content


def _tail(i: int, late: bool) -> str:
    return uuid.uuid4().hex[:12] if late else f"{i:012x}"


def undigested(trial: FrozenTrial) -> list[str]:
    """Names of the files of a trial without a recorded digest: an older version stored them."""
    known = recorded_digests(trial.system_attrs)
    return [name for name, _ in entries_of(trial) if name not in known]


def is_identifier(text: str) -> bool:
    """Whether `text` is a file id, that is, a UUID and therefore not a path."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def entries_of(trial: FrozenTrial) -> Iterator[tuple[str, str]]:
    """Name and id of each file; entries of another form, which other programs may have made, are skipped."""
    for key, value in trial.system_attrs.items():
        if key.startswith(PREFIX):
            try:
                meta = json.loads(value)
                name, identifier = str(meta["filename"]), str(meta["artifact_id"])
            except (TypeError, ValueError, KeyError):
                continue
            if is_identifier(identifier):
                yield name, identifier
