"""Every method is its formula, by analysis of networks small enough to solve."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tuner.errors import AttributionError, DeviceError
from tuner.genome.sequence import one_hot
from tuner.interpret.attribution import ATTRIBUTIONS, attribute, engine_agreement
from tuner.interpret.references import make_references
from tuner.interpret.target import OUTPUTS
from tuner.models.activations import Exponential
from tuner.models.architectures import build_model
from tuner.models.layers import MaxPool1d

pytestmark = pytest.mark.slow

LENGTH = 12
RNG = np.random.default_rng(5)
CODES = RNG.integers(0, 4, (3, LENGTH)).astype(np.uint8)
X = one_hot(CODES).numpy().astype(np.float64)
REFERENCES = make_references(CODES, 4, shuffle="mononucleotide", seed=1)
X0 = one_hot(REFERENCES.reshape(-1, LENGTH)).numpy().astype(np.float64).reshape(3, 4, 4, LENGTH)


def linear(weights: np.ndarray, *after: nn.Module) -> nn.Sequential:
    """Dense layers on the flattened one-hot."""
    first = nn.Linear(4 * LENGTH, len(weights), bias=False)
    with torch.no_grad():
        first.weight.copy_(torch.from_numpy(weights.reshape(len(weights), -1)))
    return nn.Sequential(nn.Flatten(), first, *after)


WEIGHTS = RNG.normal(size=(2, 4, LENGTH)) / 4
LINEAR = linear(WEIGHTS)


def hypothetical(multipliers: np.ndarray) -> np.ndarray:
    """Multiplier of each base minus that of the reference's base, mean over references (n, r, 4, length)."""
    return (multipliers - (multipliers * X0).sum(axis=2, keepdims=True)).mean(axis=1)


@pytest.mark.parametrize("task", [0, 1])
def test_all_methods_agree_with_algebra_on_a_linear_network(task: int) -> None:
    w = WEIGHTS[task]
    own = (w * X).sum(axis=1, keepdims=True)  # weight of the base that is there
    everywhere = np.broadcast_to(w, X0.shape)
    expected = {
        "saliency": np.broadcast_to(w, X.shape),
        "integrated_gradients": np.broadcast_to(w, X.shape),
        "mutagenesis": w - own,
        "integrated_gradients_complete": hypothetical(everywhere),
        "deep_shap": hypothetical(everywhere),
    }
    assert set(expected) == set(ATTRIBUTIONS)
    for method, effects in expected.items():
        found = attribute(method, LINEAR, CODES, task=task, references=REFERENCES)
        np.testing.assert_allclose(found.effects, effects, atol=2e-6, err_msg=method)
        shares = np.sqrt((effects**2).sum(axis=1, keepdims=True)) if method == "mutagenesis" else effects
        np.testing.assert_allclose(found.contributions, shares * X, atol=2e-6, err_msg=method)
        np.testing.assert_allclose(found.scores, (shares * X).sum(axis=1), atol=2e-6, err_msg=method)


def test_saliency_of_a_probability_is_flat_where_the_probability_is_certain() -> None:
    logits = (WEIGHTS[0] * X).sum(axis=(1, 2))
    p = 1 / (1 + np.exp(-logits))
    found = attribute("saliency", LINEAR, CODES, output="probability")
    assert found.output == "probability"
    np.testing.assert_allclose(found.effects, (p * (1 - p))[:, None, None] * WEIGHTS[0], atol=1e-6)


def test_mutagenesis_equals_the_output_of_every_mutant_one_by_one() -> None:
    network = build_model({"architecture": "foxo1_v3"}, n_tasks=1, length=30, seed=3).eval()
    codes = RNG.integers(0, 4, (2, 30)).astype(np.uint8)
    codes[1, 7] = 4

    def probability(row: np.ndarray) -> float:
        with torch.no_grad():
            return float(torch.sigmoid(network(one_hot(row[None])))[0, 0])

    expected = np.zeros((2, 4, 30))
    for i, row in enumerate(codes):
        for position in np.flatnonzero(row < 4):
            for base in range(4):
                mutant = row.copy()
                mutant[position] = base
                expected[i, base, position] = probability(mutant) - probability(row)
    found = attribute("mutagenesis", network, codes, output="probability", batch=7)
    np.testing.assert_allclose(found.effects, expected, atol=1e-6)
    assert found.scores[1, 7] == 0
    known = codes < 4
    np.testing.assert_allclose(found.scores[known], np.linalg.norm(expected, axis=1)[known], atol=1e-6)


