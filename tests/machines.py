"""Hosts as they are elsewhere, for real: file systems that are small or read-only, other users, a /proc that hides."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

AS_NOBODY = "setpriv --reuid 65534 --regid 65534 --clear-groups"
PYTHON = shlex.quote(sys.executable)


def need_namespaces(flags: str = "-m") -> None:
    """Skip where no namespace can be made."""
    if os.geteuid() != 0 or subprocess.run(["unshare", flags, "true"], capture_output=True, check=False).returncode:
        pytest.skip("namespaces: only root may make them, and not in every container")


def in_namespace(script: str, *, flags: str = "-m", timeout: float = 300, **more: Any) -> str:
    """Run a shell script in namespaces of its own, whose mounts end with it; what it printed."""
    need_namespaces(flags)
    command = ["unshare", flags, "--fork", "--kill-child", "sh", "-euc", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextlib.contextmanager
def memory_group(limit: int) -> Iterator[str]:
    """A control group of a memory limit in bytes; the shell command that joins it. Skips where none can be made."""
    for base, name in (("memory", "memory.limit_in_bytes"), ("", "memory.max")):
        group = Path("/sys/fs/cgroup", base, f"tuner-{uuid.uuid4().hex}")
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            if _limited(group, name, limit):
                yield f"echo $$ > {shlex.quote(str(group / 'cgroup.procs'))}"
                return
        finally:
            group.rmdir()
    pytest.skip("control groups: only root may make them, and not in every container")


def _limited(group: Path, name: str, limit: int) -> bool:
    """Set the limit of a new control group; False where the kernel, or the container, has none."""
    swap = group / "memory.swap.max"
    try:
        if not (group / name).exists():
            return False
        (group / name).write_text(str(limit))
        if swap.exists():
            swap.write_text("0")
    except OSError:
        return False
    return True


def python(code: str, *words: object, prefix: str = "") -> str:
    """Shell command that runs Python code of this project."""
    return " ".join([prefix, PYTHON, "-c", shlex.quote(code), *(shlex.quote(str(word)) for word in words)])


def tmpfs(folder: Path, size: str) -> str:
    """Shell command that puts a small file system of its own over a folder."""
    folder.mkdir(exist_ok=True)
    return f"mount -t tmpfs -o size={size} tmpfs {shlex.quote(str(folder))}"
