"""Bootstrap intervals, paired differences and DeLong's standard error."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from tuner.errors import MetricError
from tuner.models.intervals import (
    bootstrap_interval,
    delong_standard_error,
    paired_auroc_difference,
)
from tuner.models.metrics import auroc


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
    assert ours.low == pytest.approx(np.percentile(theirs, 2.5), abs=1e-12)
    assert ours.high == pytest.approx(np.percentile(theirs, 97.5), abs=1e-12)
    assert ours.standard_error == pytest.approx(np.std(theirs, ddof=1), abs=1e-12)


def test_bootstrap_and_delong_agree_on_the_standard_error() -> None:
    labels, scores = sample(1, n=981)
    bootstrap = bootstrap_interval(labels, scores).standard_error
    assert delong_standard_error(labels, scores) == pytest.approx(bootstrap, rel=0.06)


def test_delong_equals_its_definition() -> None:
    labels, scores = sample(2, n=60)
    positive, negative = scores[labels == 1], scores[labels == 0]
    wins = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    variance = np.var(wins.mean(axis=1), ddof=1) / len(positive) + np.var(wins.mean(axis=0), ddof=1) / len(negative)
    assert delong_standard_error(labels, scores) == pytest.approx(np.sqrt(variance), abs=1e-12)


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    # Normal scores one SD apart: AUROC = Phi(1 / sqrt 2) = .7602.
    covered = 0
    for seed in range(200):
        generator = np.random.default_rng(seed)
        labels = generator.integers(0, 2, 200)
        interval = bootstrap_interval(labels, generator.normal(size=200) + labels, draws=400)
        covered += interval.low <= 0.7602 <= interval.high
    # Binomial(200, .95) lies in 180..198 with probability .999.
    assert 180 <= covered <= 198


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
    assert paired < 0.3 * bootstrap_interval(labels, scores).standard_error


def test_tasks_are_averaged_and_one_class_tasks_left_out() -> None:
    columns = [sample(seed) for seed in (6, 7)]
    labels = np.stack([c[0] for c in columns] + [np.zeros(300, int)], axis=1)
    scores = np.stack([c[1] for c in columns] * 2, axis=1)[:, :3]
    interval = bootstrap_interval(labels, scores)
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
    with pytest.raises(MetricError, match="did you mean 'average_precision'"):
        bootstrap_interval([0, 1], [0, 1], "average_precison")
    with pytest.raises(MetricError, match="two sequences of each class; got 1 and 3"):
        delong_standard_error([1, 0, 0, 0], [3.0, 2, 1, 0])
    with pytest.raises(MetricError, match="these are 2"):
        delong_standard_error(np.eye(2), np.eye(2))
    with pytest.raises(MetricError, match="no model to score"):
        paired_auroc_difference([0, 1], np.zeros((0, 2)), [0.0, 1.0])


def test_interval_of_several_models_is_that_of_their_mean_auroc() -> None:
    labels, scores = sample(9)
    models = np.stack([scores, scores])
    assert bootstrap_interval(labels, models) == pytest.approx(bootstrap_interval(labels, scores), abs=1e-12)
