"""Which studies of a database are tuner's: others may keep theirs in the same one.

A study is tuner's if `FencedStorage.create_or_load` made it. It says so itself; those made before it did so are known
by their description, and stages by their budget, which is a row of a table that only tuner writes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection

from tuner.errors import ForeignStudy, StudyError
from tuner.storage.keys import IDENTITY, MADE
from tuner.storage.names import STAGE_SUFFIXES, shown
from tuner.storage.schema import BUDGETS, STUDIES, STUDY_SYSTEM_ATTRS

_LISTED = 12


class Catalog(NamedTuple):
    """Studies by name, with their ids.

    Attributes
    ----------
    searches : dict of str to int
        What the commands take.
    stages : dict of str to int
        Confirmations and controls of these.
    foreign : dict of str to int
        Other programs' studies.
    """

    searches: dict[str, int]
    stages: dict[str, int]
    foreign: dict[str, int]

    def check(self, name: str) -> None:
        """Refuse a name that is no search.

        Raises
        ------
        ForeignStudy
            Another program made it.
        StudyError
            It is a stage.
        """
        if name in self.foreign:
            raise ForeignStudy(
                f"{shown(name)} is not a study of tuner: another program made it in this database. "
                f"Studies of tuner here: {listed(self.searches) or 'none'}."
            )
        if name in self.stages:
            study, _, stage = name.rpartition(".")
            raise StudyError(f"{shown(name)} is the stage {stage} of {shown(study)}: give --name {shown(study)}.")

    def check_free(self, name: str) -> None:
        """Refuse to make, or go on with, a study whose name or stages are another program's.

        Raises
        ------
        ForeignStudy
            Which one.
        """
        for needed in (name, *(name + suffix for suffix in STAGE_SUFFIXES)):
            if needed in self.foreign:
                also = "" if needed == name else f", and {shown(name)} needs it"
                raise ForeignStudy(
                    f"{shown(needed)} is not a study of tuner: another program made a study of this name in this "
                    f"database{also}. Choose another with --name."
                )


def listed(names: Iterable[str]) -> str:
    """Join names for one line: the first few, and how many more."""
    words = [shown(name) for name in sorted(names)]
    more = f" and {len(words) - _LISTED} more" if len(words) > _LISTED else ""
    return ", ".join(words[:_LISTED]) + more


def read_catalog(connection: Connection) -> Catalog:
    """Read names and marks; no attribute is parsed, whatever others have written."""
    keyed = sa.select(STUDY_SYSTEM_ATTRS.c.study_id, STUDY_SYSTEM_ATTRS.c.key)
    rows = list(connection.execute(keyed.where(STUDY_SYSTEM_ATTRS.c.key.in_((IDENTITY, MADE)))))
    described = {study_id for study_id, key in rows if key == IDENTITY}
    ours = {study_id for study_id, _ in rows} | set(connection.scalars(sa.select(BUDGETS.c.study_id)))
    found = Catalog({}, {}, {})
    for study_id, name in connection.execute(sa.select(STUDIES.c.study_id, STUDIES.c.study_name)):
        is_stage = name.endswith(STAGE_SUFFIXES) and study_id not in described
        part = found.foreign if study_id not in ours else found.stages if is_stage else found.searches
        part[name] = int(study_id)
    return found
