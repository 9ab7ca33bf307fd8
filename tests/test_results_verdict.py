"""What follows from numbers, and its words: composition, leads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tuner.data.sizes import auroc_error, auroc_interval
from tuner.results import words
from tuner.results.confirmation import Confirmed, Standing
from tuner.results.verdict import Finding, compare, composition

# Validation AUROCs of the baselines of the two ChIP-seq sets, and of their confirmed models.
ZBED2 = {"gc": [0.713], "cpg": [0.788], "2-mer": [0.813], "6-mer": [0.887]}
IRF1 = {"gc": [0.636], "cpg": [0.565], "2-mer": [0.665], "6-mer": [0.880]}


def said(*given: Any, **more: Any) -> tuple[Finding, str]:
    found = composition(*given, **more)
    assert found is not None
    words_ = words.composition(found)
    assert words_ is not None
    return found.finding, words_


def test_a_confounded_set_is_called_so() -> None:
    finding, text = said(ZBED2, 0.935, 0.80)
    assert finding is Finding.CONFOUNDED
    assert text.startswith("Composition is confounded with the label: 2-mer logistic regression alone reaches AUROC")
    assert "AUROC 0.813, 72% of the way from chance to the models' 0.935; on the GC x CpG-matched part" in text
    assert "the models reach 0.800" in text


def test_a_set_that_composition_does_not_explain_is_called_so() -> None:
    finding, text = said(IRF1, 0.985, 0.986)
    assert finding is Finding.LITTLE
    assert text.startswith("Composition explains little: 2-mer logistic regression alone reaches AUROC 0.665, 34% of")


@pytest.mark.parametrize(("controls", "auroc"), [({}, 0.9), ({"6-mer": [0.9]}, 0.9), (ZBED2, 0.5)])
def test_nothing_is_said_without_baselines_or_above_no_chance(controls: dict[str, list[float]], auroc: float) -> None:
    assert composition(controls, auroc, None) is None
    assert words.composition(None) is None


def test_a_number_from_few_sequences_carries_its_interval_and_decides_nothing() -> None:
    finding, text = said({"cpg": [1.0]}, 0.9, 0.95, (1, 1))
    assert finding is Finding.OPEN
    assert text.startswith("There are too few sequences to say whether composition explains the label: CpG content ")
    assert "AUROC 1.000 (95 % interval about 0.21 to 1.00, from 1 + 1 sequences), more than" in text
    assert "matched" not in text
    finding, text = said({"gc": [0.62]}, 0.935, None, (1000, 1000))
    assert finding is Finding.LITTLE
    assert text.startswith(
        "Composition explains little: GC content alone reaches AUROC 0.620 (95 % interval about 0.60"
    )


def test_composition_of_shuffled_negatives_is_never_said_to_explain_little() -> None:
    finding, text = said({"gc": [0.5], "cpg": [0.5], "2-mer": [0.5]}, 0.94, 0.94, (1000, 1000))
    assert finding is Finding.SHUFFLED
    assert text.startswith("The negatives have the dinucleotide counts of positives, as shuffles of the positives have")
    assert "explains little" not in text
    finding, _ = said({"gc": [0.5], "2-mer": [0.5001]}, 0.94, 0.94, (1000, 1000))
    assert finding is Finding.LITTLE


def candidate(number: int, *values: float) -> Confirmed:
    runs = {r: {"loss": v} for r, v in enumerate(values)}
    return Confirmed(number, runs, {"loss": sum(values) / max(1, len(values))}, {}, {}, 0)


def test_a_trial_is_compared_with_the_primary_over_shared_runs_whichever_way_is_better() -> None:
    trials = [candidate(1, 0.30, 0.31, 0.32), candidate(2, 0.40, 0.42, 0.41), candidate(3, 0.31), candidate(4)]
    found = {n: compare(trials, 1, n, "loss") for n in (1, 2, 3, 4)}
    assert found[1] is None
    far, one, none = found[2], found[3], found[4]
    assert far is not None
    assert one is not None
    assert none is not None
    assert far.lead == pytest.approx(0.1)  # a smaller loss is better
    assert far.standing is Standing.OPEN  # nothing is recorded of the sequences
    assert words.compared(far).startswith("not distinguishable from trial 1: lead +0.1000 loss on validation, whose")
    ahead = far._replace(low=0.05, high=0.15, over="seeds and sequences")
    assert ahead.standing is Standing.AHEAD
    said = "lead +0.1000 loss on validation (95 % +0.0500 to +0.1500, over seeds and sequences)"
    assert words.compared(ahead) == f"behind trial 1: {said}, 3 runs each"
    assert (one.standing, none.standing) == (Standing.OPEN, None)
    said = "lead +0.0100 loss on validation, whose interval is unknown: they share fewer than two runs"
    assert words.compared(one) == f"not distinguishable from trial 1: {said}, 1 run each"
    assert words.compared(none) == "not retrained, so it cannot be compared with trial 1"


def test_a_baseline_that_reaches_more_than_the_networks_is_named() -> None:
    primary = Confirmed(4, {0: {"auroc": 0.8}}, {"auroc": 0.8}, {}, {}, 0)
    said = str(words.outdone({"gc": [0.5], "6-mer": [0.9587], "label-shuffled": [0.99]}, primary))
    assert said.startswith("A baseline reaches more than the primary trial: on the same validation sequences 6-mer log")
    assert "has AUROC 0.959, trial 4 0.800" in said
    assert words.outdone({"6-mer": [0.8]}, primary) is None
    assert words.outdone({"6-mer": [0.9]}, None) is None


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
