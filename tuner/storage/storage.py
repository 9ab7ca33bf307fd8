"""Fenced slots on an Optuna database: exact budgets, one live attempt per slot, nothing lost when workers die.

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

A budget of N means N slots, each of which ends in exactly one result, whatever dies in between. To every other
program the database remains a plain Optuna database.
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
WORDS = ("reason", "artifacts_error")  # attributes of trials that quote error messages


class Running(NamedTuple):
    """A slot that is being executed.

    Attributes
    ----------
    number, attempt : int
        The slot and its attempt; 0 if another program runs the trial.
    worker, host : str
        Name of the worker, and its host.
    pid : int
        Process id on that host.
    beat_age : float
        Seconds since the last heartbeat, by the database's clock.
    progress : dict
        What the last tick of the training reported.
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
    """Open a database, creating it and its tables if they are missing; several processes may do so at once.

    Parameters
    ----------
    where : str or Path
        A SQLite file, ``sqlite:///FILE``, or ``postgresql://USER:PASSWORD@HOST/DATABASE``.
    patience : float
        Seconds that later calls wait for a database that is away.
    wait : float
        Seconds that opening waits for one. 0 reports a wrong address at once; wait only if it worked before.
    reading : bool
        Open a SQLite file even if it cannot be written, and leave no trace; writes are then refused.

    Raises
    ------
    StorageError
        The database is unreachable, not writable, not a database, or was created by another version. The message
        is one line without the password.
    """
    return FencedStorage(connect(parse_url(where), patience=patience, wait=wait, reading=reading))


def open_existing(where: str | Path, *, reading: bool = False) -> FencedStorage:
    """Open a database that should already exist; one that cannot be written is opened only for `reading`.

    Parameters
    ----------
    where, reading
        As in `open_storage`.

    Raises
    ------
    StorageError
        The SQLite file does not exist (it is not created), or an error of `open_storage`.
    """
    if "://" not in str(where) and not Path(where).is_file():
        raise StorageError(f"{where}: there is no storage here yet. Run a study first, or name one with --storage.")
    return open_storage(where, reading=reading)


