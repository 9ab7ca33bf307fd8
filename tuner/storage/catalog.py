"""Which studies of a database belong to tuner: other programs may keep theirs in the same database.

A study belongs to tuner if `FencedStorage.create_or_load` created it, which it records in an attribute. Studies of
versions that did not are recognised by their description, and stages by their budget, a row of a table that only
tuner writes.
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
        Searches and grids, which commands accept as studies.
    stages : dict of str to int
        Their confirmations and controls.
    foreign : dict of str to int
        Studies of other programs.
    """

    searches: dict[str, int]
    stages: dict[str, int]
    foreign: dict[str, int]

    def check(self, name: str) -> None:
        """Refuse a name that is not a search or grid.

        Raises
        ------
        ForeignStudy
            Another program created it.
        StudyError
            It is a stage.
        """
        if name in self.foreign:
            raise ForeignStudy(
                f"{shown(name)} is not a study of tuner: another program created it in this database. "
                f"Studies of tuner here: {listed(self.searches) or 'none'}."
            )
        if name in self.stages:
            study, _, stage = name.rpartition(".")
            raise StudyError(f"{shown(name)} is the stage {stage} of {shown(study)}: give --name {shown(study)}.")

    def check_free(self, name: str) -> None:
        """Refuse to create or continue a study if its name, or that of a stage, belongs to another program's study.

        Raises
        ------
        ForeignStudy
            Names that study.
        """
        for needed in (name, *(name + suffix for suffix in STAGE_SUFFIXES)):
            if needed in self.foreign:
                also = "" if needed == name else f", and {shown(name)} needs it"
                raise ForeignStudy(
                    f"{shown(needed)} is not a study of tuner: another program created a study of this name in this "
                    f"database{also}. Choose another with --name."
                )


def listed(names: Iterable[str]) -> str:
    """Join names in one line: the first few, and how many more there are."""
    words = [shown(name) for name in sorted(names)]
    more = f" and {len(words) - _LISTED} more" if len(words) > _LISTED else ""
    return ", ".join(words[:_LISTED]) + more


def read_catalog(connection: Connection) -> Catalog:
    """Read the catalog; no attribute is parsed, because other programs may have written anything."""
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
