"""Rungs of a real search: one row a trial and rung, one decision for all attempts, the same on every database."""

from __future__ import annotations

import os
import re
import signal
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.trial import Trial, TrialState
from storage_backends import (
    CONTEXT,
    enter_as_many,
    join,
    start,
)
from test_cli_kill import start as run
from test_cli_kill import workers_of
from test_search_worker import Station, StopAt, measured
from tiny import STUDY, load_tiny, write_study
from waiting import wait_for

from tuner.errors import AttemptSuperseded, StudyError
from tuner.results.leaderboard import choose_candidates, leaderboard, stage_trials
from tuner.search.early_stopping import signs
from tuner.search.loaded import Bench
from tuner.storage.rungs import Entry
from tuner.storage.storage import FencedStorage, open_storage
from tuner.study.file import read_study
from tuner.study.plan import plan_source, restore_plan
from tuner.study.stopping import StoppingSection, replay

pytestmark = pytest.mark.slow

RULE = StoppingSection(rungs=[1, 2], eta=2, minimum=2)
BOTH = {"a": 1.0, "b": 1.0}
STOPPING = STUDY.replace("startup = 3", "startup = 3\nstopping = { rungs = [1, 2], eta = 2, minimum = 2 }").replace(
    "trials = 6", "trials = 8"
)


def claimed(storage: FencedStorage, study_id: int) -> Trial:
    attempt = storage.claim(study_id, "w")
    assert attempt is not None
    return Trial(optuna.load_study(study_name="s", storage=storage), attempt.trial_id)


def make_study(where: str, budget: int) -> tuple[FencedStorage, int]:
    storage = open_storage(where)
    study_id = storage.create_or_load("s", ["maximize", "maximize"], metric_names=["a", "b"])
    storage.set_budget(study_id, budget)
    storage.ensure_slots(study_id, ahead=budget)
    return storage, study_id


def decisions(log: list[Entry]) -> list[tuple[object, ...]]:
    return [(e.trial, e.rung, e.place, e.values, e.exempt, e.decision) for e in log]


def test_the_first_decision_of_a_slot_stands_for_every_attempt(where: str) -> None:
    storage, study_id = make_study(where, 3)
    for value in (0.5, 0.9):
        storage.enter_rung(claimed(storage, study_id), 1, {"a": value, "b": value}, signs=BOTH, decide=RULE.decide)
    trial = claimed(storage, study_id)
    assert storage.known_rung(trial, 1) is None
    first = storage.enter_rung(trial, 1, {"a": 0.1, "b": 0.1}, signs=BOTH, decide=RULE.decide)
    assert (first.goes_on, first.reason) == (False, "epoch 1: place 3 of 3 by mean place; the best 2 go on")
    again = storage.enter_rung(trial, 1, {"a": 1.0, "b": 1.0}, signs=BOTH, decide=RULE.decide)
    assert again == first == storage.known_rung(trial, 1)
    assert [(e.place, e.values) for e in storage.rung_log(study_id)] == [
        (1, {"a": 0.5, "b": 0.5}), (2, {"a": 0.9, "b": 0.9}), (3, {"a": 0.1, "b": 0.1}),
    ]  # fmt: skip
    storage.close()


def test_a_trial_that_was_given_to_another_worker_decides_nothing(where: str) -> None:
    storage, study_id = make_study(where, 1)
    attempt = storage.claim(study_id, "lost")
    assert attempt is not None
    lost = Trial(optuna.load_study(study_name="s", storage=storage), attempt.trial_id)
    other = open_storage(where)
    other.hand_back(attempt, "its machine was lost")
    with pytest.raises(AttemptSuperseded, match="its rung 1 is not stored"):
        storage.enter_rung(lost, 1, {"a": 0.5, "b": 0.5}, signs=BOTH, decide=RULE.decide)
    assert storage.rung_log(study_id) == []
    other.enter_rung(claimed(other, study_id), 1, {"a": 0.7, "b": 0.7}, signs=BOTH, decide=RULE.decide)
    assert [e.values["a"] for e in storage.rung_log(study_id)] == [0.7]
    for opened in (storage, other):
        opened.close()


