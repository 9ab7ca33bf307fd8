"""Workers that train for real die, stop, hang or are told to leave at each bad moment; nothing is lost by it."""

from __future__ import annotations

import itertools
import os
import re
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil
import pytest
import sqlalchemy
from deaths import EPOCHS, MOMENTS, QUICK, run_here, work_and_hang, work_and_stop, work_until_death, work_until_told
from optuna.trial import FrozenTrial, TrialState
from storage_backends import (
    start,
)
from waiting import wait_for

from tuner.search.supervisor import HUNG
from tuner.storage.storage import FencedStorage, open_storage

pytestmark = pytest.mark.slow

# Epochs that the next attempt finds done.
REACHED = {
    "mid-epoch": 1,
    "while the checkpoint is written": 1,
    "after the checkpoint": 2,
    "during the upload": EPOCHS,
    "between upload and tell": EPOCHS,
    "amid the tell": EPOCHS,
}


def results(storage: FencedStorage) -> list[FrozenTrial]:
    return storage.get_all_trials(storage.get_study_id_from_name("tiny"), deepcopy=False)


def measured(trials: list[FrozenTrial]) -> list[Any]:
    return [(t.number, t.state, t.values, t.params, t.user_attrs["losses"]) for t in trials]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    folder = tmp_path_factory.mktemp("undisturbed")
    run_here(f"sqlite:///{folder}/tuner.db", folder)
    storage = open_storage(folder / "tuner.db")
    found = measured(results(storage))
    storage.close()
    assert [state for _, state, *_ in found] == [TrialState.COMPLETE] * 2
    return found


def check_end(storage: FencedStorage, folder: Path, undisturbed: list[Any]) -> None:
    """Each slot has the values of an undisturbed run, and no file of a dead attempt is left."""
    assert measured(results(storage)) == undisturbed
    assert [p for p in (folder / "checkpoints").rglob("*") if p.is_file()] == []
    for trial in results(storage):
        history = storage.attempts(trial._trial_id)
        assert [r.attempt for r in history] == list(range(1, len(history) + 1))
        assert all(a.ended is not None and a.ended <= b.started for a, b in itertools.pairwise(history))


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_death_at_any_moment_costs_no_slot_and_changes_no_value(
    where: str,
    tmp_path: Path,
    undisturbed: list[Any],
    moment: str,
) -> None:
    if moment == "amid reaping":  # something to reap
        first = start(work_until_death, where, str(tmp_path), "after suggest")
        first.join(60)
    victim = start(work_until_death, where, str(tmp_path), moment)
    victim.join(60)
    assert victim.exitcode == -signal.SIGKILL
    storage = open_storage(where)
    before = storage.counts(storage.get_study_id_from_name("tiny"))
    if moment == "while making slots":
        assert sum(before.values()) == 0  # all of them or none
    run_here(where, tmp_path)
    check_end(storage, tmp_path, undisturbed)
    trial = results(storage)[0]
    assert trial.user_attrs["resumed_from"] == REACHED.get(moment, 0)
    history = storage.attempts(trial._trial_id)
    ran = moment not in ("while making slots", "amid the claim")
    assert [r.outcome for r in history] == ["reaped"] * ran + ["complete"]
    if ran:
        assert re.fullmatch(r"process \d+ has ended", str(history[0].reason))  # at once, not after the grace
    storage.close()


def test_an_attempt_that_was_given_up_can_write_neither_checkpoint_nor_values(
    where: str,
    tmp_path: Path,
    undisturbed: list[Any],
) -> None:
    stale = start(work_and_stop, where, str(tmp_path))
    wait_for(lambda: psutil.Process(stale.pid).status() == psutil.STATUS_STOPPED)
    folder = tmp_path / "checkpoints" / "tiny"
    seen: list[bytes] = []

    def continue_the_stale() -> None:
        mine = next(folder.rglob("0.2.*.safetensors"), None)
        if mine is None:
            return  # this is the other slot
        seen.append(mine.read_bytes())
        os.kill(int(stale.pid or 0), signal.SIGCONT)
        wait_for(lambda: "attempt 1 was superseded; its result is discarded" in (tmp_path / "victim.log").read_text())
        seen.append(mine.read_bytes())

    run_here(where, tmp_path, {"epoch 2": continue_the_stale}, QUICK._replace(beat=1.0))
    stale.kill()
    stale.join()
    assert seen[0] == seen[1]
    storage = open_storage(where)
    assert measured(results(storage))[0] == undisturbed[0]
    assert not [p for p in folder.rglob("*") if p.is_file()]
    trial = results(storage)[0]
    assert trial.user_attrs["resumed_from"] == 1
    assert [r.outcome for r in storage.attempts(trial._trial_id)] == ["reaped", "complete"]
    storage.close()


@pytest.mark.parametrize("activity", ["an epoch", "native code", "an upload", "the database"])
def test_a_worker_that_is_told_to_stop_hands_its_slot_back_whatever_it_does(
    where: str,
    tmp_path: Path,
    undisturbed: list[Any],
    activity: str,
) -> None:
    worker = start(work_until_told, where, str(tmp_path), activity)
    log = tmp_path / "log"
    wait_for(lambda: log.exists() and activity in log.read_text())
    storage = open_storage(where)

    def stop() -> None:
        time.sleep(0.3)  # so that the worker is at it
        worker.terminate()
        worker.join(10)

    if activity == "the database":
        storage._backend.write(lambda connection: (hold(connection), (tmp_path / "locked").touch(), stop()))
    else:
        stop()
    assert worker.exitcode in (-signal.SIGTERM, 128 + signal.SIGTERM)
    counts = storage.counts(storage.get_study_id_from_name("tiny"))
    if activity != "the database":  # which answered nobody
        assert counts[TrialState.WAITING] == 2
        assert counts[TrialState.RUNNING] == 0
    run_here(where, tmp_path)
    check_end(storage, tmp_path, undisturbed)
    trial = results(storage)[0]
    assert trial.user_attrs["resumed_from"] >= 1
    assert [r.outcome for r in storage.attempts(trial._trial_id)][1:] == ["complete"]
    storage.close()


def hold(connection: sqlalchemy.Connection) -> None:
    """Lock every attempt's row: nobody beats, finishes or hands back."""
    connection.exec_driver_sql("UPDATE tuner_attempts SET beat = beat")


def run_to_the_end_of(worker: BaseProcess) -> int | None:
    worker.join(60)
    return worker.exitcode


def test_a_hung_training_ends_counts_as_failure_and_goes_on_from_its_checkpoint(
    where: str,
    tmp_path: Path,
    undisturbed: list[Any],
) -> None:
    assert run_to_the_end_of(start(work_and_hang, where, str(tmp_path))) == HUNG
    run_here(where, tmp_path)
    storage = open_storage(where)
    check_end(storage, tmp_path, undisturbed)
    trial = results(storage)[0]
    first, last = storage.attempts(trial._trial_id)
    assert first.outcome == "failed"
    assert re.fullmatch(r"the training hung: no progress for \d+ s, epoch 1 was the last", str(first.reason))
    assert (last.outcome, trial.user_attrs["resumed_from"]) == ("complete", 1)
    storage.close()
