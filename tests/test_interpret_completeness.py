"""DeepSHAP adds up for every activation and architecture; where it cannot, the layer is named."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from tuner.errors import AttributionError
from tuner.genome.sequence import one_hot
from tuner.interpret.attribution import Attribution, attribute, engine_agreement
from tuner.interpret.completeness import check_completeness, measure_completeness
from tuner.models.activations import ACTIVATIONS, Exponential
from tuner.models.architectures import ARCHITECTURES, build_model
from tuner.models.layers import Conv1d, MaxPool1d

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(2)


def sequences(n: int, length: int) -> np.ndarray:
    return RNG.integers(0, 4, (n, length)).astype(np.uint8)


def standardize(norm: nn.Module, args: tuple[torch.Tensor]) -> None:
    """Set the running statistics of a batch norm to those of this batch."""
    axes = [axis for axis in range(args[0].dim()) if axis != 1]
    norm.running_mean.copy_(args[0].mean(dim=axes))
    norm.running_var.copy_(args[0].var(dim=axes))


def calibrated(settings: dict[str, object]) -> nn.Module:
    """Build a network at its published length, its batch norms set by a batch as training would."""
    row = ARCHITECTURES[str(settings["architecture"])]
    network = build_model(settings, n_tasks=row.tasks, length=row.length, seed=1)
    x = one_hot(sequences(16, row.length))
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.register_forward_pre_hook(
            lambda m, args: (
                (
                    m.running_mean.copy_(args[0].mean(dim=[i for i in range(args[0].dim()) if i != 1])),
                    m.running_var.copy_(args[0].var(dim=[i for i in range(args[0].dim()) if i != 1])),
                )
                and None
            )
        )
    with torch.no_grad():
        network.eval()(x)
    for norm in norms:
        norm._forward_pre_hooks.clear()
    return network


def explained(network: nn.Module, codes: np.ndarray, output: str = "logit") -> Attribution:
    return attribute("deep_shap", network, codes, references=2, output=output)


@pytest.mark.parametrize("name", [*ACTIVATIONS, "exponential x 0.5"])
def test_deep_shap_adds_up_for_every_activation_in_both_engines(name: str) -> None:
    settings: dict[str, object] = {"architecture": "residualbind", "activation": name.split()[0]}
    if "x" in name.split():
        settings["activation_scale"] = 0.5
    network = calibrated(settings)
    codes = sequences(3, 400)
    found = explained(network, codes)
    completeness = check_completeness(network, codes, found)
    assert completeness.maximum < 1e-4
    assert np.abs(completeness.differences).max() > 1e-7  # there is something to explain
    agreement = engine_agreement(network, codes[:1], found)
    assert agreement.relative < 5e-5  # one engine in float32, the other in float64
    assert agreement.correlation > 0.99999


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_deep_shap_adds_up_for_every_architecture_in_both_engines(name: str) -> None:
    network = calibrated({"architecture": name})
    codes = sequences(2, ARCHITECTURES[name].length)
    found = explained(network, codes)
    assert check_completeness(network, codes, found).maximum < 1e-4
    assert engine_agreement(network, codes[:1], found).relative < 5e-5


@pytest.mark.parametrize("pool", ["max", "average", "max_average", "flatten"])
def test_deep_shap_adds_up_for_every_pool_and_for_probabilities(pool: str) -> None:
    network = calibrated(
        {"architecture": "cnn", "global_pool": pool, "residual_blocks": 1, "activation": "exponential"}
    )
    codes = sequences(3, 400)
    found = explained(network, codes, output="probability")
    completeness = check_completeness(network, codes, found)
    assert completeness.maximum < 1e-4
    with torch.no_grad():
        p = torch.sigmoid(network(one_hot(codes)))[:, 0].numpy()
        p0 = torch.sigmoid(network(one_hot(found.references.reshape(-1, 400))))[:, 0].numpy().reshape(3, 2)
    np.testing.assert_allclose(completeness.differences, p - p0.mean(axis=1), atol=1e-6)
    np.testing.assert_allclose(found.scores.sum(axis=1), p - p0.mean(axis=1), atol=1e-6)


def test_complete_integrated_gradients_add_up_within_their_quadrature() -> None:
    network = calibrated({"architecture": "cnn_local", "activation": "exponential"})
    codes = sequences(6, 200)
    found = attribute("integrated_gradients_complete", network, codes, references=2)
    assert 1e-6 < check_completeness(network, codes, found).median < 0.05
    with pytest.raises(AttributionError, match="100 steps are too few for this network; use deep_shap"):
        check_completeness(network, codes, found, tolerance=1e-7)


def test_a_sequence_that_scores_like_its_references_does_not_hide_the_others() -> None:
    """Relative to its own difference of 0 it would have an infinite error."""
    network = calibrated({"architecture": "cnn_local", "activation": "exponential"})
    codes = sequences(4, 200)
    codes[0] = 0  # poly-A is its own shuffle
    completeness = measure_completeness(network, codes, explained(network, codes))
    assert completeness.differences[0] == pytest.approx(0, abs=1e-12)
    assert completeness.maximum < 1e-4


def test_a_constant_network_is_complete() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(80, 1))
    nn.init.zeros_(network[1].weight)
    codes = sequences(3, 20)
    assert check_completeness(network, codes, explained(network, codes)).maximum == 0


# ------------------------------------------------------------------ what breaks it


class Convolution(nn.Module):
    """Convolution, something, mean over positions, logit."""

    def __init__(self, inner: nn.Module, features: int = 6) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.scan = Conv1d(4, 6, 5)
        self.inner = inner
        self.output = nn.Linear(features, 1)

    def pool(self, h: torch.Tensor) -> torch.Tensor:
        return h.mean(dim=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.output(self.pool(self.inner(4 * self.scan(x))))


class ExponentialOfThisTest(nn.Module):
    """A nonlinearity of its own that no table knows."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.exp(x)


