"""Samplers of a study: created for each slot, with draws that depend only on study seed, slot and history."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from tuner.storage.groups import DistinctGroups


class RepeatableTPESampler(TPESampler):
    """Reproducible TPE: multivariate, grouped for conditional parameters, with constant liar.

    Optuna 5.0 keeps the parameters of a group in the order of a set of strings, which differs between processes (and
    between equal sets), so that the same seed can give different first draws. Here they are sorted.

    Parameters
    ----------
    seed : int
        Seed of every draw.
    startup : int
        Random trials before the model is used.
    """

    def __init__(self, *, seed: int, startup: int) -> None:
        with warnings.catch_warnings():
            # group and multivariate are marked as experimental; Optuna is pinned and their effect is tested.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            super().__init__(n_startup_trials=startup, multivariate=True, group=True, constant_liar=True, seed=seed)
        self._group_decomposed_search_space = DistinctGroups(True)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """As in the base class, sorted by name."""
        space = super().infer_relative_search_space(study, trial)
        group: Any = self._search_space_group
        if group is not None:
            ordered = [dict(sorted(part.items())) for part in group.search_spaces]
            group._search_spaces = sorted(ordered, key=lambda part: next(iter(part)))
        return dict(sorted(space.items()))

    def _get_internal_repr(
        self, trials: list[FrozenTrial], search_space: dict[str, BaseDistribution], study: optuna.Study
    ) -> dict[str, np.ndarray]:
        # The base class searches the choices for every value of every trial, a fifth of a draw's time after 400 trials.
        wanted = search_space.keys()
        rows = [params for params in (self._get_params(trial, study) for trial in trials) if wanted <= params.keys()]
        return {name: np.asarray(_internal(d, [row[name] for row in rows])) for name, d in search_space.items()}


def _internal(distribution: BaseDistribution, values: list[Any]) -> list[float]:
    """Values as numbers, equal to those of `distribution.to_internal_repr`."""
    if isinstance(distribution, CategoricalDistribution):
        known = {choice: distribution.to_internal_repr(choice) for choice in distribution.choices}
        if len(known) == len(distribution.choices) and known.keys() >= set(values):
            return [known[value] for value in values]
    return [distribution.to_internal_repr(value) for value in values]


def slot_sampler(name: str, *, seed: int, startup: int) -> BaseSampler:
    """Sampler of one slot.

    Parameters
    ----------
    name : str
        ``"tpe"`` or ``"random"``.
    seed : int
        The slot's sampler seed.
    startup : int
        Random trials before TPE's model is used.
    """
    if name == "random":
        return RandomSampler(seed=seed)
    return RepeatableTPESampler(seed=seed, startup=startup)
