"""A step repeated from a recording, here of torch's operations on a CPU: as strict as a CUDA graph, and slower."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from training_task import RECIPE, TRAIN, VALID, Net, run, same_weights, scores

from tuner.models import layers, recording, training
from tuner.models.activations import ACTIVATIONS
from tuner.models.architectures import ARCHITECTURES, build_model
from tuner.models.batches import EpochOrder, batch_bounds
from tuner.models.layers import MaxPool1d
from tuner.models.optimizer import KernelAdam
from tuner.models.step import Step
from tuner.models.training import fit

# Exact in float32, in which a recorded step has its rates.
EXACT = replace(RECIPE, learning_rate=2.0**-7, weight_decay=2.0**-6, l2=2.0**-10, decay_factor=0.5, decay_patience=1)
WAITS = ("_local_scalar_dense", "nonzero", "equal", "is_nonzero", "lift_fresh")  # the last is a number from the host


class Tape(TorchDispatchMode):
    """The operations of a call, repeated on the memory they had, with the numbers the host had.

    As a CUDA graph it does nothing while it records, as far as anyone can see, and refuses what waits for a result.
    """

    made: list[Tape]

    def __init__(self, call: Callable[[], Tensor]) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, list[Any]]] = []
        self.storages: set[int] = set()  # of tensors that the call made
        self.overwritten: list[tuple[Tensor, Tensor]] = []
        self.replays = 0
        drawn = torch.get_rng_state()
        try:
            with self:
                self.result = call()
        finally:
            torch.set_rng_state(drawn)
            with torch.no_grad():
                for tensor, value in reversed(self.overwritten):
                    tensor.copy_(value)
        self.made.append(self)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        masks = func.overloadpacket.__name__.startswith("index") and any(t.dtype == torch.bool for t in given)
        if func.overloadpacket.__name__ in WAITS or masks:
            raise RuntimeError(f"{func} waits for the device")
        for argument, value in zip(func._schema.arguments, args, strict=False):
            unsaid = argument.name.startswith("running_")  # batch norm's schema does not say that it writes them
            if unsaid or (argument.alias_info is not None and argument.alias_info.is_write):
                for tensor in [] if value is None else tree_leaves(value):
                    if tensor.untyped_storage().data_ptr() not in self.storages:
                        self.overwritten.append((tensor, tensor.clone()))
        found = func(*args, **(kwargs or {}))
        out = tree_leaves(found)
        places = {t.untyped_storage().data_ptr() for t in given}
        self.storages |= {
            t.untyped_storage().data_ptr() for t in out if isinstance(t, Tensor)
        } - (places - self.storages)  # fmt: skip
        self.operations.append((func, args, kwargs or {}, out))
        return found

    def replay(self) -> Tensor:
        self.replays += 1
        with torch.no_grad():
            for func, args, kwargs, out in self.operations:
                for place, value in zip(out, tree_leaves(func(*args, **kwargs)), strict=True):
                    if isinstance(place, Tensor) and place.data_ptr() != value.data_ptr():
                        place.copy_(value)
        return self.result


def torch_bits(size: int) -> Tensor:
    """As `layers.random_bits`, by an operation that a tape can repeat."""
    return torch.empty((size + 3) // 4, dtype=torch.int64).random_(-(2**63), None).view(torch.int16)[:size]


@pytest.fixture(autouse=True)
def _dropout_by_torch() -> Iterator[None]:
    """On a GPU dropout is torch's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layers, "random_bits", torch_bits)
        yield


@pytest.fixture
def tapes(monkeypatch: pytest.MonkeyPatch) -> list[Tape]:
    """The recordings of a training, which are made while this is in use."""
    made: list[Tape] = []
    monkeypatch.setattr(Tape, "made", made, raising=False)
    monkeypatch.setattr(training, "recorder_for", lambda device: Tape)
    return made


