"""Attributes of studies: reading, changing and writing back is one transaction under the study's lock."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa
from optuna.storages._rdb import models
from sqlalchemy import Connection

from tuner.errors import StorageError, StudyError
from tuner.storage.records import REMEDY, kept_record
from tuner.storage.schema import STUDY_SYSTEM_ATTRS, STUDY_USER_ATTRS, to_json
from tuner.storage.slots import lock_study

if TYPE_CHECKING:
    from tuner.storage.database import Backend

T = TypeVar("T")
Change = Callable[[Mapping[str, Any]], tuple[Mapping[str, Any], T]]


def put(connection: Connection, table: sa.Table, study_id: int, attrs: Mapping[str, Any]) -> None:
    """Set attributes of a study, under its lock.

    Raises
    ------
    KeyError
        There is no such study.
    """
    try:
        lock_study(connection, study_id)
    except StudyError as e:
        raise KeyError(models.NOT_FOUND_MSG) from e  # as Optuna's storages do
    for key, value in attrs.items():
        row = (table.c.study_id == study_id) & (table.c.key == key)
        text = to_json(key, value)
        if not connection.execute(table.update().where(row).values(value_json=text)).rowcount:
            connection.execute(table.insert().values(study_id=study_id, key=key, value_json=text))


def update(connection: Connection, study_id: int, change: Change[T]) -> T:
    """Change system attributes of a study; see `AttributeRows.update_attrs`."""
    lock_study(connection, study_id)
    query = sa.select(STUDY_SYSTEM_ATTRS.c.key, STUDY_SYSTEM_ATTRS.c.value_json)
    rows = connection.execute(query.where(STUDY_SYSTEM_ATTRS.c.study_id == study_id))
    try:
        there = {row.key: json.loads(row.value_json) for row in rows}
    except (ValueError, RecursionError) as e:
        raise StorageError(f"the study cannot be changed: one of its attributes {REMEDY}") from e
    changed, result = change(there)
    put(connection, STUDY_SYSTEM_ATTRS, study_id, changed)
    return result


def append(attrs: Mapping[str, Any], key: str, entry: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
    """Change for `update_attrs`: append to a list kept as JSON text; its result is the length of the list."""
    record = [*kept_record(attrs, key, "the study"), dict(entry)]
    return {key: json.dumps(record)}, len(record)


class AttributeRows:
    """Methods of `FencedStorage` for attributes of studies."""

    _backend: Backend

    def update_attrs(self, study_id: int, change: Change[T]) -> T:
        """Change system attributes of a study depending on those that it has, in one transaction.

        Parameters
        ----------
        study_id : int
            The study.
        change : callable
            Gets all system attributes; returns those to set, and a result. It may be called again after a
            failure, and must have no side effects.

        Returns
        -------
        any
            The result of `change`.

        Raises
        ------
        StudyError
            There is no such study.
        """
        return self._backend.write(partial(update, study_id=study_id, change=change))

    def append_attr(self, study_id: int, key: str, entry: Mapping[str, Any]) -> int:
        """Append to a list that is kept as JSON text in one attribute; returns its new length."""
        return self.update_attrs(study_id, partial(append, key=key, entry=entry))

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """As in Optuna, in one transaction that also checks the studies that this process has joined."""
        self._backend.write(partial(put, table=STUDY_USER_ATTRS, study_id=study_id, attrs={key: value}))

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """As in Optuna, in one transaction that also checks the studies that this process has joined."""
        self._backend.write(partial(put, table=STUDY_SYSTEM_ATTRS, study_id=study_id, attrs={key: value}))
