"""A finished tiny study and its predictor, made once for each file of tests that asks for them; untrained ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from command_line import prepare_environment, write_tiny_study

if TYPE_CHECKING:
    import tuner
    from tuner.predictor.predictor import Predictor


@pytest.fixture(scope="module")
def used_study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuner.Study]:
    """The tiny study, run to its end from Python."""
    import tuner

    with pytest.MonkeyPatch.context() as patch:
        cache = tmp_path_factory.mktemp("cache")
        prepare_environment(cache, patch)
        folder = tmp_path_factory.mktemp("tiny")
        study = tuner.run(
            write_tiny_study(folder), storage=folder / "runs" / "tuner.db", artifacts=folder / "runs" / "artifacts",
            cache=cache, kernels="off",
        )  # fmt: skip
        yield study
        study.close()


@pytest.fixture(scope="module")
def predictor(used_study: tuner.Study) -> Predictor:
    """Of its primary trial."""
    return used_study.predictor(device="cpu")


@pytest.fixture(scope="module")
def exported(predictor: Predictor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The predictor as a folder, with its graph."""
    return predictor.save(tmp_path_factory.mktemp("models") / "model", onnx=True)


def untrained(settings: dict[str, Any], *, length: int, tasks: tuple[str, ...] = ("bound",), n: int = 2) -> Predictor:
    """A predictor of networks with fresh weights, of which batch norm has seen sequences, as in a trained network."""
    import torch

    from tuner.genome.sequence import one_hot
    from tuner.models.architectures import build_model
    from tuner.models.calibration import fit_calibration
    from tuner.predictor.ensemble import Member, member_logits
    from tuner.predictor.predictor import Predictor
    from tuner.predictor.reference import Reference

    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, (32, length)).astype(np.uint8)
    members = []
    for seed in range(n):
        network = build_model(settings, n_tasks=len(tasks), length=length, seed=seed)
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for parameter in network.parameters():  # fresh biases are 0, and cnn_deep_log's logits then all equal
                parameter.add_(0.05 * torch.randn_like(parameter))
            network.train()(one_hot(codes))
        members.append(Member(f"seed {seed}", network.eval(), dict(settings), seed % 2 == 0))
    labels = rng.integers(0, 2, (len(codes), len(tasks))).astype(np.uint8)
    labels[:2] = [[0], [1]]
    logits = member_logits(members, codes, "cpu").mean(axis=0, dtype=np.float64)
    return Predictor(
        members=tuple(members), tasks=tasks, length=length, calibration=fit_calibration(labels, logits),
        references=tuple(Reference.of(y, z) for y, z in zip(labels.T, logits.T, strict=True)),
    )  # fmt: skip
