"""AUROC, average precision and AUPR against scikit-learn; ties, missing classes, calibration."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import (
    accuracy_score,
    auc,
    average_precision_score,
    brier_score_loss,
    precision_recall_curve,
    roc_auc_score,
)

from tuner.errors import MetricError
from tuner.models.intervals import weighted_auroc
from tuner.models.metrics import (
    accuracy,
    auroc,
    average_precision,
    calibration,
    micro,
    per_task,
    trapezoid_aupr,
)


def sample(seed: int, n: int = 400, levels: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, n)
    scores = generator.normal(size=n) + labels
    if levels:
        scores = np.round(scores * levels) / levels
    return labels, scores.astype(np.float32)


@pytest.mark.parametrize("levels", [None, 1, 4])
@pytest.mark.parametrize("seed", range(4))
def test_scores_equal_scikit_learn_with_and_without_ties(seed: int, levels: int | None) -> None:
    labels, scores = sample(seed, levels=levels)
    assert auroc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert average_precision(labels, scores) == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
    precision, recall, _ = precision_recall_curve(labels, scores)
    assert trapezoid_aupr(labels, scores) == pytest.approx(auc(recall, precision), abs=1e-12)


def test_constant_scores_give_one_half_and_the_share_of_positives() -> None:
    labels = np.array([1, 0, 0, 1, 0])
    assert auroc(labels, np.zeros(5)) == 0.5
    assert average_precision(labels, np.zeros(5)) == pytest.approx(0.4)


@settings(max_examples=50, deadline=None)
@given(arrays(np.int64, 30, elements=st.integers(-50, 50)), st.integers(1, 29))
def test_auroc_is_unchanged_by_monotone_maps_and_mirrored_by_negation(scores: np.ndarray, positives: int) -> None:
    labels = (np.arange(30) < positives).astype(int)
    value = auroc(labels, scores)
    assert auroc(labels, scores**3 + 7) == value
    assert auroc(labels, -scores) == pytest.approx(1 - value, abs=1e-12)


def test_macro_leaves_a_one_class_task_out_and_names_it() -> None:
    labels, scores = sample(0)
    both = np.stack([labels, np.zeros_like(labels)], axis=1)
    result = per_task("auroc", both, np.stack([scores, scores], axis=1), tasks=("bound", "silent"))
    assert result.values == (auroc(labels, scores), None)
    assert result.macro == auroc(labels, scores)
    assert result.notes == ("task silent: all 400 labels are 0, so it has no auroc",)


@pytest.mark.parametrize("levels", [None, 1, 4])
def test_weighted_auroc_equals_scikit_learn(levels: int | None) -> None:
    labels, scores = sample(9, levels=levels)
    weights = np.random.default_rng(1).choice([0.0, 0.25, 1.0, 3.0], len(labels))
    expected = roc_auc_score(labels, scores, sample_weight=weights)
    assert weighted_auroc(labels, scores, weights) == pytest.approx(expected, abs=1e-12)
    assert weighted_auroc(labels, scores, np.full(len(labels), 0.3)) == pytest.approx(auroc(labels, scores), abs=1e-12)


def test_weighted_auroc_is_none_where_one_class_has_all_the_weight() -> None:
    labels, scores = sample(9)
    assert weighted_auroc(labels, scores, labels) is None
    two = np.stack([labels, np.ones_like(labels)], axis=1)
    weights = np.ones(len(labels))
    assert weighted_auroc(two, np.stack([scores, scores], axis=1), weights) == pytest.approx(auroc(labels, scores))


@pytest.mark.parametrize("weights", [np.ones(3), np.full(400, -1.0), np.full(400, np.nan)])
def test_impossible_weights_are_refused(weights: np.ndarray) -> None:
    with pytest.raises(MetricError, match="expected 400 weights of 0 or more"):
        weighted_auroc(*sample(9), weights)


def test_macro_and_micro_equal_scikit_learn() -> None:
    columns = [sample(seed) for seed in range(3)]
    labels = np.stack([c[0] for c in columns], axis=1)
    scores = np.stack([c[1] + i for i, c in enumerate(columns)], axis=1)
    assert auroc(labels, scores) == pytest.approx(roc_auc_score(labels, scores, average="macro"), abs=1e-12)
    assert micro("auroc", labels, scores) == pytest.approx(roc_auc_score(labels, scores, average="micro"), abs=1e-12)


def test_micro_trapezoid_equals_scikit_learn() -> None:
    columns = [sample(seed, levels=4) for seed in range(3)]
    labels = np.stack([c[0] for c in columns], axis=1)
    scores = np.stack([c[1] + i for i, c in enumerate(columns)], axis=1)
    precision, recall, _ = precision_recall_curve(labels.ravel(), scores.ravel())
    assert micro("trapezoid_aupr", labels, scores) == pytest.approx(auc(recall, precision), abs=1e-12)


def test_accuracy_equals_scikit_learn_and_a_logit_of_zero_predicts_zero() -> None:
    labels, logits = sample(0)
    assert accuracy(labels, logits) == accuracy_score(labels, logits > 0)
    both = np.stack([labels, np.zeros_like(labels)], axis=1)
    expected = (accuracy_score(labels, logits > 0) + (logits <= 0).mean()) / 2
    assert accuracy(both, np.stack([logits, logits], axis=1)) == pytest.approx(expected, abs=1e-12)
    assert accuracy([0, 1], [0.0, 0.0]) == 0.5
    with pytest.raises(MetricError, match="1 of 2 scores are NaN"):
        accuracy([0, 1], [np.nan, 1.0])


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        (np.ones(4), np.arange(4.0), "auroc is undefined: task 0: all 4 labels are 1"),
        (np.array([0, 1]), np.array([0.0, np.nan]), "1 of 2 scores are NaN"),
        (np.array([0, 1]), np.zeros((2, 1)), r"labels have shape \(2,\) and scores \(2, 1\)"),
        (np.array([0, 2]), np.zeros(2), "labels must be 0 or 1"),
        (np.zeros(0), np.zeros(0), "no sequences"),
    ],
)
def test_undefined_scores_are_refused_with_the_reason(labels: np.ndarray, scores: np.ndarray, message: str) -> None:
    with pytest.raises(MetricError, match=message):
        auroc(labels, scores)


def test_unknown_score_names_the_nearest() -> None:
    with pytest.raises(MetricError, match="did you mean 'auroc'"):
        per_task("auroch", [0, 1], [0, 1])


def test_calibrated_probabilities_have_almost_no_error_and_squared_ones_do() -> None:
    generator = np.random.default_rng(0)
    p = generator.random(50_000)
    labels = (generator.random(50_000) < p).astype(int)
    good, bad = calibration(labels, p), calibration(labels, p**2)
    # Each of ten bins holds 5000 draws: its frequency has a standard error of at most .007.
    assert good.expected_error < 0.01
    # E|p - p^2| over the uniform distribution is 1/6.
    assert bad.expected_error == pytest.approx(1 / 6, abs=0.01)
    assert good.brier == pytest.approx(brier_score_loss(labels, p), abs=1e-12)
    assert sum(good.counts) == 50_000
    assert len(good.predicted) == 10


def test_calibration_refuses_logits() -> None:
    with pytest.raises(MetricError, match="apply the sigmoid"):
        calibration([0, 1], [-3.0, 2.0])


@settings(max_examples=60, deadline=None)
@given(
    arrays(np.float32, 40, elements=st.sampled_from([-np.inf, -3.5, -1e-45, -0.0, 0.0, 1e-45, 1e-30, 2.5, np.inf])),
    st.integers(1, 39),
)
def test_single_precision_ranks_as_double_precision_does(scores: np.ndarray, positives: int) -> None:
    """Signed zeros are one score, subnormal and infinite ones have their place."""
    labels = (np.arange(40) < positives).astype(np.uint8)
    wide = scores.astype(np.float64)
    bound, unbound = wide[labels == 1][:, None], wide[labels == 0]
    expected = ((bound > unbound).sum() + (bound == unbound).sum() / 2) / (positives * (40 - positives))
    assert auroc(labels, scores) == pytest.approx(expected, abs=1e-12)
    assert average_precision(labels, scores) == pytest.approx(average_precision(labels, wide), abs=1e-12)


def test_a_score_that_is_no_number_is_refused_in_either_precision() -> None:
    for kind in (np.float32, np.float64):
        with pytest.raises(MetricError, match="1 of 3 scores are NaN"):
            auroc(np.array([0, 1, 1]), np.array([0.5, np.nan, 1.0], dtype=kind))
