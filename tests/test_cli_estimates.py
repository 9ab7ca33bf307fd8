"""What is only estimated or shown never ends a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny import write_study

from tuner.cli.progress import Progress
from tuner.cli.run import announce
from tuner.data.dataset import Split
from tuner.errors import StorageError
from tuner.results.leaderboard import TrialState
from tuner.search.checks import expected_seconds
from tuner.search.loaded import Bench, load_bench
from tuner.search.stages import Search
from tuner.storage.storage import open_storage
from tuner.study.file import read_study
from tuner.study.plan import make_plan
from tuner.study.space import read_space

CACHE = Path.home() / ".cache" / "tuner"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    path = write_study(
        tmp_path_factory.mktemp("tiny"), n=700
    )  # its training split holds 490 positives, then 490 others
    plan = make_plan(read_study(path), read_space(path.parent / "search_spaces/tiny_space.toml"), folder=path.parent)
    return load_bench(plan, data_dir=None, cache=CACHE)


def test_the_expected_minutes_are_measured_on_sorted_data(bench: Bench) -> None:
    labels = bench.dataset.train.labels[:, 0]
    assert labels[:400].all(), "the first batches hold one class"
    assert expected_seconds(bench) > 0


def test_an_estimate_that_cannot_be_made_is_a_note(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    one_class = Split(bench.dataset.train.codes, np.ones_like(bench.dataset.train.labels))
    broken = replace(bench.dataset, splits={**bench.dataset.splits, "train": one_class})
    announce(bench._replace(dataset=broken), 11, 1, None)
    said = capsys.readouterr().err
    assert "expected 11 trainings; how long they take could not be estimated (auroc is undefined" in said


def test_progress_that_cannot_be_shown_is_a_note_and_is_said_once(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = open_storage(tmp_path / "tuner.db")
    search = Search(bench.plan, bench.identity)
    search.prepare(storage)
    study_id = storage.get_study_id_from_name(bench.plan.name)
    attempt = storage.claim(study_id, "worker-0")
    assert attempt is not None
    storage.finish(attempt, TrialState.COMPLETE, [0.9, 0.1])
    other = bench.plan.study.model_copy(update={"objectives": ["auroc", "match_fraction", "coverage"]})
    with Progress(storage, replace(bench.plan, study=other), 1) as progress:
        progress.last = 0.0
        progress.poll()
    said = capsys.readouterr().err
    assert said.count("progress cannot be shown (ValueError") == 1
    assert "the run goes on" in said
    storage.close()


def test_a_storage_that_is_gone_is_no_trouble_of_the_progress(bench: Bench, tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "tuner.db", patience=0)
    Search(bench.plan, bench.identity).prepare(storage)
    progress = Progress(storage, bench.plan, 1)
    progress.poll()
    storage.close()
    (tmp_path / "tuner.db").write_bytes(b"no database at all" * 100)
    progress.last = 0.0
    with pytest.raises(StorageError):
        progress.poll()
