"""Which attempt wrote each stored file: statements inside the caller's transaction."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any, NamedTuple

import sqlalchemy as sa
from optuna.trial import TrialState
from sqlalchemy import Connection

from tuner.errors import StorageError
from tuner.storage.database import Backend
from tuner.storage.digests import PREFIX, Digest, missing_names
from tuner.storage.keys import DIGESTS, MISSING, SIZES
from tuner.storage.records import REMEDY, file_name, kept_sizes, kept_table
from tuner.storage.schema import ATTEMPTS, SYSTEM_ATTRS, TRIALS, VALUES, to_json, write_attrs
from tuner.storage.slots import lock_study


class Owner(NamedTuple):
    """An attempt as the owner of files.

    Attributes
    ----------
    token : str
        The ids of its files begin with its first characters.
    trial_id, attempt : int
        Which execution of which slot.
    ended : bool
        Whether the attempt has ended: its files can no longer become those of a trial.
    finished : bool
        Whether its slot has a terminal result.
    """

    token: str
    trial_id: int
    attempt: int
    ended: bool
    finished: bool


def owners(connection: Connection, study_id: int) -> list[Owner]:
    """Every attempt of a study, in order."""
    query = (
        sa.select(ATTEMPTS.c.token, ATTEMPTS.c.trial_id, ATTEMPTS.c.attempt, ATTEMPTS.c.outcome, TRIALS.c.state)
        .join(TRIALS, TRIALS.c.trial_id == ATTEMPTS.c.trial_id)
        .where(TRIALS.c.study_id == study_id)
        .order_by(ATTEMPTS.c.trial_id, ATTEMPTS.c.attempt)
    )
    return [
        Owner(r.token, r.trial_id, r.attempt, r.outcome is not None, TrialState(r.state).is_finished())
        for r in connection.execute(query)
    ]


def slot_tokens(connection: Connection, trial_id: int) -> dict[str, int]:
    """Token of every attempt of one slot -> number of the attempt."""
    query = sa.select(ATTEMPTS.c.token, ATTEMPTS.c.attempt).where(ATTEMPTS.c.trial_id == trial_id)
    return {r.token: r.attempt for r in connection.execute(query)}


def files(connection: Connection, study_id: int) -> dict[int, dict[str, str]]:
    """Number of each trial that has files -> the entries of its files."""
    query = (
        sa.select(TRIALS.c.number, SYSTEM_ATTRS.c.key, SYSTEM_ATTRS.c.value_json)
        .join(TRIALS, TRIALS.c.trial_id == SYSTEM_ATTRS.c.trial_id)
        .where(TRIALS.c.study_id == study_id, SYSTEM_ATTRS.c.key.startswith(PREFIX, autoescape=True))
    )
    found: dict[int, dict[str, str]] = {}
    for number, key, value in connection.execute(query):
        found.setdefault(number, {})[key] = _value(number, key, value)
    return found


def sizes(connection: Connection, study_id: int) -> dict[int, dict[str, int]]:
    """Number of each trial -> bytes of its files by id."""
    query = (
        sa.select(TRIALS.c.number, SYSTEM_ATTRS.c.value_json)
        .join(TRIALS, TRIALS.c.trial_id == SYSTEM_ATTRS.c.trial_id)
        .where(TRIALS.c.study_id == study_id, SYSTEM_ATTRS.c.key == SIZES)
    )
    return {
        number: kept_sizes({SIZES: _value(number, SIZES, value)}, SIZES, f"trial {number}")
        for number, value in connection.execute(query)
    }


def _value(number: int, key: str, text: str) -> Any:
    """Parse an attribute of a trial as Optuna stores it."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as e:
        raise StorageError(f"trial {number}: the attribute {key} {REMEDY}") from e


def drop_files(connection: Connection, study_id: int, number: int, identifiers: Collection[str]) -> None:
    """Remove the entries and sizes of a trial's files; their bytes are left to the caller."""
    where = sa.select(TRIALS.c.trial_id).where(TRIALS.c.study_id == study_id, TRIALS.c.number == number)
    trial_id = connection.scalar(where)
    of_trial = SYSTEM_ATTRS.c.trial_id == trial_id
    keys = [PREFIX + i for i in identifiers]
    connection.execute(SYSTEM_ATTRS.delete().where(of_trial, SYSTEM_ATTRS.c.key.in_(keys)))
    is_sizes = of_trial & (SYSTEM_ATTRS.c.key == SIZES)
    stored = connection.scalar(sa.select(SYSTEM_ATTRS.c.value_json).where(is_sizes).with_for_update())
    if stored is not None:
        known = kept_sizes({SIZES: _value(number, SIZES, stored)}, SIZES, f"trial {number}")
        left = {i: n for i, n in known.items() if i not in identifiers}
        connection.execute(SYSTEM_ATTRS.update().where(is_sizes).values(value_json=to_json(SIZES, json.dumps(left))))


def add_files(connection: Connection, study_id: int, number: int, entries: Mapping[str, str]) -> bool:
    """Add files to a finished trial that were written after it ended; see `FileRows.add_files`."""
    # Not the trial's row: once the trial has ended, a worker's role may not lock it, and it would seem to be gone.
    lock_study(connection, study_id)
    found = connection.execute(
        sa.select(TRIALS.c.trial_id, TRIALS.c.state).where(TRIALS.c.study_id == study_id, TRIALS.c.number == number)
    ).first()
    if found is None or not TrialState(found.state).is_finished():
        return False
    of_trial = sa.select(SYSTEM_ATTRS.c.key, SYSTEM_ATTRS.c.value_json).where(SYSTEM_ATTRS.c.trial_id == found.trial_id)
    there = {key: _value(number, key, value) for key, value in connection.execute(of_trial)}
    names = {json.loads(v)["filename"] for k, v in entries.items() if k.startswith(PREFIX)}
    if names & {file_name(v) for k, v in there.items() if k.startswith(PREFIX)}:
        return False  # another process was faster
    merged = {
        key: json.dumps({**kept_table(there, key, f"trial {number}"), **json.loads(entries.get(key, "{}"))})
        for key in (SIZES, DIGESTS)
    }
    left = [name for name in missing_names(there) if name not in names]
    write_attrs(connection, found.trial_id, {}, {**entries, **merged, MISSING: json.dumps(left)})
    return True


