"""Draws the Pareto front of a study as a figure; `tuner.plots.pages` draws the same for a web page.

The input is plain data in the form of ``tuner best --json``, so it does not depend on how trials are stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple, NotRequired, TypedDict

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tuner.plots.figures import BLUE, GREEN, INK, ORANGE, QUIET, VERMILION, default_style, new_figure, png, svg, tidy

_MOST_LABELS = 12  # more numbers than this on one front would overlap


class Objective(TypedDict):
    """Name and direction of an objective."""

    name: str
    direction: str  # "maximize" or "minimize"


class FrontTrial(TypedDict):
    """A finished trial: its objective values, and whether it is on the front or a warm start."""

    number: int
    values: Mapping[str, float]
    pareto: bool
    warm_start: NotRequired[bool]
    params: NotRequired[Mapping[str, object]]


class ConfirmedTrial(TypedDict):
    """A candidate retrained with new seeds: mean and interval of each objective."""

    number: int
    means: Mapping[str, float]
    low: Mapping[str, float]
    high: Mapping[str, float]
    primary: NotRequired[bool]


def pareto_front(
    objectives: Sequence[Objective],
    trials: Sequence[FrontTrial],
    *,
    confirmed: Sequence[ConfirmedTrial] = (),
    baselines: Mapping[str, Mapping[str, float]] | None = None,
    title: str = "",
) -> bytes:
    """Render `draw_pareto_front` as PNG."""
    return png(svg(draw_pareto_front(objectives, trials, confirmed=confirmed, baselines=baselines, title=title)))


@default_style()
def draw_pareto_front(
    objectives: Sequence[Objective],
    trials: Sequence[FrontTrial],
    *,
    confirmed: Sequence[ConfirmedTrial] = (),
    baselines: Mapping[str, Mapping[str, float]] | None = None,
    title: str = "",
) -> Figure:
    """Scatter the first two objectives of a study; with a single objective, its values by trial number.

    Parameters
    ----------
    objectives : sequence of Objective
        In the order of the study.
    trials : sequence of FrontTrial
        Complete trials.
    confirmed : sequence of ConfirmedTrial
        Drawn as means with bars for their intervals.
    baselines : mapping of objective name to mapping of label to value
        Drawn as lines across the axis of that objective.
    title : str
        Line above the axes.

    Returns
    -------
    matplotlib.figure.Figure
        One axes.
    """
    figure = new_figure(6.8, 5.0)
    axes = figure.add_subplot()
    tidy(axes)
    if title:
        axes.set_title(title, fontsize=11, color=INK, loc="left", weight="bold", pad=30 if baselines else 8)
    names = axis_names(objectives)
    for axis, name in zip((axes.xaxis, axes.yaxis), names, strict=True):
        axis.set_label_text(axis_title(name, objectives), fontsize=9, color=INK)
    if len(objectives) == 1:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _scatter(axes, names, objectives, trials)
    _shifts(axes, names, trials, confirmed)
    _interval_bars(axes, names, confirmed)
    _baseline_lines(axes, names, baselines or {})
    if trials or confirmed:
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(
            handles,
            labels,
            loc="outside lower center",
            ncols=5,
            fontsize=8,
            frameon=False,
            labelcolor=INK,
            columnspacing=1.2,
            handletextpad=0.4,
        )
    else:
        axes.text(0.5, 0.5, "no trial finished", transform=axes.transAxes, ha="center", color=QUIET)
    return figure


def axis_names(objectives: Sequence[Objective]) -> tuple[str, str]:
    """Name the x axis and the y axis; a single objective is drawn against the trial number."""
    if len(objectives) == 1:
        return "trial", objectives[0]["name"]
    return objectives[0]["name"], objectives[1]["name"]


def axis_title(name: str, objectives: Sequence[Objective]) -> str:
    """Return the title of an axis, with the better direction except for the trial number."""
    directions = {o["name"]: o["direction"] for o in objectives}
    if name not in directions:
        return name
    return f"{name} ({'higher' if directions[name] == 'maximize' else 'lower'} is better)"


def coordinate(trial: FrontTrial, name: str) -> float:
    """Return the position of a trial along an axis."""
    return float(trial["number"]) if name == "trial" and name not in trial["values"] else trial["values"][name]


class Group(NamedTuple):
    """Trials that are drawn with the same marker."""

    label: str
    trials: list[FrontTrial]
    marker: str  # matplotlib's name
    page_marker: str  # plotly's
    colour: str
    size: float  # points squared
    alpha: float


def groups(trials: Sequence[FrontTrial]) -> list[Group]:
    """Group the trials by their marker; empty groups are left out."""
    warm = [t for t in trials if t.get("warm_start")]
    plain = [t for t in trials if not t.get("warm_start")]
    groups = [
        Group("trial", [t for t in plain if not t["pareto"]], "o", "circle", QUIET, 26, 0.55),
        Group("warm start", warm, "D", "diamond", ORANGE, 38, 1.0),
        Group("Pareto front", [t for t in plain if t["pareto"]], "o", "circle", BLUE, 46, 1.0),
    ]
    return [group for group in groups if group.trials]


def _scatter(axes: Axes, names: tuple[str, str], objectives: Sequence[Objective], trials: Sequence[FrontTrial]) -> None:
    if len(objectives) > 1:
        line = front_line(objectives, trials)
        axes.plot(*line.T, color=BLUE, linewidth=1.2, alpha=0.7, zorder=2)
    for group in groups(trials):
        points = np.array([[coordinate(t, name) for name in names] for t in group.trials])
        axes.scatter(
            points[:, 0], points[:, 1], s=group.size, marker=group.marker, color=group.colour,
            alpha=group.alpha, label=group.label, zorder=3, edgecolors="white", linewidths=0.7,
        )  # fmt: skip
    front = [t for t in trials if t["pareto"]]
    ringed = np.array([[coordinate(t, name) for name in names] for t in front if t.get("warm_start")])
    if len(ringed):
        axes.scatter(ringed[:, 0], ringed[:, 1], s=95, facecolors="none", edgecolors=BLUE, linewidths=1.3, zorder=3)
    if len(front) <= _MOST_LABELS:
        _number(axes, names, front)


def _number(axes: Axes, names: tuple[str, str], front: Sequence[FrontTrial]) -> None:
    """Write the trial numbers beside the points; trials at the same position share one label."""
    spots: dict[tuple[float, float], list[int]] = {}
    for trial in front:
        spots.setdefault((coordinate(trial, names[0]), coordinate(trial, names[1])), []).append(trial["number"])
    for spot, numbers in spots.items():
        axes.annotate(
            ", ".join(f"#{n}" for n in sorted(numbers)),
            spot,
            xytext=(6, 5),
            textcoords="offset points",
            fontsize=7.5,
            color=INK,
            zorder=5,
        )


def front_line(objectives: Sequence[Objective], trials: Sequence[FrontTrial]) -> np.ndarray:
    """Trace the staircase that separates what the Pareto trials attain from what none of them attains.

    Parameters
    ----------
    objectives : sequence of Objective
        The first two are used.
    trials : sequence of FrontTrial
        Only those with ``pareto`` are used.

    Returns
    -------
    np.ndarray, shape=(2 * n - 1, 2)
        Corners from the smallest to the largest first objective; (0, 2) without Pareto trials.
    """
    x, y = objectives[0], objectives[1]
    front = sorted({(t["values"][x["name"]], t["values"][y["name"]]) for t in trials if t["pareto"]})
    corners: list[tuple[float, float]] = []
    for point, after in pairwise(front):
        # The corner of a step is a point that both trials attain.
        corner = (point[0], after[1]) if x["direction"] == "maximize" else (after[0], point[1])
        corners += [point, corner]
    corners += front[-1:]
    return np.array(corners, dtype=np.float64).reshape(-1, 2)


def intervals(names: tuple[str, str], confirmed: Sequence[ConfirmedTrial]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the means and the lengths of their bars below and above, each of shape=(n, 2)."""
    rows = [[[c[key].get(n, c["number"]) for n in names] for c in confirmed] for key in ("means", "low", "high")]
    means, low, high = np.array(rows, dtype=np.float64)
    return means, np.maximum(means - low, 0), np.maximum(high - means, 0)


