"""Which trials are reported: the rule, its words, and the record of it."""

from __future__ import annotations

import json

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState, create_trial

from tuner.errors import StudyError
from tuner.report.selection import choose, knee, rank, store_choice, stored_choices
from tuner.results import words
from tuner.results.confirmation import Verdict
from tuner.results.leads import ONE_RUN
from tuner.storage.storage import FencedStorage

BOTH = ["auroc", "match_fraction"]


@pytest.fixture
def storage(file_storage: FencedStorage) -> FencedStorage:
    return file_storage


def plain(storage: FencedStorage) -> optuna.storages.RDBStorage:
    """Optuna's own storage on the same file: it takes trials that nobody ran."""
    return optuna.storages.RDBStorage(str(storage.url))


def search(storage: FencedStorage, points: list[tuple[float, ...] | None], objectives: list[str]) -> None:
    directions = ["minimize" if o == "parameters" else "maximize" for o in objectives]
    storage.create_or_load("s", directions)
    study = optuna.load_study(study_name="s", storage=plain(storage))
    for point in points:
        state = TrialState.COMPLETE if point else TrialState.PRUNED
        study.add_trial(create_trial(state=state, values=list(point) if point else None))


def confirmation(storage: FencedStorage, runs: dict[int, list[tuple[float, ...]]], objectives: list[str]) -> None:
    storage.create_or_load("s.confirmation", ["maximize"] * len(objectives))
    study = optuna.load_study(study_name="s.confirmation", storage=plain(storage))
    for candidate, values in runs.items():
        for replicate, point in enumerate(values):
            attrs = {"candidate": candidate, "replicate": replicate, **dict(zip(objectives, point, strict=True))}
            study.add_trial(create_trial(state=TrialState.COMPLETE, values=list(point), user_attrs=attrs))


def test_the_front_of_the_confirmation_means_is_reported(storage: FencedStorage) -> None:
    search(storage, [(0.95, 0.5), (0.9, 0.1), (0.8, 0.3), (0.7, 0.4)], BOTH)  # trial 0 dominates the search
    # Means: 1 -> (.90, .10), 2 -> (.85, .30), 3 -> (.80, .40), 0 -> (.80, .05), which 1 dominates.
    confirmation(
        storage,
        {
            0: [(0.80, 0.05)] * 2,
            1: [(0.89, 0.1), (0.91, 0.1)],
            2: [(0.85, 0.2), (0.85, 0.4)],
            3: [(0.8, 0.4), (0.8, 0.4)],
        },
        BOTH,
    )
    choice = choose(storage, "s", BOTH)
    assert choice.trials == (1, 3, 2)
    assert choice.roles == ("primary trial, best auroc", "best match_fraction", "knee of the front")
    assert choice.primary == 1
    assert choice.rule.startswith("The Pareto front of the confirmation means (validation): best auroc, ")
    assert choice.words.startswith(
        "Primary trial: 1, not distinguishable from trial 2: lead +0.0500 auroc on validation"
    )
    assert choose(storage, "s", BOTH, most=2).trials == (1, 3)


def test_without_confirmation_the_front_of_the_search_is_reported_and_said_to_be_optimistic(
    storage: FencedStorage,
) -> None:
    search(storage, [(0.9, 0.1), None, (0.5, 0.05), (0.7, 0.4)], BOTH)
    choice = choose(storage, "s", BOTH)
    assert (choice.trials, choice.primary) == ((0, 3), None)
    assert "one seed each: optimistic" in choice.rule
    assert "no trial is declared primary" in choice.words


def test_one_objective_reports_its_best_trial_and_minimised_ones_turn(storage: FencedStorage) -> None:
    search(storage, [(900.0,), (50.0,), (70.0,)], ["parameters"])
    choice = choose(storage, "s", ["parameters"])
    assert (choice.trials, choice.roles) == ((1,), ("best parameters",))
    assert "knee" not in choice.rule


def test_named_trials_replace_the_rule_but_must_be_complete(storage: FencedStorage) -> None:
    search(storage, [(0.9, 0.1), None, (0.5, 0.05)], BOTH)
    assert choose(storage, "s", BOTH, given=[2, 0, 2]).trials == (2, 0)
    with pytest.raises(StudyError, match="trial 1 is pruned"):
        choose(storage, "s", BOTH, given=[1])
    with pytest.raises(StudyError, match="no trial 9 in the search; it has trials 0 to 2"):
        choose(storage, "s", BOTH, given=[9])


def test_a_study_without_a_completed_trial_has_nothing_to_report(storage: FencedStorage) -> None:
    search(storage, [None], BOTH)
    with pytest.raises(StudyError, match="no completed trial yet"):
        choose(storage, "s", BOTH)


def test_nothing_that_is_ranked_is_dominated_and_no_end_of_the_front_is_missing() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        points = {i: tuple(rng.integers(0, 6, 2).tolist()) for i in range(8)}
        ranked = rank(points, BOTH, None)
        for n in ranked:
            a = points[n]
            assert not any(b != a and b[0] >= a[0] and b[1] >= a[1] for b in points.values())
        assert max(points.values(), key=lambda p: p[0])[0] == points[next(iter(ranked))][0]
        assert max(p[1] for p in points.values()) == max(points[n][1] for n in ranked)
        ties = [n for n, p in points.items() if p in {points[r] for r in ranked}]
        assert set(ties) == set(ranked)


def test_the_knee_is_nearest_to_the_best_of_both() -> None:
    # Scaled to the unit square, distances to (1, 1): 1, sqrt(.4^2 + .2^2) = .447, 1.
    assert knee({4: (0.9, 0.0), 5: (0.7, 0.8), 6: (0.4, 1.0)}) == 5
    assert knee({4: (0.9, 1.0)}) == 4


def test_each_new_choice_is_recorded_once_and_the_old_ones_stay(storage: FencedStorage) -> None:
    search(storage, [(0.9, 0.1), (0.5, 0.3)], BOTH)
    choice = choose(storage, "s", BOTH)
    assert store_choice(storage, "s", choice, "2026-01-01") == "2026-01-01"
    assert store_choice(storage, "s", choice, "2026-01-02") == "2026-01-01"
    other = choose(storage, "s", BOTH, given=[1])
    assert store_choice(storage, "s", other, "2026-01-03") == "2026-01-03"
    record = stored_choices(storage, "s")
    assert [(r["when"], r["trials"]) for r in record] == [("2026-01-01", [0, 1]), ("2026-01-03", [1])]
    assert json.dumps(record)


def test_verdicts_that_rest_on_one_run_say_so() -> None:
    assert "fewer than two runs" in words.primary(Verdict(1, 2, 0.1, over=ONE_RUN), "auroc")
    assert "only candidate" in words.primary(Verdict(1, None), "auroc")
