"""Artifacts of trials: weights, filters, figures, tables; bytes in a store, names in the storage.

Optuna's own upload writes to the storage at once, whoever runs the trial by then. Here the bytes go to the
store first and their entries are returned, to be stored in the same transaction as the trial's result, so a
superseded attempt leaves no entry behind. The entries are Optuna's: its dashboard shows them.
"""

from __future__ import annotations

import io
import json
import mimetypes
import uuid
from collections.abc import Mapping
from pathlib import Path

from optuna.artifacts import FileSystemArtifactStore
from optuna.trial import FrozenTrial

from tuner.errors import StorageError

# Key prefix and fields as optuna.artifacts writes them (Optuna 5.0).
PREFIX = "artifacts:"

TYPES: Mapping[str, str] = {
    ".tsv": "text/tab-separated-values",
    ".meme": "text/plain",
    ".safetensors": "application/octet-stream",
    ".toml": "text/plain",
}


class Artifacts:
    """An artifact store and what the trials keep there.

    Parameters
    ----------
    folder : Path
        Folder of the store; made if it does not exist.

    Raises
    ------
    StorageError
        The folder cannot be made or written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise StorageError(
                f"{folder}: cannot keep artifacts here ({e.strerror}). Choose another folder with --artifacts."
            ) from e
        self.store = FileSystemArtifactStore(base_path=str(folder))

    def put(self, files: Mapping[str, bytes]) -> dict[str, str]:
        """Write files to the store.

        Parameters
        ----------
        files : mapping of str to bytes
            File name (as users see it) -> content.

        Returns
        -------
        dict of str to str
            System attributes that make the files artifacts of the trial which carries them.

        Raises
        ------
        StorageError
            The store cannot be written, e.g. the disk is full; files already written are removed again.
        """
        entries: dict[str, str] = {}
        for name, content in files.items():
            identifier = str(uuid.uuid4())
            suffix = Path(name).suffix
            kind = TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
            meta = {"artifact_id": identifier, "filename": name, "mimetype": kind, "encoding": None}
            entries[PREFIX + identifier] = json.dumps(meta)
            try:
                self.store.write(identifier, io.BytesIO(content))
            except OSError as e:
                self.discard(entries)
                raise StorageError(f"{self.folder}: cannot write the artifact {name} ({e.strerror}).") from e
        return entries

    def discard(self, entries: Mapping[str, object]) -> None:
        """Remove the files of `entries` from the store, as far as they exist."""
        for key in entries:
            if key.startswith(PREFIX):
                (self.folder / key.removeprefix(PREFIX)).unlink(missing_ok=True)

    def replace(self, key: str, by: str) -> None:
        """Give the entry `key` the file of the entry `by`, which has none afterwards.

        Raises
        ------
        StorageError
            A file cannot be moved.
        """
        old, new = (self.folder / str(uuid.UUID(k.removeprefix(PREFIX))) for k in (key, by))
        try:
            new.replace(old)
        except OSError as e:
            raise StorageError(f"{old}: cannot be replaced ({e.strerror}).") from e

    def paths(self, trial: FrozenTrial) -> dict[str, Path]:
        """Where each file of a trial lies, by the name users see; a file may have been lost since."""
        entries = (json.loads(v) for k, v in trial.system_attrs.items() if k.startswith(PREFIX))
        # a name from storage is no path
        return {str(e["filename"]): self.folder / str(uuid.UUID(e["artifact_id"])) for e in entries}

    def get(self, trial: FrozenTrial, name: str) -> bytes:
        """Read one file of a trial.

        Raises
        ------
        StorageError
            The trial has no such file, or the store has lost it.
        """
        for key, value in trial.system_attrs.items():
            if key.startswith(PREFIX) and json.loads(value)["filename"] == name:
                identifier = str(uuid.UUID(json.loads(value)["artifact_id"]))  # a name from storage is no path
                try:
                    with self.store.open_reader(identifier) as stream:
                        return stream.read()
                except Exception as e:
                    raise StorageError(
                        f"trial {trial.number}: {name} is missing from {self.folder}; was the study made with "
                        "another --artifacts folder?"
                    ) from e
        raise StorageError(f"trial {trial.number} has no artifact {name}.")
