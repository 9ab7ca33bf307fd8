"""Groups of validation sequences, and what a metric is without each of them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tuner.models import metrics
from tuner.models.groups import GROUPS, group_of, without_each
from tuner.models.intervals import auroc_interval


def scored(rng: np.random.Generator, positives: int, negatives: int) -> tuple[np.ndarray, np.ndarray]:
    labels = np.repeat([1, 0], [positives, negatives]).astype(np.uint8)[:, None]
    return labels, rng.standard_normal((len(labels), 1)) + 1.5 * labels


def test_every_group_has_its_share_of_each_class() -> None:
    labels = np.repeat([0, 1], [900, 81])
    groups = group_of(labels)
    for value, total in ((0, 900), (1, 81)):
        counts = np.bincount(groups[labels == value], minlength=GROUPS)
        assert counts.sum() == total
        assert counts.max() - counts.min() <= 1
    assert np.array_equal(groups, group_of(labels))
    assert not np.array_equal(groups, group_of(labels, seed=1))


def test_the_jackknife_over_groups_is_as_large_as_delongs_error() -> None:
    """DeLong, DeLong & Clarke-Pearson 1988: another way to the same variance."""
    rng, ratios = np.random.default_rng(0), []
    for _ in range(50):
        labels, scores = scored(rng, 200, 300)
        values = np.array(without_each(metrics.auroc, labels, scores))
        jackknife = math.sqrt((len(values) - 1) / len(values) * np.sum((values - values.mean()) ** 2))
        ratios.append(jackknife / auroc_interval(labels, scores).standard_error)
    assert np.mean(ratios) == pytest.approx(1, abs=0.05)


def test_values_are_those_of_the_other_sequences() -> None:
    labels, scores = scored(np.random.default_rng(0), 30, 50)
    groups, values = group_of(labels), without_each(metrics.auroc, labels, scores)
    assert values is not None
    assert values[7] == metrics.auroc(labels[groups != 7], scores[groups != 7])


def test_too_few_sequences_have_no_groups() -> None:
    labels, scores = scored(np.random.default_rng(0), 9, 10)
    assert without_each(metrics.auroc, labels, scores) is None
    labels, scores = scored(np.random.default_rng(0), 1, 60)  # the only positive is in one of the groups
    assert without_each(metrics.auroc, labels, scores) is None
