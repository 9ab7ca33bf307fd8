"""Rebuilding a stored study's plan from its description in the database, and finding its files on this machine.

Somebody else may have written the description. So names are checked, and a worker that joins from anywhere looks for
the paths in it only below folders that the user of this machine has named.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tuner.errors import DataError, StudyError
from tuner.storage.catalog import listed
from tuner.storage.keys import IDENTITY, PACKAGES, SOURCE
from tuner.storage.storage import FencedStorage
from tuner.study.file import StudyFile
from tuner.study.packages import check_packages
from tuner.study.paths import needs_expanding
from tuner.study.plan import Plan, load_object, restore_plan

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
POLL_SECONDS = 2.0


class StoredStudy(NamedTuple):
    """A stored study.

    Attributes
    ----------
    plan : Plan
        As it was created, with the paths that its files have on this machine.
    identity : dict of str to any
        What every run and worker that joins the study must agree on.
    data_dir : Path or None
        Folder of reference data.
    """

    plan: Plan
    identity: dict[str, Any]
    data_dir: Path | None


def wait_for_study(
    storage: FencedStorage, name: str, seconds: float, say: Callable[[str], None], check: Callable[[], None]
) -> None:
    """Wait until somebody has created a study.

    Parameters
    ----------
    storage : FencedStorage
        Where the study is expected.
    name : str
        The study.
    seconds : float
        Longest wait.
    say : callable
        Called once, with a line for the user, if the study does not exist yet.
    check : callable
        Called between tries; may raise to stop.

    Raises
    ------
    StudyError
        Nobody created it in this time.
    """
    end, said = time.monotonic() + seconds, False
    storage.catalog().check(name)  # a name that another program has taken will never become a study of tuner
    while not is_stored(storage, name):
        if time.monotonic() >= end:
            known = listed(storage.catalog().searches)
            raise StudyError(
                f"{storage.address} has no study {name}, and no file here describes one; it has: {known or 'none'}. "
                "Start it with tuner run, on any machine, with the same --storage and --artifacts."
            )
        if not said:
            say(f"{storage.address} has no study {name} yet; waiting {seconds:.0f} s for tuner run to create it")
            said = True
        check()
        time.sleep(min(POLL_SECONDS, max(0.0, end - time.monotonic())))


def is_stored(storage: FencedStorage, name: str) -> bool:
    """Whether a study of this name exists and has a description."""
    try:
        return IDENTITY in storage.get_study_system_attrs(storage.get_study_id_from_name(name))
    except KeyError:
        return False


def restore_study(
    storage: FencedStorage,
    name: str,
    data: Path | None = None,
    *,
    data_dir: Path | None = None,
    folders: Sequence[Path] | None = None,
    files: Mapping[str, str] | None = None,
) -> StoredStudy:
    """Rebuild plan and identity of a stored study from its description in the database.

    Parameters
    ----------
    storage : FencedStorage
        Where the study is.
    name : str
        The study.
    data : Path or None
        File or folder with the data on this machine, if it is elsewhere than where the study was created.
    data_dir : Path or None
        Folder of reference data.
    folders : sequence of Path, optional
        For a worker that joins from anywhere: where to look for the files. Their paths in the database, which are
        those of the machine that created the study, are then not used; by default they are.
    files : mapping of str to str, optional
        Paths from `files_here`, for the workers of a run; they take precedence over those in the database.

    Raises
    ------
    StudyError, SearchSpaceError
        `tuner run` did not create the study, its description was changed, or this worker is incompatible with it.
    DataError
        A file of the study is not on this machine.
    """
    if folders is not None and not NAME.fullmatch(name):
        raise StudyError(f"{name[:80]!r} is not a name that tuner run gives a study; it is not opened.")
    storage.catalog().check(name)
    attributes = storage.get_study_system_attrs(storage.get_study_id_from_name(name))
    if IDENTITY not in attributes or SOURCE not in attributes:
        raise StudyError(f"{name} has no study description; it was not created by tuner run.")
    if folders is not None:
        check_packages(name, attributes.get(PACKAGES))
    if data is not None and not data.exists():
        raise DataError(f"--data {data}: there is no such file or folder.")
    source = load_object(attributes[SOURCE], name, SOURCE)
    found = load_object(attributes[IDENTITY], name, IDENTITY)
    data_set = found.get("data set")
    if not isinstance(data_set, dict) or not isinstance(data_set.get("fingerprint"), str):
        raise StudyError(f"{name}: its description has no fingerprint of the data; it is not what tuner run writes.")
    elsewhere = list(folders) if folders is not None else [Path.cwd()]

    def locate(study: StudyFile) -> StudyFile:
        nonlocal data, data_dir
        if files is not None:
            motifs = study.motifs.model_copy(update={"database": files.get("database", study.motifs.database)})
            paths = {key: files[key] for key in study.data.files if key in files}
            return study.model_copy(update={"data": study.data.at(paths), "motifs": motifs})
        if data is not None and study.data.dataset is not None and data.is_dir():
            data_dir, data = data, None
        if folders is None and data is None:
            return study
        beside = [*([] if data_dir is None or folders is None else [data_dir]), *elsewhere]
        return located(study, data, beside)

    plan = restore_plan(source, locate, folder=None if folders is None else elsewhere[0])
    for gone in (path for path in plan.data_spec.files.values() if not Path(path).exists()):
        raise DataError(f"{name} was made with {gone}, which is not here. Say where it is with --data FILE or FOLDER.")
    return StoredStudy(plan, found, data_dir)


def files_here(plan: Plan) -> dict[str, str]:
    """Where the files of a plan are on this machine: those of its data section, and its motif database if it is one."""
    database = plan.folder / plan.study.motifs.database
    return plan.data_spec.files | ({"database": str(database.resolve())} if database.is_file() else {})


def located(study: StudyFile, data: Path | None, folders: Sequence[Path]) -> StudyFile:
    """Replace the paths of a study's files by those on this machine.

    A path is looked for below `data`, if that is given, and then below `folders`; a path that is absolute or leads out
    of its folder is looked for only by its file name, below `data`.

    Parameters
    ----------
    study : StudyFile
        As read from the database.
    data : Path or None
        A folder, or the one file that the study needs.
    folders : sequence of Path
        Searched in order.

    Raises
    ------
    DataError
        A file was not found.
    """
    named, found = study.data.files, dict[str, str | None]()
    if data is not None and study.data.dataset is not None:
        named, found = {}, {"path": str(data)}
    for key, value in named.items():
        path = data if data is not None and len(named) == 1 and _fits(key, data) else _find(value, data, folders)
        if path is None and study.data.dataset is None:
            raise DataError(_missing(study.name, value, data, folders))
        found[key] = None if path is None else str(path.resolve())
    motifs = study.motifs
    database = _find(motifs.database, data if data is not None and data.is_dir() else None, folders)
    if database is not None and database.is_file():
        motifs = motifs.model_copy(update={"database": str(database.resolve())})
    elif not _is_below(motifs.database):
        raise DataError(_missing(study.name, motifs.database, data, folders))
    return study.model_copy(update={"data": study.data.at(found), "motifs": motifs})


def _fits(key: str, path: Path) -> bool:
    return path.is_dir() if key == "folder" else path.is_file()


def _find(value: str, data: Path | None, folders: Sequence[Path]) -> Path | None:
    candidates = [folder / value for folder in ((*folders,) if data is None else (data, *folders)) if _is_below(value)]
    if data is not None:
        candidates.append(data / Path(value).name)
    return next((c for c in candidates if c.exists()), None)


def _is_below(value: str) -> bool:
    """Whether a path stays below the folder in which it is looked for."""
    path = Path(value)
    if needs_expanding(value):
        return False  # it meant another user's home or environment variable
    return not path.is_absolute() and ".." not in path.parts and bool(path.name)


def _missing(name: str, value: str, data: Path | None, folders: Sequence[Path]) -> str:
    if data is None and not _is_below(value):
        return (
            f"{name} names {value!r}, a path of another machine; such paths are not used. "
            "Say where the file is with --data FILE or --data FOLDER."
        )
    looked = ", ".join(str(f) for f in ((data,) if data is not None else folders))
    return f"{name}: {value} is not on this machine (looked in {looked}). Say where it is with --data."
