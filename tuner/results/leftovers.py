"""Leftovers: files in the artifact store that no trial has, because their attempt died, and how they are found.

The id of a file begins like the token of the attempt that wrote it. A file is a leftover if that attempt belongs to
the study and has ended, no trial has the file, and it is older than a grace. An attempt that has ended can store no
entry any more, and the entries of one that completed were stored in the transaction that ended it: so a file of a
live attempt or of a finished trial is never one. Files of other studies, of other databases that share the store,
and whatever else lies there have no such owner.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from tuner.files import remove_empty
from tuner.results.overview import STAGES
from tuner.storage.artifacts import CHECKPOINTS, OWNER, PREFIX, Artifacts, is_identifier
from tuner.storage.ownership import Owner
from tuner.storage.storage import FencedStorage
from tuner.storage.store import HALF, Stored, patiently

YOUNG_SECONDS = 60.0


def find_leftovers(
    storage: FencedStorage,
    artifacts: Artifacts,
    name: str,
    *,
    older_than: float = YOUNG_SECONDS,
    condemned: bool = False,
    listed: Sequence[Stored] | None = None,
) -> list[Stored]:
    """Leftovers of a study: files without a trial, and copies of checkpoints whose slot has ended.

    Parameters
    ----------
    storage : FencedStorage
        Where the study is.
    artifacts : Artifacts
        Where its files are.
    name : str
        The study; its stages are meant too.
    older_than : float
        Seconds; what was written later is left alone.
    condemned : bool
        The study is about to be deleted: every attempt and every slot counts as ended.
    listed : sequence of Stored, optional
        What lies in the store, where it was listed already.

    Raises
    ------
    StorageError
        The store cannot be listed.
    """
    # Listed before the database is asked: what is uploaded meanwhile is not looked at.
    listed = list_store(artifacts) if listed is None else listed
    if older_than > 0:
        latest = artifacts.store.clock() - older_than
        listed = [s for s in listed if s.modified <= latest]
    known = storage.catalog()
    there = {**known.searches, **known.stages}
    stages = [there[name + suffix] for suffix in STAGES.values() if name + suffix in there]
    # Attempts before entries: an attempt seen to have ended has stored its entries, or never will.
    owners = [o for study_id in stages for o in storage.owners(study_id)]
    kept = {
        key.removeprefix(PREFIX) for study_id in stages for files in storage.files(study_id).values() for key in files
    }
    if condemned:
        owners = [o._replace(ended=True, finished=True) for o in owners]
    by_file = {o.token[:OWNER]: o for o in owners}
    by_copy = {CHECKPOINTS + o.token: o for o in owners}
    return [s for s in listed if _is_leftover(s.key, kept, by_file, by_copy)]


def list_store(artifacts: Artifacts) -> list[Stored]:
    """Everything in the store, of whatever study or program.

    Raises
    ------
    StorageError
        The store cannot be listed.
    """
    return patiently(lambda: list(artifacts.store.find()), until=time.monotonic() + artifacts.patience)


def collect_buried(
    storage: FencedStorage,
    artifacts: Artifacts,
    checkpoints: Path | None = None,
    *,
    listed: Sequence[Stored] | None = None,
) -> list[Stored]:
    """Remove what attempts of deleted studies wrote after the deletion; what was removed from the store.

    Parameters
    ----------
    storage, artifacts : FencedStorage, Artifacts
        Where studies and files are, or were.
    checkpoints : Path, optional
        Folder of the checkpoints of all studies.
    listed : sequence of Stored, optional
        What lies in the store, where it was listed already.

    Raises
    ------
    StorageError
        The store cannot be listed, or a file cannot be removed.
    """
    buried = storage.buried()
    if not buried:
        return []
    for folder in [] if checkpoints is None else checkpoints.glob("*/*/"):
        if folder.name in buried:
            shutil.rmtree(folder, ignore_errors=True)  # what cannot be removed now is found again
            remove_empty(folder)
    listed = list_store(artifacts) if listed is None else listed
    until = time.monotonic() + artifacts.patience
    files, copies = {token[:OWNER] for token in buried}, {CHECKPOINTS + token for token in buried}
    found = [s for s in listed if s.key in copies or _owner(s.key)[:OWNER] in files]
    for one in found:
        patiently(lambda key=one.key: artifacts.store.remove(key), until=until)  # type: ignore[misc]
    return found


def _owner(key: str) -> str:
    """What a file's id begins like, also of a half-written one; empty where the key is no id."""
    whose = key.partition(".")[0] if key.endswith(HALF) else key
    return whose if is_identifier(whose) else ""


def _is_leftover(key: str, kept: set[str], by_file: dict[str, Owner], by_copy: dict[str, Owner]) -> bool:
    if whose := _owner(key):
        owner = by_file.get(whose[:OWNER])
        return owner is not None and owner.ended and key not in kept
    copy = by_copy.get(key)
    return copy is not None and copy.finished


def collect_leftovers(
    storage: FencedStorage,
    artifacts: Artifacts,
    name: str,
    *,
    older_than: float = YOUNG_SECONDS,
    condemned: bool = False,
    listed: Sequence[Stored] | None = None,
) -> list[Stored]:
    """Remove what `find_leftovers` finds; what was removed.

    Raises
    ------
    StorageError
        The store cannot be listed, or a file cannot be removed.
    """
    found = find_leftovers(storage, artifacts, name, older_than=older_than, condemned=condemned, listed=listed)
    until = time.monotonic() + artifacts.patience
    for one in found:
        patiently(lambda key=one.key: artifacts.store.remove(key), until=until)  # type: ignore[misc]
    return found
