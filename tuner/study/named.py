"""Find a study by the name or path that a person gives, and plan it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tuner.resources import find_resource
from tuner.study.file import Sampler, StudyFile, read_study
from tuner.study.paths import expand_paths
from tuner.study.plan import Plan, make_plan, study_space


class Named(NamedTuple):
    """A study found by its name or path.

    Attributes
    ----------
    plan : Plan
        The plan, with preset and overrides applied.
    study : Path or None
        The study file; None for a study described in Python.
    space : Path or None
        The file of its search space; None if the study file lists the parameters itself.
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
    """Find and read a study and its search space; files below the current folder come first.

    Parameters
    ----------
    study : str
        A name, or the path of a study file.
    environment : mapping of str to str
        Variables that may occur in paths of the study.
    preset, seed, name, trials, sampler
        As for `tuner.study.plan.make_plan`.

    Raises
    ------
    StudyError, SearchSpaceError
        A name or value is unknown or wrong; says where, and names the nearest known name.
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
    folder: Path | None = None,
) -> Named:
    """Plan a study that no file describes; its search space is looked for from the current folder.

    Parameters
    ----------
    study : StudyFile
        The description.
    preset, seed, name, trials, sampler
        As for `tuner.study.plan.make_plan`.
    folder : Path, optional
        Where its relative paths begin; by default the current folder.

    Raises
    ------
    StudyError, SearchSpaceError
        As for `find_plan`.
    """
    here = Path.cwd()
    space, path = study_space(study, preset, lambda name: find_resource("search_spaces", name, folder=here))
    plan = make_plan(
        study, space, folder=folder or here, preset=preset, seed=seed, name=name, trials=trials, sampler=sampler
    )  # fmt: skip
    return Named(plan, None, path)
