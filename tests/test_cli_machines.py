"""Two machines that share a database and a bucket, and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy
from command_line import Terminal, prepare_environment, write_tiny_study
from optuna.trial import FrozenTrial, TrialState
from stores import ENVIRONMENT, SECRET, Server

from tuner.cli.worker import stored_study
from tuner.errors import StudyError
from tuner.results.leaderboard import stage_trials
from tuner.search.loaded import Bench, load_bench
from tuner.search.stages import Search
from tuner.search.worker import Interrupted, Stopper, Worker
from tuner.storage.artifacts import Artifacts
from tuner.storage.keys import IDENTITY
from tuner.storage.storage import FencedStorage, open_storage
from tuner.study.file import read_study
from tuner.study.plan import make_plan
from tuner.study.space import read_space

pytestmark = pytest.mark.slow

FILES = ("positives.fa", "negatives.fa", "motifs.meme")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The study, on the machine that makes it."""
    folder = tmp_path_factory.mktemp("first")
    path = write_tiny_study(folder)
    plan = make_plan(read_study(path), read_space(folder / "tiny_space.toml"), folder=folder)
    cache = tmp_path_factory.mktemp("cache")
    (cache / "numba").symlink_to(Path(os.environ["NUMBA_CACHE_DIR"]).resolve())
    return load_bench(plan, data_dir=None, cache=cache)


@pytest.fixture
def storage(file_storage: FencedStorage) -> FencedStorage:
    return file_storage


def make(bench: Bench, storage: FencedStorage) -> Search:
    search = Search(bench.plan, bench.identity)
    search.prepare(storage)
    return search


def trials_of(storage: FencedStorage) -> list[FrozenTrial]:
    fresh = open_storage(storage.url)
    trials = stage_trials(fresh, "tiny")
    fresh.close()
    return trials


class StopAt(Stopper):
    """Asks to stop after so many epochs, as a signal would."""

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self.left = epochs

    def check(self) -> None:
        super().check()
        if self._interruptible:
            self.left -= 1
            if self.left < 0:
                raise Interrupted


