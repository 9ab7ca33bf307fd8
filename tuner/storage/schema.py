"""Tables of slots and attempts beside Optuna's, in the same database.

``tuner_attempts`` has one row per execution of a trial, ``tuner_rungs`` one per trial and rung; ``tuner_studies`` has
the budgets, ``tuner_once`` the keys of enqueued slots, ``tuner_workers`` the current workers, ``tuner_requests`` the
requests to leave (``tuner_stops`` their times, for workers of versions without numbered requests), ``tuner_meta`` the
version of these tables. Optuna's own tables keep their shape; rows here are deleted with their study, whichever
program deletes it. Times are Unix seconds by the database's clock.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from optuna.storages._rdb import models
from sqlalchemy import Connection

from tuner.errors import StorageError

VERSION = "1"

STUDIES: sa.Table = models.StudyModel.__table__
DIRECTIONS: sa.Table = models.StudyDirectionModel.__table__
STUDY_USER_ATTRS: sa.Table = models.StudyUserAttributeModel.__table__
STUDY_SYSTEM_ATTRS: sa.Table = models.StudySystemAttributeModel.__table__
TRIALS: sa.Table = models.TrialModel.__table__
PARAMS: sa.Table = models.TrialParamModel.__table__
VALUES: sa.Table = models.TrialValueModel.__table__
USER_ATTRS: sa.Table = models.TrialUserAttributeModel.__table__
SYSTEM_ATTRS: sa.Table = models.TrialSystemAttributeModel.__table__

METADATA = sa.MetaData()
META = sa.Table("tuner_meta", METADATA, sa.Column("key", sa.String(64), primary_key=True), sa.Column("value", sa.Text))


def _of(column: sa.Column[Any]) -> sa.ForeignKey:
    return sa.ForeignKey(column, ondelete="CASCADE")


BUDGETS = sa.Table(
    "tuner_studies", METADATA,
    sa.Column("study_id", sa.Integer, _of(STUDIES.c.study_id), primary_key=True, autoincrement=False),
    sa.Column("budget", sa.Integer, nullable=False),
)  # fmt: skip
ONCE = sa.Table(
    "tuner_once", METADATA,
    sa.Column("study_id", sa.Integer, _of(STUDIES.c.study_id), primary_key=True, autoincrement=False),
    sa.Column("key", sa.String(512), primary_key=True),
)  # fmt: skip
ATTEMPTS = sa.Table(
    "tuner_attempts", METADATA,
    sa.Column("trial_id", sa.Integer, _of(TRIALS.c.trial_id), primary_key=True, autoincrement=False),
    sa.Column("attempt", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("token", sa.String(36), nullable=False, unique=True),
    sa.Column("worker", sa.String(512), nullable=False),
    sa.Column("host", sa.String(512), nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("process_start", sa.Float(53), nullable=False),
    sa.Column("started", sa.Float(53), nullable=False),
    sa.Column("beat", sa.Float(53), nullable=False),
    sa.Column("progress", sa.Text),
    sa.Column("suggested", sa.Boolean, nullable=False),
    sa.Column("ended", sa.Float(53)),
    sa.Column("outcome", sa.String(16)),
    sa.Column("reason", sa.Text),
)  # fmt: skip
WORKERS = sa.Table(
    "tuner_workers", METADATA,
    sa.Column("token", sa.String(36), primary_key=True),
    sa.Column("study_id", sa.Integer, _of(STUDIES.c.study_id), nullable=False),
    sa.Column("worker", sa.String(512), nullable=False),
    sa.Column("host", sa.String(512), nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("process_start", sa.Float(53), nullable=False),
    sa.Column("started", sa.Float(53), nullable=False),
    sa.Column("beat", sa.Float(53), nullable=False),
)  # fmt: skip
STOPS = sa.Table(
    "tuner_stops", METADATA,
    sa.Column("study_id", sa.Integer, _of(STUDIES.c.study_id), primary_key=True, autoincrement=False),
    sa.Column("after_trial", sa.Float(53)),
    sa.Column("at_once", sa.Float(53)),
)  # fmt: skip
REQUESTS = sa.Table(
    "tuner_requests", METADATA,
    sa.Column("study_id", sa.Integer, _of(STUDIES.c.study_id), primary_key=True, autoincrement=False),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at_once", sa.Boolean, nullable=False),
    sa.Column("time", sa.Float(53), nullable=False),
    sa.Column("host", sa.String(512), nullable=False),
)  # fmt: skip
LIVE = ATTEMPTS.c.outcome.is_(None)
sa.Index("tuner_live_attempts", ATTEMPTS.c.trial_id, unique=True, sqlite_where=LIVE, postgresql_where=LIVE)
RUNGS = sa.Table(
    "tuner_rungs", METADATA,
    sa.Column("trial_id", sa.Integer, _of(TRIALS.c.trial_id), primary_key=True, autoincrement=False),
    sa.Column("rung", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("place", sa.Integer, nullable=False),
    sa.Column("objectives", sa.Text, nullable=False),
    sa.Column("exempt", sa.Boolean, nullable=False),
    sa.Column("goes_on", sa.Boolean, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("time", sa.Float(53), nullable=False),
)  # fmt: skip

# SQLite enforces foreign keys only if a connection asks for it, and those of other programs do not.
TRIGGERS = (
    ("trials", "trial_id", "tuner_attempts"),
    ("trials", "trial_id", "tuner_rungs"),
    ("studies", "study_id", "tuner_studies"),
    ("studies", "study_id", "tuner_once"),
    ("studies", "study_id", "tuner_workers"),
    ("studies", "study_id", "tuner_stops"),
    ("studies", "study_id", "tuner_requests"),
)


def create_tables(connection: Connection) -> None:
    """Create missing tables; refuse tables of a later version.

    Raises
    ------
    StorageError
        A later version of this package created the tables.
    """
    METADATA.create_all(connection)
    version = connection.scalar(sa.select(META.c.value).where(META.c.key == "version"))
    if version is None:
        connection.execute(META.insert().values(key="version", value=VERSION))
    elif version != VERSION:
        raise StorageError(
            f"the storage was created by a later tuner (its tables have version {version}, this one knows {VERSION}). "
            "Update tuner."
        )
    if connection.dialect.name == "sqlite":
        for parent, key, child in TRIGGERS:
            connection.exec_driver_sql(
                f"CREATE TRIGGER IF NOT EXISTS {child}_go_with_{parent} AFTER DELETE ON {parent} "
                f"BEGIN DELETE FROM {child} WHERE {key} = OLD.{key}; END"
            )


def are_complete(connection: sqlite3.Connection) -> bool:
    """Whether a SQLite file has all our tables and columns, so that nothing must be created to read it."""
    for table in METADATA.sorted_tables:
        there = {str(row[1]) for row in connection.execute(f'PRAGMA table_info("{table.name}")')}
        if not {column.name for column in table.columns} <= there:
            return False
    return True


def versions(connection: Connection) -> dict[str, str]:
    """Versions of Optuna's tables and ours."""
    optuna = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one()
    ours = connection.scalar(sa.select(META.c.value).where(META.c.key == "version"))
    return {"optuna": str(optuna), "tuner": str(ours)}


