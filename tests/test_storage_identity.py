"""A study that was deleted and made again is another study: nothing of the old one gets in, whoever was away."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest
import sqlalchemy
import torch
from deaths import QUICK, Disturbed, Tiny, at_next_batch, make_bench
from optuna.trial import TrialState
from storage_backends import (
    CONTEXT,
    TIMES,
    change_at_once,
    join,
    note,
    quota_at_once,
    start,
)
from waiting import wait_for

from tuner.errors import TunerError
from tuner.report.dashboard import FIGURES
from tuner.report.selection import stored_choices
from tuner.results.deletion import delete, doomed
from tuner.results.test_split import openings, record_opening
from tuner.search.worker import Stopper, Worker
from tuner.storage.artifacts import PREFIX, Artifacts
from tuner.storage.keys import QUOTA
from tuner.storage.storage import FencedStorage, open_storage

pytestmark = pytest.mark.slow

PACE = QUICK._replace(beat=3600)  # a process that is stopped amid a beat would hold the lock of a SQLite file
MOMENTS = ("suggest", "an epoch", "before the upload", "before the result")
AGAIN = "study tiny was deleted and created again while this worker was away; nothing was stored."


def work_and_be_away(url: str, folder: str, moment: str) -> None:
    """Run the study; at `moment` of the first trial this process stops as a whole. What ends it goes to a file."""
    torch.set_num_threads(1)
    root, storage = Path(folder), open_storage(url)
    stopped: list[bool] = []

    def stop_once() -> None:
        if not stopped:
            stopped.append(True)
            os.kill(os.getpid(), signal.SIGSTOP)

    hooks = {"suggest": stop_once} if moment == "suggest" else {}
    if moment == "an epoch":
        hooks = {"epoch 1": at_next_batch(stop_once)}
    if moment == "before the upload":
        hooks = {"trained": stop_once}
    artifacts = Disturbed(root / "artifacts")
    artifacts.after = stop_once if moment == "before the result" else None
    bench = make_bench(root)
    worker = Worker(bench, storage, artifacts, root / "checkpoints", Stopper(), name="away", pace=PACE, ahead=2)
    try:
        worker.work([Tiny(bench, hooks)])
    except TunerError as e:
        note(f"{folder}/end", str(e))
        sys.exit(e.exit_code)


def make_again(storage: FencedStorage, folder: Path) -> int:
    """Delete the study as `tuner delete --force` does, and make another of the same name, with waiting slots."""
    artifacts = Artifacts(folder / "artifacts")
    delete(storage, doomed(storage, "tiny", force=True), artifacts, [folder / "checkpoints"])
    study_id = storage.create_or_load("tiny", ["maximize"], metric_names=["auroc"])
    storage.set_budget(study_id, 2)
    storage.ensure_slots(study_id, ahead=2)
    return study_id


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_worker_that_was_away_stores_nothing_in_the_study_made_again(
    where: str,
    tmp_path: Path,
    moment: str,
) -> None:
    away = start(work_and_be_away, where, str(tmp_path), moment)
    storage = open_storage(where)
    try:
        wait_for(lambda: psutil.Process(away.pid).status() == psutil.STATUS_STOPPED)
        study_id = make_again(storage, tmp_path)
        os.kill(int(away.pid or 0), signal.SIGCONT)
        away.join(60)
    finally:
        away.kill()  # a process that is stopped hears nothing else
    assert (away.exitcode, (tmp_path / "end").read_text()) == (1, f"{AGAIN}\n")
    fresh = open_storage(where)
    trials = fresh.get_all_trials(study_id)
    assert [t.state for t in trials] == [TrialState.WAITING] * 2
    assert [(t.params, t.user_attrs, fresh.attempts(t._trial_id)) for t in trials] == [({}, {}, [])] * 2
    assert [p for p in tmp_path.rglob("*") if p.is_file() and p.parts[-2] == "artifacts"] == []
    assert list((tmp_path / "checkpoints").rglob("*")) == []
    fresh.close()
    storage.close()


def test_what_a_killed_worker_wrote_after_the_deletion_is_collected(where: str, tmp_path: Path) -> None:
    from tuner.results.leftovers import collect_buried

    storage, artifacts = open_storage(where), Artifacts(tmp_path / "artifacts")
    study_id = make_again_first(storage)
    attempt = storage.claim(study_id, "w")
    assert attempt is not None
    delete(storage, doomed(storage, "tiny", force=True), artifacts, [tmp_path / "checkpoints"])
    artifacts.put({"weights": b"x"}, attempt.token)
    late = tmp_path / "checkpoints" / "tiny" / attempt.study / "0.1.x.safetensors"
    late.parent.mkdir(parents=True)
    late.write_bytes(b"x")
    kept = artifacts.put({"somebody's": b"y"}, "ffffffff-ffff-4fff-bfff-ffffffffffff")
    assert len(collect_buried(storage, artifacts, tmp_path / "checkpoints")) == 1
    assert not (tmp_path / "checkpoints" / "tiny").exists()
    assert {s.key for s in artifacts.store.find()} == {k.removeprefix(PREFIX) for k in kept if k.startswith(PREFIX)}
    storage.close()


def make_again_first(storage: FencedStorage) -> int:
    study_id = storage.create_or_load("tiny", ["maximize"], metric_names=["auroc"])
    storage.set_budget(study_id, 2)
    storage.ensure_slots(study_id, ahead=2)
    return study_id


def test_numbers_of_deleted_studies_and_trials_are_not_given_again(where: str) -> None:
    storage = open_storage(where)
    seen: list[tuple[int, int]] = []
    for _ in range(3):
        study_id = make_again_first(storage)
        seen += [(study_id, t._trial_id) for t in storage.get_all_trials(study_id)]
        storage.delete_study(study_id)
    assert len({trial for _, trial in seen}) == 6
    assert len({study for study, _ in seen}) == 3
    storage.close()


def test_every_kind_of_write_of_one_who_has_joined_is_refused_once_the_study_is_gone(where: str) -> None:
    mine, other = open_storage(where), open_storage(where)
    study_id = make_again_first(mine)
    mine.join("tiny", who="this worker")
    attempt = mine.claim(study_id, "w")
    assert attempt is not None
    roster = mine.roster(study_id)
    other.delete_study(study_id)
    again = make_again_first(other)
    calls = {
        "claim": lambda: mine.claim(again, "w"),
        "ensure": lambda: mine.ensure_slots(again, ahead=2),
        "budget": lambda: mine.set_budget(again, 9),
        "enqueue": lambda: mine.enqueue(again, {}, {}, once="x", grow=True),
        "beat": lambda: mine.beat(attempt),
        "finish": lambda: mine.finish(attempt, TrialState.COMPLETE, [1.0]),
        "fail": lambda: mine.fail_attempt(attempt, "r", max_failures=3),
        "hand back": lambda: mine.hand_back(attempt, "r"),
        "reap": lambda: mine.reap(again, grace=0),
        "attribute": lambda: mine.set_study_system_attr(again, "k", "v"),
        "opening": lambda: record_opening(mine, "tiny", {"trial": 0}),
        "files": lambda: mine.drop_files(again, 0, ["x"]),
        "roster": lambda: roster.ask(at_once=True),
        "name": lambda: mine.get_all_trials(mine.get_study_id_from_name("tiny")),
        "create": lambda: mine.create_or_load("tiny.controls", ["maximize"]),
        "crash": lambda: mine.count_crash(roster.members()[0].process, "r", memory=False, max_failures=1),
    }
    for name, call in calls.items():
        with pytest.raises(TunerError, match="was deleted and created again while this worker was away") as refused:
            call()
        assert refused.value.exit_code == 1, name
    assert {s.study_name for s in other.get_all_studies()} == {"tiny"}
    assert [t.state for t in other.get_all_trials(again)] == [TrialState.WAITING] * 2
    assert "k" not in other.get_study_system_attrs(again)
    mine.close()
    other.close()


def test_a_database_of_an_earlier_version_gets_identities_and_keeps_its_rows(empty: str) -> None:
    storage = open_storage(empty)
    study_id = make_again_first(storage)
    attempt = storage.claim(study_id, "w")
    assert attempt is not None
    storage.finish(attempt, TrialState.COMPLETE, [0.5])
    with storage._backend.engine.begin() as connection:  # as version 1 of the tables was without identities
        for name in ("tuner_identities_go_with_studies", "tuner_last_study_id", "tuner_last_trial_id"):
            if connection.dialect.name == "sqlite":
                connection.execute(sqlalchemy.text(f"DROP TRIGGER {name}"))
        connection.execute(sqlalchemy.text("DROP TABLE tuner_identities"))
        connection.execute(sqlalchemy.text("DROP TABLE tuner_buried"))
    storage.close()
    again = [open_storage(empty), open_storage(empty)]
    found = {s.identity(study_id) for s in again}
    assert len(found) == 1
    assert len(str(found.pop())) == 32
    assert [t.values for t in again[0].get_all_trials(study_id)] == [[0.5], None]
    assert again[0].claim(study_id, "w") is not None
    for one in again:
        one.close()


def test_a_checkpoint_of_an_earlier_version_is_taken_over_by_its_token_alone(tmp_path: Path) -> None:
    from tuner.search.checkpoints import folder_of, take_over
    from tuner.storage.storage import Attempt

    attempt = Attempt(1, 1, 0, 3, "w", "new", study="i" * 32)
    legacy = tmp_path / "s"
    legacy.mkdir()
    (legacy / "0.2.foreign.safetensors").write_text("another study's")
    (legacy / "0.1.mine.safetensors").write_text("mine")
    path = take_over(folder_of(tmp_path, "s", attempt.study), attempt, legacy=legacy, tokens=["mine", "new"])
    assert path == tmp_path / "s" / attempt.study / "0.3.new.safetensors"
    assert path.read_text() == "mine"


# ---------------------------------------------------------------- what is read, changed and written back

PROCESSES = 6


def test_processes_that_append_at_once_lose_nothing(where: str, tmp_path: Path) -> None:
    storage = open_storage(where)
    study_id = storage.create_or_load("s", ["maximize"])
    barrier = CONTEXT.Barrier(PROCESSES)
    join([start(change_at_once, where, str(tmp_path / "files"), barrier, i) for i in range(PROCESSES)], 300)
    everything = {(i, k) for i in range(PROCESSES) for k in range(TIMES)}
    record = openings(storage, "s")
    assert len(record) == PROCESSES * TIMES
    assert {(e["by"], e["time"]) for e in record} == everything
    assert {tuple(map(int, c["when"].split())) for c in stored_choices(storage, "s")} == everything
    attrs = storage.get_study_system_attrs(study_id)
    [(key, digest)] = json.loads(attrs[FIGURES]).values()
    shown = [k for k, v in attrs.items() if k.startswith(PREFIX) and json.loads(v) is not None]
    assert shown == [key]
    artifacts = Artifacts(tmp_path / "files")
    assert [s.key for s in artifacts.store.find()] == [key.removeprefix(PREFIX)]
    assert hashlib.sha256(artifacts.read(key.removeprefix(PREFIX), "figure")).hexdigest() == digest
    storage.close()


def test_a_default_never_replaces_a_quota_that_was_given(where: str) -> None:
    storage = open_storage(where)
    study_id = storage.create_or_load("s", ["maximize"])
    barrier = CONTEXT.Barrier(PROCESSES)
    join([start(quota_at_once, where, barrier, "2 GB" if i == 0 else None) for i in range(PROCESSES)], 300)
    assert storage.get_study_system_attrs(study_id)[QUOTA] == 2_000_000_000
    storage.close()
