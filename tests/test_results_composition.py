"""The words about composition come from the numbers."""

from __future__ import annotations

import numpy as np
import pytest

from tuner.data.sizes import auroc_error, auroc_interval
from tuner.results.composition import composition_words

# Validation AUROCs of the baselines of the two ChIP-seq sets, and of their confirmed models.
ZBED2 = {"gc": [0.713], "cpg": [0.788], "2-mer": [0.813], "6-mer": [0.887]}
IRF1 = {"gc": [0.636], "cpg": [0.565], "2-mer": [0.665], "6-mer": [0.880]}


def test_a_confounded_set_is_called_so() -> None:
    words = composition_words(ZBED2, 0.935, 0.80)
    assert words is not None
    assert words.confounded is True
    assert words.words.startswith(
        "Composition is confounded with the label: 2-mer counts alone reach AUROC 0.813, 72% of"
    )
    assert "the GC x CpG-matched part the models reach 0.800" in words.words


def test_a_set_that_composition_does_not_explain_is_called_so() -> None:
    words = composition_words(IRF1, 0.985, 0.986)
    assert words is not None
    assert words.confounded is False
    assert words.words.startswith("Composition explains little: 2-mer counts alone reach AUROC 0.665, 34% of the way")


@pytest.mark.parametrize(("controls", "auroc"), [({}, 0.9), ({"6-mer": [0.9]}, 0.9), (ZBED2, 0.5)])
def test_nothing_is_said_without_baselines_or_above_no_chance(controls: dict[str, list[float]], auroc: float) -> None:
    assert composition_words(controls, auroc, None) is None


def test_a_number_from_few_sequences_carries_its_interval_and_decides_nothing() -> None:
    words = composition_words({"cpg": [1.0]}, 0.9, 0.95, (1, 1))
    assert words is not None
    assert words.confounded is False
    assert words.words.startswith(
        "There are too few sequences to say whether composition explains the label: CpG content "
    )
    assert "AUROC 1.000 (95 % interval about 0.21 to 1.00, from 1 + 1 sequences), more than" in words.words
    assert "matched" not in words.words
    many = composition_words({"gc": [0.62]}, 0.935, None, (1000, 1000))
    assert many is not None
    assert many.words.startswith(
        "Composition explains little: GC content alone reaches AUROC 0.620 (95 % interval about 0.60"
    )


def test_the_interval_from_sizes_agrees_with_a_simulation() -> None:
    """Hanley & McNeil's error is exact for exponential scores, which these are; 20,000 draws of 40 + 60."""
    rng = np.random.default_rng(0)
    a = 0.8  # of exponential scores with rates in the ratio a : 1 - a
    positives = rng.exponential(a / (1 - a), (20_000, 40, 1))
    negatives = rng.exponential(1.0, (20_000, 1, 60))
    aurocs = (positives > negatives).mean(axis=(1, 2))
    assert aurocs.mean() == pytest.approx(a, abs=0.002)
    assert auroc_error(a, 40, 60) == pytest.approx(aurocs.std(), rel=0.03)
    low, high = auroc_interval(a, 40, 60)
    assert low < a - 1.5 * aurocs.std()
    assert high > a + 1.5 * aurocs.std()
    assert auroc_interval(1.0, 2, 2)[0] < 0.5
