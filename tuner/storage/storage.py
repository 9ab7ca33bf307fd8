"""Fenced slots on an Optuna database: exact budgets, one live attempt a slot, nothing lost when workers die.

A worker's loop::

    storage = open_storage("runs/tuner.db")
    study = optuna.load_study(study_name="zbed2", storage=storage)
    storage.ensure_slots(study_id, ahead=workers)
    attempt = storage.claim(study_id, "worker 1")
    with storage.drawing(attempt):         # parameters are stored together, when the block ends
        trial = optuna.trial.Trial(study, attempt.trial_id)
        ...                                # suggest
    ...                                    # train
    storage.finish(attempt, TrialState.COMPLETE, values, user_attrs={...})

Budget N means N slots, each ending in one terminal result, whatever dies in between. The database stays a
plain Optuna database to every other program.
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

import tuner
from tuner.errors import StorageError
from tuner.storage import attempts, crashes, schema, slots
from tuner.storage.address import parse_url
from tuner.storage.attempts import Attempt, Record
from tuner.storage.attributes import AttributeRows
from tuner.storage.catalog import Catalog, read_catalog
from tuner.storage.database import Backend, connect
from tuner.storage.drawing import DrawingStorage
from tuner.storage.heartbeat import Heartbeat
from tuner.storage.identity import Identities
from tuner.storage.keys import MADE
from tuner.storage.masking import mask_all, passwords_of
from tuner.storage.names import check_stored_name, shown
from tuner.storage.ownership import FileRows
from tuner.storage.process import Process, this_process
from tuner.storage.reaping import Watch
from tuner.storage.rungs import RungRows
from tuner.storage.trials import read_light
from tuner.storage.workers import Roster

__all__ = [
    "Attempt",
    "FencedStorage",
    "Heartbeat",
    "Process",
    "Record",
    "Running",
    "open_existing",
    "open_storage",
    "this_process",
]

PATIENCE_SECONDS = 900.0
WORDS = ("reason", "artifacts_error")  # attributes of trials that hold what a program said of an error


class Running(NamedTuple):
    """A slot that is being executed.

    Attributes
    ----------
    number, attempt : int
        The slot, and which execution of it; 0 where another program runs the trial.
    worker, host : str
        Who, and where.
    pid : int
        Process id there.
    beat_age : float
        Seconds since the last heartbeat, by the database's clock.
    progress : dict
        What the last tick of the training said.
    """

    number: int
    attempt: int
    worker: str
    host: str
    pid: int
    beat_age: float
    progress: dict[str, Any]


def open_storage(
    where: str | Path, *, patience: float = PATIENCE_SECONDS, wait: float = 0.0, reading: bool = False
) -> FencedStorage:
    """Open a database, creating it and its tables if they are missing; many may do so at once.

    Parameters
    ----------
    where : str or Path
        A SQLite file, ``sqlite:///FILE``, or ``postgresql://USER:PASSWORD@HOST/DATABASE``.
    patience : float
        Seconds that later calls wait for a database that is away.
    wait : float
        Seconds that opening waits for one: none, as a wrong address should be seen at once, unless it was right before.
    reading : bool
        Open a SQLite file that cannot be written all the same, and leave no trace of it; writes are refused then.

    Raises
    ------
    StorageError
        One line without the password: unreachable, not writable, not a database, made by another version.
    """
    return FencedStorage(connect(parse_url(where), patience=patience, wait=wait, reading=reading))


def open_existing(where: str | Path, *, reading: bool = False) -> FencedStorage:
    """Open a database that should already be there; one that cannot be written only for `reading`.

    Parameters
    ----------
    where, reading
        As in `open_storage`.

    Raises
    ------
    StorageError
        A SQLite file that does not exist: who only reads creates none. Or as `open_storage`.
    """
    if "://" not in str(where) and not Path(where).is_file():
        raise StorageError(f"{where}: no storage here yet. Run a study first, or name one with --storage.")
    return open_storage(where, reading=reading)


class FencedStorage(FileRows, RungRows, AttributeRows, Identities, DrawingStorage):
    """Storage for `optuna.load_study` whose trials are slots; open it with `open_storage`.

    Whatever creates trials or changes their state past the slots (`study.ask`, `tell`, `optimize`,
    `enqueue_trial`, `add_trial`) is refused. Parameters and attributes of a trial are written only by the
    process that claimed it, while its attempt is live. Every method waits for a database that is away, and
    raises StorageError when its patience ends.

    Parameters
    ----------
    backend : Backend
        An open database.

    Attributes
    ----------
    secrets : frozenset of str
        What no reason that is stored may hold: the passwords of the URL, and what is added to them.
    """

    _backend: Backend

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self.secrets = frozenset(passwords_of(self.url))
        self._watches: dict[int, Watch] = {}

    @property
    def url(self) -> str:
        """The full URL, password included, for programs that open the same database."""
        return self._backend.where.render_as_string(hide_password=False)

    @property
    def address(self) -> str:
        """The URL or path as it may be shown."""
        return self._backend.address

    @property
    def trouble(self) -> float:
        """When a call of this process last found the database away: monotonic seconds; 0 if none did."""
        return self._backend.trouble

    def check_file(self) -> None:
        """See that a SQLite file is still the one that was opened; every other call does so too.

        Raises
        ------
        DatabaseGone
            It was removed or replaced.
        """
        self._backend.check_file()

    def close(self) -> None:
        """Close the connections; the next call opens them again."""
        self._backend.engine.dispose()

    # Studies and budgets

    def create_or_load(
        self,
        name: str,
        directions: Sequence[str],
        *,
        metric_names: Sequence[str] | None = None,
        user_attrs: Mapping[str, Any] | None = None,
        system_attrs: Mapping[str, Any] | None = None,
    ) -> int:
        """Create a study with its attributes in one transaction, or find the one of that name.

        Parameters
        ----------
        name : str
            Name of the study.
        directions : sequence of str
            ``"maximize"`` or ``"minimize"`` for each objective.
        metric_names : sequence of str, optional
            Names of the objectives, shown by the dashboard.
        user_attrs, system_attrs : mapping, optional
            Attributes of a new study; an existing one keeps its own, for the caller to compare.

        Returns
        -------
        int
            The study's id.

        Raises
        ------
        StudyError
            The study exists with other directions, or its name is none for a new study.
        """
        system = {MADE: tuner.__version__, **(system_attrs or {})}
        if metric_names is not None:
            system["study:metric_names"] = list(metric_names)  # as Study.set_metric_names stores them
        return self._backend.write(
            partial(
                slots.create_study,
                name=name,
                directions=directions,
                user_attrs=user_attrs or {},
                system_attrs=system,
            )
        )

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        """As Optuna's, under a name that a new study may have.

        Raises
        ------
        StudyError
            It may not.
        """
        if study_name is not None:
            check_stored_name(study_name)
        return super().create_new_study(directions, study_name)

    def catalog(self) -> Catalog:
        """Every study of the database: tuner's searches, their stages, and other programs' studies."""
        return self._backend.read(read_catalog)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """As Optuna's.

        Raises
        ------
        StorageError
            An attribute is no JSON.
        """
        try:
            return super().get_study_system_attrs(study_id)
        except (ValueError, RecursionError) as e:
            raise self._unreadable(study_id, "an attribute is no JSON that can be read", e) from e

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """As Optuna's.

        Raises
        ------
        StorageError
            An attribute is no JSON.
        """
        try:
            return super().get_study_user_attrs(study_id)
        except (ValueError, RecursionError) as e:
            raise self._unreadable(study_id, "an attribute is no JSON that can be read", e) from e

    def _unreadable(self, study_id: int, what: str, e: Exception) -> StorageError:
        name = shown(self.get_study_name_from_id(study_id))
        return StorageError(
            f"{self.address}: the study {name} cannot be read: {what} ({type(e).__name__}: {str(e)[:80]}). "
            "Somebody changed it, or the database is damaged; restore a backup, or use another study."
        )

    def budget(self, study_id: int) -> int | None:
        """Number of slots the study is to end with; None before `set_budget`."""
        return self._backend.read(partial(slots.budget, study_id=study_id))

    def set_budget(self, study_id: int, total: int) -> int:
        """Set the number of slots; the same number again changes nothing.

        Raises
        ------
        StudyError
            More slots exist already; the study does not exist.
        """
        return self._backend.write(partial(slots.set_budget, study_id=study_id, total=total))

    def ensure_slots(self, study_id: int, *, ahead: int) -> int:
        """Make waiting slots as far as they are needed.

        Parameters
        ----------
        study_id : int
            The study.
        ahead : int
            At most so many slots wait afterwards, those that were enqueued included.

        Returns
        -------
        int
            Number of slots made.

        Raises
        ------
        StudyError
            The study has no budget, or does not exist.
        """
        if not self._backend.read(partial(slots.missing, study_id=study_id, ahead=ahead)):
            return 0  # the usual case, without a lock
        return self._backend.write(partial(slots.ensure, study_id=study_id, ahead=ahead))

    def enqueue(
        self,
        study_id: int,
        params: Mapping[str, Any],
        user_attrs: Mapping[str, Any] | None = None,
        *,
        once: str,
        grow: bool = False,
    ) -> bool:
        """Make one slot with fixed parameters, whoever comes first.

        Parameters
        ----------
        study_id : int
            The study.
        params : mapping
            Parameters that `suggest_*` will return; those left out are drawn by the sampler.
        user_attrs : mapping, optional
            JSON attributes of the trial.
        once : str
            Key of this slot in the study: a second call with it does nothing.
        grow : bool
            Raise a budget that is used up (or was never set) by this slot. Without it nothing is made while
            the budget is used up; after it was raised, the same call makes the slot.

        Returns
        -------
        bool
            Whether this call made the slot.
        """
        return self._backend.write(
            partial(
                slots.enqueue,
                study_id=study_id,
                params=params,
                user_attrs=user_attrs or {},
                once=once,
                grow=grow,
            )
        )

    def enqueue_many(self, study_id: int, wanted: Sequence[tuple[str, Mapping[str, Any], Mapping[str, Any]]]) -> int:
        """Make many slots in one transaction, each once, raising the budget by those made.

        Parameters
        ----------
        study_id : int
            The study.
        wanted : sequence of (once, params, user_attrs)
            As for `enqueue`.

        Returns
        -------
        int
            Slots made.
        """
        return self._backend.write(partial(slots.enqueue_many, study_id=study_id, wanted=wanted))

    def counts(self, study_id: int) -> dict[TrialState, int]:
        """Trials by state; every state has a number."""
        return self._backend.read(partial(slots.count, study_id=study_id))

    def open_slots(self, study_id: int) -> int:
        """How many slots of the budget have not ended, those included that are not made yet."""

        def look(connection: Any) -> int:
            have = slots.count(connection, study_id)
            total = max(slots.budget(connection, study_id) or 0, sum(have.values()))
            return total - sum(n for state, n in have.items() if state.is_finished())

        return self._backend.read(look)

    def light_trials(
        self,
        study_id: int,
        attributes: Collection[str] | None = (),
        params: Collection[str] | None = (),
        numbers: Collection[int] | None = None,
    ) -> list[FrozenTrial]:
        """Trials by number without most of their attributes: see `reading.read_light`."""
        return self._backend.read(
            partial(read_light, study_id=study_id, attributes=attributes, params=params, numbers=numbers)
        )

    # Attempts

    def claim(self, study_id: int, worker: str, *, process: Process | None = None) -> Attempt | None:
        """Take the waiting slot with the lowest number, with its first heartbeat, in one transaction.

        Parameters of a slot whose suggestion was interrupted are cleared; complete ones are kept.

        Parameters
        ----------
        study_id : int
            The study.
        worker : str
            Name to show.
        process : Process, optional
            Who runs it, if not this process.

        Returns
        -------
        Attempt or None
            None while no slot waits.
        """
        token, who = str(uuid.uuid4()), process or this_process()
        attempt = self._backend.write(
            partial(
                attempts.claim,
                study_id=study_id,
                worker=worker,
                process=who,
                token=token,
            )
        )
        if attempt is not None:
            self._backend.held[attempt.trial_id] = attempt.token
            self._read_trials_from_remote_storage(study_id)  # set_trial_param knows only what was read
        return attempt

    def beat(
        self, attempt: Attempt, progress: Mapping[str, Any] | None = None, *, patience: float | None = None
    ) -> None:
        """Store a heartbeat, and what is shown of a running trial.

        Raises
        ------
        AttemptSuperseded
            The attempt lost its slot: nothing it does counts any more.
        """
        values = {} if progress is None else {"progress": json.dumps(progress, default=str)}
        self._backend.write(partial(attempts.update_live, attempt=attempt, values=values), patience)

    def finish(
        self,
        attempt: Attempt,
        state: TrialState,
        values: Sequence[float] | None = None,
        *,
        user_attrs: Mapping[str, Any] | None = None,
        system_attrs: Mapping[str, Any] | None = None,
    ) -> None:
        """Store the terminal result of a slot in one transaction; repeating it is no error.

        Parameters
        ----------
        attempt : Attempt
            The live attempt.
        state : TrialState
            COMPLETE with one finite value an objective; PRUNED or FAIL without values and with
            ``user_attrs["reason"]``.
        values : sequence of float, optional
            Objective values in the study's order.
        user_attrs, system_attrs : mapping, optional
            JSON attributes of the trial.

        Raises
        ------
        AttemptSuperseded
            The attempt lost its slot; nothing was stored.
        StorageError
            Values or attributes that cannot be stored; nothing was stored.
        """
        user_attrs = dict(user_attrs or {})
        user_attrs |= {key: self._masked(str(user_attrs[key])) for key in WORDS if user_attrs.get(key)}
        numbers = self._check_result(attempt, state, values, user_attrs)
        self._backend.write(
            partial(
                attempts.finish, attempt=attempt, state=state, values=numbers,
                user_attrs=user_attrs, system_attrs=system_attrs or {},
            )
        )  # fmt: skip
        self._backend.held.pop(attempt.trial_id, None)

    def _check_result(
        self,
        attempt: Attempt,
        state: TrialState,
        values: Sequence[float] | None,
        user_attrs: Mapping[str, Any],
    ) -> list[float] | None:
        what = f"trial {attempt.number}"
        if not state.is_finished():
            raise StorageError(f"{what}: {state.name} is no result; use COMPLETE, PRUNED or FAIL.")
        if state is not TrialState.COMPLETE:
            if values is not None:
                raise StorageError(f"{what}: a {state.name} trial has no values; put them into user_attrs.")
            if not user_attrs.get("reason"):
                raise StorageError(f"{what}: a {state.name} trial needs user_attrs['reason'].")
            return None
        numbers = [float(v) for v in values or ()]
        expected = len(self.get_study_directions(attempt.study_id))
        if len(numbers) != expected:
            raise StorageError(f"{what}: {len(numbers)} values for {expected} objectives.")
        if not all(map(math.isfinite, numbers)):
            raise StorageError(f"{what}: the values {numbers} are not finite; finish it as PRUNED with a reason.")
        return numbers

    def fail_attempt(
        self, attempt: Attempt, reason: str, *, max_failures: int, patience: float | None = None
    ) -> Literal["waiting", "failed"]:
        """Count an error of the trial's own code: the slot waits again, or fails for good.

        A slot that fails for good keeps the last reason in ``user_attrs["reason"]`` and all of them in
        ``user_attrs["failures"]``. Kills, reaps and hand-backs are not counted.

        Raises
        ------
        AttemptSuperseded
            The attempt lost its slot.
        """
        work = partial(attempts.fail, attempt=attempt, reason=self._masked(reason), max_failures=max_failures)
        state = self._backend.write(work, patience)
        self._backend.held.pop(attempt.trial_id, None)
        return state

    def count_crash(self, process: Process, reason: str, *, memory: bool, max_failures: int) -> bool:
        """Count the crash of a process as an error of the slot it ran, if it ran one; for who started the process.

        It counts also where the slot was reaped before. After `max_failures` errors the slot ends: FAIL, or
        PRUNED as infeasible if the last one was the kernel's kill for want of memory.

        Parameters
        ----------
        process : Process
            Who crashed.
        reason : str
            How.
        memory : bool
            Whether memory ran out.
        max_failures : int
            As for `fail_attempt`.

        Returns
        -------
        bool
            Whether this process had ended any slot before.
        """
        work = partial(crashes.crash, process=process, max_failures=max_failures, memory=memory)
        return self._backend.write(partial(work, reason=self._masked(reason)))

    def hand_back(self, attempt: Attempt, reason: str, *, patience: float | None = None) -> None:
        """Let another worker go on: the slot waits again with number, parameters and history.

        Raises
        ------
        AttemptSuperseded
            The attempt lost its slot.
        """
        self._backend.write(partial(attempts.hand_back, attempt=attempt, reason=self._masked(reason)), patience)
        self._backend.held.pop(attempt.trial_id, None)

    def _masked(self, reason: str) -> str:
        return mask_all(reason, self.secrets)

    def reap(self, study_id: int, *, grace: float) -> list[int]:
        """Set slots of dead workers back to WAITING.

        At once where the worker's process has ended on this host. Elsewhere, and where a process lives but
        has stopped or hides: after this process has watched the heartbeat stand still for `grace` seconds and the
        database's clock agrees, or for twice as long where it does not. Watching starts over when the database was
        away, so an outage, a suspended laptop or a jump of a clock takes no slot from a healthy worker. A trial that
        another program set to RUNNING is taken after the same time.

        Parameters
        ----------
        study_id : int
            The study.
        grace : float
            Seconds; several heartbeat intervals.

        Returns
        -------
        list of int
            Numbers of the trials that wait again.
        """
        return self._watches.setdefault(study_id, Watch(self._backend, study_id)).reap(grace)

    def running(self, study_id: int) -> list[Running]:
        """Slots under execution, by number."""
        return [
            Running(
                o.number,
                o.attempt,
                o.worker,
                o.process.host.partition(" ")[0],
                o.process.pid,
                o.age,
                o.progress,
            )
            for o in self._backend.read(partial(attempts.open_attempts, study_id=study_id))
        ]

    def attempts(self, trial_id: int) -> list[Record]:
        """History of a slot: each execution, its worker, and how it ended."""
        return self._backend.read(partial(attempts.history, trial_id=trial_id))

    def outcomes(self, study_id: int) -> dict[str, int]:
        """Attempts that have ended, by outcome."""
        return self._backend.read(partial(attempts.outcomes, study_id=study_id))

    def versions(self) -> dict[str, str]:
        """Versions of the tables: ``optuna`` (its schema), ``tuner``."""
        return self._backend.read(schema.versions)

    def roster(self, study_id: int) -> Roster:
        """The study's workers, and requests to leave."""
        return Roster(self._backend, study_id)

    # What would go past the slots

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Refused: slots are the only trials."""
        raise StorageError(
            "trials of this storage are slots: use ensure_slots or enqueue, then claim, "
            "not study.ask, enqueue_trial, add_trial or optimize."
        )

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Refused: only an attempt ends a trial."""
        raise StorageError(
            "trials of this storage are slots: use claim, finish, fail_attempt or hand_back, not study.tell."
        )

    def remove_session(self) -> None:
        """Return this thread's connection."""
        self._backend.remove_session()
