"""What is explained is what is predicted: the mean logit over strands and over networks.

Sequences are real (Klf1 peaks, some with N). Expected values come from `predict`, from autograd and from tangermeme on
a module that is written here.
"""

from __future__ import annotations

import copy
from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tuner.data.fasta import read_fasta
from tuner.data.simulate_koo import task3
from tuner.errors import AttributionError, ModelError
from tuner.genome.sequence import one_hot, reverse_complement
from tuner.interpret.attribution import ATTRIBUTIONS, attribute, engine_agreement
from tuner.interpret.averaged import agreement, references_for
from tuner.interpret.completeness import check_completeness, measure_completeness
from tuner.interpret.references import make_references
from tuner.interpret.scoring import score_attributions
from tuner.models.architectures import build_model
from tuner.models.ensemble import MeanLogit, predicted
from tuner.models.layers import BatchNorm1d
from tuner.models.network import Network
from tuner.models.prediction import predict
from tuner.study.extra_metrics import AttributionSection, measure_attribution

pytestmark = pytest.mark.slow

LENGTH, N, REFERENCES = 150, 6, 3
NETWORKS: dict[str, dict[str, object]] = {
    "folded, exponential": {"architecture": "residualbind", "activation": "exponential"},
    "folded, softplus and average pool": {
        "architecture": "cnn", "global_pool": "average", "n_blocks": 1, "activation": "softplus"
    },
    "folded, relu": {"architecture": "cnn_deep", "activation": "relu"},
    "folded, flat features": {"architecture": "cnn", "global_pool": "flatten", "n_blocks": 2, "activation": "tanh"},
    "folded, saturated": {"architecture": "cnn_local", "activation": "shift_sigmoid"},
    "tangermeme": {"architecture": "cnn_dist", "activation": "log"},
}  # fmt: skip


@pytest.fixture(scope="module")
def codes(data_dir: Path) -> np.ndarray:
    """The centres of six Klf1 peaks, two of them with N."""
    records = read_fasta(data_dir / "klf1_mm9" / "Klf1.fna")
    start = (500 - LENGTH) // 2
    rows = np.stack([r.codes[start : start + LENGTH] for r in records])
    masked = (rows == 4).sum(axis=1)
    chosen = [*np.flatnonzero(masked == 0)[: N - 2], *np.flatnonzero((masked > 0) & (masked < 60))[:2]]
    return np.ascontiguousarray(rows[chosen])


@cache
def network(name: str, seed: int = 1) -> Network:
    """A network whose batch norms have statistics and slopes of their own, as training leaves them."""
    made = build_model(NETWORKS[name], n_tasks=2, length=LENGTH, seed=seed).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for norm in (module for module in made.modules() if isinstance(module, BatchNorm1d)):
            for tensor, low, high in (
                (norm.running_mean, -0.2, 0.2), (norm.running_var, 0.2, 1.0), (norm.weight, 0.5, 1.5),
                (norm.bias, -0.3, 0.3),
            ):  # fmt: skip
                tensor.uniform_(low, high, generator=generator)
    return made


def turned(array: np.ndarray) -> np.ndarray:
    """Effects on the other strand."""
    return array[:, ::-1, ::-1]


