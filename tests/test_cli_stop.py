"""Workers that are asked to leave, on every database; a real run that ends because of it."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import optuna
import pytest
from command_line import Terminal
from optuna.trial import TrialState
from tiny import STUDY, write_study
from waiting import wait_for

from tuner.cli.stop import present
from tuner.cli.stop import wait_for as wait_for_workers
from tuner.results.leaderboard import stage_trials
from tuner.storage.process import Process, age_of, this_process
from tuner.storage.storage import FencedStorage, open_storage
from tuner.storage.workers import Membership, Roster

pytestmark = pytest.mark.slow

ELSEWHERE = Process("elsewhere boot namespace", 7, 1.0)


@pytest.fixture
def storage(storage: FencedStorage) -> FencedStorage:
    storage.create_or_load("s", ["maximize"])
    return storage


@pytest.fixture
def roster(storage: FencedStorage) -> Roster:
    return storage.roster(storage.get_study_id_from_name("s"))


# ------------------------------------------------------------------ the roster


def test_a_request_reaches_who_had_started_and_nobody_else(roster: Roster) -> None:
    before = roster.join("a", "early", ELSEWHERE, age=0)
    asked = roster.ask(at_once=False)
    after = roster.join("b", "late", ELSEWHERE, age=0)
    assert before <= asked < after
    assert roster.asked(before) == "after the trial"
    assert roster.asked(after) is None


def test_a_process_that_was_still_loading_when_it_was_asked_counts_as_started(roster: Roster) -> None:
    roster.ask(at_once=False)
    assert roster.asked(roster.join("a", "w", ELSEWHERE, age=30)) == "after the trial"


def test_a_worker_that_replaces_a_dead_one_heeds_what_was_asked_of_it(roster: Roster) -> None:
    began = roster.position()
    roster.ask(at_once=True)
    assert roster.asked(roster.join("a", "w", ELSEWHERE, age=0, since=began)) == "at once"


def test_a_gentle_request_does_not_take_back_an_urgent_one(roster: Roster) -> None:
    began = roster.position()
    roster.ask(at_once=True)
    roster.ask(at_once=False)
    assert roster.asked(began) == "at once"


def test_a_member_is_told_and_leaves_no_trace(roster: Roster) -> None:
    told: list[bool] = []
    with Membership(roster, "w", told.append, interval=0.02):
        (member,) = roster.members()
        assert (member.worker, member.process) == ("w", this_process())
        assert told == []
        roster.ask(at_once=False)
        wait_for(lambda: told == [False])
        roster.ask(at_once=True)
        wait_for(lambda: told == [False, True])
    assert roster.members() == []


def test_a_silent_or_dead_worker_is_gone_and_a_training_one_is_not(storage: FencedStorage, roster: Roster) -> None:
    study_id = storage.get_study_id_from_name("s")
    me = this_process()
    roster.join("a", "here", me, age=0)
    roster.join("b", "dead", me._replace(pid=2**22 + 1), age=0)
    roster.join("c", "there", ELSEWHERE, age=0)
    assert {m.worker: m.is_gone(grace=60) for m in roster.members()} == {"here": False, "dead": True, "there": False}
    time.sleep(0.5)
    storage.set_budget(study_id, 1)
    storage.ensure_slots(study_id, ahead=1)
    attempt = storage.claim(study_id, "there", process=ELSEWHERE)  # its first beat is a sign of life
    assert attempt is not None
    ages = {m.worker: m.beat_age for m in roster.members()}
    assert ages["here"] - ages["there"] >= 0.4


def test_rows_go_with_their_study(storage: FencedStorage, roster: Roster) -> None:
    roster.join("a", "w", ELSEWHERE, age=0)
    roster.ask(at_once=True)
    stranger = optuna.storages.RDBStorage(storage.url)  # Optuna's own command does the same
    optuna.delete_study(study_name="s", storage=stranger)
    stranger.engine.dispose()
    again = storage.roster(storage.create_or_load("s", ["maximize"]))
    assert again.members() == []
    assert again.asked(0.0) is None


def test_age_of_this_process_agrees_with_the_clock_of_the_kernel() -> None:
    import psutil

    assert abs(age_of(this_process()) - (time.time() - psutil.Process().create_time())) < 5


def test_clocks_an_hour_apart_change_neither_who_is_asked_nor_who_has_left(tmp_path: Path) -> None:
    """On SQLite each host writes its own clock: the worker's host is an hour ahead, then an hour behind."""
    opened = open_storage(tmp_path / "tuner.db")
    roster = opened.roster(opened.create_or_load("s", ["maximize"]))
    for hours in (1, -1):
        stands = roster.join(f"{hours}", f"w{hours}", ELSEWHERE, age=0)
        with sqlite3.connect(tmp_path / "tuner.db") as database:
            database.execute("UPDATE tuner_workers SET started = started + ?, beat = beat + ?", [3600 * hours] * 2)
        assert roster.asked(stands) is None
        roster.ask(at_once=False)
        assert roster.asked(stands) == "after the trial"
        assert [m.worker for m in present(roster)] == [f"w{hours}"]
        with sqlite3.connect(tmp_path / "tuner.db") as database:
            database.execute("UPDATE tuner_requests SET host = 'elsewhere boot', time = time + ?", [-3600 * hours])
        assert roster.asked(roster.join("late", "late", ELSEWHERE, age=30)) is None
        for token in (f"{hours}", "late"):
            roster.leave(token)
    opened.close()


