"""A worker elsewhere joins by name; what it reads from storage and store is checked before it is used."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command_line import write_tiny_study
from storage_backends import sqlite_template  # noqa: F401
from stores import Server, bucket, place, s3, s3_server  # noqa: F401

import tuner
from tuner.errors import DataError, StorageError, StudyError
from tuner.results.verification import verify
from tuner.search.joining import join_study, located, wait_for_study
from tuner.search.stages import SOURCE, join
from tuner.storage.artifacts import PREFIX, Artifacts
from tuner.storage.schema import STUDIES
from tuner.storage.storage import FencedStorage, open_storage
from tuner.storage.store import read, write
from tuner.study.file import StudyFile, read_study
from tuner.study.packages import PACKAGES
from tuner.study.plan import Plan, make_plan
from tuner.study.space import read_space
from tuner.study.texts import TEXTS, published


def plan_of(folder: Path, **more: Any) -> Plan:
    """The plan of the study in a folder, as the command line makes it."""
    plan = make_plan(read_study(folder / "tiny.toml"), read_space(folder / "tiny_space.toml"), folder=folder, **more)
    files = {"study": "tiny.toml", "space": "tiny_space.toml"}
    return replace(plan, texts={kind: (folder / name).read_bytes() for kind, name in files.items()})


class Creator:
    """The machine on which a study was made: a database, an artifact store, a folder of files."""

    def __init__(self, folder: Path, storage: FencedStorage, artifacts: Artifacts) -> None:
        folder.mkdir()
        write_tiny_study(folder)
        self.folder, self.storage, self.artifacts = folder, storage, artifacts
        self.plan = plan_of(folder, preset="smoke", seed=3, trials=7)

    def make(self, plan: Plan | None = None) -> int:
        with published(self.storage, self.artifacts, plan or self.plan) as described:
            return join(self.storage, described, {"made": "once"})

    def attributes(self) -> dict[str, Any]:
        study_id = self.storage.get_study_id_from_name(self.plan.name)
        return self.storage.get_study_system_attrs(study_id)

    def change(self, key: str, value: Any) -> None:
        study_id = self.storage.get_study_id_from_name(self.plan.name)
        self.storage.set_study_system_attr(study_id, key, json.dumps(value))

    def joined(self, data: Path | None = None, name: str | None = None) -> Plan:
        folder = self.folder.parent / "elsewhere"
        folder.mkdir(exist_ok=True)
        return join_study(
            self.storage, self.artifacts, name or self.plan.name, data=data, data_dir=None, folders=[folder]
        ).plan


@pytest.fixture
def creator(place: str, tmp_path: Path, sqlite_template: Path) -> Iterator[Creator]:  # noqa: F811
    shutil.copy(sqlite_template, tmp_path / "tuner.db")
    storage = open_storage(tmp_path / "tuner.db")
    yield Creator(tmp_path / "creator", storage, Artifacts(place))
    storage.close()


def test_the_plan_is_rebuilt_from_name_storage_and_store(creator: Creator) -> None:
    creator.make()
    joined = creator.joined(data=creator.folder)
    for field in ("name", "preset", "seed", "trials", "recipe", "sampler", "confirmation"):
        assert getattr(joined, field) == getattr(creator.plan, field)
    assert joined.space.canonical() == creator.plan.space.canonical()
    assert joined.data_spec.positives == str(creator.folder / "positives.fa")
    assert joined.study.motifs.database == str(creator.folder / "motifs.meme")


def test_texts_are_stored_once_and_only_their_digests_are_in_the_database(creator: Creator) -> None:
    creator.make()
    stored = {s.key for s in creator.artifacts.store.find()}
    assert len(stored) == 2
    assert stored == {key.removeprefix(PREFIX) for key in creator.attributes() if key.startswith(PREFIX)}
    assert len(creator.attributes()[TEXTS]) < 500
    creator.make()
    assert {s.key for s in creator.artifacts.store.find()} == stored


def test_of_two_creators_at_once_one_stores_its_texts(creator: Creator) -> None:
    with published(creator.storage, creator.artifacts, creator.plan) as described:
        creator.make()  # another process is faster
        join(creator.storage, described, {"made": "once"})
    assert len(list(creator.artifacts.store.find())) == 2
    assert creator.joined(data=creator.folder).name == creator.plan.name


def test_a_study_without_texts_gets_them_from_the_next_run(creator: Creator) -> None:
    join(creator.storage, creator.plan, {"made": "once"})
    with pytest.raises(StudyError, match="has no texts in the artifact store; run tuner run once"):
        creator.joined(data=creator.folder)
    creator.make()
    assert creator.joined(data=creator.folder).trials == 7


def test_a_refused_study_leaves_no_texts(creator: Creator) -> None:
    join(creator.storage, creator.plan, {"made": "otherwise"})
    with pytest.raises(StudyError, match="was created with another made"):
        creator.make()
    assert list(creator.artifacts.store.find()) == []


def test_a_text_that_was_changed_in_the_store_is_refused(creator: Creator) -> None:
    creator.make()
    identifier = json.loads(creator.attributes()[TEXTS])["space"]["id"]
    write(creator.artifacts.store, identifier, creator.plan.texts["space"].replace(b"high = 11", b"high = 13"))
    with pytest.raises(StorageError, match=r"space.toml of tiny-smoke-seed3 is not what the study was made with: SHA"):
        creator.joined(data=creator.folder)
    creator.artifacts.store.remove(identifier)
    with pytest.raises(StorageError, match=r"space.toml is missing from .*another --artifacts"):
        creator.joined(data=creator.folder)


@pytest.mark.parametrize("how", ["lost", "emptied", "changed"])
def test_a_lost_or_damaged_text_is_named_and_written_again_where_the_files_are(creator: Creator, how: str) -> None:
    creator.make()
    identifier = json.loads(creator.attributes()[TEXTS])["space"]["id"]
    text = creator.plan.texts["space"]
    if how == "lost":
        creator.artifacts.store.remove(identifier)
    else:
        write(creator.artifacts.store, identifier, b"" if how == "emptied" else text.replace(b"11", b"13"))
    found = verify(creator.storage, creator.artifacts, creator.plan.name)
    assert [(p.file, p.remedy.split(",")[0]) for p in found.problems] == [
        ("space.toml", "tuner run --study FILE --name tiny-smoke-seed3")
    ]
    other = replace(creator.plan, texts={**creator.plan.texts, "space": text + b"# edited"})
    creator.make(other)  # not what the study was made with: it restores nothing
    assert verify(creator.storage, creator.artifacts, creator.plan.name).problems
    creator.make()
    assert read(creator.artifacts.store, identifier) == text
    assert verify(creator.storage, creator.artifacts, creator.plan.name).problems == []
    assert creator.joined(data=creator.folder).name == creator.plan.name


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
    for use in (lambda: creator.joined(data=creator.folder), creator.make):
        with pytest.raises(StudyError, match=f"was made with {package} {version}; here is .* Install '{package}=="):
            use()


def test_what_the_storage_says_is_checked(creator: Creator) -> None:
    creator.make()
    source, texts = json.loads(creator.attributes()[SOURCE]), json.loads(creator.attributes()[TEXTS])
    creator.change(TEXTS, {"study": {**texts["study"], "id": "../../../etc/passwd"}})
    with pytest.raises(StudyError, match="the description of its texts is not what tuner run writes"):
        creator.joined(data=creator.folder)
    creator.change(TEXTS, texts)
    creator.change(SOURCE, {**source, "trials": "7; DROP TABLE"})
    with pytest.raises(StudyError, match=r"trials.*it is '7; DROP TABLE'"):
        creator.joined(data=creator.folder)
    study_id = creator.storage.create_or_load("escape", ["maximize"], system_attrs={"tuner:identity": "{}"})
    rename = STUDIES.update().where(STUDIES.c.study_id == study_id).values(study_name="../escape")
    creator.storage._backend.write(lambda connection: connection.execute(rename))
    with pytest.raises(StudyError, match="is no name that tuner run gives a study"):
        creator.joined(name="../escape")


def study_with(**data: Any) -> StudyFile:
    return StudyFile.model_validate({"name": "s", "data": data})


@pytest.mark.parametrize("path", ["/etc/peaks.tsv", "../peaks.tsv", "a/../../peaks.tsv"])
def test_a_path_of_another_machine_is_not_taken_from_the_storage(tmp_path: Path, path: str) -> None:
    (tmp_path / "peaks.tsv").write_text("here")
    (tmp_path / "below").mkdir()
    with pytest.raises(DataError, match=r"a path of another machine, which is not taken .* --data FILE"):
        located(study_with(path=path), None, [tmp_path / "below"])
    for given in (tmp_path, tmp_path / "peaks.tsv"):
        found = located(study_with(path=path), given, [])
        assert found.data.path == str(tmp_path / "peaks.tsv")


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
