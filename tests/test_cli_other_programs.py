"""Databases that tuner shares with other programs, and studies whose attributes somebody changed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from command_line import Terminal, write_tiny_study

from tuner.report.dashboard import write_notes
from tuner.search.loaded import Bench
from tuner.search.stages import Search
from tuner.storage.keys import IDENTITY, PACKAGES, SOURCE
from tuner.storage.storage import open_storage

pytestmark = pytest.mark.slow

FOREIGN = ("my-lgbm", "weird name / with spaces", "base-smoke", "running", "inf", "x.confirmation", "empty")
COMMANDS = (
    ("best",),
    ("show", "--trial", "0"),
    ("table",),
    ("evaluate",),
    ("evaluate", "--trial", "0"),
    ("report",),
    ("export", "--out", "m"),
    ("rerun", "--trial", "0"),
    ("confirm",),
    ("status",),
    ("status", "--json"),
    ("status", "--watch"),
    ("status", "--prometheus", "metrics.prom"),
    ("stop", "--no-wait"),
    ("delete", "--yes"),
    ("worker", "--study", "tiny"),
    ("worker", "--study", "tiny", "--wait", "0"),
    ("run", "--study", "./tiny.toml"),
)


def other_programs(url: str) -> None:
    """What lightgbm, a notebook and a sweep of somebody else have left."""

    def study(name: str, *directions: str) -> optuna.Study:
        return optuna.create_study(study_name=name, storage=url, directions=directions or ["minimize"])

    lgbm = study("my-lgbm")
    lgbm.optimize(lambda trial: trial.suggest_float("x", -1, 1) ** 2, n_trials=3)
    lgbm.set_user_attr("note", {"by": ["hand"]})
    for name in ("weird name / with spaces", "base-smoke"):
        study(name, "maximize", "maximize").optimize(lambda trial: (trial.suggest_float("x", 0, 1), 1.0), n_trials=2)
    study("running").ask().suggest_float("x", 0, 1)
    study("inf").optimize(lambda _: float("inf"), n_trials=2)
    study("x.confirmation", "maximize").optimize(lambda _: 1.0, n_trials=2)
    study("empty")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, bench: Bench) -> Path:
    """A database of one study of tuner, one trial done, among those of other programs."""
    path = tmp_path_factory.mktemp("runs") / "tuner.db"
    with closing(open_storage(path)) as storage:
        Search(bench.plan, bench.identity).prepare(storage)
    other_programs(f"sqlite:///{path}")
    return path


@pytest.fixture
def terminal(terminal: Terminal, shared: Path) -> Terminal:
    write_tiny_study(terminal.folder)
    (terminal.folder / "runs").mkdir()
    with closing(sqlite3.connect(shared)) as source:
        with closing(sqlite3.connect(terminal.folder / "runs/tuner.db")) as target:
            source.backup(target)
    return terminal


def database(terminal: Terminal) -> Path:
    return terminal.folder / "runs" / "tuner.db"


def rows(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Everything that Optuna's tables hold of studies and trials."""
    tables = ("studies", "trials", "trial_params", "trial_values", "study_user_attributes", "study_system_attributes")
    with closing(sqlite3.connect(path)) as connection:
        return {table: connection.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall() for table in tables}


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_studies_of_other_programs_are_refused_by_name(terminal: Terminal, command: tuple[str, ...]) -> None:
    before = rows(database(terminal))
    for name in FOREIGN:
        code, text = terminal.refuses(*command, "--name", name)
        assert (code, f"{name} is not a study of tuner: another program created" in text) == (1, True), text
    assert rows(database(terminal)) == before


