"""Files that no trial has are collected, and only those; a quota takes files, never values."""

from __future__ import annotations

import io
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from optuna.trial import TrialState

from tuner.errors import StudyError
from tuner.results.deletion import delete, doomed
from tuner.results.leaderboard import stage_trials
from tuner.results.leftovers import collect_leftovers, find_leftovers
from tuner.results.quota import enforce_quota, set_quota
from tuner.storage.artifacts import PREFIX, Artifacts
from tuner.storage.storage import Attempt, FencedStorage, open_storage
from tuner.study.file import read_bytes

pytestmark = pytest.mark.slow

FILES = {"model.safetensors": bytes(1000), "history.tsv": bytes(100), "filters.svg": bytes(10)}


class Lab:
    """A study of one objective on a database and an artifact store, without training."""

    def __init__(self, storage: FencedStorage, artifacts: Artifacts) -> None:
        self.storage, self.artifacts = storage, artifacts
        self.id = storage.create_or_load("s", ["maximize"], metric_names=["auroc"])
        storage.set_budget(self.id, 50)

    def claim(self) -> Attempt:
        self.storage.ensure_slots(self.id, ahead=1)
        attempt = self.storage.claim(self.id, "w")
        assert attempt is not None
        return attempt

    def upload(self, attempt: Attempt) -> dict[str, str]:
        return self.artifacts.put(FILES, attempt.token)

    def complete(self, value: float) -> dict[str, str]:
        attempt = self.claim()
        entries = self.upload(attempt)
        self.storage.finish(attempt, TrialState.COMPLETE, [value], system_attrs=entries)
        return entries

    def stored(self) -> set[str]:
        return {s.key for s in self.artifacts.store.find()}

    def held(self) -> dict[int, list[str]]:
        fresh = open_storage(self.storage.url)
        trials = stage_trials(fresh, "s")
        found = {t.number: sorted(n for n, h in self.artifacts.held(t).items() if h.present) for t in trials}
        fresh.close()
        return found


@pytest.fixture
def lab(place: str, tmp_path: Path, sqlite_template: Path) -> Iterator[Lab]:
    shutil.copy(sqlite_template, tmp_path / "tuner.db")
    storage = open_storage(tmp_path / "tuner.db")
    yield Lab(storage, Artifacts(place))
    storage.close()


def identifiers(entries: dict[str, str]) -> set[str]:
    return {key.removeprefix(PREFIX) for key in entries if key.startswith(PREFIX)}


def test_files_of_an_attempt_that_died_are_collected_and_no_others(lab: Lab) -> None:
    finished = lab.complete(0.5)
    dead = lab.claim()
    lost = lab.upload(dead)
    lab.storage.hand_back(dead, "killed between upload and tell")
    live = lab.claim()  # the same slot again
    assert (live.number, live.attempt) == (dead.number, 2)
    running = lab.upload(live)
    study = lab.artifacts.put({"study.toml": b"name = 's'"})
    foreign = lab.artifacts.put(FILES, str(uuid.uuid4()))  # of another database on the same store
    assert find_leftovers(lab.storage, lab.artifacts, "s") == []  # nothing is older than a minute
    collected = collect_leftovers(lab.storage, lab.artifacts, "s", older_than=-5)
    assert {c.key for c in collected} == identifiers(lost)
    kept = [identifiers(e) for e in (finished, running, study, foreign)]
    assert lab.stored() == set().union(*kept)
    lab.storage.finish(live, TrialState.COMPLETE, [0.6], system_attrs=running)
    assert collect_leftovers(lab.storage, lab.artifacts, "s", older_than=-5) == []
    assert lab.held() == {0: sorted(FILES), 1: sorted(FILES)}


