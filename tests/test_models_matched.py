"""Scores on the matched part: by each task's own labels, with an interval and paired leads."""

from __future__ import annotations

import numpy as np
import pytest

from tuner.data.composition import matching_weights
from tuner.genome.sequence import gc_content
from tuner.models.intervals import weighted_auroc
from tuner.models.matched import matched_part


def drawn(rng: np.random.Generator, gc: np.ndarray, length: int = 100) -> np.ndarray:
    """Sequences of given GC contents."""
    strong = rng.random((len(gc), length)) < gc[:, None]
    return np.where(strong, rng.integers(1, 3, strong.shape), 3 * rng.integers(0, 2, strong.shape)).astype(np.uint8)


def test_a_model_of_gc_alone_is_at_chance_on_each_of_two_tasks_that_pull_apart() -> None:
    """One factor binds GC-rich sequences, the other GC-poor ones: together they hide what each task shows."""
    rng = np.random.default_rng(0)
    gc = rng.uniform(0.3, 0.7, 4000)
    codes = drawn(rng, gc)
    labels = np.stack([rng.random(4000) < gc, rng.random(4000) < 1 - gc], axis=1).astype(np.uint8)
    content = gc_content(codes)
    scores = np.stack([content, -content], axis=1)
    found = matched_part(codes, labels, {"models": scores})
    assert found is not None
    # Within a bin of .02 of GC content the model still ranks by GC, so the AUROC is a little above one half.
    assert found.values["models"] == pytest.approx(0.5, abs=0.02)
    low, high = found.interval("models")[1:3]
    assert 0.48 < low < 0.51
    assert high < 0.53
    together = weighted_auroc(labels, scores, matching_weights(codes, labels))
    assert together is not None
    assert together > 0.55, "what was reported before: both tasks matched by the union of their positives"


def test_of_one_task_it_is_the_weighted_auroc_and_its_interval_is_wider_than_that_of_the_whole() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, (600, 1)).astype(np.uint8)
    codes = drawn(rng, 0.4 + 0.1 * labels[:, 0])
    scores = rng.normal(size=(2, 600, 1)) + 1.5 * labels
    other = rng.normal(size=(600, 1)) + 0.5 * labels
    found = matched_part(codes, labels, {"models": scores, "other": other})
    assert found is not None
    weights = matching_weights(codes, labels)
    assert found.values["models"] == pytest.approx(weighted_auroc(labels, scores, weights))
    assert found.sequences == round(weights.sum())
    interval = found.interval("models")
    assert 0.01 < interval.standard_error < 0.06
    assert interval.low < found.values["models"] < interval.high
    lead = found.lead("models", "other")
    assert lead.estimate == pytest.approx(found.values["models"] - found.values["other"])
    assert 0 < lead.low < lead.estimate


def test_a_part_of_fewer_than_twenty_sequences_is_not_scored() -> None:
    rng = np.random.default_rng(2)
    labels = np.repeat([0, 1], 100).astype(np.uint8)[:, None]
    codes = drawn(rng, np.where(labels[:, 0] == 1, 0.8, 0.2))
    assert matched_part(codes, labels, {"models": rng.normal(size=(200, 1))}) is None
