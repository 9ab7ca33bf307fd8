"""Join a study from any machine: its plan from the storage and the artifact store, its data by name.

Whatever is read there was perhaps written by somebody else: names are checked, texts compared with their digests,
and a path of theirs is only looked for below folders that this machine's user named.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from tuner.errors import DataError, SearchSpaceError, StudyError
from tuner.search.stages import IDENTITY, SOURCE
from tuner.storage.artifacts import Artifacts
from tuner.storage.catalog import listed
from tuner.storage.storage import FencedStorage
from tuner.study.file import Sampler, StudyFile, check_study
from tuner.study.packages import PACKAGES, check_packages
from tuner.study.paths import FILES, needs_expanding
from tuner.study.plan import Plan, make_plan
from tuner.study.space import check_space, listed_space
from tuner.study.texts import fetch
from tuner.study.toml import Table, parse_table, parse_toml

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
POLL_SECONDS = 2.0


class Source(Table):
    """What the study's texts do not say."""

    preset: str
    seed: int = Field(ge=0)
    trials: int = Field(gt=0)
    sampler: Sampler
    space: str


class Joined(NamedTuple):
    """A study that was joined.

    Attributes
    ----------
    plan : Plan
        With the paths of this machine.
    data_dir : Path or None
        Folder of reference data.
    """

    plan: Plan
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
    while not _exists(storage, name):
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


def _exists(storage: FencedStorage, name: str) -> bool:
    try:
        return IDENTITY in storage.get_study_system_attrs(storage.get_study_id_from_name(name))
    except KeyError:
        return False


def join_study(
    storage: FencedStorage,
    artifacts: Artifacts,
    name: str,
    *,
    data: Path | None,
    data_dir: Path | None,
    folders: Sequence[Path],
) -> Joined:
    """Rebuild the plan of a stored study from its texts.

    Parameters
    ----------
    storage, artifacts : FencedStorage, Artifacts
        Where the study is.
    name : str
        The study.
    data : Path or None
        Where this machine's user says the data is: a file, or a folder of files.
    data_dir : Path or None
        Folder of reference data.
    folders : sequence of Path
        Where else to look for the study's files.

    Raises
    ------
    StudyError, SearchSpaceError, StorageError, DataError
        What is missing, changed or incompatible, and where.
    """
    if not NAME.fullmatch(name):
        raise StudyError(f"{name[:80]!r} is no name that tuner run gives a study; it is not joined.")
    attributes = storage.get_study_system_attrs(storage.get_study_id_from_name(name))
    check_packages(name, attributes.get(PACKAGES))
    source = _source(name, attributes)
    texts = fetch(artifacts, name, attributes)
    study = check_study(parse_toml(texts["study"], f"{name}: study.toml", StudyError), f"{name}: study.toml")
    if study.parameters:
        space = listed_space(study.name, study.parameters, f"{study.name}.toml")
    elif "space" in texts:
        where = f"{name}: space.toml"
        space = check_space(parse_toml(texts["space"], where, SearchSpaceError), Path(source.space).name, where)
    else:
        raise StudyError(f"{name}: its search space is not among its texts.")
    beside = [*([] if data_dir is None else [data_dir]), *folders]
    if data is not None and study.data.dataset is not None and data.is_dir():
        data_dir, data = data, None
    plan = make_plan(
        located(study, data, beside), space, folder=folders[0] if folders else Path(), preset=source.preset,
        seed=source.seed, name=name, trials=source.trials, sampler=source.sampler,
    )  # fmt: skip
    return Joined(plan, data_dir)


def _source(name: str, attributes: dict[str, Any]) -> Source:
    try:
        stored = json.loads(attributes[SOURCE])
        told = {key: stored[key] for key in Source.model_fields}
    except (KeyError, TypeError, ValueError, RecursionError) as e:
        raise StudyError(f"{name} carries no study description; it was not made by tuner run.") from e
    return parse_table(Source, told, f"{name} (description in the storage)", StudyError)


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
    named = {key: value for key in FILES if (value := getattr(study.data, key)) not in (None, "shuffle")}
    found: dict[str, str | None] = {}
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
    return study.model_copy(update={"data": study.data.model_copy(update=found), "motifs": motifs})


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
