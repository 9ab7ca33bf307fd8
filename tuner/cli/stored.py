"""Rebuild a plan from what a study stored, whatever the files in this folder say by now."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuner.search.storage import FencedStorage
    from tuner.search.study import Plan


def stored_plan(storage: FencedStorage, name: str) -> tuple[Plan, dict[str, Any]]:
    """Read plan and identity of a stored study.

    Raises
    ------
    StudyError
        The study was not made by `tuner run`.
    """
    from tuner.errors import StudyError
    from tuner.search.stages import IDENTITY, SOURCE
    from tuner.search.study import restore_plan

    attrs = storage.get_study_system_attrs(storage.get_study_id_from_name(name))
    if IDENTITY not in attrs or SOURCE not in attrs:
        raise StudyError(f"{name} carries no study description; it was not made by tuner run.")
    source = json.loads(attrs[SOURCE])
    return restore_plan(source), json.loads(attrs[IDENTITY])
