"""How sure a difference of retrained models is: over their seeds, and over the validation sequences that score them.

A model trained with other seeds would score otherwise, and so would the same models on other sequences. Both variances
are added. That of the sequences is the grouped jackknife of `tuner.models.groups`: every run scores the same groups, so
a difference is paired over them. Quantiles of t are weighted by the parts of the variance (Cochran & Cox 1950), which
holds its level with two seeds; `benchmarks/claims.py` measures it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FEWEST = 3  # runs for an interval: with two, t(1) = 12.7 says nothing
CONFIDENCE = 0.95
DRAWS = 500  # of the bootstrap over groups

SEQUENCES, SEEDS, FOLDS = "seeds and sequences", "seeds alone", "folds"
ONE_RUN, UNRECORDED = "one run", "unrecorded"  # why nothing is known of a spread
Groups = Mapping[str, Sequence[float]]


class Spread(NamedTuple):
    """Standard error of a mean over runs, and the factor that makes an interval of it.

    Attributes
    ----------
    error : float
        Standard error; infinite where it cannot be known.
    factor : float
        Quantile of t for a two-sided interval of 95 %.
    over : str
        What it covers: `SEQUENCES`, `SEEDS` or `FOLDS`; `ONE_RUN` where nothing is known.
    """

    error: float
    factor: float
    over: str


UNKNOWN = Spread(math.inf, math.inf, ONE_RUN)


def mean_spread(values: Sequence[float], groups: Sequence[Sequence[float]] | None, *, folds: int = 0) -> Spread:
    """Spread of the mean of one model's runs.

    Parameters
    ----------
    values : sequence of float
        One value a run.
    groups : sequence of sequence of float, optional
        For each run its value without each group of validation sequences; None where that is not known.
    folds : int
        Folds of the cross-validation that the runs are; 0 where they are seeds.
    """
    if len(values) < 2:
        return UNKNOWN
    variance = float(np.var(values, ddof=1))
    if folds:
        return _over_folds(variance, len(values), folds)
    return _added(variance / len(values), len(values) - 1, groups)


def lead_spread(
    first: Sequence[float],
    second: Sequence[float],
    groups: Sequence[Sequence[float]] | None,
    *,
    folds: int = 0,
) -> Spread:
    """Spread of the difference of two means over the same runs.

    Parameters
    ----------
    first, second : sequence of float
        One value a run; those of one position share a seed, or a fold.
    groups : sequence of sequence of float, optional
        For each run the difference without each group of validation sequences.
    folds : int
        As in `mean_spread`.
    """
    n = len(first)
    if n < 2:
        return UNKNOWN
    if folds:
        return _over_folds(float(np.var(np.subtract(first, second), ddof=1)), n, folds)
    # The same seed makes other weights of other hyperparameters: runs are not paired, only sequences are.
    return _added(float(np.var(first, ddof=1) + np.var(second, ddof=1)) / n, 2 * (n - 1), groups)


def _added(seeds: float, freedom: int, groups: Sequence[Sequence[float]] | None) -> Spread:
    if groups is None:
        return Spread(math.sqrt(seeds) if seeds > 0 else math.inf, _quantile(freedom), SEEDS)
    without = np.mean(np.asarray(groups, dtype=np.float64), axis=0)  # (groups,)
    n = len(without)
    sequences = float((n - 1) / n * np.sum((without - without.mean()) ** 2))
    total = seeds + sequences
    if total <= 0:  # nothing varies: how much it could is not known
        return Spread(math.inf, math.inf, SEQUENCES)
    factor = (_quantile(freedom) * seeds + _quantile(n - 1) * sequences) / total
    return Spread(math.sqrt(total), factor, SEQUENCES)


def _over_folds(variance: float, runs: int, folds: int) -> Spread:
    """Folds share most of their training sequences, so their variance is too small (Nadeau & Bengio 2003)."""
    error = math.sqrt(variance * (1 / runs + 1 / (folds - 1)))
    return Spread(error if error > 0 else math.inf, _quantile(runs - 1), FOLDS)


def _quantile(freedom: int) -> float:
    from scipy.special import stdtrit  # slow to import; what scipy.stats.t.ppf calls, which takes a second more

    return float(stdtrit(freedom, (1 + CONFIDENCE) / 2))


def interval(mean: float, spread: Spread, runs: int, *, bounded: bool) -> tuple[float, float]:
    """Both ends of the 95 % interval of a mean; NaN below three runs.

    Parameters
    ----------
    mean : float
        The mean.
    spread : Spread
        Of it.
    runs : int
        How many it is the mean of.
    bounded : bool
        Whether the value lies in [0, 1]: then the interval is symmetric in the logit, and stays inside.
    """
    if runs < FEWEST:
        return math.nan, math.nan
    half = spread.error * spread.factor
    if not math.isfinite(half):  # equal runs, and no sequences beside them: how much it could vary is not known
        return math.nan, math.nan
    if not bounded or not 0 < mean < 1:
        return mean - half, mean + half
    middle, half = math.log(mean / (1 - mean)), half / (mean * (1 - mean))
    return 1 / (1 + math.exp(half - middle)), 1 / (1 + math.exp(-middle - half))


def optimism(
    found: NDArray[np.float64],
    found_groups: NDArray[np.float64],
    candidates: Sequence[int],
    means: NDArray[np.float64],
    mean_groups: NDArray[np.float64],
    errors: NDArray[np.float64],
    *,
    seed: int = 0,
) -> float:
    """How much better than itself the chosen candidate looks on the sequences it was chosen by.

    The search chooses its candidates, and the confirmation one of them, by the same validation sequences. A bootstrap
    over groups of sequences repeats both choices: the mean by which the value of the chosen one exceeds its own on all
    sequences is subtracted.

    Parameters
    ----------
    found : np.ndarray, shape=(n_trials,)
        Values of the search, larger is better.
    found_groups : np.ndarray, shape=(n_trials, n_groups)
        The same without each group.
    candidates : sequence of int
        Positions in `found` of those that were retrained.
    means, mean_groups : np.ndarray, shape=(n_candidates,), (n_candidates, n_groups)
        Confirmation means, and without each group.
    errors : np.ndarray, shape=(n_candidates,)
        Standard errors of the means over seeds.
    seed : int
        Of the draws.
    """
    n_groups = found_groups.shape[1]
    rng = np.random.default_rng(seed)
    of_found = -(n_groups - 1) * (found_groups - found_groups.mean(axis=1, keepdims=True))
    of_means = -(n_groups - 1) * (mean_groups - mean_groups.mean(axis=1, keepdims=True))
    positions = np.asarray(candidates)
    surplus = 0.0
    for weights in rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=DRAWS) / n_groups:
        searched = found + of_found @ weights
        best = np.argpartition(-searched, len(positions) - 1)[: len(positions)]
        drawn = means + of_means @ weights + errors * rng.standard_normal(len(means))
        again = np.isin(positions, best)  # only those that were retrained can be declared
        chosen = int(np.argmax(np.where(again, drawn, -np.inf) if again.any() else drawn))
        surplus += drawn[chosen] - means[chosen]
    return surplus / DRAWS
