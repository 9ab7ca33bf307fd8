"""Where downloads and screens are kept when the wanted folder cannot be used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import subprocess, sys
from tuner.cli import places
print(places.cache_dir()); print(places.cache_dir(), flush=True)
print(f"mode {places.cache_dir().stat().st_mode & 0o777:o}", file=sys.stderr, flush=True)
if len(sys.argv) > 1:
    subprocess.run([sys.executable, "-c", sys.argv[1]], check=True)
"""


def ask(tmp_path: Path, *arguments: str, **variables: str) -> tuple[list[Path], str]:
    """Folders that a new process and, if asked for, one that it starts choose; and what they say."""
    (tmp_path / "tmp").mkdir()
    names = ("TUNER_CACHE_DIR", "XDG_CACHE_HOME", "TUNER_PRIVATE_DIR", "NUMBA_CACHE_DIR")
    environment = {k: v for k, v in os.environ.items() if k not in names} | {"TMPDIR": str(tmp_path / "tmp")}
    done = subprocess.run(
        [sys.executable, "-c", CODE, *arguments], env=environment | variables, capture_output=True, text=True,
        timeout=60, check=True,
    )  # fmt: skip
    return [Path(line) for line in done.stdout.splitlines()], done.stderr


def test_a_folder_that_is_named_and_one_at_home_are_used(tmp_path: Path) -> None:
    wanted = tmp_path / "named"
    found, said = ask(tmp_path, TUNER_CACHE_DIR=str(wanted))
    assert (found, said) == ([wanted, wanted], f"mode {wanted.stat().st_mode & 0o777:o}\n")
    (tmp_path / "tmp").rmdir()
    found, said = ask(tmp_path, HOME=str(tmp_path / "home"))
    assert found == [tmp_path / "home" / ".cache" / "tuner"] * 2
    assert said == "mode 700\n"


@pytest.mark.parametrize("variables", [{"TUNER_CACHE_DIR": "/proc/cache"}, {"HOME": "/proc"}], ids=["named", "home"])
def test_a_folder_that_cannot_be_used_gives_way_to_one_of_this_run_alone(
    tmp_path: Path, variables: dict[str, str]
) -> None:
    found, said = ask(tmp_path, CODE, **variables)
    assert len(found) == 4  # two of the process, two of the process that it started
    assert len(set(found)) == 1
    assert found[0].is_relative_to(tmp_path / "tmp")
    assert not found[0].exists()  # gone with the process that made it
    assert said.count("mode 700\n") == 2
    lines = [line for line in said.splitlines() if "/proc" in line]
    assert len(lines) == 2, said  # once a process, however often it asks
    assert all(line.endswith(f" {found[0]} is used instead.") for line in lines)