def test_the_one_study_of_tuner_is_found_among_others_and_these_are_listed_apart(terminal: Terminal) -> None:
    status = terminal("status", "--json").json
    assert status["study"] == "tiny"
    assert status["other_programs"] == sorted(FOREIGN)
    text = terminal("status").err
    assert "studies of other programs in this database: base-smoke, empty, inf, my-lgbm, running" in text
    assert terminal("best", "--json").json["study"] == "tiny"
    assert terminal("status", "--prometheus", "all.prom").code == 0
    metrics = (terminal.folder / "all.prom").read_text()
    assert 'study="tiny"' in metrics
    assert not [name for name in FOREIGN if f'study="{name}"' in metrics]


@pytest.mark.parametrize("command", [c for c in COMMANDS if c[0] in ("best", "table", "status", "evaluate", "stop")])
def test_a_database_without_a_study_of_tuner_says_whose_are_there(terminal: Terminal, command: tuple[str, ...]) -> None:
    other_programs(f"sqlite:///{terminal.folder / 'others.db'}")
    if "--prometheus" in command:
        return
    code, text = terminal.refuses(*command, "--storage", "others.db")
    assert code == 2
    assert "no study of tuner in this storage; of other programs: base-smoke, empty, inf, my-lgbm" in text
    code, text = terminal.refuses(*command, "--storage", "others.db", "--study", "my-lgbm")
    assert (code, "my-lgbm is not a study of tuner" in text) == (1, True)
    code, text = terminal.refuses(*command, "--storage", "others.db", "--study", "base", "--preset", "smoke")
    assert (code, "base-smoke is not a study of tuner" in text) == (1, True)


def test_a_stage_of_another_program_is_no_stage_of_the_study(terminal: Terminal, bench: Bench) -> None:
    """`tiny.confirmation` and `tiny.controls` by somebody else: not counted, not deleted, not written on."""
    url = f"sqlite:///{database(terminal)}"
    for suffix, values in (("confirmation", 2), ("controls", 1)):
        study = optuna.create_study(study_name=f"tiny.{suffix}", storage=url, directions=["maximize"] * values)
        study.optimize(lambda trial, n=values: [trial.suggest_float("x", 0, 1)] * n, n_trials=2)
        study.set_user_attr("theirs", 1)
    before = rows(database(terminal))
    assert [s["stage"] for s in terminal("status", "--json").json["stages"]] == ["search"]
    best = terminal("best", "--json").json
    assert (best["confirmation"], best["controls"]) == ([], {})
    for suffix in ("confirmation", "controls"):
        assert terminal.refuses("best", "--name", f"tiny.{suffix}")[0] == 1
    with closing(open_storage(database(terminal))) as storage:
        assert write_notes(storage, bench) == ["tiny"]
    code, text = terminal.refuses("run", "--study", "./tiny.toml")
    assert code == 1
    assert "tiny.confirmation is not a study of tuner: another program created a study of this name" in text
    assert "and tiny needs it. Choose another with --name" in text
    deleted = terminal("delete", "--name", "tiny", "--yes", "--json").json
    assert deleted["deleted"] == ["tiny"]
    after = rows(database(terminal))
    theirs = {row[0] for row in before["studies"] if row[1] != "tiny"}
    assert {row[0] for row in after["studies"]} == theirs
    assert after["trial_params"] == before["trial_params"]


def test_a_worker_does_not_wait_for_what_another_program_has_made(terminal: Terminal) -> None:
    (terminal.folder / "tiny.toml").unlink()
    code, text = terminal.refuses("worker", "--study", "my-lgbm", "--wait", "300")
    assert (code, "my-lgbm is not a study of tuner" in text) == (1, True)


DEEP = "[" * 100_000
WRONG = json.dumps(json.dumps({"data set": 7, "study": [], "parameters": 1, "name": [], "trials": "x"}))
CORRUPT = [
    *((IDENTITY, value) for value in ("no JSON", json.dumps("[1, 2]"), "7", json.dumps(DEEP), WRONG)),
    *((SOURCE, value) for value in ("[1]", json.dumps("no JSON"), DEEP, json.dumps(DEEP), WRONG)),
    *(("study:metric_names", value) for value in ("7", "[]", '["auroc"]', '["a", "b"]', DEEP)),
    *((PACKAGES, value) for value in ("7", json.dumps(DEEP), json.dumps('{"tuner": 1}'))),
    *(("tuner:test_openings", value) for value in ("7", json.dumps(DEEP), json.dumps("no JSON"))),
]
READERS = [
    c for c in COMMANDS if c[0] in ("best", "show", "table", "status", "rerun") or "--trial" in c or "--wait" in c
]


