"""What a study declares: front, candidates, primary trial, hypervolume."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial
from scipy import stats

from tuner.results.leaderboard import (
    choose_candidates,
    confirmed,
    declare,
    hypervolume,
    leaderboard,
    pareto_numbers,
    rank_confirmed,
)

BOTH = ["auroc", "match_fraction"]


def trials(points: Sequence[tuple[float, ...] | None]) -> list[FrozenTrial]:
    made = []
    for number, point in enumerate(points):
        state = TrialState.COMPLETE if point else TrialState.PRUNED
        trial = create_trial(state=state, values=list(point) if point else None)
        trial.number = number
        made.append(trial)
    return made


def runs(values: dict[int, list[float | None]], objective: str = "auroc") -> list[FrozenTrial]:
    made = []
    for candidate, scores in values.items():
        for replicate, score in enumerate(scores):
            state = TrialState.PRUNED if score is None else TrialState.COMPLETE
            attrs = {"candidate": candidate, "replicate": replicate}
            if score is not None:
                attrs |= {objective: score}
            made.append(create_trial(state=state, values=None if score is None else [score], user_attrs=attrs))
    return made


def test_the_front_is_what_nobody_dominates() -> None:
    found = trials([(0.9, 0.1), (0.8, 0.3), (0.85, 0.05), None, (0.9, 0.1), (0.7, 0.3)])
    assert pareto_numbers(found, BOTH) == {0, 1, 4}


def test_a_minimised_objective_turns_the_front() -> None:
    found = trials([(0.9, 100.0), (0.9, 50.0), (0.8, 10.0)])
    assert pareto_numbers(found, ["auroc", "parameters"]) == {1, 2}


def test_candidates_are_the_best_then_the_front_then_the_next_best() -> None:
    found = trials([(0.90, 0.0), (0.89, 0.0), (0.88, 0.0), (0.80, 0.4), (0.70, 0.5), (0.87, 0.0), None])
    assert choose_candidates(found, BOTH, 5) == [0, 1, 2, 4, 3]
    assert choose_candidates(found, BOTH, 1) == [0]
    assert sorted(choose_candidates(found, BOTH, 99)) == [0, 1, 2, 3, 4, 5]
    assert choose_candidates(trials([None]), BOTH, 5) == []


def test_confirmation_intervals_are_student_t_and_count_collapsed_runs() -> None:
    summary = confirmed(runs({7: [0.90, 0.92, None, 0.91]}))[0]
    expected = stats.t.interval(0.95, 2, loc=0.91, scale=stats.sem([0.90, 0.92, 0.91]))
    assert (summary.low["auroc"], summary.high["auroc"]) == pytest.approx(expected)
    assert summary.mean["auroc"] == pytest.approx(0.91)
    assert summary.collapsed == 1


def test_a_lead_below_two_paired_standard_errors_is_not_distinguishable() -> None:
    verdict = declare(confirmed(runs({1: [0.90, 0.91, 0.92], 2: [0.91, 0.90, 0.915]})), "auroc")
    assert verdict is not None
    assert (verdict.primary, verdict.runner_up, verdict.distinguishable) == (1, 2, False)
    clear = declare(confirmed(runs({1: [0.80, 0.81, 0.82], 2: [0.90, 0.911, 0.92]})), "auroc")
    assert clear is not None
    assert (clear.primary, clear.distinguishable) == (2, True)
    differences = np.array([0.10, 0.101, 0.10])
    assert clear.standard_error == pytest.approx(differences.std(ddof=1) / math.sqrt(3))


def test_of_a_minimised_objective_the_smallest_is_first_everywhere() -> None:
    found = trials([(0.5,), (0.3,), None, (0.4,)])
    assert [r.number for r in leaderboard(found, ["loss"])] == [1, 3, 0, 2]
    assert pareto_numbers(found, ["loss"]) == {1}
    assert choose_candidates(found, ["loss"], 2) == [1, 3]
    candidates = confirmed(runs({0: [0.60, 0.62], 1: [0.40, 0.41], 3: [0.50, 0.53], 7: [None]}, "loss"))
    assert [c.candidate for c in rank_confirmed(candidates, "loss")] == [1, 3, 0]
    verdict = declare(candidates, "loss")
    assert verdict is not None
    assert (verdict.primary, verdict.runner_up, verdict.distinguishable) == (1, 3, True)
    assert verdict.lead == pytest.approx(0.11), "a lead is positive where smaller is better, too"


def test_one_run_each_declares_but_distinguishes_nothing() -> None:
    verdict = declare(confirmed(runs({1: [0.9], 2: [0.8]})), "auroc")
    assert verdict is not None
    assert (verdict.primary, verdict.distinguishable) == (1, False)
    assert declare([], "auroc") is None


def test_hypervolume_equals_a_count_of_grid_cells() -> None:
    points = [(0.9, 0.1), (0.8, 0.3), (0.6, 0.5), (0.4, 0.9)]
    n = 400
    covered = sum(
        any(0.5 + 0.5 * (i + 0.5) / n < a and (j + 0.5) / n < m for a, m in points)
        for i, j in itertools.product(range(n), range(n))
    )
    grid = covered / n**2 * 0.5
    assert hypervolume(trials(list(points)), BOTH, (0.5, 0.0)) == pytest.approx(grid, abs=2e-3)
    assert hypervolume(trials([None]), BOTH, (0.5, 0.0)) == 0.0
