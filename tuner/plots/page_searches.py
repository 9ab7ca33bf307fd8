"""Figures of the course of a search for a web page: as in `tuner.plots.searches`, with hover texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import plotly.graph_objects as go
from matplotlib import colormaps
from matplotlib.colors import to_hex

from tuner.plots.figures import SERIES
from tuner.plots.pages import hover
from tuner.plots.searches import MAP, Axis, shorten


def interactive_history(numbers: Sequence[int], best: Mapping[str, Sequence[float | None]]) -> go.Figure:
    """Draw the best value of each objective so far; the hover text names trial and value."""
    figure = go.Figure()
    for i, (name, values) in enumerate(best.items()):
        axis = "" if i == 0 else str(i + 1)
        figure.add_scatter(
            x=list(numbers), y=list(values), yaxis=f"y{axis}", mode="lines+markers", name=escape(name),
            line={"shape": "hv", "color": SERIES[i % len(SERIES)]}, marker={"size": 4},
        )  # fmt: skip
        low, high = 1 - (i + 1) / len(best), 1 - i / len(best)
        figure.update_layout(
            {f"yaxis{axis}": {"domain": [low + 0.03, high - 0.03], "title": escape(shorten(name)), "automargin": True}}
        )
    last = "y" if len(best) < 2 else f"y{len(best)}"
    figure.update_layout(xaxis={"title": "trial", "anchor": last}, showlegend=False, height=150 + 140 * len(best))
    return figure


def interactive_importance(importance: Mapping[str, Mapping[str, float]]) -> go.Figure:
    """Draw how much of each objective's variance each setting explains."""
    names = list(dict.fromkeys(name for values in importance.values() for name in values))
    names.sort(key=lambda n: max(values.get(n, 0.0) for values in importance.values()))
    figure = go.Figure()
    for i, (objective, values) in enumerate(importance.items()):
        figure.add_bar(
            x=[values.get(n, 0.0) for n in names], y=[escape(n) for n in names], orientation="h",
            name=escape(objective), marker={"color": SERIES[i % len(SERIES)]},
            hovertemplate="%{y}: %{x:.1%}<extra></extra>",
        )  # fmt: skip
    figure.update_layout(
        barmode="group", xaxis={"title": "share of the variance explained", "rangemode": "tozero"},
        yaxis={"automargin": True}, height=120 + 26 * len(names), legend={"orientation": "h", "y": 1.08},
    )  # fmt: skip
    return figure


def interactive_parallel(
    axes: Sequence[Axis], shades: Sequence[float], rows: Sequence[tuple[int, Mapping[str, float], Mapping[str, object]]]
) -> go.Figure:
    """Draw each trial as a line through its settings; the hover text shows all of them.

    Plotly's own parallel coordinates are not used because they need WebGL and cannot be printed.

    Parameters
    ----------
    axes : sequence of Axis
        From left to right.
    shades : sequence of float
        In [0, 1], one per trial.
    rows : sequence of (number, values, settings)
        Contents of the hover text of each trial.
    """
    figure = go.Figure()
    colours = colormaps[MAP]
    for trial in sorted(range(len(rows)), key=lambda i: shades[i]):
        figure.add_scatter(
            x=list(range(len(axes))), y=[axis.places[trial] for axis in axes], mode="lines+markers",
            line={"color": to_hex(colours(shades[trial])), "width": 1.6}, marker={"size": 4}, opacity=0.85,
            text=[hover(*rows[trial])] * len(axes), hoverinfo="text", showlegend=False,
        )  # fmt: skip
    notes = [
        {"x": i, "y": place, "text": escape(shorten(text, 12)), "showarrow": False, "xanchor": "left", "xshift": 3,
         "font": {"size": 10}}
        for i, axis in enumerate(axes) for place, text in axis.ticks
    ]  # fmt: skip
    figure.update_layout(
        annotations=notes, hovermode="closest", height=420, yaxis={"visible": False, "range": [-0.06, 1.06]},
        xaxis={"tickvals": list(range(len(axes))), "ticktext": [escape(shorten(a.name)) for a in axes],
               "range": [-0.2, len(axes) - 0.4], "automargin": True},
    )  # fmt: skip
    return figure
