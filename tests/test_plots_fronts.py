"""Pareto fronts: the staircase, what is marked, and the same content on paper and page."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.plots.fronts import (
    ConfirmedTrial,
    FrontTrial,
    Objective,
    draw_pareto_front,
    front_line,
    pareto_front,
)
from tuner.plots.pages import interactive_front

AUROC: Objective = {"name": "auroc", "direction": "maximize"}
MATCHES: Objective = {"name": "match_fraction", "direction": "maximize"}
SIZE: Objective = {"name": "parameters", "direction": "minimize"}


def a_study() -> list[FrontTrial]:
    points = [(0.88, 0.0), (0.90, 0.125), (0.92, 0.0625), (0.85, 0.0), (0.92, 0.0625)]
    return [
        {
            "number": number,
            "values": {"auroc": x, "match_fraction": y},
            "pareto": number in (1, 2, 4),
            "warm_start": number < 2,
        }
        for number, (x, y) in enumerate(points)
    ]


CONFIRMED: list[ConfirmedTrial] = [
    {
        "number": number,
        "means": {"auroc": 0.90, "match_fraction": 0.05},
        "low": {"auroc": 0.89, "match_fraction": 0.02},
        "high": {"auroc": 0.92, "match_fraction": 0.06},
        "primary": number == 2,
    }
    for number in (1, 2)
]
BASELINES = {"auroc": {"6-mer": 0.885, "GC": 0.55}}


def trials_at(points: list[tuple[int, int]], x: Objective, y: Objective) -> list[FrontTrial]:
    """Trials at these points; a point is on the front if no other is at least as good in both."""
    signs = [1 if objective["direction"] == "maximize" else -1 for objective in (x, y)]
    scores = [(p[0] * signs[0], p[1] * signs[1]) for p in points]

    def beaten(a: tuple[int, int]) -> bool:
        return any(b != a and b[0] >= a[0] and b[1] >= a[1] for b in scores)

    return [
        {"number": i, "values": {x["name"]: p[0], y["name"]: p[1]}, "pareto": not beaten(scores[i])}
        for i, p in enumerate(points)
    ]


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), min_size=1, max_size=20))
def test_the_area_under_the_staircase_is_what_the_trials_dominate(points: list[tuple[int, int]]) -> None:
    line = front_line([AUROC, MATCHES], trials_at(points, AUROC, MATCHES))
    under = np.trapezoid(line[:, 1], line[:, 0]) + line[0, 0] * line[0, 1]
    cells = {(i, j) for x, y in points for i in range(x) for j in range(y)}  # unit squares counted one by one
    assert under == len(cells)


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), min_size=1, max_size=20))
def test_a_minimised_objective_mirrors_the_staircase(points: list[tuple[int, int]]) -> None:
    line = front_line([AUROC, MATCHES], trials_at(points, AUROC, MATCHES))
    right = front_line([AUROC, SIZE], trials_at([(x, -y) for x, y in points], AUROC, SIZE))
    np.testing.assert_array_equal(right * [1, -1], line)
    left = front_line([SIZE, AUROC], trials_at([(-x, y) for x, y in points], SIZE, AUROC))
    np.testing.assert_array_equal(left[::-1] * [-1, 1], line)


def test_a_picture_marks_front_warm_starts_candidates_and_baselines() -> None:
    figure = draw_pareto_front([AUROC, MATCHES], a_study(), confirmed=CONFIRMED, baselines=BASELINES, title="zbed2")
    (axes,) = figure.axes
    groups = ["trial", "warm start", "Pareto front", "confirmed mean", "primary trial"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == groups
    assert (axes.get_xlabel(), axes.get_ylabel()) == (
        "auroc (higher is better)",
        "match_fraction (higher is better)",
    )
    labels = [text.get_text() for text in axes.texts]
    assert {"#1", "#2, #4", "6-mer 0.885"} <= set(labels)
    assert "outside the axes: GC 0.55" in labels
    assert axes.get_xlim()[0] > 0.8


def test_many_trials_on_the_front_are_left_without_numbers() -> None:
    points = [(i, 20 - i) for i in range(20)]
    (axes,) = draw_pareto_front([AUROC, MATCHES], trials_at(points, AUROC, MATCHES)).axes
    assert [text.get_text() for text in axes.texts] == []


def test_lower_is_better_is_said() -> None:
    (axes,) = draw_pareto_front([AUROC, SIZE], trials_at([(1, 2)], AUROC, SIZE)).axes
    assert axes.get_ylabel() == "parameters (lower is better)"


@pytest.mark.parametrize("objectives", [[AUROC], [AUROC, MATCHES]])
@pytest.mark.parametrize("n", [0, 1, 5])
def test_a_study_of_any_size_is_a_picture_and_a_page(objectives: list[Objective], n: int) -> None:
    trials = a_study()[:n]
    assert pareto_front(objectives, trials, confirmed=CONFIRMED[:n]).startswith(b"\x89PNG\r\n\x1a\n")
    assert "plotly" in interactive_front(objectives, trials).to_html(include_plotlyjs="cdn")


def test_a_study_without_a_finished_trial_says_so() -> None:
    (axes,) = draw_pareto_front([AUROC, MATCHES], []).axes
    assert [text.get_text() for text in axes.texts] == ["no trial finished"]


def test_a_single_objective_is_drawn_by_trial_number() -> None:
    (axes,) = draw_pareto_front([AUROC], a_study()).axes
    assert axes.get_xlabel() == "trial"
    spots = np.concatenate([np.asarray(group.get_offsets()) for group in axes.collections])
    assert {(3.0, 0.85), (0.0, 0.88)} <= {(float(x), float(y)) for x, y in spots}


def test_the_page_shows_the_same_groups_as_the_picture() -> None:
    figure = interactive_front([AUROC, MATCHES], a_study(), confirmed=CONFIRMED, baselines=BASELINES)
    traces = {trace.name: trace for trace in figure.data if trace.name}
    assert list(traces) == ["trial", "warm start", "Pareto front", "confirmed mean", "primary trial"]
    assert list(traces["Pareto front"].text) == [
        f"<b>trial {n}</b><br>auroc 0.92<br>match_fraction 0.0625" for n in (2, 4)
    ]
    np.testing.assert_allclose(traces["primary trial"].error_x.array, [0.02])
    np.testing.assert_allclose(traces["primary trial"].error_x.arrayminus, [0.01])
    np.testing.assert_allclose(traces["primary trial"].error_y.arrayminus, [0.03])
    assert {note.text for note in figure.layout.annotations} == {"6-mer 0.885", "GC 0.55"}
