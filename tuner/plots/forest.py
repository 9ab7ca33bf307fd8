"""Forest plots, one row per value with its interval: baselines beside a model, effects of inserted motifs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tuner.plots.figures import BLUE, INK, QUIET, VERMILION, default_style, new_figure, tidy

_LONGEST = 34  # characters in a label


class ForestRow(NamedTuple):
    """One row of a forest plot.

    Attributes
    ----------
    label : str
        Text on the left.
    value : float
        Where the point lies.
    low, high : float or None
        Its interval.
    strong : bool
        Whether the row is highlighted as the subject of the figure.
    second : float or None
        Second value of the row, drawn as a hollow point.
    """

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    strong: bool = False
    second: float | None = None


@default_style()
def draw_forest(
    rows: Sequence[ForestRow], *, axis: str, zero: float, zero_label: str, first: str = "", second: str = ""
) -> Figure:
    """Draw the value, interval and second value of each row, with a line at no effect.

    Parameters
    ----------
    rows : sequence of ForestRow
        From top to bottom; may be empty.
    axis : str
        Name and unit of the values.
    zero : float
        Value that means no effect, e.g. an AUROC of 1/2.
    zero_label : str
        Label of the line at that value.
    first, second : str
        Legend of filled and of hollow points; without both there is no legend.
    """
    figure = new_figure(6.4, 0.9 + 0.3 * max(len(rows), 1))
    axes = figure.add_subplot()
    tidy(axes)
    axes.grid(axis="y", visible=False)
    axes.axvline(zero, color=QUIET, linewidth=1, linestyle=(0, (4, 3)))
    axes.annotate(
        zero_label, (zero, 1), xycoords=("data", "axes fraction"), xytext=(0, 3), textcoords="offset points",
        ha="center", fontsize=8, color=QUIET,
    )  # fmt: skip
    for place, row in enumerate(rows):
        colour = VERMILION if row.strong else BLUE
        if row.second is not None:
            axes.plot([row.value, row.second], [place, place], color=colour, linewidth=0.8, alpha=0.6, zorder=2)
            axes.plot([row.second], [place], "o", markersize=6.5, color=colour, markerfacecolor="white", zorder=3)
        if row.low is not None and row.high is not None:
            axes.plot([row.low, row.high], [place, place], color=colour, linewidth=2.2, zorder=2)
        axes.plot([row.value], [place], "o", markersize=6.5, color=colour, zorder=4)
    labels = [row.label if len(row.label) <= _LONGEST else f"{row.label[: _LONGEST - 1]}…" for row in rows]
    axes.set_yticks(range(len(rows)), labels=labels, fontsize=9)
    axes.set_ylim(max(len(rows), 1) - 0.5, -0.6)
    axes.set_xlabel(axis, fontsize=9, color=INK)
    if first and second:
        dots = [
            Line2D([], [], color=INK, marker="o", linestyle="", markerfacecolor=face, label=label)
            for face, label in ((INK, first), ("white", second))
        ]
        figure.legend(handles=dots, loc="outside lower center", ncols=2, fontsize=8.5, frameon=False, labelcolor=INK)
    return figure
