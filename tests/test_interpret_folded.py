"""The fast engines compute what the plain ones do: folded DeepSHAP, and mutants by windows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tuner.interpret.attribution import attribute, make_target
from tuner.interpret.deep_shap import tangermeme_deep_shap
from tuner.interpret.mutagenesis import _mutations
from tuner.interpret.references import make_references
from tuner.models.architectures import ARCHITECTURES, build_model
from tuner.models.layers import BatchNorm1d
from tuner.models.network import Network

RNG = np.random.default_rng(8)


def trained(settings: dict[str, object], length: int | None = None) -> Network:
    """Build a network whose batch norms have statistics and slopes of their own."""
    row = ARCHITECTURES[str(settings["architecture"])]
    network = build_model(settings, n_tasks=2, length=length or row.length, seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for norm in (module for module in network.modules() if isinstance(module, BatchNorm1d)):
            for tensor, low, high in (
                (norm.running_mean, -0.2, 0.2), (norm.running_var, 0.2, 1.0), (norm.weight, 0.5, 1.5),
                (norm.bias, -0.3, 0.3),
            ):  # fmt: skip
                tensor.uniform_(low, high, generator=generator)
    return network


def sequences(n: int, length: int) -> np.ndarray:
    codes = RNG.integers(0, 4, (n, length)).astype(np.uint8)
    codes[0, length // 3 : length // 3 + 2] = 4
    return codes


SETTINGS: list[tuple[dict[str, object], int | None]] = [
    *(({"architecture": name}, None) for name in ("cnn_50", "cnn_local", "hw4", "foxo1_v4")),
    ({"architecture": "cnn_2"}, 102),
    ({"architecture": "cnn_deep"}, 120),
    ({"architecture": "deepdife"}, 203),
    ({"architecture": "sigtfb"}, None),
    ({"architecture": "cnn_dist"}, 150),
    ({"architecture": "residualbind", "residual_blocks": 3, "dilated": True, "activation": "exponential"}, 211),
    ({"architecture": "cnn", "kernel_size": 8, "kernel_size_deep": 4, "pool_size": 3}, 97),
    ({"architecture": "cnn", "global_pool": "flatten", "n_blocks": 2, "activation": "softplus"}, 90),
    ({"architecture": "cnn", "global_pool": "average", "residual_blocks": 1, "batch_norm": False}, 90),
]
NAMES = [f"{setting['architecture']}-{i}" for i, (setting, _) in enumerate(SETTINGS)]


@pytest.mark.parametrize(("settings", "length"), SETTINGS, ids=NAMES)
def test_a_mutant_computed_by_its_window_equals_the_mutant_read_as_a_whole(
    settings: dict[str, object], length: int | None
) -> None:
    network = trained(settings, length)
    codes = sequences(1, network.length)
    found = attribute("mutagenesis", network, codes, task=1, batch=50)
    assert found.engine == "windows"
    base, position = _mutations(codes[0], codes[0] < 4)
    assert len(base) == 3 * (network.length - 2)
    # The ends, where padding is near, and every third of the others.
    some = np.unique(
        np.r_[np.arange(len(base))[::3], np.flatnonzero((position < 30) | (position > len(codes[0]) - 30))]
    )
    mutants = np.repeat(codes, len(some), axis=0)
    mutants[np.arange(len(some)), position[some]] = base[some]
    target = make_target(network, "logit", 1, "cpu", double=True)
    change = target.values(mutants) - target.values(codes)
    np.testing.assert_allclose(found.effects[0, base[some], position[some]], change, atol=1e-4 * np.abs(change).max())
    assert np.count_nonzero(found.effects) <= len(base)


@pytest.mark.parametrize(("settings", "length"), SETTINGS, ids=NAMES)
def test_folded_hypothetical_contributions_equal_tangermemes(settings: dict[str, object], length: int | None) -> None:
    network = trained(settings, length)
    codes = sequences(3, network.length)
    references = make_references(codes, 4, shuffle="dinucleotide", seed=3)
    found = attribute("deep_shap", network, codes, task=1, references=references, output="probability", batch=8)
    assert found.engine == "folded"
    target = make_target(network, "probability", 1, "cpu", double=True)
    expected = tangermeme_deep_shap(target, codes, references, 64)
    np.testing.assert_allclose(found.effects, expected, atol=1e-4 * np.abs(expected).max())
    # A pool whose two largest values agree to seven digits may choose the other one, for a few bases.
    assert np.quantile(np.abs(found.effects - expected), 0.99) < 1e-5 * np.abs(expected).max()


def test_a_layer_without_a_rule_takes_the_plain_way_and_is_named() -> None:
    class Halved(nn.ReLU):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(x) / 2

    network = trained({"architecture": "hw4"})
    codes = sequences(2, network.length)
    network.body[0] = nn.Sequential(Halved(), network.body[0])
    words = "no {} is known for layer 'body.0.0' (Halved)"
    for method, other in (("mutagenesis", "window"), ("deep_shap", "folded rule")):
        found = attribute(method, network, codes, references=2)
        assert words.format(other) in found.engine
    assert attribute("saliency", network, codes).engine == ""
    singular = attribute("deep_shap", trained({"architecture": "cnn_dist_log"}, 150), sequences(1, 150), references=2)
    assert "no folded rule is known for layer 'first_activation' (LogReLU)" in singular.engine


def test_a_hook_is_not_passed_by() -> None:
    network = trained({"architecture": "hw4"})
    codes = sequences(2, network.length)
    plain = attribute("deep_shap", network, codes, references=2)
    network.first_convolution.register_forward_hook(lambda module, args, output: 2 * output)
    hooked = attribute("deep_shap", network, codes, references=2)
    assert "tangermeme, as no folded rule is known for layer 'first_convolution'" in hooked.engine
    assert np.abs(hooked.effects - plain.effects).max() > 0.1 * np.abs(plain.effects).max()
    assert "whole sequences" in attribute("mutagenesis", network, codes).engine
