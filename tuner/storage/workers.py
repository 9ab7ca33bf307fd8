"""The workers of a study, and the requests to leave.

Each worker has one row in ``tuner_workers`` from its start to its end, even while it waits for a slot. Requests to
leave are numbered consecutively; a request concerns the workers that had started by then. A worker that started
between requests 2 and 3 has position 2.5. So no clock decides: on SQLite each process uses the clock of its host.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Literal, NamedTuple, Self

import sqlalchemy as sa
from sqlalchemy import Connection

from tuner.errors import StorageError, StudyGone
from tuner.storage.database import Backend
from tuner.storage.process import Process, age_of, this_process
from tuner.storage.schema import ATTEMPTS, LIVE, REQUESTS, STOPS, STUDIES, WORKERS, now

log = logging.getLogger("tuner.roster")

GRACE_SECONDS = 60.0  # a worker on another machine counts as gone after this long without a heartbeat
LOOK_SECONDS = 2.0  # between two checks for a request
LOOKS_PER_BEAT = 3
LEAVE_SECONDS = 5.0  # leaving must not wait for a database that is away
FORGET_SECONDS = 86_400.0  # how long the rows of killed workers are kept for people to see

Request = Literal["after the trial", "at once"]


class Member(NamedTuple):
    """A worker of a study.

    Attributes
    ----------
    worker : str
        Its name.
    process : Process
        Host and process id.
    started, beat_age : float
        Start (Unix seconds), and seconds since its last heartbeat, both by the database's clock.
    token : str
        Key of its row.
    one_clock : bool
        Whether `beat_age` is the difference of two times of the same clock; otherwise it may be hours off.
    beat : float
        Time of the last heartbeat.
    """

    worker: str
    process: Process
    started: float
    beat_age: float
    token: str = ""
    one_clock: bool = True
    beat: float = 0.0

    @property
    def host(self) -> str:
        """Host name, without boot and namespaces."""
        return self.process.host.partition(" ")[0]

    def is_gone(self, grace: float = GRACE_SECONDS) -> bool:
        """Whether its process has ended on this host, or it has sent no heartbeat for `grace` seconds.

        If its host has another clock, it counts as present for a day: only watching its heartbeat would tell more.
        """
        return self.beat_age >= (grace if self.one_clock else FORGET_SECONDS) or self.process.is_dead


class Roster:
    """The workers of one study.

    Parameters
    ----------
    backend : Backend
        An open database.
    study_id : int
        The study.
    """

    def __init__(self, backend: Backend, study_id: int) -> None:
        self._backend, self._study_id = backend, study_id

    def position(self) -> float:
        """Position of a worker that starts now: after every request so far."""
        return self._backend.read(partial(_position, study_id=self._study_id))

    def members(self) -> list[Member]:
        """Every worker that has not left, by start; including dead ones, until their rows are removed."""
        return self._backend.read(partial(_members, study_id=self._study_id))

    def ask(self, *, at_once: bool) -> int:
        """Ask all workers that have started by now to leave.

        Parameters
        ----------
        at_once : bool
            Hand the running trials back instead of finishing them.

        Returns
        -------
        int
            Number of the request.
        """
        return self._backend.write(partial(_ask, study_id=self._study_id, at_once=at_once))

    def asked(self, since: float) -> Request | None:
        """The request that concerns a worker at position `since`, if there is one."""
        return self._backend.read(partial(_asked, study_id=self._study_id, since=since))

    def join(self, token: str, worker: str, process: Process, *, age: float, since: float | None = None) -> float:
        """Register a worker.

        Parameters
        ----------
        token : str
            Key of its row; never reused.
        worker : str
            Name to show.
        process : Process
            Its process.
        age : float
            Seconds since the process started.
        since : float, optional
            Earlier position to keep: that of the run in which this worker replaces a dead one.

        Returns
        -------
        float
            Its position among the requests; one that was made while the process was loading comes after it.
        """
        values = {"token": token, "study_id": self._study_id, "worker": worker, **process._asdict()}
        return self._backend.write(partial(_join, values=values, age=age, since=since))

    def beat(self, token: str) -> None:
        """Store a heartbeat."""
        row = WORKERS.update().where(WORKERS.c.token == token)
        self._backend.write(lambda connection: connection.execute(row.values(beat=now(connection))), 0)

    def leave(self, token: str) -> None:
        """Remove a worker's row."""
        row = WORKERS.delete().where(WORKERS.c.token == token)
        self._backend.write(lambda connection: connection.execute(row), LEAVE_SECONDS)


