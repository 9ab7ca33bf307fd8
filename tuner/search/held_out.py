"""The sequences that a run's weights were not fitted to: validation, or its own fold of a cross-validation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from optuna.trial import FrozenTrial

from tuner.data.dataset import Dataset, Split
from tuner.data.partition import with_relatives
from tuner.search.trial import fold_dataset
from tuner.storage.keys import FOLDS
from tuner.study.plan import FOLDS as BY_RELATIVES
from tuner.study.plan import Plan, mix


def held_out(plan: Plan, dataset: Dataset, identity: Mapping[str, Any]) -> Callable[[FrozenTrial], Split]:
    """Make a function that tells the sequences which a stored run was validated on.

    Parameters
    ----------
    plan : Plan
        Of the study.
    dataset : Dataset
        That the run was trained on.
    identity : mapping of str to any
        Of the stored study, which says how its folds were made.

    Returns
    -------
    callable
        Run -> split with labels and codes; of one fold it is dealt once.
    """
    dealt: dict[tuple[int, int], Split] = {}
    grouped: list[Dataset] = []  # made when the first fold is asked for

    def find(run: FrozenTrial) -> Split:
        folds = int(run.user_attrs.get(FOLDS, 0))
        if not folds:
            return dataset.valid
        key = folds, int(run.user_attrs["replicate"])
        if key not in dealt:
            if not grouped:
                closed = dataset if dataset.sealed is not None else dataset.without_test()
                grouped.append(with_relatives(closed) if BY_RELATIVES in identity else closed)
            dealt[key] = fold_of(plan, grouped[0], *key).valid
        return dealt[key]

    return find


def fold_of(plan: Plan, dataset: Dataset, folds: int, replicate: int) -> Dataset:
    """Rearrange a data set as a replicate of a cross-validation has it."""
    return fold_dataset(dataset, folds, replicate % folds, mix(plan.seed, "folds", replicate // folds))
