"""Claim: what the tool says of leads and confirmation means holds as often as it says.

    python benchmarks/claims.py leads
    python benchmarks/claims.py means
    python benchmarks/claims.py intervals
    python benchmarks/claims.py motifs

Everything is simulated with models whose truth is known, and judged by the functions that the tool itself uses.

Scores are normal: a part that all models share (how hard a sequence is), one of each candidate, one of each training
run, and a shift between the classes that varies from run to run.

leads       candidates that are equally good: how often the best one is called "ahead of" the next (nominal .05 or less)
means       searches whose candidates differ: how often the 95 % interval holds the population AUROC of the primary
            trial, before and after the correction for its having been chosen, and how far each is off
intervals   small test sets: how often the 95 % interval of one model's score holds the population value, beside the
            percentile bootstrap
motifs      filters and patterns without a motif, layers with copies of a motif (`claims_motifs.py`)
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import optuna
from claims_motifs import motifs
from optuna.trial import FrozenTrial, TrialState
from scipy import stats
from scipy.stats import norm

from tuner.models import metrics
from tuner.models.groups import without_each
from tuner.models.intervals import auroc_interval, bootstrap_interval
from tuner.results.confirmation import Verdict, confirmed, declare
from tuner.results.leaderboard import choose_candidates
from tuner.storage.keys import WITHOUT_GROUPS

SHARED, OWN = 0.5, 0.25  # variance of a score; the rest is of the run
EVEN = 245  # sequences of each class


class World(NamedTuple):
    """Validation sequences, and how models score them.

    Attributes
    ----------
    labels : np.ndarray, shape=(n, 1)
    shared : np.ndarray, shape=(n,)
        Part of every model's scores.
    seeds : float
        Standard deviation of the shift between the classes over training runs.
    rng : np.random.Generator
    """

    labels: np.ndarray
    shared: np.ndarray
    seeds: float
    rng: np.random.Generator

    def candidate(self, shift: float) -> Callable[[], np.ndarray]:
        """One candidate: each call trains it once and gives its scores, shape=(n, 1)."""
        own = math.sqrt(OWN) * self.rng.standard_normal(len(self.labels))

        def train() -> np.ndarray:
            noise = math.sqrt(1 - SHARED - OWN) * self.rng.standard_normal(len(self.labels))
            signal = (shift + self.seeds * self.rng.standard_normal()) * self.labels[:, 0]
            return (self.shared + own + noise + signal)[:, None]

        return train


def make_world(rng: np.random.Generator, positives: int, negatives: int, seeds: float) -> World:
    """Draw sequences."""
    labels = np.repeat([1, 0], [positives, negatives]).astype(np.uint8)[:, None]
    return World(labels, math.sqrt(SHARED) * rng.standard_normal(len(labels)), seeds, rng)


def trial(world: World, scores: np.ndarray, number: int, **attributes: int) -> FrozenTrial:
    """A trial as a worker stores it."""
    value = metrics.auroc(world.labels, scores)
    groups = without_each(metrics.auroc, world.labels, scores)
    made = optuna.trial.create_trial(
        state=TrialState.COMPLETE, value=value,
        user_attrs={"auroc": value, WITHOUT_GROUPS: {"auroc": groups}, **attributes},
    )  # fmt: skip
    made.number = number
    return made


def retrain(world: World, candidates: dict[int, Callable[[], np.ndarray]], seeds: int) -> list[FrozenTrial]:
    """The confirmation of candidates by number."""
    return [
        trial(world, train(), 0, candidate=number, replicate=replicate)
        for replicate in range(seeds)
        for number, train in candidates.items()
    ]


def leads(draws: int, last: int) -> None:
    """How often one of equal candidates is called ahead."""
    print("| AUROC | seeds' SD of the AUROC | candidates x seeds | ahead | by two standard errors over seeds |")
    print("|---|---|---|---|---|")
    settings = itertools.product((1.81, 2.9), (0.0, 0.1, 0.25), ((2, 2), (2, 5), (5, 5)))
    for shift, deviation, (count, seeds) in list(settings)[-last:]:
        rng = np.random.default_rng(0)
        ahead, before = 0, 0
        for _ in range(draws):
            world = make_world(rng, EVEN, EVEN, deviation)
            runs = retrain(world, {n: world.candidate(shift) for n in range(count)}, seeds)
            found = confirmed(runs)
            verdict = declare(found, "auroc")
            assert verdict is not None
            ahead += verdict.distinguishable
            by = {c.candidate: c for c in found}
            pairs = [
                by[verdict.primary].runs[r]["auroc"] - by[int(verdict.runner_up or 0)].runs[r]["auroc"]
                for r in range(seeds)
            ]
            before += np.mean(pairs) >= 2 * np.std(pairs, ddof=1) / math.sqrt(seeds)
        auroc = norm.cdf(shift / math.sqrt(2))
        spread = deviation / math.sqrt(2) * norm.pdf(shift / math.sqrt(2))
        print(
            f"| {auroc:.2f} | {spread:.4f} | {count} x {seeds} | {ahead / draws:.3f} | {before / draws:.3f} |",
            flush=True,
        )


class Study(NamedTuple):
    """One simulated study.

    Attributes
    ----------
    verdict : Verdict
    mean, low, high : float
        Confirmation mean of the primary trial and its interval.
    seeds : float
        Half the width of the interval over seeds alone.
    truth : float
        Population AUROC of the primary trial.
    """

    verdict: Verdict
    mean: float
    low: float
    high: float
    seeds: float
    truth: float


def study(
    rng: np.random.Generator, trials: int, candidates: int, seeds: int, shift: float, spread: float,
    deviation: float = 0.1,
) -> Study:  # fmt: skip
    """Search, retrain, declare."""
    world = make_world(rng, EVEN, EVEN, deviation)
    shifts = shift + spread * rng.standard_normal(trials)
    models = [world.candidate(s) for s in shifts]
    search = [trial(world, train(), n) for n, train in enumerate(models)]
    chosen = choose_candidates(search, ["auroc"], candidates)
    found = confirmed(retrain(world, {n: models[n] for n in chosen}, seeds))
    verdict = declare(found, "auroc", search)
    assert verdict is not None
    primary = next(c for c in found if c.candidate == verdict.primary)
    truth = float(norm.cdf(shifts[verdict.primary] / math.sqrt(2 + deviation**2)))
    values = [run["auroc"] for run in primary.runs.values()]
    alone = float(stats.t.ppf(0.975, seeds - 1) * stats.sem(values))
    return Study(verdict, primary.mean["auroc"], primary.low["auroc"], primary.high["auroc"], alone, truth)


def means(draws: int, last: int) -> None:
    """Coverage of the interval of the primary trial."""
    print("| AUROC | SD of the candidates' AUROC | trials, candidates, seeds | mean is off by | covers | "
          "corrected is off by | covers | seeds alone cover |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|")
    settings = itertools.product((1.81, 2.9), (0.0, 0.1, 0.3), ((10, 2, 3), (30, 5, 5)))
    for shift, spread, (trials, candidates, seeds) in list(settings)[-last:]:
        rng = np.random.default_rng(0)
        found = [study(rng, trials, candidates, seeds, shift, spread) for _ in range(draws)]
        off = np.mean([s.mean - s.truth for s in found])
        covers = np.mean([s.low <= s.truth <= s.high for s in found])
        fixed = np.mean([s.verdict.corrected - s.truth for s in found])
        holds = np.mean([s.verdict.corrected_low <= s.truth <= s.verdict.corrected_high for s in found])
        seeds_alone = np.mean([abs(s.mean - s.truth) <= s.seeds for s in found])
        auroc = norm.cdf(shift / math.sqrt(2))
        width = spread / math.sqrt(2) * norm.pdf(shift / math.sqrt(2))
        print(
            f"| {auroc:.2f} | {width:.4f} | {trials}, {candidates}, {seeds} | {off:+.4f} | {covers:.3f} | "
            f"{fixed:+.4f} | {holds:.3f} | {seeds_alone:.3f} |",
            flush=True,
        )


def intervals(draws: int, last: int) -> None:
    """Coverage of the intervals of a test score."""
    print("| n | positives | AUROC | AUROC covers | percentile bootstrap | average precision covers | percentile |")
    print("|---|---|---|---|---|---|---|")
    settings = ((60, 30, 0.98), (100, 30, 0.9), (981, 49, 0.9), (60, 30, 0.8), (490, 245, 0.9))
    for n, positives, auroc in settings[-last:]:
        rng, shift = np.random.default_rng(0), math.sqrt(2) * norm.ppf(auroc)
        labels = np.repeat([1, 0], [positives, n - positives])
        many = np.arange(1_000_000) < 1_000_000 * positives // n
        precision = metrics.average_precision(many, rng.standard_normal(len(many)) + shift * many)
        found = np.zeros(4)
        for _ in range(draws):
            scores = rng.standard_normal(n) + shift * labels
            truths = {"auroc": auroc, "average_precision": precision}
            for i, (name, truth) in enumerate(truths.items()):
                ours = auroc_interval(labels, scores) if name == "auroc" else bootstrap_interval(labels, scores)
                picks = rng.integers(0, n, size=(400, n))
                both = [p for p in picks if 0 < labels[p].sum() < n]
                low, high = np.percentile([MEASURES[name](labels[p], scores[p]) for p in both], [2.5, 97.5])
                found[2 * i] += ours.low <= truth <= ours.high
                found[2 * i + 1] += low <= truth <= high
        print(f"| {n} | {positives} | {auroc} | " + " | ".join(f"{v / draws:.3f}" for v in found) + " |", flush=True)


MEASURES = {"auroc": metrics.auroc, "average_precision": metrics.average_precision}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("leads", "means", "intervals", "motifs"))
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--last", type=int, default=0, help="print only this many of the last rows [all]")
    options = parser.parse_args()
    started = time.monotonic()
    if options.what == "motifs":
        motifs(options.draws)
    else:
        {"leads": leads, "means": means, "intervals": intervals}[options.what](options.draws, options.last)
    print(f"\n{options.draws} draws each, {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
