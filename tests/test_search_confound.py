"""The words about composition come from the numbers."""

from __future__ import annotations

import pytest

from tuner.search.confound import composition_words

# Validation AUROCs of the baselines of the two ChIP-seq sets, and of their confirmed models.
ZBED2 = {"gc": [0.713], "cpg": [0.788], "2-mer": [0.813], "6-mer": [0.887]}
IRF1 = {"gc": [0.636], "cpg": [0.565], "2-mer": [0.665], "6-mer": [0.880]}


def test_a_confounded_set_is_called_so() -> None:
    words = composition_words(ZBED2, 0.935, 0.80)
    assert words is not None
    assert words.startswith("Composition is confounded with the label: 2-mer counts alone reach AUROC 0.813, 72% of")
    assert "the GC x CpG-matched part the models reach 0.800" in words


def test_a_set_that_composition_does_not_explain_is_called_so() -> None:
    words = composition_words(IRF1, 0.985, 0.986)
    assert words is not None
    assert words.startswith("Composition explains little: 2-mer counts alone reach AUROC 0.665, 34% of the way")


@pytest.mark.parametrize(("controls", "auroc"), [({}, 0.9), ({"6-mer": [0.9]}, 0.9), (ZBED2, 0.5)])
def test_nothing_is_said_without_baselines_or_above_no_chance(controls: dict[str, list[float]], auroc: float) -> None:
    assert composition_words(controls, auroc, None) is None
