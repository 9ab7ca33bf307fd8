"""Draws the Pareto front for a web page: the same figure as in `tuner.plots.fronts`, with hover texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import plotly.graph_objects as go

from tuner.plots.figures import BLUE, GREEN, VERMILION
from tuner.plots.fronts import (
    ConfirmedTrial,
    FrontTrial,
    Objective,
    axis_names,
    axis_title,
    coordinate,
    front_line,
    groups,
    intervals,
)


def interactive_front(
    objectives: Sequence[Objective],
    trials: Sequence[FrontTrial],
    *,
    confirmed: Sequence[ConfirmedTrial] = (),
    baselines: Mapping[str, Mapping[str, float]] | None = None,
    title: str = "",
) -> go.Figure:
    """Draw the figure of `draw_pareto_front` with plotly; the hover text shows values and settings of a trial."""
    names = axis_names(objectives)
    figure = go.Figure()
    if len(objectives) > 1 and (line := front_line(objectives, trials)).size:
        style = {"color": BLUE, "width": 1.5}
        figure.add_scatter(x=line[:, 0], y=line[:, 1], mode="lines", line=style, showlegend=False, hoverinfo="skip")
    for group in groups(trials):
        figure.add_scatter(
            x=[coordinate(t, names[0]) for t in group.trials],
            y=[coordinate(t, names[1]) for t in group.trials],
            mode="markers",
            name=group.label,
            text=[hover(t["number"], t["values"], t.get("params", {})) for t in group.trials],
            hoverinfo="text",
            marker={
                "color": group.colour,
                "size": group.size**0.5 * 1.5,
                "opacity": group.alpha,
                "symbol": group.page_marker,
            },
        )
    for primary, label, symbol in ((False, "confirmed mean", "square"), (True, "primary trial", "star")):
        chosen = [c for c in confirmed if bool(c.get("primary")) is primary]
        if not chosen:
            continue
        means, below, above = intervals(names, chosen)
        bars = [
            {
                "type": "data",
                "symmetric": False,
                "array": above[:, i],
                "arrayminus": below[:, i],
                "thickness": 1.2,
            }
            for i in (0, 1)
        ]
        figure.add_scatter(
            x=means[:, 0], y=means[:, 1], error_x=bars[0], error_y=bars[1], mode="markers", name=label,
            text=[hover(c["number"], c["means"]) for c in chosen], hoverinfo="text",
            marker={"color": VERMILION, "size": 14 if primary else 9, "symbol": symbol},
        )  # fmt: skip
    for vertical, name in zip((True, False), names, strict=True):
        for label, value in (baselines or {}).get(name, {}).items():
            add = figure.add_vline if vertical else figure.add_hline
            add(
                value,
                line={"color": GREEN, "dash": "dash", "width": 1},
                annotation_text=f"{label} {value:.3g}",
            )
    figure.update_layout(
        title=title,
        template="plotly_white",
        xaxis_title=axis_title(names[0], objectives),
        yaxis_title=axis_title(names[1], objectives),
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
        height=460,
    )
    return figure


def hover(number: int, values: Mapping[str, float], params: Mapping[str, object] | None = None) -> str:
    """Describe a trial in a hover text; plotly reads it as HTML, so all names and settings are escaped."""
    lines = [f"<b>trial {number}</b>", *(f"{escape(name)} {value:.4g}" for name, value in values.items())]
    return "<br>".join([*lines, *(f"<i>{escape(name)}</i> {escape(_short(v))}" for name, v in (params or {}).items())])


def _short(value: object) -> str:
    """Format a setting in at most 40 characters."""
    text = f"{value:.3g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
