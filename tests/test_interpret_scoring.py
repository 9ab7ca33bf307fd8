"""Attribution scores: the published reference points, scikit-learn's areas, and what a search records."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_auc_score
from torch import nn

from tuner.data.dataset import Split
from tuner.data.simulate_koo import task3
from tuner.data.simulate_teaching import hw4_single
from tuner.errors import AttributionError, DataError
from tuner.genome.sequence import one_hot
from tuner.interpret.attribution import attribute
from tuner.interpret.references import make_references
from tuner.interpret.scoring import (
    AREAS,
    attribution_scores,
    background_scores,
    informative_positions,
    positive_sequences,
    score_attributions,
)
from tuner.models.layers import Conv1d, MaxPool1d


@cache
def published() -> tuple[np.ndarray, np.ndarray]:
    """The first 500 positive test sequences of Task 3 and the matrices they were drawn from."""
    return positive_sequences(task3().test, 500)


def test_the_published_sequences_have_the_published_share_of_informative_positions() -> None:
    codes, truth = published()
    assert codes.shape == (500, 200)
    share = informative_positions(truth).mean(axis=1)
    assert share.mean() == pytest.approx(0.210, abs=5e-4)
    assert share.min() == pytest.approx(0.15, abs=5e-4)
    assert share.max() == pytest.approx(0.395, abs=5e-4)


def test_random_scores_reach_the_published_chance_level() -> None:
    codes, truth = published()
    found = score_attributions(np.random.default_rng(0).normal(size=codes.shape), truth)
    assert found.auroc == pytest.approx(0.499, abs=0.01)
    assert found.aupr == pytest.approx(0.220, abs=0.01)
    assert (found.n, found.left_out) == (500, 0)


def test_log_odds_under_the_true_matrices_reach_the_published_ceiling() -> None:
    codes, truth = published()
    p = np.take_along_axis(truth, codes[:, None].astype(np.intp), axis=1)[:, 0].astype(np.float64)
    found = score_attributions(np.log2(p / 0.25), truth)
    assert found.auroc == pytest.approx(0.840, abs=0.01)
    assert found.aupr == pytest.approx(0.871, abs=0.01)


def test_scores_equal_scikit_learn_sequence_by_sequence() -> None:
    codes, truth = published()
    codes, truth = codes[:20], truth[:20]
    scores = np.random.default_rng(1).integers(-3, 4, codes.shape).astype(np.float64)  # with ties
    found = score_attributions(scores, truth)
    p = truth.astype(np.float64)
    labels = 2 + (p * np.log2(p + 1e-7)).sum(axis=1) > 0.01
    for i in range(20):
        precision, recall, _ = precision_recall_curve(labels[i], scores[i])
        assert found.aurocs[i] == pytest.approx(roc_auc_score(labels[i], scores[i]), abs=1e-12)
        assert found.auprs[i] == pytest.approx(auc(recall, precision), abs=1e-12)
        assert found.average_precisions[i] == pytest.approx(average_precision_score(labels[i], scores[i]), abs=1e-12)
    assert found.auroc == pytest.approx(found.aurocs.mean())
    assert found.aupr == pytest.approx(found.auprs.mean())
    assert found.average_precision == pytest.approx(found.average_precisions.mean())


def test_a_negative_contribution_ranks_below_none() -> None:
    truth = np.full((1, 4, 10), 0.25)
    truth[0, :, 4:6] = np.array([1.0, 0, 0, 0])[:, None]
    scores = np.zeros((1, 10))
    scores[0, 4:6] = -1
    assert score_attributions(scores, truth).auroc == 0
    assert score_attributions(-scores, truth).auroc == 1


def test_sequences_without_both_kinds_of_position_are_left_out_and_counted() -> None:
    truth = np.full((3, 4, 10), 0.25)
    truth[1, :, 2:5] = np.array([0.7, 0.1, 0.1, 0.1])[:, None]
    truth[2] = np.array([0.7, 0.1, 0.1, 0.1])[:, None]
    scores = np.arange(30.0).reshape(3, 10)
    found = score_attributions(scores, truth)
    assert (found.n, found.left_out) == (1, 2)
    assert found.aurocs.shape == (1,)
    with pytest.raises(AttributionError, match="none of 1 sequences has both informative and background positions"):
        score_attributions(scores[:1], truth[:1])
    with pytest.raises(AttributionError, match=r"scores have shape \(3, 9\) and truth \(3, 4, 10\)"):
        score_attributions(scores[:, 1:], truth)


def test_a_constant_network_is_exposed_by_average_precision_and_not_by_the_trapezoid() -> None:
    """The published area rewards ties: precision is joined to 1 at recall 0."""
    truth = np.full((1, 4, 10), 0.25)
    truth[0, :, 4:6] = np.array([1.0, 0, 0, 0])[:, None]
    found = score_attributions(np.zeros((1, 10)), truth)
    assert found.auroc == 0.5
    assert found.average_precision == pytest.approx(0.2)
    assert found.aupr == pytest.approx((1 + 0.2) / 2)


class Finder(nn.Module):
    """A filter that is the motif ACGTG, with its maximum as the logit."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.scan = Conv1d(4, 1, 5)
        self.best = MaxPool1d(length - 4)
        with torch.no_grad():
            self.scan.weight.copy_(one_hot(np.array([[0, 1, 2, 3, 2]], dtype=np.uint8)) - 0.25)
            self.scan.bias.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.best(self.scan(x)).flatten(1)