def test_a_worker_with_only_the_url_and_the_store_completes_the_budget(
    bench: Bench,
    storage: FencedStorage,
    s3: Server,
    bucket: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    artifacts = Artifacts(bucket)
    make(bench, storage)
    second, data = tmp_path / "second", tmp_path / "second" / "data"
    (second / "home" / ".cache" / "tuner").mkdir(parents=True)
    (second / "home" / ".cache" / "tuner" / "numba").symlink_to(Path(os.environ["NUMBA_CACHE_DIR"]).resolve())
    data.mkdir()
    for name in FILES:
        shutil.copy(bench.plan.folder / name, data)
    bare = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "NUMBA_CACHE_DIR") if name in os.environ}
    bare |= {**ENVIRONMENT, "AWS_ENDPOINT_URL": s3.endpoint, "HOME": str(second / "home"), "TUNER_DATA_DIR": str(data)}
    command = [sys.executable, "-m", "tuner", "worker", "--study", "tiny", "--storage", storage.url]
    done = subprocess.run(
        [*command, "--artifacts", bucket, "--no-confirm"], cwd=second, env=bare, capture_output=True, text=True,
        timeout=3000, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"study tiny of {storage.address}" in done.stderr
    assert SECRET not in done.stdout + done.stderr

    trials = trials_of(storage)
    assert [t.state for t in trials] == [TrialState.COMPLETE] * 2
    assert artifacts.get(trials[1], "filters.meme").startswith(b"MEME version 4")
    assert list(artifacts.store.find("checkpoints/")) == []
    assert not (second / "runs" / "artifacts").exists()
    engine = sqlalchemy.create_engine(storage.url)
    with engine.connect() as connection:
        for table in ("study_system_attributes", "trial_system_attributes", "trial_user_attributes"):
            longest = connection.exec_driver_sql(f"SELECT max(length(value_json)) FROM {table}").scalar()
            assert 0 < longest < 10_000
    engine.dispose()

    # What the other commands say about files in a bucket.
    prepare_environment(bench.cache or tmp_path, monkeypatch)
    monkeypatch.setenv("TUNER_ARTIFACTS", bucket)
    terminal = Terminal(tmp_path, capsys, monkeypatch)
    where = ("--name", "tiny", "--storage", storage.url)
    shown = terminal("show", *where, "--trial", "1", "--save", "saved", "--json").json
    assert all(a["present"] and a["path"].startswith(bucket) for a in shown["artifacts"])
    assert {p.name for p in (tmp_path / "saved").iterdir()} == {a["name"] for a in shown["artifacts"]}
    assert terminal("table", *where, "--history", "epochs.tsv", "--json").code == 0
    assert len((tmp_path / "epochs.tsv").read_text().splitlines()) == 1 + 2 * 2

    # The machine that made the study is gone, and its folder with it.
    away = bench.plan.folder.rename(bench.plan.folder.with_name("away"))
    try:
        code, why = terminal.refuses("rerun", *where, "--trial", "1")
        assert code == 1
        assert "--data" in why
        assert terminal("rerun", *where, "--trial", "1", "--data", str(data), "--json").json["equal"]
        tested = terminal("evaluate", *where, "--trial", "1", "--data", str(data), "--json").json
        assert tested["study"] == "tiny"
        code, why = terminal.refuses("evaluate", *where, "--trial", "1", "--data", "nowhere")
        assert (code, why) == (1, "--data nowhere: there is no such file or folder.")
        (data / "negatives.fa").write_text((data / "positives.fa").read_text())
        assert (
            "the data set has changed" in terminal.refuses("evaluate", *where, "--trial", "1", "--data", str(data))[1]
        )
    finally:
        away.rename(bench.plan.folder)
    assert terminal("delete", *where, "--yes").code == 0
    assert list(artifacts.store.find()) == []


def test_a_slot_handed_back_goes_on_from_its_epoch_on_another_machine(
    bench: Bench,
    storage: FencedStorage,
    bucket: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    one = bench._replace(plan=replace(bench.plan, trials=1))
    search = make(one, storage)
    first = Worker(one, storage, Artifacts(bucket), tmp_path / "first", StopAt(1), name="first")
    assert not first.work([search])
    second = Worker(one, storage, Artifacts(bucket), tmp_path / "second", Stopper(), name="second")
    assert second.work([search])
    assert "trial 0: continues from epoch 1 of the store" in caplog.text
    undisturbed = open_storage(tmp_path / "undisturbed.db")
    assert Worker(one, undisturbed, Artifacts(tmp_path / "a"), tmp_path / "c", Stopper(), name="w").work([search])
    [expected], [found] = stage_trials(undisturbed, "tiny"), trials_of(storage)
    undisturbed.close()
    assert found.values == expected.values
    assert found.user_attrs["loss"] == expected.user_attrs["loss"]


def test_a_store_that_is_away_loses_the_files_but_not_the_values(
    bench: Bench,
    storage: FencedStorage,
    s3: Server,
    bucket: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    one = bench._replace(plan=replace(bench.plan, trials=1))
    artifacts = Artifacts(bucket, patience=0.6)
    search = make(one, storage)
    worker = Worker(one, storage, artifacts, tmp_path / "checkpoints", Stopper(), name="w")
    s3.stop()
    try:
        assert worker.work([search])
    finally:
        s3.start()
    [trial] = trials_of(storage)
    assert trial.state == TrialState.COMPLETE
    assert len(trial.values) == 2
    assert "no connection to http://127.0.0.1" in trial.user_attrs["artifacts_error"]
    errors = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert len(errors) == 1
    assert errors[0].endswith("The values are stored without files.")
    assert "\n" not in errors[0]
    assert SECRET not in caplog.text


def test_which_study_a_worker_means(
    storage: FencedStorage, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def meant(study: str, preset: str = "standard") -> str | None:
        return stored_study(storage, study, preset, 0, None, 0.0, Stopper())

    with pytest.raises(StudyError, match=r"tuner\.db has no study tiny, and no file here describes one; it has: none"):
        meant("tiny")
    storage.create_or_load("tiny-fast", ["maximize"], system_attrs={IDENTITY: "{}"})
    assert meant("tiny-fast") == meant("tiny", "fast") == "tiny-fast"
    shutil.copy(bench.plan.folder / "tiny.toml", tmp_path)
    assert meant("tiny") is None  # its file is here, and the storage has no such study: the worker makes it
    assert meant("./tiny.toml") is None