def now(connection: Connection) -> float:
    """Unix time by the database's clock, in seconds."""
    if connection.dialect.name == "sqlite":
        text = "SELECT (julianday('now') - 2440587.5) * 86400.0"
    else:
        text = "SELECT CAST(extract(epoch FROM clock_timestamp()) AS double precision)"
    return float(connection.exec_driver_sql(text).scalar_one())


def utc(seconds: float) -> datetime:
    """Unix seconds as Optuna stores times: a naive datetime in UTC."""
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)


def to_json(key: str, value: object) -> str:
    """An attribute as strict JSON, without NaN."""
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as e:
        raise StorageError(
            f"attribute {key!r} cannot be stored as JSON ({e}); give text, finite numbers or None."
        ) from e


def write_attrs(
    connection: Connection, trial_id: int, user_attrs: Mapping[str, Any], system_attrs: Mapping[str, Any]
) -> None:
    """Set attributes of a trial."""
    for table, attrs in ((USER_ATTRS, user_attrs), (SYSTEM_ATTRS, system_attrs)):
        if attrs:
            here = (table.c.trial_id == trial_id) & table.c.key.in_(list(attrs))
            known = set(connection.scalars(sa.select(table.c.key).where(here)))
            rows = [{"trial_id": trial_id, "key": k, "value_json": to_json(k, v)} for k, v in attrs.items()]
            for row in rows:  # updated, not deleted: a worker's role on PostgreSQL may delete little
                if row["key"] in known:
                    which = (table.c.trial_id == trial_id) & (table.c.key == row["key"])
                    connection.execute(table.update().where(which).values(value_json=row["value_json"]))
            if fresh := [row for row in rows if row["key"] not in known]:
                connection.execute(table.insert(), fresh)


def _unused(connection: Connection, table: sa.Table) -> int:
    key = next(iter(table.primary_key))
    deleted = sa.select(sa.cast(META.c.value, sa.Integer)).where(META.c.key == f"last {key.name}")  # by a trigger
    return 1 + max(connection.scalar(sa.select(sa.func.max(key))) or 0, connection.scalar(deleted) or 0)


def insert(connection: Connection, table: sa.Table, **values: Any) -> int:
    """Insert one row and return its id, which no row of the table has had before, not even a deleted one."""
    if connection.dialect.name == "sqlite":  # it would reuse the id of the last row if that was deleted
        values = {next(iter(table.primary_key)).name: _unused(connection, table), **values}
    key = connection.execute(table.insert().values(**values)).inserted_primary_key
    assert key is not None  # an INSERT of one row always has it
    return int(key[0])
