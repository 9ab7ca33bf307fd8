"""Reading the trials of a study with a few plain queries, parsing each distinct distribution once.

Optuna builds an object for every stored attribute and parses the distribution of every parameter twice, which costs
milliseconds per trial, and every worker reads the trials of all others. The trials returned here equal Optuna's.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Container, Iterable, Set
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection

from tuner.errors import StorageError
from tuner.storage.names import shown
from tuner.storage.schema import PARAMS, STUDIES, SYSTEM_ATTRS, TRIALS, USER_ATTRS, VALUES

INTERMEDIATE: sa.Table = models.TrialIntermediateValueModel.__table__
BROKEN = (ValueError, TypeError, LookupError, AttributeError, RecursionError)  # raised for damaged rows
AT_ONCE = 500  # ids per query; some builds of SQLite allow no more than 999 variables

# Called for every row, so they are looked up here and not in the loops.
_value = models.TrialValueModel.stored_repr_to_value
_intermediate = models.TrialIntermediateValueModel.stored_repr_to_intermediate_value


def trial_id(trial: FrozenTrial) -> int:
    """The database id of a stored trial; Optuna's public interface has only its number."""
    return trial._trial_id


def read_trials(
    connection: Connection,
    study_id: int,
    states: Container[TrialState] | None = None,
    included: Set[int] = frozenset(),
    after: int = -1,
) -> list[FrozenTrial]:
    """Read trials of a study in the order of their ids.

    Parameters
    ----------
    connection : Connection
        In a transaction.
    study_id : int
        The study.
    states : container of TrialState, optional
        Read only trials in one of these states.
    included : set of int
        Ids of trials to read even if they are not above `after`.
    after : int
        Read every trial with a higher id; -1 for all.

    Raises
    ------
    KeyError
        There is no such study.
    StorageError
        What is stored is not what Optuna writes.
    """
    columns = (
        TRIALS.c.trial_id,
        TRIALS.c.number,
        TRIALS.c.state,
        TRIALS.c.datetime_start,
        TRIALS.c.datetime_complete,
    )
    of_study = sa.select(*columns).where(TRIALS.c.study_id == study_id)
    rows = list(connection.execute(of_study.where(TRIALS.c.trial_id > after)))
    for part in _parts([i for i in included if i <= after]):
        rows += connection.execute(of_study.where(TRIALS.c.trial_id.in_(part)))
    if not rows and connection.scalar(sa.select(STUDIES.c.study_id).where(STUDIES.c.study_id == study_id)) is None:
        raise KeyError(models.NOT_FOUND_MSG)
    trials = {
        row.trial_id: FrozenTrial(
            number=row.number, state=row.state, value=None, values=None, datetime_start=row.datetime_start,
            datetime_complete=row.datetime_complete, params={}, distributions={}, user_attrs={}, system_attrs={},
            intermediate_values={}, trial_id=row.trial_id,
        )
        for row in sorted(rows, key=lambda row: row.trial_id)
        if states is None or row.state in states
    }  # fmt: skip
    try:
        for part in _parts(list(trials)):
            _fill(connection, trials, part)
    except BROKEN as e:
        raise _damaged(connection, study_id, e) from e
    return list(trials.values())


def _damaged(connection: Connection, study_id: int, e: Exception) -> StorageError:
    name = connection.scalar(sa.select(STUDIES.c.study_name).where(STUDIES.c.study_id == study_id))
    return StorageError(
        f"the study {shown(str(name))} cannot be read: a value of a trial is not what Optuna writes "
        f"({type(e).__name__}: {str(e)[:80]}). Somebody changed it, or the database is damaged: restore a backup."
    )


def read_light(
    connection: Connection,
    study_id: int,
    attributes: Collection[str] | None = (),
    params: Collection[str] | None = (),
    numbers: Collection[int] | None = None,
) -> list[FrozenTrial]:
    """Read the trials of a study without most of their attributes, for callers that only show the study.

    A trial has some forty attributes, most of them the descriptions of its files; reading those of 5,000 trials takes
    seconds and hundreds of megabytes.

    Parameters
    ----------
    connection : Connection
        In a transaction.
    study_id : int
        The study.
    attributes : collection of str or None
        User attributes to read; None for all. System attributes and intermediate values are never read.
    params : collection of str or None
        Parameters to read; None for all.
    numbers : collection of int, optional
        Read only these trials.

    Returns
    -------
    list of FrozenTrial
        By number, with state, values, times, and the requested attributes and parameters.

    Raises
    ------
    StorageError
        What is stored is not what Optuna writes.
    """
    try:
        return _read_light(connection, study_id, attributes, params, numbers)
    except BROKEN as e:
        raise _damaged(connection, study_id, e) from e


