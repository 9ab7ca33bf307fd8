"""The commands that look at a study, on one that was really trained."""

from __future__ import annotations

import csv
import json
import os
import queue
import shutil
import socket
import sqlite3
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import optuna
import optuna_dashboard
import pytest
from command_line import Terminal, copy_runs, prepare_environment
from optuna.trial import TrialState

from tuner.report.dashboard import serve, write_notes
from tuner.report.server import Access
from tuner.results.overview import overview
from tuner.search.checks import sample_points
from tuner.search.loaded import Bench
from tuner.storage.artifacts import Artifacts
from tuner.storage.storage import FencedStorage, open_storage

pytestmark = pytest.mark.slow


@pytest.fixture
def terminal(terminal: Terminal, finished: Path) -> Terminal:
    terminal.folder = finished
    return terminal


@pytest.fixture
def copy(terminal: Terminal, tmp_path: Path) -> Terminal:
    """A terminal in a copy of the runs that a test may spoil."""
    copy_runs(terminal.folder, tmp_path)
    terminal.folder = tmp_path
    return terminal


def change(folder: Path, statement: str, *values: object) -> None:
    with sqlite3.connect(folder / "runs" / "tuner.db") as connection:
        assert connection.execute(statement, values).rowcount > 0
    connection.close()


def test_status_counts_every_stage(terminal: Terminal) -> None:
    status = terminal("status", "--study", "tiny", "--json").json
    ended = {s["stage"]: (s["ended"], s["total"], s["states"]["complete"]) for s in status["stages"]}
    # 1 candidate x 2 seeds; 5 baselines, 1 label-shuffled and 1 composition-only network.
    assert ended == {"search": (2, 2, 2), "confirmation": (2, 2, 2), "controls": (7, 7, 7)}
    assert status["finished"]
    assert status["test_openings"] == []
    assert set(status["best"]) == {"auroc", "match_fraction"}
    text = terminal("status", "--watch").err
    assert "search: 2 of 2 ended (2 complete)" in text
    assert "test split never opened" in text


def test_show_is_what_the_artifacts_say(terminal: Terminal, finished: Path) -> None:
    shown = terminal("show", "--trial", "1", "--save", "saved", "--json").json
    assert (shown["study"], shown["number"], shown["state"]) == ("tiny", 1, "COMPLETE")
    assert shown["values"] == {name: shown["watched"][name] for name in ("auroc", "match_fraction")}
    saved = {path.name for path in (finished / "saved").iterdir()}
    assert saved == {a["name"] for a in shown["artifacts"]}
    assert {"model.safetensors", "model.json", "filters.meme", "filters.svg", "learning_curve.svg"} <= saved
    with (finished / "saved" / "history.tsv").open() as stream:
        history = list(csv.DictReader(stream, delimiter="\t"))
    assert [float(h["auroc"]) for h in history] == [h["auroc"] for h in shown["history"]]
    assert len(shown["history"]) == shown["watched"]["epochs"] == 2
    assert len(shown["matches"]) == shown["params"]["filters"] == 8
    assert sum(m["significant"] for m in shown["matches"]) / 32 == shown["values"]["match_fraction"]
    text = terminal("show", "--trial", "1").err
    assert "filters and their best matches" in text
    assert "exponential" in text or "relu" in text


def test_show_reaches_every_stage(terminal: Terminal) -> None:
    confirmation = terminal("show", "--trial", "0", "--stage", "confirmation", "--json").json
    assert {"candidate", "replicate"} <= confirmation["attributes"].keys()
    control = terminal("show", "--trial", "0", "--stage", "controls", "--json").json
    assert set(control["values"]) == {"auroc"}
    assert control["history"] is None


def test_show_refuses_what_is_not_there(terminal: Terminal) -> None:
    assert terminal.refuses("show", "--trial", "7", "--json") == (
        2,
        "tiny: no trial 7 in the search; it has trials 0 to 1.",
    )
    code, text = terminal.refuses("show", "--trial", "0", "--stage", "confirm")
    assert (code, text) == (2, "unknown stage 'confirm'; did you mean 'confirmation'?")
    code, text = terminal.refuses("show", "--trial", "0", "--name", "tinny")
    assert (code, text) == (2, "unknown study in this storage 'tinny'; did you mean 'tiny'?")


def test_lost_artifacts_are_said_and_not_invented(copy: Terminal) -> None:
    shutil.rmtree(copy.folder / "runs" / "artifacts")
    answer = copy("show", "--trial", "0", "--json")
    assert answer.code == 0
    assert answer.json["history"] is None
    assert not any(a["present"] for a in answer.json["artifacts"])
    assert "another --artifacts folder" in " ".join(answer.json["warnings"])
    code, text = copy.refuses("show", "--trial", "0", "--save", "saved")
    assert code == 1
    assert "is missing from" in text
    assert not (copy.folder / "saved").exists()


