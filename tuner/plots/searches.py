"""Static figures of the course of a search: best value so far, importance of settings, parallel coordinates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from tuner.plots.figures import INK, QUIET, RULE, SERIES, default_style, new_figure, tidy

MAP = "cividis"  # looks alike with every common form of colour blindness


class Axis(NamedTuple):
    """Axis of one setting: the position of each trial on it, and its ticks.

    Attributes
    ----------
    name : str
        Name of the setting or value.
    places : tuple of float or None
        Positions in [0, 1], one per trial; None if a trial lacks the setting.
    ticks : tuple of (float, str)
        Position and text of each tick.
    """

    name: str
    places: tuple[float | None, ...]
    ticks: tuple[tuple[float, str], ...]


def parallel_axes(rows: Sequence[Mapping[str, object]]) -> tuple[Axis, ...]:
    """Scale settings to [0, 1]: numbers by value (by logarithm from two decades on), others by the rank of their text.

    Parameters
    ----------
    rows : sequence of mapping
        One per trial, name -> value; settings that do not vary are left out.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    return tuple(axis for name in names if (axis := _axis(name, [row.get(name) for row in rows])) is not None)


def _axis(name: str, values: Sequence[object]) -> Axis | None:
    known = [v for v in values if v is not None]
    if len({repr(v) for v in known}) < 2:
        return None
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in known):
        scale = np.array([np.nan if v is None else float(str(v)) for v in values])
        low, high = float(np.nanmin(scale)), float(np.nanmax(scale))
        if low > 0 and high / low >= 100:
            places = np.log(scale / low) / np.log(high / low)
        else:
            places = (scale - low) / ((high - low) or 1.0)
        return Axis(name, tuple(None if np.isnan(p) else float(p) for p in places), ((0, _tick(low)), (1, _tick(high))))
    texts = sorted({str(v) for v in known})
    at = {text: i / max(len(texts) - 1, 1) for i, text in enumerate(texts)}
    return Axis(name, tuple(None if v is None else at[str(v)] for v in values), tuple((p, t) for t, p in at.items()))


def _tick(value: float) -> str:
    return f"{value:.3g}"


def shorten(text: str, most: int = 18) -> str:
    """Shorten a text that would overlap its neighbours."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


@default_style()
def draw_history(numbers: Sequence[int], best: Mapping[str, Sequence[float | None]]) -> Figure:
    """Draw the best value so far of each objective, one panel per objective.

    Parameters
    ----------
    numbers : sequence of int
        Trial numbers, ascending.
    best : mapping of str to sequence of float or None
        Best value so far of each objective; None before the first completed trial.
    """
    figure = new_figure(6.4, 0.6 + 1.5 * max(len(best), 1))
    panels = figure.subplots(max(len(best), 1), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, values), colour in zip(panels, best.items(), SERIES * len(best), strict=False):
        tidy(axes)
        axes.step(numbers, [np.nan if v is None else v for v in values], where="post", color=colour, linewidth=1.8)
        axes.set_ylabel(shorten(name), fontsize=9, color=INK)
    panels[-1].set_xlabel("trial", fontsize=9, color=INK)
    return figure


@default_style()
def draw_importance(importance: Mapping[str, Mapping[str, float]]) -> Figure:
    """Draw how much of each objective's variance each setting explains, largest first."""
    names = list(dict.fromkeys(name for values in importance.values() for name in values))
    names.sort(key=lambda n: -max(values.get(n, 0.0) for values in importance.values()))
    figure = new_figure(6.4, 1.0 + 0.34 * max(len(names), 1))
    axes = figure.add_subplot()
    tidy(axes)
    axes.grid(axis="y", visible=False)
    thick = 0.8 / max(len(importance), 1)
    for i, ((objective, values), colour) in enumerate(zip(importance.items(), SERIES * 9, strict=False)):
        places = np.arange(len(names)) + (i + 0.5) * thick - 0.4
        widths = [values.get(n, 0.0) for n in names]
        axes.barh(places, widths, thick * 0.9, color=colour, label=shorten(objective, 40))
    axes.set_yticks(range(len(names)), labels=[shorten(n, 30) for n in names], fontsize=9)
    axes.invert_yaxis()
    axes.set_xlabel("share of the variance explained", fontsize=9, color=INK)
    if importance:
        axes.legend(fontsize=8.5, frameon=False, loc="lower right", labelcolor=INK)
    return figure


@default_style()
def draw_parallel(axes_of: Sequence[Axis], shades: Sequence[float]) -> Figure:
    """Draw each trial as a line through its settings, shaded by its first objective.

    Parameters
    ----------
    axes_of : sequence of Axis
        From left to right.
    shades : sequence of float
        In [0, 1], one per trial; a lighter line is better.
    """
    figure = new_figure(max(6.4, 0.95 * len(axes_of)), 3.8)
    axes = figure.add_subplot()
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    axes.set_yticks([])
    colours = colormaps[MAP]
    for trial in np.argsort(np.asarray(shades)):
        places = [np.nan if (p := axis.places[trial]) is None else p for axis in axes_of]
        axes.plot(range(len(axes_of)), places, color=colours(shades[trial]), linewidth=1.2, alpha=0.8, clip_on=False)
    for i, axis in enumerate(axes_of):
        axes.axvline(i, color=RULE, linewidth=1, zorder=0)
        for place, text in axis.ticks:
            axes.text(i + 0.04, place, shorten(text, 12), fontsize=7, color=QUIET, va="center")
    names = [shorten(a.name) for a in axes_of]
    axes.set_xticks(range(len(axes_of)), labels=names, fontsize=8, rotation=30, ha="right", color=INK)
    axes.tick_params(length=0)
    return figure