@cache
def planted() -> Split:
    return hw4_single(n=200).valid


def test_a_network_that_is_the_motif_is_scored_near_one_by_every_method() -> None:
    found = attribution_scores(Finder(101), planted(), n_sequences=15, n_references=4)
    methods = ("saliency", "mutagenesis", "integrated_gradients", "deep_shap")
    assert set(found) == {f"{method}_{area}" for method in methods for area in AREAS}
    for method in methods:
        assert found[f"{method}_auroc"] > 0.9, method
        assert found[f"{method}_aupr"] > 0.75, method


def test_search_scores_equal_the_steps_taken_one_by_one() -> None:
    network = Finder(101)
    options = {"n_sequences": 6, "n_references": 3, "shuffle": "mononucleotide", "seed": 4, "output": "probability"}
    found = attribution_scores(network, planted(), methods=["deep_shap"], **options)
    rows = np.flatnonzero(planted().labels[:, 0] == 1)[:6]
    codes, truth = planted().codes[rows], planted().truth[rows]
    references = make_references(codes, 3, shuffle="mononucleotide", seed=4)
    score = score_attributions(
        attribute("deep_shap", network, codes, references=references, output="probability").scores, truth
    )
    assert found == {
        "deep_shap_auroc": score.auroc,
        "deep_shap_aupr": score.aupr,
        "deep_shap_average_precision": score.average_precision,
    }


def test_background_scores_with_k_references_equal_scores_with_the_first_k() -> None:
    network = Finder(101)
    found = background_scores(network, planted(), counts=(1, 3), n_sequences=6, seed=4)
    assert set(found) == {
        f"{method}_{area}_r{k}" for method in ("deep_shap", "integrated_gradients") for area in AREAS for k in (1, 3)
    }
    for k in (1, 3):
        direct = attribution_scores(
            network, planted(), methods=["deep_shap", "integrated_gradients"], n_sequences=6, n_references=k, seed=4
        )
        for key, value in direct.items():
            assert found[f"{key}_r{k}"] == pytest.approx(value, abs=2e-3), key


def test_what_cannot_be_scored_is_refused_with_a_reason() -> None:
    split = planted()
    bare = Split(split.codes, split.labels)
    with pytest.raises(DataError, match="have no ground truth, so attribution cannot be scored"):
        attribution_scores(Finder(101), bare)
    negatives = split.take(np.flatnonzero(split.labels[:, 0] == 0))
    with pytest.raises(DataError, match="no positive of task 0 among"):
        attribution_scores(Finder(101), negatives)
    with pytest.raises(DataError, match="task 3 does not exist: the labels have 1"):
        attribution_scores(Finder(101), split, task=3)
    with pytest.raises(AttributionError, match=r"saliency uses no references\. Use: integrated_gradients"):
        background_scores(Finder(101), split, counts=(1,), methods=["saliency"], n_sequences=2)
    with pytest.raises(AttributionError, match=r"counts is \(0, 3\); expected one or more"):
        background_scores(Finder(101), split, counts=(0, 3))


def test_contributions_that_do_not_add_up_never_become_a_score() -> None:
    class Exponentiated(Finder):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.exp(super().forward(x))

    with pytest.raises(AttributionError, match=r"the network itself \(Exponentiated\)"):
        attribution_scores(Exponentiated(101), planted(), methods=["deep_shap"], n_sequences=4, n_references=2)