def test_replayed_steps_train_as_steps_do_bit_for_bit(tapes: list[Tape], monkeypatch: pytest.MonkeyPatch) -> None:
    net, trained = run(EXACT)
    steps = len(batch_bounds(len(TRAIN), EXACT.batch_size))
    assert len(TRAIN) % EXACT.batch_size  # the last batch of an epoch is smaller
    assert [tape.replays for tape in tapes] == [EXACT.epochs * (steps - 2)]
    monkeypatch.undo()
    plain, expected = run(EXACT)
    assert len({record.learning_rate for record in expected.history}) > 2, "the test needs rates that change"
    assert same_weights(net, plain)
    assert scores(trained) == scores(expected)
    assert trained.notes == ()


def test_bfloat16_steps_replay_too(tapes: list[Tape], monkeypatch: pytest.MonkeyPatch) -> None:
    net, _ = run(replace(EXACT, precision="bfloat16"))
    assert tapes[0].replays > 10
    monkeypatch.undo()
    assert same_weights(net, run(replace(EXACT, precision="bfloat16"))[0])


def test_a_run_that_goes_on_from_a_checkpoint_ends_with_the_same_weights(tapes: list[Tape], tmp_path: Path) -> None:
    undisturbed, _ = run(EXACT)

    class Killed(Exception):
        pass

    def kill(record: Any) -> None:
        if record.epoch == 3:
            raise Killed

    with pytest.raises(Killed):
        run(EXACT, checkpoint=tmp_path / "c", on_epoch=kill)
    net, trained = run(EXACT, checkpoint=tmp_path / "c")
    assert trained.resumed_from == 3
    assert len(tapes) == 3
    assert same_weights(net, undisturbed)


def trained_by(model: nn.Module, length: int, tasks: int, recorder: recording.Recorder | None) -> tuple[Step, Tensor]:
    """Take five steps of four sequences."""
    generator = np.random.default_rng(0)
    codes = torch.from_numpy(generator.integers(0, 5, (20, length), dtype=np.uint8))
    targets = torch.from_numpy(generator.integers(0, 2, (20, tasks))).float()
    optimizer = KernelAdam(model, l2=2.0**-10, weight_decay=0.0, epsilon=1e-7, recordable=True)
    optimizer.learning_rate = 2.0**-7
    step = Step(model.train(), codes, targets, optimizer, autocast=torch.float32, recorder=recorder)
    order = EpochOrder.draw(20, RECIPE, 1, torch.device("cpu"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        losses = [step(order.part(i, i + 4), opens_epoch=i == 0) for i in range(0, 20, 4)]
    return step, torch.stack(losses)


CASES = [
    *({"architecture": name} for name in ARCHITECTURES),
    *({"architecture": "cnn", "activation": name} for name in ACTIVATIONS),
]


@pytest.mark.parametrize("settings", CASES, ids=lambda settings: "-".join(settings.values()))
def test_every_network_takes_steps_that_can_be_replayed(tapes: list[Tape], settings: dict[str, Any]) -> None:
    row = ARCHITECTURES[settings["architecture"]]
    length, tasks = row.length, row.tasks
    networks = [build_model(settings, n_tasks=tasks, length=length, seed=0) for _ in range(2)]
    step, losses = trained_by(networks[0], length, tasks, Tape)
    assert step.note == ""
    assert [tape.replays for tape in tapes] == [4]
    assert torch.equal(losses, trained_by(networks[1], length, tasks, None)[1])
    assert same_weights(*networks)


class Waiting(Net):
    """Looks at its input."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * (1.0 if x.sum().item() > 0 else 0.0))


class Counting(Net):
    """Changes with each call, by a number that no tensor holds."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.calls += 1
        return super().forward(x) * (1.0 + 0.2 * self.calls)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Waiting, "training steps are not recorded: aten._local_scalar_dense.default waits for the device"),
        (Counting, "training steps are not recorded: replaying a step gives other weights than running it"),
    ],
)
def test_a_network_that_cannot_be_replayed_is_trained_step_by_step_and_it_is_said(
    tapes: list[Tape], monkeypatch: pytest.MonkeyPatch, kind: type[Net], reason: str
) -> None:
    net = kind()
    trained = fit(net, TRAIN, VALID, EXACT, seed=3)
    assert trained.notes == (reason,)
    assert sum(tape.replays for tape in tapes) <= 1
    monkeypatch.undo()
    if kind is Waiting:  # the other one has counted its recording too
        plain = kind()
        expected = fit(plain, TRAIN, VALID, EXACT, seed=3)
        assert same_weights(net, plain)
        assert scores(trained) == scores(expected)


