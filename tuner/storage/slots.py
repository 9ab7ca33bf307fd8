"""Studies, budgets and slots: statements inside the caller's transaction.

A *slot* is one unit of the budget: one Optuna trial. Slots are created under the study's lock, so that their
number never exceeds the budget, however many processes create them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from optuna.study import StudyDirection
from optuna.trial import TrialState
from sqlalchemy import Connection

from tuner.errors import StudyError
from tuner.storage.identity import identify
from tuner.storage.names import check_stored_name
from tuner.storage.schema import (
    BUDGETS,
    DIRECTIONS,
    ONCE,
    STUDIES,
    STUDY_SYSTEM_ATTRS,
    STUDY_USER_ATTRS,
    TRIALS,
    insert,
    to_json,
    write_attrs,
)


def create_study(
    connection: Connection,
    name: str,
    directions: Sequence[str],
    user_attrs: Mapping[str, Any],
    system_attrs: Mapping[str, Any],
) -> int:
    """Create a study with its attributes, or find it; see `FencedStorage.create_or_load`."""
    wanted = [StudyDirection[d.upper()] for d in directions]
    found = connection.scalar(sa.select(STUDIES.c.study_id).where(STUDIES.c.study_name == name))
    if found is not None:
        query = sa.select(DIRECTIONS.c.direction).where(DIRECTIONS.c.study_id == found)
        have = list(connection.scalars(query.order_by(DIRECTIONS.c.objective)))
        if have != wanted:
            shown = [", ".join(d.name.lower() for d in side) for side in (have, wanted)]
            raise StudyError(
                f"{name} was created with other directions: {shown[0]} -> {shown[1]}. Use a new study name."
            )
        identify(connection, int(found))
        return int(found)
    check_stored_name(name)
    study_id = insert(connection, STUDIES, study_name=name)
    identify(connection, study_id)
    for i, direction in enumerate(wanted):
        connection.execute(DIRECTIONS.insert().values(study_id=study_id, direction=direction, objective=i))
    for table, attrs in ((STUDY_USER_ATTRS, user_attrs), (STUDY_SYSTEM_ATTRS, system_attrs)):
        for key, value in attrs.items():
            connection.execute(table.insert().values(study_id=study_id, key=key, value_json=to_json(key, value)))
    return study_id


def lock_study(connection: Connection, study_id: int) -> None:
    """Wait until no other transaction creates trials of this study; Optuna takes the same lock."""
    query = sa.select(STUDIES.c.study_id).where(STUDIES.c.study_id == study_id).with_for_update()
    if connection.execute(query).first() is None:
        raise StudyError(f"the study with id {study_id} does not exist; was it deleted?")


def count(connection: Connection, study_id: int) -> dict[TrialState, int]:
    """Trials of a study by state."""
    query = sa.select(TRIALS.c.state, sa.func.count()).where(TRIALS.c.study_id == study_id).group_by(TRIALS.c.state)
    have = {row[0]: row[1] for row in connection.execute(query)}
    return {state: int(have.get(state, 0)) for state in TrialState}


def budget(connection: Connection, study_id: int) -> int | None:
    """Number of slots that the study is to end with; None before it is set."""
    value = connection.scalar(sa.select(BUDGETS.c.budget).where(BUDGETS.c.study_id == study_id))
    return None if value is None else int(value)


def set_budget(connection: Connection, study_id: int, total: int) -> int:
    """Set the number of slots; see `FencedStorage.set_budget`."""
    lock_study(connection, study_id)
    have = sum(count(connection, study_id).values())
    if total < have:
        raise StudyError(f"the budget cannot be {total}: the study has {have} slots already. Ask for at least {have}.")
    return _write_budget(connection, study_id, total)


def _write_budget(connection: Connection, study_id: int, total: int) -> int:
    changed = connection.execute(BUDGETS.update().where(BUDGETS.c.study_id == study_id).values(budget=total))
    if not changed.rowcount:
        connection.execute(BUDGETS.insert().values(study_id=study_id, budget=total))
    return total


def missing(connection: Connection, study_id: int, ahead: int) -> int:
    """How many slots may be created now: within the budget, and with at most `ahead` waiting."""
    total = budget(connection, study_id)
    if total is None:
        raise StudyError(f"the study with id {study_id} has no budget; set one first.")
    have = count(connection, study_id)
    return max(0, min(total - sum(have.values()), ahead - have[TrialState.WAITING]))


def ensure(connection: Connection, study_id: int, ahead: int) -> int:
    """Create missing slots under the study's lock; returns their number."""
    lock_study(connection, study_id)
    wanted = missing(connection, study_id, ahead)
    for _ in range(wanted):
        _make(connection, study_id, {}, {})
    return wanted


def enqueue(
    connection: Connection,
    study_id: int,
    params: Mapping[str, Any],
    user_attrs: Mapping[str, Any],
    once: str,
    grow: bool,
) -> bool:
    """Create one slot with fixed parameters, once; see `FencedStorage.enqueue`."""
    lock_study(connection, study_id)
    is_this = (ONCE.c.study_id == study_id) & (ONCE.c.key == once)
    if connection.execute(sa.select(ONCE.c.key).where(is_this)).first() is not None:
        return False
    total, have = budget(connection, study_id), sum(count(connection, study_id).values())
    if total is None or have >= total:
        if not grow:
            return False
        _write_budget(connection, study_id, have + 1)
    connection.execute(ONCE.insert().values(study_id=study_id, key=once))
    _make(connection, study_id, user_attrs, {"fixed_params": dict(params)})  # Optuna's name for enqueued values
    return True


def enqueue_many(
    connection: Connection,
    study_id: int,
    wanted: Sequence[tuple[str, Mapping[str, Any], Mapping[str, Any]]],
) -> int:
    """Create the slots of a list that are missing; see `FencedStorage.enqueue_many`."""
    return sum(
        enqueue(connection, study_id, params, user_attrs, once, grow=True) for once, params, user_attrs in wanted
    )


def _make(
    connection: Connection, study_id: int, user_attrs: Mapping[str, Any], system_attrs: Mapping[str, Any]
) -> None:
    number = sum(count(connection, study_id).values())
    trial_id = insert(connection, TRIALS, study_id=study_id, number=number, state=TrialState.WAITING)
    write_attrs(connection, trial_id, user_attrs, system_attrs)
