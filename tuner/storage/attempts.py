"""Attempts: statements inside the caller's transaction.

An *attempt* is one execution of a slot. It is live while its ``outcome`` is NULL, and a partial unique index
allows a trial at most one live attempt. Its random ``token`` is the fence: everything that an attempt writes is
conditional on the row with its token being live.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa
from optuna.storages._rdb import models
from optuna.trial import TrialState
from sqlalchemy import Connection

from tuner.errors import AttemptSuperseded
from tuner.storage.identity import identity_of
from tuner.storage.process import Process
from tuner.storage.schema import ATTEMPTS, LIVE, PARAMS, TRIALS, VALUES, now, utc, write_attrs

Outcome = Literal["complete", "pruned", "fail", "failed", "handed back", "reaped", "superseded"]


class Attempt(NamedTuple):
    """A claimed slot, held by a worker while it runs.

    Attributes
    ----------
    study_id, trial_id, number : int
        Optuna's ids in the database, and the slot's number in its study.
    attempt : int
        1 for the first execution of the slot.
    worker : str
        Who claimed it.
    token : str
        The fence; never reused, not even by another study after a deletion.
    suggested : bool
        Whether an earlier attempt has drawn all parameters, so that they are only read back.
    study : str
        Identity of the study; empty if another program created the study and nobody has joined it.
    """

    study_id: int
    trial_id: int
    number: int
    attempt: int
    worker: str
    token: str
    suggested: bool = False
    study: str = ""


class Open(NamedTuple):
    """A RUNNING trial and its live attempt; without one, `token` and `beat` are None."""

    trial_id: int
    number: int
    attempt: int
    token: str | None
    worker: str
    process: Process
    beat: float | None
    age: float  # seconds of the database's clock since `beat`
    progress: dict[str, Any]
    ahead: float = 0.0  # seconds that `beat` lies in the future: the worker has another clock


class Record(NamedTuple):
    """One attempt in the history of a slot; times are Unix seconds of the database's clock."""

    attempt: int
    worker: str
    host: str
    pid: int
    started: float
    ended: float | None
    outcome: str | None
    reason: str | None