def test_running_out_of_memory_while_recording_passes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    def recorder(call: Callable[[], Tensor]) -> recording.Recording:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(training, "recorder_for", lambda device: recorder)
    with pytest.raises(torch.OutOfMemoryError):
        run(EXACT)


def test_noise_has_a_stream_of_its_own_and_is_not_replayed(tapes: list[Tape], monkeypatch: pytest.MonkeyPatch) -> None:
    net, _ = run(replace(EXACT, input_noise=0.1))
    assert tapes == []
    monkeypatch.undo()
    assert same_weights(net, run(replace(EXACT, input_noise=0.1))[0])


@pytest.mark.parametrize("finetune", [0, 3])
def test_altered_weighted_and_balanced_batches_are_replayed(
    finetune: int, tapes: list[Tape], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(EXACT, augment_max=2, augment_inversion=5, finetune_epochs=finetune, finetune_rate=2.0**-9)
    recipe = replace(recipe, augment_reverse_complement=0.5, positive_weight=2.0, balanced_batches=True)
    net, trained = run(recipe)
    assert trained.notes == ()
    assert [tape.replays for tape in tapes] == [EXACT.epochs * (len(batch_bounds(len(TRAIN), EXACT.batch_size)) - 2)]
    monkeypatch.undo()
    plain, expected = run(recipe)
    assert same_weights(net, plain)
    assert scores(trained) == scores(expected)


def test_a_pool_that_leaves_positions_over_is_replayed(tapes: list[Tape]) -> None:
    class Pooled(Net):
        def __init__(self) -> None:
            super().__init__()
            self.pool = MaxPool1d(10, ceil_mode=True)

        def forward(self, x: Tensor) -> Tensor:
            h = self.pool(self.activation(self.norm(self.first_convolution(x))))
            return self.output(self.dropout(h.amax(dim=2)))

    assert fit(Pooled(), TRAIN, VALID, EXACT, seed=3).notes == ()
    assert tapes[0].replays > 10


def test_steps_are_recorded_on_gpus_only_and_not_where_it_is_switched_off() -> None:
    assert recording.recorder_for(torch.device("cpu")) is None
    gpu = torch.device("cuda:1")
    recorder = recording.recorder_for(gpu)
    assert recorder is not None
    assert (recorder.func, recorder.keywords) == (recording.Graph, {"device": gpu})  # type: ignore[attr-defined]
    recording.allow(False)
    try:
        assert recording.recorder_for(gpu) is None
    finally:
        recording.allow(True)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_cuda_graph_trains_as_its_steps_do(precision: str) -> None:
    recipe = replace(EXACT, precision=precision)
    net, trained = run(recipe, device="cuda")
    assert trained.notes == ()
    recording.allow(False)
    try:
        plain, expected = run(recipe, device="cuda")
    finally:
        recording.allow(True)
    assert same_weights(net, plain)
    assert scores(trained) == scores(expected)


@pytest.mark.gpu
@pytest.mark.parametrize("settings", CASES, ids=lambda settings: "-".join(settings.values()))
def test_every_network_is_recorded_on_a_gpu(settings: dict[str, Any]) -> None:
    row = ARCHITECTURES[settings["architecture"]]
    length, tasks = row.length, row.tasks
    generator = np.random.default_rng(0)
    codes = generator.integers(0, 4, (40, length), dtype=np.uint8)
    split = training.Split(codes, generator.integers(0, 2, (40, tasks), dtype=np.uint8))
    model = build_model(settings, n_tasks=tasks, length=length, seed=0)
    recipe = replace(RECIPE, batch_size=8, epochs=2, precision="auto")
    assert fit(model, split, split, recipe, seed=0, device="cuda").notes == ()
