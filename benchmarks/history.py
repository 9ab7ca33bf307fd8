"""Checks a history: compares what workers recorded outside the database with what the database holds at the end.

    python benchmarks/history.py LOG DATABASE [--artifacts FOLDER] [--budget NAME=N ...]

Workers that open their storage with `open_recorded` append one line of JSON per event to LOG: each claim, epoch, result
(before it is sent and after the answer) and opening of the test split, with token, slot, identity of the study, values
and process. For the question of who did what, the checker trusts only the log. Exits with 1 on any violation.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import sys
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa
from optuna.trial import TrialState

from tuner.errors import AttemptSuperseded
from tuner.results.test_split import openings, record_opening
from tuner.storage.address import parse_url
from tuner.storage.artifacts import OWNER, Artifacts, is_identifier
from tuner.storage.database import connect
from tuner.storage.schema import ATTEMPTS
from tuner.storage.storage import Attempt, FencedStorage, Process

Event = Mapping[str, Any]


class Run(NamedTuple):
    """An attempt as stored in the database at the end."""

    token: str
    attempt: int
    outcome: str | None
    started: float
    ended: float | None


class Slot(NamedTuple):
    """A slot as stored in the database at the end."""

    state: str
    values: list[float] | None
    runs: list[Run]


class Study(NamedTuple):
    """A study as stored in the database at the end; `openings` are the keys of its record of openings."""

    name: str
    budget: int | None
    slots: dict[int, Slot]
    openings: list[str]


class Database(NamedTuple):
    """Studies by identity, identities of deleted studies, and the files of the artifact store."""

    studies: dict[str, Study]
    buried: set[str]
    files: set[str]


# ------------------------------------------------------------------ what workers record


def write(log: Path, event: str, **fields: Any) -> None:
    """Append an event in a single write, so that events of several processes do not mix."""
    line = json.dumps({"event": event, "process": os.getpid(), "time": time.time(), **fields})
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(handle, f"{line}\n".encode())
    os.close(handle)


class Recorded(FencedStorage):
    """A storage that records outside the database what its process does."""

    log: Path

    def claim(self, study_id: int, worker: str, *, process: Process | None = None) -> Attempt | None:
        """Claim, then record the claim."""
        attempt = super().claim(study_id, worker, process=process)
        if attempt is not None:
            write(self.log, "claim", **of(attempt))
        return attempt

    def beat(
        self, attempt: Attempt, progress: Mapping[str, Any] | None = None, *, patience: float | None = None
    ) -> None:
        """Send a heartbeat, then record its epoch."""
        super().beat(attempt, progress, patience=patience)
        if progress:
            write(self.log, "epoch", **of(attempt), epoch=progress.get("epoch"))

    def finish(self, attempt: Attempt, state: TrialState, values: Sequence[float] | None = None, **more: Any) -> None:
        """Record the result, send it, and record whether it was accepted or refused."""
        told = {**of(attempt), "state": state.name, "values": None if values is None else list(values)}
        write(self.log, "result", **told)
        try:
            super().finish(attempt, state, values, **more)
        except AttemptSuperseded:
            write(self.log, "refused", **told)
            raise
        write(self.log, "stored", **told)


def of(attempt: Attempt) -> dict[str, Any]:
    """Return what identifies an attempt in the log."""
    return {
        "study": attempt.study, "slot": attempt.number, "attempt": attempt.attempt, "token": attempt.token,
        "worker": attempt.worker,
    }  # fmt: skip


def open_recorded(url: str, log: Path, *, patience: float = 900.0) -> Recorded:
    """Open a storage as `open_storage` does, and record what is done with it."""
    storage = Recorded(connect(parse_url(url), patience=patience))
    storage.log = log
    return storage


def open_test_split(storage: Recorded, name: str, study: str) -> None:
    """Record an opening of a study that was joined as `study`, before and after."""
    key = uuid.uuid4().hex
    write(storage.log, "opening", study=study, key=key)
    record_opening(storage, name, {"key": key, "trial": 0})
    write(storage.log, "opened", study=study, key=key)


def read_log(log: Path) -> list[dict[str, Any]]:
    """Read the events in the order in which they were written."""
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


# ------------------------------------------------------------------ what the database holds


def read_database(storage: FencedStorage, artifacts: Artifacts | None = None) -> Database:
    """Read everything that is compared, through a storage that has joined no study."""
    studies = {}
    for found in storage.get_all_studies():
        study_id = found._study_id
        slots = {
            t.number: Slot(t.state.name, t.values, runs(storage, t._trial_id)) for t in storage.get_all_trials(study_id)
        }
        known = storage.identity(study_id) or f"none: {found.study_name}"
        record = [str(entry.get("key")) for entry in openings(storage, found.study_name)]
        studies[known] = Study(found.study_name, storage.budget(study_id), slots, record)
    files = set() if artifacts is None else {s.key for s in artifacts.store.find() if is_identifier(s.key)}
    return Database(studies, storage.buried(), files)


def runs(storage: FencedStorage, trial_id: int) -> list[Run]:
    """Return the attempts of a slot with their tokens."""
    columns = [ATTEMPTS.c[name] for name in Run._fields]
    query = sa.select(*columns).where(ATTEMPTS.c.trial_id == trial_id).order_by(ATTEMPTS.c.attempt)
    return storage._backend.read(lambda connection: [Run(*row) for row in connection.execute(query)])


# ------------------------------------------------------------------ what is compared


def check(events: Iterable[Event], database: Database, budgets: Mapping[str, int] | None = None) -> list[str]:
    """Compare a log with a database after every worker has ended.

    Parameters
    ----------
    events : iterable of mapping
        From `read_log`.
    database : Database
        From `read_database`.
    budgets : mapping of str to int, optional
        Name of a study -> number of slots that it should end with.

    Returns
    -------
    list of str
        What is wrong; empty if nothing is.
    """
    seen: dict[str, dict[str, list[Event]]] = collections.defaultdict(lambda: collections.defaultdict(list))
    opened: dict[str, dict[str, list[str]]] = {"opening": {}, "opened": {}}
    for event in events:
        if "token" in event:
            seen[str(event["token"])][str(event["event"])].append(event)
        elif event["event"] in opened:
            opened[event["event"]].setdefault(str(event["study"]), []).append(str(event["key"]))
    wrong = []
    for key, study in database.studies.items():
        wrong += _budget(study, (budgets or {}).get(study.name))
        for number, slot in study.slots.items():
            wrong += [f"{study.name} slot {number}: {text}" for text in _slot(key, number, slot, seen)]
        wrong += _openings(study, opened["opening"].get(key, []), opened["opened"].get(key, []))
        if key in database.buried:
            wrong.append(f"{study.name}: a study that was deleted is there again ({key})")
    return wrong + _stored_twice(seen) + _files(database)


def _budget(study: Study, wanted: int | None) -> list[str]:
    wrong = []
    if sorted(study.slots) != list(range(len(study.slots))):
        wrong.append(f"{study.name}: its slots are numbered {sorted(study.slots)}")
    for asked in {study.budget, wanted} - {None}:
        if len(study.slots) != asked:
            wrong.append(f"{study.name}: {len(study.slots)} slots for a budget of {asked}")
    left = [n for n, slot in study.slots.items() if slot.state in ("RUNNING", "WAITING")]
    return [*wrong, f"{study.name}: slots {left} have not ended"] if left else wrong


def _slot(key: str, number: int, slot: Slot, seen: Mapping[str, Mapping[str, list[Event]]]) -> list[str]:
    wrong = []
    ends = [run for run in slot.runs if run.outcome in ("complete", "pruned", "fail")]
    if slot.state == "COMPLETE" and len([r for r in ends if r.outcome == "complete"]) != 1:
        wrong.append(f"completed by {len(ends)} attempts")
    for before, after in zip(slot.runs, slot.runs[1:], strict=False):
        if before.ended is None or before.ended > after.started:
            wrong.append(f"attempts {before.attempt} and {after.attempt} were live at once")
    for run in slot.runs:
        told = seen.get(run.token, {})
        for claim in told.get("claim", []):
            if claim["study"] != key:
                wrong.append(f"attempt {run.attempt} belongs to another study ({claim['study']})")
            elif (claim["slot"], claim["attempt"]) != (number, run.attempt):
                wrong.append(f"attempt {run.attempt} was claimed as slot {claim['slot']}, attempt {claim['attempt']}")
        if told.get("stored") and run not in ends:
            wrong.append(f"attempt {run.attempt} was told that its result is stored, and the slot has another")
    for run in ends[:1]:
        wrong += _result(run, slot, seen)
    return wrong


def _result(run: Run, slot: Slot, seen: Mapping[str, Mapping[str, list[Event]]]) -> list[str]:
    told = seen.get(run.token, {})
    if not told.get("claim"):
        return [f"attempt {run.attempt} ended it and nobody in the log claimed it"]
    wrong = []
    if not any(e["state"] == slot.state and e["values"] == slot.values for e in told.get("result", [])):
        wrong.append(f"holds {slot.values}, which its attempt {run.attempt} never measured")
    if told.get("refused"):
        wrong.append(f"attempt {run.attempt} was refused and its result is there")
    later = [r.attempt for r in slot.runs if r.attempt > run.attempt]
    if later:
        wrong.append(f"attempt {run.attempt} ended it although attempts {later} came after it: it was not live")
    return wrong


def _stored_twice(seen: Mapping[str, Mapping[str, list[Event]]]) -> list[str]:
    stored = collections.defaultdict(set)
    for token, told in seen.items():
        for event in told.get("stored", []):
            stored[event["study"], event["slot"]].add(token)
    return [f"slot {slot} of {study}: {len(t)} attempts stored it" for (study, slot), t in stored.items() if len(t) > 1]


def _openings(study: Study, begun: Sequence[str], answered: Sequence[str]) -> list[str]:
    wrong = []
    if lost := set(answered) - set(study.openings):
        wrong.append(f"{study.name}: {len(lost)} openings of the test split are not on record")
    if strange := set(study.openings) - set(begun):
        wrong.append(f"{study.name}: {len(strange)} openings on record that nobody made")
    if len(set(study.openings)) != len(study.openings):
        wrong.append(f"{study.name}: an opening is on record twice")
    return wrong


def _files(database: Database) -> list[str]:
    owners = {r.token[:OWNER] for s in database.studies.values() for slot in s.slots.values() for r in slot.runs}
    left = sorted(key for key in database.files if key[:OWNER] not in owners)
    return [f"{len(left)} files belong to no study, e.g. {left[0]}"] if left else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path)
    parser.add_argument("database", help="path or URL of the database")
    parser.add_argument("--artifacts", help="folder or bucket of the artifacts")
    parser.add_argument("--budget", nargs="*", default=[], metavar="NAME=N")
    options = parser.parse_args()
    storage = FencedStorage(connect(parse_url(options.database), patience=60.0))
    events = read_log(options.log)
    store = None if options.artifacts is None else Artifacts(options.artifacts)
    budgets = {name: int(n) for name, _, n in (text.partition("=") for text in options.budget)}
    wrong = check(events, read_database(storage, store), budgets)
    storage.close()
    print(f"{len(events)} events, {len(wrong)} violations")
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
