"""Reading of a study by who only looks at it: the same trials, without what is not looked at, and without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from tiny import write_study

from tuner.results.leaderboard import light_trials, pareto_numbers, signed, stage_trials
from tuner.search.stages import join
from tuner.storage.storage import FencedStorage
from tuner.study.directions import OBJECTIVE_DIRECTIONS
from tuner.study.file import read_study
from tuner.study.objectives import OBJECTIVES
from tuner.study.plan import make_plan
from tuner.study.space import read_space

WATCHED = {"average_precision": 0.5, "target_fraction": 0.25, "parameters": 900}


@pytest.fixture
def storage(tmp_path: Path, file_storage: FencedStorage) -> FencedStorage:
    """A study `tiny` with trials in every state."""
    path = write_study(tmp_path, n=20)
    plan = make_plan(read_study(path), read_space(tmp_path / "search_spaces" / "tiny_space.toml"), folder=tmp_path)
    storage = file_storage
    study_id = join(storage, plan, {"made": "here"})
    for i in range(5):
        params = {"activation": ["relu", "exponential"][i % 2], "kernel_size": 7 + i}
        storage.enqueue(study_id, params, {"warm_start": f"start {i}"}, once=str(i), grow=True)
    for i in range(4):
        attempt = storage.claim(study_id, "worker-0")
        assert attempt is not None
        if i == 1:
            storage.finish(attempt, TrialState.PRUNED, None, user_attrs={"reason": "diverged"})
        elif i < 3:
            storage.finish(
                attempt,
                TrialState.COMPLETE,
                [0.5 + i / 9, 0.25],
                user_attrs={**WATCHED, "accuracy": i},
                system_attrs={"a": "b"},
            )
    return storage


def test_a_light_trial_is_the_trial_without_what_was_not_asked_for(storage: FencedStorage) -> None:
    whole, bare = stage_trials(storage, "tiny"), light_trials(storage, "tiny")
    assert [t.state.name for t in bare] == ["COMPLETE", "PRUNED", "COMPLETE", "RUNNING", "WAITING"]
    for one, light in zip(whole, bare, strict=True):
        for name in ("number", "state", "values", "datetime_start", "datetime_complete", "_trial_id"):
            assert getattr(one, name) == getattr(light, name)
        assert light.user_attrs == light.system_attrs == light.params == {}
    some = light_trials(storage, "tiny", ["reason", "accuracy"], ["kernel_size"])
    assert [t.user_attrs for t in some] == [{"accuracy": 0}, {"reason": "diverged"}, {"accuracy": 2}, {}, {}]
    everything = light_trials(storage, "tiny", None, None)
    assert [t.user_attrs for t in everything] == [t.user_attrs for t in whole]
    assert [t.params for t in everything] == [t.params for t in whole]
    few = light_trials(storage, "tiny", ["reason", "accuracy"], ["kernel_size"], [2, 1])
    assert [t.__dict__ for t in few] == [some[i].__dict__ for i in (1, 2)]
    assert light_trials(storage, "another") == []
    storage.close()


def test_the_front_is_what_no_other_trial_dominates() -> None:
    rng = np.random.default_rng(0)
    names = ["auroc", "match_fraction", "parameters"]
    trials: list[FrozenTrial] = [
        create_trial(values=[float(v) for v in row], params={"x": 0.5}, distributions={"x": FloatDistribution(0, 1)})
        for row in rng.integers(0, 8, (300, 3))  # few values: many ties and copies
    ]
    for number, trial in enumerate(trials):
        trial.number = number
    points = {t.number: signed(t, names) for t in trials}
    expected = {
        n for n, p in points.items()
        if not any(q != p and all(b >= a for a, b in zip(p, q, strict=True)) for q in points.values())
    }  # fmt: skip
    assert pareto_numbers(trials, names) == expected


def test_directions_that_are_read_without_torch_are_those_of_the_objectives() -> None:
    assert {name: row.direction for name, row in OBJECTIVES.items()} == OBJECTIVE_DIRECTIONS


@pytest.mark.parametrize("words", [["status"], ["best"], ["best", "--json"], ["show", "--trial", "0"]])
def test_commands_that_only_read_do_not_load_torch(words: list[str], tmp_path: Path, storage: FencedStorage) -> None:
    storage.close()
    script = (
        "import sys; sys.argv = ['tuner', *sys.argv[1:]]\n"
        "from tuner.cli.app import main\n"
        "try: main()\n"
        "except SystemExit as e: sys.exit(9 if 'torch' in sys.modules else e.code)\n"
    )
    command = [sys.executable, "-c", script, *words, "--storage", str(tmp_path / "tuner.db")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
