"""Which trials of a search go on behind a rung: the rule, and a log of decisions made over again.

A rung is an epoch at which a trial is compared with those that reached it before. The rule is the stopping
variant of asynchronous successive halving (Li et al. 2020). It looks only at what exists at that moment, and waits
for nobody. In either order a trial is ahead of all that it dominates:

- ``places``: the mean of its places by each objective and by the volume between its values and the worst there;
- ``pareto``, the order of MO-ASHA (Schmucker et al. 2021): non-dominated fronts, and within a front the crowding
  distance of NSGA-II (Deb et al. 2002, section III B). The last front that goes on is cut by how lonely a point is:
  one that is best by AUROC and worst by motif stays, one that is second by both goes.
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
from tuner.study.toml import Table


class StoppingSection(Table):
    """When hopeless trials of a search are stopped.

    At each epoch in `rungs` a trial goes on if it is among the best 1 / `eta` of those that got there, as `order`
    sorts them; the first `minimum` go on whatever they are worth.
    """

    rungs: list[int] = Field(default=[2, 6, 12], min_length=1)
    eta: float = Field(default=2.0, gt=1, allow_inf_nan=False)
    minimum: int = Field(default=2, ge=1)
    order: Literal["places", "pareto"] = "places"

    @field_validator("rungs")
    @classmethod
    def _ascending(cls, rungs: list[int]) -> list[int]:
        if rungs[0] < 1 or any(b <= a for a, b in itertools.pairwise(rungs)):
            raise ValueError(f"rungs = {rungs} are no epochs in ascending order, the first of them at least 1")
        return rungs

    def decide(self, rung: int, before: Sequence[Sequence[float]], mine: Sequence[float], exempt: bool) -> Decision:
        """Decide whether a trial goes on.

        Parameters
        ----------
        rung : int
            Epoch.
        before : sequence of sequence of float
            Objective values of the trials that reached the rung before, in that order; larger is better.
        mine : sequence of float
            Those of the trial.
        exempt : bool
            Whether the trial goes on in any case.
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
    """Sort points by the mean of their places by each objective and by volume, then by volume, then as they came.

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
    """Sort points by Pareto rank, then by crowding distance, then as they came.

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


def pareto_ranks(values: np.ndarray) -> np.ndarray:
    """Front of each point: 0 where none dominates it, 1 where only points of front 0 do, and so on.

    Parameters
    ----------
    values : np.ndarray, shape=(n, n_objectives)
        Larger is better.
    """
    at_least = (values[:, None] >= values[None]).all(axis=2)  # (n, n): row is nowhere worse than column
    dominates = at_least & ~at_least.T
    ranks = np.full(len(values), -1)
    rank = 0
    while (left := ranks < 0).any():
        ranks[left & ~(dominates & left[:, None]).any(axis=0)] = rank
        rank += 1
    return ranks


def crowding_distances(front: np.ndarray) -> np.ndarray:
    """Crowding distance of each point of one front: per objective the gap between its neighbours, over the range.

    The ends of an objective are infinitely far, but for copies of them: a copy adds nothing to the front.

    Parameters
    ----------
    front : np.ndarray, shape=(n, n_objectives)
        Values of points that do not dominate each other.
    """
    distances = np.zeros(len(front))
    _, first = np.unique(front, axis=0, return_index=True)  # copies after the first stay at 0
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
    """Make every decision of a log over again, from the values and the order in it alone.

    Parameters
    ----------
    log : sequence of Entry
        Rungs of a study, those of one rung in the order of their places.
    rule : StoppingSection
        Of the study.
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