def record_digest(
    connection: Connection, study_id: int, number: int, name: str, identifier: str, digest: Digest
) -> None:
    """Replace the recorded digest of a finished trial's file."""
    where = (TRIALS.c.study_id == study_id) & (TRIALS.c.number == number)
    # As in `add_files`.
    lock_study(connection, study_id)
    trial_id = connection.scalar(sa.select(TRIALS.c.trial_id).where(where))
    if trial_id is None:
        return
    of_trial = sa.select(SYSTEM_ATTRS.c.key, SYSTEM_ATTRS.c.value_json).where(SYSTEM_ATTRS.c.trial_id == trial_id)
    there = {key: _value(number, key, value) for key, value in connection.execute(of_trial)}
    sizes = {**kept_table(there, SIZES, f"trial {number}"), identifier: digest.size}
    digests = {**kept_table(there, DIGESTS, f"trial {number}"), name: digest}
    write_attrs(connection, trial_id, {}, {SIZES: json.dumps(sizes), DIGESTS: json.dumps(digests)})


class Slot(NamedTuple):
    """The stored state of a trial, for comparison with its attempts.

    Attributes
    ----------
    number : int
        In its study.
    state : TrialState
        As stored.
    outcomes : tuple of str
        How its attempts ended, in order; ``live`` for one that has not ended.
    values : int
        Number of stored objective values.
    """

    number: int
    state: TrialState
    outcomes: tuple[str, ...]
    values: int


def slots_of(connection: Connection, study_id: int) -> list[Slot]:
    """Every trial of a study with its attempts, by number, from one snapshot."""
    of_study = TRIALS.c.study_id == study_id
    outcomes: dict[int, list[str]] = {}
    query = sa.select(ATTEMPTS.c.trial_id, ATTEMPTS.c.outcome).join(TRIALS, TRIALS.c.trial_id == ATTEMPTS.c.trial_id)
    for row in connection.execute(query.where(of_study).order_by(ATTEMPTS.c.trial_id, ATTEMPTS.c.attempt)):
        outcomes.setdefault(row.trial_id, []).append(row.outcome or "live")
    counted = (
        sa.select(VALUES.c.trial_id, sa.func.count().label("n"))
        .join(TRIALS, TRIALS.c.trial_id == VALUES.c.trial_id)
        .where(of_study)
        .group_by(VALUES.c.trial_id)
    )
    values = {row.trial_id: int(row.n) for row in connection.execute(counted)}
    trials = sa.select(TRIALS.c.trial_id, TRIALS.c.number, TRIALS.c.state).where(of_study).order_by(TRIALS.c.number)
    return [
        Slot(r.number, TrialState(r.state), tuple(outcomes.get(r.trial_id, ())), values.get(r.trial_id, 0))
        for r in connection.execute(trials)
    ]


class FileRows:
    """Methods of `FencedStorage` for the files of trials."""

    _backend: Backend

    def owners(self, study_id: int) -> list[Owner]:
        """Every attempt of a study as the owner of files."""
        return self._backend.read(partial(owners, study_id=study_id))

    def slot_tokens(self, trial_id: int) -> dict[str, int]:
        """Token of every attempt of a slot -> number of the attempt."""
        return self._backend.read(partial(slot_tokens, trial_id=trial_id))

    def files(self, study_id: int) -> dict[int, dict[str, str]]:
        """Number of each trial that has files -> their entries, as stored now."""
        return self._backend.read(partial(files, study_id=study_id))

    def sizes(self, study_id: int) -> dict[int, dict[str, int]]:
        """Number of each trial that has files -> size in bytes of each by id, as stored now."""
        return self._backend.read(partial(sizes, study_id=study_id))

    def add_files(self, study_id: int, number: int, entries: Mapping[str, str]) -> bool:
        """Add files to a finished trial that were written after it ended, in one transaction.

        Parameters
        ----------
        study_id, number : int
            The trial.
        entries : mapping of str to str
            From `Artifacts.put` with the token of an attempt of this trial. Their names are removed from the list of
            missing files.

        Returns
        -------
        bool
            False, and nothing is stored, if the trial is gone, has not ended, or already has a file of one of these
            names: then the caller must remove the written files.
        """
        return self._backend.write(partial(add_files, study_id=study_id, number=number, entries=entries))

    def record_digest(self, study_id: int, number: int, name: str, identifier: str, digest: Digest) -> None:
        """Replace the recorded digest of a finished trial's file that was made anew."""
        self._backend.write(
            partial(record_digest, study_id=study_id, number=number, name=name, identifier=identifier, digest=digest)
        )

    def slots_of(self, study_id: int) -> list[Slot]:
        """Every trial of a study with its attempts, from one snapshot."""
        return self._backend.read(partial(slots_of, study_id=study_id))

    def drop_files(self, study_id: int, number: int, identifiers: Collection[str]) -> None:
        """Remove the entries and sizes of a finished trial's files; the caller must remove their bytes."""
        self._backend.write(partial(drop_files, study_id=study_id, number=number, identifiers=identifiers))