class FunctionInForward(Convolution):
    """exp as a function."""

    def pool(self, h: torch.Tensor) -> torch.Tensor:
        return torch.exp(h).mean(dim=2)


class FunctionInBlock(nn.Module):
    """relu as a function, beside a layer that is fine."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.relu(self.norm(x) - 1)


class Squeezed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AdaptiveMaxPool1d(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pool(x)


BROKEN: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "module without a rule": (
        lambda: Convolution(nn.Sequential(nn.ReLU(), ExponentialOfThisTest())),
        r"layer 'inner\.1' \(ExponentialOfThisTest\), which has no DeepLIFT rule",
    ),
    "function of the network": (
        lambda: FunctionInForward(nn.ReLU()),
        r"forward method of the network itself \(FunctionInForward\), which calls a nonlinear function",
    ),
    "function of a block": (
        lambda: Convolution(nn.Sequential(Exponential(), FunctionInBlock())),
        r"forward method of layer 'inner\.1' \(FunctionInBlock\), which calls a nonlinear function",
    ),
    "pool without a rule": (
        lambda: Convolution(Squeezed()),
        r"layer 'inner\.pool' \(AdaptiveMaxPool1d\), which has no DeepLIFT rule",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_breach_names_the_layer(case: str) -> None:
    build, message = BROKEN[case]
    network = build()
    codes = sequences(6, 40)
    found = explained(network, codes)
    with pytest.raises(AttributionError, match=rf"contributions miss the difference of outputs by \d.*{message}"):
        check_completeness(network, codes, found)


def test_a_subclass_takes_the_rule_of_its_base() -> None:
    class Shifted(nn.ReLU):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(x - 1)

    network = Convolution(Shifted())
    codes = sequences(6, 40)
    assert check_completeness(network, codes, explained(network, codes)).maximum < 1e-4


def test_a_subclass_that_its_bases_rule_does_not_fit_is_named() -> None:
    class Moved(nn.ReLU):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(x).roll(7, dims=2)

    network = Convolution(Moved())
    codes = sequences(6, 40)
    mutants = codes.copy()
    mutants[:, 20] = (codes[:, 20] + 1) % 4  # elsewhere the inputs are equal, and the moved outputs are not
    found = attribute("deep_shap", network, codes, references=mutants[:, None])
    with pytest.raises(AttributionError, match=r"layer 'inner' \(Moved\), whose DeepLIFT rule does not fit"):
        check_completeness(network, codes, found)


def test_a_residual_block_with_modules_keeps_the_sum() -> None:
    class Skip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.branch = nn.Sequential(nn.BatchNorm1d(6), nn.ReLU())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.branch(x)

    network = Convolution(nn.Sequential(Exponential(), Skip()))
    codes = sequences(6, 40)
    assert check_completeness(network, codes, explained(network, codes)).maximum < 1e-4


def test_contributions_of_another_network_are_no_layers_fault() -> None:
    one, other = (build_model({"architecture": "hw4"}, n_tasks=1, length=101, seed=s) for s in (1, 2))
    codes = sequences(5, 101)
    with pytest.raises(AttributionError, match=r"no layer loses any of the sum\. Either this is not the network"):
        check_completeness(other, codes, explained(one, codes))


def test_methods_that_promise_nothing_are_not_checked() -> None:
    network = build_model({"architecture": "hw4"}, n_tasks=1, length=101, seed=1)
    codes = sequences(2, 101)
    with pytest.raises(AttributionError, match=r"saliency is not a complete method: .*\. Check one of: integrated"):
        check_completeness(network, codes, attribute("saliency", network, codes))


# ------------------------------------------------------------------ the second engine


class TwiceReLU(nn.Module):
    """One ReLU for two layers: tangermeme tells the calls apart, shap does not."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.norm = nn.BatchNorm1d(6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.norm(self.relu(x)) - 0.5)


SHAP_REFUSES: dict[str, tuple[nn.Module, str]] = {
    "overlapping pool": (nn.MaxPool1d(4, 2), r"layer 'inner' \(MaxPool1d\) has windows of 4 every 2 positions"),
    "reused module": (TwiceReLU(), r"layer 'inner\.relu' \(ReLU\) is used 2 times"),
    "no rule": (nn.SiLU(), r"layer 'inner' \(SiLU\) has no DeepLIFT rule in shap"),
}


@pytest.mark.parametrize("case", SHAP_REFUSES)
def test_layers_that_shap_gets_wrong_are_refused_there_and_right_in_tangermeme(case: str) -> None:
    inner, message = SHAP_REFUSES[case]
    network = Convolution(inner)
    codes = sequences(4, 40)
    found = explained(network, codes)
    assert check_completeness(network, codes, found).maximum < 1e-4
    with pytest.raises(AttributionError, match=rf"shap\.DeepExplainer: {message}"):
        engine_agreement(network, codes, found)


def test_strided_pools_without_overlap_agree_in_both_engines() -> None:
    network = Convolution(MaxPool1d(4, ceil_mode=True))
    codes = sequences(4, 40)
    assert engine_agreement(network, codes, explained(network, codes)).relative < 5e-5
