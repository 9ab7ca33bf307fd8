"""A run that dies goes on from its checkpoint as if nothing had happened; a bad checkpoint costs nothing else."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import training_task
from safetensors.torch import load, save, save_file
from training_task import RECIPE, TRAIN, VALID, Net, run, same_weights, scores

from tuner.models.checkpoint import Checkpoint, previous, read_checkpoint, write_checkpoint
from tuner.models.recipe import EpochRecord
from tuner.models.training import Trained, fit

pytestmark = pytest.mark.slow


class Stop(Exception):
    """Raised by a callback to end a run."""


def stop_after(epoch: int):  # type: ignore[no-untyped-def]
    def callback(record: EpochRecord) -> None:
        if record.epoch == epoch:
            raise Stop

    return callback


@pytest.fixture(scope="module")
def undisturbed() -> tuple[Net, Trained]:
    return run()


@pytest.mark.parametrize("epoch", [1, 3, 6])
def test_interrupted_run_resumed_equals_the_undisturbed_one(
    epoch: int, undisturbed: tuple[Net, Trained], tmp_path: Path
) -> None:
    file = tmp_path / "new folder" / "checkpoint.safetensors"
    with pytest.raises(Stop):
        run(checkpoint=file, on_epoch=stop_after(epoch))
    net, trained = run(checkpoint=file)
    assert trained.resumed_from == epoch
    assert trained.notes == ()
    assert scores(trained) == scores(undisturbed[1])
    assert same_weights(net, undisturbed[0])
    assert sorted(file.parent.iterdir()) == [file, previous(file)]


@pytest.mark.parametrize("recipe", [replace(RECIPE, precision="bfloat16"), replace(RECIPE, weights="last")])
def test_resuming_is_exact_for_other_recipes(recipe, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    whole, _ = run(recipe)
    with pytest.raises(Stop):
        run(recipe, checkpoint=tmp_path / "c", on_epoch=stop_after(2))
    assert same_weights(run(recipe, checkpoint=tmp_path / "c")[0], whole)


def test_run_killed_in_the_middle_of_an_epoch_goes_on_to_the_same_weights(
    undisturbed: tuple[Net, Trained], tmp_path: Path
) -> None:
    file = tmp_path / "c"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    with subprocess.Popen(
        [sys.executable, training_task.__file__, str(file)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "1\n"
        assert worker.stdout.readline() == "2\n"
        time.sleep(0.05)  # an epoch takes at least 13 steps x 10 ms
        worker.send_signal(signal.SIGKILL)
    net, trained = run(checkpoint=file)
    assert 2 <= trained.resumed_from <= 5
    assert same_weights(net, undisturbed[0])
    assert scores(trained) == scores(undisturbed[1])


def test_finished_run_resumed_trains_no_further(undisturbed: tuple[Net, Trained], tmp_path: Path) -> None:
    run(checkpoint=tmp_path / "c")
    epochs: list[EpochRecord] = []
    net, trained = run(checkpoint=tmp_path / "c", on_epoch=epochs.append)
    assert epochs == []
    assert trained.resumed_from == 6
    assert same_weights(net, undisturbed[0])


@pytest.mark.parametrize("size", [0, 5, 100, -1])
def test_truncated_checkpoint_is_left_aside_with_a_reason(
    size: int, undisturbed: tuple[Net, Trained], tmp_path: Path
) -> None:
    file = tmp_path / "c"
    with pytest.raises(Stop):
        run(checkpoint=file, on_epoch=stop_after(1))
    content = file.read_bytes()
    file.write_bytes(content[:size])
    net, trained = run(checkpoint=file)
    assert trained.resumed_from == 0
    assert "unreadable checkpoint" in trained.notes[0]
    assert same_weights(net, undisturbed[0])


def test_flipped_bit_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "c"
    with pytest.raises(Stop):
        run(checkpoint=file, on_epoch=stop_after(1))
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    assert "checksum differs" in run(checkpoint=file)[1].notes[0]


def test_foreign_files_are_left_aside_with_a_reason(tmp_path: Path) -> None:
    file = tmp_path / "c"
    save_file(Net().state_dict(), file)
    assert "not a checkpoint of this version" in run(checkpoint=file)[1].notes[0]
    file.write_text("no tensors at all")
    assert "unreadable checkpoint" in run(checkpoint=file)[1].notes[0]


@pytest.mark.parametrize("what", ["seed", "recipe", "data", "model", "weights"])
def test_checkpoint_of_another_run_is_left_aside(what: str, tmp_path: Path) -> None:
    file, train, recipe, seed, net = tmp_path / "c", TRAIN, RECIPE, 3, Net()
    with pytest.raises(Stop):
        run(checkpoint=file, on_epoch=stop_after(1))
    if what == "seed":
        seed = 4
    elif what == "recipe":
        recipe = replace(RECIPE, l2=1e-3)
    elif what == "data":
        train = TRAIN.take(np.arange(399))
    elif what == "model":
        net.dropout.p = 0.2
    else:
        net = Net(seed=1)
    trained = fit(net, train, VALID, replace(recipe, epochs=recipe.epochs), seed=seed, checkpoint=file)
    assert trained.resumed_from == 0
    assert "another model, recipe, seed or data" in trained.notes[0]


def test_full_disk_costs_the_checkpoint_and_not_the_training(
    undisturbed: tuple[Net, Trained], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    net, trained = run(checkpoint=tmp_path / "c")
    assert same_weights(net, undisturbed[0])
    assert len(trained.notes) == 6
    assert "epoch 1: checkpoint not written" in trained.notes[0]
    assert "No space left" in trained.notes[0]
    assert list(tmp_path.iterdir()) == []


def test_failed_write_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "c"
    old = Checkpoint({"epoch": 1}, dict(Net().state_dict()))
    write_checkpoint(file, old, "digest")

    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError, match="Input/output"):
        write_checkpoint(file, Checkpoint({"epoch": 2}, old.tensors), "digest")
    found, reason = read_checkpoint(file, "digest")
    assert reason is None
    assert found is not None
    assert found.progress == {"epoch": 1}
    assert list(tmp_path.iterdir()) == [file]


def test_impossible_checkpoint_folder_is_a_note(undisturbed: tuple[Net, Trained], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    net, trained = run(checkpoint=tmp_path / "file" / "c")
    assert same_weights(net, undisturbed[0])
    assert "checkpoint not written" in trained.notes[0]


def test_no_checkpoint_leaves_no_note(tmp_path: Path) -> None:
    assert read_checkpoint(tmp_path / "none", "digest") == (None, None)


def test_callback_sees_the_checkpoint_of_its_own_epoch(tmp_path: Path) -> None:
    seen: list[bytes] = []
    run(checkpoint=tmp_path / "c", on_epoch=lambda _: seen.append((tmp_path / "c").read_bytes()))
    assert len({*seen}) == 6


def test_no_byte_of_a_checkpoint_can_change_unnoticed(tmp_path: Path) -> None:
    file = tmp_path / "c"
    with pytest.raises(Stop):
        run(checkpoint=file, on_epoch=stop_after(1))
    whole = file.read_bytes()
    header = int.from_bytes(whole[:8], "little") + 8
    digest = re.search(rb'digest\\": \\"([0-9a-f]{64})', whole[:header])
    assert digest is not None
    known = digest[1].decode()
    assert read_checkpoint(file, known)[0] is not None
    # Every digit of the header, learning rate and scores included, and bytes all over the rest and the trailer.
    places = [i for i in range(header) if whole[i : i + 1].isdigit()]
    places += [*range(header, len(whole), max(1, len(whole) // 200)), *range(len(whole) - 92, len(whole))]
    for i in places:
        file.write_bytes(whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :])
        found, reason = read_checkpoint(file, known)
        assert found is None, i
        assert reason is not None
        assert "training starts at epoch 1" in reason


def test_a_changed_digit_of_the_progress_falls_back_to_the_epoch_before(
    undisturbed: tuple[Net, Trained], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "c"
    with pytest.raises(Stop):
        run(checkpoint=file, on_epoch=stop_after(3))
    content = file.read_bytes()
    at = content.index(b"0.", content.index(b"history")) + 3
    digit = b"1" if content[at : at + 1] != b"1" else b"2"
    file.write_bytes(content[:at] + digit + content[at + 1 :])
    net, trained = run(checkpoint=file)
    assert trained.resumed_from == 2
    assert "damaged checkpoint (checksum differs); training goes on from epoch 2." in trained.notes[0]
    assert [r.message for r in caplog.records] == [trained.notes[0]]
    assert scores(trained) == scores(undisturbed[1])
    assert same_weights(net, undisturbed[0])


def test_a_checkpoint_of_the_version_before_is_gone_on_from(undisturbed: tuple[Net, Trained], tmp_path: Path) -> None:
    file = tmp_path / "c"
    with pytest.raises(Stop):
        run(checkpoint=file, on_epoch=stop_after(3))
    content = file.read_bytes()
    payload = content[: content.index(b"\ntuner-checkpoint-2 sha256 ")]
    length = int.from_bytes(payload[:8], "little")
    header = json.loads(json.loads(payload[8 : 8 + length])["__metadata__"]["tuner"])
    tensors = load(payload)
    # As version 1 wrote it: SHA-256 over names, shapes, types and bytes of the tensors in the order of their names.
    checksum = hashlib.sha256()
    for name in sorted(tensors):
        checksum.update(f"{name} {tuple(tensors[name].shape)} {tensors[name].dtype};".encode())
        checksum.update(tensors[name].reshape(-1).numpy().data)
    header = {**header, "format": "tuner-checkpoint-1", "checksum": checksum.hexdigest()}
    file.write_bytes(save(tensors, metadata={"tuner": json.dumps(header)}))
    previous(file).unlink()
    net, trained = run(checkpoint=file)
    assert (trained.resumed_from, trained.notes) == (3, ())
    assert scores(trained) == scores(undisturbed[1])
    assert same_weights(net, undisturbed[0])
