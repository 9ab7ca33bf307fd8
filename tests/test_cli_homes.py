"""Machines without a home: no HOME, no entry in the password file, a home that cannot be written."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from command_line import write_tiny_study
from other_user import NO_ENTRY, run_as, shared_folder

import tuner

pytestmark = pytest.mark.slow

HOMES = {"unset": {}, "empty": {"HOME": ""}, "missing": {"HOME": "/nonexistent"}, "closed": {"HOME": "/"}}


def command(folder: Path, home: str, *words: str) -> tuple[int, str, str]:
    environment = {"PATH": "/usr/bin:/bin", "TMPDIR": str(folder), **HOMES[home]}
    done = run_as(NO_ENTRY, [sys.executable, "-m", "tuner", *words], folder, environment)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("home", HOMES)
def test_the_version_is_printed_without_a_home(tmp_path: Path, home: str) -> None:
    folder = shared_folder(tmp_path)
    assert command(folder, home, "--version") == (0, f"{tuner.__version__}\n", "")
    assert list(folder.iterdir()) == [], "the temporary folder is gone"


def test_a_study_is_checked_by_a_user_without_home_and_name(tmp_path: Path) -> None:
    folder = shared_folder(tmp_path)
    write_tiny_study(folder)
    before = sorted(folder.iterdir())
    code, _, err = command(folder, "unset", "check", "--study", "./tiny.toml")
    assert code == 0, err
    assert "Traceback" not in err
    assert "no errors" in err
    assert sorted(folder.iterdir()) == before
