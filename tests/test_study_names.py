"""One rule for the names of studies, at every door that makes one; and no name leads out of a folder."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from command_line import Terminal, write_tiny_study
from hypothesis import given
from hypothesis import strategies as st

from tuner.errors import StudyError, UsageError
from tuner.results.deletion import Doomed, delete
from tuner.search.stages import check_name_of
from tuner.search.supervisor import INDEX, Supervisor
from tuner.storage.artifacts import Artifacts
from tuner.storage.names import LONGEST, check_name, check_stored_name, check_worker_name, folder_name, name_fault
from tuner.storage.storage import open_storage
from tuner.study.file import read_study

pytestmark = pytest.mark.slow

BROKEN = [
    ("../../x", "it contains '.'"),
    ("/etc/x", "it contains '/'"),
    ("a.b", "it contains '.'"),
    ("t2.confirmation", "the stages of a study are called NAME.confirmation and NAME.controls"),
    ("{i}", "it contains '{'"),
    ("{device}", "it contains '{'"),
    ("my study", "it contains ' '"),
    ("-x", "it begins with '-'"),
    ("--yes", "it begins with '-'"),
    ("", "it is empty"),
    (".", "it contains '.'"),
    ("a\nb", r"it contains '\\n'"),
    ("a\x1b[31m", r"it contains '\\x1b'"),
    ("Zürich", r"it contains '\\xfc'"),
    ("x" * (LONGEST + 1), f"it has {LONGEST + 1} characters, but at most {LONGEST}"),
]
SOUND = ["zbed2", "zbed2-smoke-seed3", "_x", "0", "A-b_C", "x" * LONGEST]


@pytest.fixture
def terminal(terminal: Terminal) -> Terminal:
    write_tiny_study(terminal.folder)
    return terminal


@pytest.mark.parametrize("name", SOUND)
def test_sound_names_are_taken(name: str) -> None:
    check_name(name)
    check_stored_name(f"{name[:100]}.controls")
    assert folder_name(name) == name


@pytest.mark.parametrize(("name", "why"), BROKEN, ids=lambda value: ascii(value)[:20])
def test_a_broken_name_is_refused_at_every_door_that_makes_a_study(terminal: Terminal, name: str, why: str) -> None:
    for command in (("run", "--study", "./tiny.toml"), ("worker", "--study", "./tiny.toml", "--wait", "0")):
        if name:  # an empty option is no option
            code, text = terminal.refuses(*command, f"--name={name}")
            assert code == 2
            assert "cannot be the name of a study" in text
            assert why.replace("\\\\", "\\") in text
            assert f"Use letters a-z and A-Z, digits, '_' and '-', at most {LONGEST} characters." in text
    assert not (terminal.folder / "runs" / "logs").exists()
    text = (terminal.folder / "tiny.toml").read_text()
    escaped = name.encode("unicode_escape").decode().replace("\\x", "\\u00")
    (terminal.folder / "tiny.toml").write_text(text.replace('name = "tiny"', f'name = "{escaped}"'))
    with pytest.raises(StudyError, match="cannot be the name of a study"):
        read_study(terminal.folder / "tiny.toml")
    with closing(open_storage(terminal.folder / "new.db")) as storage:
        if not name.endswith(".confirmation"):
            with pytest.raises(StudyError, match="cannot be the name of a study"):
                storage.create_or_load(name, ["maximize"])
            with pytest.raises(StudyError, match="cannot be the name of a study"):
                optuna.create_study(study_name=name, storage=storage)
        assert storage.catalog() == ({}, {}, {})


def rename(path: Path, old: str, new: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE studies SET study_name = ? WHERE study_name = ?", (new, old))
        connection.commit()


@pytest.mark.parametrize("name", ["my study", "a.b", "../../x", "t2.confirmation", "{i}"])
def test_a_study_that_is_stored_under_such_a_name_still_opens(terminal: Terminal, name: str) -> None:
    """As e88c023 made it: with a description and a budget, and without the mark that studies have since."""
    path = terminal.folder / "runs" / "tuner.db"
    path.parent.mkdir()
    with closing(open_storage(path)) as storage:
        study_id = storage.create_or_load(
            "old", ["maximize", "maximize"], metric_names=["auroc", "match_fraction"],
            system_attrs={"tuner:identity": "{}"},
        )  # fmt: skip
        storage.set_budget(study_id, 2)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM study_system_attributes WHERE key = 'tuner:made'")
        connection.commit()
    rename(path, "old", name)
    assert terminal("best", "--name", name, "--json").json["study"] == name
    assert terminal("status", "--json").json["study"] == name
    with closing(open_storage(path)) as storage:
        assert storage.create_or_load(name, ["maximize", "maximize"]) == study_id
        check_name_of(storage, name)  # as run and worker do before they go on with it
    (terminal.folder / "runs" / "logs").mkdir()
    assert terminal("delete", "--name", name, "--yes").code == 0
    assert path.is_file()


def test_no_name_leads_out_of_the_folder(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (tmp_path / "logs").mkdir()
    with closing(open_storage(tmp_path / "tuner.db")) as storage:
        storage.create_or_load("s", ["maximize"])
        for name in ("..", ".", "../kept", str(kept), "a/../../kept"):
            rename(tmp_path / "tuner.db", "s", name)
            delete(storage, Doomed(name, [name], 0, []), Artifacts(tmp_path / "artifacts"), [tmp_path / "logs"])
            storage.create_or_load("s", ["maximize"])
            assert kept.is_dir()
            assert (tmp_path / "logs").is_dir()


@given(st.text(max_size=300))
def test_every_name_has_a_folder_of_its_own_below(name: str) -> None:
    found = folder_name(name)
    assert Path(found).name == found
    assert found not in ("", ".", "..")
    assert len(found.encode("utf-8", "surrogatepass")) < 250
    assert "\0" not in found
    assert name_fault(name) is not None or found == name


def test_what_stands_in_braces_is_not_taken_for_the_worker_s_number(tmp_path: Path) -> None:
    command = ["sh", "-c", 'printf "%s\\n" "$@"', "sh", "{i}", "runs/{i}/x", "{device}", f"worker-{INDEX}"]
    Supervisor(command, 1, {"PATH": "/usr/bin:/bin"}, tmp_path, devices=["cpu"]).run(lambda: None, interval=0.05)
    written = "".join(path.read_text() for path in tmp_path.iterdir())
    assert written.splitlines() == ["{i}", "runs/{i}/x", "{device}", "worker-0"]


@pytest.mark.parametrize("name", ["w\n1", "\x1b[2J", "", "-w", "w" * 200, "a b"])
def test_a_worker_is_not_called_what_would_spoil_a_terminal_or_a_column(name: str) -> None:
    with pytest.raises(UsageError, match="--worker-name"):
        check_worker_name(name)
    check_worker_name("slurm-17-3")
    check_worker_name("tuner-worker-6f8.example.org")


def test_a_number_of_trials_that_no_database_takes_is_refused(terminal: Terminal) -> None:
    code, text = terminal.refuses("run", "--study", "./tiny.toml", "--trials", str(10**30))
    assert (code, text) == (2, "tiny: more than 10^15 trials; a study takes at most 1,000,000.")
