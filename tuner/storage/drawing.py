"""Drawing a slot's parameters from one snapshot of the study, and storing them in one transaction.

Optuna writes every parameter of a trial in a transaction of its own, and TPE reads the study again for each group of
parameters. Inside `DrawingStorage.drawing` the sampler sees the trials as they were when the slot was claimed, and what
it draws is stored at the end of the block, all of it or nothing.
"""

from __future__ import annotations

import contextlib
import copy
import threading
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from optuna.distributions import BaseDistribution, check_distribution_compatibility, distribution_to_json
from optuna.storages._cached_storage import _CachedStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection

from tuner.storage.attempts import Attempt, update_live
from tuner.storage.database import Backend
from tuner.storage.schema import PARAMS, write_attrs


@dataclass
class _Draw:
    """What has been drawn for a slot, and the trials that the sampler sees meanwhile, by number."""

    attempt: Attempt
    trials: list[FrozenTrial]
    params: dict[str, tuple[float, BaseDistribution]] = field(default_factory=dict)
    system_attrs: dict[str, Any] = field(default_factory=dict)

    def distribution_of(self, name: str) -> BaseDistribution | None:
        """The distribution that another trial of the study has stored for a parameter."""
        return next((t.distributions[name] for t in self.trials if name in t.distributions), None)

    def own_trial(self) -> FrozenTrial:
        """A copy of the slot's trial as it was claimed, with what has been drawn since."""
        own = copy.deepcopy(next(t for t in self.trials if t.number == self.attempt.number))
        own.system_attrs.update(self.system_attrs)
        return own


class DrawingStorage(_CachedStorage):
    """Optuna's cache of finished trials, extended by `drawing`; the base of `FencedStorage`."""

    _backend: Backend

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self._here = threading.local()  # other threads still see the database

    @property
    def _draw(self) -> _Draw | None:
        return getattr(self._here, "draw", None)

    @contextlib.contextmanager
    def drawing(self, attempt: Attempt) -> Iterator[None]:
        """Suggest the parameters of a slot in this block; at its end they are stored and marked as complete.

        Parameters
        ----------
        attempt : Attempt
            The live attempt, as `FencedStorage.claim` returned it in this process.

        Raises
        ------
        AttemptSuperseded
            The attempt lost its slot; nothing was stored.
        StorageError
            The database refuses, or stayed away.
        """
        with self._lock:
            known = sorted(self._studies[attempt.study_id].trials.values(), key=lambda t: t.number)
        self._here.draw = draw = _Draw(attempt, known)
        try:
            yield
        finally:
            self._here.draw = None
        self._backend.write(partial(store, draw=draw))

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """As in the base class; for the slot being drawn, as it was claimed."""
        draw = self._draw
        if draw is not None and draw.attempt.trial_id == trial_id:
            return draw.own_trial()
        return super().get_trial(trial_id)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """As in the base class; while a slot is drawn, its study as it was when the slot was claimed."""
        draw = self._draw
        if draw is None or draw.attempt.study_id != study_id:
            return super().get_all_trials(study_id, deepcopy, states)
        found = [t for t in draw.trials if states is None or t.state in states]
        return copy.deepcopy(found) if deepcopy else found

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        """As the base class; of the slot being drawn it is kept until the end of the block."""
        draw = self._draw
        if draw is None or draw.attempt.trial_id != trial_id:
            super().set_trial_param(trial_id, param_name, param_value_internal, distribution)
            return
        known = self._studies[draw.attempt.study_id].param_distribution
        before = known.get(param_name) or draw.distribution_of(param_name)
        if before is not None:
            check_distribution_compatibility(before, distribution)
        known.setdefault(param_name, distribution)
        draw.params[param_name] = (param_value_internal, distribution)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """As the base class; of the slot being drawn it is kept until the end of the block."""
        draw = self._draw
        if draw is None or draw.attempt.trial_id != trial_id:
            super().set_trial_system_attr(trial_id, key, value)
        else:
            draw.system_attrs[key] = value


def store(connection: Connection, draw: _Draw) -> None:
    """Store a whole draw if its attempt is live; doing it again changes nothing."""
    attempt = draw.attempt
    update_live(connection, attempt, {"suggested": True})
    if draw.params:
        rows = [
            {
                "trial_id": attempt.trial_id,
                "param_name": name,
                "param_value": value,
                "distribution_json": distribution_to_json(distribution),
            }
            for name, (value, distribution) in draw.params.items()
        ]
        here = (PARAMS.c.trial_id == attempt.trial_id) & PARAMS.c.param_name.in_(list(draw.params))
        connection.execute(PARAMS.delete().where(here))  # the answer to a first commit may have been lost
        connection.execute(PARAMS.insert(), rows)
    write_attrs(connection, attempt.trial_id, {}, draw.system_attrs)