def test_a_worker_of_another_host_that_died_is_waited_for_by_its_beat_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuner.storage.workers.GRACE_SECONDS", 1.0)
    opened = open_storage(tmp_path / "tuner.db")
    roster = opened.roster(opened.create_or_load("s", ["maximize"]))
    roster.join("a", "w", ELSEWHERE, age=0)
    with sqlite3.connect(tmp_path / "tuner.db") as database:
        database.execute("UPDATE tuner_workers SET beat = beat + 3600")
    assert wait_for_workers(roster, present(roster)) == (0, 1)
    opened.close()


# ------------------------------------------------------------------ the command


def test_stop_waits_for_those_it_asked(
    storage: FencedStorage,
    where: str,
    roster: Roster,
    terminal: Terminal,
) -> None:
    roster.join("a", "w-0", this_process(), age=0)
    roster.join("b", "dead", this_process()._replace(pid=2**22 + 1), age=0)

    def leave() -> None:
        wait_for(lambda: roster.asked(0.0))
        time.sleep(2)  # so that it is seen to be waited for
        roster.leave("a")

    leaves = threading.Thread(target=leave)
    leaves.start()
    answer = terminal("stop", "--name", "s", "--storage", where, "--json")
    leaves.join()
    assert answer.code == 0
    assert answer.json == {"study": "s", "asked": 1, "left": 1, "lost": 0, "at_once": False, "waited": True}
    assert "s: 1 worker asked to finish their trials and leave" in answer.err
    assert "waiting for 1 of 1: w-0 on " in answer.err


def test_stop_that_does_not_wait_says_how_many_it_asked(
    storage: FencedStorage,
    where: str,
    roster: Roster,
    terminal: Terminal,
) -> None:
    for token in "abc":
        roster.join(token, token, this_process(), age=0)
    answer = terminal("stop", "--name", "s", "--storage", where, "--no-wait", "--now")
    assert answer.code == 0
    assert answer.err.splitlines() == ["s: 3 workers asked to hand their trials back and leave"]
    assert roster.asked(0.0) == "at once"


def test_stop_needs_a_study_that_exists(terminal: Terminal) -> None:
    assert terminal.refuses("stop", "--study", "zbed2")[0] == 1  # no storage
    open_storage(terminal.folder / "runs" / "tuner.db").close()
    code, text = terminal.refuses("stop", "--study", "zbed2", "--json")
    assert code == 2
    assert "unknown study in this storage 'zbed2'" in text


# ------------------------------------------------------------------ a real run

LONG = STUDY.replace("epochs = 4", "epochs = 30").replace("trials = 6", "trials = 40")
ENDLESS = LONG.replace("epochs = 30", "epochs = 100000\npatience = 100000")  # no worker is ever between two trials


@pytest.mark.parametrize("now", [False, True])
def test_a_run_whose_workers_were_asked_to_leave_ends_cleanly(tmp_path: Path, now: bool) -> None:
    write_study(tmp_path, study=ENDLESS if now else LONG)
    command = [sys.executable, "-m", "tuner"]
    with (tmp_path / "run.log").open("ab") as log:
        run = subprocess.Popen(
            [*command, "run", "--study", "tiny.toml", "--workers", "2", "--no-confirm", "--log-format", "json"],
            cwd=tmp_path, stdout=log, stderr=log,
        )  # fmt: skip

    def epochs() -> int:
        logs = [p.read_text() for p in tmp_path.glob("runs/logs/tiny/worker-*.log")]
        return min([len(re.findall('"event": "epoch"', text)) for text in logs], default=0) if len(logs) == 2 else 0

    try:
        wait_for(lambda: epochs() >= 2 or run.poll() is not None, 300)
        stop = [*command, "stop", "--study", "tiny", "--json", *(["--now"] if now else [])]
        done = subprocess.run(stop, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
        assert run.wait(timeout=60) == 0, (tmp_path / "run.log").read_text()
    finally:
        run.terminate()
        run.wait()
    assert done.returncode == 0, done.stderr
    assert (json.loads(done.stdout)["asked"], json.loads(done.stdout)["left"]) == (2, 2)
    lines = [json.loads(line) for line in (tmp_path / "run.log").read_text().splitlines()]
    assert any("were asked to leave (tuner stop)" in line["message"] for line in lines)
    states = [t.state for t in stage_trials(open_storage(tmp_path / "runs" / "tuner.db"), "tiny")]
    assert TrialState.RUNNING not in states
    assert len([s for s in states if s == TrialState.COMPLETE]) < 40
    handed_back = [p for p in tmp_path.glob("runs/logs/tiny/*.log") if "handed back" in p.read_text()]
    assert len(handed_back) == (2 if now else 0)
    check_fields(tmp_path)


def check_fields(folder: Path) -> None:
    """Each line of a worker's log is an object that says where it belongs."""
    for log in folder.glob("runs/logs/tiny/worker-*.log"):
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        epochs = [line for line in lines if line.get("event") == "epoch"]
        assert epochs
        for line in epochs:
            assert line["worker"] == log.name.partition(".")[0]
            assert (line["study"], line["level"], line["logger"]) == ("tiny", "INFO", "tuner.worker")
            assert isinstance(line["trial"], int)
            assert line["attempt"] == 1
            assert line["epoch"] >= 1
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+\+00:00", line["time"])
