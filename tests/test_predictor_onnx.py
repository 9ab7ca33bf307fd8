"""Every network that can be searched leaves as an ONNX graph that computes what torch does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from predictor_models import untrained

from tuner.errors import ModelError, UsageError
from tuner.genome.sequence import one_hot
from tuner.models.activations import ACTIVATIONS
from tuner.models.architectures import ARCHITECTURES
from tuner.predictor import onnx_graph
from tuner.predictor.onnx_graph import BATCHES, EXPORTERS, Outputs, check_graph, make_graph, write_graph

pytestmark = pytest.mark.slow

LENGTH = 120


def run(graph: bytes, codes: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"sequences": one_hot(codes).contiguous().numpy()}), strict=True))


def agrees(settings: dict[str, Any], tasks: tuple[str, ...] = ("bound",)) -> None:
    """Compare on other sequences than those that the export itself tries, with numpy's arithmetic for what follows."""
    predictor = untrained(settings, length=LENGTH, tasks=tasks)
    graph = make_graph(Outputs(predictor), LENGTH)
    onnx.checker.check_model(onnx.load_from_string(graph))
    rng = np.random.default_rng(11)
    for batch in BATCHES:
        codes = rng.integers(0, 5, (batch, LENGTH)).astype(np.uint8)
        each = predictor.logits(codes)
        found = run(graph, codes)
        mean = each.mean(axis=0, dtype=np.float64)
        scale = max(1.0, np.abs(each).max())
        assert np.abs(found["logit"] - mean).max() <= 1e-4 * scale
        assert np.abs(found["sd"] - each.std(axis=0, ddof=1, dtype=np.float64)).max() <= 1e-4 * scale
        # A steep calibration of logits that hardly differ would magnify their rounding, so it is that of the graph's.
        probability = predictor.calibration.probability(found["logit"]).reshape(mean.shape)
        assert np.abs(found["probability"] - probability).max() <= 1e-4 + 1e-6 * max(predictor.calibration.slope)
        assert found["calibrated_logit"].shape == (batch, len(tasks))
    assert np.ptp(predictor.logits(rng.integers(0, 4, (7, LENGTH)).astype(np.uint8))) > 0  # or the comparison is empty


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_becomes_a_graph(name: str) -> None:
    agrees({"architecture": "cnn", "n_blocks": 2, "filters": 12, "activation": name})


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_becomes_a_graph(name: str) -> None:
    agrees({"architecture": name}, ("one", "other") if ARCHITECTURES[name].tasks > 1 else ("bound",))


@pytest.mark.parametrize("name", EXPORTERS)
def test_each_exporter_alone_makes_the_graph(name: str) -> None:
    predictor = untrained({"architecture": "residualbind", "filters": 8}, length=LENGTH)
    outputs = Outputs(predictor)
    graph = EXPORTERS[name](outputs, LENGTH)
    check_graph(graph, outputs, LENGTH)
    (taken,) = onnx.load_from_string(graph).graph.input
    sizes = [one.dim_param or one.dim_value for one in taken.type.tensor_type.shape.dim]
    assert sizes[1:] == [4, LENGTH]
    assert isinstance(sizes[0], str)  # any number of sequences


def test_a_single_network_has_no_standard_deviation() -> None:
    predictor = untrained({"architecture": "hw4"}, length=LENGTH, n=1)
    found = run(make_graph(Outputs(predictor), LENGTH), np.zeros((2, LENGTH), dtype=np.uint8))
    assert set(found) == {"logit", "calibrated_logit", "probability"}


def test_a_graph_that_computes_something_else_is_not_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    predictor = untrained({"architecture": "hw4"}, length=LENGTH)
    wrong = untrained({"architecture": "hw4", "activation": "tanh"}, length=LENGTH)
    graph = EXPORTERS["traced"](Outputs(wrong), LENGTH)
    frozen = EXPORTERS["traced"](Outputs(predictor), LENGTH).replace(b"batch", b"count")
    assert frozen  # the name of the axis is free
    monkeypatch.setattr(onnx_graph, "EXPORTERS", {"traced": lambda *_: graph, "captured": lambda *_: b"no graph"})
    with pytest.raises(ModelError, match=r"traced: output logit is off by .*; captured: "):
        write_graph(predictor, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()
    with pytest.raises(ModelError, match="no ONNX graph"):
        predictor.save(tmp_path / "model", onnx=True)
    assert list(tmp_path.iterdir()) == []


def test_an_exporter_that_fails_leaves_the_work_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> bytes:
        raise TypeError("export() got an unexpected keyword argument 'dynamo'")

    works = EXPORTERS["traced"]
    monkeypatch.setattr(onnx_graph, "EXPORTERS", {"gone": gone, "works": works})
    predictor = untrained({"architecture": "hw4"}, length=LENGTH)
    assert make_graph(Outputs(predictor), LENGTH)


def test_missing_packages_are_named_before_anything_is_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(onnx_graph, "find_spec", lambda name: None if name == "onnxruntime" else object())
    with pytest.raises(UsageError, match=r"ONNX needs onnxruntime, not installed here: pip install 'tuner-tfbs\[ex"):
        untrained({"architecture": "hw4"}, length=LENGTH).save(tmp_path / "model", onnx=True)
    assert list(tmp_path.iterdir()) == []


def test_a_frozen_number_of_sequences_is_noticed() -> None:
    predictor = untrained({"architecture": "hw4"}, length=LENGTH)
    outputs = Outputs(predictor)
    model = onnx.load_from_string(EXPORTERS["traced"](outputs, LENGTH))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    with pytest.raises(Exception, match=r"(?i)invalid dimensions|dimension"):
        check_graph(model.SerializeToString(), outputs, LENGTH)


def test_the_graph_leaves_the_networks_as_they_were() -> None:
    predictor = untrained({"architecture": "cnn"}, length=LENGTH)
    before = {k: v.clone() for k, v in predictor.module.state_dict().items()}
    make_graph(Outputs(predictor), LENGTH)
    assert all(torch.equal(before[k], v) for k, v in predictor.module.state_dict().items())
    assert not predictor.module.training
