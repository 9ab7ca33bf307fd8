"""The checker of histories finds each kind of violation that is planted, and none where there is none."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from benchmarks.history import (
    Database,
    Recorded,
    Run,
    Slot,
    Study,
    check,
    open_recorded,
    open_test_split,
    read_database,
    read_log,
    write,
)
from tuner.errors import AttemptSuperseded
from tuner.storage.artifacts import Artifacts

ROOT = Path(__file__).parents[1]


def live(folder: Path) -> tuple[Recorded, str]:
    """A real study of two slots, one of which was run twice, with two openings and a superseded attempt."""
    storage = open_recorded(f"sqlite:///{folder}/tuner.db", folder / "log")
    study_id = storage.create_or_load("s", ["maximize"])
    storage.set_budget(study_id, 2)
    storage.ensure_slots(study_id, ahead=2)
    study = storage.join("s")
    first = storage.claim(study_id, "a")
    assert first is not None
    storage.beat(first, {"epoch": 1})
    storage.hand_back(first, "asked to")
    for value in (0.5, 0.6):
        attempt = storage.claim(study_id, "b")
        assert attempt is not None
        entries = Artifacts(folder / "artifacts").put({"f": b"x"}, attempt.token)
        storage.finish(attempt, TrialState.COMPLETE, [value], system_attrs=entries)
    with pytest.raises(AttemptSuperseded):
        storage.finish(first, TrialState.COMPLETE, [0.9])
    for _ in range(2):
        open_test_split(storage, "s", study)
    return storage, study


def test_a_sound_history_has_no_violation(tmp_path: Path) -> None:
    storage, _ = live(tmp_path)
    there = read_database(storage, Artifacts(tmp_path / "artifacts"))
    assert check(read_log(tmp_path / "log"), there, {"s": 2}) == []
    storage.close()
    command = [sys.executable, ROOT / "benchmarks" / "history.py", tmp_path / "log", tmp_path / "tuner.db"]
    command += ["--artifacts", tmp_path / "artifacts", "--budget"]
    good = subprocess.run([*command, "s=2"], capture_output=True, text=True, timeout=300)
    assert (good.returncode, good.stdout.split(", ")[-1]) == (0, "0 violations\n"), good.stderr
    write(tmp_path / "log", "opened", study=_id_of(tmp_path), key="never stored")
    bad = subprocess.run([*command, "s=2"], capture_output=True, text=True, timeout=300)
    assert bad.returncode == 1
    assert "1 openings of the test split are not on record" in bad.stderr


def _id_of(folder: Path) -> str:
    return str(next(e["study"] for e in read_log(folder / "log") if e["event"] == "claim"))


# A small sound history to plant in: one study, two slots, slot 0 run twice.
KEY, OTHER = "i" * 32, "o" * 32


def told(event: str, token: str, slot: int, attempt: int, **more: Any) -> dict[str, Any]:
    return {"event": event, "study": KEY, "token": token, "slot": slot, "attempt": attempt, **more}


def result(token: str, slot: int, attempt: int, value: float) -> list[dict[str, Any]]:
    how = {"state": "COMPLETE", "values": [value]}
    return [told("claim", token, slot, attempt), *(told(e, token, slot, attempt, **how) for e in ("result", "stored"))]


def history() -> tuple[list[dict[str, Any]], Database]:
    events = [told("claim", "t1", 0, 1), *result("t2", 0, 2, 0.5), *result("t3", 1, 1, 0.6)]
    events += [{"event": e, "study": KEY, "key": "k"} for e in ("opening", "opened")]
    slots = {
        0: Slot("COMPLETE", [0.5], [Run("t1", 1, "reaped", 1.0, 2.0), Run("t2", 2, "complete", 2.0, 3.0)]),
        1: Slot("COMPLETE", [0.6], [Run("t3", 1, "complete", 1.0, 2.0)]),
    }
    return events, Database({KEY: Study("s", 2, slots, ["k"])}, {OTHER, "t1"}, set())


def change_slot(database: Database, number: int, **fields: Any) -> Database:
    study = database.studies[KEY]
    slots = {**study.slots, number: study.slots[number]._replace(**fields)}
    return database._replace(studies={KEY: study._replace(slots=slots)})


def change_study(database: Database, **fields: Any) -> Database:
    return database._replace(studies={KEY: database.studies[KEY]._replace(**fields)})


Plant = Callable[[list[dict[str, Any]], Database], tuple[list[dict[str, Any]], Database]]
TWICE = [Run("t3", 1, "complete", 1.0, 2.0), Run("t4", 2, "complete", 2.0, 3.0)]
PLANTS: dict[str, tuple[Plant, str]] = {
    "a slot completed twice": (lambda e, d: (e, change_slot(d, 1, runs=TWICE)), "completed by 2 attempts"),
    "two told that they completed one slot": (
        lambda e, d: ([*e, *result("t1", 0, 1, 0.4)], d), "2 attempts stored it"),
    "a slot complete by nobody": (lambda e, d: (e, change_slot(d, 1, runs=[])), "completed by 0 attempts"),
    "two attempts at once": (
        lambda e, d: (e, change_slot(d, 0, runs=[d.studies[KEY].slots[0].runs[0]._replace(ended=2.5),
                                                 d.studies[KEY].slots[0].runs[1]])), "were live at once"),
    "another value": (lambda e, d: (e, change_slot(d, 1, values=[0.61])), "never measured"),
    "a result without a claim": (lambda e, d: ([x for x in e if x.get("token") != "t3"], d), "nobody in the log"),
    "a result of one that was no longer live": (
        lambda e, d: (e, change_slot(d, 1, runs=[TWICE[0], TWICE[1]._replace(outcome="reaped")])), "it was not live"),
    "a result that was refused": (
        lambda e, d: ([*e, told("refused", "t3", 1, 1)], d), "was refused and its result is there"),
    "a lost result": (
        lambda e, d: (e, change_slot(d, 1, state="FAIL", values=None, runs=[TWICE[0]._replace(outcome="reaped")])),
        "was told that its result is stored"),
    "a result of a deleted study": (
        lambda e, d: ([{**x, "study": OTHER} if x.get("token") == "t3" else x for x in e], d),
        "belongs to another study"),
    "an attempt at another slot": (
        lambda e, d: ([{**x, "slot": 7} if x.get("token") == "t3" else x for x in e], d), "was claimed as slot 7"),
    "a deleted study that is there": (
        lambda e, d: (e, d._replace(buried={KEY})), "a study that was deleted is there again"),
    "a lost opening": (lambda e, d: (e, change_study(d, openings=[])), "1 openings of the test split are not on"),
    "an invented opening": (lambda e, d: (e, change_study(d, openings=["k", "l"])), "that nobody made"),
    "an opening counted twice": (lambda e, d: (e, change_study(d, openings=["k", "k"])), "on record twice"),
    "a slot too many": (lambda e, d: (e, change_study(d, budget=1)), "2 slots for a budget of 1"),
    "a slot that has not ended": (lambda e, d: (e, change_slot(d, 1, state="RUNNING")), "have not ended"),
    "a file of nobody": (
        lambda e, d: (e, d._replace(files={"ffffffff-ffff-4fff-bfff-ffffffffffff"})), "files belong to no study"),
}  # fmt: skip


def test_what_violations_are_planted_in_is_sound() -> None:
    events, database = history()
    assert check(events, database, {"s": 2}) == []


@pytest.mark.parametrize("kind", PLANTS)
def test_a_planted_violation_is_found(kind: str) -> None:
    plant, expected = PLANTS[kind]
    found = check(*plant(*history()))
    assert any(expected in line for line in found), found
