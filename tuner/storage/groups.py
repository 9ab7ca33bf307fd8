"""Groups of conditional parameters, derived from the distinct sets of parameter names among the trials."""

from __future__ import annotations

import copy

import optuna
from optuna.search_space.group_decomposed import _GroupDecomposedSearchSpace, _SearchSpaceGroup
from optuna.trial import TrialState


class DistinctGroups(_GroupDecomposedSearchSpace):
    """As in Optuna, without splitting the groups again by a set of parameters that has split them before.

    A study has few such sets (one for each combination of conditions), so the cost per finished trial is that of a
    look-up.
    """

    def calculate(self, study: optuna.Study, use_cache: bool = False) -> _SearchSpaceGroup:
        """Groups of parameters that occur together in finished trials, including pruned ones."""
        seen: set[frozenset[str]] = set()
        for trial in study._get_trials(
            deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED), use_cache=use_cache
        ):
            names = frozenset(trial.distributions)
            if names not in seen:
                seen.add(names)
                self._search_space.add_distributions(trial.distributions)
        return copy.deepcopy(self._search_space)
