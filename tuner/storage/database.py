"""Connections to the database: transactions, waiting for a database that is away, creating tables.

SQLite runs in write-ahead mode on local disks (readers and one writer at once) and with a rollback journal on
network disks, where write-ahead mode lacks the shared memory that it needs. Every transaction that writes begins with
BEGIN IMMEDIATE: a transaction that reads first and asks for the write lock later fails at once, instead of waiting,
if another process has written in between.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import math
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Container, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, event, exc
from sqlalchemy.engine import URL
from sqlalchemy.pool import NullPool

from tuner.errors import AttemptSuperseded, StorageError
from tuner.storage import attempts, identity, schema
from tuner.storage.address import (
    address,
    database_error,
    explain,
    is_full,
    is_lock,
    is_network_disk,
    is_passing,
    is_read_only,
)
from tuner.storage.outage import Away, OpenFile, Outage, pauses, room, wait_for
from tuner.storage.readonly import Reader, is_closed
from tuner.storage.trials import read_trials

P = ParamSpec("P")
T = TypeVar("T")

BUSY_SECONDS = 30.0  # SQLite: how long one statement waits for another process's write lock
FIRST_DELAY, LAST_DELAY = 0.05, 2.0  # seconds between tries
SETUP_TRIES = 8
SETUP_LOCK = 0x74756E6572  # "tuner": key of the advisory lock around table creation on PostgreSQL


@contextlib.contextmanager
def setup_lock(url: URL) -> Iterator[None]:
    """Let one process at a time create tables; the lock ends with the process."""
    if url.get_backend_name() == "sqlite":
        folder = os.open(Path(str(url.database)).absolute().parent, os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):  # some network disks cannot lock folders; then the retries have to do
                fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)
        return
    engine = sqlalchemy.create_engine(url, poolclass=NullPool, connect_args={"connect_timeout": 10})
    with engine.connect() as connection:
        connection.execute(sqlalchemy.select(sqlalchemy.func.pg_advisory_lock(SETUP_LOCK)))
        yield


def _retried(method: Callable[Concatenate[Any, P], T], *, write: bool) -> Callable[Concatenate[Any, P], T]:
    """Make a method of Optuna's storage wait for a database that is away."""

    def retried(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        result: T = self.patiently(lambda: method(self, *args, **kwargs), write=write)
        return result

    functools.update_wrapper(retried, method)
    return retried


class Backend(RDBStorage):
    """Optuna's storage with explicit transactions, retries, and fenced writes to running trials.

    Parameters
    ----------
    url : URL
        From `parse_url`.
    patience : float
        Seconds to wait for a database that is away before giving up.
    reader : Reader, optional
        Opens a SQLite file that cannot be written; every write is then refused.
    """

    def __init__(self, url: URL, *, patience: float, reader: Reader | None = None) -> None:
        self.address, self.where, self.patience = address(url), url, patience
        self.trouble = 0.0  # monotonic time of the last try that failed
        self.reader = reader
        self.held: dict[int, str] = {}  # trial_id -> token of the attempt that this process runs
        self.opening = True  # until the tables exist; meanwhile only locks are waited for
        self._outages = {write: Outage(patience) for write in (False, True)}
        self._file: OpenFile | None = None
        self._writable = True
        self.joined: dict[int, identity.Joined] = {}  # study_id -> what this process works on
        self._mode = threading.local()
        sqlite = url.get_backend_name() == "sqlite"
        given = url.query.get("options", "")
        connect = (
            {"timeout": BUSY_SECONDS}
            if sqlite
            else {
                "connect_timeout": 10,
                "fallback_application_name": f"tuner {os.getpid()}",  # shown in pg_stat_activity
                "keepalives_idle": 20,
                "tcp_user_timeout": 30_000,
                # A worker that is stopped inside a transaction must not hold the study's lock forever.
                "options": f"{given} -c idle_in_transaction_session_timeout=60000 -c lock_timeout=60000",
            }
        )
        text = url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")
        engine: dict[str, Any] = {"connect_args": connect, "pool_size": 2, "max_overflow": 0}
        if reader is not None:
            engine = {"creator": reader.connect, "poolclass": NullPool}  # each connection sees the current state
        try:
            super().__init__(text, engine, skip_table_creation=reader is not None)
        except BaseException:
            if hasattr(self, "engine"):
                self.engine.dispose()
            raise
        if sqlite:
            path = Path(str(url.database))
            if reader is None:
                self._file = OpenFile(path)
                self._writable = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
                self._set_journal()
            else:
                self._writable = False
            self.engine.dispose()
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", self._begin)

    def _set_journal(self) -> None:
        path = Path(str(self.where.database)).resolve()
        mode = "delete" if is_network_disk(path) else "wal"
        self.engine.dispose()  # the mode changes only while nobody else has the file open
        with self.engine.connect() as connection:
            if connection.exec_driver_sql("PRAGMA journal_mode").scalar() != mode:
                with contextlib.suppress(exc.OperationalError):  # others are using the other mode: it stays
                    connection.exec_driver_sql(f"PRAGMA journal_mode = {mode}")

    def _begin(self, connection: Connection) -> None:
        writing = getattr(self._mode, "writing", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    def patiently(self, work: Callable[[], T], *, write: bool, patience: float | None = None) -> T:
        """Run `work` until it succeeds, its error is final, or the patience is exhausted.

        Raises
        ------
        StorageError
            The database refuses, or stayed away.
        """
        if write and self.reader is not None:
            raise StorageError(f"{self.address}: this database cannot be written here, so it is open read-only.")
        started = time.monotonic()
        deadline = started + (self.patience if patience is None else patience)
        between, conflicts = pauses(FIRST_DELAY, LAST_DELAY), 0
        while True:
            self.check_file()
            before = getattr(self._mode, "writing", False)
            self._mode.writing = write
            try:
                result = work()
            except KeyError:  # what Optuna raises for a missing study or trial
                self.check_joined()
                raise
            except (exc.SQLAlchemyError, StorageInternalError) as e:
                self.check_file()  # raises DatabaseGone if that is the cause
                error = database_error(e)
                if isinstance(error, exc.IntegrityError) and conflicts < 5:
                    conflicts += 1  # another process was faster: try again
                    continue
                if error is None or not self._passes(error):
                    raise StorageError(explain(error or e, self.where)) from e
                delay = next(between)
                self._went_away(error, write=write, started=started)
                if self.trouble + delay > deadline:
                    raise StorageError(self._reason(error)) from e
            else:
                self._outages[write].worked(self.address)
                return result
            finally:
                self._mode.writing = before
            time.sleep(delay)

    def check_file(self) -> None:
        """Check that the path of a SQLite database still refers to the file that is open.

        Raises
        ------
        DatabaseGone
            It was removed or replaced.
        """
        if self._file is not None:
            self._file.check()

    def _passes(self, error: exc.SQLAlchemyError) -> bool:
        if self.opening:
            return is_lock(error)
        return is_passing(error) and (self._writable or not is_read_only(error))

    def _went_away(self, error: exc.SQLAlchemyError, *, write: bool, started: float) -> None:
        self.trouble = time.monotonic()
        if is_read_only(error):
            # Connections to a demoted server, and those opened while the file was read-only, stay read-only.
            self.engine.dispose()
        certain = is_full(error) or is_read_only(error)  # not a brief failure of a connection
        self._outages[write].failed(self._reason(error), started=started, at_once=certain)

    def _reason(self, error: exc.SQLAlchemyError) -> str:
        reason = explain(error, self.where, remedy=False)
        if self._file is None or is_lock(error):
            return reason
        return f"{reason.rstrip('.')}; {room(self._file.path.parent)}."

    def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction that only reads."""
        return self._transact(work, write=False, patience=None)

    def write(self, work: Callable[[Connection], T], patience: float | None = None) -> T:
        """Run `work` in one transaction that writes: all of it takes effect, or none."""
        return self._transact(work, write=True, patience=patience)

    def check_joined(self) -> None:
        """Check that the studies that this process has joined still exist; raises StudyGone."""
        self.read(lambda connection: None)

    def _transact(self, work: Callable[[Connection], T], *, write: bool, patience: float | None) -> T:
        def once() -> T:
            with self.engine.begin() as connection:
                identity.check(connection, self.joined)
                return work(connection)

        return self.patiently(once, write=write, patience=patience)

    # Writes to a trial are accepted only while this process holds its live attempt.

    def _fence(self, session: Any, trial_id: int) -> None:
        token = self.held.get(trial_id)
        if token is None:
            raise StorageError(f"trial_id {trial_id} was not claimed by this process; only its worker may write to it.")
        if not attempts.is_live(session.connection(), token, lock=True):
            raise AttemptSuperseded(f"trial_id {trial_id} was given to another worker.")

    def _set_trial_param_without_commit(self, session: Any, trial_id: int, *args: Any, **kwargs: Any) -> None:
        self._fence(session, trial_id)
        super()._set_trial_param_without_commit(session, trial_id, *args, **kwargs)

    def _set_trial_attr_without_commit(
        self, session: Any, model_cls: type[Any], trial_id: int, key: str, value: Any
    ) -> None:
        self._fence(session, trial_id)
        super()._set_trial_attr_without_commit(session, model_cls, trial_id, key, value)

    def _set_trial_intermediate_value_without_commit(
        self, session: Any, trial_id: int, step: int, intermediate_value: float
    ) -> None:
        self._fence(session, trial_id)
        super()._set_trial_intermediate_value_without_commit(session, trial_id, step, intermediate_value)

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        return self.read(
            partial(
                read_trials, study_id=study_id, states=states, included=included_trial_ids, after=trial_id_greater_than
            )
        )

    def delete_study(self, study_id: int) -> None:
        """Delete a study with all its rows, in one transaction."""
        self.joined.pop(study_id, None)
        self.write(partial(identity.delete_study, study_id=study_id))

    create_new_study = _retried(RDBStorage.create_new_study, write=True)
    set_trial_user_attr = _retried(RDBStorage.set_trial_user_attr, write=True)
    set_trial_system_attr = _retried(RDBStorage.set_trial_system_attr, write=True)
    set_trial_intermediate_value = _retried(RDBStorage.set_trial_intermediate_value, write=True)
    _set_trial_param = _retried(RDBStorage._set_trial_param, write=True)
    get_study_id_from_name = _retried(RDBStorage.get_study_id_from_name, write=False)
    get_study_name_from_id = _retried(RDBStorage.get_study_name_from_id, write=False)
    get_study_directions = _retried(RDBStorage.get_study_directions, write=False)
    get_study_user_attrs = _retried(RDBStorage.get_study_user_attrs, write=False)
    get_study_system_attrs = _retried(RDBStorage.get_study_system_attrs, write=False)
    get_all_studies = _retried(RDBStorage.get_all_studies, write=False)
    get_trial = _retried(RDBStorage.get_trial, write=False)
    _get_best_trial_id = _retried(RDBStorage._get_best_trial_id, write=False)
    get_trial_id_from_study_id_trial_number = _retried(RDBStorage.get_trial_id_from_study_id_trial_number, write=False)


def _prepare_sqlite(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # otherwise sqlite3 begins transactions by its own rules
    # What a command has reported as done must survive a power cut; NORMAL, the default of some builds, is too weak.
    connection.execute("PRAGMA synchronous = FULL")


def _create_tables(connection: Connection) -> None:
    schema.create_tables(connection)
    identity.prepare(connection)


def _prepared(url: URL, patience: float) -> Backend:
    backend = Backend(url, patience=patience)
    try:
        backend.write(_create_tables)
    except BaseException:
        backend.engine.dispose()
        raise
    backend.opening = False
    return backend


def _only_read(url: URL, patience: float) -> Backend:
    """Open a SQLite file that cannot be written; if it lacks tables, they are created in a private copy."""
    reader = Reader(Path(str(url.database)))
    try:
        with contextlib.closing(reader.connect()) as connection:
            complete = schema.are_complete(connection)
        if not complete:
            copied = reader.copy()
            _prepared(url.set(database=str(copied)), patience).engine.dispose()
            reader = Reader(copied)
        return Backend(url, patience=patience, reader=reader)
    except (OSError, sqlite3.Error) as e:
        raise StorageError(f"{address(url)}: cannot be read ({getattr(e, 'strerror', None) or e}).") from e


def connect(url: URL, *, patience: float, wait: float = 0.0, reading: bool = False) -> Backend:
    """Open a database, creating Optuna's tables and ours if they are missing.

    Parameters
    ----------
    url : URL
        From `parse_url`.
    patience : float
        As for `Backend`.
    wait : float
        Seconds to wait for a database that is away now.
    reading : bool
        Open a SQLite file even if it cannot be written; writes are then refused.

    Raises
    ------
    StorageError
        Unreachable, not writable, not a database, or made by another version.
    """
    if reading and is_closed(url):
        return _only_read(url, patience)
    return wait_for(
        lambda: _connect(url, patience),
        away=lambda e: _away(e, url),
        until=time.monotonic() + wait,
        between=pauses(FIRST_DELAY, LAST_DELAY),
    )


def _away(error: StorageError, url: URL) -> Away | None:
    found = database_error(error.__cause__) if error.__cause__ is not None else None
    if found is None or not is_passing(found):
        return None
    return Away(address(url), explain(found, url, remedy=False))


def _connect(url: URL, patience: float) -> Backend:
    for tries, delay in zip(range(1, SETUP_TRIES + 1), pauses(FIRST_DELAY, math.inf), strict=False):
        try:
            with setup_lock(url):
                return _prepared(url, patience)
        except ImportError as e:
            raise StorageError(
                f"{address(url)}: the PostgreSQL driver is missing; pip install 'tuner-tfbs[postgres]'."
            ) from e
        except RuntimeError as e:  # raised by Optuna for another schema; its last sentence is the remedy
            raise StorageError(f"{address(url)}: {' '.join(str(e).split())}") from e
        except OSError as e:
            raise StorageError(f"{address(url)}: {e.strerror}.") from e
        except (exc.SQLAlchemyError, StorageInternalError, AssertionError) as e:
            # A lock, or tables that a program without our setup lock is creating at this moment.
            error = database_error(e) or e
            text = str(error).lower()
            if tries == SETUP_TRIES or not any(w in text for w in ("locked", "already exists", "unique", "duplicate")):
                raise StorageError(explain(error, url)) from e
        time.sleep(delay)
    raise AssertionError("the last try returns or raises")
