"""Counting crashes of processes: statements inside the caller's transaction.

Only the process that started another learns how that one ended. Others see a slot whose process is gone, which could
as well be a kill by an operator, so they count nothing.
"""

from __future__ import annotations

import sqlalchemy as sa
from optuna.trial import TrialState
from sqlalchemy import Connection

from tuner.storage.process import Process
from tuner.storage.schema import ATTEMPTS, TRIALS, now, utc, write_attrs


def crash(connection: Connection, process: Process, reason: str, max_failures: int, memory: bool) -> bool:
    """Count a crash; see `FencedStorage.count_crash`."""
    of_process = (
        (ATTEMPTS.c.host == process.host)
        & (ATTEMPTS.c.pid == process.pid)
        & (sa.func.abs(ATTEMPTS.c.process_start - process.start) <= 1.0)
    )
    query = sa.select(ATTEMPTS.c.trial_id, ATTEMPTS.c.token, ATTEMPTS.c.outcome).where(of_process)
    last = connection.execute(query.order_by(ATTEMPTS.c.started.desc()).limit(1).with_for_update()).first()
    ended = sa.select(sa.func.count()).where(of_process, ATTEMPTS.c.outcome.in_(("complete", "pruned")))
    finished = bool(connection.scalar(ended))
    if last is None or last.outcome not in (None, "reaped"):
        return finished  # it crashed between two slots
    # Two crashes of one slot that are counted at the same moment must see each other.
    row = sa.select(TRIALS.c.state).where(TRIALS.c.trial_id == last.trial_id).with_for_update()
    state = connection.scalar(row)
    at = now(connection)
    connection.execute(
        ATTEMPTS.update()
        .where(ATTEMPTS.c.token == last.token)
        .values(outcome="failed", reason=reason, ended=sa.func.coalesce(ATTEMPTS.c.ended, at))
    )
    failed = (
        sa.select(ATTEMPTS.c.reason)
        .where(ATTEMPTS.c.trial_id == last.trial_id, ATTEMPTS.c.outcome == "failed")
        .order_by(ATTEMPTS.c.attempt)
    )
    reasons = [str(r) for r in connection.scalars(failed)]
    # A slot that was reaped in the meantime may be running again: then the new attempt decides.
    before = TrialState.RUNNING if last.outcome is None else TrialState.WAITING
    trial = TRIALS.update().where(TRIALS.c.trial_id == last.trial_id, TRIALS.c.state == before)
    if len(reasons) < max_failures:
        connection.execute(trial.values(state=TrialState.WAITING))
    else:
        after = TrialState.PRUNED if memory else TrialState.FAIL
        if state == before:
            constraint = {"constraints:memory": 1.0} if memory else {}
            write_attrs(connection, last.trial_id, {"reason": reason, "failures": reasons}, constraint)
            connection.execute(trial.values(state=after, datetime_complete=utc(at)))
    return finished