class BothStrands(nn.Module):
    """The averaged function as one would write it; strands are adjacent, so pairs stay in the halves of a batch."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        both = torch.stack([x, x.flip([1, 2])], dim=1).flatten(0, 1)
        return self.inner(both).reshape(len(x), 2, -1).mean(dim=1)


def logits(networks: list[nn.Module], codes: np.ndarray) -> np.ndarray:
    """Mean over networks and strands in float64, one sequence and strand at a time."""
    found = np.zeros((len(codes), 2))
    for one in networks:
        precise = copy.deepcopy(one).double()
        for i, row in enumerate(codes):
            for strand in (row, reverse_complement(row)):
                with torch.no_grad():
                    found[i] += precise(one_hot(strand[None], torch.float64))[0].numpy() / (2 * len(networks))
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_contributions_add_up_to_the_change_of_the_logit_that_is_predicted(name: str, codes: np.ndarray) -> None:
    one = network(name)
    found = attribute("deep_shap", MeanLogit([one]), codes, task=1, references=REFERENCES)
    before = logits([one], codes)[:, 1]
    after = logits([one], found.references.reshape(-1, LENGTH))[:, 1].reshape(N, REFERENCES).mean(axis=1)
    change = before - after
    total = found.scores.astype(np.float64).sum(axis=1)
    np.testing.assert_allclose(total, change, atol=1e-4 * np.abs(change).max())
    shown = predict(one, codes)[:, 1]  # what the page and `Model.predict` display
    np.testing.assert_allclose(shown, before, atol=1e-4 * np.abs(before).max())
    found_error = check_completeness(MeanLogit([one]), codes, found)
    assert found_error.maximum < 1e-4
    np.testing.assert_allclose(found_error.differences, change, rtol=1e-6, atol=1e-9)
    # The given strand alone explains another number.
    given = attribute("deep_shap", one, codes, task=1, references=found.references)
    assert measure_completeness(MeanLogit([one]), codes, given).median > 1e-3


@pytest.mark.parametrize("method", ATTRIBUTIONS)
@pytest.mark.parametrize("name", ["folded, exponential", "tangermeme"])
def test_the_reverse_complement_has_the_same_effects_turned(method: str, name: str, codes: np.ndarray) -> None:
    both = MeanLogit([network(name)])
    few = codes[[0, N - 1]]
    here = attribute(method, both, few, references=2, seed=5)
    there = attribute(method, both, reverse_complement(few), references=2, seed=5)
    np.testing.assert_array_equal(there.references, reverse_complement(here.references))
    np.testing.assert_array_equal(there.effects, turned(here.effects))
    # The norm of mutagenesis sums three squares, in another order on the other strand.
    np.testing.assert_allclose(there.contributions, turned(here.contributions), rtol=1e-6)
    alone = attribute(method, network(name), few, references=2, seed=5)
    assert not np.allclose(alone.effects, here.effects, rtol=1e-2, atol=0)


@pytest.mark.parametrize("method", ATTRIBUTIONS)
@pytest.mark.parametrize("name", ["folded, exponential", "folded, flat features"])
def test_every_method_equals_itself_on_the_averaged_function(method: str, name: str, codes: np.ndarray) -> None:
    # One network with both strands inside has no folded rule and no windows: the libraries compute it as a whole.
    one = network(name)
    few = codes[[1, N - 1]]
    references = make_references(few, 2, seed=3)
    found = attribute(method, MeanLogit([one]), few, references=references)
    direct = attribute(method, BothStrands(one), few, references=references)
    size = float(np.abs(direct.effects).max())
    np.testing.assert_allclose(found.effects, direct.effects, atol=1e-4 * size)
    np.testing.assert_allclose(found.contributions, direct.contributions, atol=1e-4 * size)
    assert "BothStrands" not in found.engine


def test_saliency_is_the_gradient_of_what_is_predicted(codes: np.ndarray) -> None:
    one = network("folded, exponential")
    x = one_hot(codes).requires_grad_()
    ((one(x)[:, 0] + one(x.flip([1, 2]))[:, 0]) / 2).sum().backward()
    assert x.grad is not None
    found = attribute("saliency", MeanLogit([one]), codes)
    np.testing.assert_allclose(found.effects, x.grad.numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("output", ["logit", "probability"])
def test_mutagenesis_is_the_change_of_what_is_predicted(output: str, codes: np.ndarray) -> None:
    one, other = network("folded, exponential"), network("folded, exponential", 2)
    row = codes[:1]

    def shown(sequences: np.ndarray) -> np.ndarray:
        logit = (predict(one, sequences) + predict(other, sequences))[:, 0].astype(np.float64) / 2
        return logit if output == "logit" else 1 / (1 + np.exp(-logit))

    found = attribute("mutagenesis", MeanLogit([one, other]), row, output=output)
    positions = [0, 17, 80, LENGTH - 1]
    for base in range(4):
        mutants = np.repeat(row, len(positions), axis=0)
        mutants[range(len(positions)), positions] = base
        np.testing.assert_allclose(found.effects[0, base, positions], shown(mutants) - shown(row), atol=2e-6)
    assert found.engine == ("windows" if output == "logit" else "whole sequences, as no window is known for the "
                            "network (MeanLogit)")  # fmt: skip


def test_a_probability_is_that_of_the_mean_logit_and_adds_up(codes: np.ndarray) -> None:
    one = network("folded, exponential")
    both = MeanLogit([one])
    found = attribute("deep_shap", both, codes, output="probability", references=REFERENCES)
    p = 1 / (1 + np.exp(-logits([one], codes)[:, 0]))
    p0 = 1 / (1 + np.exp(-logits([one], found.references.reshape(-1, LENGTH))[:, 0]))
    change = p - p0.reshape(N, REFERENCES).mean(axis=1)
    np.testing.assert_allclose(found.scores.sum(axis=1), change, atol=1e-5 * np.abs(change).max())
    assert found.engine.startswith("tangermeme")
    slope = attribute("saliency", both, codes, output="probability").effects
    flat = attribute("saliency", both, codes).effects
    np.testing.assert_allclose(slope, (p * (1 - p))[:, None, None] * flat, atol=1e-5 * np.abs(flat).max())


@pytest.mark.parametrize("method", ATTRIBUTIONS)
def test_an_ensemble_has_the_mean_effects_of_its_networks(method: str, codes: np.ndarray) -> None:
    networks = [network("folded, exponential", seed) for seed in (1, 2, 3)]
    few = codes[[0, N - 1]]
    references = make_references(few, 2, seed=3)
    strands = [True, False, True]  # the second predicts from the given strand
    found = attribute(method, MeanLogit(networks, strands), few, references=references)
    each = [
        attribute(method, predicted([one], both), few, references=references)
        for one, both in zip(networks, strands, strict=True)
    ]
    size = float(np.abs(found.effects).max())
    np.testing.assert_allclose(found.effects, np.mean([e.effects for e in each], axis=0), atol=1e-6 * size)
    if method != "mutagenesis":  # the norm of a mean is not the mean of norms
        np.testing.assert_allclose(found.scores, np.mean([e.scores for e in each], axis=0), atol=1e-6 * size)
    pairs = [[np.corrcoef(a.scores[i], b.scores[i])[0, 1] for i in range(2)] for a, b in combinations(each, 2)]
    assert found.consensus == pytest.approx(np.mean(pairs, axis=0), abs=1e-6)
    assert found.part(np.array([1])).consensus == pytest.approx(found.consensus[1:])
    assert all(e.consensus is None for e in each)


def test_an_ensemble_adds_up_to_its_mean_logit_and_a_second_library_agrees(codes: np.ndarray) -> None:
    networks: list[nn.Module] = [network("folded, exponential", seed) for seed in (1, 2)]
    whole = MeanLogit(networks)
    found = attribute("deep_shap", whole, codes, references=REFERENCES)
    assert found.engine == "folded"
    before = logits(networks, codes)[:, 0]
    after = logits(networks, found.references.reshape(-1, LENGTH))[:, 0].reshape(N, REFERENCES).mean(axis=1)
    np.testing.assert_allclose(found.scores.sum(axis=1), before - after, atol=1e-4 * np.abs(before - after).max())
    assert check_completeness(whole, codes, found).maximum < 1e-4
    assert engine_agreement(whole, codes[:2], found).relative < 5e-5


def test_networks_of_several_engines_are_both_named(codes: np.ndarray) -> None:
    both = MeanLogit([network("folded, relu"), network("tangermeme")], [True, False])
    found = attribute("deep_shap", both, codes[:2], references=2)
    first, second = found.engine.split("; ")
    assert first == "folded"
    assert second.startswith("tangermeme, as no folded rule is known for layer 'first_activation'")


def test_a_constant_network_has_no_agreement_with_others() -> None:
    rng = np.random.default_rng(0)
    varied = rng.normal(size=(2, 9))
    varied[1] = 3.0
    found = agreement([varied, rng.normal(size=(2, 9)), rng.normal(size=(2, 9))])
    assert np.isfinite(found[0])
    assert np.isnan(found[1])


def test_a_layer_without_a_rule_is_named_inside_a_mean(codes: np.ndarray) -> None:
    class Squared(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * x

    bad = nn.Sequential(nn.Conv1d(4, 3, 5), Squared(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(3, 2))
    both = MeanLogit([network("folded, relu"), bad])
    found = attribute("deep_shap", both, codes, references=2)
    with pytest.raises(AttributionError, match=r"layer 'parts\.1\.network\.1' \(Squared\), which has no DeepLIFT rule"):
        check_completeness(both, codes, found, tolerance=1e-4)


def test_references_of_the_other_strand_are_the_same_ones_turned(codes: np.ndarray) -> None:
    both, alone = MeanLogit([network("folded, relu")]), network("folded, relu")
    made = references_for(both, codes, 4, seed=2)
    np.testing.assert_array_equal(references_for(both, reverse_complement(codes), 4, seed=2), reverse_complement(made))
    np.testing.assert_array_equal(references_for(both, codes, 2, seed=2), made[:, :2])
    np.testing.assert_array_equal(references_for(alone, codes, 4, seed=2), make_references(codes, 4, seed=2))
    one_strand = MeanLogit([alone, network("folded, relu", 2)], False)
    np.testing.assert_array_equal(references_for(one_strand, codes, 4, seed=2), make_references(codes, 4, seed=2))
    for row, own in zip(codes, made, strict=True):  # each is a shuffle of its sequence, N in place
        assert (np.sort(own, axis=1) == np.sort(row)).all()
        assert ((own == 4) == (row == 4)).all()


@pytest.mark.parametrize("average_strands", [False, True])
def test_a_study_measures_attribution_on_the_strands_that_its_recipe_predicts_from(average_strands: bool) -> None:
    # Koo & Ploenzke (2021) predict, and attribute, the given strand of Task 3: published numbers stay what they are.
    data = task3(n=200)
    one = build_model({"architecture": "cnn_local"}, n_tasks=1, length=200, seed=1).eval()
    section = AttributionSection(methods=["deep_shap", "saliency"], sequences=12, references=2, background_counts=[1])
    found = measure_attribution(one, data, section, average_strands=average_strands, seed=4, device="cpu")
    if not average_strands:
        assert predicted([one], False) is one
    explained = MeanLogit([one]) if average_strands else one
    rows = np.flatnonzero(data.valid.labels[:, 0])[:12]
    here, truth = data.valid.codes[rows], data.valid.truth[rows]
    references = references_for(explained, here, 2, seed=4) if average_strands else make_references(here, 2, seed=4)
    for method in ("deep_shap", "saliency"):
        scores = attribute(method, explained, here, references=references).scores
        assert found[f"{method}_auroc"] == score_attributions(scores, truth).auroc
    first = attribute("deep_shap", explained, here, references=references[:, :1]).scores
    assert found["deep_shap_auroc_r1"] == pytest.approx(score_attributions(first, truth).auroc, abs=1e-6)


def test_means_that_do_not_exist_are_refused() -> None:
    one = network("folded, relu")
    with pytest.raises(ModelError, match="needs at least one network; none was given"):
        MeanLogit([])
    with pytest.raises(ModelError, match="average_strands has 1 values for 2 networks"):
        MeanLogit([one, one], [True])
    short = build_model({"architecture": "hw4"}, n_tasks=2, length=101, seed=1)
    with pytest.raises(ModelError, match=r"different sequence lengths \(\[101, 150\]\)"):
        MeanLogit([one, short])
    single = build_model({"architecture": "cnn_deep"}, n_tasks=1, length=LENGTH, seed=1)
    with pytest.raises(ModelError, match=r"different numbers of outputs \(\[1, 2\]\)"):
        MeanLogit([one, single])
    with pytest.raises(AttributionError, match="sequences of 100 bp do not fit a network for 150 bp"):
        attribute("saliency", MeanLogit([one]), np.zeros((1, 100), dtype=np.uint8))
    with pytest.raises(AttributionError, match="task 2 does not exist: the network has 2"):
        attribute("saliency", MeanLogit([one]), np.zeros((1, LENGTH), dtype=np.uint8), task=2)
