"""The fast forward pass and the logits of mutants, beside the networks' own forward pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from predictor_models import untrained

from tuner.models.activations import ACTIVATIONS
from tuner.models.architectures import ARCHITECTURES
from tuner.models.inference import fast_logits, forward_of
from tuner.models.prediction import predict
from tuner.predictor.ensemble import Member, member_logits

TASKS = ("first", "second")
CPU = torch.device("cpu")


def codes_of(n: int, length: int) -> Any:
    codes = np.random.default_rng(1).integers(0, 4, (n, length)).astype(np.uint8)
    codes[1, length // 3 : length // 3 + 9] = 4
    codes[2:3] = 4
    return codes


def plain(members: tuple[Member, ...], codes: Any, device: str = "cpu") -> Any:
    return np.stack([predict(m.network, codes, average_strands=m.average_strands, device=device) for m in members])


def assert_equal(found: Any, expected: Any) -> None:
    assert found.shape == expected.shape
    assert np.isfinite(expected).all()
    assert np.abs(found - expected).max() <= 1e-5 * max(np.abs(expected).max(), 1)


SETTINGS: list[dict[str, Any]] = [
    *({"architecture": name} for name in ARCHITECTURES),
    *({"architecture": "residualbind", "activation": name} for name in ACTIVATIONS),
    *({"architecture": "cnn", "global_pool": pool} for pool in ("flatten", "max", "average", "max_average")),
]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: " ".join(map(str, s.values())))
def test_every_network_has_the_logits_of_its_own_forward_pass(settings: dict[str, Any]) -> None:
    for length in (120, 157):
        predictor = untrained(settings, length=length, tasks=TASKS)  # one network of both strands, one of one strand
        codes = codes_of(70, length)
        assert all(forward_of(m.network, CPU) is not None for m in predictor.members)
        assert_equal(member_logits(predictor.members, codes, "cpu"), plain(predictor.members, codes))


def test_factors_of_batch_norm_may_be_negative_or_zero() -> None:
    predictor = untrained({"architecture": "residualbind"}, length=120)
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for member in predictor.members:
            for module in member.network.modules():
                if isinstance(module, torch.nn.BatchNorm1d):
                    module.weight.copy_(torch.randn(module.weight.shape, generator=rng))
                    module.weight[0] = 0
    codes = codes_of(40, 120)
    assert_equal(member_logits(predictor.members, codes, "cpu"), plain(predictor.members, codes))


def test_a_changed_weight_changes_the_prediction() -> None:
    predictor = untrained({"architecture": "hw4"}, length=101)
    codes = codes_of(8, 101)
    before = predictor.logits(codes)
    with torch.no_grad():
        predictor.members[0].network.output.bias += 1
    assert np.allclose(predictor.logits(codes)[0], before[0] + 1, atol=1e-6)


def test_a_network_with_a_hook_runs_as_it_is() -> None:
    member = untrained({"architecture": "hw4"}, length=101).members[0]
    calls: list[int] = []
    member.network.output.register_forward_hook(lambda *_: calls.append(1))
    codes = codes_of(8, 101)
    assert_equal(fast_logits([member.network], [True], codes, CPU), plain((member,), codes))
    assert calls


def test_no_sequence_has_no_logit() -> None:
    predictor = untrained({"architecture": "hw4"}, length=101, tasks=TASKS)
    assert predictor.logits(codes_of(3, 101)[:0]).shape == (2, 0, 2)


@pytest.mark.parametrize("settings", SETTINGS[::3], ids=lambda s: " ".join(map(str, s.values())))
def test_mutants_have_the_logits_of_their_sequences(settings: dict[str, Any]) -> None:
    predictor = untrained(settings, length=60, tasks=TASKS)
    codes = codes_of(2, 60)
    found = predictor.ism(codes)  # (n, tasks, 4, length)
    row, base, position = (part.ravel() for part in np.indices((len(codes), 4, 60)))
    mutants = codes[row]
    known = mutants[np.arange(len(mutants)), position] < 4  # nothing is mutated at N
    mutants[np.arange(len(mutants)), position] = base
    change = plain(predictor.members, mutants).mean(axis=0) - plain(predictor.members, codes).mean(axis=0)[row]
    expected = np.where(known[:, None], change, 0).reshape(len(codes), 4, 60, len(TASKS)).transpose(0, 3, 1, 2)
    assert_equal(found, expected)


@pytest.mark.gpu
def test_a_gpu_has_the_logits_of_a_cpu() -> None:
    predictor = untrained({"architecture": "residualbind"}, length=120)
    codes = codes_of(70, 120)
    assert_equal(predictor.logits(codes, device="cuda"), plain(predictor.members, codes))
    assert_equal(predictor.ism(codes[:2], device="cuda"), predictor.ism(codes[:2]))