def test_best_is_json_without_infinities(terminal: Terminal) -> None:
    best = terminal("best", "--json").json
    assert [o["name"] for o in best["objectives"]] == ["auroc", "match_fraction"]
    assert {"number", "state", "values", "watched", "params", "pareto", "reason"} <= best["trials"][0].keys()
    assert best["primary"]["primary"] in {t["number"] for t in best["trials"]}


def test_rerun_gives_exactly_the_stored_values(terminal: Terminal) -> None:
    answer = terminal("rerun", "--trial", "0", "--json")
    assert answer.code == 0
    assert answer.json["equal"]
    names = {row["name"] for row in answer.json["values"]}
    assert {"auroc", "loss", "match_fraction", "match_null", "used_match_fraction", "best_epoch"} <= names
    assert "seconds" not in names


def test_rerun_names_the_value_that_differs(copy: Terminal) -> None:
    change(
        copy.folder,
        "UPDATE trial_user_attributes SET value_json = '0.123' WHERE key = 'loss' AND trial_id = "
        "(SELECT trial_id FROM trials JOIN studies USING (study_id) WHERE study_name = 'tiny' AND number = 0)",
    )
    answer = copy("rerun", "--trial", "0")
    assert answer.code == 1
    assert "values differ: loss" in answer.err
    assert "Traceback" not in answer.err


def test_rerun_refuses_other_data(terminal: Terminal, finished: Path) -> None:
    original = (finished / "positives.fa").read_text()
    (finished / "positives.fa").write_text(original.replace("A", "C", 400))
    try:
        code, text = terminal.refuses("rerun", "--trial", "0")
    finally:
        (finished / "positives.fa").write_text(original)
    assert code == 2
    assert "tiny was created with another data set: fingerprint" in text


def test_confirm_of_a_confirmed_study_declares_the_same(terminal: Terminal) -> None:
    before = terminal("best", "--json").json
    after = terminal("confirm", "--workers", "1", "--json")
    assert after.code == 0
    assert after.json["primary"] == before["primary"]
    assert after.json["confirmation"] == before["confirmation"]


def test_confirm_refuses_a_search_that_goes_on(copy: Terminal) -> None:
    opened = open_storage(copy.folder / "runs" / "tuner.db")
    opened.set_budget(opened.get_study_id_from_name("tiny"), 3)
    opened.close()
    code, text = copy.refuses("confirm")
    assert code == 2
    assert "2 of 3 trials have ended" in text


def test_several_studies_must_be_told_apart(copy: Terminal) -> None:
    opened = open_storage(copy.folder / "runs" / "tuner.db")
    for name in ("tiny-fast", "other"):
        opened.create_or_load(name, ["maximize"], metric_names=["auroc"])
    opened.close()
    code, text = copy.refuses("best")
    assert code == 2
    assert "this storage holds: other, tiny, tiny-fast" in text
    assert copy("best", "--study", "tiny", "--preset", "standard", "--json").json["study"] == "tiny"
    assert copy("best", "--study", "tiny", "--preset", "fast", "--json").json["trials"] == []


def test_delete_asks_and_takes_everything(copy: Terminal) -> None:
    runs = copy.folder / "runs"
    for beside in ("checkpoints/tiny.confirmation", "logs/tiny"):
        (runs / beside).mkdir(parents=True)
        (runs / beside / "file").write_text("")
    other = runs / "artifacts" / "of-another-study"
    other.write_text("")
    code, text = copy.refuses("delete", "--study", "tiny")
    assert code == 2
    assert "11 trials" in text
    assert "--yes" in text
    assert copy.refuses("delete")[0] == 2, "delete takes no default"
    answer = copy("delete", "--study", "tiny", "--yes", "--json")
    assert answer.json["deleted"] == ["tiny", "tiny.confirmation", "tiny.controls"]
    assert [p.name for p in (runs / "artifacts").iterdir()] == [other.name]
    assert [p for p in (runs / "checkpoints").iterdir()] == [p for p in (runs / "logs").iterdir()] == []
    with sqlite3.connect(runs / "tuner.db") as connection:
        tables = ("studies", "trials", "trial_params", "tuner_attempts", "tuner_once", "tuner_studies")
        left = {t: connection.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in tables}
    connection.close()
    assert left == dict.fromkeys(tables, 0)


def test_delete_touches_no_file_that_a_stored_name_points_to(copy: Terminal) -> None:
    victim = copy.folder / "victim"
    victim.write_text("")
    change(copy.folder, "UPDATE trial_system_attributes SET key = ? WHERE key LIKE 'artifacts:%'"
           " AND trial_system_attribute_id = (SELECT min(trial_system_attribute_id) FROM"
           " trial_system_attributes WHERE key LIKE 'artifacts:%')", "artifacts:../../victim")  # fmt: skip
    assert copy("delete", "--name", "tiny", "--yes").code == 0
    assert victim.exists()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[FencedStorage]:
    """A study with one pruned, one failed, one running and two missing slots."""
    storage = open_storage(tmp_path / "runs" / "tuner.db")
    study_id = storage.create_or_load("busy", ["maximize"], metric_names=["auroc"])
    storage.set_budget(study_id, 5)
    storage.ensure_slots(study_id, ahead=3)
    first, second, third = (storage.claim(study_id, f"worker-{i}") for i in range(3))
    assert first is not None
    assert second is not None
    assert third is not None
    storage.finish(first, TrialState.PRUNED, user_attrs={"reason": "the loss is nan"})
    storage.fail_attempt(second, "KeyError: 'x'", max_failures=1)
    storage.beat(third, {"epoch": 3, "epochs": 60, "auroc": 0.8123})
    yield storage
    storage.close()


