"""``~`` and environment variables in the paths of a study file, as a shell would read them."""

from __future__ import annotations

import os.path
import re
from collections.abc import Mapping
from pathlib import Path

from tuner.data.spec import DataSpec
from tuner.errors import StudyError
from tuner.study.file import StudyFile

_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})", re.ASCII)


def needs_expanding(value: str) -> bool:
    """Return whether a path begins with ``~`` or contains a variable, so that its meaning depends on the user."""
    return value.startswith("~") or any(not match[0][1:2].isdigit() for match in _VARIABLE.finditer(value))


def expand_path(value: str, environment: Mapping[str, str], folder: Path, where: str) -> str:
    """Replace a leading ``~`` or ``~user`` by the home folder, and ``$NAME`` and ``${NAME}`` by their values.

    Parameters
    ----------
    value : str
        A path of a study file.
    environment : mapping of str to str
        Names and values.
    folder : Path
        Folder of the study file; if a file of exactly this name exists there, the path is not expanded.
    where : str
        Key and file, for the error.

    Returns
    -------
    str

    Raises
    ------
    StudyError
        If a variable is not set, or there is no such home folder.
    """
    if not needs_expanding(value) or os.path.exists(folder / value):
        return value

    def value_of(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name[0].isdigit():
            return match[0]
        if not environment.get(name):
            raise StudyError(f"{where} is {value!r}, but the environment variable {name} is not set. Set it.")
        return environment[name]

    # Variables come first: the value of $DATA may begin with a ~ that no shell has replaced.
    text = os.path.expanduser(_VARIABLE.sub(value_of, value))
    if text.startswith("~"):
        home = text.split("/")[0]
        raise StudyError(f"{where} is {value!r}, but there is no home folder {home!r}. Write the path in full.")
    return text


def expand_data(data: DataSpec, environment: Mapping[str, str], folder: Path, file: str) -> DataSpec:
    """Expand every path of a [data] table, those of its test set included; parameters as in `expand_paths`."""
    where = f"{file} [data]: "
    return data.at({key: expand_path(value, environment, folder, where + key) for key, value in data.files.items()})


def expand_paths(study: StudyFile, environment: Mapping[str, str], folder: Path, file: str) -> StudyFile:
    """Expand every path of a study's [data], and that of its motif database.

    Parameters
    ----------
    study : StudyFile
        The study file as read.
    environment : mapping of str to str
        Names and values of the environment variables.
    folder : Path
        Folder of the study file.
    file : str
        Name of the study file.

    Returns
    -------
    StudyFile
    """
    database = expand_path(study.motifs.database, environment, folder, f"{file} [motifs]: database")
    return study.model_copy(
        update={
            "data": expand_data(study.data, environment, folder, file),
            "motifs": study.motifs.model_copy(update={"database": database}),
        }
    )
