"""Intervals of scores over sequences, and of paired differences."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats
from sklearn.metrics import average_precision_score, roc_auc_score

from tuner.errors import MetricError
from tuner.models.intervals import (
    auroc_interval,
    bootstrap_interval,
    paired_auroc_difference,
)
from tuner.models.metrics import auroc, average_precision


def sample(seed: int, n: int = 300, gain: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, n)
    return labels, np.round(generator.normal(size=n) + gain * labels, 1)


@pytest.mark.parametrize(
    ("name", "referee"), [("auroc", roc_auc_score), ("average_precision", average_precision_score)]
)
def test_bootstrap_equals_scikit_learn_on_each_resample(name: str, referee) -> None:  # type: ignore[no-untyped-def]
    labels, scores = sample(0, n=80)
    ours = bootstrap_interval(labels, scores, name, draws=300, seed=5)
    generator = np.random.default_rng(5)
    theirs = []
    for picks in generator.integers(0, 80, size=(300, 80)):
        theirs.append(referee(labels[picks], scores[picks]))
    assert ours.estimate == pytest.approx(referee(labels, scores), abs=1e-12)
    assert ours.standard_error == pytest.approx(np.std(theirs, ddof=1), abs=1e-12)
    half = stats.norm.ppf(0.975) * np.std(theirs, ddof=1) / (ours.estimate * (1 - ours.estimate))
    ends = special.expit(special.logit(ours.estimate) + np.array([-half, half]))
    assert (ours.low, ours.high) == pytest.approx(tuple(ends))


def test_bootstrap_and_delong_agree_on_the_standard_error() -> None:
    labels, scores = sample(1, n=981)
    bootstrap = bootstrap_interval(labels, scores, "auroc").standard_error
    assert auroc_interval(labels, scores).standard_error == pytest.approx(bootstrap, rel=0.06)


def test_delong_equals_its_definition() -> None:
    labels, scores = sample(2, n=60)
    positive, negative = scores[labels == 1], scores[labels == 0]
    wins = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    variance = np.var(wins.mean(axis=1), ddof=1) / len(positive) + np.var(wins.mean(axis=0), ddof=1) / len(negative)
    assert auroc_interval(labels, scores).standard_error == pytest.approx(np.sqrt(variance), abs=1e-12)


def test_the_paired_error_equals_its_definition() -> None:
    """DeLong et al. 1988, equation 6: the covariance of both sides' structural components."""
    labels, scores = sample(2, n=60)
    other = np.random.default_rng(1).normal(size=60) + scores
    sides = []
    for one in (scores, other):
        positive, negative = one[labels == 1], one[labels == 0]
        sides.append((positive[:, None] > negative) + 0.5 * (positive[:, None] == negative))
    s10, s01 = (np.cov([side.mean(axis=axis) for side in sides]) for axis in (1, 0))
    covariance = s10 / sides[0].shape[0] + s01 / sides[0].shape[1]
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    assert paired_auroc_difference(labels, scores, other).standard_error == pytest.approx(np.sqrt(variance), abs=1e-12)


def test_an_auroc_of_one_still_has_an_interval() -> None:
    found = auroc_interval([0, 0, 0, 1, 1, 1], [0.1, 0.2, 0.3, 0.7, 0.8, 0.9])
    assert (found.estimate, found.high) == (1.0, 1.0)
    assert 0.4 < found.low < 0.8  # 3 + 3 sequences say little


