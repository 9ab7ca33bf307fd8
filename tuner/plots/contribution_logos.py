"""What a network reads in single sequences: contribution logos of both strands, and what was planted there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tuner.plots.figures import INK, QUIET, RULE, new_figure
from tuner.plots.logos import draw_logo, information_heights


class Stretch(NamedTuple):
    """A stretch of one sequence.

    Attributes
    ----------
    title : str
        Line above it.
    heights : np.ndarray, shape=(4, width)
        Contributions to the logit, forward strand.
    truth : np.ndarray, shape=(4, width), or None
        Probabilities it was drawn from, where they are known.
    """

    title: str
    heights: np.ndarray
    truth: np.ndarray | None = None


def draw_contribution_logos(stretches: Sequence[Stretch]) -> Figure:
    """Draw each stretch forward and reverse complement, ground truth beneath where there is one.

    Parameters
    ----------
    stretches : sequence of Stretch
        From top to bottom, on one scale; may be empty.

    Returns
    -------
    matplotlib.figure.Figure
        One axes a logo.
    """
    rows = [(s, kind) for s in stretches for kind in ("forward", "reverse", "truth") if kind != "truth" or _known(s)]
    figure = new_figure(9.0, max(1.0, 0.95 * len(rows)))
    if not rows:
        return figure
    low = min(float(np.minimum(s.heights, 0).sum(axis=0).min(initial=0)) for s in stretches)
    high = max(float(np.maximum(s.heights, 0).sum(axis=0).max(initial=1e-9)) for s in stretches)
    panels = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    for axes, (stretch, kind) in zip(panels, rows, strict=True):
        if kind == "truth" and stretch.truth is not None:
            _panel(axes, information_heights(stretch.truth), 0.0, 2.0, "truth (bits)")
            continue
        heights = stretch.heights if kind == "forward" else stretch.heights[::-1, ::-1]
        _panel(axes, heights, low, high, "forward" if kind == "forward" else "reverse\ncomplement")
        if kind == "forward":
            axes.set_title(stretch.title, fontsize=8.5, loc="left", color=INK, pad=3)
    return figure


def _known(stretch: Stretch) -> bool:
    return stretch.truth is not None


def _panel(axes: Axes, heights: np.ndarray, low: float, high: float, label: str) -> None:
    axes.set_xlim(0, heights.shape[1])
    axes.set_ylim(low, high)
    axes.axhline(0, color=RULE, linewidth=0.8)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.spines["left"].set_color(RULE)
    axes.set_xticks([])
    axes.tick_params(labelsize=6.5, color=RULE, labelcolor=QUIET, length=2)
    axes.set_ylabel(label, fontsize=7, color=QUIET, rotation=0, ha="right", va="center")
    draw_logo(axes, heights)
