"""Results of stages as files named by a digest of everything they were made from.

A file is written under a temporary name and then renamed, so that it is always complete, and it holds a digest of its
content and of the files that belong to it: an interrupted report continues at the first stage whose file is missing or
damaged. Nothing in a file is unpickled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tuner
from tuner.errors import StorageError
from tuner.files import make_folder, replacing, write_atomically
from tuner.report.data import plain

FOLDER = ".stages"
FORMAT = 1
_HEADER = "values.json"


@dataclass(frozen=True)
class Result:
    """Result of a stage.

    Parameters
    ----------
    values : mapping
        Plain values.
    arrays : mapping of str to numpy.ndarray
        Values that are too large for text.
    files : tuple of str
        Other files that the stage wrote, relative to the report's folder; the result counts only while they exist.
    """

    values: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    files: tuple[str, ...] = ()


def digest(*parts: object) -> str:
    """Digest of plain values and of the package's version, 16 hex digits."""
    text = json.dumps([FORMAT, tuner.__version__, plain(parts)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Cache:
    """The stage files of one report.

    Parameters
    ----------
    out : Path
        Folder of the report; made if it does not exist.

    Raises
    ------
    StorageError
        The folder cannot be made.
    """

    def __init__(self, out: Path) -> None:
        self.out, self.folder = out, out / FOLDER
        try:
            make_folder(self.folder)
        except OSError as e:
            raise StorageError(f"{out}: cannot be written ({e.strerror}). Choose another folder with --out.") from e

    def read(self, stage: str, key: str) -> Result | None:
        """Read a result; None if there is none, or if it or one of its files is missing or damaged."""
        try:
            if (text := self.folder / f"{stage}-{key}.json").is_file():
                stored, arrays = json.loads(text.read_bytes()), {}
            elif (packed := self.folder / f"{stage}-{key}.npz").is_file():
                with packed.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                    stored = json.loads(file[_HEADER].tobytes())
                    arrays = {name: file[name] for name in file.files if name != _HEADER}
            else:
                return None
            result = Result(stored["values"], arrays, tuple(stored["files"]))
            return result if self._is_whole(stored) else None
        except Exception:  # zipfile, numpy and json report damage by many exceptions; the result is computed again
            return None

    def _is_whole(self, stored: Mapping[str, Any]) -> bool:
        """Whether values and files are what was written; arrays carry zip's own checksums."""
        if stored.keys() == {"values", "files"}:  # written by a version without digests
            return all((self.out / name).is_file() for name in stored["files"])
        body = {key: value for key, value in stored.items() if key != "sha256"}
        same = all(_sha256(self.out / name) == sha for name, sha in stored["digests"].items())
        return same and stored["digests"].keys() == set(stored["files"]) and _body_digest(body) == stored["sha256"]

    def write(self, stage: str, key: str, result: Result) -> None:
        """Store a result.

        Raises
        ------
        StorageError
            The file cannot be written, e.g. the disk is full.
        """
        path = self.folder / f"{stage}-{key}.{'npz' if result.arrays else 'json'}"
        try:
            digests = {name: _sha256(self.out / name) for name in result.files if (self.out / name).is_file()}
            body = {"values": plain(result.values), "files": list(result.files), "digests": digests}
            body = json.loads(json.dumps(body))  # as it will be read back
            header = json.dumps({**body, "sha256": _body_digest(body)}).encode()
            with replacing(path) as part:
                if result.arrays:
                    with part.open("wb") as stream:
                        np.savez_compressed(
                            stream, allow_pickle=False, **{_HEADER: np.frombuffer(header, np.uint8)}, **result.arrays
                        )
                else:
                    part.write_bytes(header)
        except OSError as e:
            raise StorageError(f"{path}: cannot be written ({e.strerror}).") from e


def _body_digest(body: Mapping[str, Any]) -> str:
    """Of plain values as JSON has them: what is read back gives the same text."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_file(path: Path, content: bytes) -> None:
    """Write a file of the report in one step.

    Raises
    ------
    StorageError
        It cannot be written.
    """
    try:
        make_folder(path.parent)
        write_atomically(path, content)
    except OSError as e:
        raise StorageError(f"{path}: cannot be written ({e.strerror}). Choose another folder with --out.") from e
