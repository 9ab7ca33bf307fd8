"""What the confirmation has found: means of retrained candidates, the primary trial, and how sure that choice is.

The candidates are retrained with new seeds, and their means, made before the test split is opened, decide.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from tuner.errors import StorageError
from tuner.results.leaderboard import TERMINAL, watched
from tuner.results.leads import FEWEST, SEEDS, UNRECORDED, Spread, interval, lead_spread, mean_spread, optimism
from tuner.storage.keys import FOLDS, WITHOUT_GROUPS
from tuner.storage.records import REMEDY
from tuner.study.directions import BOUNDED, PREDICTED, maximized


class Confirmed(NamedTuple):
    """One candidate after retraining.

    Attributes
    ----------
    candidate : int
        Trial number in the search.
    runs : dict of int to dict
        Replicate -> metric -> value, completed runs only.
    mean, low, high : dict of str to float
        Per metric: mean over replicates and its 95 % interval, NaN below three replicates.
    collapsed : int
        Runs that diverged or failed.
    groups : dict of int to dict
        Replicate -> objective -> its value without each group of validation sequences.
    folds : int
        Folds of the cross-validation that the runs are; 0 where they are seeds.
    """

    candidate: int
    runs: dict[int, dict[str, float]]
    mean: dict[str, float]
    low: dict[str, float]
    high: dict[str, float]
    collapsed: int
    groups: Mapping[int, Mapping[str, Sequence[float]]] = MappingProxyType({})
    folds: int = 0

    def without_groups(self, objective: str, runs: Sequence[int]) -> np.ndarray | None:
        """Values of runs without each group, shape=(runs, groups); None where one of them has none."""
        rows = [self.groups.get(r, {}).get(objective) for r in runs]
        if not rows or any(row is None for row in rows) or len({len(row or ()) for row in rows}) > 1:
            return None
        return np.array(rows, dtype=np.float64)

    def spread(self, objective: str) -> Spread:
        """Of the mean of a metric."""
        runs = [r for r in self.runs if objective in self.runs[r]]
        groups = self.without_groups(objective, runs)
        values = [self.runs[r][objective] for r in runs]
        return mean_spread(values, None if groups is None else groups.tolist(), folds=self.folds)


class Standing(StrEnum):
    """Where one thing stands beside another."""

    AHEAD = "ahead"
    BEHIND = "behind"
    OPEN = "not distinguishable"

    @classmethod
    def of(cls, low: float, high: float) -> Standing:
        """By the ends of the interval of a lead; one that holds 0 is no lead."""
        return cls.AHEAD if low > 0 else cls.BEHIND if high < 0 else cls.OPEN


class Verdict(NamedTuple):
    """The primary trial and how sure that choice is.

    Attributes
    ----------
    primary : int
        The candidate with the best confirmation mean of the first objective.
    runner_up : int or None
        The next one.
    lead, low, high : float
        Difference of the confirmation means (better = positive), and its 95 % interval; NaN where nothing is known of
        its spread.
    over : str
        What the interval covers: seeds and sequences, seeds alone, folds.
    corrected, corrected_low, corrected_high : float
        Confirmation mean of the primary trial less what it owes to having been chosen on the sequences that score it,
        and the 95 % interval of that; NaN where it is not known.
    """

    primary: int
    runner_up: int | None
    lead: float = math.nan
    low: float = math.nan
    high: float = math.nan
    over: str = SEEDS
    corrected: float = math.nan
    corrected_low: float = math.nan
    corrected_high: float = math.nan

    @property
    def standing(self) -> Standing:
        """Of the primary trial beside the runner-up: a lead whose interval holds 0, or is unknown, is none."""
        return Standing.of(self.low, self.high)

    @property
    def distinguishable(self) -> bool:
        """Whether the primary trial is ahead."""
        return self.standing is Standing.AHEAD


def confirmed(trials: Sequence[FrozenTrial]) -> list[Confirmed]:
    """Summarise the confirmation study, one entry a candidate, in order of first enqueueing."""
    runs: dict[int, dict[int, FrozenTrial]] = {}
    collapsed: dict[int, int] = {}
    for t in trials:
        if "candidate" not in t.user_attrs:
            continue
        candidate = int(t.user_attrs["candidate"])
        runs.setdefault(candidate, {})
        if "replicate" not in t.user_attrs:
            raise StorageError(f"confirmation trial {t.number}: without the attribute replicate, it {REMEDY}")
        if t.state == TrialState.COMPLETE:
            runs[candidate][int(t.user_attrs["replicate"])] = t
        elif t.state in TERMINAL:
            collapsed[candidate] = collapsed.get(candidate, 0) + 1
    return [_summary(candidate, found, collapsed.get(candidate, 0)) for candidate, found in runs.items()]


def _summary(candidate: int, trials: Mapping[int, FrozenTrial], collapsed: int) -> Confirmed:
    runs = {replicate: watched(t) for replicate, t in trials.items()}
    keys = sorted(set().union(*runs.values())) if runs else []
    mean = {key: float(np.mean([r[key] for r in runs.values() if key in r])) for key in keys}
    found = Confirmed(
        candidate, runs, mean, {}, {}, collapsed, {r: groups_of(t) for r, t in trials.items()},
        max((int(t.user_attrs.get(FOLDS, 0)) for t in trials.values()), default=0),
    )  # fmt: skip
    for key in keys:
        n = sum(key in r for r in runs.values())
        bounded = key in BOUNDED
        found.low[key], found.high[key] = interval(mean[key], found.spread(key), n, bounded=bounded)
    return found


def groups_of(trial: FrozenTrial) -> dict[str, list[float]]:
    """Values of a trial without each group of validation sequences; nothing where they are not what was stored."""
    stored = trial.user_attrs.get(WITHOUT_GROUPS)
    if not isinstance(stored, dict):
        return {}
    return {
        str(name): values
        for name, values in stored.items()
        if isinstance(values, list) and all(isinstance(v, float | int) and math.isfinite(v) for v in values)
    }


def rank_confirmed(candidates: Sequence[Confirmed], objective: str) -> list[Confirmed]:
    """Candidates with a completed run, the best confirmation mean of `objective` first.

    Raises
    ------
    StorageError
        A completed run without that metric.
    """
    sign = 1.0 if maximized(objective) else -1.0
    for c in candidates:
        if c.runs and objective not in c.mean:
            raise StorageError(f"confirmation of trial {c.candidate}: without the attribute {objective}, it {REMEDY}")
    return sorted((c for c in candidates if c.runs), key=lambda c: (-sign * c.mean[objective], c.candidate))


def declare(
    candidates: Sequence[Confirmed], objective: str, search: Sequence[FrozenTrial] | None = None
) -> Verdict | None:
    """Declare the primary trial from the confirmation means of `objective`.

    Parameters
    ----------
    candidates : sequence of Confirmed
        As `confirmed` gives them.
    objective : str
        What decides.
    search : sequence of FrozenTrial, optional
        Trials of the search, with their attribute `WITHOUT_GROUPS`: the value of the primary trial is corrected for
        the choice among them.

    Returns
    -------
    Verdict or None
        None where no candidate has a completed run.
    """
    ranked = rank_confirmed(candidates, objective)
    if not ranked:
        return None
    corrected = _corrected(ranked, objective, search or ())
    if len(ranked) == 1:
        return Verdict(ranked[0].candidate, None, math.nan, math.nan, math.nan, SEEDS, *corrected)
    return Verdict(ranked[0].candidate, ranked[1].candidate, *lead_of(ranked[0], ranked[1], objective), *corrected)


def lead_of(first: Confirmed, second: Confirmed, objective: str) -> tuple[float, float, float, str]:
    """Lead of one retrained candidate over another (better = positive), its 95 % interval and what that covers."""
    sign = 1.0 if maximized(objective) else -1.0
    shared = sorted(set(first.runs) & set(second.runs))
    a, b = ([sign * c.runs[r][objective] for r in shared] for c in (first, second))
    groups = [c.without_groups(objective, shared) for c in (first, second)]
    differences = None
    if groups[0] is not None and groups[1] is not None and groups[0].shape == groups[1].shape:
        differences = (sign * (groups[0] - groups[1])).tolist()
    spread = lead_spread(a, b, differences, folds=first.folds)
    lead = float(np.mean(a) - np.mean(b)) if shared else math.nan
    if spread.over == SEEDS and objective in PREDICTED:  # of an older version: the sequences are not covered
        return lead, math.nan, math.nan, UNRECORDED
    half = spread.error * spread.factor
    known = math.isfinite(half)
    return lead, lead - half if known else math.nan, lead + half if known else math.nan, spread.over


def _corrected(
    ranked: Sequence[Confirmed], objective: str, search: Sequence[FrozenTrial]
) -> tuple[float, float, float]:
    """Value of the best candidate less its optimism, and both ends of its interval; NaN where that is not known."""
    sign = 1.0 if maximized(objective) else -1.0
    first = ranked[0]
    groups = [c.without_groups(objective, list(c.runs)) for c in ranked]
    known = [(t, groups_of(t).get(objective)) for t in search if t.state == TrialState.COMPLETE]
    size = {len(g) for _, g in known if g is not None} | {g.shape[1] for g in groups if g is not None}
    numbers = [t.number for t, _ in known]
    usable = len(size) == 1 and all(g is not None for _, g in known) and all(g is not None for g in groups)
    if first.folds or not usable or not {c.candidate for c in ranked} <= set(numbers) or len(first.runs) < FEWEST:
        return math.nan, math.nan, math.nan
    values = np.array([sign * first_value(t) for t, _ in known])
    surplus = optimism(
        values, sign * np.array([g for _, g in known]), [numbers.index(c.candidate) for c in ranked],
        np.array([sign * c.mean[objective] for c in ranked]),
        sign * np.array([g.mean(axis=0) for g in groups if g is not None]),
        np.array([np.std([r[objective] for r in c.runs.values()], ddof=1) / math.sqrt(len(c.runs))
                  if len(c.runs) > 1 else 0.0 for c in ranked]),
    )  # fmt: skip
    value = first.mean[objective] - sign * surplus
    return value, *interval(value, first.spread(objective), len(first.runs), bounded=objective in BOUNDED)


def first_value(trial: FrozenTrial) -> float:
    """Value of the first objective."""
    return float(trial.values[0])
