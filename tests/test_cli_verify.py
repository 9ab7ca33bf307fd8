"""Files of a study that were lost or damaged are found, named and restored, and nothing is computed from them."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from command_line import Terminal, copy_runs, worker_in
from optuna.trial import FrozenTrial

from tuner.results.overview import find_trial
from tuner.search.loaded import Bench
from tuner.search.stages import Search
from tuner.storage.storage import open_storage

pytestmark = pytest.mark.slow

WEIGHTS = "model.safetensors"


@pytest.fixture
def terminal(terminal: Terminal, finished: Path) -> Terminal:
    """A terminal in a copy of the runs that a test may spoil."""
    copy_runs(finished, terminal.folder)
    return terminal


def change(folder: Path, statement: str, *values: object) -> None:
    with sqlite3.connect(folder / "runs" / "tuner.db") as connection:
        assert connection.execute(statement, values).rowcount > 0
    connection.close()


def trial_of(folder: Path, number: int, stage: str) -> FrozenTrial:
    storage = open_storage(folder / "runs" / "tuner.db")
    try:
        return find_trial(storage, "tiny", number, stage)
    finally:
        storage.close()


def file_of(folder: Path, name: str, number: int = 0, stage: str = "search") -> Path:
    """Where a file of a trial lies, by the entries that Optuna's own dashboard reads."""
    for key, value in trial_of(folder, number, stage).system_attrs.items():
        if key.startswith("artifacts:") and json.loads(value)["filename"] == name:
            return folder / "runs" / "artifacts" / key.removeprefix("artifacts:")
    raise AssertionError(name)


def flip(path: Path) -> None:
    """Flip the lowest bit of the last byte but two: of weights, a bit of one float32 of the last tensor."""
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)


def test_a_whole_study_has_nothing_wrong(terminal: Terminal) -> None:
    answer = terminal("verify", "--json")
    assert answer.code == 0, answer.err
    assert answer.json["problems"] == []
    # 2 trials, 2 retrained networks, 2 null networks (shuffled labels, composition alone), 5 baselines.
    assert answer.json["trials"] == 11
    assert answer.json["files"] == 4 * 7 + 2 * 3 + 5
    assert answer.json["undigested"] == 0


@pytest.mark.parametrize(
    "words", [("evaluate",), ("report", "--modisco", "none", "--references", "3", "--threads", "1")], ids=lambda w: w[0]
)
def test_one_flipped_bit_of_the_weights_is_named_and_nothing_is_scored(words: list[str], terminal: Terminal) -> None:
    flip(file_of(terminal.folder, WEIGHTS, 0, "confirmation"))
    code, text = terminal.refuses(*words)
    assert code == 1
    assert "confirmation trial 0: model.safetensors is damaged" in text
    assert "tuner rerun --stage confirmation --trial 0" in text
    assert terminal("status", "--json").json["test_openings"] == []


def test_one_flipped_bit_is_not_saved(terminal: Terminal) -> None:
    flip(file_of(terminal.folder, WEIGHTS))
    code, text = terminal.refuses("show", "--trial", "0", "--save", "saved")
    assert code == 1
    assert "trial 0: model.safetensors is damaged" in text
    assert not (terminal.folder / "saved").exists()


@pytest.mark.parametrize("size", [0, 100])
def test_truncated_files_are_named_by_the_command_that_needs_them(size: int, terminal: Terminal) -> None:
    history, baseline = (
        file_of(terminal.folder, "history.tsv"), file_of(terminal.folder, "baseline.npz", 0, "controls"),
    )  # fmt: skip
    for path in (history, baseline):
        path.write_bytes(path.read_bytes()[:size])
    for words, name in (
        (("table", "--history", "h.tsv"), "trial 0: history.tsv"),
        (("evaluate",), "controls trial 0: baseline.npz"),
    ):
        code, text = terminal.refuses(*words)
        assert code == 1
        assert f"{name} is damaged" in text
        assert f"has {size} bytes" in text
    assert "trial 0: history.tsv is damaged" in " ".join(terminal("show", "--trial", "0", "--json").json["warnings"])


