"""What is only estimated or shown never ends a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tiny import load_tiny

from tuner.cli.progress import View
from tuner.cli.run import announce
from tuner.data.dataset import Split
from tuner.errors import StorageError
from tuner.models.recipe import Recipe
from tuner.results.leaderboard import TrialState
from tuner.search import checks
from tuner.search.checks import expected_seconds, sample_points
from tuner.search.loaded import Bench
from tuner.search.stages import Search
from tuner.storage.storage import open_storage

CACHE = Path.home() / ".cache" / "tuner"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    # Its training split holds 490 positives, then 490 others.
    return load_tiny(tmp_path_factory.mktemp("tiny"), n=700)


def test_the_expected_minutes_are_measured_on_sorted_data(bench: Bench) -> None:
    labels = bench.dataset.train.labels[:, 0]
    assert labels[:400].all(), "the first batches hold one class"
    assert expected_seconds(bench) > 0


def test_the_estimate_is_a_timed_epoch_scaled_to_all_data_and_epochs(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def timed(network: object, train: Split, valid: Split, recipe: Recipe, **more: object) -> SimpleNamespace:
        seen.append(len(train))
        return SimpleNamespace(history=[SimpleNamespace(seconds=9.0), SimpleNamespace(seconds=0.5)])

    monkeypatch.setattr(checks, "fit", timed)
    point = sample_points(bench.plan.space, 1, 0)[0]
    few = 4 * 50  # four batches of the space's size
    assert expected_seconds(bench) == pytest.approx(0.5 * len(bench.dataset.train) / few * bench.plan.recipe.epochs)
    assert seen == [few]
    monkeypatch.setattr(checks, "_seconds", lambda bench, point: {"cnn": 10.0, "basset": 100.0}[point["architecture"]])
    mixed = [point, point, point, {**point, "architecture": "basset"}]
    assert expected_seconds(bench, mixed) == (3 * 10 + 100) / 4, "each architecture counts as often as it is trained"


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
    other = bench.plan.study.model_copy(update={"objectives": ["auroc", "match_fraction", "coverage"]})
    with View(storage, replace(bench.plan, study=other)) as view:
        storage.finish(attempt, TrialState.COMPLETE, [0.9, 0.1])
        view.poll(now=True)
        view.poll(now=True)
    said = capsys.readouterr().err
    assert said.count("progress cannot be shown (ValueError") == 1
    assert "the run goes on" in said
    storage.close()


def test_a_storage_that_is_gone_is_no_trouble_of_the_progress(bench: Bench, tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "tuner.db", patience=0)
    Search(bench.plan, bench.identity).prepare(storage)
    view = View(storage, bench.plan)
    view.poll(now=True)
    storage.close()
    (tmp_path / "tuner.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(StorageError):
        view.poll(now=True)
