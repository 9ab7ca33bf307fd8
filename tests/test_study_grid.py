"""Grids: every point once with every seed, in whatever parts it is asked for."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState
from tiny import load_tiny, write_study

from tuner.errors import StudyError
from tuner.results.leaderboard import stage_trials
from tuner.search.grid_stage import Grid
from tuner.search.loaded import Bench
from tuner.search.stages import join
from tuner.search.worker import Stopper, Worker
from tuner.storage.artifacts import Artifacts
from tuner.storage.storage import FencedStorage, open_storage
from tuner.study.file import read_study
from tuner.study.grid import Part, grid_points, grid_values, select_points, slot_key
from tuner.study.plan import make_plan, study_space
from tuner.study.space import Parameter, SearchSpace, read_space

CACHE = Path.home() / ".cache" / "tuner"

STUDY = """
name = "tiny_grid"
[data]
positives = "positives.fa"
negatives = "negatives.fa"
[training]
epochs = 1
recipe = "koo2021"
[search]
sampler = "grid"
replicates = 3
[confirmation]
candidates = 0
[koo]
thresholds = [0.5, 0.9]
[parameters.architecture]
fixed = "cnn"
[parameters.n_blocks]
fixed = 1
[parameters.activation]
choices = ["exponential", "relu"]
[parameters.activation_scale]
choices = [0.5, 1.0]
when = { activation = ["exponential"] }
[parameters.filters]
low = 8
high = 16
step = 8
[parameters.kernel_size]
fixed = 19
"""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return load_tiny(tmp_path_factory.mktemp("grid"), n=60, study=STUDY)


def wanted(bench: Bench, storage: FencedStorage, part: Part | None) -> list[tuple[frozenset[tuple[str, object]], int]]:
    """Ask for a part; every slot of the study as (point, replicate)."""
    Grid(bench.plan, bench.identity, part).prepare(storage)
    return [
        (frozenset(t.system_attrs["fixed_params"].items()), t.user_attrs["replicate"])
        for t in stage_trials(storage, bench.plan.name)
    ]


def test_grid_is_the_product_of_all_values_with_conditions(bench: Bench) -> None:
    points = grid_points(bench.plan.space)
    by_hand = [
        {"activation": a, **({"activation_scale": s} if s else {}), "filters": f}
        for a, s in (("exponential", 0.5), ("exponential", 1.0), ("relu", None))
        for f in (8, 16)
    ]
    fixed = {"architecture": "cnn", "n_blocks": 1, "kernel_size": 19}
    assert sorted(map(sorted_items, points)) == sorted(sorted_items({**fixed, **p}) for p in by_hand)
    assert bench.plan.trials == 6 * 3
    assert bench.plan.recipe.schedule == "plateau", "the named recipe applies"
    assert bench.plan.recipe.epochs == 1, "and single settings override it"


def sorted_items(point: dict[str, object]) -> str:
    return repr(sorted(point.items()))


def test_a_range_without_step_is_refused(tmp_path: Path) -> None:
    (tmp_path / "space.toml").write_text('[architecture]\nfixed = "cnn"\n[learning_rate]\nlow = 1e-3\nhigh = 1e-2\n')
    with pytest.raises(StudyError, match=r"\[learning_rate\]: a grid needs choices, or low, high and step"):
        grid_points(read_space(tmp_path / "space.toml"))


STEPS = """[architecture]
fixed = "cnn"
[dropout]
low = 0.1
high = 0.5
step = 0.1
[learning_rate]
low = 0.001
high = 0.0075
step = 0.002
[dropout_input]
choices = [0.0, 0.2]
when = { dropout = [0.3] }
"""


def test_a_grid_holds_the_decimal_numbers_that_its_steps_mean(tmp_path: Path) -> None:
    (tmp_path / "space.toml").write_text(STEPS)
    space = read_space(tmp_path / "space.toml")
    assert grid_values("dropout", space.parameters["dropout"]) == (0.1, 0.2, 0.3, 0.4, 0.5)
    assert grid_values("learning_rate", space.parameters["learning_rate"]) == (0.001, 0.003, 0.005, 0.007)
    assert len(grid_points(space)) == 4 * (4 + 2), "the condition on 0.3 holds at 0.3"
    for typed in ("0.3", "0.30", "3e-1", "0.30000000000000004"):
        chosen = select_points(space, {"dropout": [typed], "learning_rate": ["0.007", ".001"]})
        assert {(p["dropout"], p["learning_rate"]) for p in chosen} == {(0.3, 0.007), (0.3, 0.001)}
    with pytest.raises(StudyError, match=r"--only dropout: unknown value '0\.31'; did you mean '0\.3'"):
        select_points(space, {"dropout": ["0.31"]})


@given(st.integers(-50, 50), st.integers(1, 400), st.integers(1, 60), st.integers(0, 4))
def test_every_value_of_a_grid_is_as_short_as_its_ends(low: int, step: int, count: int, places: int) -> None:
    scale = 10**places
    ends = {"low": low / scale, "high": (low + step * count) / scale, "step": step / scale}
    values = grid_values("x", Parameter(**ends))
    assert values == tuple((low + i * step) / scale for i in range(count + 1))  # each the float nearest to its decimal


def test_slots_made_with_the_last_digits_of_floats_are_found_again(bench: Bench, tmp_path: Path) -> None:
    parameters = {**bench.plan.space.parameters, "dropout": Parameter(low=0.1, high=0.3, step=0.1)}
    plan = replace(bench.plan, space=SearchSpace("steps", parameters, ()))
    storage = open_storage(tmp_path / "tuner.db")
    study_id = join(storage, plan, bench.identity)
    written = [  # what versions before this one computed
        {**point, "dropout": 0.1 + round((float(point["dropout"]) - 0.1) / 0.1) * 0.1}
        for point in grid_points(plan.space)
    ]
    assert any(point["dropout"] == 0.30000000000000004 for point in written)
    storage.enqueue_many(study_id, [(slot_key(point, 0), point, {"replicate": 0}) for point in written])
    Grid(plan, bench.identity, Part({}, 2)).prepare(storage)
    slots = [t.system_attrs["fixed_params"] for t in stage_trials(storage, plan.name)]
    assert len(slots) == 2 * len(written), "the first replicate is there, the second is added"
    assert {s["dropout"] for s in slots} == {p["dropout"] for p in written}, "one number for one value"
    storage.close()


def test_parts_add_up_to_the_whole_and_nothing_is_made_twice(bench: Bench, tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "tuner.db")
    relu = wanted(bench, storage, Part({"activation": ["relu"]}, 2))
    assert len(relu) == 2 * 2
    assert wanted(bench, storage, None) == relu, "a worker that joins asks for nothing more"
    overlapping = wanted(bench, storage, Part({"filters": ["8"]}, 1))
    assert len(overlapping) == 4 + 2
    whole = wanted(bench, storage, Part({}))
    assert len(whole) == len(set(whole)) == 18
    assert wanted(bench, storage, Part({})) == whole
    expected = itertools.product((frozenset(p.items()) for p in grid_points(bench.plan.space)), range(3))
    assert set(whole) == set(expected)
    assert storage.budget(storage.get_study_id_from_name(bench.plan.name)) == 18


def test_a_worker_alone_makes_the_whole_grid(bench: Bench, tmp_path: Path) -> None:
    assert len(wanted(bench, open_storage(tmp_path / "tuner.db"), None)) == 18


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (Part({"activaton": ["relu"]}), "--only: unknown parameter 'activaton'; did you mean 'activation'"),
        (Part({"activation": ["rela"]}), "--only activation: unknown value 'rela'; did you mean 'relu'"),
        (Part({"activation": ["relu"], "activation_scale": ["1.0"]}), "no point of the grid matches --only"),
        (Part({}, 4), "--seeds 4; the study has 3 replicates"),
    ],
)
def test_an_impossible_part_is_named_and_leaves_no_slot(bench: Bench, tmp_path: Path, part: Part, message: str) -> None:
    storage = open_storage(tmp_path / "tuner.db")
    with pytest.raises(StudyError, match=message):
        Grid(bench.plan, bench.identity, part).prepare(storage)
    assert stage_trials(storage, bench.plan.name) == []


def test_points_of_one_replicate_share_their_seed_and_the_published_read_out_is_recorded(
    bench: Bench, tmp_path: Path
) -> None:
    storage = open_storage(tmp_path / "tuner.db")
    worker = Worker(bench, storage, Artifacts(tmp_path / "a"), tmp_path / "checkpoints", Stopper(), name="w")
    assert worker.work([Grid(bench.plan, bench.identity, Part({"filters": ["8"]}, 2))])
    trials = stage_trials(storage, bench.plan.name)
    assert [t.state for t in trials] == [TrialState.COMPLETE] * 6
    seeds = {r: {t.user_attrs["seed"] for t in trials if t.user_attrs["replicate"] == r} for r in (0, 1)}
    assert [len(s) for s in seeds.values()] == [1, 1]
    assert seeds[0] != seeds[1]
    for t in trials:
        assert 0 <= t.user_attrs["target_fraction_koo"] <= t.user_attrs["match_fraction_koo"] <= 1
        assert "match_fraction_koo_0.9" in t.user_attrs
    again = Grid(bench.plan, bench.identity, Part({"filters": ["8"]}, 2))
    assert worker.work([again]), "the same part again has nothing left to do"
    assert len(stage_trials(storage, bench.plan.name)) == 6


def test_a_search_cannot_be_made_a_grid_nor_a_grid_a_search(tmp_path: Path) -> None:
    path = write_study(tmp_path, study=STUDY)
    study = read_study(path)
    space = study_space(study, "standard", Path)[0]
    with pytest.raises(StudyError, match="--sampler tpe cannot replace grid"):
        make_plan(study, space, folder=tmp_path, sampler="tpe")
    with pytest.raises(StudyError, match="is a grid of 18 trials; choose a part of it with --only and --seeds"):
        make_plan(study, space, folder=tmp_path, trials=5)
    assert make_plan(study, space, folder=tmp_path, preset="smoke").trials == 6


def test_an_objective_that_nothing_measures_is_refused(tmp_path: Path) -> None:
    text = STUDY.replace('name = "tiny_grid"', 'name = "tiny_grid"\nobjectives = ["auroc", "attribution_auroc"]')
    with pytest.raises(StudyError, match=r"'attribution_auroc' needs the table \[attribution\]"):
        read_study(write_study(tmp_path, study=text))