def test_integrated_gradients_average_the_gradient_at_the_published_steps() -> None:
    network = linear(WEIGHTS[:1], nn.Tanh(), nn.Linear(1, 1))
    x, x0 = one_hot(CODES, torch.float32), torch.from_numpy(X0).float()
    total = torch.zeros_like(x)
    for k in range(4):
        for step in range(20):
            point = (x0[:, k] + step / 20 * (x - x0[:, k])).requires_grad_()
            total += torch.autograd.grad(torch.sigmoid(network(point)).sum(), point)[0]
    found = attribute("integrated_gradients", network, CODES, output="probability", references=REFERENCES, batch=64)
    np.testing.assert_allclose(found.effects, (total / 80).numpy(), atol=1e-6)


def test_complete_integrated_gradients_solve_the_path_integral_of_an_exponential() -> None:
    network = linear(WEIGHTS[:1], Exponential())
    a, b = (WEIGHTS[0] * X0).sum(axis=(2, 3)), (WEIGHTS[0] * X).sum(axis=(1, 2))[:, None]
    mean_slope = (np.exp(b) - np.exp(a)) / (b - a)  # of exp between the two inputs
    expected = hypothetical(mean_slope[..., None, None] * WEIGHTS[0])
    found = attribute("integrated_gradients_complete", network, CODES, references=REFERENCES)
    np.testing.assert_allclose(found.effects, expected, atol=1e-4)
    np.testing.assert_array_equal(found.hypothetical, found.effects)
    # One nonlinear unit: DeepLIFT's quotient is the same number.
    other = attribute("deep_shap", network, CODES, references=REFERENCES)
    np.testing.assert_allclose(other.effects, expected, atol=1e-6)


