"""Watching a study, and its state as Prometheus reads it."""

from __future__ import annotations

import io
import os
import signal
import socket
import sqlite3
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import optuna
import pytest
from command_line import Terminal
from optuna.trial import TrialState
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from waiting import wait_for

from tuner.cli.metrics import parse_address
from tuner.cli.watch import picture, watch_study
from tuner.errors import UsageError
from tuner.report.metrics import serve, write
from tuner.report.server import Access
from tuner.results.overview import overview
from tuner.storage.process import Process, this_process
from tuner.storage.storage import Attempt, FencedStorage, open_storage

ELSEWHERE = Process("node-7 boot namespace", 4711, 1.0)


class Scene(NamedTuple):
    storage: FencedStorage
    study_id: int
    running: Attempt


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """A search of 5 trials: 1 complete, 1 pruned, 1 failed for good after a retry, 1 running, 1 not made."""
    opened = open_storage(tmp_path / "runs" / "tuner.db")
    study_id = opened.create_or_load("s", ["maximize", "maximize"], metric_names=["auroc", "match_fraction"])
    opened.set_budget(study_id, 5)
    opened.ensure_slots(study_id, ahead=4)

    def claim(worker: str, process: Process) -> Attempt:
        attempt = opened.claim(study_id, worker, process=process)
        assert attempt is not None
        return attempt

    opened.finish(claim("w-0", this_process()), TrialState.COMPLETE, [0.9, 0.25])
    opened.finish(claim("w-0", this_process()), TrialState.PRUNED, user_attrs={"reason": "diverged"})
    for _ in range(2):
        opened.fail_attempt(claim("w-0", this_process()), "its own fault", max_failures=2)
    running = claim("w-1", ELSEWHERE)
    opened.beat(running, {"epoch": 3, "epochs": 20, "auroc": 0.8125})
    roster = opened.roster(study_id)
    roster.join("a", "w-0", this_process(), age=0)
    roster.join("b", "w-1", ELSEWHERE, age=0)
    roster.join("c", "dead", this_process()._replace(pid=2**22 + 1), age=0)
    yield Scene(opened, study_id, running)
    opened.close()


# ------------------------------------------------------------------ watching


def test_a_terminal_shows_trials_workers_and_what_is_left(scene: Scene) -> None:
    members = [m for m in scene.storage.roster(scene.study_id).members() if not m.is_gone()]
    with Path(os.devnull).open("w") as nowhere:
        console = Console(width=140, record=True, file=nowhere)
        console.print(picture(overview(scene.storage, "s"), members))
        text = console.export_text()
    assert "3/5" in text
    assert "1 complete, 1 pruned, 1 failed, 1 running" in text
    assert "an hour, about" in text
    assert "best auroc 0.9000 (trial 0), match_fraction 0.2500 (trial 0)" in text
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.startswith(("w-", "dead"))}
    assert set(rows) == {"w-0", "w-1"}
    assert (rows["w-0"][1], rows["w-0"][-1]) == (str(os.getpid()), "waiting")
    assert rows["w-1"][:2] == ["node-7", "4711"]
    assert rows["w-1"][-4:] == ["search", "3", "3/20", "0.8125"]


