"""Pictures of a data set before training: chromosomes of the splits, composition, and where a motif lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from tuner.plots.figures import BLUE, INK, QUIET, SERIES, VERMILION, default_style, new_figure, tidy

Values = npt.NDArray[np.float64]


class Shares(NamedTuple):
    """Shares of two classes, or of one, in bins.

    Attributes
    ----------
    label : str
        Of the axis or the curve.
    edges : numpy.ndarray, shape=(n_bins + 1,)
    first, second : numpy.ndarray, shape=(n_bins,)
        Shares; `second` may be empty.
    """

    label: str
    edges: Values
    first: Values
    second: Values


@default_style()
def draw_chromosomes(names: Sequence[str], counts: Mapping[str, Sequence[int]]) -> Figure:
    """Draw how many sequences lie on each chromosome, coloured by split.

    Parameters
    ----------
    names : sequence of str
        Chromosomes.
    counts : mapping of str to sequence of int
        Split -> its sequences on each of them.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = new_figure(min(9.0, 1.6 + 0.3 * max(8, len(names))), 2.6)
    axes = figure.subplots()
    below = np.zeros(len(names))
    for (split, values), colour in zip(counts.items(), SERIES, strict=False):
        axes.bar(range(len(names)), values, bottom=below, color=colour, width=0.8, label=split)
        below += np.asarray(values)
    axes.set_xticks(range(len(names)), names, rotation=90 if len("".join(names)) > 30 else 0)
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.set_ylabel("sequences", fontsize=9, color=INK)
    tidy(axes)
    axes.grid(visible=False, axis="x")
    axes.legend(fontsize=8, frameon=False, labelcolor=INK, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
    return figure


@default_style()
def draw_composition(panels: Sequence[Shares], *, names: tuple[str, str] = ("bound", "not bound")) -> Figure:
    """Draw how composition is distributed in both classes.

    Parameters
    ----------
    panels : sequence of Shares
        One panel each.
    names : tuple of str
        Of both classes.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = new_figure(3.4 * len(panels), 2.3)
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for name, shares, colour in zip(names, (panel.first, panel.second), (BLUE, VERMILION), strict=True):
            axes.stairs(shares, panel.edges, color=colour, linewidth=1.4, label=name)
            axes.stairs(shares, panel.edges, color=colour, alpha=0.12, fill=True)
        axes.set_xlabel(panel.label, fontsize=9, color=INK)
        axes.set_ylabel("share of sequences", fontsize=9, color=INK)
        axes.set_ylim(bottom=0)
        tidy(axes)
    figure.axes[0].legend(fontsize=8, frameon=False, labelcolor=INK)
    return figure


@default_style()
def draw_places(curves: Sequence[Shares]) -> Figure:
    """Draw where hits of motifs lie in bound sequences, beside hits that lie anywhere.

    Parameters
    ----------
    curves : sequence of Shares
        One for each motif; edges are distances from the middle in bp.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = new_figure(5.2, 2.4)
    axes = figure.subplots()
    for number, curve in enumerate(curves):
        axes.stairs(curve.first, curve.edges, color=SERIES[number % len(SERIES)], linewidth=1.4, label=curve.label)
    axes.axhline(1 / len(curves[0].first), color=QUIET, linewidth=1, linestyle=(0, (4, 3)), label="anywhere")
    axes.set_xlabel("distance of the best hit from the middle of the sequence (bp)", fontsize=9, color=INK)
    axes.set_ylabel("share of hits", fontsize=9, color=INK)
    axes.set_ylim(bottom=0)
    tidy(axes)
    axes.legend(fontsize=8, frameon=False, labelcolor=INK)
    return figure