@pytest.fixture
def corrupt(terminal: Terminal) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(database(terminal))) as connection:
        yield connection


@pytest.mark.parametrize("command", READERS, ids=" ".join)
def test_attributes_that_somebody_changed_end_in_one_clear_line(
    terminal: Terminal, corrupt: sqlite3.Connection, command: tuple[str, ...]
) -> None:
    if "--watch" in command:
        return  # it looks until the study has ended
    study_id = corrupt.execute("SELECT study_id FROM studies WHERE study_name = 'tiny'").fetchone()[0]
    where = "WHERE key = ? AND study_id = ?"
    corrupt.execute(
        "INSERT INTO study_system_attributes (study_id, key, value_json) VALUES (?, 'tuner:test_openings', '\"[]\"')",
        (study_id,),
    )
    for key, value in CORRUPT:
        (before,) = corrupt.execute(
            f"SELECT value_json FROM study_system_attributes {where}", (key, study_id)
        ).fetchone()
        corrupt.execute(f"UPDATE study_system_attributes SET value_json = ? {where}", (value, key, study_id))
        corrupt.commit()
        answer = terminal(*command, "--name", "tiny")
        assert "this is a bug" not in answer.err, (key, value[:80], answer.err)
        assert answer.code in (0, 1, 2)
        corrupt.execute(f"UPDATE study_system_attributes SET value_json = ? {where}", (before, key, study_id))
        corrupt.commit()


def test_what_others_have_broken_does_not_touch_ours(terminal: Terminal, corrupt: sqlite3.Connection) -> None:
    corrupt.execute("UPDATE study_user_attributes SET value_json = 'no JSON'")
    corrupt.execute("UPDATE trial_params SET distribution_json = ?", (DEEP,))
    corrupt.execute("UPDATE study_directions SET direction = 'SIDEWAYS' WHERE study_id > 1")
    corrupt.commit()
    assert terminal("status", "--json").json["study"] == "tiny"
    assert terminal("best", "--json").json["study"] == "tiny"
    assert terminal.refuses("best", "--name", "my-lgbm")[0] == 1


def test_values_of_a_trial_that_somebody_changed_end_in_one_clear_line(
    terminal: Terminal, corrupt: sqlite3.Connection
) -> None:
    with closing(open_storage(database(terminal))) as storage:
        study_id = storage.get_study_id_from_name("tiny")
        storage.ensure_slots(study_id, ahead=1)
        attempt = storage.claim(study_id, "w")
        assert attempt is not None
        study = optuna.load_study(study_name="tiny", storage=storage)
        with storage.drawing(attempt):
            optuna.trial.Trial(study, attempt.trial_id).suggest_int("filters", 1, 8)
    where = "WHERE trial_id = ?"
    for statement in (
        f"UPDATE trial_params SET distribution_json = 'no JSON' {where}",
        f"UPDATE trial_params SET distribution_json = '[]' {where}",
        f"UPDATE trial_params SET distribution_json = '{DEEP}' {where}",
    ):
        assert corrupt.execute(statement, (attempt.trial_id,)).rowcount == 1
        corrupt.commit()
        assert terminal("status", "--name", "tiny").code == 0, "it reads no parameters"
        assert terminal("best", "--name", "tiny").code == 0, "it reads those of completed trials"
        for command in (("show", "--trial", "0"), ("table",)):
            code, text = terminal.refuses(*command, "--name", "tiny")
            assert code == 1
            assert "the study tiny cannot be read: a value of a trial is not what Optuna writes" in text
