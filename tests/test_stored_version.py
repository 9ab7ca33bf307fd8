"""A study stored by version 0.1.0 as of e88c023, before files had digests and studies an identity, still serves.

`stored/version_0.1.0.tar.xz` was written by that version: `tuner run --study ./tiny.toml --workers 1` on 60 + 60
sequences, with its SQLite database and artifact folder.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from command_line import Terminal

pytestmark = pytest.mark.slow

STORED = Path(__file__).parent / "stored" / "version_0.1.0.tar.xz"
WHERE = ("--name", "tiny")
SEARCH = (
    "SELECT t.number, t.state, v.objective, v.value FROM trials t JOIN trial_values v USING (trial_id) "
    "JOIN studies s USING (study_id) WHERE s.study_name = 'tiny' ORDER BY t.number, v.objective"
)


@pytest.fixture
def terminal(terminal: Terminal) -> Terminal:
    with tarfile.open(STORED) as archive:
        archive.extractall(terminal.folder, filter="data")
    return terminal


def values(folder: Path) -> list[tuple[int, str, int, float]]:
    with sqlite3.connect(folder / "runs" / "tuner.db") as connection:
        return connection.execute(SEARCH).fetchall()


def test_a_stored_study_of_the_former_version_is_read(terminal: Terminal) -> None:
    before = values(terminal.folder)
    status = terminal("status", *WHERE, "--json")
    assert status.code == 0, status
    best = terminal("best", *WHERE, "--json")
    assert best.code == 0, best
    shown = terminal("show", *WHERE, "--trial", "0", "--save", "trial0")
    assert shown.code == 0, shown
    assert (terminal.folder / "trial0" / "filters.meme").stat().st_size > 0
    table = terminal("table", *WHERE, "--out", "tiny.tsv")
    assert table.code == 0, table
    assert values(terminal.folder) == before


def test_the_test_split_of_the_former_version_is_opened_on_record(terminal: Terminal) -> None:
    evaluated = terminal("evaluate", *WHERE, "--data", ".", "--json")
    assert evaluated.code == 0, evaluated
    again = terminal("rerun", *WHERE, "--trial", "0", "--data", ".")
    assert again.code == 0, again


def test_the_winner_of_the_former_version_is_exported_and_predicts(terminal: Terminal) -> None:
    before = values(terminal.folder)
    exported = terminal("export", *WHERE, "--data", ".", "--out", "model", "--onnx", "--json")
    assert exported.code == 0, exported
    assert {"model.onnx", "matches.tsv", "card.md"} <= set(exported.json["files"])
    predicted = terminal("predict", "model", "positives.fa", "--out", "scores.tsv", "--json")
    assert predicted.code == 0, predicted
    assert predicted.json["sequences"] == 60
    assert terminal("predict", "model", "model/example.fa", "--out", "example.tsv").code == 0
    folder = terminal.folder
    assert (folder / "example.tsv").read_bytes() == (folder / "model" / "expected.tsv").read_bytes()
    assert values(folder) == before


def test_a_stored_study_of_the_former_version_is_reported(terminal: Terminal) -> None:
    built = terminal(
        "report", *WHERE, "--data", ".", "--modisco", "none", "--sequences", "4", "--references", "2", "--threads", "1"
    )
    assert built.code == 0, built
    page = next((terminal.folder / "runs" / "reports").rglob("report.html"))
    assert "tiny" in page.read_text(encoding="utf-8")
    again = terminal(
        "report",
        *WHERE,
        "--data",
        ".",
        "--stages",
        "page",
        "--modisco",
        "none",
        "--sequences",
        "4",
        "--references",
        "2",
    )
    assert again.code == 0, again


def test_a_stored_study_of_the_former_version_goes_on_to_a_larger_budget(terminal: Terminal) -> None:
    before = values(terminal.folder)
    done = subprocess.run(
        [sys.executable, "-m", "tuner", "run", "--study", "./tiny.toml", "--trials", "4", "--workers", "1"],
        cwd=terminal.folder, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    after = values(terminal.folder)
    assert after[: len(before)] == before
    assert [row[0] for row in after] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert {row[1] for row in after} == {"COMPLETE"}
