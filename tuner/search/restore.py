"""A stored study's plan, rebuilt from its description in the database; its data is found by name.

Whatever is read there was perhaps written by somebody else. So names are checked, and a worker that joins from
anywhere looks for a path of theirs only below folders that this machine's user named.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tuner.data.spec import FILES
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
        As it was made, with the paths that its files have here.
    identity : dict of str to any
        What everything that joins the study must agree on.
    data_dir : Path or None
        Folder of reference data.
    """

    plan: Plan
    identity: dict[str, Any]
    data_dir: Path | None


def wait_for_study(
    storage: FencedStorage, name: str, seconds: float, say: Callable[[str], None], check: Callable[[], None]
) -> None:
    """Wait until somebody has made a study.

    Parameters
    ----------
    storage : FencedStorage
        Where it is expected.
    name : str
        The study.
    seconds : float
        How long at most.
    say : callable
        Called once, with a line for people, if there is something to wait for.
    check : callable
        Called between looks; may raise to stop.

    Raises
    ------
    StudyError
        Nobody did.
    """
    end, said = time.monotonic() + seconds, False
    storage.catalog().check(name)  # what another program made, nobody will make
    while not is_stored(storage, name):
        if time.monotonic() >= end:
            known = listed(storage.catalog().searches)
            raise StudyError(
                f"{storage.address} has no study {name}, and no file here describes one; it has: {known or 'none'}. "
                "Start it with tuner run, on any machine, with the same --storage and --artifacts."
            )
        if not said:
            say(f"{storage.address} has no study {name} yet; waiting {seconds:.0f} s for tuner run to make it")
            said = True
        check()
        time.sleep(min(POLL_SECONDS, max(0.0, end - time.monotonic())))


def is_stored(storage: FencedStorage, name: str) -> bool:
    """Whether a study of this name was made, with its description."""
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
        Where the data is on this machine, if elsewhere than where the study was made: a file, or a folder.
    data_dir : Path or None
        Folder of reference data.
    folders : sequence of Path, optional
        Of a worker that joins from anywhere: where its files are looked for. The paths that they had where the study
        was made are then not taken from the database. Without it they are.
    files : mapping of str to str, optional
        As `files_here` gives them to the workers of a run: where they are, whatever the database says.

    Raises
    ------
    StudyError, SearchSpaceError
        `tuner run` did not make the study, or its description was changed, or this worker is incompatible with it.
    DataError
        A file of the study is not here.
    """
    if folders is not None and not NAME.fullmatch(name):
        raise StudyError(f"{name[:80]!r} is no name that tuner run gives a study; it is not opened.")
    storage.catalog().check(name)
    attributes = storage.get_study_system_attrs(storage.get_study_id_from_name(name))
    if IDENTITY not in attributes or SOURCE not in attributes:
        raise StudyError(f"{name} carries no study description; it was not made by tuner run.")
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
            paths = {key: files[key] for key in FILES if key in files}
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
    """Give a study's files the paths that they have on this machine.

    A path of the study is looked for below `data`, if that is given, else below `folders`; one that is absolute or
    climbs out of its folder is only looked for by its file name, below `data`.

    Parameters
    ----------
    study : StudyFile
        As read from the store.
    data : Path or None
        A folder, or the one file that the study needs.
    folders : sequence of Path
        Searched in order.

    Raises
    ------
    DataError
        A file that is nowhere.
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
    """Whether a path stays below the folder that it is looked for in."""
    path = Path(value)
    if needs_expanding(value):
        return False  # it was another person's home or variable
    return not path.is_absolute() and ".." not in path.parts and bool(path.name)


def _missing(name: str, value: str, data: Path | None, folders: Sequence[Path]) -> str:
    if data is None and not _is_below(value):
        return (
            f"{name} names {value!r}, a path of another machine, which is not taken from the storage. "
            "Say where the file is with --data FILE or --data FOLDER."
        )
    looked = ", ".join(str(f) for f in ((data,) if data is not None else folders))
    return f"{name}: {value} is not on this machine (looked in {looked}). Say where it is with --data."
