"""What other people have written over our attributes in the database: one clear error, or it is passed over."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import Terminal
from test_stored_version import STORED

from tuner.errors import TunerError
from tuner.report.dashboard import write_report_notes
from tuner.report.selection import Choice, store_choice, stored_choices
from tuner.results.quota import enforce_quota
from tuner.results.test_split import kept_scores, openings, record_opening
from tuner.storage.artifacts import Artifacts
from tuner.storage.storage import FencedStorage, open_storage

pytestmark = pytest.mark.slow

STUDY, USER, SYSTEM = "study_system_attributes", "trial_user_attributes", "trial_system_attributes"
# Value as it stands in the database; every one is JSON, as what is none has its own test.
OF_STUDIES = (
    "tuner:quota", "tuner:report-figures", "tuner:report", "tuner:test_openings", "tuner:other_openings",
    "tuner:test_scores", "tuner:note",
    "dashboard:note_str:0", "dashboard:note_ver", "tuner:packages", "tuner:made", "tuner:identity",
    "tuner:source",
)  # fmt: skip
OF_TRIALS = ("candidate", "replicate", "seed", "stopped_at", "match_fraction", "auroc", "reason", "artifacts_error")
OF_FILES = ("tuner:sizes", "tuner:digests", "tuner:missing")
VALUES = ('"no"', "[1]", '{"a": [null]}', "null", '"[1, {}]"', '"{\\"a\\": 1}"', "-1.5", '"[[["')


@pytest.fixture
def terminal(terminal: Terminal) -> Terminal:
    with tarfile.open(STORED) as archive:
        archive.extractall(terminal.folder, filter="data")
    open_storage(terminal.folder / "runs" / "tuner.db").close()
    return terminal


def tamper(folder: Path, table: str, key: str, value: str) -> list[tuple[Any, ...]]:
    """Write a value over an attribute of every study or trial; the rows as they were."""
    database = sqlite3.connect(folder / "runs" / "tuner.db")
    of = "study_id" if table == STUDY else "trial_id"
    rows = database.execute(f"SELECT {of}, key, value_json FROM {table}").fetchall()
    database.execute(f"DELETE FROM {table} WHERE key = ?", (key,))
    whole = "studies" if table == STUDY else "trials"
    database.execute(
        f"INSERT INTO {table} ({of}, key, value_json) SELECT {of}, ?, ? FROM {whole}", (key, value)
    )  # fmt: skip
    database.commit()
    database.close()
    return rows


def mend(folder: Path, table: str, rows: list[tuple[Any, ...]]) -> None:
    database = sqlite3.connect(folder / "runs" / "tuner.db")
    of = "study_id" if table == STUDY else "trial_id"
    database.execute(f"DELETE FROM {table}")
    database.executemany(f"INSERT INTO {table} ({of}, key, value_json) VALUES (?, ?, ?)", rows)
    database.commit()
    database.close()


def told(terminal: Terminal, *words: str) -> str:
    """What a command said: it worked, or failed with one line and no bug."""
    answer = terminal(*words)
    errors = [line for line in answer.err.splitlines() if line.startswith("error: ")]
    assert "(this is a bug" not in answer.err, answer
    assert "Traceback" not in answer.err, answer
    found = words[0] == "verify" and " wrong" in answer.err  # it lists what is wrong, and exits with 1
    assert (answer.code, len(errors)) in ((0, 0), (1, 1), (2, 1), *([(1, 0)] if found else [])), answer
    return answer.err


@pytest.mark.parametrize("words", [("best",), ("status",), ("verify",), ("table",), ("show", "--trial", "0")])
def test_a_command_calls_no_attribute_that_others_wrote_a_bug(words: tuple[str, ...], terminal: Terminal) -> None:
    keys = [(STUDY, k) for k in OF_STUDIES] + [(USER, k) for k in OF_TRIALS] + [(SYSTEM, k) for k in OF_FILES]
    for i, (table, key) in enumerate(keys):
        rows = tamper(terminal.folder, table, key, VALUES[i % len(VALUES)])
        told(terminal, *words, "--name", "tiny")
        mend(terminal.folder, table, rows)
    assert terminal(*words, "--name", "tiny").code in (0, 1)


def test_no_value_of_a_record_of_ours_is_a_bug(terminal: Terminal) -> None:
    """Every kind of value in every record that is read, appended to and written back."""
    artifacts = Artifacts(terminal.folder / "runs" / "artifacts")
    choice = Choice._make(["x"] * len(Choice._fields))
    uses: dict[str, tuple[str, Callable[[FencedStorage], object]]] = {
        "tuner:quota": (STUDY, lambda s: enforce_quota(s, artifacts, "tiny", 1)),
        "tuner:sizes": (SYSTEM, lambda s: s.sizes(s.get_study_id_from_name("tiny"))),
        "tuner:report-figures": (STUDY, lambda s: write_report_notes(s, artifacts, "tiny", "", {0: ""}, {"f": b"x"})),
        "dashboard:note_str:0": (STUDY, lambda s: write_report_notes(s, artifacts, "tiny", "new", {}, {})),
        "dashboard:note_ver": (STUDY, lambda s: write_report_notes(s, artifacts, "tiny", "new", {}, {})),
        "tuner:report": (STUDY, lambda s: (stored_choices(s, "tiny"), store_choice(s, "tiny", choice, "now"))),
        "tuner:test_openings": (STUDY, lambda s: (openings(s, "tiny"), record_opening(s, "tiny", {"by": 1}))),
        "tuner:test_scores": (STUDY, lambda s: kept_scores(s, "tiny")),
    }
    taken: set[tuple[str, str]] = set()
    for key, (table, use) in uses.items():
        for value in VALUES:
            rows = tamper(terminal.folder, table, key, value)
            storage = open_storage(terminal.folder / "runs" / "tuner.db")
            with contextlib.suppress(TunerError):
                use(storage)
                taken.add((key, value))
            storage.close()
            mend(terminal.folder, table, rows)
    notes = {key for key in uses if key.startswith("dashboard:")}  # taken for somebody's edit
    assert {key for key, value in taken if value in ('"no"', "[1]", '"[[["')} == notes


def test_an_attribute_that_is_no_json_is_one_clear_error(terminal: Terminal) -> None:
    for table, key in ((STUDY, "tuner:quota"), (USER, "reason"), (SYSTEM, "tuner:sizes")):
        rows = tamper(terminal.folder, table, key, "{no JSON")
        for words in (("best",), ("status",), ("verify",)):
            told(terminal, *words, "--name", "tiny")
        assert "restore a backup" in terminal.refuses("verify", "--name", "tiny")[1]
        mend(terminal.folder, table, rows)


def test_a_damaged_record_of_figures_is_known_before_a_report_costs_anything(terminal: Terminal) -> None:
    tamper(terminal.folder, STUDY, "tuner:report-figures", '"no"')
    code, text = terminal.refuses("report", "--name", "tiny")
    assert code == 1
    assert text.startswith("tiny: the attribute tuner:report-figures is not what tuner writes: ")
    assert text.endswith("Restore a backup. Without notes for the dashboard (--stages page) it is not needed.")
    assert not (terminal.folder / "runs" / "reports").exists()
    storage = open_storage(terminal.folder / "runs" / "tuner.db")
    assert (openings(storage, "tiny"), stored_choices(storage, "tiny")) == ([], []), "nothing was opened or chosen"
    storage.close()
    page = terminal("report", "--name", "tiny", "--stages", "page")
    assert page.code == 0, page.err
    assert (terminal.folder / "runs" / "reports" / "tiny" / "report.html").is_file()


def test_the_progress_of_a_worker_that_is_no_json_is_passed_over(terminal: Terminal) -> None:
    storage = open_storage(terminal.folder / "runs" / "tuner.db")
    study_id = storage.get_study_id_from_name("tiny")
    storage.set_budget(study_id, 9)
    storage.ensure_slots(study_id, ahead=1)
    attempt = storage.claim(study_id, "worker")
    assert attempt is not None
    storage.beat(attempt, {"epoch": 1})
    database = sqlite3.connect(terminal.folder / "runs" / "tuner.db")
    database.execute("UPDATE tuner_attempts SET progress = '{no JSON' WHERE token = ?", (attempt.token,))
    database.commit()
    database.close()
    assert [r.progress for r in storage.running(study_id)] == [{}]
    assert json.loads(terminal("status", "--name", "tiny", "--json").out)
    storage.close()