def test_status_shows_who_runs_what_and_what_went_wrong(
    running: FencedStorage, tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    prepare_environment(cache, monkeypatch)
    terminal = Terminal(tmp_path, capsys, monkeypatch)
    search = terminal("status", "--json").json["stages"][0]
    assert search["states"] == {"complete": 0, "pruned": 1, "failed": 1, "running": 1, "waiting": 0}
    assert (search["ended"], search["total"]) == (2, 5)
    slot = search["running"][0]
    assert (slot["trial"], slot["worker"], slot["epoch"], slot["auroc"]) == (2, "worker-2", 3, 0.8123)
    assert slot["pid"] == os.getpid()
    assert 0 <= slot["heartbeat_seconds"] < 60
    text = terminal("status").err
    assert "pruned: trial 0: the loss is nan" in text
    assert "failed for good: trial 1: KeyError: 'x'" in text
    assert "trial 2: epoch 3 of at most 60, AUROC 0.8123; worker-2 on" in text
    assert not overview(running, "busy").finished


def test_delete_refuses_while_a_worker_lives(
    running: FencedStorage, tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    prepare_environment(cache, monkeypatch)
    terminal = Terminal(tmp_path, capsys, monkeypatch)
    code, text = terminal.refuses("delete", "--name", "busy", "--yes")
    assert code == 2
    assert f"trial 2 is running on {os.uname().nodename} (process {os.getpid()}" in text
    assert terminal("delete", "--name", "busy", "--yes", "--force", "--json").json["deleted"] == ["busy"]


def test_notes_explain_and_keep_what_a_person_wrote(copy: Terminal, bench: Bench) -> None:
    with sqlite3.connect(copy.folder / "runs" / "tuner.db") as connection:  # a note of an earlier test
        connection.execute("DELETE FROM study_system_attributes WHERE key LIKE '%note%'")
    connection.close()
    storage = open_storage(copy.folder / "runs" / "tuner.db")
    assert write_notes(storage, bench) == ["tiny", "tiny.confirmation", "tiny.controls"]
    study = optuna.load_study(study_name="tiny", storage=storage)
    note = optuna_dashboard.get_note(study)
    for words in (
        "validation split",
        "`match_fraction`",
        "Primary trial",
        "12 targets",
        "planted (M0)",
        "not been opened",
    ):
        assert words in note
    assert write_notes(storage, bench) == [], "nothing has changed"
    optuna_dashboard.save_note(study, "what I think of it")
    assert write_notes(storage, bench) == []
    assert optuna_dashboard.get_note(study) == "what I think of it"
    storage.close()


def test_dashboard_serves_study_and_artifacts(terminal: Terminal, finished: Path) -> None:
    storage = open_storage(finished / "runs" / "tuner.db")
    ports: queue.Queue[int] = queue.Queue()
    threading.Thread(
        target=serve, args=(storage, Artifacts(finished / "runs" / "artifacts"), Access("127.0.0.1")),
        kwargs={"port": 0, "ready": ports.put}, daemon=True,
    ).start()  # fmt: skip
    port = ports.get(timeout=60)

    def read(path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
            return bytes(answer.read())

    names = {s["study_name"] for s in json.loads(read("/api/studies"))["study_summaries"]}
    assert names == {"tiny", "tiny.confirmation", "tiny.controls"}
    study_id = storage.get_study_id_from_name("tiny")
    trial = json.loads(read(f"/api/studies/{study_id}?after=0"))["trials"][0]
    image = next(a for a in trial["artifacts"] if a["filename"] == "filters.svg")
    picture = read(f"/artifacts/{study_id}/{trial['trial_id']}/{image['artifact_id']}")
    assert image["mimetype"] == "image/svg+xml"  # shown as a picture
    assert picture.startswith(b"<svg ")


def test_dashboard_says_which_port_is_taken(terminal: Terminal) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, text = terminal.refuses("dashboard", "--port", str(port))
    assert code == 1
    assert text == f"cannot listen on 127.0.0.1:{port} (Address already in use). Choose another --port or --host."


def test_sampled_points_are_points_of_the_space_and_reach_its_corners(bench: Bench) -> None:
    space = bench.plan.space
    points = sample_points(space, 40, seed=1)
    assert points == sample_points(space, 40, seed=1)
    assert [space.complete(p, "here") for p in points] == points
    assert {p["kernel_size"] for p in points} == {7, 9, 11}
    assert [p["kernel_size"] for p in points[:2]] == [7, 11]