def test_rerun_writes_back_exactly_what_was_lost_or_damaged(terminal: Terminal) -> None:
    weights, matches = (file_of(terminal.folder, name) for name in (WEIGHTS, "matches.tsv"))
    before = weights.read_bytes(), matches.read_bytes()
    flip(weights)
    matches.unlink()
    found = terminal("verify", "--json")
    assert found.code == 1
    assert [(p["trial"], p["file"], p["remedy"]) for p in found.json["problems"]] == [
        (0, WEIGHTS, "tuner rerun --name tiny --trial 0"), (0, "matches.tsv", "tuner rerun --name tiny --trial 0")
    ]  # fmt: skip
    answer = terminal("rerun", "--trial", "0", "--json")
    assert answer.code == 0, answer.err
    assert answer.json["files"] == [{"name": n, "state": "restored"} for n in (WEIGHTS, "matches.tsv")]
    assert (weights.read_bytes(), matches.read_bytes()) == before
    assert terminal("verify").code == 0


def test_files_of_every_stage_are_restored(terminal: Terminal) -> None:
    lost = [("confirmation", 0, WEIGHTS), ("controls", 1, "baseline.npz"), ("controls", 5, WEIGHTS)]
    before = {one: file_of(terminal.folder, one[2], one[1], one[0]).read_bytes() for one in lost}
    for stage, number, name in lost:
        file_of(terminal.folder, name, number, stage).unlink()
    text = terminal("verify").err
    for stage, number, name in lost:
        start = f"tiny {stage}: {stage} trial {number}: {name} is missing"
        (told,) = [line for line in text.splitlines() if start in line]
        remedy = f"tuner rerun --name tiny --stage {stage} --trial {number}."
        assert told.endswith(f"; was the study made with another --artifacts folder? Remedy: {remedy}")
        answer = terminal("rerun", "--stage", stage, "--trial", str(number), "--json")
        assert answer.code == 0, answer.err
        assert answer.json["files"] == [{"name": name, "state": "restored"}]
        assert file_of(terminal.folder, name, number, stage).read_bytes() == before[stage, number, name]
    assert terminal("verify").code == 0


def test_a_history_holds_measured_seconds_so_its_new_digest_is_recorded(terminal: Terminal) -> None:
    path = file_of(terminal.folder, "history.tsv")
    path.write_bytes(b"")
    answer = terminal("rerun", "--trial", "0")
    assert answer.code == 0
    assert "history.tsv: made anew" in answer.err
    assert path.read_text().startswith("epoch\t")
    assert terminal("verify").code == 0


def test_what_is_not_what_was_stored_is_not_written_back(terminal: Terminal) -> None:
    path = file_of(terminal.folder, WEIGHTS)
    path.unlink()
    change(
        terminal.folder,
        "UPDATE trial_system_attributes SET value_json = replace(value_json, ?, ?) WHERE key = 'tuner:digests'",
        trial_of(terminal.folder, 0, "search").system_attrs["tuner:digests"].split('"')[3],
        "0" * 64,
    )
    answer = terminal("rerun", "--trial", "0")
    assert answer.code == 1
    assert "model.safetensors: not written" in answer.err
    assert not path.exists()


def test_another_store_is_not_filled_by_mistake(terminal: Terminal) -> None:
    answer = terminal("rerun", "--trial", "0", "--artifacts", "elsewhere")
    assert answer.code == 0
    assert "elsewhere has no file of tiny" in answer.err
    assert list((terminal.folder / "elsewhere").iterdir()) == []


def test_files_of_an_older_version_are_read_by_size_and_that_is_said(terminal: Terminal) -> None:
    change(terminal.folder, "DELETE FROM trial_system_attributes WHERE key = 'tuner:digests'")
    answer = terminal("verify", "--json")
    assert answer.code == 0
    assert answer.json["undigested"] == answer.json["files"]
    assert terminal("evaluate").code == 0
    report = terminal("report", "--modisco", "none", "--references", "3", "--threads", "1", "--json")
    assert report.code == 0, report.err
    assert any("stored by a version of tuner that kept no digests" in w for w in report.json["warnings"])
    path = file_of(terminal.folder, WEIGHTS, 0, "confirmation")
    path.write_bytes(path.read_bytes()[:-4])
    assert "confirmation trial 0: model.safetensors is damaged" in terminal.refuses("evaluate")[1]


