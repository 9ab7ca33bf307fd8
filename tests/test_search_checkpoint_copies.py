"""A killed slot goes on from its checkpoint on another machine, and an attempt that lost it can spoil nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from optuna.trial import TrialState
from stores import Server

from tuner.models.checkpoint import Checkpoint, write_checkpoint
from tuner.search.checkpoint_copies import Checkpoints, reached
from tuner.storage.artifacts import Artifacts
from tuner.storage.storage import Attempt, FencedStorage
from tuner.storage.store import write


@pytest.fixture
def storage(file_storage: FencedStorage) -> FencedStorage:
    file_storage.set_budget(file_storage.create_or_load("s", ["maximize"], metric_names=["auroc"]), 5)
    return file_storage


def claim(storage: FencedStorage) -> Attempt:
    study_id = storage.get_study_id_from_name("s")
    storage.ensure_slots(study_id, ahead=1)
    attempt = storage.claim(study_id, "w")
    assert attempt is not None
    return attempt


def train(path: Path, epochs: int) -> None:
    """Leave what a training of so many epochs would."""
    write_checkpoint(path, Checkpoint({"history": [{"epoch": e} for e in range(epochs)]}, {"w": torch.ones(3)}), "d")


def machine(storage: FencedStorage, artifacts: Artifacts, every: float = 0.0) -> Checkpoints:
    return Checkpoints(storage, artifacts, every=every)


def test_the_next_attempt_on_another_machine_has_the_checkpoint(
    storage: FencedStorage,
    bucket: str,
    tmp_path: Path,
) -> None:
    artifacts = Artifacts(bucket)
    first, here = claim(storage), tmp_path / "here" / "0.safetensors"
    copies = machine(storage, artifacts)
    copies.open(first, here)
    train(here, 3)
    copies.save()
    train(here, 4)
    storage.hand_back(first, "told to stop")
    copies.hand_over()

    second, there = claim(storage), tmp_path / "there" / "0.safetensors"
    copies = machine(storage, Artifacts(bucket))
    copies.open(second, there)
    assert there.read_bytes() == here.read_bytes()
    train(there, 6)
    copies.save()
    assert len(list(artifacts.store.find("checkpoints/"))) == 1  # the earlier attempt's is not needed any more
    storage.finish(second, TrialState.PRUNED, user_attrs={"reason": "nan"})
    copies.delete()
    assert list(artifacts.store.find()) == []


def test_an_attempt_that_lost_its_slot_changes_nothing_that_others_read(
    storage: FencedStorage,
    bucket: str,
    tmp_path: Path,
) -> None:
    artifacts = Artifacts(bucket)
    stale, live = machine(storage, artifacts), machine(storage, artifacts)
    first = claim(storage)
    stale.open(first, tmp_path / "a")
    train(tmp_path / "a", 2)
    stale.save()
    storage.hand_back(first, "stopped beyond the grace")
    second = claim(storage)
    live.open(second, tmp_path / "b")
    train(tmp_path / "b", 5)
    live.save()
    train(tmp_path / "a", 9)  # the first process is continued and does not know yet
    stale.save()
    storage.hand_back(second, "told to stop")
    third = claim(storage)
    machine(storage, artifacts).open(third, tmp_path / "c")
    assert reached(tmp_path / "c") == 5


def test_a_local_checkpoint_that_is_further_is_kept_and_a_broken_copy_left_aside(
    storage: FencedStorage,
    bucket: str,
    tmp_path: Path,
) -> None:
    artifacts = Artifacts(bucket)
    first, path = claim(storage), tmp_path / "a"
    copies = machine(storage, artifacts)
    copies.open(first, path)
    train(path, 3)
    copies.save()
    train(path, 7)  # and then the process was killed
    storage.hand_back(first, "killed")
    second = claim(storage)
    machine(storage, artifacts).open(second, path)
    assert reached(path) == 7
    (tmp_path / "broken").write_bytes(b"not a checkpoint")
    broken = machine(storage, artifacts)
    broken.open(second, tmp_path / "broken")
    (tmp_path / "broken").write_bytes(b"not a checkpoint")
    broken.save()
    storage.hand_back(second, "killed")
    third = claim(storage)
    machine(storage, artifacts).open(third, tmp_path / "fresh")
    assert not (tmp_path / "fresh").exists()


def test_uploads_are_as_rare_as_asked(storage: FencedStorage, bucket: str, tmp_path: Path) -> None:
    artifacts, attempt = Artifacts(bucket), claim(storage)
    copies = machine(storage, artifacts, every=3600)
    copies.open(attempt, tmp_path / "a")
    for epoch in range(3):
        train(tmp_path / "a", epoch)
        copies.save()
    assert list(artifacts.store.find()) == []
    copies.hand_over()
    assert len(list(artifacts.store.find())) == 1


def test_a_store_that_is_away_costs_only_the_copy(
    storage: FencedStorage,
    s3: Server,
    bucket: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    first, copies = claim(storage), machine(storage, Artifacts(bucket))
    copies.open(first, tmp_path / "a")
    train(tmp_path / "a", 2)
    s3.stop()
    try:
        copies.save()
        copies.save()
        storage.hand_back(first, "told to stop")
        second = claim(storage)
        copies.open(second, tmp_path / "a")
    finally:
        s3.start()
    assert reached(tmp_path / "a") == 2
    assert caplog.text.count("the checkpoint stays on this machine") == 1
    assert caplog.text.count("no checkpoint from the store") == 1


def test_beside_a_folder_nothing_is_copied(storage: FencedStorage, tmp_path: Path) -> None:
    attempt, copies = claim(storage), machine(storage, Artifacts(tmp_path / "artifacts"))
    copies.open(attempt, tmp_path / "a")
    train(tmp_path / "a", 2)
    copies.save()
    copies.hand_over()
    assert list((tmp_path / "artifacts").iterdir()) == []


def test_a_damaged_copy_is_left_aside_for_that_of_an_earlier_attempt(
    storage: FencedStorage,
    bucket: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    store, keys = Artifacts(bucket).store, []
    for epochs in (3, 5):
        attempt = claim(storage)
        train(tmp_path / "made", epochs)
        keys.append(f"checkpoints/{attempt.token}")
        write(store, keys[-1], (tmp_path / "made").read_bytes())
        storage.hand_back(attempt, "killed")
    damaged = (tmp_path / "made").read_bytes().replace(b"epoch", b"epocX", 1)
    write(store, keys[1], damaged)
    machine(storage, Artifacts(bucket)).open(claim(storage), tmp_path / "next")
    assert reached(tmp_path / "next") == 3
    assert f"the checkpoint {keys[1]} of the store is damaged" in caplog.text
