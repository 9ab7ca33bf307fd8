"""Run a program as another local user: one who attacks, or one who has no home and no entry in the password file."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import pytest

NOBODY = 65534
NO_ENTRY = 64321


def needs_root() -> None:
    """Skip where no other user can be taken on; the reason's first word is what CI allows."""
    if os.geteuid() != 0:
        pytest.skip("root: only root can run a program as another user")


@cache
def _prefix(uid: int) -> tuple[str, ...]:
    """What takes on a user. It may read everything, as the interpreter may lie in a closed home, and write nothing."""
    plain = ("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups")
    reading = (*plain, "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    for words in (reading, plain):
        tried = subprocess.run([*words, sys.executable, "-c", "import tuner.cli"], capture_output=True, cwd="/")
        if tried.returncode == 0:
            return words
    pytest.skip("root: this machine lets no other user run this interpreter")


def run_as(
    uid: int, command: Sequence[str], folder: Path, environment: Mapping[str, str], timeout: float = 600
) -> subprocess.CompletedProcess[str]:
    """Run a command of this interpreter's installation as another user."""
    needs_root()
    return subprocess.run(
        [*_prefix(uid), *command],
        cwd=folder, env=dict(environment), capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip


def attack(folder: Path, script: str, timeout: float = 60) -> None:
    """Let `nobody` do something in a folder that everybody can write."""
    needs_root()
    subprocess.run([*_prefix(NOBODY), "/bin/sh", "-euc", script], cwd=folder, check=True, timeout=timeout)


def shared_folder(parent: Path) -> Path:
    """A folder as /tmp is: everybody writes, the sticky bit is set; its parents can be passed."""
    folder = parent / "shared"
    folder.mkdir()
    folder.chmod(0o1777)
    for above in folder.parents:
        if above.stat().st_uid == os.geteuid() and above != Path("/"):
            above.chmod(above.stat().st_mode | 0o011)
    return folder
