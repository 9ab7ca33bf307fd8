"""A study stored on a file of few motifs, screened by the rule of that time, goes on by that rule.

`stored/few_motifs_0.1.0.tar.xz` was written by version 0.1.0 as of e88c023: `tuner run --study ./small.toml --workers 1
--no-confirm` on 60 + 60 sequences and eight motifs, of which that version left MA0140.3 and MA2507.1 out and this one
none. Only the folder in its description is another.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from command_line import Terminal

from tuner.motifs.database import load_database

pytestmark = pytest.mark.slow

STORED = Path(__file__).parent / "stored" / "few_motifs_0.1.0.tar.xz"
WHERE = ("--name", "small", "--data", ".")
NOTE = "files of fewer than 205 motifs were screened by another rule"
LEFT_OUT = "left out of motifs: MA0140.3, MA2507.1."


@pytest.fixture
def terminal(terminal: Terminal) -> Terminal:
    with tarfile.open(STORED) as archive:
        archive.extractall(terminal.folder, filter="data")
    return terminal


def states(folder: Path, study: str) -> list[str]:
    with sqlite3.connect(folder / "runs" / "tuner.db") as connection:
        query = "SELECT state FROM trials JOIN studies USING (study_id) WHERE study_name = ? ORDER BY number"
        return [state for (state,) in connection.execute(query, (study,))]


def says_it_once(err: str) -> bool:
    text = " ".join(err.split())
    return text.count(NOTE) == text.count(LEFT_OUT) == 1


def test_a_trial_is_rerun_to_its_values_and_the_note_names_the_rule(terminal: Terminal) -> None:
    assert load_database(str(terminal.folder / "motifs.meme")).promiscuous == frozenset()
    again = terminal("rerun", *WHERE, "--trial", "0")
    assert again.code == 0, again
    assert says_it_once(again.err)


def test_the_study_is_resumed_then_confirmed(terminal: Terminal) -> None:
    run = [sys.executable, "-m", "tuner", "run", "--study", "./small.toml", "--workers", "1", "--no-confirm"]
    more = subprocess.run(
        [*run, "--trials", "3"], cwd=terminal.folder, capture_output=True, text=True, timeout=600, check=False
    )
    assert more.returncode == 0, more.stderr
    assert says_it_once(more.stderr)
    assert states(terminal.folder, "small") == ["COMPLETE"] * 3
    confirmed = subprocess.run(
        [sys.executable, "-m", "tuner", "confirm", *WHERE, "--workers", "1"],
        cwd=terminal.folder, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert confirmed.returncode == 0, confirmed.stderr
    assert says_it_once(confirmed.stderr)
    assert states(terminal.folder, "small.confirmation") == ["COMPLETE"]


def test_the_study_is_reported(terminal: Terminal) -> None:
    built = terminal(
        "report", *WHERE, "--modisco", "none", "--sequences", "4", "--references", "2", "--threads", "1"
    )  # fmt: skip
    assert built.code == 0, built
    assert says_it_once(built.err)


def test_another_motif_file_is_refused_still(terminal: Terminal) -> None:
    file = terminal.folder / "motifs.meme"
    file.write_text(file.read_text().replace("0.850000", "0.840000 ", 1).replace("0.050000", "0.060000", 1))
    code, text = terminal.refuses("rerun", *WHERE, "--trial", "0")
    assert code == 2
    assert "was created with another motif database: digest" in text


def test_a_new_study_of_this_file_has_the_new_rule(terminal: Terminal) -> None:
    checked = terminal("check", "--study", "./small.toml", "--points", "1")
    assert checked.code == 0, checked
    assert NOTE not in checked.err
    assert "motifs   motifs: 8 targets, 0 promiscuous ones left out" in checked.err
