"""Calibrated probabilities: Platt's line against scikit-learn, its degenerate cases, its JSON, and its threshold."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, matthews_corrcoef

from tuner.errors import MetricError
from tuner.models.calibration import THRESHOLD, Calibration, best_threshold, fit_calibration
from tuner.models.metrics import auroc, calibration


def drawn(n: int, seed: int, *, share: float = 0.5, scale: float = 3.0, shift: float = 1.0) -> tuple[Any, Any]:
    """Labels, and logits of a network that is `scale` times too sure and shifted: the true log-odds are known."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < share).astype(np.uint8)
    x = rng.standard_normal(n) + 2.0 * labels  # log-odds of a positive: 2 x - 2 + logit(share)
    return labels, scale * (2 * x - 2 + np.log(share / (1 - share))) + shift


@pytest.mark.parametrize(("n", "share"), [(60, 0.5), (490, 0.5), (2000, 0.05)])
def test_the_line_is_the_logistic_regression_on_smoothed_labels(n: int, share: float) -> None:
    """scikit-learn fits soft labels as each sequence twice, once of each class, with weights t and 1 - t."""
    labels, logits = drawn(n, 3, share=share)
    m = int(labels.sum())
    target = np.where(labels == 1, (m + 1) / (m + 2), 1 / (n - m + 2))
    model = LogisticRegression(C=np.inf, tol=1e-12, max_iter=100_000)
    model.fit(np.tile(logits, 2)[:, None], np.repeat([1, 0], n), np.concatenate([target, 1 - target]))
    found = fit_calibration(labels, logits)
    assert found.slope[0] == pytest.approx(model.coef_[0, 0], rel=1e-4)
    assert found.intercept[0] == pytest.approx(model.intercept_[0], rel=1e-3, abs=1e-4)
    assert found.probability(logits) == pytest.approx(model.predict_proba(logits[:, None])[:, 1], abs=1e-4)
    assert (found.positives, found.negatives) == ((m,), (n - m,))


def test_the_known_line_is_found_again_and_unseen_sequences_are_calibrated() -> None:
    labels, logits = drawn(20_000, 0, share=0.1)
    found = fit_calibration(labels, logits)
    assert found.slope[0] == pytest.approx(1 / 3, rel=0.05)  # the logits are three times the log-odds, and 1 more
    assert found.intercept[0] == pytest.approx(-1 / 3, abs=0.05)
    labels, logits = drawn(20_000, 1, share=0.1)
    raw, p = expit(logits), found.probability(logits)
    assert calibration(labels, p).expected_error < 0.01 < 0.03 < calibration(labels, raw).expected_error
    assert brier_score_loss(labels, p) < brier_score_loss(labels, raw)
    assert auroc(labels, p) == pytest.approx(auroc(labels, logits), abs=1e-9)


def test_tasks_are_calibrated_one_by_one() -> None:
    (a, za), (b, zb) = drawn(300, 0), drawn(300, 1, share=0.2, scale=0.5)
    both = fit_calibration(np.stack([a, b], axis=1), np.stack([za, zb], axis=1))
    one, two = fit_calibration(a, za), fit_calibration(b, zb)
    assert both.slope == one.slope + two.slope
    assert both.threshold == one.threshold + two.threshold
    many = np.stack([za, zb], axis=1)[None].repeat(2, axis=0)  # models, sequences, tasks
    assert both.probability(many)[1, :, 0] == pytest.approx(one.probability(za))
    assert both.positive(many)[1, :, 1].tolist() == two.positive(zb).tolist()
    with pytest.raises(MetricError, match=r"shape \(300,\); expected \(\.\.\., 2\)"):
        both.probability(za)


def test_separated_classes_give_a_finite_line() -> None:
    found = fit_calibration([0, 0, 0, 1, 1, 1], [-9.0, -8, -7, 7, 8, 9])
    p = found.probability([-8.0, 0, 8])
    # Laplace: an unseen positive is one with probability (3 + 1) / (3 + 2).
    assert p == pytest.approx([0.2, 0.5, 0.8], abs=0.02)
    assert found.positive([-7.0, 7.0]).tolist() == [False, True]


