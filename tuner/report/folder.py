"""The folder of a report, and the commands that reproduce it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from tuner.errors import StudyError
from tuner.resources import RUNS
from tuner.storage.names import folder_name, shown
from tuner.study.plan import Plan


def default_folder(name: str) -> Path:
    """Default folder of a study's report.

    Raises
    ------
    StudyError
        The stored name cannot be a folder name; no command of this package creates such names.
    """
    if folder_name(name) != name or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}", name):
        raise StudyError(
            f"the study's name {shown(name)!r} cannot name a folder. Say where the report goes with --out."
        )
    return RUNS / "reports" / name


def rerun_commands(plan: Plan, typed: str) -> list[str]:
    """List the commands that reproduce study and report; `typed` is that of the report."""
    words = ["tuner", "run", "--study", plan.study.name, "--preset", plan.preset, "--name", plan.name]
    words += ["--seed", str(plan.seed)] if plan.seed else []
    words += ["--trials", str(plan.trials)] if plan.sampler != "grid" else []
    return [shlex.join(words), typed]