def test_without_a_terminal_each_change_is_one_line_until_all_has_ended(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuner.cli.watch.WATCH_SECONDS", 0.1)
    shown = io.StringIO()
    monkeypatch.setattr(sys, "stderr", shown)

    def others() -> None:
        wait_for(lambda: " 3/5 " in shown.getvalue())
        scene.storage.finish(scene.running, TrialState.COMPLETE, [0.5, 0.5])
        wait_for(lambda: " 4/5 " in shown.getvalue())
        scene.storage.ensure_slots(scene.study_id, ahead=1)
        last = scene.storage.claim(scene.study_id, "w-0")
        assert last is not None
        scene.storage.finish(last, TrialState.COMPLETE, [0.5, 0.5])

    thread = threading.Thread(target=others)
    thread.start()
    watch_study(scene.storage, "s")
    thread.join()
    seen = shown.getvalue().splitlines()
    assert seen[0] == "s search 3/5 1 complete, 1 pruned, 1 failed, 1 running; 2 workers on 2 hosts"
    assert seen[1] == "s search 4/5 2 complete, 1 pruned, 1 failed; 2 workers on 2 hosts"
    assert len(seen) == len(set(seen))


def test_a_watch_ends_with_the_whole_state(scene: Scene, terminal: Terminal) -> None:
    scene.storage.finish(scene.running, TrialState.COMPLETE, [0.5, 0.5])
    scene.storage.ensure_slots(scene.study_id, ahead=1)
    last = scene.storage.claim(scene.study_id, "w-0")
    assert last is not None
    scene.storage.finish(last, TrialState.COMPLETE, [0.5, 0.5])
    answer = terminal("status", "--name", "s", "--watch")
    assert answer.code == 0
    assert "search: 5 of 5 ended (3 complete, 1 pruned, 1 failed)" in answer.err


def test_ctrl_c_ends_the_watch_and_nothing_else(scene: Scene) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    timer = threading.Timer(1.0, os.kill, [os.getpid(), signal.SIGINT])
    timer.start()
    watch_study(scene.storage, "s")
    timer.join()
    signal.signal(signal.SIGINT, before)
    assert scene.storage.counts(scene.study_id)[TrialState.RUNNING] == 1


# ------------------------------------------------------------------ Prometheus


def samples(text: str) -> dict[tuple[str, ...], float]:
    """Sample -> value; the key is its name and the values of its labels in order of their names."""
    return {
        (sample.name, *(sample.labels[key] for key in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def check(found: dict[tuple[str, ...], float]) -> None:
    assert found["tuner_up",] == 1
    for state, n in {"complete": 1, "pruned": 1, "failed": 1, "running": 1, "waiting": 0}.items():
        assert found["tuner_trials", "search", state, "s"] == n
    assert found["tuner_trials_budget", "search", "s"] == 5
    assert found["tuner_trials_without_files", "search", "s"] == 0
    # 3 of 5 have ended at that pace, so 2 are left.
    per_hour, left = found["tuner_trials_per_hour", "search", "s"], found["tuner_seconds_left", "search", "s"]
    assert left == pytest.approx(2 * 3600 / per_hour)
    ended = {key[1]: value for key, value in found.items() if key[0] == "tuner_attempts_total"}
    assert {k: v for k, v in ended.items() if v} == {"complete": 1, "pruned": 1, "failed": 2}
    assert found["tuner_workers", "s"] == 2
    assert 0 <= found["tuner_worker_heartbeat_age_seconds", "node-7", "4711", "s", "w-1"] < 60
    assert 0 <= found["tuner_trial_heartbeat_age_seconds", "search", "s", "3"] < 60
    assert found["tuner_best_objective", "auroc", "s"] == 0.9
    assert found["tuner_best_objective", "match_fraction", "s"] == 0.25


def test_metrics_file_says_what_the_database_holds(scene: Scene, terminal: Terminal) -> None:
    optuna.create_study(study_name="of another program", storage=scene.storage.url)
    for words in (("--name", "s"), ()):
        answer = terminal("status", *words, "--prometheus", "tuner.prom")
        assert (answer.code, answer.err) == (0, "wrote tuner.prom\n")
        check(samples((terminal.folder / "tuner.prom").read_text()))
    assert [p.name for p in terminal.folder.iterdir() if p.name.startswith("tuner.prom")] == ["tuner.prom"]


def test_a_reader_never_sees_half_a_metrics_file(scene: Scene, tmp_path: Path) -> None:
    file = tmp_path / "tuner.prom"
    write(scene.storage, "s", file)
    whole, end = set(samples(file.read_text())), threading.Event()

    def rewrite() -> None:
        while not end.is_set():
            write(scene.storage, "s", file)

    thread = threading.Thread(target=rewrite)
    thread.start()
    seen = [set(samples(file.read_text())) for _ in range(30)]
    end.set()
    thread.join()
    assert all(keys == whole for keys in seen)


def test_metrics_are_served_until_sigterm(scene: Scene, terminal: Terminal) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pages: list[str] = []

    def scrape() -> None:
        while not pages:
            try:
                pages.append(urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode())
            except OSError:
                time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=scrape)
    thread.start()
    answer = terminal("status", "--serve", str(port))
    thread.join()
    assert answer.code == 0
    assert f"http://127.0.0.1:{port}/metrics" in answer.err
    assert signal.getsignal(signal.SIGTERM) == before
    check(samples(pages[0]))


def test_a_database_that_cannot_be_read_is_down(scene: Scene, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "runs" / "tuner.db") as connection:
        connection.execute("ALTER TABLE trials RENAME TO elsewhere")
    connection.close()
    server = serve(scene.storage, None, Access("127.0.0.1"), 0)
    page = urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics", timeout=10).read().decode()
    server.shutdown()
    server.server_close()
    assert samples(page) == {("tuner_up",): 0.0}


def test_addresses_are_loopback_unless_told_otherwise() -> None:
    assert parse_address("9464") == parse_address(":9464") == ("127.0.0.1", 9464)
    assert parse_address("0.0.0.0:80") == ("0.0.0.0", 80)
    assert parse_address("[::1]:80") == ("::1", 80)
    for wrong in ("", "host", "host:", "host:x", "::1:80", "1:99999"):
        with pytest.raises(UsageError, match="is not an address; write 9464"):
            parse_address(wrong)


def test_what_excludes_each_other_is_misuse(scene: Scene, terminal: Terminal) -> None:
    code, text = terminal.refuses("status", "--watch", "--json")
    assert (code, text) == (2, "--json and --watch exclude each other; call tuner status once for each.")
    code, text = terminal.refuses("status", "--serve", "nowhere")
    assert (code, text) == (2, "--serve 'nowhere' is not an address; write 9464, 127.0.0.1:9464 or [::1]:9464.")
    code, text = terminal.refuses("status", "--prometheus", "no/folder/x.prom")
    assert code == 1
    assert text.startswith("--prometheus no/folder/x.prom: cannot be written")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, text = terminal.refuses("status", "--serve", f"127.0.0.1:{taken.getsockname()[1]}")
    assert code == 1
    assert "cannot listen on" in text
