"""Groups of conditional parameters, found from the distinct sets of names that trials have."""

from __future__ import annotations

import copy

import optuna
from optuna.search_space.group_decomposed import _GroupDecomposedSearchSpace, _SearchSpaceGroup
from optuna.trial import TrialState


class DistinctGroups(_GroupDecomposedSearchSpace):
    """As Optuna's, without splitting the groups again by a set of parameters that has split them before.

    A study has few such sets (one a combination of conditions), so that the cost per finished trial is that of a
    look-up.
    """

    def calculate(self, study: optuna.Study, use_cache: bool = False) -> _SearchSpaceGroup:
        """Groups of parameters that finished trials have together, pruned trials included."""
        seen: set[frozenset[str]] = set()
        for trial in study._get_trials(
            deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED), use_cache=use_cache
        ):
            names = frozenset(trial.distributions)
            if names not in seen:
                seen.add(names)
                self._search_space.add_distributions(trial.distributions)
        return copy.deepcopy(self._search_space)
