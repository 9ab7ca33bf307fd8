"""Training as Keras does it: callbacks, batch norm, penalty and Adam, each written out again from its definition."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import nn

from tuner.models.architectures import ARCHITECTURES, build_model
from tuner.models.layers import BatchNorm1d
from tuner.models.optimizer import KernelAdam, penalty_factors
from tuner.models.recipe import RECIPES, EpochRecord, Progress, Recipe


def keras(values: Sequence[float], recipe: Recipe, *, minimise: bool) -> tuple[list[float], int]:
    """Rate of each epoch, and epochs trained, by ReduceLROnPlateau (cooldown 0, min_delta 1e-4) and EarlyStopping.

    As documented: an epoch is better if it beats the best by more than min_delta (0 for stopping); after `patience`
    epochs in a row that are not, the rate is cut and the count starts again, or training stops.
    """
    best_stop = best_cut = np.inf if minimise else -np.inf
    waited_stop = waited_cut = 0
    rate, rates = recipe.learning_rate, []
    for value in values[: recipe.epochs]:
        rates.append(rate)
        if (value < best_cut - 1e-4) if minimise else (value > best_cut + 1e-4):
            best_cut, waited_cut = value, 0
        else:
            waited_cut += 1
            if waited_cut >= recipe.decay_patience and rate > recipe.minimum_learning_rate:
                rate, waited_cut = max(rate * recipe.decay_factor, recipe.minimum_learning_rate), 0
        if (value < best_stop) if minimise else (value > best_stop):
            best_stop, waited_stop = value, 0
        else:
            waited_stop += 1
            if waited_stop >= recipe.patience:
                break
    return rates, len(rates)


@pytest.mark.parametrize("name", ["koo2021", "deepdife"])
def test_rates_and_the_last_epoch_are_those_of_keras_callbacks(name: str) -> None:
    recipe = RECIPES[name]
    minimise = recipe.monitor == "loss"
    generator = np.random.default_rng(0)
    lengths, cuts = set(), set()
    for _ in range(300):
        # Rising, then noise around a plateau; rounded, so that ties occur.
        curve = 1 - np.exp(-np.arange(120) / generator.uniform(2, 15))
        values = np.round(curve * 0.9 + generator.normal(0, generator.choice([0, 1e-4, 1e-2]), 120), 4)
        values = (1 - values if minimise else values).tolist()
        state, rates = Progress(recipe.learning_rate), []
        for epoch, value in enumerate(values, start=1):
            if state.stopped(recipe, None):
                break
            rates.append(state.learning_rate)
            state.add(EpochRecord(epoch, 0.5, value, value, 0.5, rates[-1], 1.0), recipe)
        expected, epochs = keras(values, recipe, minimise=minimise)
        assert rates == pytest.approx(expected, rel=1e-12)
        assert len(rates) == epochs
        lengths.add(epochs)
        cuts.add(len(set(expected)))
    assert len(lengths) > 20, "the curves must end at many epochs"
    assert max(cuts) >= 3, "and some rates must be cut twice"


def test_batch_norm_is_that_of_keras_but_for_one_sequence_in_the_running_variance() -> None:
    layer = BatchNorm1d(3).train()
    rng = np.random.default_rng(1)
    gamma, beta = rng.normal(size=3), rng.normal(size=3)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(gamma))
        layer.bias.copy_(torch.from_numpy(beta))
    mean, variance = np.zeros(3), np.ones(3)  # Keras' initial moving statistics
    for _ in range(20):
        x = rng.normal(2, 3, size=(100, 3))
        y = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-3) * gamma + beta
        np.testing.assert_allclose(layer(torch.from_numpy(x).float()).detach().numpy(), y, atol=1e-5)
        mean, variance = 0.99 * mean + 0.01 * x.mean(axis=0), 0.99 * variance + 0.01 * x.var(axis=0)
    assert layer.running_mean.numpy() == pytest.approx(mean, abs=1e-6)
    # torch divides by n - 1 there: at most 1 % more for a dense layer and 100 sequences.
    assert layer.running_var.numpy() == pytest.approx(variance, rel=0.0101)
    x = rng.normal(size=(5, 3))
    expected = (x - mean) / np.sqrt(variance + 1e-3) * gamma + beta
    np.testing.assert_allclose(layer.eval()(torch.from_numpy(x).float()).detach().numpy(), expected, atol=0.02)


@pytest.mark.parametrize("name", ["residualbind", "cnn_deep", "cnn_2", "cnn_local", "basset"])
def test_the_penalty_is_on_kernels_but_that_of_the_output_layer(name: str) -> None:
    row = ARCHITECTURES[name]
    network = build_model({"architecture": name}, n_tasks=row.tasks, length=row.length, seed=0)
    kernels = {
        f"{path}.weight"
        for path, module in network.named_modules()
        if isinstance(module, nn.Conv1d | nn.Linear) and module is not network.output
    }
    assert penalty_factors(network) == dict.fromkeys(kernels, 1.0)
    (RECIPES["koo2021"].l2 * network.l2_penalty()).backward()
    for path, weight in network.named_parameters():
        if path in kernels:
            # Keras' l2(1e-6) adds 1e-6 sum(w^2) to the loss.
            np.testing.assert_allclose(weight.grad.numpy(), 2e-6 * weight.detach().numpy(), rtol=1e-5)
        else:
            assert weight.grad is None or not weight.grad.any()


class Line(nn.Module):
    """One penalised kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[0.7, -1.3, 0.02]]))

    def l2_penalty(self) -> torch.Tensor:
        """Sum of squares."""
        return self.weight.square().sum()


def test_steps_of_adam_are_those_of_keras() -> None:
    model, l2, rate = Line(), 0.01, 1e-3  # a strong penalty, so that leaving it out would show
    optimizer = KernelAdam(model, l2=l2, weight_decay=0.0, epsilon=RECIPES["koo2021"].adam_epsilon)
    optimizer.learning_rate = rate
    rng = np.random.default_rng(2)
    w = model.weight.detach().numpy().astype(np.float64)
    start, m, v = w.copy(), np.zeros_like(w), np.zeros_like(w)
    for t in range(1, 51):
        slope = rng.normal(0, 0.05, size=w.shape)
        model.weight.grad = torch.from_numpy(slope).float()
        optimizer.step()
        gradient = slope + 2 * l2 * w
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        # Kingma & Ba's efficient form, which Keras computes; its epsilon is not corrected for bias.
        w = w - rate * np.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (np.sqrt(v) + 1e-7)
    np.testing.assert_allclose(model.weight.detach().numpy(), w, atol=2e-6)
    assert np.abs(w - start).max() > 0.005, "the test must move the weights"
