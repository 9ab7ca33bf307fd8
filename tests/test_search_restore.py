"""A worker elsewhere joins by name; what it reads from storage and store is checked before it is used."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import write_tiny_study

import tuner
from tuner.errors import DataError, StudyError
from tuner.search.restore import StoredStudy, files_here, located, restore_study, wait_for_study
from tuner.search.stages import join
from tuner.storage.keys import PACKAGES, SOURCE
from tuner.storage.schema import STUDIES
from tuner.storage.storage import FencedStorage, open_storage
from tuner.study.file import StudyFile, read_study
from tuner.study.plan import Plan, make_plan
from tuner.study.space import read_space


def plan_of(folder: Path, **more: Any) -> Plan:
    """The plan of the study in a folder, as the command line makes it."""
    return make_plan(read_study(folder / "tiny.toml"), read_space(folder / "tiny_space.toml"), folder=folder, **more)


# What a study's identity holds at least.
MADE = {"made": "once", "data set": {"fingerprint": "f"}}


class Creator:
    """The machine on which a study was made: a database, and a folder of files."""

    def __init__(self, folder: Path, storage: FencedStorage) -> None:
        folder.mkdir()
        write_tiny_study(folder)
        self.folder, self.storage = folder, storage
        self.plan = plan_of(folder, preset="smoke", seed=3, trials=7)

    def make(self, plan: Plan | None = None) -> int:
        return join(self.storage, plan or self.plan, MADE)

    def attributes(self) -> dict[str, Any]:
        study_id = self.storage.get_study_id_from_name(self.plan.name)
        return self.storage.get_study_system_attrs(study_id)

    def change(self, key: str, value: Any) -> None:
        study_id = self.storage.get_study_id_from_name(self.plan.name)
        self.storage.set_study_system_attr(study_id, key, json.dumps(value))

    def joined(self, data: Path | None = None, name: str | None = None) -> Plan:
        """As a worker of another machine."""
        folder = self.folder.parent / "elsewhere"
        folder.mkdir(exist_ok=True)
        return restore_study(self.storage, name or self.plan.name, data, folders=[folder]).plan

    def opened(self, data: Path | None = None) -> StoredStudy:
        """As a command where the study was made."""
        return restore_study(self.storage, self.plan.name, data)


@pytest.fixture
def creator(tmp_path: Path, sqlite_template: Path) -> Iterator[Creator]:
    shutil.copy(sqlite_template, tmp_path / "tuner.db")
    storage = open_storage(tmp_path / "tuner.db")
    yield Creator(tmp_path / "creator", storage)
    storage.close()


def test_the_plan_is_rebuilt_from_name_storage_and_store(creator: Creator) -> None:
    creator.make()
    joined = creator.joined(data=creator.folder)
    for field in ("name", "preset", "seed", "trials", "recipe", "sampler", "confirmation"):
        assert getattr(joined, field) == getattr(creator.plan, field)
    assert joined.space.canonical() == creator.plan.space.canonical()
    assert joined.data_spec.positives == str(creator.folder / "positives.fa")
    assert joined.study.motifs.database == str(creator.folder / "motifs.meme")


def test_the_files_of_a_test_set_go_where_those_of_training_go(creator: Creator) -> None:
    study = creator.folder / "tiny.toml"
    files = '\n[data.test]\npositives = "tested/p.fa"\nnegatives = "tested/n.fa"\n\n[motifs]'
    study.write_text(study.read_text().replace("\n[motifs]", files))
    (creator.folder / "tested").mkdir()
    for name, other in (("p.fa", "positives.fa"), ("n.fa", "negatives.fa")):
        shutil.copy(creator.folder / other, creator.folder / "tested" / name)
    plan = plan_of(creator.folder, preset="smoke", seed=3, trials=7)
    creator.make(plan)
    expected = {key: str(creator.folder / path) for key, path in plan.study.data.files.items()}
    assert set(expected) == {"positives", "negatives", "test.positives", "test.negatives"}
    assert creator.opened().plan.data_spec.files == expected
    assert creator.joined(data=creator.folder).data_spec.files == expected
    passed = restore_study(creator.storage, plan.name, files=files_here(plan)).plan
    assert passed.data_spec.files == expected
    flat = creator.folder.parent / "flat"
    flat.mkdir()
    for path in expected.values():
        shutil.copy(path, flat)
    assert creator.joined(data=flat).data_spec.files == {key: str(flat / Path(p).name) for key, p in expected.items()}
    (creator.folder / "tested" / "n.fa").unlink()
    with pytest.raises(DataError, match=r"was made with .*tested/n\.fa, which is not here"):
        creator.opened()


def test_a_command_where_the_study_was_made_takes_its_paths_and_another_the_given_ones(creator: Creator) -> None:
    creator.make()
    spec = creator.opened().plan.data_spec
    assert spec.positives == str(creator.folder / "positives.fa")
    moved = creator.folder.rename(creator.folder.parent / "moved")
    with pytest.raises(DataError, match=r"was made with .*positives\.fa, which is not here\. Say where it is with"):
        creator.opened()
    assert creator.opened(moved).plan.data_spec.positives == str(moved / "positives.fa")
    with pytest.raises(DataError, match="there is no such file or folder"):
        creator.opened(creator.folder)


@pytest.mark.parametrize(
    ("package", "version", "refused"),
    [("tuner", "9.1.0", True), ("torch", "1.13.1", True), ("tuner", tuner.__version__ + "9", False)],
)
def test_incompatible_packages_are_refused_with_the_difference(
    creator: Creator, package: str, version: str, refused: bool
) -> None:
    creator.make()
    creator.change(PACKAGES, {**json.loads(creator.attributes()[PACKAGES]), package: version})
    if not refused:
        assert creator.joined(data=creator.folder).name == creator.plan.name
        return
    said = rf"was created with {package} {version}; .* is installed here\. Install '{package}=="
    for use in (lambda: creator.joined(data=creator.folder), creator.make):
        with pytest.raises(StudyError, match=said):
            use()


def test_what_the_storage_says_is_checked(creator: Creator) -> None:
    creator.make()
    source = json.loads(creator.attributes()[SOURCE])
    creator.change(SOURCE, {**source, "trials": "7; DROP TABLE"})
    with pytest.raises(StudyError, match=r"trials.*it is '7; DROP TABLE'"):
        creator.joined(data=creator.folder)
    study_id = creator.storage.create_or_load("escape", ["maximize"], system_attrs={"tuner:identity": "{}"})
    rename = STUDIES.update().where(STUDIES.c.study_id == study_id).values(study_name="../escape")
    creator.storage._backend.write(lambda connection: connection.execute(rename))
    with pytest.raises(StudyError, match="is not a name that tuner run gives a study; it is not opened"):
        creator.joined(name="../escape")


def study_with(**data: Any) -> StudyFile:
    return StudyFile.model_validate({"name": "s", "data": data})


@pytest.mark.parametrize("path", ["/etc/peaks.tsv", "../peaks.tsv", "a/../../peaks.tsv"])
def test_a_path_of_another_machine_is_not_taken_from_the_storage(tmp_path: Path, path: str) -> None:
    (tmp_path / "peaks.tsv").write_text("here")
    (tmp_path / "below").mkdir()
    with pytest.raises(DataError, match=r"a path of another machine; such paths are not used\. .* --data FILE"):
        located(study_with(path=path), None, [tmp_path / "below"])
    for given in (tmp_path, tmp_path / "peaks.tsv"):
        found = located(study_with(path=path), given, [])
        assert found.data.path == str(tmp_path / "peaks.tsv")


def test_a_worker_takes_the_files_from_where_its_run_found_them(creator: Creator) -> None:
    creator.make()
    moved = creator.folder.rename(creator.folder.parent / "moved")
    files = files_here(plan_of(moved, preset="smoke", seed=3, trials=7))
    assert set(files) == {"positives", "negatives", "database"}
    plan = restore_study(creator.storage, creator.plan.name, files=files).plan
    assert plan.data_spec.positives == str(moved / "positives.fa")
    assert plan.study.motifs.database == str(moved / "motifs.meme")


def test_files_are_looked_for_where_the_user_said(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("sub/p.fa", "n.fa"):
        (tmp_path / name).write_text(">")
    found = located(study_with(positives="sub/p.fa", negatives="n.fa"), None, [tmp_path / "none", tmp_path])
    assert (found.data.positives, found.data.negatives) == (str(tmp_path / "sub" / "p.fa"), str(tmp_path / "n.fa"))
    with pytest.raises(DataError, match=r"s: n.fa is not on this machine \(looked in .*sub\)\. Say where it is"):
        located(study_with(positives="p.fa", negatives="n.fa"), tmp_path / "sub", [])
    assert located(study_with(positives="n.fa", negatives="shuffle"), tmp_path, []).data.negatives == "shuffle"
    named = located(study_with(dataset="zbed2"), tmp_path / "n.fa", [])
    assert named.data.path == str(tmp_path / "n.fa")


def test_a_study_that_nobody_has_made_is_waited_for_and_then_named(creator: Creator) -> None:
    said: list[str] = []
    with pytest.raises(StudyError, match=r"has no study other, .* it has: none\. Start it with tuner run"):
        wait_for_study(creator.storage, "other", 0.0, said.append, lambda: None)
    wait_for_study(creator.storage, creator.plan.name, 60, said.append, lambda: creator.make() and None)
    assert len(said) == 1
    assert "has no study tiny-smoke-seed3 yet; waiting 60 s for tuner run" in said[0]
