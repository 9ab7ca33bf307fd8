"""Identities of studies: random numbers that no other study ever has, unlike names and ids.

A name can be reused, and SQLite reuses the id of a deleted row, so neither shows that a study is still the one that a
process began to work on. A process that has *joined* a study knows its identity: every transaction of its storage
first compares it with the stored one, and raises StudyGone if that is missing or different. A slot is identified by
the identity of its study and its number, an attempt by its token.

``tuner_identities`` has one row per study. ``tuner_buried`` keeps the identities of deleted studies and the tokens of
their attempts without a result, so that a file that such an attempt writes afterwards is recognised as a leftover.
"""

from __future__ import annotations

import uuid
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa
from optuna.storages._rdb import models
from optuna.trial import TrialState
from sqlalchemy import Connection

from tuner.errors import StudyError, StudyGone
from tuner.storage.schema import ATTEMPTS, BUDGETS, LIVE, META, METADATA, STUDIES, TRIALS, now

if TYPE_CHECKING:
    from tuner.storage.database import Backend

IDENTITIES = sa.Table(
    "tuner_identities", METADATA,
    sa.Column(
        "study_id", sa.Integer, sa.ForeignKey(STUDIES.c.study_id, ondelete="CASCADE"),
        primary_key=True, autoincrement=False,
    ),
    sa.Column("identity", sa.String(32), nullable=False, unique=True),
)  # fmt: skip
BURIED = sa.Table(
    "tuner_buried", METADATA,
    sa.Column("key", sa.String(36), primary_key=True),
    sa.Column("time", sa.Float(53), nullable=False),
)  # fmt: skip


class Joined(NamedTuple):
    """A study that a process works on: its name, its identity, and what the process is called in errors."""

    name: str
    identity: str
    who: str


def prepare(connection: Connection) -> None:
    """Give studies of an earlier version their identities; on SQLite, remember the largest ids of deleted rows.

    A role that may only read changes nothing.
    """
    if connection.dialect.name == "sqlite":
        for table, key in (("studies", "study_id"), ("trials", "trial_id")):
            connection.exec_driver_sql(
                f"CREATE TRIGGER IF NOT EXISTS tuner_last_{key} AFTER DELETE ON {table} BEGIN "
                f"INSERT INTO {META.name} (key, value) VALUES ('last {key}', OLD.{key}) ON CONFLICT (key) "
                f"DO UPDATE SET value = max(CAST(value AS INTEGER), OLD.{key}); END"
            )
        connection.exec_driver_sql(
            f"CREATE TRIGGER IF NOT EXISTS {IDENTITIES.name}_go_with_studies AFTER DELETE ON studies "
            f"BEGIN DELETE FROM {IDENTITIES.name} WHERE study_id = OLD.study_id; END"
        )
    elif not connection.scalar(sa.select(sa.func.has_table_privilege(IDENTITIES.name, "INSERT"))):
        return
    missing = sa.select(BUDGETS.c.study_id).where(
        ~sa.exists().where(IDENTITIES.c.study_id == BUDGETS.c.study_id),
        sa.exists().where(STUDIES.c.study_id == BUDGETS.c.study_id),
    )
    for study_id in list(connection.scalars(missing)):
        identify(connection, study_id)


def identity_of(connection: Connection, study_id: int) -> str | None:
    """The identity of a study; None if it has none yet or does not exist."""
    return connection.scalar(sa.select(IDENTITIES.c.identity).where(IDENTITIES.c.study_id == study_id))


def identify(connection: Connection, study_id: int) -> str:
    """The identity of a study; it is given one if it has none."""
    known = identity_of(connection, study_id)
    if known is None:
        known = uuid.uuid4().hex
        connection.execute(IDENTITIES.insert().values(study_id=study_id, identity=known))
    return known


def check(connection: Connection, joined: dict[int, Joined]) -> None:
    """Check that the studies that a process has joined are still the stored ones.

    Raises
    ------
    StudyGone
        One of the studies was deleted, or deleted and made again.
    """
    if not joined:
        return
    query = sa.select(IDENTITIES.c.study_id, IDENTITIES.c.identity).where(IDENTITIES.c.study_id.in_(list(joined)))
    there = {row.study_id: row.identity for row in connection.execute(query)}
    for study_id, study in joined.items():
        if there.get(study_id) != study.identity:
            raise gone(connection, study)


def gone(connection: Connection, study: Joined) -> StudyGone:
    """Say what became of a study."""
    again = connection.scalar(sa.select(STUDIES.c.study_id).where(STUDIES.c.study_name == study.name))
    buried = connection.scalar(sa.select(BURIED.c.key).where(BURIED.c.key == study.identity))
    if again is not None and buried is not None and identity_of(connection, again) is None:
        how = f"is being deleted while {study.who} works on it"
    elif again is not None:
        how = f"was deleted and created again while {study.who} was away"
    else:
        how = f"was deleted while {study.who} worked on it"
    return StudyGone(f"study {study.name} {how}; nothing was stored.")


