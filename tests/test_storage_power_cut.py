"""After a power cut the database says of no trial and no study that it has a file which is not there, whole."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
from command_line import write_tiny_study
from power_cut import Recording, recorded
from sqlalchemy import event

from tuner.search.loaded import load_bench
from tuner.search.stages import Search
from tuner.search.worker import Stopper, Worker
from tuner.storage.artifacts import Artifacts
from tuner.storage.storage import FencedStorage, open_storage
from tuner.study.file import read_study
from tuner.study.plan import make_plan
from tuner.study.space import read_space

pytestmark = pytest.mark.slow

ENTRIES = (
    "SELECT key FROM trial_system_attributes WHERE key LIKE 'artifacts:%' UNION "
    "SELECT key FROM study_system_attributes WHERE key LIKE 'artifacts:%'"
)
TRAILER = b"\ntuner-checkpoint-2 sha256 "


def is_whole(content: bytes) -> bool:
    payload, found, digest = content.rpartition(TRAILER)
    return bool(found) and digest == f"{hashlib.sha256(payload).hexdigest()}\n".encode()


def hear_commits(storage: FencedStorage, said: list[set[str]], recording: Recording) -> None:
    """Note the files that the database names, at every commit, before it is done: a moment of a cut too."""

    @event.listens_for(storage._backend.engine, "commit")
    def commit(connection: Any) -> None:
        said.append({key.removeprefix("artifacts:") for (key,) in connection.exec_driver_sql(ENTRIES)})
        recording.mark("commit")


def test_no_power_cut_leaves_a_trial_without_the_files_that_the_database_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, runs = read_study(write_tiny_study(tmp_path)), tmp_path / "runs"
    plan = make_plan(study, read_space(tmp_path / "tiny_space.toml"), folder=tmp_path)
    bench = load_bench(plan, data_dir=None, cache=None)
    said: list[set[str]] = [set()]
    checked = 0
    with recorded(tmp_path, monkeypatch) as recording:
        storage = open_storage(runs / "tuner.db")
        at: list[int] = []  # at each state, how many commits had begun
        mark = recording.mark

        def counted(what: str) -> None:
            mark(what)
            at.append(len(said) - 1)

        monkeypatch.setattr(recording, "mark", counted)
        hear_commits(storage, said, recording)
        artifacts = Artifacts(runs / "artifacts")
        search = Search(plan, bench.identity)
        search.prepare(storage)
        worker = Worker(bench, storage, artifacts, runs / "checkpoints", Stopper(), name="w")
        assert worker.work([search])
        counted("the end")
        storage.close()
    really = {p.name: p.read_bytes() for p in (runs / "artifacts").iterdir()}
    assert said[-1] == set(really)
    checkpoints = 0
    for commits, (what, *states) in zip(at, recording.states[-len(at) :], strict=True):
        for state in states:
            for name in said[commits]:
                assert state.get(str(runs / "artifacts" / name)) == really[name], (what, name)
                checked += 1
            for path, content in state.items():
                if path.endswith(".safetensors") and "checkpoints" in path:
                    checkpoints += 1
                    assert is_whole(content), (what, path)
    assert len(at) > 50
    assert checked > 500
    assert checkpoints > 5


def test_every_connection_to_sqlite_forces_its_commits_out(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "tuner.db")
    with storage._backend.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
    storage.close()
    assert os.path.exists(tmp_path / "tuner.db")