def test_deep_shap_is_the_rescale_rule_written_out() -> None:
    """Conv -> exp -> max over pairs -> dense -> ReLU -> dense, in NumPy (Shrikumar et al. 2017)."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv1d(4, 3, 1), Exponential(), MaxPool1d(2), nn.Flatten(), nn.Linear(18, 5), nn.ReLU(), nn.Linear(5, 1)
    )
    conv, dense, last = (network[i].weight.detach().double().numpy() for i in (0, 4, 6))
    conv_bias, dense_bias = (network[i].bias.detach().double().numpy() for i in (0, 4))

    def layers(x: np.ndarray) -> tuple[np.ndarray, ...]:
        before = np.einsum("fc,cl->fl", conv[:, :, 0], x) + conv_bias[:, None]
        after = np.exp(before).reshape(3, 6, 2)
        hidden = dense @ after.max(axis=2).ravel() + dense_bias
        return before, after, hidden

    expected = np.zeros((3, 4, 4, LENGTH))
    for i in range(3):
        for k in range(4):
            (h1, a1, z1), (h0, a0, z0) = layers(X[i]), layers(X0[i, k])
            gate = (np.maximum(z1, 0) - np.maximum(z0, 0)) / (z1 - z0)
            pooled = ((last[0] * gate) @ dense).reshape(3, 6)
            # A pool passes max(both) - reference on through its winner here, and the rest through the
            # reference's winner, each divided by the change of that input.
            m1, m0 = a1.max(axis=2), a0.max(axis=2)
            top = np.maximum(m1, m0)
            routed = np.zeros((3, 6, 2))
            for f in range(3):
                for p in range(6):
                    routed[f, p, a1[f, p].argmax()] += pooled[f, p] * (top - m0)[f, p]
                    routed[f, p, a0[f, p].argmax()] += pooled[f, p] * (m1 - top)[f, p]
            change = a1 - a0
            unpooled = np.divide(routed, change, out=np.zeros_like(routed), where=np.abs(change) > 1e-12)
            moved = np.abs(h1 - h0) > 1e-12
            slope = np.where(moved, change.reshape(3, LENGTH) / np.where(moved, h1 - h0, 1), np.exp(h1))
            expected[i, k] = np.einsum("fc,fl->cl", conv[:, :, 0], unpooled.reshape(3, LENGTH) * slope)
    found = attribute("deep_shap", network, CODES, references=REFERENCES)
    share = ((X[:, None] - X0) * expected).sum(axis=2).mean(axis=1)
    np.testing.assert_allclose(found.scores, share, atol=1e-6)
    agreement = engine_agreement(network, CODES, found)
    assert agreement.absolute < 1e-6
    assert agreement.n == 3


@pytest.mark.parametrize("method", ATTRIBUTIONS)
def test_batch_and_neighbours_change_nothing(method: str) -> None:
    network = build_model({"architecture": "cnn_local"}, n_tasks=1, length=60, seed=1)
    codes = RNG.integers(0, 4, (4, 60)).astype(np.uint8)
    whole = attribute(method, network, codes, references=2, seed=4)
    alone = attribute(method, network, codes[2:3], references=2, seed=4, batch=3)
    np.testing.assert_allclose(alone.scores[0], whole.scores[2], atol=1e-5)


@pytest.mark.parametrize("method", ATTRIBUTIONS)
def test_unknown_bases_contribute_nothing(method: str) -> None:
    codes = CODES.copy()
    codes[:, 3:5] = 4
    found = attribute(method, LINEAR, codes, references=2)
    assert not found.scores[:, 3:5].any()
    assert found.scores[:, 5:].any()


def test_stored_references_give_the_same_attribution_again() -> None:
    network = linear(WEIGHTS[:1], Exponential())
    first = attribute("deep_shap", network, CODES, references=3, shuffle="mononucleotide", seed=9)
    again = attribute("deep_shap", network, CODES, references=first.references, seed=1)
    assert first.references.shape == (3, 3, LENGTH)
    np.testing.assert_array_equal(again.effects, first.effects)


def test_the_network_is_left_as_it_was() -> None:
    network = build_model({"architecture": "residualbind"}, n_tasks=1, length=400, seed=1).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    codes = RNG.integers(0, 4, (2, 400)).astype(np.uint8)
    engine_agreement(network, codes, attribute("deep_shap", network, codes, references=2))
    attribute("saliency", network, codes, output="probability")
    after = network.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], before[key]) and after[key].dtype == before[key].dtype for key in before)
    assert network.training
    assert all(p.requires_grad and p.grad is None for p in network.parameters())
    assert not [m for m in network.modules() if m._forward_hooks or m._backward_hooks or m._forward_pre_hooks]


def test_what_cannot_be_attributed_is_refused_with_a_reason() -> None:
    network = build_model({"architecture": "cnn_local"}, n_tasks=2, length=60, seed=1)
    codes = RNG.integers(0, 4, (2, 60)).astype(np.uint8)
    with pytest.raises(AttributionError, match="unknown attribution method 'deepshap'; did you mean 'deep_shap'"):
        attribute("deepshap", network, codes)
    with pytest.raises(AttributionError, match="unknown output 'logits'; did you mean 'logit'"):
        attribute("saliency", network, codes, output="logits")
    with pytest.raises(AttributionError, match="task 2 does not exist: the network has 2"):
        attribute("saliency", network, codes, task=2)
    with pytest.raises(AttributionError, match="sequences of 50 bp do not fit a network for 60 bp"):
        attribute("saliency", network, codes[:, :50])
    with pytest.raises(AttributionError, match=r"shape \(0, 60\)"):
        attribute("saliency", network, codes[:0])
    with pytest.raises(AttributionError, match="codes hold 7"):
        attribute("saliency", network, np.full_like(codes, 7))
    with pytest.raises(AttributionError, match=r"references have shape \(2, 60\).*expected \(2, n_references, 60\)"):
        attribute("deep_shap", network, codes, references=codes)
    with pytest.raises(AttributionError, match=r"saliency has no hypothetical contributions\. Use one of: integrated"):
        _ = attribute("saliency", network, codes).hypothetical
    with pytest.raises(AttributionError, match="computes deep_shap, not saliency"):
        engine_agreement(network, codes, attribute("saliency", network, codes))
    with pytest.raises(DeviceError, match="no device 'cuda:9' here"):
        attribute("saliency", network, codes, device="cuda:9")
    with torch.no_grad():
        network.output.bias.fill_(torch.nan)
        network.output.weight.fill_(torch.nan)
    with pytest.raises(AttributionError, match=r"saliency: \d+ effects are not finite"):
        attribute("saliency", network, codes)


@pytest.mark.gpu
@pytest.mark.parametrize("method", ATTRIBUTIONS)
def test_a_gpu_attributes_as_the_cpu_does(method: str) -> None:
    network = build_model({"architecture": "cnn_dist", "activation": "exponential"}, n_tasks=1, length=200, seed=1)
    codes = RNG.integers(0, 4, (4, 200)).astype(np.uint8)
    here = attribute(method, network, codes, references=3)
    there = attribute(method, network, codes, references=3, device="cuda")
    np.testing.assert_allclose(there.scores, here.scores, atol=1e-4 * np.abs(here.scores).max())
    assert next(network.parameters()).device.type == "cpu"


def test_the_page_on_attribution_tells_every_method_and_output() -> None:
    page = (Path(__file__).parents[1] / "docs" / "attribution.md").read_text(encoding="utf-8")
    for name, row in ATTRIBUTIONS.items():
        line = next(line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[2:4] == ["yes" if row.complete else "no", "yes" if row.needs_references else "no"]
    assert all(f'`"{output}"`' in page for output in OUTPUTS)
