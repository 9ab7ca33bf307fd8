"""Rungs in the database: statements inside the caller's transaction.

A trial has one row a rung, whatever dies and however often it is tried again: the first to write it decides, and
later attempts read what was decided.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy import Connection

from tuner.errors import AttemptSuperseded
from tuner.search import attempts
from tuner.search.slots import lock_study
from tuner.search.stopping import Decision, Entry, StoppingSection, decide
from tuner.search.tables import RUNGS, TRIALS, now, to_json


def log(connection: Connection, study_id: int, rung: int | None = None) -> list[Entry]:
    """All rungs of a study, or one of them, by epoch and place; see `FencedStorage.rung_log`."""
    which = TRIALS.c.study_id == study_id
    query = (
        sa.select(TRIALS.c.number, *(c for c in RUNGS.c if c.name != "trial_id"))
        .join(TRIALS, TRIALS.c.trial_id == RUNGS.c.trial_id)
        .where(which if rung is None else which & (RUNGS.c.rung == rung))
        .order_by(RUNGS.c.rung, RUNGS.c.place)
    )
    return [
        Entry(
            r.number, r.rung, r.place, json.loads(r.objectives), r.exempt, Decision(r.goes_on, r.reason), r.time
        )
        for r in connection.execute(query)
    ]  # fmt: skip


def known(connection: Connection, trial_id: int, rung: int) -> Decision | None:
    """What was decided for a trial at a rung; None before."""
    query = sa.select(RUNGS.c.goes_on, RUNGS.c.reason).where(RUNGS.c.trial_id == trial_id, RUNGS.c.rung == rung)
    row = connection.execute(query).first()
    return None if row is None else Decision(bool(row.goes_on), str(row.reason))


def enter(
    connection: Connection,
    study_id: int,
    trial_id: int,
    token: str,
    rung: int,
    values: Mapping[str, float],
    signs: Mapping[str, float],
    exempt: bool,
    rule: StoppingSection,
) -> Decision:
    """Decide and store in one transaction, under the study's lock; see `FencedStorage.enter_rung`."""
    lock_study(connection, study_id)
    if not attempts.is_live(connection, token, lock=True):
        raise AttemptSuperseded(f"trial_id {trial_id} was given to another worker; its rung {rung} is not stored.")
    if (stored := known(connection, trial_id, rung)) is not None:
        return stored
    before = [entry.values for entry in log(connection, study_id, rung)]
    points = [[sign * point[name] for name, sign in signs.items()] for point in (*before, values)]
    decision = decide(rung, points[:-1], points[-1], exempt, rule)
    connection.execute(
        RUNGS.insert().values(
            trial_id=trial_id, rung=rung, place=len(points), exempt=exempt, goes_on=decision.goes_on,
            objectives=to_json("objectives", dict(values)), reason=decision.reason, time=now(connection),
        )
    )  # fmt: skip
    return decision
