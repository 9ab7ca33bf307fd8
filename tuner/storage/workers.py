"""Who works on a study now, and who was asked to leave.

Each worker keeps one row in ``tuner_workers`` from its start to its end, also while it waits for a slot. A request to
leave has a number, one more than the one before it; it concerns the workers that had started by then. Who started
between requests 2 and 3 stands at 2.5. So no clock decides: on SQLite the database's clock is that of whoever asks.
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

GRACE_SECONDS = 60.0  # a worker on another machine that has not beaten for this long is gone
LOOK_SECONDS = 2.0  # between two looks for a request
LOOKS_PER_BEAT = 3
LEAVE_SECONDS = 5.0  # leaving must not wait for a database that is away
FORGET_SECONDS = 86_400.0  # rows of workers that were killed, kept for people to see

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
        Start (Unix seconds), and seconds since its last sign of life, both by the database's clock.
    token : str
        Key of its row.
    one_clock : bool
        Whether `beat_age` is the difference of two looks at one clock; else it may be hours off.
    beat : float
        Time of the last sign of life.
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
        """Host name as people know it."""
        return self.process.host.partition(" ")[0]

    def is_gone(self, grace: float = GRACE_SECONDS) -> bool:
        """Whether its process has ended on this host, or nothing was heard of it for `grace` seconds.

        A host whose clock is not ours is believed for a day: then only who watches its beat stand still knows more.
        """
        return self.beat_age >= (grace if self.one_clock else FORGET_SECONDS) or self.process.is_dead


class Roster:
    """The workers of one study, in its database.

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
        """Where a worker stands that starts now: after every request that was made."""
        return self._backend.read(partial(_position, study_id=self._study_id))

    def members(self) -> list[Member]:
        """Every worker that has not left, by start; dead ones too, until somebody forgets them."""
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
        """What was asked of a worker that stands at `since`."""
        return self._backend.read(partial(_asked, study_id=self._study_id, since=since))

    def join(self, token: str, worker: str, process: Process, *, age: float, since: float | None = None) -> float:
        """Write a worker down.

        Parameters
        ----------
        token : str
            Key of the row, never reused.
        worker : str
            Name to show.
        process : Process
            Who it is.
        age : float
            Seconds since the process started.
        since : float, optional
            Earlier position: of the run that replaces a dead worker by this one.

        Returns
        -------
        float
            Where it stands among the requests; one that was made while the process was loading comes after it.
        """
        values = {"token": token, "study_id": self._study_id, "worker": worker, **process._asdict()}
        return self._backend.write(partial(_join, values=values, age=age, since=since))

    def beat(self, token: str) -> None:
        """Store a sign of life."""
        row = WORKERS.update().where(WORKERS.c.token == token)
        self._backend.write(lambda connection: connection.execute(row.values(beat=now(connection))), 0)

    def leave(self, token: str) -> None:
        """Strike a worker out."""
        row = WORKERS.delete().where(WORKERS.c.token == token)
        self._backend.write(lambda connection: connection.execute(row), LEAVE_SECONDS)


class Membership:
    """Keeps this process in the roster while the block runs; a thread looks whether it is asked to leave.

    Parameters
    ----------
    roster : Roster
        Of the study.
    worker : str
        Name to show.
    on_request : callable
        Called with whether to leave at once; from the thread, or before the block if the request is older.
    since : float, optional
        As for `Roster.join`.
    age : float, optional
        Seconds since the work began; without it, since this process started.
    interval : float
        Seconds between looks.
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
            log.debug("%s: its row went with the study: %s", self.worker, e)
        except StorageError as e:
            log.warning("%s could not be struck from the roster (%s); its silence will show", self.worker, e)

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
            except StudyGone as e:  # the worker's own next call says it aloud
                log.debug("%s: %s", self.worker, e)
                return
            except StorageError as e:  # the worker's own calls decide when an outage has lasted too long
                log.debug("%s: no look into the roster: %s", self.worker, e)


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
    """Whether a time that a process of `host` wrote and `now` are of one clock: the server's, else that of one boot."""
    return connection.dialect.name != "sqlite" or Process(host, 0, 0.0).shares_clock


def _last(connection: Connection, study_id: int) -> int:
    last = sa.select(sa.func.max(REQUESTS.c.number)).where(REQUESTS.c.study_id == study_id)
    return int(connection.scalar(last) or 0)


def _position(connection: Connection, study_id: int) -> float:
    return _last(connection, study_id) + 0.5


def _members(connection: Connection, study_id: int) -> list[Member]:
    at = now(connection)
    # A worker that trains beats for its attempt too.
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
    # The study's lock, so that two requests do not both insert.
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
