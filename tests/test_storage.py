"""What the storage promises, on every database it supports."""

from __future__ import annotations

import contextlib
import math
import os
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
import sqlalchemy
from optuna.trial import TrialState
from sqlalchemy.engine import Engine

from tuner.errors import AttemptSuperseded, StorageError, StudyError
from tuner.storage import attempts, slots
from tuner.storage.process import Process, host_name, start_of, this_process
from tuner.storage.storage import FencedStorage, Heartbeat, open_storage

DEAD = this_process()._replace(start=this_process().start + 100)  # this pid, but started at another time
ELSEWHERE = Process("another-host boot pid:[1]", 1, 1.0)


def make_study(storage: FencedStorage, budget: int, *, waiting: int = 0) -> tuple[int, optuna.Study]:
    study_id = storage.create_or_load("s", ["maximize"], metric_names=["auroc"])
    storage.set_budget(study_id, budget)
    storage.ensure_slots(study_id, ahead=waiting)
    return study_id, optuna.load_study(study_name="s", storage=storage)


# Budgets and slots


def test_slots_are_made_as_needed_and_never_beyond_the_budget(storage: FencedStorage) -> None:
    study_id, _ = make_study(storage, 5)
    made = [storage.ensure_slots(study_id, ahead=ahead) for ahead in (2, 2, 4, 100, 100)]
    assert made == [2, 0, 2, 1, 0]
    assert storage.open_slots(study_id) == 5
    assert storage.counts(study_id)[TrialState.WAITING] == 5


def test_the_budget_can_be_set_again_but_not_below_what_exists(storage: FencedStorage) -> None:
    study_id, _ = make_study(storage, 3, waiting=3)
    assert storage.set_budget(study_id, 3) == 3
    with pytest.raises(StudyError, match=r"budget cannot be 2: the study has 3 slots"):
        storage.set_budget(study_id, 2)
    assert storage.set_budget(study_id, 7) == storage.budget(study_id) == 7


def test_a_study_without_budget_makes_no_slots(storage: FencedStorage) -> None:
    study_id = storage.create_or_load("s", ["maximize"])
    assert storage.budget(study_id) is None
    with pytest.raises(StudyError, match="has no budget"):
        storage.ensure_slots(study_id, ahead=1)
    with pytest.raises(StudyError, match="does not exist"):
        storage.set_budget(study_id + 1, 1)


def test_an_enqueued_slot_is_made_once_and_has_its_parameters(storage: FencedStorage) -> None:
    study_id, study = make_study(storage, 2)
    for _ in range(2):
        storage.enqueue(study_id, {"u": 0.25}, {"source": "paper"}, once="paper")
    assert storage.counts(study_id)[TrialState.WAITING] == 1
    attempt = storage.claim(study_id, "w")
    assert attempt is not None
    trial = optuna.trial.Trial(study, attempt.trial_id)
    assert (trial.suggest_float("u", 0, 1), trial.user_attrs) == (0.25, {"source": "paper"})


def test_an_enqueued_slot_waits_for_budget_or_raises_it(storage: FencedStorage) -> None:
    study_id, _ = make_study(storage, 1, waiting=1)
    assert not storage.enqueue(study_id, {"u": 0.5}, once="a")
    storage.set_budget(study_id, 2)
    assert storage.enqueue(study_id, {"u": 0.5}, once="a")
    assert storage.enqueue(study_id, {"u": 0.6}, once="b", grow=True)
    assert not storage.enqueue(study_id, {"u": 0.6}, once="b", grow=True)
    assert storage.budget(study_id) == storage.counts(study_id)[TrialState.WAITING] == 3


def test_a_study_is_created_whole_and_found_again(storage: FencedStorage) -> None:
    first = storage.create_or_load("a", ["maximize", "minimize"], metric_names=["x", "y"], user_attrs={"k": 1})
    again = storage.create_or_load("a", ["maximize", "minimize"], user_attrs={"k": 2})
    study = optuna.load_study(study_name="a", storage=storage)
    assert first == again
    assert (study.user_attrs, study.metric_names) == ({"k": 1}, ["x", "y"])
    with pytest.raises(StudyError, match="maximize, minimize -> maximize"):
        storage.create_or_load("a", ["maximize"])


