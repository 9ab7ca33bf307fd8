"""Rebuild a plan from what a study stored, whatever the files in this folder say by now."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tuner.cli import context

if TYPE_CHECKING:
    from tuner.storage.storage import FencedStorage
    from tuner.study.plan import Plan


class Stored(NamedTuple):
    """A stored study.

    Attributes
    ----------
    plan : Plan
        As it was made; with the paths of this machine, if they were given.
    identity : dict of str to any
        What everything that joins the study must agree on.
    data_dir : Path or None
        Folder of reference data.
    """

    plan: Plan
    identity: dict[str, Any]
    data_dir: Path | None


def stored_plan(storage: FencedStorage, name: str, data: Path | None = None) -> Stored:
    """Read plan and identity of a stored study.

    Parameters
    ----------
    storage : FencedStorage
        Where it is.
    name : str
        The study.
    data : Path or None
        Where its data is on this machine, if elsewhere than where the study was made: a file, or a folder.

    Raises
    ------
    StudyError
        The study was not made by `tuner run`.
    DataError
        A file of the study is not where it was, or not below `data`.
    """
    from tuner.errors import DataError, StudyError
    from tuner.search.joining import located
    from tuner.search.stages import IDENTITY, SOURCE
    from tuner.study.file import StudyFile
    from tuner.study.paths import FILES
    from tuner.study.plan import load_object, restore_plan

    storage.catalog().check(name)
    attrs = storage.get_study_system_attrs(storage.get_study_id_from_name(name))
    if IDENTITY not in attrs or SOURCE not in attrs:
        raise StudyError(f"{name} carries no study description; it was not made by tuner run.")
    if data is not None and not data.exists():
        raise DataError(f"--data {data}: there is no such file or folder.")
    folder = context.data_dir()

    def locate(study: StudyFile) -> StudyFile:
        nonlocal folder
        if data is None:
            return study
        if study.data.dataset is not None and data.is_dir():
            folder = data
            return study
        return located(study, data, [Path.cwd()])

    identity = load_object(attrs[IDENTITY], name, IDENTITY)
    data_set = identity.get("data set")
    if not isinstance(data_set, dict) or not isinstance(data_set.get("fingerprint"), str):
        raise StudyError(f"{name}: its description has no fingerprint of the data; it is not what tuner run writes.")
    plan = restore_plan(load_object(attrs[SOURCE], name, SOURCE), locate)
    spec = plan.data_spec
    named = [value for key in FILES if (value := getattr(spec, key)) not in (None, "shuffle")]
    for gone in (path for path in named if data is None and not Path(path).exists()):
        raise DataError(f"{name} was made with {gone}, which is not here. Say where it is with --data FILE or FOLDER.")
    return Stored(plan, identity, folder)
