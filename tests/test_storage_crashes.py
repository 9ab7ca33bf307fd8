"""What counts as an error of a slot when a process crashes, and where a new attempt finds the old one's checkpoint."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from optuna.trial import TrialState

from tuner.models.checkpoint import previous
from tuner.search.checkpoints import clear, discard, take_over
from tuner.storage.process import Process, memory_kills, this_process
from tuner.storage.storage import Attempt, FencedStorage

HERE = this_process()
DEAD = HERE._replace(start=HERE.start + 100)  # this pid, but started at another time


@pytest.fixture
def storage(storage: FencedStorage) -> FencedStorage:
    study_id = storage.create_or_load("s", ["maximize"])
    storage.set_budget(study_id, 2)
    storage.ensure_slots(study_id, ahead=2)
    return storage


def claim(storage: FencedStorage, process: Process) -> Attempt:
    attempt = storage.claim(storage.get_study_id_from_name("s"), "w", process=process)
    assert attempt is not None
    return attempt


@pytest.mark.parametrize("reaped", [False, True])
def test_a_crash_counts_once_for_its_slot_reaped_or_not(storage: FencedStorage, reaped: bool) -> None:
    attempt = claim(storage, DEAD)
    if reaped:
        assert storage.reap(attempt.study_id, grace=60) == [0]
    for _ in range(2):
        assert not storage.count_crash(DEAD, "the process crashed with SIGSEGV", memory=False, max_failures=2)
    (record,) = storage.attempts(attempt.trial_id)
    assert (record.outcome, record.reason) == ("failed", "the process crashed with SIGSEGV")
    assert storage.get_trial(attempt.trial_id).state == TrialState.WAITING


def test_a_crash_of_another_process_or_between_two_slots_counts_for_none(storage: FencedStorage) -> None:
    attempt = claim(storage, HERE)
    storage.count_crash(DEAD, "crash", memory=False, max_failures=1)
    assert storage.get_trial(attempt.trial_id).state == TrialState.RUNNING
    storage.finish(attempt, TrialState.COMPLETE, [0.5])
    assert storage.count_crash(HERE, "crash", memory=False, max_failures=1)  # it had finished a slot
    assert storage.get_trial(attempt.trial_id).state == TrialState.COMPLETE


def test_the_last_crash_ends_the_slot_and_its_kind_says_how(storage: FencedStorage) -> None:
    first, second = claim(storage, DEAD), claim(storage, DEAD._replace(pid=1))
    storage.count_crash(DEAD, "crash", memory=False, max_failures=1)
    storage.count_crash(DEAD._replace(pid=1), "memory", memory=True, max_failures=1)
    failed, pruned = storage.get_trial(first.trial_id), storage.get_trial(second.trial_id)
    assert (failed.state, failed.user_attrs["failures"]) == (TrialState.FAIL, ["crash"])
    assert (pruned.state, pruned.user_attrs["reason"]) == (TrialState.PRUNED, "memory")
    assert (failed.constraints, pruned.constraints) == ({}, {"memory": 1.0})


def test_a_slot_that_runs_again_is_not_ended_by_a_crash_before(storage: FencedStorage) -> None:
    old = claim(storage, DEAD)
    storage.reap(old.study_id, grace=60)
    again = claim(storage, HERE)
    storage.count_crash(DEAD, "crash", memory=False, max_failures=1)
    storage.finish(again, TrialState.COMPLETE, [0.5])
    assert storage.get_trial(old.trial_id).state == TrialState.COMPLETE


def test_the_kernels_count_of_kills_can_be_read_here() -> None:
    counted = [line for line in Path("/proc/vmstat").read_text().splitlines() if line.startswith("oom_kill ")]
    assert memory_kills() <= sum(int(line.split()[1]) for line in counted)  # a group's are among the machine's


# Checkpoints


def attempt_of(number: int, attempt: int) -> Attempt:
    return Attempt(1, 1, number, attempt, "w", f"token{attempt}")


def test_a_checkpoint_comes_from_the_last_attempt_before_and_from_no_later_one(tmp_path: Path) -> None:
    for attempt in (1, 2, 10):
        (tmp_path / f"7.{attempt}.token{attempt}.safetensors").write_text(str(attempt))
    (tmp_path / "17.3.x.safetensors").write_text("another slot")
    path = take_over(tmp_path, attempt_of(7, 4))
    assert (path.name, path.read_text()) == ("7.4.token4.safetensors", "2")
    (tmp_path / "7.2.token2.safetensors").write_text("the old attempt writes on")
    assert path.read_text() == "2"
    assert take_over(tmp_path, attempt_of(7, 11)).read_text() == "10"


def test_the_epoch_before_goes_along_with_a_checkpoint(tmp_path: Path) -> None:
    for name in ("7.1.token1.safetensors", "7.1.token1.safetensors.previous", "17.1.x.safetensors.previous"):
        (tmp_path / name).write_text(name)
    path = take_over(tmp_path, attempt_of(7, 2))
    assert previous(path).read_text() == "7.1.token1.safetensors.previous"
    discard(path)
    assert os.listdir(tmp_path) == ["17.1.x.safetensors.previous"]


def test_nothing_to_take_over_is_no_error_and_an_ended_slot_leaves_no_file(tmp_path: Path) -> None:
    assert not take_over(tmp_path / "missing", attempt_of(7, 2)).exists()
    mine = ("7.1.a.safetensors", "7.2.b.safetensors", "7.2.b.safetensors.previous", ".7.2.b.safetensors.123.part")
    for name in (*mine, "17.1.c.safetensors"):
        (tmp_path / name).touch()
    clear(tmp_path, 7)
    assert os.listdir(tmp_path) == ["17.1.c.safetensors"]