def test_racing_workers_decide_one_after_the_other(where: str) -> None:
    storage, study_id = make_study(where, 24)
    barrier = CONTEXT.Barrier(4)
    join([start(enter_as_many, where, barrier, seed) for seed in range(4)])
    log = storage.rung_log(study_id)
    assert [e.place for e in log if e.rung == 1] == list(range(1, 25))
    assert {e.decision.goes_on for e in log} == {True, False}
    assert replay(log, RULE, BOTH) == [e.decision for e in log]
    passed = {e.trial for e in log if e.rung == 1 and e.decision.goes_on}
    assert {e.trial for e in log if e.rung == 2} == passed
    storage.close()


def test_rungs_vanish_with_their_study(where: str) -> None:
    storage, study_id = make_study(where, 1)
    storage.enter_rung(claimed(storage, study_id), 1, {"a": 0.5, "b": 0.5}, signs=BOTH, decide=RULE.decide)
    plain = optuna.storages.RDBStorage(storage.url)
    optuna.delete_study(study_name="s", storage=plain)
    with plain.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM tuner_rungs").scalar() == 0
    plain.engine.dispose()
    storage.close()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return load_tiny(tmp_path_factory.mktemp("tiny"), study=STOPPING)


@pytest.fixture(scope="module")
def search(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Station:
    station = Station(tmp_path_factory.mktemp("search"), bench)
    assert station.work()
    return station


def check_log(storage: FencedStorage, rule: StoppingSection) -> list[Entry]:
    """Every decision follows from the log, and every trial ended as it was decided."""
    log, trials = storage.rung_log(storage.get_study_id_from_name("tiny")), stage_trials(storage, "tiny")
    assert replay(log, rule, signs(["auroc", "match_fraction"])) == [e.decision for e in log]
    assert len({(e.trial, e.rung) for e in log}) == len(log)
    for trial in trials:
        mine = [e for e in log if e.trial == trial.number]
        if trial.state == TrialState.PRUNED:
            assert [e.decision.goes_on for e in mine] == [True] * (len(mine) - 1) + [False]
            assert trial.user_attrs["reason"] == f"stopped at {mine[-1].decision.reason}"
            assert trial.user_attrs["stopped_at"] == trial.user_attrs["epochs"] == mine[-1].rung
            assert {k: trial.user_attrs[k] for k in mine[-1].values} == mine[-1].values
        else:
            assert trial.state == TrialState.COMPLETE
            assert [e.decision.goes_on for e in mine] == [True] * len(rule.rungs)
    return log


def test_a_search_stops_trials_with_a_reason_and_ends_with_its_budget(search: Station) -> None:
    log = check_log(search.storage, RULE)
    states = [t.state for t in search.trials()]
    assert len(states) == 8
    assert {TrialState.PRUNED, TrialState.COMPLETE} == set(states)
    late = {"match_null", "match_excess", "used_match_fraction"}  # no objectives here: measured at the end alone
    for trial in search.trials():
        assert late & trial.user_attrs.keys() == (late if trial.state == TrialState.COMPLETE else set())
        assert "distinct" in trial.user_attrs
    assert [e.trial for e in log if e.exempt] == [0, 0]  # the warm start, at both rungs
    assert not list((search.folder / "checkpoints").rglob("*.safetensors"))


def test_a_stopped_trial_is_no_candidate_and_keeps_its_learning_curve(search: Station) -> None:
    trials, objectives = search.trials(), ["auroc", "match_fraction"]
    stopped = [t for t in trials if t.state == TrialState.PRUNED]
    assert not set(choose_candidates(trials, objectives, 8)) & {t.number for t in stopped}
    rows = {r.number: r for r in leaderboard(trials, objectives)}
    for trial in stopped:
        assert rows[trial.number].values == {}
        assert not rows[trial.number].pareto
        assert rows[trial.number].reason.startswith("stopped at epoch")
        lines = search.artifacts.get(trial, "history.tsv").splitlines()
        assert len(lines) == 1 + trial.user_attrs["stopped_at"]


def test_trials_that_go_on_are_what_they_are_without_rungs(search: Station, bench: Bench, tmp_path: Path) -> None:
    section = bench.plan.study.search.model_copy(update={"stopping": None})
    study = bench.plan.study.model_copy(update={"search": section})
    whole = Station(tmp_path, bench._replace(plan=replace(bench.plan, study=study, trials=3)))
    whole.work()
    kept = [t.number for t in search.trials()[:3] if t.state == TrialState.COMPLETE]
    assert kept[:2] == [0, 1]
    assert measured([whole.trials()[n] for n in kept]) == measured([search.trials()[n] for n in kept])


def test_a_search_stopped_at_a_rung_and_resumed_equals_the_undisturbed_one(
    search: Station, bench: Bench, tmp_path: Path
) -> None:
    stopped = Station(tmp_path, bench)
    # The checks of the first trial: before training, and behind each of its epochs. Epoch 1 is a rung: its
    # checkpoint is written, its decision is not.
    assert not stopped.work(StopAt(1))
    assert stopped.storage.rung_log(1) == []
    assert len(list((tmp_path / "checkpoints" / "tiny").rglob("0.1.*.safetensors"))) == 1
    stopped.work()
    assert decisions(stopped.storage.rung_log(1)) == decisions(search.storage.rung_log(1))
    assert measured(stopped.trials()) == measured(search.trials())


def test_an_attempt_without_its_checkpoint_obeys_what_was_decided_before(search: Station, bench: Bench) -> None:
    """The row of the trial's rung is there, the result is not: as if the worker had died in between."""
    storage, stopped = search.storage, next(t for t in search.trials() if t.state == TrialState.PRUNED)
    before = decisions(storage.rung_log(1))

    def reopen(connection) -> None:  # type: ignore[no-untyped-def]
        connection.exec_driver_sql(f"UPDATE trials SET state = 'WAITING' WHERE trial_id = {stopped._trial_id}")

    storage._backend.write(reopen)
    again = Station(search.folder, bench)
    again.work()
    trial = again.trials()[stopped.number]
    assert len(again.storage.attempts(stopped._trial_id)) == 2
    assert measured([trial]) == measured([stopped])
    assert decisions(again.storage.rung_log(1)) == before


def test_another_rule_is_another_study(search: Station, bench: Bench) -> None:
    section = bench.plan.study.search.model_copy(update={"stopping": RULE.model_copy(update={"eta": 3.0})})
    plan = replace(bench.plan, study=bench.plan.study.model_copy(update={"search": section}))
    with pytest.raises(StudyError, match=r"another stopping: eta 2.0 -> 3.0"):
        Station(search.folder, bench._replace(plan=plan)).work()
    assert restore_plan(plan_source(plan)).study.search.stopping == section.stopping


def test_a_grid_cannot_be_stopped(tmp_path: Path) -> None:
    path = write_study(tmp_path, study=STOPPING.replace("[search]", '[search]\nsampler = "grid"'))
    with pytest.raises(StudyError, match="a grid runs every point to its end; leave stopping out"):
        read_study(path)


def test_decisions_of_two_workers_that_are_killed_follow_from_the_log(tmp_path: Path) -> None:
    write_study(tmp_path, study=STOPPING.replace("trials = 8", "trials = 10"))
    storage = open_storage(tmp_path / "tuner.db")
    command = run(tmp_path, "--storage", "tuner.db")

    def rows(at_least: int) -> bool:
        known = [s.study_name for s in optuna.get_all_study_summaries(storage)]
        return "tiny" in known and len(storage.rung_log(storage.get_study_id_from_name("tiny"))) >= at_least

    wait_for(lambda: rows(3))
    next(iter(workers_of(command.pid).values())).kill()
    wait_for(lambda: rows(7))
    workers = workers_of(command.pid)
    for process in (command.pid, *(w.pid for w in workers.values())):
        os.kill(process, signal.SIGKILL)
    command.wait()
    again = run(tmp_path, "--storage", "tuner.db")
    assert again.wait(timeout=180) == 0, (tmp_path / "run.log").read_text()
    log = check_log(storage, RULE)
    assert len(stage_trials(storage, "tiny")) == 10
    assert {e.decision.goes_on for e in log} == {True, False}
    text = "".join(p.read_text() for p in tmp_path.glob("runs/logs/tiny/worker-*.log"))
    assert re.search(r"tiny trial \d: attempt 2", text)
    assert len({e.trial for e in log}) == 10
    storage.close()