def _read_light(
    connection: Connection,
    study_id: int,
    attributes: Collection[str] | None,
    params: Collection[str] | None,
    numbers: Collection[int] | None,
) -> list[FrozenTrial]:
    here = TRIALS.c.study_id == study_id
    if numbers is not None:
        here &= TRIALS.c.number.in_(list(numbers))
    rows = connection.execute(
        sa.select(
            TRIALS.c.trial_id, TRIALS.c.number, TRIALS.c.state, TRIALS.c.datetime_start, TRIALS.c.datetime_complete
        )
        .where(here)
        .order_by(TRIALS.c.number)
    )  # fmt: skip
    trials = {
        trial_id: FrozenTrial(
            number=number, state=state, value=None, values=None, datetime_start=start, datetime_complete=end, params={},
            distributions={}, user_attrs={}, system_attrs={}, intermediate_values={}, trial_id=trial_id,
        )
        for trial_id, number, state, start, end in rows
    }  # fmt: skip

    def of_study(table: sa.Table, *names: str) -> sa.Select[Any]:
        columns = [table.c[name] for name in ("trial_id", *names)]
        return sa.select(*columns).join(TRIALS, TRIALS.c.trial_id == table.c.trial_id).where(here)

    values: dict[int, dict[int, float]] = {}
    for trial_id, objective, value, kind in connection.execute(of_study(VALUES, "objective", "value", "value_type")):
        values.setdefault(trial_id, {})[objective] = _value(value, kind)
    for trial_id, found in values.items():
        if trial_id in trials:  # a trial may have been created between two of these queries
            trials[trial_id]._values = [found[i] for i in range(len(found))]
    if attributes is None or attributes:
        wanted = of_study(USER_ATTRS, "key", "value_json")
        if attributes is not None:
            wanted = wanted.where(USER_ATTRS.c.key.in_(list(attributes)))
        for trial_id, key, text in connection.execute(wanted):
            if trial_id in trials:
                trials[trial_id]._user_attrs[key] = json.loads(text)
    if params is None or params:
        wanted = of_study(PARAMS, "param_name", "param_value", "distribution_json").order_by(PARAMS.c.param_id)
        if params is not None:
            wanted = wanted.where(PARAMS.c.param_name.in_(list(params)))
        for trial_id, name, value, text in connection.execute(wanted):
            if trial_id in trials:
                trials[trial_id]._params[name] = _distribution(text).to_external_repr(value)
    return list(trials.values())


def _parts(ids: list[int]) -> Iterable[list[int]]:
    return (ids[i : i + AT_ONCE] for i in range(0, len(ids), AT_ONCE))


def _fill(connection: Connection, trials: dict[int, FrozenTrial], ids: list[int]) -> None:
    """Add what the other tables hold about these trials."""

    def rows(table: sa.Table, *names: str) -> Any:
        columns = [table.c[name] for name in ("trial_id", *names)]
        return connection.execute(sa.select(*columns).where(table.c.trial_id.in_(ids)).order_by(*table.primary_key))

    for trial_id, name, value, text in rows(PARAMS, "param_name", "param_value", "distribution_json"):
        trial, distribution = trials[trial_id], _distribution(text)
        trial._params[name] = distribution.to_external_repr(value)
        trial._distributions[name] = distribution
    values: dict[int, dict[int, float]] = {}
    for trial_id, objective, value, kind in rows(VALUES, "objective", "value", "value_type"):
        values.setdefault(trial_id, {})[objective] = _value(value, kind)
    for trial_id, found in values.items():
        trials[trial_id]._values = [found[i] for i in range(len(found))]
    for trial_id, step, value, kind in rows(INTERMEDIATE, "step", "intermediate_value", "intermediate_value_type"):
        trials[trial_id].intermediate_values[step] = _intermediate(value, kind)
    for trial_id, key, text in rows(USER_ATTRS, "key", "value_json"):
        trials[trial_id]._user_attrs[key] = json.loads(text)
    for trial_id, key, text in rows(SYSTEM_ATTRS, "key", "value_json"):
        trials[trial_id]._system_attrs[key] = json.loads(text)


@lru_cache(maxsize=4096)
def _distribution(text: str) -> BaseDistribution:
    return json_to_distribution(text)  # shared by all trials, because distributions are never changed
