"""Scanning equals the slow way to say it; ablation equals a network whose filter is really gone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tuner.data.hdf5 import koo_hdf5
from tuner.errors import ModelError
from tuner.genome.sequence import one_hot
from tuner.models.architectures import Network, build_model
from tuner.models.first_layer import ablation_effects, scan_filters

LENGTH = 60


def random_codes(n: int, length: int = LENGTH, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 5, size=(n, length)).astype(np.uint8)


def network(length: int = LENGTH, **hyperparameters: bool | int | float | str) -> Network:
    settings = {"architecture": "residualbind", "filters": 6, **hyperparameters}
    return build_model(settings, n_tasks=1, length=length, seed=3)


def trained(data_dir: Path, activation: str) -> tuple[Network, np.ndarray]:
    """A ResidualBind after 20 steps on ZBED2, and 40 sequences."""
    split = koo_hdf5(data_dir / "koo" / "ZBED2_400_h3k27ac.h5").train
    model = network(400, activation=activation)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    torch.manual_seed(0)
    for start in range(0, 1000, 50):
        rows = slice(start, start + 50)
        labels = torch.from_numpy(split.labels[rows].astype(np.float32))
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(one_hot(split.codes[rows])), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model, split.codes[:40]


def slow_scan(model: Network, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """One window at a time: (activation, preactivation, position, floor)."""
    model.eval()
    k = int(model.first_convolution.kernel_size[0])
    weight = model.first_convolution.weight.detach().double()
    n, length = codes.shape
    x = one_hot(codes).double()
    shape = (n, weight.shape[0])
    activation, preactivation, position = (
        np.full(shape, -np.inf),
        np.full(shape, -np.inf),
        np.zeros(shape, int),
    )
    floor = np.full(shape[1], np.inf)
    norm = model.first_batch_norm
    assert norm is not None
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.detach().double() / torch.sqrt(norm.running_var.double() + 1e-3)
    for start in range(1, length - k + 1):  # window of k + 1 begins at start - 1
        assert start - 1 >= 0
        assert start - 1 + k + 1 <= length
        raw = torch.einsum("ncw,fcw->nf", x[:, :, start : start + k], weight)
        before = (raw - norm.running_mean.double()) * scale + norm.bias.detach().double()
        after = model.first_activation(before).numpy()
        floor = np.minimum(floor, after.min(axis=0))
        better = (after > activation) | ((after == activation) & (before.numpy() > preactivation))
        activation = np.where(better, after, activation)
        preactivation = np.where(better, before.numpy(), preactivation)
        position = np.where(better, start + model.offset, position)
    return activation, preactivation, position, floor


def assert_same(model: Network, codes: np.ndarray) -> None:
    found = scan_filters(model, codes, batch=17)
    activation, preactivation, position, floor = slow_scan(model, codes)
    np.testing.assert_allclose(found.activation, activation, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.floor, floor, rtol=1e-4, atol=1e-5)
    # Rounding to float32 may prefer another of two equally good positions.
    assert (found.position == position).mean() > 0.99
    np.testing.assert_allclose(found.preactivation, preactivation, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("activation", ["relu", "exponential", "linear", "shift_scale_relu", "log", "log_relu"])
@pytest.mark.parametrize("kernel_size", [8, 19])
def test_scan_of_an_untrained_network_equals_the_loop(activation: str, kernel_size: int) -> None:
    assert_same(network(activation=activation, kernel_size=kernel_size), random_codes(40))


@pytest.mark.parametrize("activation", ["relu", "exponential"])
def test_scan_of_a_trained_network_equals_the_loop(data_dir: Path, activation: str) -> None:
    assert_same(*trained(data_dir, activation))


def test_scan_without_padding_has_offset_zero() -> None:
    model = build_model({"architecture": "hw4", "batch_norm_first": True}, n_tasks=1, length=LENGTH, seed=0)
    assert model.offset == 0
    assert_same(model, random_codes(20))


@pytest.mark.parametrize("kernel_size", [5, 6, 19, 20])
@pytest.mark.parametrize("architecture", ["residualbind", "hw4"])
def test_the_best_position_is_where_the_motif_was_planted(architecture: str, kernel_size: int) -> None:
    """position - offset is the first base the filter reads, for odd and even kernels, padded or not."""
    rng = np.random.default_rng(kernel_size)
    motif = rng.integers(0, 4, size=kernel_size).astype(np.uint8)
    model = build_model(
        {"architecture": architecture, "kernel_size": kernel_size, "filters": 2},
        n_tasks=1,
        length=LENGTH,
        seed=0,
    )
    with torch.no_grad():
        model.first_convolution.weight.copy_(one_hot(motif[None]).expand(2, -1, -1))
    codes = np.full((LENGTH - kernel_size + 1, LENGTH), 4, np.uint8)  # N everywhere else
    starts = np.arange(len(codes))
    for row, start in enumerate(starts):
        codes[row, start : start + kernel_size] = motif
    scan = scan_filters(model, codes)
    # At the first start the window of kernel_size + 1 would begin before the sequence.
    np.testing.assert_array_equal(scan.position[1:, 0] - model.offset, starts[1:])
    np.testing.assert_array_equal(scan.position[:, 0], scan.position[:, 1])
    assert scan.activation[0, 0] < scan.activation[1:, 0].min()


def test_equal_activations_are_ranked_by_preactivation() -> None:
    """With all its input below zero a ReLU filter is 0 everywhere and still has a best position."""
    model = network(activation="relu")
    assert model.first_batch_norm is not None
    with torch.no_grad():
        model.first_batch_norm.bias.fill_(-100.0)
    codes = random_codes(30)
    scan = scan_filters(model, codes)
    assert not scan.activation.any()
    assert not scan.floor.any()
    with torch.no_grad():
        model.first_batch_norm.bias.fill_(0.0)
    linear = scan_filters(network(activation="linear"), codes)
    np.testing.assert_array_equal(scan.position, linear.position)


def test_a_monotone_activation_does_not_move_the_best_position() -> None:
    codes = random_codes(50)
    first, second = (scan_filters(network(activation=a), codes) for a in ("relu", "exponential"))
    np.testing.assert_array_equal(first.position, second.position)
    np.testing.assert_array_equal(first.preactivation, second.preactivation)


def test_scan_does_not_depend_on_the_batch_or_the_mode() -> None:
    model, codes = network().train(), random_codes(30)
    statistics = {k: v.clone() for k, v in model.state_dict().items()}
    whole = scan_filters(model, codes, batch=30)
    with torch.autocast("cpu", torch.bfloat16):
        parts = scan_filters(model, codes, batch=7)
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    assert model.training
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, statistics[key], rtol=0, atol=0)


def test_ablation_equals_a_network_with_a_constant_filter() -> None:
    """Zero weights and the right batch-norm bias make a filter constant at any value: here its mean."""
    model, codes = network(activation="linear").eval(), random_codes(25)
    effects = ablation_effects(model, codes, batch=10)
    x = one_hot(codes)
    with torch.no_grad():
        means = model.head(x).mean(dim=(0, 2))
        logits = model(x)
    for index in range(6):
        changed = network(activation="linear").eval()
        assert changed.first_batch_norm is not None
        with torch.no_grad():
            changed.first_convolution.weight[index] = 0
            changed.first_batch_norm.bias[index] = means[index]
            expected = (changed(x) - logits).abs().mean().item()
        assert effects[index] == pytest.approx(expected, rel=1e-3, abs=1e-6)
        assert effects[index] > 0


def test_a_filter_nothing_reads_has_no_effect() -> None:
    model = build_model({"architecture": "cnn", "filters": 4, "residual_blocks": 0}, n_tasks=2, length=LENGTH, seed=0)
    deeper = next(m for m in model.body if isinstance(m, torch.nn.Conv1d))
    with torch.no_grad():
        deeper.weight[:, 2] = 0
    effects = ablation_effects(model, random_codes(20))
    assert effects[2] == pytest.approx(0, abs=1e-6)
    assert (np.delete(effects, 2) > 1e-4).all()


def test_sequences_of_another_length_are_refused() -> None:
    with pytest.raises(ModelError, match=r"shape \(3, 50\) do not fit a network for 60 bp; expected \(n, 60\)"):
        scan_filters(network(), random_codes(3, length=50))
    with pytest.raises(ModelError, match="do not fit a network"):
        ablation_effects(network(), random_codes(3, length=50))


def test_a_filter_as_long_as_the_sequence_has_no_window() -> None:
    model = network(length=20, kernel_size=20)
    with pytest.raises(ModelError, match=r"no room for a window of kernel_size \+ 1 = 21"):
        scan_filters(model, random_codes(3, length=20))


def test_an_empty_set_of_sequences_is_refused() -> None:
    with pytest.raises(ModelError, match="no sequences to scan"):
        scan_filters(network(), random_codes(0))
    with pytest.raises(ModelError, match="no sequences to measure"):
        ablation_effects(network(), random_codes(0))
