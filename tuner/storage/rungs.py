"""Rungs in the database: statements inside the caller's transaction.

A trial has one row per rung, however often workers die and it is attempted again: the first attempt that writes the
row decides, and later attempts read that decision.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import sqlalchemy as sa
from optuna.trial import Trial
from sqlalchemy import Connection

from tuner.errors import AttemptSuperseded
from tuner.storage import attempts
from tuner.storage.database import Backend
from tuner.storage.schema import RUNGS, TRIALS, now, to_json
from tuner.storage.slots import lock_study


class Decision(NamedTuple):
    """Whether a trial continues, and why."""

    goes_on: bool
    reason: str


class Entry(NamedTuple):
    """A stored trial at a rung.

    Attributes
    ----------
    trial : int
        Number of the trial in its study.
    rung : int
        Epoch.
    place : int
        1 for the first trial that reached the rung.
    values : dict of str to float
        Objective -> validation value of the network that training would have returned at that epoch.
    exempt : bool
        A warm start, which others are compared with but which is never stopped.
    decision : Decision
        The decision about the trial.
    time : float, seconds
        Unix time by the database's clock.
    """

    trial: int
    rung: int
    place: int
    values: dict[str, float]
    exempt: bool
    decision: Decision
    time: float


# Rung, points of the trials before, this point (larger is better), whether it is exempt -> decision.
Rule = Callable[[int, Sequence[Sequence[float]], Sequence[float], bool], Decision]


def log(connection: Connection, study_id: int, rung: int | None = None) -> list[Entry]:
    """Entries of all rungs of a study, or of one, by epoch and place; see `FencedStorage.rung_log`."""
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
    """The stored decision about a trial at a rung; None if there is none yet."""
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
    decide: Rule,
) -> Decision:
    """Decide and store in one transaction, under the study's lock; see `FencedStorage.enter_rung`."""
    lock_study(connection, study_id)
    if not attempts.is_live(connection, token, lock=True):
        raise AttemptSuperseded(f"trial_id {trial_id} was given to another worker; its rung {rung} is not stored.")
    if (stored := known(connection, trial_id, rung)) is not None:
        return stored
    before = [entry.values for entry in log(connection, study_id, rung)]
    points = [[sign * point[name] for name, sign in signs.items()] for point in (*before, values)]
    decision = decide(rung, points[:-1], points[-1], exempt)
    connection.execute(
        RUNGS.insert().values(
            trial_id=trial_id, rung=rung, place=len(points), exempt=exempt, goes_on=decision.goes_on,
            objectives=to_json("objectives", dict(values)), reason=decision.reason, time=now(connection),
        )
    )  # fmt: skip
    return decision


class RungRows:
    """Methods of `FencedStorage` for rungs."""

    _backend: Backend

    def known_rung(self, trial: Trial, rung: int) -> Decision | None:
        """The stored decision about a trial at a rung; None if there is none yet."""
        return self._backend.read(partial(known, trial_id=trial._trial_id, rung=rung))

    def enter_rung(
        self, trial: Trial, rung: int, values: Mapping[str, float], *, signs: Mapping[str, float], decide: Rule
    ) -> Decision:
        """Compare a trial that this process runs with those that reached the rung earlier, and store the decision.

        This is one transaction under the study's lock. A trial that has been at the rung before gets the same decision
        again, whatever its values are now.

        Parameters
        ----------
        trial : optuna.trial.Trial
            Claimed by this process; if it has the attribute ``warm_start``, it is never stopped.
        rung : int
            Epoch.
        values : mapping of str to float
            Objective -> value.
        signs : mapping of str to float
            Objective -> 1 or -1; larger is better after multiplication.
        decide : callable
            The rule: rung, points of the trials before, this point, whether it is exempt -> Decision.

        Raises
        ------
        AttemptSuperseded
            The trial was given to another worker; nothing was stored.
        """
        return self._backend.write(
            partial(
                enter, study_id=trial.study._study_id, trial_id=trial._trial_id,
                token=self._backend.held.get(trial._trial_id, ""), rung=rung, values=values, signs=signs,
                exempt="warm_start" in trial.user_attrs, decide=decide,
            )
        )  # fmt: skip

    def rung_log(self, study_id: int) -> list[Entry]:
        """Every trial at every rung of a study, by epoch and order of arrival."""
        return self._backend.read(partial(log, study_id=study_id))