def find(connection: Connection, name: str) -> tuple[int, str | None] | None:
    """Id and identity of the study with this name; None if there is none."""
    if not sa.inspect(connection).has_table(IDENTITIES.name):  # tables of an earlier version, opened read-only
        number = connection.scalar(sa.select(STUDIES.c.study_id).where(STUDIES.c.study_name == name))
        return None if number is None else (int(number), None)
    query = (
        sa.select(STUDIES.c.study_id, IDENTITIES.c.identity)
        .join(IDENTITIES, IDENTITIES.c.study_id == STUDIES.c.study_id, isouter=True)
        .where(STUDIES.c.study_name == name)
    )
    row = connection.execute(query).first()
    return None if row is None else (int(row.study_id), row.identity)


def adopt(connection: Connection, name: str) -> tuple[int, str | None] | None:
    """As `find`; a study without an identity is given one."""
    found = find(connection, name)
    return found if found is None else (found[0], identify(connection, found[0]))


def bury(connection: Connection, study_id: int) -> None:
    """Record what must still be recognised of a study when its rows are gone."""
    at = now(connection)
    tokens = (
        sa.select(ATTEMPTS.c.token)
        .join(TRIALS, TRIALS.c.trial_id == ATTEMPTS.c.trial_id)
        .where(TRIALS.c.study_id == study_id, LIVE | ATTEMPTS.c.outcome.not_in(("complete", "pruned", "fail")))
    )
    keys = {*connection.scalars(tokens), *filter(None, [identity_of(connection, study_id)])}
    keys -= set(connection.scalars(sa.select(BURIED.c.key).where(BURIED.c.key.in_(keys))))
    if keys:
        connection.execute(BURIED.insert(), [{"key": key, "time": at} for key in sorted(keys)])


def condemn(connection: Connection, study_id: int) -> None:
    """Lock everybody out of a study that is about to be deleted: its attempts end, its identity becomes invalid."""
    bury(connection, study_id)
    trials = sa.select(TRIALS.c.trial_id).where(TRIALS.c.study_id == study_id)
    connection.execute(IDENTITIES.delete().where(IDENTITIES.c.study_id == study_id))
    connection.execute(
        ATTEMPTS.update()
        .where(ATTEMPTS.c.trial_id.in_(trials), LIVE)
        .values(outcome="superseded", reason="the study was deleted", ended=now(connection))
    )
    running = TRIALS.update().where(TRIALS.c.study_id == study_id, TRIALS.c.state == TrialState.RUNNING)
    connection.execute(running.values(state=TrialState.WAITING))


def delete_study(connection: Connection, study_id: int) -> None:
    """Delete every row of a study, in Optuna's tables and ours.

    Raises
    ------
    KeyError
        There is no such study.
    """
    if connection.scalar(sa.select(STUDIES.c.study_id).where(STUDIES.c.study_id == study_id)) is None:
        raise KeyError(models.NOT_FOUND_MSG)
    bury(connection, study_id)
    trials = sa.select(TRIALS.c.trial_id).where(TRIALS.c.study_id == study_id)
    for table in reversed(models.BaseModel.metadata.sorted_tables):  # children first
        if "trial_id" in table.c and table is not TRIALS:
            connection.execute(table.delete().where(table.c.trial_id.in_(trials)))
        elif "study_id" in table.c:
            connection.execute(table.delete().where(table.c.study_id == study_id))


class Identities:
    """Methods of `FencedStorage` for identities."""

    _backend: Backend

    def identity(self, study_id: int) -> str | None:
        """The identity of a study, 32 hexadecimal digits; None if another program created the study."""
        return self._backend.read(partial(identity_of, study_id=study_id))

    def join(self, name: str, identity: str | None = None, *, who: str = "this command", adopt_it: bool = True) -> str:
        """Work on exactly this study from now on: every later call of this storage fails once the study is gone.

        Parameters
        ----------
        name : str
            The study.
        identity : str, optional
            Identity that the study must have; without it, the current study of that name is joined.
        who : str
            What the process is called in errors.
        adopt_it : bool
            Give a study of an earlier version its identity, which is a write; else such a study is not joined.

        Returns
        -------
        str
            Its identity; empty if it was not joined.

        Raises
        ------
        StudyGone
            It was deleted, or deleted and created again.
        StudyError
            There is no study of that name.
        """
        backend = self._backend
        found = backend.read(partial(find, name=name))
        if found is not None and found[1] is None:
            if not adopt_it:
                return ""
            found = backend.write(partial(adopt, name=name))
        if identity is not None and (found is None or found[1] != identity):
            study = Joined(name, identity, who)
            raise backend.read(lambda connection: gone(connection, study))
        if found is None or found[1] is None:
            raise StudyError(f"{backend.address} has no study {name}; was it deleted?")
        backend.joined[found[0]] = Joined(name, found[1], who)
        return found[1]

    def check_joined(self) -> None:
        """Check that the studies that this process has joined still exist.

        Raises
        ------
        StudyGone
            One of them does not.
        """
        self._backend.check_joined()

    def condemn(self, study_id: int) -> None:
        """Lock everybody out of a study that is about to be deleted: later writes are refused."""
        self._backend.joined.pop(study_id, None)
        self._backend.write(partial(condemn, study_id=study_id))

    def buried(self) -> set[str]:
        """Identities of deleted studies, and tokens of their attempts without a result."""
        return self._backend.read(lambda connection: set(connection.scalars(sa.select(BURIED.c.key))))
