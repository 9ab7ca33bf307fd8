"""A report compares patterns with all stored null networks, and says how many there were."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tiny import load_tiny

from tuner.data.shuffle import dinucleotide_shuffle
from tuner.errors import AttributionError
from tuner.interpret.modisco import Pattern, Patterns
from tuner.models.architectures import build_model
from tuner.report import repeated
from tuner.report.assemble import _patterns
from tuner.report.cache import Result
from tuner.results.trial_files import network_files
from tuner.study.parameters import split_point

pytestmark = pytest.mark.slow

POINT = {"architecture": "cnn", "n_blocks": 1, "activation": "relu", "filters": 8, "kernel_size": 8,
         "learning_rate": 5e-3, "batch_size": 50}  # fmt: skip
SIZES = (31, 57, 44)  # largest pattern of each null network


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    bench = load_tiny(tmp_path_factory.mktemp("tiny"))
    return SimpleNamespace(bench=bench, task=0, options=SimpleNamespace(modisco="fast"))


@pytest.fixture
def null(source: SimpleNamespace) -> Result:
    """Three untrained networks, stored as the stage stores them."""
    hyperparameters, _ = split_point(POINT)
    data = source.bench.dataset
    arrays = {}
    for index in range(3):
        network = build_model(hyperparameters, n_tasks=data.n_tasks, length=data.length, seed=index)
        for name, content in network_files(network, hyperparameters, data, average_strands=False).items():
            arrays[repeated._of(index, name)] = np.frombuffer(content, np.uint8)
    return Result({"words": "label-shuffled networks 5, 6, 7 of the study's controls"}, arrays)


@pytest.fixture
def given(source: SimpleNamespace) -> Result:
    codes = source.bench.dataset.train.codes[:20]
    references = np.stack([dinucleotide_shuffle(codes, seed=s) for s in range(2)], axis=1)
    return Result({"refused": ""}, {"codes": codes, "references": references})


def pattern(name: str, seqlets: int) -> Pattern:
    flat = np.full((4, 12), 0.25)
    zero = np.zeros((4, 12), np.float32)
    return Pattern(name, name.startswith("pos"), seqlets, zero, zero, flat, 0.0)


@pytest.fixture(autouse=True)
def _modisco(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = iter(SIZES)

    def find(codes: np.ndarray, hypothetical: np.ndarray, *, folder: Path, preset: str) -> Patterns:
        size = next(sizes)
        return Patterns((pattern("pos.0", 21), pattern("neg.0", size)), None, f"2 patterns, the largest {size}.")

    monkeypatch.setattr(repeated, "find_patterns", find)


def test_every_stored_network_is_a_null(source, null, given, tmp_path: Path) -> None:
    found = repeated.null_patterns(source, 0, {"contributions": given, "null_model": null}, tmp_path)
    assert found.values["made"]
    assert found.values["networks"] == 3
    assert [(p["network"], p["seqlets"]) for p in found.values["patterns"]] == [
        (0, 21), (0, 31), (1, 21), (1, 57), (2, 21), (2, 44),
    ]  # fmt: skip
    assert len(found.arrays) == 12  # none has overwritten another's


def test_a_pattern_must_exceed_all_of_them(source, null, given, tmp_path: Path) -> None:
    nulls = repeated.null_patterns(source, 0, {"contributions": given, "null_model": null}, tmp_path)
    flat = np.full((4, 12), 0.25)
    for seqlets, above in ((58, True), (57, False)):
        row = {"name": "pos.0", "positive": True, "seqlets": seqlets, "contribution": 1.0, "match": None,
               "significant": False}  # fmt: skip
        real = Result({"patterns": [row], "words": "1 pattern."}, {"cwm.pos.0": flat, "ppm.pos.0": flat})
        parts = _patterns(source, {"patterns": real, "null_patterns": nulls})
        assert parts["patterns"][0].above_null is above
        assert (parts["null"].networks, parts["null"].chance) == (3, 1 / 4)
    # A result that an earlier version stored counts one network.
    del nulls.values["networks"]
    assert _patterns(source, {"patterns": real, "null_patterns": nulls})["null"].networks == 1


def test_a_null_whose_contributions_do_not_add_up_is_left_out(
    source, null, given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = iter((None, AttributionError("they miss 4 %"), None))

    def check(*_: object, **__: object) -> None:
        if (error := next(checks)) is not None:
            raise error

    monkeypatch.setattr(repeated, "check_completeness", check)
    found = repeated.null_patterns(source, 0, {"contributions": given, "null_model": null}, tmp_path)
    assert found.values["networks"] == 2
    assert "No null: they miss 4 %" in found.values["words"]
    assert {p["network"] for p in found.values["patterns"]} == {0, 2}