def test_a_file_grows_old_by_the_clock_of_its_folder(tmp_path: Path, sqlite_template: Path) -> None:
    shutil.copy(sqlite_template, tmp_path / "tuner.db")
    lab = Lab(open_storage(tmp_path / "tuner.db"), Artifacts(tmp_path / "a"))
    dead = lab.claim()
    first, *others = sorted(identifiers(lab.upload(dead)))
    lab.storage.fail_attempt(dead, "boom", max_failures=2)
    past = (tmp_path / "a" / first).stat().st_mtime - 61
    os.utime(tmp_path / "a" / first, (past, past))
    assert [s.key for s in find_leftovers(lab.storage, lab.artifacts, "s")] == [first]
    assert lab.stored() == {first, *others}
    lab.storage.close()


def test_a_half_written_file_goes_with_its_attempt(lab: Lab) -> None:
    dead, live = lab.claim(), lab.claim()
    halves = [f"{a.token[:24]}000000000000.{uuid.uuid4().hex}.part" for a in (dead, live)]
    for half in halves:  # what a kill in the middle of a write leaves in a folder
        lab.artifacts.store.write(half, io.BytesIO(b"ha"))
    lab.storage.hand_back(dead, "killed while it wrote")
    assert [s.key for s in collect_leftovers(lab.storage, lab.artifacts, "s", older_than=-5)] == halves[:1]
    assert lab.stored() == {halves[1]}


def test_a_copy_of_a_checkpoint_goes_when_its_slot_has_ended(lab: Lab) -> None:
    stale, running = lab.claim(), lab.claim()
    for attempt in (stale, running):
        lab.artifacts.store.write(f"checkpoints/{attempt.token}", io.BytesIO(b"epoch 3"))
    lab.storage.finish(stale, TrialState.PRUNED, user_attrs={"reason": "loss is nan"})
    collect_leftovers(lab.storage, lab.artifacts, "s", older_than=-5)
    assert lab.stored() == {f"checkpoints/{running.token}"}


