"""What the storage promises when processes race, die, and stop."""

from __future__ import annotations

import itertools
import os
import random
import signal
import sqlite3
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from storage_backends import (
    CONTEXT,
    beat_until_superseded,
    claim_all,
    claim_and_wait,
    join,
    open_and_create,
    start,
    work,
)

from tuner.errors import AttemptSuperseded
from tuner.storage.storage import FencedStorage, Heartbeat, open_storage

pytestmark = pytest.mark.slow


def make_study(where: str, budget: int, *, waiting: int = 0) -> tuple[FencedStorage, int]:
    storage = open_storage(where)
    study_id = storage.create_or_load("s", ["maximize"])
    storage.set_budget(study_id, budget)
    storage.ensure_slots(study_id, ahead=waiting)
    return storage, study_id


def read_log(path: Path) -> Counter[str]:
    return Counter(path.read_text().splitlines())


def test_many_that_start_at_once_make_one_study_with_exact_slots(empty: str) -> None:
    barrier = CONTEXT.Barrier(4)
    join([start(open_and_create, empty, barrier) for _ in range(4)])
    storage = open_storage(empty)
    study = optuna.load_study(study_name="s", storage=storage)
    assert [t.number for t in study.trials] == list(range(12))
    assert sorted(t.user_attrs["source"] for t in study.trials if t.user_attrs) == [0, 1, 2, 3]
    assert storage.budget(storage.get_study_id_from_name("s")) == 12
    storage.close()


def test_no_slot_is_claimed_twice(where: str, tmp_path: Path) -> None:
    storage, study_id = make_study(where, 40, waiting=40)
    barrier, log = CONTEXT.Barrier(6), tmp_path / "log"
    join([start(claim_all, where, barrier, str(log)) for _ in range(6)])
    assert read_log(log) == {str(n): 1 for n in range(40)}
    assert storage.counts(study_id)[TrialState.RUNNING] == 40
    storage.close()


def test_workers_run_each_slot_of_the_budget_once(where: str, tmp_path: Path) -> None:
    storage, study_id = make_study(where, 40)
    log = tmp_path / "log"
    join([start(work, where, f"w{i}", str(log), 0.0) for i in range(6)])
    assert read_log(log) == {f"{what} {n} 1": 1 for n in range(40) for what in ("start", "end")}
    assert storage.counts(study_id)[TrialState.COMPLETE] == 40
    assert sum(storage.counts(study_id).values()) == 40
    storage.close()


def test_killed_workers_lose_no_slot_and_run_none_twice(where: str, tmp_path: Path) -> None:
    storage, study_id = make_study(where, 80)
    log, kills, chance = tmp_path / "log", 0, random.Random(0)
    workers = [start(work, where, f"w{i}", str(log), 0.1) for i in range(4)]
    while kills < 8 and storage.open_slots(study_id):
        time.sleep(0.15)
        victims = {r.pid for r in storage.running(study_id)}
        i = chance.randrange(4)
        if workers[i].pid in victims:  # the kill lands inside a trial
            kills += 1
            workers[i].kill()
            workers[i].join()
            workers[i] = start(work, where, f"w{i}", str(log), 0.1)
    join(workers)
    assert kills >= 4
    study = optuna.load_study(study_name="s", storage=storage)
    assert [t.state for t in study.trials] == [TrialState.COMPLETE] * 80
    lines, reaped = read_log(log), 0
    for trial in study.trials:
        history = storage.attempts(trial._trial_id)
        assert [r.attempt for r in history] == list(range(1, len(history) + 1))
        assert [r.outcome for r in history] == ["reaped"] * (len(history) - 1) + ["complete"]
        assert all(a.ended <= b.started for a, b in itertools.pairwise(history) if a.ended)
        assert all(lines[f"end {trial.number} {r.attempt}"] == 0 for r in history[:-1])
        reaped += len(history) - 1
    assert all(count == 1 for count in lines.values())
    assert 1 <= reaped <= kills
    storage.close()


def test_a_killed_worker_is_reaped_at_once_and_a_living_one_is_not(where: str) -> None:
    storage, study_id = make_study(where, 1, waiting=1)
    here, there = CONTEXT.Pipe()
    victim = start(claim_and_wait, where, there)
    attempt = here.recv()
    assert storage.reap(study_id, grace=60) == []
    victim.kill()
    victim.join()
    assert storage.reap(study_id, grace=60) == [0]
    (record,) = storage.attempts(attempt.trial_id)
    assert record.reason == f"process {victim.pid} has ended"
    storage.close()


def test_a_stopped_worker_that_continues_late_can_store_nothing(where: str) -> None:
    storage, study_id = make_study(where, 1, waiting=1)
    here, there = CONTEXT.Pipe()
    sleeper = start(beat_until_superseded, where, there)
    attempt = here.recv()
    reaped: list[int] = []
    while not reaped:  # a stop inside a SQLite transaction would block everyone: try again
        os.kill(int(sleeper.pid or 0), signal.SIGSTOP)
        if is_unlocked(where):
            end = time.monotonic() + 1
            while not reaped and time.monotonic() < end:
                reaped = storage.reap(study_id, grace=0.3)
                time.sleep(0.05)
        if not reaped:
            os.kill(int(sleeper.pid or 0), signal.SIGCONT)
            time.sleep(0.05)
    assert sleeper.is_alive()
    fresh = storage.claim(study_id, "fresh")
    os.kill(int(sleeper.pid or 0), signal.SIGCONT)
    assert here.poll(30)
    assert here.recv() == ["beat", "finish"]
    assert fresh is not None
    storage.finish(fresh, TrialState.COMPLETE, [0.5])
    assert storage.get_trial(attempt.trial_id).values == [0.5]
    storage.close()


def is_unlocked(url: str) -> bool:
    if not url.startswith("sqlite:///"):
        return True
    connection = sqlite3.connect(url.removeprefix("sqlite:///"), timeout=0, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return False
    finally:
        connection.close()
    return True


def test_a_locked_file_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.storage.database.BUSY_SECONDS", 0.05)  # so that our own retries must do it
    storage, study_id = make_study(str(tmp_path / "tuner.db"), 1, waiting=1)
    other = sqlite3.connect(tmp_path / "tuner.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.5, lambda: other.execute("ROLLBACK"))
    release.start()
    assert storage.claim(study_id, "w") is not None
    release.join()
    other.close()
    storage.close()


@pytest.mark.postgres
def test_a_restart_of_the_server_costs_no_healthy_trial(postgres: Any, postgres_tables: str) -> None:
    postgres.psql("TRUNCATE studies CASCADE;")
    storage, study_id = make_study(postgres_tables, 1, waiting=1)
    attempt = storage.claim(study_id, "w")
    assert attempt is not None
    assert storage.reap(study_id, grace=1.0) == []  # the watch begins
    with Heartbeat(storage, attempt, interval=0.2, stall_after=60) as heartbeat:
        pid = postgres.get_pid()
        os.kill(pid, signal.SIGINT)  # fast shutdown: every connection is cut
        while Path(f"/proc/{pid}").exists():
            time.sleep(0.05)
        time.sleep(1.5)  # longer than the grace
        postgres.ensure_postgres_running()
        assert storage.reap(study_id, grace=1.0) == []
        storage.finish(attempt, TrialState.COMPLETE, [0.75])
        assert not heartbeat.superseded.is_set()
    storage.finish(attempt, TrialState.COMPLETE, [0.75])
    assert storage.get_trial(attempt.trial_id).values == [0.75]
    with pytest.raises(AttemptSuperseded):
        storage.beat(attempt)
    storage.close()