@pytest.mark.parametrize("logits", [[0.3] * 10, list(np.linspace(3, -3, 10)), [1e300] * 10])
def test_logits_that_are_alike_or_rank_backwards_give_the_share_of_positives(logits: list[float]) -> None:
    labels = [0, 0, 0, 0, 0, 0, 1, 1, 1, 1]
    found = fit_calibration(labels, logits)
    smoothed = (4 * 5 / 6 + 6 / 8) / 10
    assert found.slope == (0.0,)
    assert found.probability([-50.0, 0.0, 1e308, np.inf]) == pytest.approx([smoothed] * 4)
    assert found.threshold == (THRESHOLD,)


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_leaves_the_networks_own_probabilities(label: int) -> None:
    found = fit_calibration([label] * 5, [1.0, 2, 3, 4, 5])
    assert (found.slope, found.intercept, found.threshold, found.fitted) == ((1.0,), (0.0,), (THRESHOLD,), (False,))
    assert found.probability([-700.0, 0.0, 700.0]) == pytest.approx([0.0, 0.5, 1.0])


def test_two_sequences_are_enough() -> None:
    found = fit_calibration([0, 1], [0.0, 1e-9])
    assert found.fitted == (True,)
    assert found.probability([0.0, 1e-9]) == pytest.approx([1 / 3, 2 / 3], abs=1e-4)


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1e6, 1e250])
def test_the_unit_of_the_logits_does_not_matter(scale: float) -> None:
    labels, logits = drawn(200, 4)
    found, scaled = fit_calibration(labels, logits), fit_calibration(labels, logits * scale)
    assert scaled.probability(logits * scale) == pytest.approx(found.probability(logits), abs=1e-6)


def test_json_keeps_every_bit() -> None:
    labels, logits = drawn(100, 5)
    found = fit_calibration(np.stack([labels, labels * 0], axis=1), np.stack([logits, logits], axis=1))
    assert Calibration.from_dict(json.loads(json.dumps(found.to_dict()))) == found


GOOD = fit_calibration([0, 1], [0.0, 1.0]).to_dict()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"format": "other"}, "of format 'other'; expected 'tuner-calibration-1'"),
        ({"slope": "x"}, "cannot be read"),
        ({"slope": None}, "cannot be read"),
        ({"slope": [1.0, 2.0]}, "one value a task"),
        ({"slope": [float("nan")]}, "not finite"),
        ({"slope": [-1.0]}, "negative slope"),
        ({"threshold": [1.5]}, r"probability in \[0, 1\]"),
        ({"positives": [float("inf")]}, "cannot be read"),
    ],
)
def test_a_damaged_calibration_is_refused(changed: Mapping[str, Any], said: str) -> None:
    with pytest.raises(MetricError, match=said):
        Calibration.from_dict({**GOOD, **changed})


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(MetricError, match="shape"):
        fit_calibration([0, 1], [0.0])
    with pytest.raises(MetricError, match="shape"):
        fit_calibration([], [])
    with pytest.raises(MetricError, match="0 or 1"):
        fit_calibration([0, 2], [0.0, 1.0])
    with pytest.raises(MetricError, match="1 of 2 logits are not finite"):
        fit_calibration([0, 1], [0.0, np.inf])
    with pytest.raises(MetricError, match="1 of 1 logits are NaN"):
        Calibration.from_dict(GOOD).probability([np.nan])


def test_the_best_threshold_is_that_of_a_search_over_all() -> None:
    rng = np.random.default_rng(0)
    for n in (2, 5, 30, 200):
        labels = rng.permutation(np.arange(n) % 3 == 0).astype(int)
        p = np.round(rng.random(n) * 0.6 + 0.4 * labels, 1)  # ties
        found = best_threshold(labels, p)
        every = [matthews_corrcoef(labels, p >= t) for t in np.unique(p)]
        assert matthews_corrcoef(labels, p >= found) == pytest.approx(max(every))
    assert best_threshold([1, 1], [0.2, 0.9]) == best_threshold([0, 1], [0.4, 0.4]) == THRESHOLD


def test_the_expected_threshold_serves_uneven_classes_better_than_one_half() -> None:
    """1 positive to 19 negatives, validation of 400: mean Matthews correlation of 20,000 unseen sequences."""
    labels, logits = drawn(20_000, 9, share=0.05)
    reached = []
    for seed in range(20):
        found = fit_calibration(*drawn(400, seed, share=0.05))
        p = found.probability(logits)
        reached.append([matthews_corrcoef(labels, p >= t) for t in (found.threshold[0], 0.5)])
    ours, half = np.mean(reached, axis=0)
    best = max(matthews_corrcoef(labels, logits >= t) for t in np.quantile(logits, np.linspace(0.8, 0.99, 39)))
    assert half + 0.02 < ours <= best
    assert ours > best - 0.02


def test_numpy_is_all_that_it_loads() -> None:
    script = "import sys, tuner.models.calibration; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert {"torch", "scipy", "sklearn", "pandas"} & set(loaded.stdout.split()) == set()
