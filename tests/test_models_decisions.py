"""Calls at a threshold, Brier score and reliability against scikit-learn; intervals against simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, confusion_matrix, matthews_corrcoef, precision_score, recall_score

from tuner.errors import MetricError
from tuner.models.decisions import precision_at, proportion_interval, score_decisions


def drawn(n: int, seed: int, share: float = 0.4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p = rng.beta(1.2, 1.2 * (1 - share) / share, n)
    return (rng.random(n) < p).astype(np.uint8), p


@pytest.mark.parametrize(("n", "threshold"), [(40, 0.5), (981, 0.37)])
def test_every_score_is_that_of_scikit_learn(n: int, threshold: float) -> None:
    labels, p = drawn(n, 1)
    found = score_decisions(labels, p, threshold)
    called = p >= threshold
    tn, fp, _, _ = confusion_matrix(labels, called).ravel()
    assert found.brier.estimate == pytest.approx(brier_score_loss(labels, p))
    assert found.base_rate_brier == pytest.approx(brier_score_loss(labels, np.full(n, labels.mean())))
    assert found.mcc is not None
    assert found.mcc.estimate == pytest.approx(matthews_corrcoef(labels, called))
    assert found.recall is not None
    assert found.recall.estimate == pytest.approx(recall_score(labels, called))
    assert found.precision is not None
    assert found.precision.estimate == pytest.approx(precision_score(labels, called))
    assert found.false_positive_rate is not None
    assert found.false_positive_rate.estimate == pytest.approx(fp / (fp + tn))
    observed, predicted = calibration_curve(labels, p, n_bins=10)
    assert found.observed == pytest.approx(observed)
    assert found.predicted == pytest.approx(predicted)
    assert (sum(found.counts), found.sequences, found.positives) == (n, n, labels.sum())
    assert len(found.observed_low) == len(found.observed_high) == len(found.counts)


def test_precision_at_a_prevalence_is_that_of_negatives_weighted_to_it() -> None:
    labels, p = drawn(981, 2)
    found = score_decisions(labels, p, 0.5)
    m, n = labels.sum(), (labels == 0).sum()
    for name, ratio in (("1:10", 10), ("1:100", 100)):
        weights = np.where(labels == 1, 1.0, ratio * m / n)
        at = found.precision_at[name]
        assert at is not None
        assert at.estimate == pytest.approx(precision_score(labels, p >= 0.5, sample_weight=weights))
        assert at.low < at.estimate < at.high


@pytest.mark.parametrize(("k", "of"), [(0, 7), (3, 7), (7, 7), (450, 467)])
def test_a_proportion_has_wilsons_interval(k: int, of: int) -> None:
    found = proportion_interval(k, of)
    theirs = binomtest(k, of).proportion_ci(method="wilson")
    assert found is not None
    assert (found.estimate, found.low, found.high) == pytest.approx((k / of, theirs.low, theirs.high), abs=1e-9)
    assert found.low <= found.estimate <= found.high
    assert proportion_interval(0, 0) is None


@pytest.mark.parametrize(
    ("m", "n", "recall", "rate"),
    [(50, 50, 0.8, 0.1), (467, 514, 0.83, 0.15), (374, 405, 0.97, 0.01), (30, 300, 0.6, 0.05)],
)
def test_intervals_hold_the_truth_as_often_as_they_say(m: int, n: int, recall: float, rate: float) -> None:
    """2,000 sets; .95 is asked. Three standard errors of the simulation, and 2 points for discreteness, are allowed."""
    rng = np.random.default_rng(0)
    share = (recall * m + rate * n) / (m + n)
    mcc = (recall - rate) * np.sqrt(m * n) / ((m + n) * np.sqrt(share * (1 - share)))
    truth = {r: recall / (recall + r * rate) for r in (10, 100)}
    held = np.zeros(3)
    for draw in range(2000):
        tp, fp = int(rng.binomial(m, recall)), int(rng.binomial(n, rate))
        labels = np.repeat([1, 0], [m, n])
        p = np.concatenate([np.arange(m) < tp, np.arange(n) < fp]).astype(float)
        if draw < 400:
            found = score_decisions(labels, p, 0.5).mcc
            assert found is not None
            held[0] += found.low <= mcc <= found.high
        for i, r in enumerate(truth):
            at = precision_at(proportion_interval(tp, m), proportion_interval(fp, n), r)
            assert at is not None
            held[i + 1] += at.low <= truth[r] <= at.high
    covered = held / (400, 2000, 2000)
    assert (covered >= 0.93 - 3 * np.sqrt(0.93 * 0.07 / np.array([400, 2000, 2000]))).all(), covered
    assert covered[1] < 0.999  # no interval of everything


def test_no_false_positive_is_no_certainty() -> None:
    found = score_decisions([1] * 40 + [0] * 40, [0.9] * 40 + [0.1] * 40, 0.5)
    at = found.precision_at["1:100"]
    assert at is not None
    assert (at.estimate, at.high) == (1.0, 1.0)
    assert 0.05 < at.low < 0.2  # 40 negatives allow a rate of up to .09, 9 in 100, for one positive that is found
    assert found.mcc is not None
    assert found.mcc.estimate == found.mcc.high == 1.0
    assert 0.8 < found.mcc.low < 0.96


def test_one_class_leaves_scores_undefined() -> None:
    found = score_decisions([1, 1, 1], [0.2, 0.6, 0.9], 0.5)
    assert found.recall is not None
    assert found.recall.estimate == pytest.approx(2 / 3)
    assert (found.mcc, found.false_positive_rate, found.precision_at) == (None, None, {"1:10": None, "1:100": None})
    nothing = score_decisions([1, 0], [0.2, 0.1], 0.5)
    assert nothing.precision is None
    assert nothing.mcc is not None
    assert nothing.mcc.estimate == matthews_corrcoef([1, 0], [0, 0])
    assert nothing.precision_at["1:10"] is None
    with pytest.raises(MetricError, match="probabilities in"):
        score_decisions([1, 0], [2.0, 0.1], 0.5)
    with pytest.raises(MetricError, match="task by task"):
        score_decisions([[1], [0]], [[0.2], [0.1]], 0.5)
