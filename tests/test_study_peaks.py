"""A study made from peaks: its tables of files go through the database and are found on another machine."""

from __future__ import annotations

import json
from pathlib import Path

from tuner.search.restore import located
from tuner.study.file import check_study
from tuner.study.paths import expand_paths
from tuner.study.plan import make_plan, plan_source, restore_plan
from tuner.study.space import read_space

SPACE = read_space(Path(__file__).parents[1] / "search_spaces" / "default.toml")
DATA = {
    "peaks": {"HepG2": "a.bed", "K562": "$PEAKS/b.bed"},
    "genome": "hg38",
    "negatives": {"other_peaks": ["x.bed", "y.bed"]},
    "ratio": 2,
    "top": 100,
}


def test_a_plan_with_tables_of_files_is_restored_from_json(tmp_path: Path) -> None:
    study = expand_paths(
        check_study({"name": "mine", "data": DATA}, "mine.toml"), {"PEAKS": "/p"}, tmp_path, "mine.toml"
    )
    assert study.data.peaks == {"HepG2": "a.bed", "K562": "/p/b.bed"}
    plan = make_plan(study, SPACE, folder=tmp_path)
    again = restore_plan(json.loads(json.dumps(plan_source(plan))))
    assert again.study == plan.study
    assert again.data_spec == plan.data_spec
    assert again.data_spec.peaks == {"HepG2": str(tmp_path / "a.bed"), "K562": "/p/b.bed"}
    assert again.data_spec.genome == "hg38"


def test_files_of_a_study_from_another_machine_are_found_by_their_names(tmp_path: Path) -> None:
    data = {**DATA, "peaks": {"HepG2": "/there/a.bed", "K562": "/there/b.bed"}}
    for name in ("a.bed", "b.bed", "x.bed", "y.bed"):
        (tmp_path / name).touch()
    found = located(check_study({"name": "mine", "data": data}, "mine.toml"), tmp_path, [])
    assert found.data.peaks == {"HepG2": str(tmp_path / "a.bed"), "K562": str(tmp_path / "b.bed")}
    assert found.data.negatives == {"other_peaks": [str(tmp_path / "x.bed"), str(tmp_path / "y.bed")]}
