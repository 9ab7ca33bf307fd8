"""From what a person names, a study file or its name, to the plan of a study."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tuner.resources import find_resource
from tuner.study.file import Sampler, StudyFile, read_study
from tuner.study.paths import expand_paths
from tuner.study.plan import Plan, make_plan, study_space


class Named(NamedTuple):
    """A study as somebody named it.

    Attributes
    ----------
    plan : Plan
        With preset and overrides applied.
    study : Path or None
        Its file; None for one that was described in Python.
    space : Path or None
        The file of its search space; None for a study with its own.
    """

    plan: Plan
    study: Path | None
    space: Path | None


def find_plan(
    study: str,
    environment: Mapping[str, str],
    *,
    preset: str = "standard",
    seed: int = 0,
    name: str | None = None,
    trials: int | None = None,
    sampler: Sampler | None = None,
) -> Named:
    """Find and read a study and its space, below the current folder first.

    Parameters
    ----------
    study : str
        A name, or the path of a study file.
    environment : mapping of str to str
        Variables that paths of the study may hold.
    preset, seed, name, trials, sampler
        As for `tuner.study.plan.make_plan`.

    Raises
    ------
    StudyError, SearchSpaceError
        What is unknown or wrong, where, and the nearest known name.
    """
    path = find_resource("studies", study, folder=Path.cwd())
    parsed = expand_paths(read_study(path), environment, path.parent, path.name)
    folder = path.parent if "/" in study else Path.cwd()
    space, space_path = study_space(parsed, preset, lambda name: find_resource("search_spaces", name, folder=folder))
    plan = make_plan(
        parsed, space, folder=path.parent, preset=preset, seed=seed, name=name, trials=trials, sampler=sampler
    )
    return Named(plan, path, space_path)


def described_plan(
    study: StudyFile,
    *,
    preset: str = "standard",
    seed: int = 0,
    name: str | None = None,
    trials: int | None = None,
    sampler: Sampler | None = None,
) -> Named:
    """Plan a study that no file describes; its paths and its space are looked for from the current folder.

    Parameters
    ----------
    study : StudyFile
        The description.
    preset, seed, name, trials, sampler
        As for `tuner.study.plan.make_plan`.

    Raises
    ------
    StudyError, SearchSpaceError
        As `find_plan`.
    """
    here = Path.cwd()
    space, path = study_space(study, preset, lambda name: find_resource("search_spaces", name, folder=here))
    plan = make_plan(
        study, space, folder=here, preset=preset, seed=seed, name=name, trials=trials, sampler=sampler
    )  # fmt: skip
    return Named(plan, None, path)
