"""Importance of hyperparameters: what decides an objective is found, and why there is none is said."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pytest

from tuner.report import collect
from tuner.report.collect import best_so_far, importance
from tuner.report.measure import kept_epoch

FLOAT, OBJECTIVES = optuna.distributions.FloatDistribution(0, 1), ["auroc", "loss"]


def study(n: int, values: Any, names: Sequence[str] = OBJECTIVES) -> Any:
    """A stored search over x, which decides `values`, and y, which does not; as `importance` reads it."""
    rng, storage = np.random.default_rng(0), optuna.storages.InMemoryStorage()
    directions = ["maximize", "minimize"][: len(names)]
    made = optuna.create_study(storage=storage, study_name="s", directions=directions)
    for x, y in rng.random((n, 2)):
        params = {"x": float(x), "y": float(y)}
        made.add_trial(optuna.create_trial(params=params, distributions=dict.fromkeys(params, FLOAT), values=values(x)))
    plan = SimpleNamespace(study=SimpleNamespace(objectives=list(names)))
    return SimpleNamespace(name="s", storage=storage, bench=SimpleNamespace(plan=plan)), made.trials


def test_the_parameter_that_decides_is_found_for_each_direction() -> None:
    found, words = importance(*study(60, lambda x: [x, 1 - x]))
    assert [found[o]["x"] > 0.9 for o in OBJECTIVES] == [True, True]
    assert words.startswith("fANOVA over 60 completed trials; parameters that not every trial has, and those below")
    assert all("y" not in shares for shares in found.values())


def test_noise_explains_nothing() -> None:
    """Values that no parameter decides: fANOVA gives all the importance there is to the parameters, by chance."""
    rng, named = np.random.default_rng(5), 0
    for _ in range(6):
        found, words = importance(*study(40, lambda x: [float(rng.random())], ["auroc"]))
        named += bool(found)
        assert found or "no parameter decides auroc more than chance does" in words
    assert named <= 3  # the largest of 5 dealt ones is exceeded in about 1 of 6 cases


def test_a_study_of_one_objective_has_its_importance() -> None:
    found, _ = importance(*study(60, lambda x: [x], ["auroc"]))
    assert list(found) == ["auroc"]
    assert found["auroc"]["x"] > 0.9


def test_why_there_is_none_is_said() -> None:
    assert importance(*study(29, lambda x: [x, x])) == (
        {},
        "Not computed: 29 completed trials; at least 30 are needed.",
    )
    found, words = importance(*study(40, lambda x: [x, 0.5]))
    assert list(found) == ["auroc"]
    assert words.endswith("Not computed: loss is the same in all trials.")


def test_of_many_trials_a_sample_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "MOST_FOR_IMPORTANCE", 40)
    found, words = importance(*study(60, lambda x: [x, 1 - x]))
    assert "fANOVA over 40 of 60 completed trials, drawn at random" in words
    assert found["loss"]["x"] > 0.9


def test_the_best_so_far_falls_where_smaller_is_better() -> None:
    _, trials = study(20, lambda x: [x, x])
    points = best_so_far(trials, OBJECTIVES)
    xs = [t.params["x"] for t in trials]
    assert [p.best["auroc"] for p in points] == [max(xs[: i + 1]) for i in range(20)]
    assert [p.best["loss"] for p in points] == [min(xs[: i + 1]) for i in range(20)]


@pytest.mark.parametrize(
    ("params", "recipe", "kept"), [({}, "best", 4), ({}, "last", 9), ({"weights": "last"}, "best", 9)]
)
def test_the_epoch_of_the_weights_is_marked(params: dict[str, str], recipe: str, kept: int) -> None:
    plan = SimpleNamespace(recipe=SimpleNamespace(weights=recipe))
    run = SimpleNamespace(params=params, user_attrs={"best_epoch": 4})
    assert kept_epoch(SimpleNamespace(bench=SimpleNamespace(plan=plan)), run, 9) == kept  # type: ignore[arg-type]
