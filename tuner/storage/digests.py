"""What a stored file must be: digests beside the names of a trial's files, and what is said where one differs.

They are attributes of the trial, stored in the transaction of its result. A trial of an older version has none: its
files are read, and their sizes compared where those were stored.
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

PREFIX = "artifacts:"  # of the attribute that names a file of a trial; Optuna's


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
    """What a file must be: its SHA-256, as 64 hexadecimal digits, and its bytes; None where nobody recorded it."""

    sha256: str | None
    size: int | None


class BadFile(StorageError):
    """A stored file that is not there, or not what was stored.

    Parameters
    ----------
    message : str
        What is wrong, where, and what to do.
    missing : bool
        Not there, or empty; else damaged.
    """

    def __init__(self, message: str, *, missing: bool) -> None:
        super().__init__(message)
        self.missing = missing


def describe(files: Mapping[str, bytes]) -> str:
    """Value of the attribute DIGESTS for files by name."""
    return json.dumps({name: digest_of(content) for name, content in files.items()})


def digest_of(content: bytes) -> Digest:
    """What a file of this content must be."""
    return Digest(hashlib.sha256(content).hexdigest(), len(content))


def not_written(files: Mapping[str, bytes]) -> dict[str, str]:
    """System attributes of a trial whose files could not be written: their names, and what they must be."""
    return {MISSING: json.dumps(list(files)), DIGESTS: describe(files)}


def missing_names(system_attrs: Mapping[str, Any]) -> list[str]:
    """Names of the files of a trial that could not be written, by its system attributes."""
    try:
        return [str(name) for name in json.loads(system_attrs.get(MISSING, "[]"))]
    except (TypeError, ValueError):
        return []


def recorded_digests(system_attrs: Mapping[str, Any]) -> dict[str, Digest]:
    """What each file of a trial must be, by name; nothing where an older version stored it."""
    try:
        stored = json.loads(system_attrs.get(DIGESTS, "{}"))
        return {str(name): Digest(str(sha), int(size)) for name, (sha, size) in stored.items()}
    except (AttributeError, TypeError, ValueError):
        return {}


def difference(content: bytes, expected: Digest) -> str:
    """How a file differs from what was stored; empty if it does not."""
    if expected.size is not None and len(content) != expected.size:
        return f"has {len(content)} bytes, and {expected.size} were stored"
    found = hashlib.sha256(content).hexdigest() if expected.sha256 is not None else None
    if found is not None and found != expected.sha256:
        return f"has SHA-256 {found[:16]}..., and {str(expected.sha256)[:16]}... was stored"
    return ""


def expected_of(trial: FrozenTrial, name: str, identifier: str) -> Digest:
    """What a file of a trial must be, as far as that was recorded."""
    known = recorded_digests(trial.system_attrs).get(name)
    if known is not None:
        return known
    try:
        size = json.loads(trial.system_attrs.get(SIZES, "{}")).get(identifier)
        return Digest(None, None if size is None else int(size))
    except (AttributeError, TypeError, ValueError):
        return Digest(None, None)


def stage_of(trial: FrozenTrial) -> str:
    """The stage that a trial belongs to, by what it carries: ``search``, ``confirmation`` or ``controls``."""
    if "control" in trial.params:
        return "controls"
    return "confirmation" if "candidate" in trial.user_attrs else "search"


def name_of(trial: FrozenTrial) -> str:
    """A trial as an error names it."""
    stage = stage_of(trial)
    return f"trial {trial.number}" if stage == "search" else f"{stage} trial {trial.number}"


def remedy_for(trial: FrozenTrial) -> str:
    """What restores the files of a trial, as a sentence."""
    stage = stage_of(trial)
    option = "" if stage == "search" else f"--stage {stage} "
    return f"tuner rerun {option}--trial {trial.number} makes it again; tuner verify checks all files."


def unusable(trial: FrozenTrial, name: str, why: object) -> BadFile:
    """The error for a file that is not what its name says, which only a file without a digest can be."""
    return BadFile(f"{name_of(trial)}: {name} is damaged: {why}. {remedy_for(trial)}", missing=False)