def claim(connection: Connection, study_id: int, worker: str, process: Process, token: str) -> Attempt | None:
    """Take the waiting slot with the lowest number; see `FencedStorage.claim`.

    Calling it again with the same `token` returns the same claim: the first answer may have been lost on the way.
    """
    study = identity_of(connection, study_id) or ""
    mine = (
        sa.select(ATTEMPTS.c.trial_id, TRIALS.c.number, ATTEMPTS.c.attempt, ATTEMPTS.c.suggested)
        .join(TRIALS, TRIALS.c.trial_id == ATTEMPTS.c.trial_id)
        .where(ATTEMPTS.c.token == token, LIVE)
    )
    if (row := connection.execute(mine).first()) is not None:
        return Attempt(study_id, row.trial_id, row.number, row.attempt, worker, token, row.suggested, study)
    waiting = (
        sa.select(TRIALS.c.trial_id, TRIALS.c.number)
        .where(TRIALS.c.study_id == study_id, TRIALS.c.state == TrialState.WAITING)
        .order_by(TRIALS.c.number)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    slot = connection.execute(waiting).first()
    if slot is None:
        return None
    at = now(connection)
    _move(connection, slot.trial_id, TrialState.WAITING, TrialState.RUNNING, datetime_start=utc(at))
    # Another program may have set a running trial back to WAITING.
    _end(
        connection,
        (ATTEMPTS.c.trial_id == slot.trial_id) & LIVE,
        "superseded",
        "the trial was set to WAITING",
        at,
    )
    history = sa.select(
        sa.func.coalesce(sa.func.max(ATTEMPTS.c.attempt), 0),
        sa.func.coalesce(sa.func.max(sa.cast(ATTEMPTS.c.suggested, sa.Integer)), 0),
    ).where(ATTEMPTS.c.trial_id == slot.trial_id)
    last, suggested = connection.execute(history).one()
    if not suggested:  # a worker died between two parameters: its draws came from an outdated state of the study
        connection.execute(PARAMS.delete().where(PARAMS.c.trial_id == slot.trial_id))
    connection.execute(
        ATTEMPTS.insert().values(
            trial_id=slot.trial_id, attempt=last + 1, token=token, worker=worker, host=process.host,
            pid=process.pid, process_start=process.start, started=at, beat=at, suggested=bool(suggested),
        )
    )  # fmt: skip
    return Attempt(study_id, slot.trial_id, slot.number, last + 1, worker, token, bool(suggested), study)


def _move(connection: Connection, trial_id: int, before: TrialState, after: TrialState, **also: Any) -> None:
    """Change a trial's state if it is `before`; otherwise abort the whole transaction."""
    moved = connection.execute(
        TRIALS.update().where(TRIALS.c.trial_id == trial_id, TRIALS.c.state == before).values(state=after, **also)
    )
    if moved.rowcount != 1:
        raise AttemptSuperseded(f"trial_id {trial_id} is no longer {before.name}; another program changed it.")


def _end(
    connection: Connection, which: sa.ColumnElement[bool], outcome: Outcome, reason: str | None, at: float
) -> bool:
    values = {"outcome": outcome, "reason": reason, "ended": at}
    return connection.execute(ATTEMPTS.update().where(which).values(values)).rowcount > 0


def is_live(connection: Connection, token: str, *, lock: bool = False) -> bool:
    """Whether an attempt still holds its slot; with `lock`, that stays true until the transaction ends."""
    query = (
        sa.select(ATTEMPTS.c.trial_id)
        .join(TRIALS, TRIALS.c.trial_id == ATTEMPTS.c.trial_id)
        .where(ATTEMPTS.c.token == token, LIVE, TRIALS.c.state == TrialState.RUNNING)
    )
    if lock:
        query = query.with_for_update(read=True, of=ATTEMPTS)
    return connection.execute(query).first() is not None


def _superseded(attempt: Attempt) -> AttemptSuperseded:
    return AttemptSuperseded(
        f"trial {attempt.number}: attempt {attempt.attempt} by {attempt.worker} lost its slot; "
        "its results are not stored."
    )


def update_live(connection: Connection, attempt: Attempt, values: Mapping[str, Any]) -> None:
    """Write a heartbeat and columns of a live attempt."""
    running = sa.exists().where(TRIALS.c.trial_id == attempt.trial_id, TRIALS.c.state == TrialState.RUNNING)
    row = ATTEMPTS.update().where(ATTEMPTS.c.token == attempt.token, LIVE, running)
    if connection.execute(row.values(beat=now(connection), **values)).rowcount != 1:
        raise _superseded(attempt)


def _ended_as(connection: Connection, attempt: Attempt, outcome: Outcome, reason: str | None, at: float) -> bool:
    """End a live attempt; False if this very end was stored already (the answer was lost on the way)."""
    if _end(connection, (ATTEMPTS.c.token == attempt.token) & LIVE, outcome, reason, at):
        return True
    if connection.scalar(sa.select(ATTEMPTS.c.outcome).where(ATTEMPTS.c.token == attempt.token)) == outcome:
        return False
    raise _superseded(attempt)


ENDINGS: Mapping[TrialState, Outcome] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "fail",
}


def finish(
    connection: Connection,
    attempt: Attempt,
    state: TrialState,
    values: Sequence[float] | None,
    user_attrs: Mapping[str, Any],
    system_attrs: Mapping[str, Any],
) -> None:
    """Store a terminal result; see `FencedStorage.finish`."""
    at = now(connection)
    reason = user_attrs.get("reason")
    if not _ended_as(connection, attempt, ENDINGS[state], None if reason is None else str(reason), at):
        return
    # The state is written last: a worker's role on PostgreSQL may not write to a trial that has ended.
    write_attrs(connection, attempt.trial_id, user_attrs, system_attrs)
    if values is not None:
        finite = models.TrialValueModel.TrialValueType.FINITE
        rows = [
            {"trial_id": attempt.trial_id, "objective": i, "value": v, "value_type": finite}
            for i, v in enumerate(values)
        ]
        stray = VALUES.c.trial_id == attempt.trial_id  # written by another program; usually there are none
        if connection.scalar(sa.select(sa.func.count()).where(stray)):
            connection.execute(VALUES.delete().where(stray))
        connection.execute(VALUES.insert(), rows)
    _move(connection, attempt.trial_id, TrialState.RUNNING, state, datetime_complete=utc(at))


