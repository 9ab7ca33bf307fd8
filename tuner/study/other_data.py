"""Data sets on which a finished study is scored besides its own: the [data] table of another file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tuner.data.spec import DataSpec
from tuner.errors import StudyError
from tuner.resources import find_resource
from tuner.study.file import check_study
from tuner.study.paths import expand_data
from tuner.study.toml import Table, parse_table, read_toml


class OtherData(NamedTuple):
    """A data set that a study was not made with.

    Attributes
    ----------
    name : str
        What it is called in the record of the study; empty for the name of its file of sequences.
    spec : DataSpec
        Its data section, with absolute paths.
    """

    name: str
    spec: DataSpec


class _DataFile(Table):
    """A file with a [data] table alone."""

    data: DataSpec


def find_other_data(given: str, environment: Mapping[str, str]) -> OtherData:
    """Find and read the data section of a study, or of a file that has nothing else.

    Parameters
    ----------
    given : str
        A name or path, as for `tuner.study.named.find_plan`.
    environment : mapping of str to str
        Variables that may occur in its paths.

    Raises
    ------
    StudyError
        There is no such file, or something in it is unknown or wrong; names the nearest known name.
    """
    path = find_resource("studies", given, folder=Path.cwd())
    document = read_toml(path, StudyError)
    if set(document) == {"data"}:
        name, spec = path.stem, parse_table(_DataFile, document, path.name, StudyError).data
    else:
        study = check_study(document, path.name)
        name, spec = study.name, study.data
    spec = expand_data(spec, environment, path.parent, path.name)
    return OtherData(name, spec.at({key: str(path.parent / value) for key, value in spec.files.items()}))