@pytest.mark.parametrize(
    ("positives", "negatives", "auroc_"), [(30, 30, 0.98), (30, 70, 0.9), (49, 932, 0.9), (100, 100, 0.76)]
)
def test_intervals_cover_the_truth_on_small_and_uneven_sets(positives: int, negatives: int, auroc_: float) -> None:
    """Normal scores; 400 sets. The percentile bootstrap covers .86 of the first kind."""
    shift, covered, precise = np.sqrt(2) * stats.norm.ppf(auroc_), 0, 0
    labels = np.repeat([1, 0], [positives, negatives])
    rng = np.random.default_rng(0)
    many = rng.normal(size=200_000) + shift * (np.arange(200_000) < 200_000 * positives / len(labels))
    truth = average_precision(np.arange(200_000) < 200_000 * positives / len(labels), many)
    for _ in range(400):
        scores = rng.normal(size=len(labels)) + shift * labels
        found = auroc_interval(labels, scores)
        covered += found.low <= auroc_ <= found.high
        found = bootstrap_interval(labels, scores, draws=200)
        precise += found.low <= truth <= found.high
    least = 0.92 - 2 * np.sqrt(0.92 * 0.08 / 400)  # asked is .92; two standard errors of 400 draws
    assert covered / 400 >= least
    assert precise / 400 >= least


def test_paired_difference_of_equal_scores_is_exactly_zero() -> None:
    labels, scores = sample(3)
    assert paired_auroc_difference(labels, scores, scores * 2) == (0.0, 0.0, 0.0, 0.0)


def test_paired_difference_averages_the_aurocs_of_several_models() -> None:
    labels, _ = sample(4)
    generator = np.random.default_rng(0)
    models = generator.normal(size=(3, 300)) + labels
    other = generator.normal(size=300) + 0.3 * labels
    result = paired_auroc_difference(labels, models, other)
    assert result.estimate == pytest.approx(np.mean([auroc(labels, m) for m in models]) - auroc(labels, other))
    assert 0 < result.low < result.estimate < result.high
    flipped = paired_auroc_difference(labels, other, models)
    assert flipped.low == pytest.approx(-result.high)


def test_pairing_is_tighter_than_two_separate_intervals() -> None:
    labels, scores = sample(5)
    nearly = scores + np.random.default_rng(0).normal(size=300) * 0.05
    paired = paired_auroc_difference(labels, scores, nearly).standard_error
    assert paired < 0.3 * auroc_interval(labels, scores).standard_error


def test_tasks_are_averaged_and_one_class_tasks_left_out() -> None:
    columns = [sample(seed) for seed in (6, 7)]
    labels = np.stack([c[0] for c in columns] + [np.zeros(300, int)], axis=1)
    scores = np.stack([c[1] for c in columns] * 2, axis=1)[:, :3]
    interval = auroc_interval(labels, scores)
    assert interval.estimate == pytest.approx(np.mean([auroc(*c) for c in columns]))
    assert interval.low < interval.estimate < interval.high
    difference = paired_auroc_difference(labels, np.stack([scores, scores]), np.zeros((300, 3)))
    assert difference.estimate == pytest.approx(interval.estimate - 0.5)


def test_same_seed_same_interval_and_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, scores = sample(8)
    whole = bootstrap_interval(labels, scores, seed=1)
    assert bootstrap_interval(labels, scores, seed=1) == whole
    assert bootstrap_interval(labels, scores, seed=2) != whole
    monkeypatch.setattr("tuner.models.intervals._BLOCK_CELLS", 300 * 7)
    assert bootstrap_interval(labels, scores, seed=1) == pytest.approx(whole, abs=1e-12)


def test_impossible_intervals_are_refused() -> None:
    with pytest.raises(MetricError, match="undefined"):
        bootstrap_interval(np.ones(5), np.arange(5.0))
    with pytest.raises(MetricError, match="no task has both classes"):
        auroc_interval(np.ones(5), np.arange(5.0))
    with pytest.raises(MetricError, match="did you mean 'average_precision'"):
        bootstrap_interval([0, 1], [0, 1], "average_precison")
    with pytest.raises(MetricError, match="no model to score"):
        paired_auroc_difference([0, 1], np.zeros((0, 2)), [0.0, 1.0])


def test_interval_of_several_models_is_that_of_their_mean_auroc() -> None:
    labels, scores = sample(9)
    models = np.stack([scores, scores])
    assert bootstrap_interval(labels, models) == pytest.approx(bootstrap_interval(labels, scores), abs=1e-12)
    assert auroc_interval(labels, models) == pytest.approx(auroc_interval(labels, scores), abs=1e-12)
