"""Early stopping: the rule that decides which trials of a search continue after a rung, and its replay from a log.

A rung is an epoch at which a trial is compared with those that reached it before. The rule is the stopping
variant of asynchronous successive halving (Li et al. 2020). It compares with the trials that exist at that moment and
does not wait for others. Trials can be ordered in two ways; in both, a trial precedes all trials that it dominates:

- ``places``: by the mean of its ranks, one by each objective and one by the volume between its values and the worst;
- ``pareto``, the order of MO-ASHA (Schmucker et al. 2021): by non-dominated front, and within a front by the crowding
  distance of NSGA-II (Deb et al. 2002, section III B). If only part of a front continues, isolated points are kept:
  one that is best by AUROC and worst by motif continues, one that is second by both is stopped.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal

import numpy as np
from pydantic import Field, field_validator

from tuner.storage.rungs import Decision, Entry
from tuner.study.dominance import pareto_ranks
from tuner.study.toml import Table


class StoppingSection(Table):
    """When hopeless trials of a search are stopped.

    At each epoch in `rungs` a trial continues if it is among the best 1 / `eta` of the trials that reached that epoch,
    sorted by `order`; the first `minimum` trials continue in any case.
    """

    rungs: list[int] = Field(default=[2, 6, 12], min_length=1)
    eta: float = Field(default=2.0, gt=1, allow_inf_nan=False)
    minimum: int = Field(default=2, ge=1)
    order: Literal["places", "pareto"] = "places"

    @field_validator("rungs")
    @classmethod
    def _ascending(cls, rungs: list[int]) -> list[int]:
        if rungs[0] < 1 or any(b <= a for a, b in itertools.pairwise(rungs)):
            raise ValueError(f"rungs = {rungs} must be epochs in ascending order, the first of them at least 1")
        return rungs

    def decide(self, rung: int, before: Sequence[Sequence[float]], mine: Sequence[float], exempt: bool) -> Decision:
        """Decide whether a trial continues.

        Parameters
        ----------
        rung : int
            Epoch.
        before : sequence of sequence of float
            Objective values of the trials that reached the rung before, in that order; larger is better.
        mine : sequence of float
            Objective values of the trial.
        exempt : bool
            Whether the trial continues in any case.
        """
        there = len(before) + 1
        if exempt:
            return Decision(True, f"epoch {rung}: warm starts are not stopped")
        if there <= self.minimum:
            return Decision(True, f"epoch {rung}: the first {self.minimum} trials of a rung go on")
        sort, words = ORDERS[self.order]
        place = sort(np.array([*before, mine], dtype=np.float64)).index(there - 1) + 1
        best = math.ceil(there / self.eta)
        return Decision(place <= best, f"epoch {rung}: place {place} of {there} by {words}; the best {best} go on")


def by_places(values: np.ndarray) -> list[int]:
    """Sort points by the mean of their ranks by each objective and by volume; ties by volume, then in order of arrival.

    Parameters
    ----------
    values : np.ndarray, shape=(n, n_objectives)
        Larger is better.

    Returns
    -------
    list of int
        Indices, the best first.
    """
    from scipy.stats import rankdata  # slow to import

    volumes = np.prod(values - values.min(axis=0), axis=1)
    places = rankdata(-np.column_stack([values, volumes]), method="min", axis=0)  # (n, n_objectives + 1)
    return [int(i) for i in np.lexsort((np.arange(len(values)), -volumes, places.sum(axis=1)))]


def by_pareto_rank(values: np.ndarray) -> list[int]:
    """Sort points by Pareto rank, then by crowding distance, then in order of arrival.

    Parameters
    ----------
    values : np.ndarray, shape=(n, n_objectives)
        Larger is better.

    Returns
    -------
    list of int
        Indices, the best first.
    """
    ranks = pareto_ranks(values)
    crowding = np.zeros(len(values))
    for rank in np.unique(ranks):
        crowding[ranks == rank] = crowding_distances(values[ranks == rank])
    return [int(i) for i in np.lexsort((np.arange(len(values)), -crowding, ranks))]


ORDERS: Mapping[str, tuple[Callable[[np.ndarray], list[int]], str]] = MappingProxyType(
    {"places": (by_places, "mean place"), "pareto": (by_pareto_rank, "Pareto rank")}
)


def crowding_distances(front: np.ndarray) -> np.ndarray:
    """Crowding distance of each point of a front: the gap between its neighbours by each objective, over the range.

    The extreme points of an objective have infinite distance, except copies of them, which add nothing to the front.

    Parameters
    ----------
    front : np.ndarray, shape=(n, n_objectives)
        Values of points that do not dominate each other.
    """
    distances = np.zeros(len(front))
    _, first = np.unique(front, axis=0, return_index=True)  # copies after the first keep distance 0
    different = front[first]
    for axis in range(front.shape[1]):
        column = different[:, axis]
        by_value = np.argsort(column, kind="stable")
        span = column[by_value[-1]] - column[by_value[0]]
        if span > 0:
            gaps = (column[by_value[2:]] - column[by_value[:-2]]) / span
            distances[first[by_value[1:-1]]] += gaps
        distances[first[by_value[[0, -1]]]] = np.inf
    return distances


def replay(log: Sequence[Entry], rule: StoppingSection, signs: Mapping[str, float]) -> list[Decision]:
    """Repeat every decision of a log from the values and the order in it alone.

    Parameters
    ----------
    log : sequence of Entry
        Entries at the rungs of a study; those of one rung in order of arrival.
    rule : StoppingSection
        The study's rule.
    signs : mapping of str to float
        Objective -> 1 where larger is better, -1 where smaller is; in the study's order.

    Returns
    -------
    list of Decision
        One for each entry.
    """
    seen: dict[int, list[list[float]]] = {}
    decisions = []
    for entry in log:
        before = seen.setdefault(entry.rung, [])
        mine = [sign * entry.values[name] for name, sign in signs.items()]
        decisions.append(rule.decide(entry.rung, before, mine, entry.exempt))
        before.append(mine)
    return decisions
