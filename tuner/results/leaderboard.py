"""What the search has found: the leaderboard, its Pareto front, and the candidates that are retrained.

The search screens: one seed a trial, so its best validation value is optimistic.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from tuner.errors import StorageError, StudyError
from tuner.storage.keys import FOLDS
from tuner.storage.names import STAGE_SUFFIXES, shown
from tuner.storage.records import REMEDY, check_numbers
from tuner.storage.storage import FencedStorage
from tuner.study.directions import OBJECTIVE_DIRECTIONS, maximized
from tuner.study.dominance import pareto_front

__all__ = [
    "TERMINAL",
    "FrozenTrial",
    "TrialRow",
    "TrialState",
    "choose_candidates",
    "hypervolume",
    "leaderboard",
    "light_trials",
    "objective_names",
    "pareto_numbers",
    "signed",
    "stage_trials",
    "watched",
]

PROVENANCE = ("seed", "candidate", "replicate", FOLDS)  # numbers that say where a value comes from
TERMINAL = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


class TrialRow(NamedTuple):
    """One trial of the leaderboard; validation, one seed.

    Attributes
    ----------
    number : int
        In the search.
    state : str
        ``COMPLETE``, ``PRUNED``, ...
    values, watched : dict of str to float
        Objectives, and what else was measured.
    params : dict
        Hyperparameters.
    pareto : bool
        On the front of the search.
    warm_start : bool
        Enqueued from published settings.
    reason : str
        Why it was pruned or failed.
    """

    number: int
    state: str
    values: dict[str, float]
    watched: dict[str, float]
    params: dict[str, Any]
    pareto: bool
    warm_start: bool
    reason: str = ""


def stage_trials(storage: FencedStorage, name: str) -> list[FrozenTrial]:
    """Trials of a study or stage, none where it does not exist, or is another program's."""
    try:
        study_id = storage.get_study_id_from_name(name)
    except KeyError:
        return []
    if name.endswith(STAGE_SUFFIXES) and name in storage.catalog().foreign:
        return []
    return _checked(storage, name, study_id, storage.get_all_trials(study_id, deepcopy=False))


def light_trials(
    storage: FencedStorage,
    name: str,
    attributes: Collection[str] | None = (),
    params: Collection[str] | None = (),
    numbers: Collection[int] | None = None,
) -> list[FrozenTrial]:
    """Trials of a study or stage with only these attributes and parameters (None: all); none where there is none."""
    try:
        study_id = storage.get_study_id_from_name(name)
    except KeyError:
        return []
    return _checked(storage, name, study_id, storage.light_trials(study_id, attributes, params, numbers))


def _checked(storage: FencedStorage, name: str, study_id: int, trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """Refuse what no trial of ours holds: other people can write the database too."""
    expected = len(storage.get_study_directions(study_id))
    for t in trials:
        whose = f"{shown(name)} trial {t.number}"
        measured = [k for k in OBJECTIVE_DIRECTIONS if k == "match_fraction" or t.user_attrs.get(k) is not None]
        check_numbers(t.user_attrs, whose, whole=(*PROVENANCE, "stopped_at"), real=measured)
        if t.state == TrialState.COMPLETE and len(t.values or ()) != expected:
            raise StorageError(f"{whose}: it is complete, and the number of its values {REMEDY}")
    return trials


def objective_names(storage: FencedStorage, name: str) -> list[str]:
    """The objectives of a stored study, in order.

    Raises
    ------
    StudyError
        It names none, one that does not exist, or another number than it has values.
    """
    study_id = storage.get_study_id_from_name(name)
    stored = storage.get_study_system_attrs(study_id).get("study:metric_names")
    directions = [d.name.lower() for d in storage.get_study_directions(study_id)]
    names = stored if isinstance(stored, list) and all(isinstance(n, str) for n in stored) else []
    if not names or [OBJECTIVE_DIRECTIONS.get(n, "") for n in names] != directions:
        listed = ", ".join(shown(n) for n in names) or "none"
        raise StudyError(
            f"{shown(name)}: its objectives ({listed}; {' and '.join(directions)}) are not what this version of tuner "
            "knows; another version made it, or somebody changed it."
        )
    return names


def leaderboard(trials: Sequence[FrozenTrial], objectives: Sequence[str]) -> list[TrialRow]:
    """Every trial, the best of the first objective first, unfinished and valueless ones last."""
    front = pareto_numbers(trials, objectives)
    rows = [
        TrialRow(
            t.number,
            t.state.name,
            dict(zip(objectives, t.values, strict=True)) if t.values else {},
            watched(t),
            dict(t.params),
            t.number in front,
            "warm_start" in t.user_attrs,
            str(t.user_attrs.get("reason", "")),
        )
        for t in trials
    ]
    sign = -1.0 if maximized(objectives[0]) else 1.0
    return sorted(rows, key=lambda r: (not r.values, sign * r.values.get(objectives[0], 0.0), r.number))


def watched(trial: FrozenTrial) -> dict[str, float]:
    """Every numeric metric recorded beside the objectives."""
    return {
        k: v
        for k, v in trial.user_attrs.items()
        if isinstance(v, int | float) and not isinstance(v, bool) and k not in PROVENANCE
    }


def signed(trial: FrozenTrial, objectives: Sequence[str]) -> tuple[float, ...]:
    """Objective values with the sign turned so that larger is better."""
    return tuple(v if maximized(name) else -v for name, v in zip(objectives, trial.values, strict=True))


def pareto_numbers(trials: Sequence[FrozenTrial], objectives: Sequence[str]) -> set[int]:
    """Numbers of the completed trials that no other completed trial dominates."""
    points = {t.number: signed(t, objectives) for t in trials if t.state == TrialState.COMPLETE}
    if not points:
        return set()
    front = pareto_front(np.array(list(points.values())))
    return {n for n, kept in zip(points, front, strict=True) if kept}


def choose_candidates(trials: Sequence[FrozenTrial], objectives: Sequence[str], count: int) -> list[int]:
    """Choose the trials to retrain.

    The best half (rounded up) by the first objective, then the Pareto front by each further objective in
    turn, then the next best by the first. The rule uses validation values only.

    Parameters
    ----------
    trials : sequence of FrozenTrial
        All trials of the search.
    objectives : sequence of str
        Names, the first one deciding.
    count : int
        How many to choose at most.
    """
    done = {t.number: signed(t, objectives) for t in trials if t.state == TrialState.COMPLETE}
    by_first = sorted(done, key=lambda n: (-done[n][0], n))
    chosen = by_first[: math.ceil(count / 2)]
    front = pareto_numbers(trials, objectives)
    axes = range(1, len(objectives))
    while len(chosen) < count:
        before = len(chosen)
        for axis in axes:
            left = sorted(front - set(chosen), key=lambda n: (-done[n][axis], -done[n][0], n))
            if left and len(chosen) < count:
                chosen.append(left[0])
        if len(chosen) == before:
            break
    chosen += [n for n in by_first if n not in chosen]
    return chosen[:count]


def hypervolume(trials: Sequence[FrozenTrial], objectives: Sequence[str], reference: Sequence[float]) -> float:
    """Hypervolume that the completed trials dominate above `reference` (each objective as it is better)."""
    from optuna._hypervolume import compute_hypervolume  # ships no public name; pinned, tested against a grid

    points = np.array([signed(t, objectives) for t in trials if t.state == TrialState.COMPLETE])
    if not len(points):
        return 0.0
    bound = np.array([r if maximized(n) else -r for n, r in zip(objectives, reference, strict=True)])
    return float(compute_hypervolume(np.minimum(-points, -bound), -bound))