class Membership:
    """Keeps this process registered while the block runs; a thread checks whether it is asked to leave.

    Parameters
    ----------
    roster : Roster
        The workers of the study.
    worker : str
        Name to show.
    on_request : callable
        Called with whether to leave at once: from the thread, or before the block if the request is older.
    since : float, optional
        As for `Roster.join`.
    age : float, optional
        Seconds since the work began; by default since this process started.
    interval : float
        Seconds between checks.
    """

    def __init__(
        self,
        roster: Roster,
        worker: str,
        on_request: Callable[[bool], None],
        *,
        since: float | None = None,
        age: float | None = None,
        interval: float = LOOK_SECONDS,
    ) -> None:
        self.roster, self.worker, self.on_request, self.since = roster, worker, on_request, since
        self.interval, self.age, self.token = interval, age, str(uuid.uuid4())
        self._seen: Request | None = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="roster", daemon=True)

    def __enter__(self) -> Self:
        process = this_process()
        age = age_of(process) if self.age is None else self.age
        self.since = self.roster.join(self.token, self.worker, process, age=age, since=self.since)
        self._look()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join(self.interval)
        try:
            self.roster.leave(self.token)
        except StudyGone as e:
            log.debug("%s: its row was deleted with the study: %s", self.worker, e)
        except StorageError as e:
            log.warning("%s could not be unregistered (%s); it will be found gone by its silence", self.worker, e)

    def _look(self) -> None:
        assert self.since is not None  # set by __enter__
        request = self.roster.asked(self.since)
        if request is not None and request != self._seen:
            self._seen = request
            log.info("%s is asked to leave %s", self.worker, request)
            self.on_request(request == "at once")

    def _run(self) -> None:
        looks = 0
        while not self._end.wait(self.interval):
            looks += 1
            try:
                self._look()
                if looks % LOOKS_PER_BEAT == 0:
                    self.roster.beat(self.token)
            except StudyGone as e:  # the worker's own next call reports it
                log.debug("%s: %s", self.worker, e)
                return
            except StorageError as e:  # the worker's own calls decide when an outage has lasted too long
                log.debug("%s: cannot check for requests to leave: %s", self.worker, e)


def _join(connection: Connection, values: dict[str, object], age: float, since: float | None) -> float:
    at = now(connection)
    silent = (WORKERS.c.study_id == values["study_id"]) & (WORKERS.c.beat < at - FORGET_SECONDS)
    connection.execute(WORKERS.delete().where(silent | (WORKERS.c.token == values["token"])))
    row = {key: value for key, value in values.items() if key != "start"}
    started = at - max(0.0, age)
    connection.execute(WORKERS.insert().values(**row, process_start=values["start"], started=started, beat=at))
    study = REQUESTS.c.study_id == values["study_id"]
    recent = connection.execute(sa.select(REQUESTS.c.number, REQUESTS.c.host).where(study, REQUESTS.c.time >= started))
    missed = [float(r.number) - 0.5 for r in recent if _one_clock(connection, r.host)]
    here = _position(connection, int(str(values["study_id"])))
    return min(here, *missed, here if since is None else since)


def _one_clock(connection: Connection, host: str) -> bool:
    """Whether a time written by a process of `host` and `now` come from the same clock."""
    return connection.dialect.name != "sqlite" or Process(host, 0, 0.0).shares_clock


def _last(connection: Connection, study_id: int) -> int:
    last = sa.select(sa.func.max(REQUESTS.c.number)).where(REQUESTS.c.study_id == study_id)
    return int(connection.scalar(last) or 0)


def _position(connection: Connection, study_id: int) -> float:
    return _last(connection, study_id) + 0.5


def _members(connection: Connection, study_id: int) -> list[Member]:
    at = now(connection)
    # A worker that is training also sends heartbeats for its attempt.
    live = sa.select(ATTEMPTS.c.host, ATTEMPTS.c.pid, ATTEMPTS.c.process_start, ATTEMPTS.c.beat).where(LIVE)
    training = {Process(r.host, r.pid, r.process_start): r.beat for r in connection.execute(live)}
    query = sa.select(WORKERS).where(WORKERS.c.study_id == study_id).order_by(WORKERS.c.started, WORKERS.c.worker)
    found = []
    for r in connection.execute(query):
        process = Process(r.host, r.pid, r.process_start)
        beat = max(r.beat, training.get(process, 0.0))
        one_clock = _one_clock(connection, r.host)
        found.append(Member(r.worker, process, r.started, max(0.0, at - beat), r.token, one_clock, beat))
    return found


def _ask(connection: Connection, study_id: int, at_once: bool) -> int:
    # Take the study's lock, so that two requests do not get the same number.
    connection.execute(sa.select(STUDIES.c.study_id).where(STUDIES.c.study_id == study_id).with_for_update())
    at, number = now(connection), _last(connection, study_id) + 1
    host = this_process().host
    connection.execute(REQUESTS.insert().values(study_id=study_id, number=number, at_once=at_once, time=at, host=host))
    values = {"at_once": at} if at_once else {"after_trial": at}
    if not connection.execute(STOPS.update().where(STOPS.c.study_id == study_id).values(**values)).rowcount:
        connection.execute(STOPS.insert().values(study_id=study_id, **values))
    return number


def _asked(connection: Connection, study_id: int, since: float) -> Request | None:
    query = sa.select(REQUESTS.c.at_once).where(REQUESTS.c.study_id == study_id, REQUESTS.c.number > since)
    asked = [bool(at_once) for at_once in connection.scalars(query)]
    if not asked:
        return None
    return "at once" if any(asked) else "after the trial"