@pytest.mark.parametrize("way", ["ask", "enqueue_trial", "optimize", "tell"])
def test_trials_past_the_slots_are_refused(storage: FencedStorage, way: str) -> None:
    study_id, study = make_study(storage, 1, waiting=1)
    calls = {
        "ask": study.ask,
        "enqueue_trial": lambda: study.enqueue_trial({}),
        "optimize": lambda: study.optimize(lambda trial: 0.0, n_trials=1),
        "tell": lambda: study.tell(0, state=TrialState.FAIL),
    }
    if way == "tell":
        storage.claim(study_id, "w")
    before = storage.counts(study_id)
    with pytest.raises(StorageError, match="trials of this storage are slots"):
        calls[way]()
    assert storage.counts(study_id) == before


def test_two_creators_at_once_make_no_slot_too_many(
    storage: FencedStorage,
    where: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    study_id, _ = make_study(storage, 3)
    make = slots._make

    def slowly(*args: Any) -> None:
        time.sleep(0.2)  # the other creator counts in the meantime, if nothing keeps it
        make(*args)

    monkeypatch.setattr(slots, "_make", slowly)
    other = open_storage(where)
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda s: s.ensure_slots(study_id, ahead=1), (storage, other)))
    other.close()
    assert sorted(made) == [0, 1]
    assert storage.counts(study_id)[TrialState.WAITING] == 1


# Attempts


def test_the_lowest_waiting_slot_is_claimed_first(storage: FencedStorage) -> None:
    study_id, _ = make_study(storage, 3, waiting=3)
    first, second = storage.claim(study_id, "a"), storage.claim(study_id, "b")
    assert first is not None
    assert second is not None
    storage.hand_back(first, "test")
    numbers = [a.number if (a := storage.claim(study_id, "c")) else None for _ in range(3)]
    assert numbers == [0, 2, None]


def test_a_result_is_seen_by_every_reader(storage: FencedStorage, where: str) -> None:
    study_id, study = make_study(storage, 1, waiting=1)
    assert study.trials[0].state is TrialState.WAITING  # now in Optuna's cache
    attempt = storage.claim(study_id, "w")
    assert attempt is not None
    assert study.trials[0].state is TrialState.RUNNING
    with storage.drawing(attempt):
        optuna.trial.Trial(study, attempt.trial_id).suggest_float("u", 0, 1)
    storage.finish(
        attempt,
        TrialState.COMPLETE,
        [0.875],
        user_attrs={"f1": 0.5},
        system_attrs={"constraints:memory": 0.0},
    )
    plain = optuna.storages.RDBStorage(storage.url)  # what dashboards open
    for seen in (study, optuna.load_study(study_name="s", storage=plain)):
        trial = seen.trials[0]
        assert (trial.state, trial.values, trial.user_attrs) == (TrialState.COMPLETE, [0.875], {"f1": 0.5})
        assert trial.constraints == {"memory": 0.0}
        assert trial.datetime_start <= trial.datetime_complete
        assert abs(trial.datetime_complete.timestamp() - time.time()) < 60  # local time, as Optuna shows it
        assert seen.best_value == 0.875
    plain.engine.dispose()


def test_a_repeated_finish_is_a_success_and_changes_nothing(storage: FencedStorage) -> None:
    study_id, study = make_study(storage, 1, waiting=1)
    attempt = storage.claim(study_id, "w")
    assert attempt is not None
    storage.finish(attempt, TrialState.COMPLETE, [0.5])
    storage.finish(attempt, TrialState.COMPLETE, [0.6])
    assert study.trials[0].values == [0.5]
    with pytest.raises(AttemptSuperseded):
        storage.finish(attempt, TrialState.PRUNED, user_attrs={"reason": "late"})