class FencedStorage(FileRows, RungRows, AttributeRows, Identities, DrawingStorage):
    """Storage for `optuna.load_study` whose trials are slots; open it with `open_storage`.

    Methods that create trials or change their state without using slots (`study.ask`, `tell`, `optimize`,
    `enqueue_trial`, `add_trial`) are refused. Parameters and attributes of a trial can be written only by the
    process that claimed it, while its attempt is live. Every method waits for a database that is away, and
    raises StorageError when its patience ends.

    Parameters
    ----------
    backend : Backend
        An open database.

    Attributes
    ----------
    secrets : frozenset of str
        Texts that are masked in all stored reasons: the passwords of the URL, and any that are added.
    """

    _backend: Backend

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self.secrets = frozenset(passwords_of(self.url))
        self._watches: dict[int, Watch] = {}

    @property
    def url(self) -> str:
        """The full URL, including the password, for programs that open the same database."""
        return self._backend.where.render_as_string(hide_password=False)

    @property
    def address(self) -> str:
        """The URL without its password, or the path, for display."""
        return self._backend.address

    @property
    def trouble(self) -> float:
        """When a call of this process last found the database away, in monotonic seconds; 0 if none did."""
        return self._backend.trouble

    def check_file(self) -> None:
        """Check that a SQLite file is still the one that was opened; every other call does so, too.

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
        """Create a study with its attributes in one transaction, or find the existing one of that name.

        Parameters
        ----------
        name : str
            Name of the study.
        directions : sequence of str
            ``"maximize"`` or ``"minimize"`` for each objective.
        metric_names : sequence of str, optional
            Names of the objectives, shown by the dashboard.
        user_attrs, system_attrs : mapping, optional
            Attributes of a new study; an existing one keeps its own, which the caller can compare.

        Returns
        -------
        int
            The study's id.

        Raises
        ------
        StudyError
            The study exists with other directions, or a new study may not have this name.
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
        """As in Optuna, but the name must follow the rule for new studies.

        Raises
        ------
        StudyError
            The name breaks the rule.
        """
        if study_name is not None:
            check_stored_name(study_name)
        return super().create_new_study(directions, study_name)

    def catalog(self) -> Catalog:
        """All studies of the database: tuner's searches, their stages, and studies of other programs."""
        return self._backend.read(read_catalog)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """As in Optuna.

        Raises
        ------
        StorageError
            An attribute is not readable JSON.
        """
        try:
            return super().get_study_system_attrs(study_id)
        except (ValueError, RecursionError) as e:
            raise self._unreadable(study_id, "an attribute is not readable JSON", e) from e

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """As in Optuna.

        Raises
        ------
        StorageError
            An attribute is not readable JSON.
        """
        try:
            return super().get_study_user_attrs(study_id)
        except (ValueError, RecursionError) as e:
            raise self._unreadable(study_id, "an attribute is not readable JSON", e) from e

    def _unreadable(self, study_id: int, what: str, e: Exception) -> StorageError:
        name = shown(self.get_study_name_from_id(study_id))
        return StorageError(
            f"{self.address}: the study {name} cannot be read: {what} ({type(e).__name__}: {str(e)[:80]}). "
            "Another program changed it, or the database is damaged; restore a backup, or use another study."
        )

    def budget(self, study_id: int) -> int | None:
        """Number of slots with which the study ends; None before `set_budget`."""
        return self._backend.read(partial(slots.budget, study_id=study_id))

    def set_budget(self, study_id: int, total: int) -> int:
        """Set the number of slots; setting the same number again changes nothing.

        Raises
        ------
        StudyError
            More slots exist already, or the study does not exist.
        """
        return self._backend.write(partial(slots.set_budget, study_id=study_id, total=total))

    def ensure_slots(self, study_id: int, *, ahead: int) -> int:
        """Create as many waiting slots as are needed.

        Parameters
        ----------
        study_id : int
            The study.
        ahead : int
            Largest number of slots that wait afterwards, including enqueued ones.

        Returns
        -------
        int
            Number of slots created.

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
        """Create one slot with fixed parameters; if several processes try, the first one does.

        Parameters
        ----------
        study_id : int
            The study.
        params : mapping
            Parameters that `suggest_*` will return; those left out are drawn by the sampler.
        user_attrs : mapping, optional
            JSON attributes of the trial.
        once : str
            Key of this slot in the study: a second call with the same key does nothing.
        grow : bool
            If the budget is used up (or was never set), raise it by this slot. Otherwise nothing is created while
            the budget is used up; after it was raised, the same call creates the slot.

        Returns
        -------
        bool
            Whether this call created the slot.
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
        """Create many slots in one transaction, each once, raising the budget by those created.

        Parameters
        ----------
        study_id : int
            The study.
        wanted : sequence of (once, params, user_attrs)
            As for `enqueue`.

        Returns
        -------
        int
            Number of slots created.
        """
        return self._backend.write(partial(slots.enqueue_many, study_id=study_id, wanted=wanted))

    def counts(self, study_id: int) -> dict[TrialState, int]:
        """Number of trials in each state, zeros included."""
        return self._backend.read(partial(slots.count, study_id=study_id))

    def open_slots(self, study_id: int) -> int:
        """How many slots of the budget have not ended, including those that are not created yet."""

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
        """Trials by number, without most of their attributes; see `trials.read_light`."""
        return self._backend.read(
            partial(read_light, study_id=study_id, attributes=attributes, params=params, numbers=numbers)
        )

    # Attempts

    def claim(self, study_id: int, worker: str, *, process: Process | None = None) -> Attempt | None:
        """Take the waiting slot with the lowest number and write its first heartbeat, in one transaction.

        If drawing the slot's parameters was interrupted, they are cleared; a complete set is kept.

        Parameters
        ----------
        study_id : int
            The study.
        worker : str
            Name to show.
        process : Process, optional
            The process that runs it, if not this one.

        Returns
        -------
        Attempt or None
            None if no slot is waiting.
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
            self._read_trials_from_remote_storage(study_id)  # set_trial_param knows only trials that were read
        return attempt

    def beat(
        self, attempt: Attempt, progress: Mapping[str, Any] | None = None, *, patience: float | None = None
    ) -> None:
        """Store a heartbeat, and the progress to show for a running trial.

        Raises
        ------
        AttemptSuperseded
            The attempt lost its slot; nothing that it does counts any more.
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
        """Store the terminal result of a slot in one transaction; doing so again is not an error.

        Parameters
        ----------
        attempt : Attempt
            The live attempt.
        state : TrialState
            COMPLETE with one finite value per objective; PRUNED or FAIL without values and with
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
            Values or attributes cannot be stored; nothing was stored.
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
            raise StorageError(f"{what}: {state.name} is not a result; use COMPLETE, PRUNED or FAIL.")
        if state is not TrialState.COMPLETE:
            if values is not None:
                raise StorageError(f"{what}: a {state.name} trial has no values; put them into user_attrs.")
            if not user_attrs.get("reason"):
                raise StorageError(f"{what}: a {state.name} trial needs user_attrs['reason'].")
            return None
        numbers = [float(v) for v in values or ()]
        expected = len(self.get_study_directions(attempt.study_id))
        if len(numbers) != expected:
            raise StorageError(f"{what}: {len(numbers)} values for {expected} objectives; pass one value for each.")
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
        """Count the crash of a process as an error of the slot that it ran, if it ran one; called by its parent.

        It also counts if the slot has been reaped before. After `max_failures` errors the slot ends as FAIL, or as
        PRUNED (infeasible) if the last error was a kill by the kernel because memory ran out.

        Parameters
        ----------
        process : Process
            The process that crashed.
        reason : str
            Description of the crash.
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
        """Return a slot so that another worker can continue it: it keeps its number, parameters and history.

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

        A slot is taken at once if the worker's process is known to have ended on this host. Otherwise (another host,
        or a process that is stopped or cannot be seen) it is taken after this process has watched the heartbeat stand
        still for `grace` seconds and the database's clock agrees, or for twice as long if it does not. Watching starts
        over after the database was away, so an outage, a suspended laptop or a jump of a clock takes no slot from a
        healthy worker. A trial that another program set to RUNNING is taken after the same time.

        Parameters
        ----------
        study_id : int
            The study.
        grace : float
            Seconds; should be several heartbeat intervals.

        Returns
        -------
        list of int
            Numbers of the trials that are waiting again.
        """
        return self._watches.setdefault(study_id, Watch(self._backend, study_id)).reap(grace)

    def running(self, study_id: int) -> list[Running]:
        """Running slots, by number."""
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
        """History of a slot: each attempt, its worker, and how it ended."""
        return self._backend.read(partial(attempts.history, trial_id=trial_id))

    def outcomes(self, study_id: int) -> dict[str, int]:
        """Number of ended attempts by outcome."""
        return self._backend.read(partial(attempts.outcomes, study_id=study_id))

    def versions(self) -> dict[str, str]:
        """Versions of the tables: ``optuna`` (its schema), ``tuner``."""
        return self._backend.read(schema.versions)

    def roster(self, study_id: int) -> Roster:
        """The study's workers and the requests to leave."""
        return Roster(self._backend, study_id)

    # Methods of Optuna's storage that would bypass the slots

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Refused, because all trials are slots."""
        raise StorageError(
            "trials of this storage are slots: use ensure_slots or enqueue, then claim, "
            "not study.ask, enqueue_trial, add_trial or optimize."
        )

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Refused, because only an attempt can end a trial."""
        raise StorageError(
            "trials of this storage are slots: use claim, finish, fail_attempt or hand_back, not study.tell."
        )

    def remove_session(self) -> None:
        """Return this thread's connection."""
        self._backend.remove_session()
