"""An activation and a hyperparameter are one row each: nothing else has to know of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_models_compiled import needs_compiler
from test_models_docs import rows
from torch import Tensor, nn
from training_task import RECIPE, TRAIN, VALID

from tuner.cli.list_ import KINDS
from tuner.errors import ModelError, SearchSpaceError
from tuner.genome.sequence import one_hot
from tuner.interpret.attribution import attribute
from tuner.models import compiled
from tuner.models.activations import ACTIVATIONS, Activation
from tuner.models.architectures import ARCHITECTURES, build_model, complete
from tuner.models.hyperparameters import HYPERPARAMETERS, of_network
from tuner.models.prediction import predict
from tuner.models.training import fit
from tuner.study.parameters import check_names
from tuner.study.space import Parameter, SearchSpace

LENGTH = TRAIN.codes.shape[1]


class Squareplus(nn.Module):
    """(x + sqrt(x^2 + 1)) / 2."""

    def forward(self, x: Tensor) -> Tensor:
        return (x + torch.sqrt(x * x + 1)) / 2


def _start_at(network: Any, value: float, _: torch.Generator) -> None:
    nn.init.constant_(network.output.bias, value)


@pytest.fixture(autouse=True)
def more_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    activation = Activation(Squareplus, "rescale", "(x + sqrt(x^2 + 1)) / 2")
    monkeypatch.setitem(ACTIVATIONS, "squareplus", activation)  # type: ignore[arg-type]
    row = of_network("output_bias", float, "initial bias of the output", -10, 10, default=0.0, tune=_start_at)
    monkeypatch.setitem(HYPERPARAMETERS, "output_bias", row)  # type: ignore[arg-type]


def build(**settings: object) -> Any:
    point: dict[str, Any] = {"architecture": "cnn", "filters": 8, **settings}
    return build_model(point, n_tasks=1, length=LENGTH, seed=0)


def test_a_network_with_the_new_activation_learns_and_its_contributions_add_up() -> None:
    network = build(activation="squareplus")
    trained = fit(network, TRAIN, VALID, replace(RECIPE, epochs=6), seed=0)
    assert trained.chosen.auroc > 0.8
    found = attribute("deep_shap", network, VALID.codes[:8], references=5)
    codes = np.concatenate([VALID.codes[:8, None], found.references], axis=1)  # (8, 6, length)
    with torch.no_grad():
        logits = network(one_hot(codes.reshape(-1, LENGTH)).float()).numpy().reshape(8, 6)
    expected = logits[:, 0] - logits[:, 1:].mean(axis=1)
    np.testing.assert_allclose(found.contributions.sum(axis=(1, 2)), expected, atol=1e-4 * np.abs(expected).max())


@needs_compiler
@pytest.mark.slow
def test_kernels_and_plain_torch_agree_on_the_new_activation(tmp_path: Path) -> None:
    network = build(activation="squareplus").eval()
    assert not compiled.enabled()
    plain = predict(network, VALID.codes)
    try:
        assert compiled.enable(tmp_path) == ""
        np.testing.assert_allclose(predict(network, VALID.codes), plain, atol=1e-5)
    finally:
        compiled.disable()


def test_the_new_activation_is_listed_and_missing_from_the_page() -> None:
    assert "squareplus" in {row["name"] for row in KINDS["activations"]()}
    assert set(ACTIVATIONS) - set(rows("Activations of the first layer")) == {"squareplus"}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_has_the_new_hyperparameter_and_its_default_changes_nothing(architecture: str) -> None:
    assert complete({"architecture": architecture})["output_bias"] == 0.0
    row = ARCHITECTURES[architecture]

    def weights(**settings: Any) -> dict[str, Tensor]:
        point = {"architecture": architecture, **settings}
        return build_model(point, n_tasks=row.tasks, length=row.length, seed=3).state_dict()

    left, default, set_ = weights(), weights(output_bias=0.0), weights(output_bias=-2)
    assert all(torch.equal(left[name], default[name]) for name in left)
    assert {name for name in left if not torch.equal(left[name], set_[name])} == {"output.bias"}
    assert torch.equal(set_["output.bias"], torch.full_like(set_["output.bias"], -2.0))


def test_a_space_may_search_the_new_hyperparameter_within_its_range() -> None:
    def check(high: float) -> None:
        fixed = {"architecture": Parameter(choices=["cnn"])}
        check_names(SearchSpace("s", {**fixed, "output_bias": Parameter(low=-1.0, high=high)}, ()), {}, "s.toml")

    check(1.0)
    with pytest.raises(SearchSpaceError, match=r"'output_bias' is 11\.0; must be a number from -10 to 10"):
        check(11.0)
    with pytest.raises(ModelError, match=r"'output_bias' is True; must be a number from -10 to 10"):
        complete({"architecture": "cnn", "output_bias": True})


def test_the_new_hyperparameter_is_listed_and_missing_from_the_page() -> None:
    assert "output_bias" in {row["name"] for row in KINDS["hyperparameters"]()}
    assert set(HYPERPARAMETERS) - set(rows("Hyperparameters")) == {"output_bias"}