def test_a_file_without_digest_and_size_that_is_none_is_no_bug(terminal: Terminal) -> None:
    change(terminal.folder, "DELETE FROM trial_system_attributes WHERE key IN ('tuner:digests', 'tuner:sizes')")
    for name, content in ((WEIGHTS, b""), (WEIGHTS, b"\xff" * 99), ("model.json", b"{}"), ("model.json", b"\xff")):
        path = file_of(terminal.folder, name, 0, "confirmation")
        before = path.read_bytes()
        path.write_bytes(content)
        code, text = terminal.refuses("evaluate")
        assert code == 1
        assert "confirmation trial 0: model.safetensors or model.json is damaged" in text
        path.write_bytes(before)


def test_a_trial_whose_files_could_not_be_written_says_so_and_rerun_writes_them(
    terminal: Terminal, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = open_storage(terminal.folder / "runs" / "tuner.db")
    study_id = storage.get_study_id_from_name("tiny")
    storage.set_budget(study_id, 3)
    worker = worker_in(bench, terminal.folder / "runs", storage)
    # A file where a part of a path should be: no file can be written, as when there is no room.
    shutil.move(terminal.folder / "runs" / "artifacts", terminal.folder / "kept")
    (terminal.folder / "runs" / "artifacts").write_text("")
    worker.work([Search(bench.plan, bench.identity, sets_budget=False)])
    (terminal.folder / "runs" / "artifacts").unlink()
    shutil.move(terminal.folder / "kept", terminal.folder / "runs" / "artifacts")
    storage.close()
    found = terminal("verify", "--json")
    assert found.code == 1
    assert {p["trial"] for p in found.json["problems"]} == {2}
    names = {p["file"] for p in found.json["problems"]}
    assert {WEIGHTS, "model.json", "filters.meme", "matches.tsv", "history.tsv"} <= names
    assert "could not be written when the trial ended" in terminal.refuses("show", "--trial", "2", "--save", "s")[1]
    answer = terminal("rerun", "--trial", "2", "--json")
    assert answer.code == 0, answer.err
    states = {f["name"]: f["state"] for f in answer.json["files"]}
    assert states.keys() == names
    assert states[WEIGHTS] == "restored"
    assert terminal("verify").code == 0
    assert terminal("show", "--trial", "2", "--save", "s").code == 0


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE trials SET state = 'RUNNING' WHERE number = 1", "is RUNNING, and no attempt is live"),
        ("UPDATE trials SET state = 'WAITING' WHERE number = 1", "is WAITING, and an attempt ended as complete"),
        ("UPDATE trials SET state = 'FAIL' WHERE number = 1", "is FAIL, and its attempts ended as complete"),
        ("DELETE FROM trial_values WHERE trial_id = 2", "is COMPLETE, and it has 0 values for 2 objectives"),
        ("DELETE FROM tuner_attempts WHERE trial_id = 2", "is COMPLETE, and its attempts ended as nothing"),
        ("UPDATE tuner_attempts SET outcome = NULL WHERE trial_id = 2", "is COMPLETE, and an attempt is live"),
        ("UPDATE tuner_studies SET budget = 1", "2 trials, and the budget is 1"),
        ("UPDATE trials SET number = 7 WHERE number = 1", "2 trials are not numbered 0 to 1"),
    ],
)
def test_trials_that_contradict_their_attempts_are_named(statement: str, words: str, terminal: Terminal) -> None:
    change(terminal.folder, statement)
    answer = terminal("verify")
    assert answer.code == 1
    assert words in answer.err
    assert "Remedy: another program changed it" in answer.err


def test_a_figure_of_a_report_that_was_lost_is_named_and_drawn_again(terminal: Terminal) -> None:
    report = ("report", "--modisco", "none", "--references", "3", "--threads", "1")
    assert terminal(*report).code == 0
    with sqlite3.connect(terminal.folder / "runs" / "tuner.db") as connection:
        [(stored,)] = connection.execute(
            "SELECT value_json FROM study_system_attributes WHERE key = 'tuner:report-figures'"
        )
    connection.close()
    name, (key, _) = next(iter(json.loads(json.loads(stored)).items()))
    path = terminal.folder / "runs" / "artifacts" / key.removeprefix("artifacts:")
    before = path.read_bytes()
    path.write_bytes(before[:-1])
    answer = terminal("verify")
    assert answer.code == 1
    assert f"{name} is damaged" in answer.err
    assert "tuner report --name tiny draws it again" in answer.err
    assert terminal(*report).code == 0
    assert path.read_bytes() == before
    assert terminal("verify").code == 0
