"""Which trials go on behind a rung: the order, the rule, and the log made over again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.samplers.nsgaii._elite_population_selection_strategy import _calc_crowding_distance
from optuna.study._multi_objective import _fast_non_domination_rank
from optuna.trial import create_trial
from pydantic import ValidationError

from tuner.storage.rungs import Decision, Entry
from tuner.study.dominance import pareto_front, pareto_ranks
from tuner.study.stopping import (
    StoppingSection,
    by_pareto_rank,
    by_places,
    crowding_distances,
    replay,
)

RULE = StoppingSection(rungs=[3, 6], eta=2, minimum=2)
PARETO = RULE.model_copy(update={"order": "pareto"})


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_ranks_are_those_of_optuna_ties_included(objectives: int) -> None:
    rng = np.random.default_rng(objectives)
    for n in (1, 2, 40):
        values = rng.integers(0, 8, (n, objectives)).astype(float)
        expected = _fast_non_domination_rank(-values)
        assert pareto_ranks(values).tolist() == expected.tolist()
        assert pareto_front(values).tolist() == (expected == 0).tolist()


def test_crowding_distances_are_those_of_nsga_ii_in_optuna() -> None:
    x = np.random.default_rng(0).permutation(12) / 7.0
    front = np.stack([x, -(x**2)], axis=1)
    trials = [create_trial(values=list(point)) for point in front]
    for number, trial in enumerate(trials):
        trial.number = number
    expected = _calc_crowding_distance(trials)
    assert crowding_distances(front) == pytest.approx([expected[i] for i in range(12)])


def test_the_copy_of_a_point_comes_last_in_its_front() -> None:
    # 0 and 1 are copies and an end of the front; 3 is the other end; 2 lies between; 4 is dominated.
    assert by_pareto_rank(np.array([[3, 0], [3, 0], [2, 2], [0, 3], [0, 0]])) == [0, 3, 2, 1, 4]


def test_places_are_counted_by_each_objective_and_by_volume() -> None:
    # Places by the first objective 1 2 3 4 5, by the second 5 2 3 4 1; volumes over the worst values 0 and 0 are
    # 0, 3 * 3, 2 * 2, 1 * 1 and 0, so places 4 1 2 3 4: sums 10 5 8 11 10, and of equals the first to come is ahead.
    assert by_places(np.array([[4, 0], [3, 3], [2, 2], [1, 1], [0, 4]])) == [1, 2, 0, 4, 3]
    assert by_places(np.array([[1.0], [3.0], [2.0], [3.0]])) == [1, 3, 2, 0]


@pytest.mark.parametrize("order", [by_places, by_pareto_rank])
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=25), st.integers(0, 10**6))
def test_no_point_is_placed_before_one_that_dominates_it(
    order: Callable[[np.ndarray], list[int]], points: list[tuple[float, float]], seed: int
) -> None:
    placed = order(np.array(points))
    assert sorted(placed) == list(range(len(points)))
    place = {i: p for p, i in enumerate(placed)}
    for i, a in enumerate(points):
        for j, b in enumerate(points):
            if a != b and a[0] >= b[0] and a[1] >= b[1]:
                assert place[i] < place[j]


def test_the_first_trials_of_a_rung_go_on_whatever_they_are_worth() -> None:
    assert RULE.decide(3, [[0.9, 0.9]], [0.1, 0.1], False) == Decision(
        True, "epoch 3: the first 2 trials of a rung go on"
    )
    assert not RULE.decide(3, [[0.9, 0.9], [0.8, 0.8]], [0.1, 0.1], False).goes_on


def test_the_best_share_goes_on_and_the_reason_says_so() -> None:
    before = [[0.9, 0.1], [0.1, 0.9], [0.5, 0.5], [0.4, 0.4], [0.3, 0.3]]
    assert PARETO.decide(6, before, [0.6, 0.6], False) == Decision(
        True, "epoch 6: place 3 of 6 by Pareto rank; the best 3 go on"
    )
    assert PARETO.decide(6, before, [0.45, 0.45], False) == Decision(
        False, "epoch 6: place 4 of 6 by Pareto rank; the best 3 go on"
    )
    # By places [.1, .9] and [.9, .1], whose volume is 0, are no longer ahead of what is good by both.
    assert RULE.decide(6, before, [0.6, 0.6], False) == Decision(
        True, "epoch 6: place 1 of 6 by mean place; the best 3 go on"
    )
    assert RULE.decide(6, before, [0.45, 0.45], False) == Decision(
        True, "epoch 6: place 2 of 6 by mean place; the best 3 go on"
    )
    third = RULE.model_copy(update={"eta": 3.0})
    assert not third.decide(6, before, [0.45, 0.35], False).goes_on
    assert third.decide(6, before, [0.95, 0.95], False).goes_on


def test_a_warm_start_goes_on_and_is_compared_with() -> None:
    before = [[0.9, 0.9], [0.8, 0.8], [0.7, 0.7]]
    assert RULE.decide(3, before, [0.1, 0.1], True) == Decision(True, "epoch 3: warm starts are not stopped")
    assert not RULE.decide(3, before, [0.1, 0.1], False).goes_on


def log(values: list[tuple[float, float]]) -> list[Entry]:
    """What a search would store: auroc is maximised, loss is minimised."""
    entries: list[Entry] = []
    for i, (auroc, loss) in enumerate(values):
        before = [[e.values["auroc"], -e.values["loss"]] for e in entries]
        decision = RULE.decide(3, before, [auroc, -loss], i == 3)
        entries.append(Entry(i, 3, i + 1, {"auroc": auroc, "loss": loss}, i == 3, decision, 0.0))
    return entries


def test_a_log_made_over_again_gives_its_decisions_and_a_changed_one_does_not() -> None:
    entries = log([(0.7, 0.5), (0.8, 0.4), (0.6, 0.6), (0.5, 0.7), (0.9, 0.6), (0.85, 0.3), (0.55, 0.9)])
    signs = {"auroc": 1.0, "loss": -1.0}
    assert {e.decision.goes_on for e in entries} == {True, False}
    assert replay(entries, RULE, signs) == [e.decision for e in entries]
    for changed in (
        [*entries[1:], entries[0]],
        [entries[0]._replace(values={"auroc": 0.1, "loss": 2.0}), *entries[1:]],
        [e._replace(exempt=False) for e in entries],
    ):
        assert replay(changed, RULE, signs) != [e.decision for e in changed]
    assert replay(entries, RULE, {"auroc": 1.0, "loss": 1.0}) != [e.decision for e in entries]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"rungs": [3, 3]}, r"rungs = \[3, 3\] must be epochs in ascending order"),
        ({"rungs": [0, 3]}, r"rungs = \[0, 3\] must be epochs in ascending order, the first of them at least 1"),
        ({"rungs": []}, "at least 1 item"),
        ({"eta": 1.0}, "greater than 1"),
        ({"order": "loneliness"}, "'places' or 'pareto'"),
        ({"minimum": 0}, "greater than or equal to 1"),
        ({"rungs": ["3"]}, "valid integer"),
        ({"reduction": 3}, "Extra inputs are not permitted"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(table: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        StoppingSection(**table)  # type: ignore[arg-type]
