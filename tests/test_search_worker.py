"""A whole study in one process: exact budgets, identical reruns, resumption, failures told apart."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from optuna.trial import FrozenTrial, TrialState
from tiny import SPACE, load_tiny

from tuner.errors import StudyError, TrainingDiverged
from tuner.results.confirmation import confirmed, declare
from tuner.results.leaderboard import stage_trials
from tuner.results.test_split import openings, score_test
from tuner.results.trial_files import DESCRIPTION, WEIGHTS, load_network
from tuner.search.loaded import Bench
from tuner.search.stages import Confirmation, Controls, Search
from tuner.search.trial import fold_dataset, run_network
from tuner.search.worker import Interrupted, Stopper, Worker
from tuner.storage.artifacts import Artifacts
from tuner.storage.storage import FencedStorage, open_storage
from tuner.study.space import read_space

pytestmark = pytest.mark.slow

CACHE = Path.home() / ".cache" / "tuner"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return load_tiny(tmp_path_factory.mktemp("tiny"))


class Station:
    """A storage in a folder, and workers on it."""

    def __init__(self, folder: Path, bench: Bench) -> None:
        self.folder, self.bench = folder, bench
        self.storage: FencedStorage = open_storage(folder / "tuner.db")
        self.artifacts = Artifacts(folder / "artifacts")

    def work(self, stopper: Stopper | None = None, *, whole: bool = False, name: str = "w") -> bool:
        worker = Worker(
            self.bench, self.storage, self.artifacts, self.folder / "checkpoints", stopper or Stopper(), name=name
        )
        plan = self.bench.plan
        stages = [Search(plan, self.bench.identity)]
        return worker.work([*stages, Confirmation(plan), Controls(plan)] if whole else stages)

    def trials(self, suffix: str = "") -> list[FrozenTrial]:
        return stage_trials(self.storage, self.bench.plan.name + suffix)


def measured(trials: list[FrozenTrial]) -> list[tuple[Any, ...]]:
    timed = ("seconds",)
    return [
        (t.number, t.state, t.values, t.params, {k: v for k, v in t.user_attrs.items() if k not in timed})
        for t in trials
    ]


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


@pytest.fixture(scope="module")
def undisturbed(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Station:
    station = Station(tmp_path_factory.mktemp("undisturbed"), bench)
    assert station.work(whole=True)
    return station


def test_a_study_ends_with_exactly_its_budget(undisturbed: Station) -> None:
    trials = undisturbed.trials()
    assert [t.number for t in trials] == list(range(6))
    assert {t.state for t in trials} == {TrialState.COMPLETE}
    assert trials[0].user_attrs["warm_start"] == "by hand"
    assert trials[0].params["kernel_size"] == 8
    assert len({tuple(sorted(t.params.items())) for t in trials}) == 6
    assert not list((undisturbed.folder / "checkpoints").rglob("*.safetensors"))


def test_every_metric_is_recorded_and_every_file_can_be_read(undisturbed: Station) -> None:
    trial = undisturbed.trials()[2]
    for name in ("match_null", "match_score", "target_fraction", "used_match_fraction", "average_precision", "seconds"):
        assert isinstance(trial.user_attrs[name], float)
    assert trial.values == [trial.user_attrs["auroc"], trial.user_attrs["match_fraction"]]
    for name in ("filters.svg", "learning_curve.svg"):
        assert ElementTree.fromstring(undisturbed.artifacts.get(trial, name)).tag == "{http://www.w3.org/2000/svg}svg"
    assert len(undisturbed.artifacts.get(trial, "history.tsv").splitlines()) == 5
    assert undisturbed.artifacts.get(trial, "filters.meme").startswith(b"MEME version 4")


def test_stored_weights_give_the_stored_score(undisturbed: Station) -> None:
    from tuner.models.metrics import auroc
    from tuner.models.training import predict

    trial, valid = undisturbed.trials()[1], undisturbed.bench.dataset.valid
    network, average = load_network(
        undisturbed.artifacts.get(trial, WEIGHTS), undisturbed.artifacts.get(trial, DESCRIPTION)
    )
    assert auroc(valid.labels, predict(network, valid.codes, average_strands=average)) == trial.values[0]


def test_the_same_study_run_twice_gives_identical_values(undisturbed: Station, bench: Bench, tmp_path: Path) -> None:
    again = Station(tmp_path, bench)
    again.work()
    assert measured(again.trials()) == measured(undisturbed.trials())


@pytest.mark.parametrize("epochs", [3, 13])
def test_a_study_stopped_mid_trial_and_resumed_equals_the_undisturbed_one(
    undisturbed: Station, bench: Bench, tmp_path: Path, epochs: int
) -> None:
    stopped = Station(tmp_path, bench)
    assert not stopped.work(StopAt(epochs))
    states = [t.state for t in stopped.trials()]
    assert TrialState.RUNNING not in states
    assert states[-1] == TrialState.WAITING
    stopped.work()
    assert measured(stopped.trials()) == measured(undisturbed.trials())


def test_confirmation_retrains_the_candidates_with_shared_new_seeds(undisturbed: Station) -> None:
    runs = undisturbed.trials(".confirmation")
    candidates = confirmed(runs)
    assert [len(c.runs) for c in candidates] == [2, 2]
    seeds = {t.user_attrs["replicate"]: t.user_attrs["seed"] for t in runs}
    assert len(set(seeds.values()) - {t.user_attrs["seed"] for t in undisturbed.trials()}) == 2
    by_number = {t.number: t for t in undisturbed.trials()}
    for run in runs:
        assert run.params == by_number[run.user_attrs["candidate"]].params
        assert run.user_attrs["seed"] == seeds[run.user_attrs["replicate"]]


def test_controls_hold_every_baseline_and_label_shuffled_models_near_chance(undisturbed: Station) -> None:
    controls = {t.params["control"]: t for t in undisturbed.trials(".controls")}
    assert set(controls) == {"gc", "cpg", "2-mer", "6-mer", "best PWM", "label-shuffled", "composition-only"}
    assert 0.2 < controls["label-shuffled"].values[0] < 0.8
    assert controls["6-mer"].values[0] > 0.6  # the planted 8-mer shows in 6-mers


def test_the_whole_study_run_again_does_nothing(undisturbed: Station) -> None:
    before = [measured(undisturbed.trials(s)) for s in ("", ".confirmation", ".controls")]
    undisturbed.work(whole=True)
    assert [measured(undisturbed.trials(s)) for s in ("", ".confirmation", ".controls")] == before


def test_jobs_cannot_touch_the_test_split_and_each_opening_is_recorded(undisturbed: Station) -> None:
    from tuner.data.registry import load_dataset
    from tuner.errors import DataError

    bench = undisturbed.bench
    with pytest.raises(DataError, match="the test split is closed"):
        bench.dataset.test  # noqa: B018
    verdict = declare(confirmed(undisturbed.trials(".confirmation")), "auroc")
    assert verdict is not None
    opened = load_dataset(bench.plan.data_spec, data_dir=None, cache=CACHE)
    result = score_test(
        undisturbed.storage, undisturbed.artifacts, opened, "tiny", verdict.primary, device="cpu", when="now"
    ).examination
    assert result.models == 2
    assert min(result.per_model) <= result.auroc.estimate <= max(result.per_model)
    assert set(result.baselines) == {"gc", "cpg", "2-mer", "6-mer", "best PWM"}
    assert openings(undisturbed.storage, "tiny")[-1]["trial"] == verdict.primary
    assert result.predictor is not None
    assert (result.predictor.models, result.predictor.calibrated_on) == (2, "validation")
    assert result.predictor.auroc.estimate == pytest.approx(result.ensemble, abs=1e-12)
    assert set(result.predictor.leads) == set(result.baselines)
    sizes = len(opened.valid), int(opened.valid.labels.sum())
    calibration = result.predictor.calibration
    assert (calibration.positives[0] + calibration.negatives[0], calibration.positives[0]) == sizes


def test_a_budget_may_grow_but_not_shrink(undisturbed: Station, bench: Bench, tmp_path: Path) -> None:
    few = Station(tmp_path, bench._replace(plan=replace(bench.plan, trials=2)))
    few.work()
    more = Station(tmp_path, bench._replace(plan=replace(bench.plan, trials=3)))
    more.work()
    assert measured(more.trials()) == measured(undisturbed.trials()[:3])
    with pytest.raises(StudyError, match="2"):
        few.work()


def test_a_changed_space_is_refused_with_the_difference(undisturbed: Station, bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "tiny_space.toml").write_text(SPACE.replace("high = 11", "high = 13"))
    plan = replace(bench.plan, space=read_space(tmp_path / "tiny_space.toml"))
    other = Station(undisturbed.folder, bench._replace(plan=plan))
    with pytest.raises(StudyError, match=r"another search space: kernel_size.high 11 -> 13"):
        other.work()


def fail_at(number: int, error: Callable[[], BaseException], times: int = 99) -> Callable[..., Any]:
    """Raise inside the trial of that seed, the given number of times."""
    calls = {"left": times}
    real = run_network

    def broken(bench: Bench, point: Any, *, seed: int, **rest: Any) -> Any:
        from tuner.study.plan import mix

        if seed == mix(0, number) and calls["left"]:
            calls["left"] -= 1
            raise error()
        return real(bench, point, seed=seed, **rest)

    return broken


def test_divergence_prunes_and_names_the_reason(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.search.stages.run_network", fail_at(1, lambda: TrainingDiverged("loss is nan")))
    station = Station(tmp_path, bench)
    station.work()
    assert [t.state.name for t in station.trials()].count("PRUNED") == 1
    assert station.trials()[1].user_attrs["reason"] == "loss is nan"


def test_out_of_memory_is_infeasible_not_a_failure(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = fail_at(2, lambda: torch.OutOfMemoryError("tried to allocate 900 GiB"))
    monkeypatch.setattr("tuner.search.stages.run_network", broken)
    station = Station(tmp_path, bench)
    station.work()
    trial = station.trials()[2]
    assert trial.state == TrialState.PRUNED
    assert trial.user_attrs["reason"].startswith("out of memory on cpu")
    assert trial.constraints == {"memory": 1.0}


def test_a_bug_is_retried_then_failed_for_good_and_costs_one_slot(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuner.search.stages.run_network", fail_at(1, lambda: ZeroDivisionError("oops")))
    station = Station(tmp_path, bench)
    station.work()
    assert [t.state.name for t in station.trials()] == ["COMPLETE", "FAIL"] + ["COMPLETE"] * 4
    assert "ZeroDivisionError: oops" in station.trials()[1].user_attrs["reason"]


def test_a_bug_that_passes_costs_nothing(
    undisturbed: Station, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = fail_at(1, lambda: ConnectionResetError("once"), times=1)
    monkeypatch.setattr("tuner.search.stages.run_network", broken)
    station = Station(tmp_path, bench)
    station.work()
    assert measured(station.trials()) == measured(undisturbed.trials())


def test_a_full_disk_loses_the_files_but_not_the_values(
    undisturbed: Station, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    station = Station(tmp_path, bench)

    def full(identifier: str, body: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(station.artifacts.store, "write", full)
    station.work()
    assert [t.values for t in station.trials()] == [t.values for t in undisturbed.trials()]
    assert "No space left on device" in station.trials()[0].user_attrs["artifacts_error"]
    assert not list((tmp_path / "artifacts").iterdir())


def test_the_sampler_sees_every_finished_trial(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tuner.search.sampler import RepeatableTPESampler

    seen: list[tuple[int, int]] = []
    real = RepeatableTPESampler.infer_relative_search_space

    def spy(self: RepeatableTPESampler, study: Any, trial: FrozenTrial) -> Any:
        done = [t for t in study._get_trials(deepcopy=False, use_cache=True) if t.state == TrialState.COMPLETE]
        seen.append((trial.number, len(done)))
        return real(self, study, trial)

    monkeypatch.setattr(RepeatableTPESampler, "infer_relative_search_space", spy)
    Station(tmp_path, bench).work()
    assert set(seen) == {(n, n) for n in range(1, 6)}  # slot 0 is fixed: nothing is sampled


def test_matching_leaves_the_number_of_threads_as_it_is(bench: Bench) -> None:
    """In a process of its own, whose environment does not bound numba's threads."""
    script = (
        "import sys, torch; sys.path.insert(0, sys.argv[1]); torch.set_num_threads(1)\n"
        "from pathlib import Path\n"
        "from tuner.study import objectives\n"
        "from tuner.search.loaded import load_bench; from tuner.search.trial import run_network\n"
        "from tuner.study.space import read_space; from tuner.study.plan import make_plan\n"
        "from tuner.study.file import read_study\n"
        "folder = Path(sys.argv[2])\n"
        "space = read_space(folder / 'search_spaces/tiny_space.toml')\n"
        "plan = make_plan(read_study(folder / 'tiny.toml'), space, folder=folder)\n"
        "bench = load_bench(plan, data_dir=None, cache=Path(sys.argv[3]))\n"
        "scan, seen = objectives.scan_filters, []\n"
        "def spy(*a, **k): seen.append(torch.get_num_threads()); return scan(*a, **k)\n"
        "objectives.scan_filters = spy\n"
        "run_network(bench, plan.space.warm_starts[0].parameters, seed=1, on_epoch=lambda record: None)\n"
        "print(*seen, torch.get_num_threads())"
    )
    environment = {k: v for k, v in os.environ.items() if not k.endswith("NUM_THREADS")}
    command = [sys.executable, "-c", script, str(Path(__file__).parent), str(bench.plan.folder), str(CACHE)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "1 1", done.stderr  # while it is measured, and after


def test_folds_cover_training_and_validation_once_and_leave_the_test_split_closed(bench: Bench) -> None:
    from tuner.errors import DataError

    data = bench.dataset
    everything = np.concatenate([data.train.codes, data.valid.codes])
    held_out = []
    for fold in range(5):
        part = fold_dataset(data, 5, fold, seed=3)
        assert len(part.train) + len(part.valid) == len(everything)
        assert abs(part.valid.labels.mean() - 0.5) < 0.05  # stratified
        held_out.append(part.valid.codes)
        with pytest.raises(DataError, match="the test split is closed"):
            part.test  # noqa: B018
    rows = sorted(map(bytes, np.concatenate(held_out)))
    assert rows == sorted(map(bytes, everything))


def test_a_task_with_one_class_is_named_beside_the_scores_of_the_others(bench: Bench) -> None:
    parts = {
        name: replace(split, labels=np.concatenate([split.labels, np.zeros_like(split.labels)], axis=1))
        for name, split in bench.dataset.splits.items()
    }
    two = replace(bench.dataset, tasks=("bound", "silent"), splits=parts)
    point = bench.plan.space.warm_starts[0].parameters
    outcome = run_network(bench, point, seed=1, dataset=two, on_epoch=lambda record: None)
    n = len(two.valid)
    assert outcome.attributes["one_class_tasks"] == f"task silent: all {n} labels are 0, so it has no auroc"
    assert 0.5 < outcome.measured["auroc"] <= 1.0
    assert all(np.isfinite(value) for value in outcome.measured.values())


def test_cross_validated_confirmation_runs_each_fold_once(bench: Bench, tmp_path: Path) -> None:
    confirmation = bench.plan.confirmation.model_copy(update={"folds": 2, "seeds": 1, "candidates": 1, "shuffled": 0})
    station = Station(tmp_path, bench._replace(plan=replace(bench.plan, trials=1, confirmation=confirmation)))
    station.work(whole=True)
    runs = station.trials(".confirmation")
    assert sorted(t.user_attrs["replicate"] for t in runs) == [0, 1]
    assert len({t.user_attrs["seed"] for t in runs}) == 2
    assert {t.state for t in runs} == {TrialState.COMPLETE}