def test_a_claim_whose_answer_was_lost_is_answered_again(
    storage: FencedStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    study_id, _ = make_study(storage, 2, waiting=2)
    lost = iter([True])
    begin = Engine.begin

    @contextlib.contextmanager
    def loses_one(engine: Engine) -> Iterator[sqlalchemy.Connection]:
        with begin(engine) as connection:
            yield connection
        if next(lost, False):  # after the commit
            raise sqlalchemy.exc.OperationalError("COMMIT", {}, Exception(), connection_invalidated=True)

    monkeypatch.setattr(Engine, "begin", loses_one)
    attempt = storage.claim(study_id, "w")
    assert attempt is not None
    assert (attempt.number, attempt.attempt) == (0, 1)
    assert storage.counts(study_id)[TrialState.RUNNING] == 1


def test_a_superseded_attempt_writes_nothing(storage: FencedStorage, where: str) -> None:
    study_id, study = make_study(storage, 1, waiting=1)
    stale = storage.claim(study_id, "stale")
    assert stale is not None
    trial = optuna.trial.Trial(study, stale.trial_id)
    other = open_storage(where)
    other.reap(study_id, grace=0)
    fresh = other.claim(study_id, "fresh")
    assert fresh is not None
    assert fresh.attempt == 2

    def draw() -> None:
        with storage.drawing(stale):
            trial.suggest_float("w", 0, 1)

    for write in (
        lambda: storage.beat(stale, {"epoch": 1}),
        draw,
        lambda: trial.suggest_float("u", 0, 1),
        lambda: trial.set_user_attr("k", 1),
        lambda: trial.set_constraint("memory", 1),
        lambda: storage.hand_back(stale, "late"),
        lambda: storage.fail_attempt(stale, "late", max_failures=1),
        lambda: storage.finish(stale, TrialState.COMPLETE, [1.0]),
    ):
        with pytest.raises(AttemptSuperseded):
            write()
    other.finish(fresh, TrialState.COMPLETE, [0.5])
    assert (study.trials[0].values, study.trials[0].params, study.trials[0].user_attrs) == ([0.5], {}, {})
    assert [r.outcome for r in storage.attempts(stale.trial_id)] == ["reaped", "complete"]
    other.close()


def test_a_trial_that_nobody_claimed_here_cannot_be_written(storage: FencedStorage) -> None:
    _, study = make_study(storage, 1, waiting=1)
    trial_id = study.trials[0]._trial_id
    with pytest.raises(StorageError, match="was not claimed by this process"):
        storage.set_trial_user_attr(trial_id, "k", 1)


def test_a_slot_handed_back_keeps_its_parameters_and_counts_no_failure(storage: FencedStorage) -> None:
    study_id, study = make_study(storage, 1, waiting=1)
    attempt = storage.claim(study_id, "w")
    assert attempt is not None
    with storage.drawing(attempt):
        drawn = optuna.trial.Trial(study, attempt.trial_id).suggest_float("u", 0, 1)
    storage.hand_back(attempt, "SIGTERM")
    storage.hand_back(attempt, "SIGTERM")  # the first answer was lost
    again = storage.claim(study_id, "x")
    assert again is not None
    assert (again.number, again.attempt, again.suggested) == (0, 2, True)
    assert optuna.trial.Trial(study, again.trial_id).suggest_float("u", 0, 1) == drawn
    assert storage.fail_attempt(again, "bug", max_failures=2) == "waiting"
    first = storage.attempts(again.trial_id)[0]
    assert (first.worker, first.outcome, first.reason) == ("w", "handed back", "SIGTERM")


def test_parameters_of_an_interrupted_suggestion_are_cleared(storage: FencedStorage) -> None:
    study_id, study = make_study(storage, 1, waiting=1)
    attempt = storage.claim(study_id, "w")
    assert attempt is not None
    optuna.trial.Trial(study, attempt.trial_id).suggest_float("u", 0, 1)
    storage.hand_back(attempt, "stopped between two parameters")
    again = storage.claim(study_id, "w")
    assert again is not None
    assert not again.suggested
    assert optuna.trial.Trial(study, again.trial_id).params == study.trials[0].params == {}


def test_an_error_of_the_trial_is_retried_then_failed_with_its_reasons(storage: FencedStorage) -> None:
    study_id, study = make_study(storage, 1, waiting=1)
    ends = []
    for n in (1, 2):
        attempt = storage.claim(study_id, "w")
        assert attempt is not None
        ends.append(storage.fail_attempt(attempt, f"bug {n}", max_failures=2))
        assert storage.fail_attempt(attempt, f"bug {n}", max_failures=2) == ends[-1]
    assert ends == ["waiting", "failed"]
    assert study.trials[0].state is TrialState.FAIL
    assert study.trials[0].user_attrs == {"reason": "bug 2", "failures": ["bug 1", "bug 2"]}
    assert storage.open_slots(study_id) == 0


@pytest.mark.parametrize(
    ("state", "values", "attrs", "message"),
    [
        (TrialState.COMPLETE, [math.nan], {}, "not finite"),
        (TrialState.COMPLETE, [math.inf], {}, "not finite"),
        (TrialState.COMPLETE, [0.5, 0.5], {}, "2 values for 1 objectives; pass one value for each"),
        (TrialState.COMPLETE, None, {}, "0 values for 1 objectives; pass one value for each"),
        (TrialState.COMPLETE, [0.5], {"f1": math.nan}, "attribute 'f1' cannot be stored as JSON"),
        (TrialState.PRUNED, None, {}, r"needs user_attrs\['reason'\]"),
        (TrialState.PRUNED, [0.5], {"reason": "r"}, "PRUNED trial has no values"),
        (TrialState.RUNNING, None, {}, "RUNNING is not a result"),
    ],
)
def test_a_result_that_cannot_be_stored_is_refused_whole(
    storage: FencedStorage,
    state: TrialState,
    values: list[float] | None,
    attrs: dict[str, object],
    message: str,
) -> None:
    study_id, study = make_study(storage, 1, waiting=1)
    attempt = storage.claim(study_id, "w")
    assert attempt is not None
    with pytest.raises(StorageError, match=message):
        storage.finish(attempt, state, values, user_attrs=attrs)
    assert (study.trials[0].state, study.trials[0].values) == (TrialState.RUNNING, None)
    storage.finish(attempt, TrialState.PRUNED, user_attrs={"reason": "diverged"})  # still ours
    assert study.trials[0].user_attrs == {"reason": "diverged"}


def test_running_slots_show_worker_and_progress(storage: FencedStorage) -> None:
    study_id, _ = make_study(storage, 2, waiting=2)
    attempt = storage.claim(study_id, "gpu-3")
    assert attempt is not None
    storage.beat(attempt, {"epoch": 4, "epochs": 60})
    storage.beat(attempt)  # keeps what was said
    (running,) = storage.running(study_id)
    assert (running.number, running.attempt, running.worker, running.pid) == (0, 1, "gpu-3", os.getpid())
    assert running.progress == {"epoch": 4, "epochs": 60}
    assert 0 <= running.beat_age < 30


# Reaping


@pytest.mark.parametrize(
    ("process", "reaped"),
    [(DEAD, [0]), (this_process(), []), (ELSEWHERE, [])],
    ids=["dead", "alive", "elsewhere"],
)
def test_only_a_process_known_to_be_dead_is_reaped_at_once(
    storage: FencedStorage, process: Process, reaped: list[int]
) -> None:
    study_id, _ = make_study(storage, 1, waiting=1)
    storage.claim(study_id, "w", process=process)
    assert storage.reap(study_id, grace=60) == reaped


def test_a_silent_worker_is_reaped_after_the_grace_and_a_beating_one_is_not(storage: FencedStorage) -> None:
    study_id, _ = make_study(storage, 2, waiting=2)
    storage.claim(study_id, "silent", process=ELSEWHERE)
    beating = storage.claim(study_id, "beating", process=ELSEWHERE)
    assert beating is not None
    reaped: list[int] = []
    end = time.monotonic() + 20
    while not reaped and time.monotonic() < end:
        storage.beat(beating)
        reaped = storage.reap(study_id, grace=0.3)
        time.sleep(0.02)
    assert reaped == [0]
    assert [r.number for r in storage.running(study_id)] == [1]


def test_an_old_heartbeat_is_watched_for_the_grace_before_it_counts(storage: FencedStorage) -> None:
    # As after an outage or a suspend: the beat is old, but its worker may be about to send the next.
    study_id, _ = make_study(storage, 1, waiting=1)
    attempt = storage.claim(study_id, "w", process=ELSEWHERE)
    assert attempt is not None
    storage._backend.write(
        lambda c: c.exec_driver_sql("UPDATE tuner_attempts SET beat = beat - 3600")  # type: ignore[arg-type,return-value]
    )
    assert storage.reap(study_id, grace=30) == []
    storage.beat(attempt)


def test_a_beat_between_look_and_reap_keeps_the_slot(storage: FencedStorage) -> None:
    study_id, _ = make_study(storage, 1, waiting=1)
    attempt = storage.claim(study_id, "w")
    assert attempt is not None
    (seen,) = storage._backend.read(partial(attempts.open_attempts, study_id=study_id))
    time.sleep(0.01)
    storage.beat(attempt)
    assert not storage._backend.write(partial(attempts.reap, seen=seen, reason="stale"))
    storage.beat(attempt)


def test_a_process_of_which_only_the_exit_status_is_left_is_dead() -> None:
    child = subprocess.Popen(["sleep", "60"])
    process = Process(host_name(), child.pid, start_of(child.pid) or 0.0)
    assert not process.is_dead
    child.kill()
    wait_until(lambda: process.is_dead)  # nobody has waited for it yet
    child.wait()
    assert process.is_dead


def test_a_running_trial_without_attempt_is_reaped_too(storage: FencedStorage) -> None:
    study_id, _ = make_study(storage, 1, waiting=1)
    plain = optuna.storages.RDBStorage(storage.url)
    assert optuna.load_study(study_name="s", storage=plain).ask().number == 0  # another program took the slot
    plain.engine.dispose()
    assert storage.reap(study_id, grace=60) == []
    assert storage.reap(study_id, grace=0) == [0]
    assert storage.claim(study_id, "w") is not None


# Heartbeat


def test_a_heartbeat_beats_while_the_training_ticks_and_pauses_when_it_stalls(storage: FencedStorage) -> None:
    study_id, _ = make_study(storage, 1, waiting=1)
    attempt = storage.claim(study_id, "w")
    assert attempt is not None

    def beat() -> float:
        return storage._backend.read(lambda c: float(c.exec_driver_sql("SELECT beat FROM tuner_attempts").scalar_one()))

    with Heartbeat(storage, attempt, interval=0.02, stall_after=0.5) as heartbeat:
        heartbeat.tick({"epoch": 1})
        first = beat()
        wait_until(lambda: beat() > first)
        wait_until(lambda: heartbeat.stalled)
        time.sleep(0.1)
        last = beat()
        time.sleep(0.2)
        assert beat() == last
        heartbeat.tick({"epoch": 2})
        wait_until(lambda: beat() > last)
    assert storage.running(study_id)[0].progress == {"epoch": 2}
    assert not heartbeat.superseded.is_set()


def test_a_heartbeat_survives_storage_errors_and_tells_when_superseded(
    storage: FencedStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    study_id, _ = make_study(storage, 1, waiting=1)
    attempt = storage.claim(study_id, "w")
    assert attempt is not None
    beats = []

    def broken(*args: object, **kwargs: object) -> None:
        beats.append(1)
        raise (StorageError("away"), RuntimeError("unforeseen"))[len(beats) % 2]

    with Heartbeat(storage, attempt, interval=0.01, stall_after=60) as heartbeat:
        with monkeypatch.context() as patch:
            patch.setattr(storage, "beat", broken)
            wait_until(lambda: len(beats) > 3)
        wait_until(lambda: storage.running(study_id)[0].beat_age < 0.5)
        assert not heartbeat.superseded.is_set()
        wait_until(lambda: storage.reap(study_id, grace=0) == [0])  # a beat in between prevents it once
        assert heartbeat.superseded.wait(10)


class Away:
    """A database that is away, or hears every beat."""

    def __init__(self) -> None:
        self.away = True

    @property
    def trouble(self) -> float:
        return time.monotonic() if self.away else 0.0

    def beat(self, attempt: attempts.Attempt, progress: object = None, *, patience: float | None = None) -> None:
        if self.away:
            raise StorageError("away")


def test_a_training_that_stalls_is_called_hung_but_not_while_the_database_is_away() -> None:
    attempt = attempts.Attempt(1, 1, 7, 1, "w", "token")
    database, hangs = Away(), list[str]()
    with Heartbeat(database, attempt, interval=0.01, stall_after=0.1, on_hang=hangs.append) as heartbeat:
        heartbeat.tick({"epoch": 3})
        time.sleep(0.5)
        assert hangs == []
        database.away = False
        wait_until(lambda: hangs)
    assert hangs[0] == "the training hung: no progress for 0 s, epoch 3 was the last"


def wait_until(condition: object, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)


# Living with other programs


def test_deleting_a_study_with_plain_optuna_leaves_no_rows(storage: FencedStorage, where: str) -> None:
    study_id, _ = make_study(storage, 2, waiting=1)
    storage.enqueue(study_id, {"u": 0.5}, once="k")
    storage.claim(study_id, "w")
    plain = optuna.storages.RDBStorage(storage.url)
    optuna.delete_study(study_name="s", storage=plain)
    with plain.engine.connect() as connection:
        left = [
            connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar()
            for table in ("tuner_attempts", "tuner_studies", "tuner_once", "trials")
        ]
    plain.engine.dispose()
    assert left == [0, 0, 0, 0]


def test_a_stale_attempt_of_a_deleted_study_cannot_touch_its_successor(storage: FencedStorage) -> None:
    # SQLite gives the ids of deleted rows out again.
    study_id, _ = make_study(storage, 1, waiting=1)
    stale = storage.claim(study_id, "w")
    assert stale is not None
    storage.delete_study(study_id)
    again, study = make_study(storage, 1, waiting=1)
    fresh = storage.claim(again, "w")
    assert fresh is not None
    with pytest.raises(AttemptSuperseded):
        storage.finish(stale._replace(study_id=again), TrialState.COMPLETE, [1.0])
    storage.finish(fresh, TrialState.COMPLETE, [0.5])
    assert study.trials[0].values == [0.5]


def test_optuna_can_upgrade_the_database(storage: FencedStorage) -> None:
    plain = optuna.storages.RDBStorage(storage.url)
    plain.upgrade()
    assert plain.get_current_version() == plain.get_head_version()
    plain.engine.dispose()


def test_a_database_of_a_newer_optuna_is_refused(empty: str) -> None:
    storage = open_storage(empty)
    storage._backend.write(
        lambda c: c.exec_driver_sql("UPDATE alembic_version SET version_num = 'v99.0.0'")  # type: ignore[arg-type,return-value]
    )
    storage.close()
    with pytest.raises(StorageError, match=r"no longer compatible.*updating optuna"):
        open_storage(empty)


def test_tables_of_a_later_tuner_are_refused(empty: str) -> None:
    storage = open_storage(empty)
    storage._backend.write(
        lambda c: c.exec_driver_sql("UPDATE tuner_meta SET value = '99'")  # type: ignore[arg-type,return-value]
    )
    storage.close()
    with pytest.raises(StorageError, match=r"later tuner \(its tables have version 99.*Update tuner"):
        open_storage(empty)


# Opening


def test_a_path_is_a_sqlite_file_in_a_folder_that_is_made(tmp_path: Path) -> None:
    # braces are Optuna's template characters
    storage = open_storage(tmp_path / "runs" / "a{b}.db")
    assert storage.address == str(tmp_path / "runs" / "a{b}.db")
    assert (tmp_path / "runs" / "a{b}.db").is_file()
    assert storage._backend.read(lambda c: c.exec_driver_sql("PRAGMA journal_mode").scalar()) == "wal"
    storage.close()


def test_a_file_on_a_network_disk_is_not_written_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SimpleNamespace(mountpoint=str(tmp_path), fstype="nfs4")
    open_storage(tmp_path / "tuner.db").close()
    monkeypatch.setattr("psutil.disk_partitions", lambda all: [disk])
    storage = open_storage(tmp_path / "tuner.db")
    assert storage._backend.read(lambda c: c.exec_driver_sql("PRAGMA journal_mode").scalar()) == "delete"
    assert storage.create_or_load("s", ["maximize"]) == 1
    storage.close()


def test_an_address_that_is_no_database_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("this is no database, but it is long enough to have a header " * 20)
    for url, message in [
        (text, "not a database. Name a SQLite file"),
        (text / "x.db", "cannot create the folder .*notes.txt"),
        ("sqlite:///:memory:", "cannot share a database in memory"),
        ("sqlite:///file:x.db?uri=true", "not a file: URI"),
        ("mysql://u:secret@h/db", r"mysql://u:\*\*\*@h/db: mysql is not supported"),
        (
            "mysql+pymysql://u:secret@h/db",
            "mysql is not supported; use SQLite or PostgreSQL. MySQL",
        ),
        ("mariadb+pymysql://u:secret@h/db", "mariadb is not supported.*one live attempt"),
        ("oracle+nonsense://u:secret@h/db", "oracle is not supported"),
        ("http:://", "not a database URL"),
        ("sqlite:////proc/tuner.db", "unable to open database file.*folder that you can write"),
    ]:
        with pytest.raises(StorageError, match=message) as error:
            open_storage(url)
        assert "secret" not in str(error.value)
        assert "\n" not in str(error.value)


def test_an_unreachable_server_is_one_line_without_the_password() -> None:
    with pytest.raises(StorageError, match=r"postgresql\+psycopg://u:\*\*\*@127.0.0.1:9/db: .*refused") as error:
        open_storage("postgres://u:s3cr3t@127.0.0.1:9/db")
    assert "\n" not in str(error.value)
    assert "s3cr3t" not in str(error.value)
