"""Digests of stored files, kept beside their names, and the errors for files that differ.

Digests are an attribute of the trial, stored in the transaction of its result. A trial of an older version has none:
its files are read, and only their sizes are compared, if those were stored.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from optuna.trial import FrozenTrial

from tuner.errors import StorageError
from tuner.storage.keys import DIGESTS, FIGURES, MISSING, SIZES
from tuner.storage.records import REMEDY, kept_table

PREFIX = "artifacts:"  # Optuna's prefix of the attribute that names a file of a trial


def figures_of(attrs: Mapping[str, Any], study: str) -> dict[str, list[str]]:
    """Figures that a report stored with a study: file name -> key of its entry and digest.

    Raises
    ------
    StorageError
        The attribute is not what a report writes.
    """
    found = kept_table(attrs, FIGURES, study)
    for pair in found.values():
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(part, str) for part in pair)):
            raise StorageError(f"{study}: the attribute {FIGURES} {REMEDY}")
    return found


class Digest(NamedTuple):
    """SHA-256 of a file, as 64 hexadecimal digits, and its size in bytes; None where it was not recorded."""

    sha256: str | None
    size: int | None


class BadFile(StorageError):
    """A stored file that is missing, or is not what was stored.

    Parameters
    ----------
    message : str
        What is wrong, where, and what to do.
    missing : bool
        Whether it is missing or empty; otherwise it is damaged.
    """

    def __init__(self, message: str, *, missing: bool) -> None:
        super().__init__(message)
        self.missing = missing


def describe(files: Mapping[str, bytes]) -> str:
    """Value of the attribute DIGESTS for these files by name."""
    return json.dumps({name: digest_of(content) for name, content in files.items()})


def digest_of(content: bytes) -> Digest:
    """The digest of this content."""
    return Digest(hashlib.sha256(content).hexdigest(), len(content))


def not_written(files: Mapping[str, bytes]) -> dict[str, str]:
    """System attributes of a trial whose files could not be written: their names and digests."""
    return {MISSING: json.dumps(list(files)), DIGESTS: describe(files)}


def missing_names(system_attrs: Mapping[str, Any]) -> list[str]:
    """Names of the files of a trial that could not be written, from its system attributes."""
    try:
        return [str(name) for name in json.loads(system_attrs.get(MISSING, "[]"))]
    except (TypeError, ValueError):
        return []


def recorded_digests(system_attrs: Mapping[str, Any]) -> dict[str, Digest]:
    """Recorded digest of each file of a trial, by name; files that an older version stored have none."""
    try:
        stored = json.loads(system_attrs.get(DIGESTS, "{}"))
        return {str(name): Digest(str(sha), int(size)) for name, (sha, size) in stored.items()}
    except (AttributeError, TypeError, ValueError):
        return {}


def difference(content: bytes, expected: Digest) -> str:
    """Describe how a file differs from what was stored; empty if it does not."""
    if expected.size is not None and len(content) != expected.size:
        return f"has {len(content)} bytes, but {expected.size} were stored"
    found = hashlib.sha256(content).hexdigest() if expected.sha256 is not None else None
    if found is not None and found != expected.sha256:
        return f"has SHA-256 {found[:16]}..., but {str(expected.sha256)[:16]}... was stored"
    return ""


def expected_of(trial: FrozenTrial, name: str, identifier: str) -> Digest:
    """The digest of a trial's file, as far as it was recorded."""
    known = recorded_digests(trial.system_attrs).get(name)
    if known is not None:
        return known
    try:
        size = json.loads(trial.system_attrs.get(SIZES, "{}")).get(identifier)
        return Digest(None, None if size is None else int(size))
    except (AttributeError, TypeError, ValueError):
        return Digest(None, None)


def stage_of(trial: FrozenTrial) -> str:
    """The stage of a trial, derived from its attributes: ``search``, ``confirmation`` or ``controls``."""
    if "control" in trial.params:
        return "controls"
    return "confirmation" if "candidate" in trial.user_attrs else "search"


def name_of(trial: FrozenTrial) -> str:
    """Name of a trial in errors."""
    stage = stage_of(trial)
    return f"trial {trial.number}" if stage == "search" else f"{stage} trial {trial.number}"


def remedy_for(trial: FrozenTrial) -> str:
    """The sentence that says how to restore the files of a trial."""
    stage = stage_of(trial)
    option = "" if stage == "search" else f"--stage {stage} "
    return f"tuner rerun {option}--trial {trial.number} makes it again; tuner verify checks all files."


def unusable(trial: FrozenTrial, name: str, why: object) -> BadFile:
    """Make the error for a file with unusable content, which only a file without a digest can have."""
    return BadFile(f"{name_of(trial)}: {name} is damaged: {why}. {remedy_for(trial)}", missing=False)
