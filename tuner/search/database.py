"""Connections to the database: transactions, waiting for a database that is away, creating tables.

SQLite runs in write-ahead mode on local disks (readers and one writer at once) and with a rollback journal on
network disks, where the shared memory of write-ahead mode does not exist. Every transaction that writes begins with
BEGIN IMMEDIATE: one that reads first and asks for the write lock later fails at once instead of waiting, if another
has written in between.

Only this module, `tables`, `identity`, `attributes`, `slots`, `attempts`, `reading`, `draw`, `groups` and `storage` use
what Optuna does not publish.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
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
from tuner.search import attempts, identity, tables
from tuner.search.address import address, database_error, explain, is_network_disk, is_passing
from tuner.search.reading import read_trials

P = ParamSpec("P")
T = TypeVar("T")

BUSY_SECONDS = 30.0  # SQLite: how long one statement waits for another process's write lock
FIRST_DELAY, LAST_DELAY = 0.05, 2.0  # seconds between tries
SETUP_TRIES = 8
SETUP_LOCK = 0x74756E6572  # "tuner": key of the advisory lock around table creation on PostgreSQL


@contextlib.contextmanager
def setup_lock(url: URL) -> Iterator[None]:
    """Let one process at a time create tables; ends with the process, leaves nothing behind."""
    if url.get_backend_name() == "sqlite":
        folder = os.open(Path(str(url.database)).absolute().parent, os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):  # some network disks lock no folders; then the retries decide
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
    """A storage method of Optuna's that waits for a database that is away."""

    def retried(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        result: T = self.patiently(lambda: method(self, *args, **kwargs), write=write)
        return result

    functools.update_wrapper(retried, method)
    return retried


class Backend(RDBStorage):
    """Optuna's storage with the right transactions, retries, and fenced writes to running trials.

    Parameters
    ----------
    url : URL
        From `parse_url`.
    patience : float
        Seconds to wait for a database that is away before giving up.
    """

    def __init__(self, url: URL, *, patience: float) -> None:
        self.address, self.where, self.patience = address(url), url, patience
        self.trouble = 0.0  # monotonic time of the last try that failed
        self.held: dict[int, str] = {}  # trial_id -> token of the attempt that this process runs
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
                # A worker stopped inside a transaction must not hold the study's lock for ever.
                "options": f"{given} -c idle_in_transaction_session_timeout=60000 -c lock_timeout=60000",
            }
        )
        text = url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")
        try:
            super().__init__(text, {"connect_args": connect, "pool_size": 2, "max_overflow": 0})
        except BaseException:
            if hasattr(self, "engine"):
                self.engine.dispose()
            raise
        if sqlite:
            self._set_journal()
            self.engine.dispose()
            event.listen(self.engine, "connect", _leave_transactions_to_us)
            event.listen(self.engine, "begin", self._begin)

    def _set_journal(self) -> None:
        path = Path(str(self.where.database)).resolve()
        mode = "delete" if is_network_disk(path) else "wal"
        self.engine.dispose()  # the mode changes only while nobody else has the file open
        with self.engine.connect() as connection:
            if connection.exec_driver_sql("PRAGMA journal_mode").scalar() != mode:
                with contextlib.suppress(exc.OperationalError):  # others are at work in the other mode: it stays
                    connection.exec_driver_sql(f"PRAGMA journal_mode = {mode}")

    def _begin(self, connection: Connection) -> None:
        writing = getattr(self._mode, "writing", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    def patiently(self, work: Callable[[], T], *, write: bool, patience: float | None = None) -> T:
        """Run `work` until it succeeds, its error is final, or patience ends.

        Raises
        ------
        StorageError
            The database refuses, or stayed away.
        """
        deadline = time.monotonic() + (self.patience if patience is None else patience)
        delay, conflicts = FIRST_DELAY, 0
        while True:
            before = getattr(self._mode, "writing", False)
            self._mode.writing = write
            try:
                return work()
            except KeyError:  # Optuna's word for what is not there
                self.check_joined()
                raise
            except (exc.SQLAlchemyError, StorageInternalError) as e:
                error = database_error(e)
                if isinstance(error, exc.IntegrityError) and conflicts < 5:
                    conflicts += 1  # another process was first: look again
                    continue
                if error is None or not is_passing(error):
                    raise StorageError(explain(error or e, self.where)) from e
                self.trouble = time.monotonic()
                if self.trouble + delay > deadline:
                    raise StorageError(explain(error, self.where)) from e
            finally:
                self._mode.writing = before
            time.sleep(delay)
            delay = min(2 * delay, LAST_DELAY)

    def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction that only reads."""
        return self._transact(work, write=False, patience=None)

    def write(self, work: Callable[[Connection], T], patience: float | None = None) -> T:
        """Run `work` in one transaction that writes: all of it happens, or nothing."""
        return self._transact(work, write=True, patience=patience)

    def check_joined(self) -> None:
        """Look whether what this process has joined is still there; raises StudyGone."""
        self.read(lambda connection: None)

    def _transact(self, work: Callable[[Connection], T], *, write: bool, patience: float | None) -> T:
        def once() -> T:
            with self.engine.begin() as connection:
                identity.check(connection, self.joined)
                return work(connection)

        return self.patiently(once, write=write, patience=patience)

    # Writes to a trial pass only while this process holds its live attempt.

    def _fence(self, session: Any, trial_id: int) -> None:
        token = self.held.get(trial_id)
        if token is None:
            raise StorageError(f"trial_id {trial_id} is not claimed here; only its worker may write to it.")
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


def _leave_transactions_to_us(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # else sqlite3 begins transactions by its own rules


def _create_tables(connection: Connection) -> None:
    tables.create_tables(connection)
    identity.prepare(connection)


def _prepared(url: URL, patience: float) -> Backend:
    backend = Backend(url, patience=patience)
    try:
        backend.write(_create_tables)
    except BaseException:
        backend.engine.dispose()
        raise
    return backend


def connect(url: URL, *, patience: float) -> Backend:
    """Open a database, creating Optuna's tables and ours where they are missing.

    Raises
    ------
    StorageError
        Unreachable, not writable, not a database, or made by another version.
    """
    delay = FIRST_DELAY
    for tries in range(1, SETUP_TRIES + 1):
        try:
            with setup_lock(url):
                return _prepared(url, patience)
        except ImportError as e:
            raise StorageError(
                f"{address(url)}: the PostgreSQL driver is missing; pip install 'tuner[postgres]'."
            ) from e
        except RuntimeError as e:  # Optuna's words for another schema; its last sentence is the remedy
            raise StorageError(f"{address(url)}: {' '.join(str(e).split())}") from e
        except OSError as e:
            raise StorageError(f"{address(url)}: {e.strerror}.") from e
        except (exc.SQLAlchemyError, StorageInternalError, AssertionError) as e:
            # A lock, or tables that a program without our setup lock creates at this moment.
            error = database_error(e) or e
            text = str(error).lower()
            if tries == SETUP_TRIES or not any(w in text for w in ("locked", "already exists", "unique", "duplicate")):
                raise StorageError(explain(error, url)) from e
        time.sleep(delay)
        delay *= 2
    raise AssertionError("the last try returns or raises")
