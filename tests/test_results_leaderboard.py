"""What a study declares: front, candidates, primary trial, hypervolume."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial
from scipy import special, stats

from tuner.results import words
from tuner.results.confirmation import confirmed, declare, rank_confirmed
from tuner.results.leaderboard import choose_candidates, hypervolume, leaderboard, pareto_numbers
from tuner.storage.keys import FOLDS, WITHOUT_GROUPS

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import claims

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


def test_confirmation_intervals_are_student_t_in_the_logit_and_count_collapsed_runs() -> None:
    summary = confirmed(runs({7: [0.90, 0.92, None, 0.91]}))[0]
    half = stats.t.ppf(0.975, 2) * stats.sem([0.90, 0.92, 0.91]) / (0.91 * 0.09)
    expected = special.expit([special.logit(0.91) - half, special.logit(0.91) + half])
    assert (summary.low["auroc"], summary.high["auroc"]) == pytest.approx(tuple(expected))
    assert summary.mean["auroc"] == pytest.approx(0.91)
    assert summary.collapsed == 1
    unbounded = confirmed(runs({7: [3.0, 4.0, 5.0]}, "distinct"))[0]
    assert (unbounded.low["distinct"], unbounded.high["distinct"]) == pytest.approx(
        stats.t.interval(0.95, 2, loc=4, scale=stats.sem([3, 4, 5]))
    )


def test_two_runs_have_a_mean_and_no_interval() -> None:
    summary = confirmed(runs({7: [0.90, 0.92]}))[0]
    assert summary.mean["auroc"] == pytest.approx(0.91)
    assert math.isnan(summary.low["auroc"])
    assert words.mean(summary, "auroc") == "0.9100"


def with_groups(values: dict[int, list[float]], spread: dict[int, list[float]]) -> list[FrozenTrial]:
    """Runs whose values without each group are the value plus `spread` of their candidate."""
    made = runs({n: list(v) for n, v in values.items()})
    for t in made:
        groups = [t.values[0] + s for s in spread[t.user_attrs["candidate"]]]
        t.user_attrs[WITHOUT_GROUPS] = {"auroc": groups}
    return made


def test_a_lead_is_judged_by_seeds_and_sequences_together() -> None:
    values = {1: [0.80, 0.81, 0.82], 2: [0.90, 0.911, 0.92]}
    apart = {1: [0.0] * 10, 2: [-0.003, 0.003] * 5}
    verdict = declare(confirmed(with_groups(values, apart)), "auroc")
    assert verdict is not None
    seeds = (np.var(values[1], ddof=1) + np.var(values[2], ddof=1)) / 3
    sequences = 0.9 * sum(s * s for s in apart[2])
    factor = (stats.t.ppf(0.975, 4) * seeds + stats.t.ppf(0.975, 9) * sequences) / (seeds + sequences)
    half = factor * math.sqrt(seeds + sequences)
    assert (verdict.primary, verdict.runner_up, verdict.over) == (2, 1, "seeds and sequences")
    assert (verdict.low, verdict.high) == pytest.approx((verdict.lead - half, verdict.lead + half))
    assert verdict.distinguishable
    far = declare(confirmed(with_groups(values, apart | {1: [-0.03, 0.03] * 5})), "auroc")
    assert far is not None
    assert not far.distinguishable, "on other sequences the other one may lead"


def test_what_an_older_version_stored_declares_but_distinguishes_nothing() -> None:
    verdict = declare(confirmed(runs({1: [0.80, 0.81, 0.82], 2: [0.90, 0.911, 0.92]})), "auroc")
    assert verdict is not None
    assert (verdict.primary, verdict.distinguishable) == (2, False)
    assert "whose interval is unknown: the version that made the study" in words.primary(verdict, "auroc")
    matched = declare(confirmed(runs({1: [0.1, 0.11, 0.12], 2: [0.3, 0.31, 0.33]}, "match_fraction")), "match_fraction")
    assert matched is not None
    assert (matched.over, matched.distinguishable) == ("seeds alone", True)  # no sequence of validation decides it
    assert "over seeds alone" in words.primary(matched, "match_fraction")


def test_runs_that_do_not_vary_tell_nothing_of_their_spread() -> None:
    verdict = declare(confirmed(runs({1: [0.03, 0.03], 2: [0.06, 0.06]}, "match_fraction")), "match_fraction")
    assert verdict is not None
    assert not verdict.distinguishable
    equal = confirmed(runs({1: [0.03, 0.03, 0.03]}, "match_fraction"))[0]
    assert words.mean(equal, "match_fraction") == "0.0300"  # an interval of no width would claim certainty


def test_folds_are_corrected_for_the_sequences_that_their_trainings_share() -> None:
    made = runs({1: [0.80, 0.81, 0.82, 0.79, 0.80], 2: [0.90, 0.92, 0.91, 0.88, 0.91]})
    for t in made:
        t.user_attrs[FOLDS] = 5
    verdict = declare(confirmed(made), "auroc")
    assert verdict is not None
    pairs = np.array([0.10, 0.11, 0.09, 0.09, 0.11])
    error = math.sqrt(pairs.var(ddof=1) * (1 / 5 + 1 / 4))  # Nadeau & Bengio 2003: 1/k + test over training
    assert verdict.over == "folds"
    assert verdict.high - verdict.lead == pytest.approx(stats.t.ppf(0.975, 4) * error)


@pytest.mark.slow
def test_equal_candidates_are_called_ahead_in_at_most_six_of_a_hundred_studies() -> None:
    """Simulated with 490 sequences and the spread over seeds that trainings have; 400 studies."""
    rng, ahead = np.random.default_rng(0), 0
    for _ in range(400):
        world = claims.make_world(rng, 245, 245, 0.1)
        models = {n: world.candidate(1.81) for n in range(2)}
        verdict = declare(confirmed(claims.retrain(world, models, 2)), "auroc")
        assert verdict is not None
        ahead += verdict.distinguishable
    assert ahead <= 0.06 * 400


@pytest.mark.slow
def test_the_corrected_interval_holds_the_truth_and_the_mean_is_optimistic() -> None:
    """30 trials, 5 candidates, 5 seeds, equally good: the choice is nothing but luck."""
    rng = np.random.default_rng(0)
    found = [claims.study(rng, 30, 5, 5, 1.81, 0.0) for _ in range(120)]
    assert np.mean([s.mean - s.truth for s in found]) > 0.01
    assert abs(np.mean([s.verdict.corrected - s.truth for s in found])) < 0.008
    covers = np.mean([s.verdict.corrected_low <= s.truth <= s.verdict.corrected_high for s in found])
    assert covers >= 0.93 - 2 * math.sqrt(0.93 * 0.07 / 120)


def test_of_a_minimised_objective_the_smallest_is_first_everywhere() -> None:
    found = trials([(0.5,), (0.3,), None, (0.4,)])
    assert [r.number for r in leaderboard(found, ["loss"])] == [1, 3, 0, 2]
    assert pareto_numbers(found, ["loss"]) == {1}
    assert choose_candidates(found, ["loss"], 2) == [1, 3]
    made = runs({0: [0.60, 0.62], 1: [0.40, 0.41], 3: [0.50, 0.53], 7: [None]}, "loss")
    for t in made:
        t.user_attrs[WITHOUT_GROUPS] = {"loss": [t.user_attrs.get("loss", 0.0) + 1e-4 * i for i in range(10)]}
    candidates = confirmed(made)
    assert [c.candidate for c in rank_confirmed(candidates, "loss")] == [1, 3, 0]
    verdict = declare(candidates, "loss")
    assert verdict is not None
    assert (verdict.primary, verdict.runner_up, verdict.distinguishable) == (1, 3, True)
    assert 0 < verdict.low < verdict.lead < verdict.high
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