def test_deleting_a_study_leaves_nothing_of_it_in_the_store(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.complete(0.5)
    for suffix in (".confirmation", ".controls"):
        stage = lab.storage.create_or_load(f"s{suffix}", ["maximize"], metric_names=["auroc"])
        lab.storage.set_budget(stage, 1)
        lab.storage.ensure_slots(stage, ahead=1)
        orphan = lab.storage.claim(stage, "w")
        assert orphan is not None
        lab.upload(orphan)
        lab.storage.hand_back(orphan, "killed")
    listings, find = [], type(lab.artifacts.store).find
    monkeypatch.setattr(type(lab.artifacts.store), "find", lambda store: listings.append(1) or find(store))
    dead = lab.claim()
    lab.upload(dead)
    lab.artifacts.store.write(f"checkpoints/{dead.token}", io.BytesIO(b"epoch 3"))
    lab.storage.hand_back(dead, "killed")
    foreign = lab.artifacts.put({"other": b"1"})
    texts = lab.artifacts.put({"study.toml": b"name = 's'"})
    for key, value in texts.items():
        lab.storage.set_study_system_attr(lab.id, key, value)
    what = doomed(lab.storage, "s")
    assert len(what.artifacts) == len(FILES) + 1
    delete(lab.storage, what, lab.artifacts, [])
    assert len(listings) == 1, "however many stages it has"
    assert lab.stored() == identifiers(foreign)
    assert lab.storage.get_all_studies() == []


# ------------------------------------------------------------------ quota


def test_a_quota_takes_the_weights_of_the_oldest_dominated_trials_first(lab: Lab) -> None:
    for i in range(14):  # trial 1 is the best; the latest ten keep their files
        lab.complete(0.9 if i == 1 else 0.5 + i / 100)
    values = [t.values for t in stage_trials(lab.storage, "s")]
    set_quota(lab.storage, "s", "14 kB")
    assert enforce_quota(lab.storage, lab.artifacts, "s", candidates=1) == 2000  # 15540 bytes before
    held = lab.held()
    assert held[0] == held[2] == ["filters.svg", "history.tsv"]
    assert all(held[n] == sorted(FILES) for n in held if n not in (0, 2))
    assert [t.values for t in stage_trials(open_storage(lab.storage.url), "s")] == values
    assert enforce_quota(lab.storage, lab.artifacts, "s", candidates=1) == 0


def test_what_is_protected_stays_above_any_quota_and_that_is_said(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    for i in range(13):
        lab.complete(0.9 if i == 1 else 0.5)
    set_quota(lab.storage, "s", "1 kB")
    enforce_quota(lab.storage, lab.artifacts, "s", candidates=0)
    held = lab.held()
    assert held[0] == held[2] == ["history.tsv"]
    assert all(held[n] == sorted(FILES) for n in held if n not in (0, 2))
    assert "11410 bytes above its quota; what is left is protected" in caplog.text


def test_candidates_of_the_confirmation_and_its_runs_keep_their_files(lab: Lab) -> None:
    for _ in range(12):
        lab.complete(0.5)
    confirmation = lab.storage.create_or_load("s.confirmation", ["maximize"], metric_names=["auroc"])
    lab.storage.enqueue(confirmation, {}, {"candidate": 0, "replicate": 0}, once="c", grow=True)
    run = lab.storage.claim(confirmation, "w")
    assert run is not None
    entries = lab.upload(run)
    lab.storage.finish(run, TrialState.COMPLETE, [0.5], system_attrs=entries)
    lab.complete(0.6)  # now trials 1 and 2 are neither best, nor recent, nor candidates
    set_quota(lab.storage, "s", "1 kB")
    enforce_quota(lab.storage, lab.artifacts, "s", candidates=0)
    assert [n for n, files in lab.held().items() if files == ["history.tsv"]] == [1, 2]
    assert identifiers(entries) <= lab.stored()


def test_a_removal_that_was_interrupted_leaves_leftovers_not_lies(lab: Lab) -> None:
    entries = lab.complete(0.5)
    gone = min(identifiers(entries))
    lab.storage.drop_files(lab.id, 0, [gone])  # and then the process was killed
    assert lab.held()[0] == ["filters.svg", "history.tsv"]
    assert list(lab.storage.sizes(lab.id)[0].values()) == [100, 10]
    assert [c.key for c in collect_leftovers(lab.storage, lab.artifacts, "s", older_than=-5)] == [gone]


def test_every_database_keeps_the_same_books(where: str, tmp_path: Path) -> None:
    lab = Lab(open_storage(where), Artifacts(tmp_path / "a"))
    entries = lab.complete(0.5)
    dead = lab.claim()
    lost = identifiers(lab.upload(dead))
    lab.storage.hand_back(dead, "killed")
    assert [(o.attempt, o.ended, o.finished) for o in lab.storage.owners(lab.id)] == [(1, True, True), (1, True, False)]
    assert lab.storage.slot_tokens(dead.trial_id) == {dead.token: 1}
    assert {c.key for c in collect_leftovers(lab.storage, lab.artifacts, "s", older_than=-5)} == lost
    assert set(lab.storage.files(lab.id)[0]) == {key for key in entries if key.startswith(PREFIX)}
    gone = min(identifiers(entries))
    lab.storage.drop_files(lab.id, 0, [gone])
    assert set(lab.storage.files(lab.id)[0]) == {PREFIX + i for i in identifiers(entries) - {gone}}
    assert list(lab.storage.sizes(lab.id)[0].values()) == [100, 10]
    lab.storage.close()


def test_a_quota_can_be_changed_and_taken_away(lab: Lab) -> None:
    for text, size in (("2 GB", 2_000_000_000), ("500 MiB", 500 * 2**20), (None, 500 * 2**20), ("none", None)):
        set_quota(lab.storage, "s", text, default="1 TB")
        assert lab.storage.get_study_system_attrs(lab.id)["tuner:quota"] == size
    assert json.dumps(lab.storage.get_study_system_attrs(lab.id))
    assert enforce_quota(lab.storage, lab.artifacts, "s", candidates=1) == 0


@pytest.mark.parametrize("text", ["", "much", "-1 GB", "0", "2 GX"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(StudyError, match="is not a size; write a number and a unit"):
        read_bytes(text)
