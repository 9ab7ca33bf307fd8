"""The fast layers compute what torch.nn's compute, on either memory layout."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tuner.models.architectures import ARCHITECTURES, build_model
from tuner.models.layers import (
    AvgPool1d,
    BatchNorm1d,
    Conv1d,
    Dropout,
    MaxPool1d,
    channels_last,
    random_bits,
    same_padding,
)
from tuner.models.network import Residual


@pytest.fixture(params=["channels first", "channels last"])
def x(request: pytest.FixtureRequest) -> Tensor:
    """(5, 8, 53) with the values of one layout and the strides of either."""
    values = torch.randn(5, 8, 53, generator=torch.Generator().manual_seed(0))
    return values if request.param == "channels first" else channels_last(values)


@pytest.mark.parametrize("kernel_size", [1, 4, 7, 12, 19])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (1, 2), (3, 1)])
def test_convolution_equals_torch(x: Tensor, kernel_size: int, stride: int, dilation: int) -> None:
    if dilation * (kernel_size - 1) >= x.shape[2]:
        pytest.fail("the test's own sequences are too short")
    pad = same_padding(x.shape[2], kernel_size, stride=stride, dilation=dilation)
    layer = Conv1d(8, 6, kernel_size, pad=pad, stride=stride, dilation=dilation)
    plain = F.conv1d(F.pad(x, pad), layer.weight, layer.bias, stride=stride, dilation=dilation)
    found = layer(x)
    assert found.shape[2] == math.ceil(x.shape[2] / stride)
    torch.testing.assert_close(found, plain, rtol=1e-5, atol=1e-5)


def test_convolution_gradients_equal_torch(x: Tensor) -> None:
    layer = Conv1d(8, 6, 5, pad=(2, 2))
    plain = nn.Conv1d(8, 6, 5, padding=2)
    plain.load_state_dict(layer.state_dict())
    for module in (layer, plain):
        module(x).square().sum().backward()
    for ours, theirs in zip(layer.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-3)


# TensorFlow: total = max((ceil(L / s) - 1) s + k - L, 0), left = total // 2; worked by hand.
@pytest.mark.parametrize(
    ("length", "kernel_size", "stride", "expected"),
    [
        (200, 19, 1, (9, 9)),
        (200, 24, 1, (11, 12)),
        (98, 6, 6, (2, 2)),
        (101, 6, 6, (0, 1)),
        (96, 6, 6, (0, 0)),
    ],
)
def test_same_padding_is_tensorflows(length: int, kernel_size: int, stride: int, expected: tuple[int, int]) -> None:
    assert same_padding(length, kernel_size, stride=stride) == expected


def test_layers_keep_channels_last() -> None:
    h = channels_last(torch.randn(4, 16, 60))
    chain = nn.Sequential(Conv1d(16, 32, 5, pad=(2, 2)), BatchNorm1d(32), nn.ReLU(), Dropout(0.2), MaxPool1d(4))
    for layer in chain:
        h = layer(h)
        assert h.transpose(1, 2).is_contiguous(), layer


def test_batch_norm_equals_torch_in_training_and_evaluation(x: Tensor) -> None:
    ours, plain = BatchNorm1d(8), nn.BatchNorm1d(8, eps=1e-3, momentum=0.01)
    for _ in range(3):
        torch.testing.assert_close(ours(x), plain(x), rtol=1e-5, atol=1e-5)
    for key, value in plain.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[key], value, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours.eval()(x), plain.eval()(x), rtol=1e-5, atol=1e-5)


def test_batch_norm_replaces_a_hundredth_of_its_statistics_a_step() -> None:
    """Keras: moving mean <- .99 moving mean + .01 batch mean."""
    layer = BatchNorm1d(1)
    layer(torch.full((10, 1, 5), 4.0))
    assert layer.running_mean is not None
    assert layer.running_mean.item() == pytest.approx(0.04)


def test_batch_norm_of_many_values_is_right_to_the_last_bits() -> None:
    # In float32 one after the other, the mean of 40,000 values is off by 1e-5, and so is the gradient.
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(100, 24, 400, generator=generator) * 2 + 3
    toward = torch.randn(100, 24, 400, generator=generator)
    ours, exact = BatchNorm1d(24), nn.BatchNorm1d(24, eps=1e-3, momentum=0.01).double()
    x, wide = channels_last(values).requires_grad_(), values.double().requires_grad_()
    y, z = ours(x), exact(wide)
    (y * toward).sum().backward()
    (z * toward).sum().backward()
    assert x.grad is not None
    assert wide.grad is not None
    assert y.transpose(1, 2).is_contiguous()
    assert x.grad.transpose(1, 2).is_contiguous()
    assert (y - z).abs().max() < 2e-6
    assert (x.grad - wide.grad).abs().max() / wide.grad.abs().max() < 5e-6
    for key in ("running_mean", "running_var"):
        torch.testing.assert_close(ours.state_dict()[key].double(), exact.state_dict()[key], rtol=1e-6, atol=0)


@pytest.mark.parametrize("architecture", ["residualbind", "cnn_deep", "cnn_2"])
def test_gradients_of_a_batch_are_those_of_float64(architecture: str) -> None:
    # The choices of ReLUs and pools hang on the last bits: sums that drop them switch 60 choices and are off by 2 %.
    # One choice of four million that switches by itself is worth 1e-4 (seed 1); rounding alone is 3e-6.
    row = ARCHITECTURES[architecture]
    codes = torch.randint(0, 4, (100, row.length), generator=torch.Generator().manual_seed(0))
    x = F.one_hot(codes, 4).transpose(1, 2).contiguous()
    settings = {"architecture": architecture, "activation": "exponential"}
    found: list[list[Tensor]] = []
    for kind in (torch.float32, torch.float64):
        network = build_model(settings, n_tasks=row.tasks, length=row.length, seed=0).to(kind).train()
        for module in network.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        network(x.to(kind)).square().mean().backward()
        found.append([p.grad.double() for p in network.parameters() if p.grad is not None])
    largest = max(float(g.abs().max()) for g in found[1])
    assert max(float((a - b).abs().max()) for a, b in zip(*found, strict=True)) / largest < 1e-4


def test_batch_norm_takes_vectors() -> None:
    x = torch.randn(6, 3)
    torch.testing.assert_close(BatchNorm1d(3)(x), nn.BatchNorm1d(3, eps=1e-3)(x))


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("window", [2, 5, 50, 53])
def test_max_pool_equals_torch(x: Tensor, window: int, ceil_mode: bool) -> None:
    found = MaxPool1d(window, ceil_mode=ceil_mode)(x)
    torch.testing.assert_close(found, F.max_pool1d(x, window, ceil_mode=ceil_mode), rtol=0, atol=0)


def test_pool_turns_a_flattened_gradient_back_into_channels_last() -> None:
    h = channels_last(torch.randn(4, 16, 60)).requires_grad_()
    seen: list[Tensor] = []
    middle = h * 1.0
    middle.register_hook(seen.append)
    nn.Flatten()(MaxPool1d(20)(middle)).square().sum().backward()
    assert seen[0].transpose(1, 2).is_contiguous()
    torch.testing.assert_close(h.grad, torch.autograd.grad(F.max_pool1d(h, 20).square().sum(), h)[0], rtol=0, atol=0)


def test_the_window_of_leftover_positions_ignores_the_padding() -> None:
    """Padding with zeros would hide a maximum below zero."""
    x = -torch.ones(1, 1, 5)
    assert MaxPool1d(4, ceil_mode=True)(x).tolist() == [[[-1.0, -1.0]]]


def test_average_pool_equals_the_mean(x: Tensor) -> None:
    torch.testing.assert_close(AvgPool1d(53)(x), x.mean(dim=2, keepdim=True), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("shape", [(50, 8, 501), (501, 333)])
def test_dropout_drops_its_rate_and_keeps_the_mean(rate: float, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x = torch.ones(shape)
    y = Dropout(rate)(channels_last(x) if x.dim() == 3 else x)
    error = 4 * math.sqrt(rate * (1 - rate) / x.numel())
    assert (y == 0).double().mean().item() == pytest.approx(rate, abs=error + 1 / 65536)
    assert y.mean().item() == pytest.approx(1.0, abs=error / (1 - rate))
    kept = y[y != 0]
    assert torch.all(kept == kept[0])
    assert kept[0].item() == pytest.approx(1 / (1 - rate), rel=1e-4)


def test_dropout_treats_every_place_of_a_random_word_alike() -> None:
    """Four elements share one 64-bit draw; each must have the rate, and they must be independent."""
    torch.manual_seed(1)
    dropped = (Dropout(0.25)(torch.ones(100_000, 4)) == 0).double().numpy()
    assert dropped.mean(axis=0) == pytest.approx(np.full(4, 0.25), abs=4 * math.sqrt(0.1875 / 100_000))
    correlation = np.corrcoef(dropped.T) - np.eye(4)
    assert np.abs(correlation).max() < 4 / math.sqrt(100_000)


def test_dropout_drops_the_gradient_of_what_it_dropped() -> None:
    torch.manual_seed(0)
    x = torch.ones(4, 6, 50, requires_grad=True)
    y = Dropout(0.3)(x)
    y.sum().backward()
    torch.testing.assert_close(x.grad, y.detach(), rtol=0, atol=0)


def test_dropout_follows_the_global_seed_and_rests_in_evaluation() -> None:
    x = torch.randn(3, 4, 17)
    layer = Dropout(0.5)
    draws = []
    for _ in range(2):
        torch.manual_seed(5)
        draws.append(layer(x))
    torch.testing.assert_close(*draws, rtol=0, atol=0)
    assert layer.eval()(x) is x
    assert Dropout(0.0)(x) is x


def test_dropout_takes_any_strides() -> None:
    torch.manual_seed(0)
    x = torch.ones(40, 30, 20)[:, ::2, 3:]
    assert (Dropout(0.5)(x) == 0).double().mean().item() == pytest.approx(0.5, abs=0.02)


def test_random_bits_are_uniform_and_follow_torchs_generator() -> None:
    torch.manual_seed(5)
    bits = random_bits(1 << 20)
    assert not torch.equal(bits[:1000], random_bits(1000))
    torch.manual_seed(5)
    assert torch.equal(bits[:1003], random_bits(1003))
    counts = torch.bincount((bits.int() + 32768) >> 8, minlength=256).double()  # 4096 each, SD 64
    assert counts.sub(4096).square().sum() / 4096 == pytest.approx(255, abs=5 * 510**0.5)


def test_dropout_in_bfloat16_keeps_the_expected_value() -> None:
    torch.manual_seed(0)
    layer, x = Dropout(0.1), (1 + torch.rand(8, 16, 5000)).to(torch.bfloat16).requires_grad_()
    y = layer(x)
    kept = y != 0
    # Products are rounded one by one; a scale rounded to bfloat16 would be off by .0016.
    ratios = (y.detach()[kept].double() / x.detach()[kept].double()).mean().item()
    assert ratios == pytest.approx(layer.scale, rel=2e-4)
    (gradient,) = torch.autograd.grad(y, x, 1 + torch.rand(y.shape).to(torch.bfloat16))
    assert torch.equal(gradient != 0, kept)


def test_a_residual_block_in_bfloat16_has_its_sum_in_bfloat16() -> None:
    block = Residual(8, 1, batch_norm=True, bias=False).train()
    x = torch.randn(4, 30, 8).transpose(1, 2)
    with torch.autocast("cpu", torch.bfloat16):
        narrow = block(x)
    assert narrow.dtype is torch.bfloat16
    wide = block(x)
    assert wide.dtype is torch.float32
    assert (narrow - wide).norm() < 0.02 * wide.norm()