def hand_back(connection: Connection, attempt: Attempt, reason: str) -> None:
    """Set the attempt's trial from RUNNING to WAITING, by its own worker; see `FencedStorage.hand_back`."""
    if _ended_as(connection, attempt, "handed back", reason, now(connection)):
        _move(connection, attempt.trial_id, TrialState.RUNNING, TrialState.WAITING)


def fail(connection: Connection, attempt: Attempt, reason: str, max_failures: int) -> Literal["waiting", "failed"]:
    """Count a failure; see `FencedStorage.fail_attempt`."""
    at = now(connection)
    fresh = _ended_as(connection, attempt, "failed", reason, at)
    query = (
        sa.select(ATTEMPTS.c.reason)
        .where(ATTEMPTS.c.trial_id == attempt.trial_id, ATTEMPTS.c.outcome == "failed")
        .order_by(ATTEMPTS.c.attempt)
    )
    reasons = [str(r) for r in connection.scalars(query)]
    for_good = len(reasons) >= max_failures
    if fresh and for_good:
        write_attrs(connection, attempt.trial_id, {"reason": reason, "failures": reasons}, {})
        _move(connection, attempt.trial_id, TrialState.RUNNING, TrialState.FAIL, datetime_complete=utc(at))
    elif fresh:
        _move(connection, attempt.trial_id, TrialState.RUNNING, TrialState.WAITING)
    return "failed" if for_good else "waiting"


def open_attempts(connection: Connection, study_id: int) -> list[Open]:
    """Every RUNNING trial with its live attempt, by number."""
    at = now(connection)
    query = (
        sa.select(TRIALS.c.trial_id, TRIALS.c.number, *(c for c in ATTEMPTS.c if c.name != "trial_id"))
        .join(ATTEMPTS, (ATTEMPTS.c.trial_id == TRIALS.c.trial_id) & LIVE, isouter=True)
        .where(TRIALS.c.study_id == study_id, TRIALS.c.state == TrialState.RUNNING)
        .order_by(TRIALS.c.number)
    )
    return [
        Open(
            r.trial_id, r.number, r.attempt or 0, r.token, r.worker or "",
            Process(r.host or "", r.pid or 0, r.process_start or 0.0),
            r.beat, 0.0 if r.beat is None else max(0.0, at - r.beat), _progress(r.progress),
            0.0 if r.beat is None else max(0.0, r.beat - at),
        )
        for r in connection.execute(query)
    ]  # fmt: skip


def _progress(text: str | None) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}  # only displayed; the next epoch writes it anew
    return found if isinstance(found, dict) else {}


def reap(connection: Connection, seen: Open, reason: str) -> bool:
    """Set a trial from RUNNING to WAITING by another process, unless anything has happened since `seen`.

    Returns
    -------
    bool
        Whether it was done.
    """
    if seen.token is None:
        live = sa.exists().where(ATTEMPTS.c.trial_id == seen.trial_id, LIVE)
        moved = connection.execute(
            TRIALS.update()
            .where(TRIALS.c.trial_id == seen.trial_id, TRIALS.c.state == TrialState.RUNNING, ~live)
            .values(state=TrialState.WAITING)
        )
        return moved.rowcount == 1
    still = (ATTEMPTS.c.token == seen.token) & LIVE & (ATTEMPTS.c.beat <= seen.beat)
    if not _end(connection, still, "reaped", reason, now(connection)):
        return False
    connection.execute(
        TRIALS.update()
        .where(TRIALS.c.trial_id == seen.trial_id, TRIALS.c.state == TrialState.RUNNING)
        .values(state=TrialState.WAITING)
    )
    return True


def history(connection: Connection, trial_id: int) -> list[Record]:
    """The attempts of a slot, in order."""
    columns = [ATTEMPTS.c[name] for name in Record._fields]
    query = sa.select(*columns).where(ATTEMPTS.c.trial_id == trial_id).order_by(ATTEMPTS.c.attempt)
    return [Record(*row) for row in connection.execute(query)]


def outcomes(connection: Connection, study_id: int) -> dict[str, int]:
    """Number of ended attempts of a study by outcome."""
    query = (
        sa.select(ATTEMPTS.c.outcome, sa.func.count())
        .join(TRIALS, TRIALS.c.trial_id == ATTEMPTS.c.trial_id)
        .where(TRIALS.c.study_id == study_id, ~LIVE)
        .group_by(ATTEMPTS.c.outcome)
    )
    return {str(outcome): int(n) for outcome, n in connection.execute(query)}