def _shifts(
    axes: Axes, names: tuple[str, str], trials: Sequence[FrontTrial], confirmed: Sequence[ConfirmedTrial]
) -> None:
    """Join each candidate's search result to its confirmed mean; the length shows the optimism of the search."""
    found = {trial["number"]: trial for trial in trials}
    for candidate in confirmed:
        if candidate["number"] in found:
            start = [coordinate(found[candidate["number"]], name) for name in names]
            end = [candidate["means"].get(name, candidate["number"]) for name in names]
            axes.plot(*zip(start, end, strict=True), ":", color=VERMILION, linewidth=1.0, zorder=2)


def _interval_bars(axes: Axes, names: tuple[str, str], confirmed: Sequence[ConfirmedTrial]) -> None:
    for primary, label, marker, size in (
        (False, "confirmed mean", "s", 5.5),
        (True, "primary trial", "*", 12),
    ):
        group = [c for c in confirmed if bool(c.get("primary")) is primary]
        if not group:
            continue
        means, below, above = intervals(names, group)
        axes.errorbar(
            means[:, 0], means[:, 1], xerr=[below[:, 0], above[:, 0]], yerr=[below[:, 1], above[:, 1]],
            fmt=marker, color=VERMILION, markersize=size, markeredgecolor="white", markeredgewidth=0.7,
            elinewidth=1.1, capsize=2.5, label=label, zorder=4,
        )  # fmt: skip
        for candidate, spot in zip(group, means, strict=True):
            axes.annotate(
                f"#{candidate['number']}",
                (spot[0], spot[1]),
                xytext=(6, -11),
                textcoords="offset points",
                fontsize=7.5,
                color=VERMILION,
                zorder=5,
            )


def _baseline_lines(axes: Axes, names: tuple[str, str], baselines: Mapping[str, Mapping[str, float]]) -> None:
    """Draw a line per baseline; one far from every trial is only named, as it would compress the scale."""
    far = []
    for vertical, name in zip((True, False), names, strict=True):
        low, high = axes.get_xlim() if vertical else axes.get_ylim()
        reach, last, raised = 0.35 * (high - low), -np.inf, False
        for label, value in sorted(baselines.get(name, {}).items(), key=lambda item: item[1]):
            if axes.collections and not low - reach <= value <= high + reach:
                far.append(f"{label} {value:.3g}")
                continue
            draw = axes.axvline if vertical else axes.axhline
            draw(value, color=GREEN, linewidth=1.1, linestyle=(0, (4, 3)), zorder=1)
            raised = not raised and value - last < 0.2 * (high - low)
            last = value
            axes.annotate(
                f"{label} {value:.3g}",
                (value, 1.0) if vertical else (1.0, value),
                xycoords=("data", "axes fraction") if vertical else ("axes fraction", "data"),
                xytext=(0, 13 if raised else 3) if vertical else (-2, 3),
                textcoords="offset points",
                ha="center" if vertical else "right",
                fontsize=7.5,
                color=GREEN,
            )
    if far:
        axes.text(
            0.01, 0.985, f"outside the axes: {', '.join(far)}", transform=axes.transAxes, va="top",
            fontsize=7.5, color=GREEN,
        )  # fmt: skip
