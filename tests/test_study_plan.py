"""Study files, presets, identity: what makes two plans the same study, and how a difference is worded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tuner.data.dataset import Dataset, Split
from tuner.errors import SearchSpaceError, StudyError
from tuner.models.recipe import RECIPES
from tuner.motifs.database import Motif, MotifDatabase
from tuner.resources import find_resource, list_resources
from tuner.study.file import PRESETS, read_study
from tuner.study.plan import Plan, check_identity, identity, make_plan, mix, plan_source, restore_plan, study_space
from tuner.study.space import read_space

SPACE = "[architecture]\nchoices = ['cnn']\n[kernel_size]\nlow = 7\nhigh = 19\n"
STUDY = "name = 'mine'\nspace = 'space'\n[data]\npositives = 'a.fa'\nnegatives = 'b.fa'\n"


def plan_of(folder: Path, study: str = STUDY, space: str = SPACE, **options: object) -> Plan:
    (folder / "mine.toml").write_text(study)
    (folder / "space.toml").write_text(space)
    return make_plan(read_study(folder / "mine.toml"), read_space(folder / "space.toml"), folder=folder, **options)  # type: ignore[arg-type]


def dataset(first: int = 0) -> Dataset:
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 4, (12, 30)).astype(np.uint8)
    codes[0, 0] = first
    parts = {
        n: Split(codes[i::3], np.array([[0], [1], [0], [1]], np.uint8))
        for i, n in enumerate(("train", "valid", "test"))
    }
    return Dataset(name="d", tasks=("t",), splits=parts, source="here")


DATABASE = MotifDatabase("db", (Motif("M1", "m", np.full((4, 5), 0.25)),))


def test_a_study_of_two_fasta_files_needs_nothing_else(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "name = 'mine'\nspace = 'space'\ndata = { positives = 'a.fa', negatives = 'b.fa' }\n")
    assert plan.data_spec.positives == str(tmp_path / "a.fa")
    assert plan.study.objectives == ["auroc", "match_fraction"]
    assert plan.trials == 30


def test_presets_scale_and_the_command_line_wins(tmp_path: Path) -> None:
    smoke = plan_of(tmp_path, preset="smoke")
    assert (smoke.name, smoke.trials, smoke.recipe.epochs) == ("mine-smoke", 3, 6)
    assert plan_of(tmp_path, preset="smoke", trials=7).trials == 7
    own = STUDY + "[presets.smoke]\ntrials = 5\n"
    assert plan_of(tmp_path, own, preset="smoke").trials == 5
    assert plan_of(tmp_path, own, preset="smoke").recipe.epochs == 6
    assert plan_of(tmp_path, seed=5).name == "mine-seed5"
    assert plan_of(tmp_path, name="other").name == "other"


def test_budget_workers_and_device_are_no_identity_but_everything_else_is(tmp_path: Path) -> None:
    base = plan_of(tmp_path)
    stored = identity(base, dataset(), DATABASE)
    check_identity("mine", stored, identity(plan_of(tmp_path, trials=99), dataset(), DATABASE))
    wider = plan_of(tmp_path, space=SPACE.replace("high = 19", "high = 25"))
    with pytest.raises(StudyError, match=r"mine was created with another search space: kernel_size.high 19 -> 25"):
        check_identity("mine", stored, identity(wider, dataset(), DATABASE))
    with pytest.raises(StudyError, match=r"data set: fingerprint .* Use a new study name"):
        check_identity("mine", stored, identity(base, dataset(first=3), DATABASE))
    with pytest.raises(StudyError, match="motif database: digest"):
        check_identity("mine", stored, identity(base, dataset(), replace(DATABASE, promiscuous=frozenset(["M1"]))))
    with pytest.raises(StudyError, match="sampler: seed 0 -> 1"):
        check_identity("mine", stored, identity(plan_of(tmp_path, seed=1, name="mine"), dataset(), DATABASE))
    longer = plan_of(tmp_path, STUDY + "[training]\nepochs = 9\n")
    with pytest.raises(StudyError, match="training recipe: epochs 20 -> 9"):
        check_identity("mine", stored, identity(longer, dataset(), DATABASE))


def test_a_stored_plan_comes_back_whole(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, STUDY + "[training]\nshift = 3\n", preset="fast", seed=4, trials=11)
    assert restore_plan(plan_source(plan)) == replace(plan, folder=plan.folder.resolve())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (STUDY.replace("name = 'mine'", "name = '<script>'"), r"mine.toml \[name\]: '<script>' cannot be the name"),
        (STUDY.replace("name = 'mine'\n", ""), "the key 'name' is missing"),
        (
            STUDY.replace("positives", "positivs"),
            r"\[data\]: unknown key 'positivs'; did you mean 'positives'",
        ),
        ("name = 'mine'\n", r"the \[data\] table is missing"),
        ("objectives = ['auroc', 'auroc']\n" + STUDY, "the objective 'auroc' is listed twice"),
        ("objectives = ['aurok']\n" + STUDY, "unknown objective 'aurok'; did you mean 'auroc'"),
        ("objectives = []\n" + STUDY, r"\[objectives\]"),
        (STUDY + "[search]\ntrials = '30'\n", r"\[search.trials\].*valid integer; it is '30'"),
        (STUDY + "[serach]\ntrials = 3\n", "unknown key 'serach'; did you mean 'search'"),
        (STUDY + "x = [1\n", "TOML syntax error"),
    ],
)
def test_what_is_wrong_with_a_study_is_said_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(StudyError, match=message) as caught:
        read_study(path)
    assert "\n" not in str(caught.value)


def test_a_study_may_start_from_a_named_recipe_and_change_it(tmp_path: Path) -> None:
    recipe = plan_of(tmp_path, STUDY + "[training]\nrecipe = 'koo2021'\nmonitor = 'micro_aupr'\n").recipe
    assert recipe == replace(RECIPES["koo2021"], monitor="micro_aupr")
    smoke = plan_of(tmp_path, STUDY + "[training]\nrecipe = 'koo2021'\n", preset="smoke").recipe
    assert (smoke.epochs, smoke.weights) == (PRESETS["smoke"].epochs, "last")
    with pytest.raises(StudyError, match="unknown recipe 'koo2012'; did you mean 'koo2021'"):
        plan_of(tmp_path, STUDY + "[training]\nrecipe = 'koo2012'\n")
    with pytest.raises(SearchSpaceError, match="unknown parameter 'recipe'"):
        plan_of(tmp_path, space=SPACE + "[recipe]\nchoices = ['koo2021']\n")


def test_naming_the_default_recipe_changes_no_identity(tmp_path: Path) -> None:
    plain = identity(plan_of(tmp_path), dataset(), DATABASE)
    assert identity(plan_of(tmp_path, STUDY + "[training]\nrecipe = 'default'\n"), dataset(), DATABASE) == plain


def test_training_settings_are_checked(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="unknown key 'epoch'; did you mean 'epochs'"):
        plan_of(tmp_path, STUDY + "[training]\nepoch = 3\n")
    with pytest.raises(StudyError, match="epochs = '3' must be int"):
        plan_of(tmp_path, STUDY + "[training]\nepochs = '3'\n")
    with pytest.raises(StudyError, match="unknown value of monitor 'aurok'"):
        plan_of(tmp_path, STUDY + "[training]\nmonitor = 'aurok'\n")
    with pytest.raises(SearchSpaceError, match="fixes shift; search or fix it, not both"):
        plan_of(tmp_path, STUDY + "[training]\nshift = 3\n", SPACE + "[shift]\nfixed = 1\n")
    with pytest.raises(StudyError, match="unknown preset 'smok'; did you mean 'smoke'"):
        plan_of(tmp_path, preset="smok")


@pytest.mark.parametrize("name", sorted(list_resources("studies", Path("/nonexistent"))))
@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_every_shipped_study_makes_a_plan(name: str, preset: str) -> None:
    nowhere = Path("/nonexistent")
    study = read_study(find_resource("studies", name, folder=nowhere))
    space, _ = study_space(study, preset, lambda name: find_resource("search_spaces", name, folder=nowhere))
    assert make_plan(study, space, folder=nowhere, preset=preset).study.name == name


def test_seeds_differ_by_every_part() -> None:
    seeds = {mix(s, n, *rest) for s in range(5) for n in range(50) for rest in ((), ("sampler",))}
    assert len(seeds) == 500
    assert mix(0, 1) == mix(0, 1)
