"""Processes of a real run are killed at bad moments; the same command then ends with exactly its budget."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from optuna.trial import TrialState
from tiny import STUDY, write_study
from waiting import wait_for

from tuner.results.leaderboard import stage_trials
from tuner.storage.storage import open_storage

pytestmark = pytest.mark.slow

LONG = STUDY.replace("epochs = 4", "epochs = 25").replace("trials = 6", "trials = 4")
TUNER = [sys.executable, "-m", "tuner"]


@pytest.fixture(autouse=True)
def _nothing_runs_on(tmp_path: Path) -> Iterator[None]:
    """A test that fails leaves no run behind, which would take the time of those after it."""
    yield
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cwd() == str(tmp_path):
                process.kill()


def start(folder: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [*TUNER, "run", "--study", "tiny.toml", "--workers", "2", "--no-confirm", *more]
    with (folder / "run.log").open("ab") as log:
        return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)


def epoch_seen(folder: Path, at_least: int) -> int | None:
    """Index of a worker whose running trial has logged that epoch."""
    for log in sorted(folder.glob("runs/logs/tiny/worker-*.log")):
        lines = [line for line in log.read_text().splitlines() if " trial " in line]
        number = re.search(r"epoch (\d+),", lines[-1]) if lines else None
        if number and at_least <= int(number[1]) < 20:
            return int(log.name.partition(".")[0].removeprefix("worker-"))
    return None


def workers_of(parent: int) -> dict[int, psutil.Process]:
    found = {}
    for child in psutil.Process(parent).children():
        with contextlib.suppress(psutil.NoSuchProcess):  # what compiles the kernel may end at any moment
            arguments = child.cmdline()
            if "--worker-name" in arguments:
                found[int(arguments[arguments.index("--worker-name") + 1].removeprefix("worker-"))] = child
    return found


def check_ended(folder: Path) -> None:
    trials = stage_trials(open_storage(folder / "runs" / "tuner.db"), "tiny")
    assert [t.number for t in trials] == list(range(4))
    assert {t.state for t in trials} == {TrialState.COMPLETE}


@pytest.mark.parametrize("victim", ["worker", "everything"])
def test_killed_processes_lose_no_trial_and_double_none(tmp_path: Path, victim: str) -> None:
    write_study(tmp_path, study=LONG)
    run = start(tmp_path)
    index = wait_for(lambda: (i := epoch_seen(tmp_path, 2)) is not None and (i,))
    assert isinstance(index, tuple)
    workers = workers_of(run.pid)
    workers[index[0]].kill()
    if victim == "everything":
        run.kill()
        run.wait()
        wait_for(lambda: not any(w.is_running() and w.status() != "zombie" for w in workers.values()), 5)
        run = start(tmp_path)
    assert run.wait(timeout=300) == 0, (tmp_path / "run.log").read_text()
    check_ended(tmp_path)
    log = "".join(p.read_text() for p in tmp_path.glob("runs/logs/tiny/worker-*.log"))
    assert re.search(r"tiny trial \d: attempt 2", log)
    completed = re.findall(r"tiny trial (\d): complete", log)
    assert sorted(completed) == ["0", "1", "2", "3"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_hands_its_trials_back_and_leaves_no_process(tmp_path: Path, number: signal.Signals) -> None:
    write_study(tmp_path, study=LONG)
    run = start(tmp_path)
    wait_for(lambda: epoch_seen(tmp_path, 1) is not None)
    workers = workers_of(run.pid)
    run.send_signal(number)
    assert run.wait(timeout=60) == 130
    assert not any(w.is_running() and w.status() != "zombie" for w in workers.values())
    states = {t.state for t in stage_trials(open_storage(tmp_path / "runs" / "tuner.db"), "tiny")}
    assert TrialState.RUNNING not in states
    assert "run the same command again to continue" in (tmp_path / "run.log").read_text()


def test_two_runs_at_once_end_with_one_budget(tmp_path: Path) -> None:
    write_study(tmp_path, study=LONG.replace("epochs = 25", "epochs = 2"))
    runs = [start(tmp_path), start(tmp_path)]
    assert [r.wait(timeout=300) for r in runs] == [0, 0], (tmp_path / "run.log").read_text()
    check_ended(tmp_path)


def test_a_time_limit_stops_and_the_same_command_goes_on(tmp_path: Path) -> None:
    write_study(tmp_path, study=LONG)
    # Shorter than any worker's start, so that no machine is fast enough to finish within it.
    assert start(tmp_path, "--time-limit", "1s").wait(timeout=240) == 0
    storage = open_storage(tmp_path / "runs" / "tuner.db")
    left = [t for t in stage_trials(storage, "tiny") if t.state != TrialState.COMPLETE]
    assert left or len(stage_trials(storage, "tiny")) < 4
    assert {t.state for t in left} <= {TrialState.WAITING}
    assert start(tmp_path).wait(timeout=300) == 0
    check_ended(tmp_path)


def test_no_environment_variable_is_needed(tmp_path: Path) -> None:
    write_study(tmp_path, study=LONG.replace("epochs = 25", "epochs = 1"))
    bare = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "NUMBA_CACHE_DIR": os.environ["NUMBA_CACHE_DIR"]}
    command = [*TUNER, "check", "--study", "tiny.toml"]
    done = subprocess.run(command, cwd=tmp_path, env=bare, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_study_that_is_deleted_under_a_run_ends_it_with_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    write_study(tmp_path, study=LONG.replace("trials = 4", "trials = 40"))  # it outlives two starts of the command
    run = start(tmp_path)
    wait_for(lambda: epoch_seen(tmp_path, 1) is not None, 240)
    workers = workers_of(run.pid)
    command = [*TUNER, "delete", "--name", "tiny", "--yes"]
    refused = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "Stop its workers first" in refused.stderr
    done = subprocess.run([*command, "--force"], cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert run.wait(timeout=120) == 1
    last = (tmp_path / "run.log").read_text().strip().splitlines()[-1]
    assert re.search(r"study tiny was deleted while this run worked on it; nothing was stored\.", last), last
    wait_for(lambda: not any(w.is_running() and w.status() != "zombie" for w in workers.values()), 60)
    logs = (tmp_path / "run.log").read_text()
    logs += "".join(p.read_text() for p in tmp_path.glob("runs/logs/**/*.log"))
    assert "Traceback" not in logs
    assert "this is a bug" not in logs
    storage = open_storage(tmp_path / "runs" / "tuner.db")
    assert storage.get_all_studies() == []
    left = [*(tmp_path / "runs" / "artifacts").rglob("*"), *(tmp_path / "runs" / "checkpoints").rglob("*")]
    assert [p for p in left if p.is_file()] == []
