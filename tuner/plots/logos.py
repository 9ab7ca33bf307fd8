"""Sequence logos: what the first-layer filters see, and (with negative heights) contribution scores.

Letters are outlines scaled by arrays, one patch per letter and logo. (Logomaker makes a patch per letter
and position: 5.3 s for 32 filters of 20 columns where this takes .4 s.)
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.textpath import TextPath

from tuner.motifs.meme import column_information
from tuner.plots.figures import BLUE, GREEN, INK, ORANGE, QUIET, RULE, VERMILION, new_figure, png

if TYPE_CHECKING:
    from tuner.motifs.filters import Filter
    from tuner.motifs.match import FilterMatch

COLOURS = {"A": GREEN, "C": BLUE, "G": ORANGE, "T": VERMILION}

_CELL = (2.75, 1.02)  # inches: a label of 40 characters at 7.5 points fits
_EDGE, _HEAD = 0.36, 0.36  # inches left of the grid for the ticks, above it for the title
_SIDE = 0.96  # part of a column that a letter fills


def information_heights(ppm: np.ndarray) -> np.ndarray:
    """Scale a PPM to letter heights in bits.

    Parameters
    ----------
    ppm : np.ndarray, shape=(4, width)
        Columns sum to 1.

    Returns
    -------
    np.ndarray, shape=(4, width)
        Probability times the column's information, bits; a column sums to 0 ... 2.
    """
    return np.asarray(ppm * np.clip(column_information(ppm), 0.0, 2.0))


def draw_logo(axes: Axes, heights: np.ndarray, *, left: float = 0.0) -> None:
    """Draw letters of given heights; in a column the tallest ends farthest from zero.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Where to draw; limits are left alone.
    heights : np.ndarray, shape=(4, width)
        Rows A, C, G, T. Negative letters hang upside down below zero.
    left : float
        Position of the left edge of the first column, in columns.
    """
    starts = letter_starts(heights)
    columns = left + (1 - _SIDE) / 2 + np.arange(heights.shape[1])
    for row, (letter, colour) in enumerate(COLOURS.items()):
        shown = np.abs(heights[row]) > 1e-3 * max(float(np.abs(heights).max(initial=0.0)), 1e-12)
        if not shown.any():
            continue
        vertices, codes = letter_outline(letter)
        scale = np.stack([np.full(int(shown.sum()), _SIDE), heights[row, shown]], axis=1)  # (n, 2)
        corner = np.stack([columns[shown], starts[row, shown]], axis=1)  # (n, 2)
        placed = vertices[None] * scale[:, None] + corner[:, None]  # (n, vertices, 2)
        outline = Path(placed.reshape(-1, 2), np.tile(codes, len(placed)))
        # add_patch would work out the limits of every curve, three times the cost of drawing it.
        axes.add_artist(PathPatch(outline, facecolor=colour, linewidth=0))


def letter_starts(heights: np.ndarray) -> np.ndarray:
    """Stack the letters of each column: the edge of each letter that is nearest to zero.

    Parameters
    ----------
    heights : np.ndarray, shape=(4, width)
        Rows A, C, G, T.

    Returns
    -------
    np.ndarray, shape=(4, width), float64
        A letter reaches from here to here plus its height; the tallest of a column ends farthest from zero.
    """
    order = np.argsort(np.abs(heights), axis=0)  # (4, width), smallest next to zero
    sizes = np.take_along_axis(heights, order, axis=0)
    up, down = np.cumsum(np.maximum(sizes, 0.0), axis=0), np.cumsum(np.minimum(sizes, 0.0), axis=0)
    near = np.where(sizes >= 0, up, down) - sizes
    starts = np.empty_like(heights, dtype=np.float64)
    np.put_along_axis(starts, order, near, axis=0)
    return starts


@cache
def letter_outline(letter: str) -> tuple[np.ndarray, np.ndarray]:
    """Outline of a letter stretched to the unit square: vertices (n, 2) and path codes (n,)."""
    path = TextPath((0, 0), letter, size=1, prop=FontProperties(family="DejaVu Sans", weight="bold"))
    vertices = np.asarray(path.vertices)
    box = path.get_extents()
    unit = (vertices - [box.x0, box.y0]) / [box.width, box.height]
    codes = np.asarray(path.codes)
    # The vertex of CLOSEPOLY is ignored when drawn but would widen the box of a compound path.
    unit[codes == Path.CLOSEPOLY] = unit[0]
    return unit, codes


def filter_logos(
    filters: Sequence[Filter], rows: Sequence[FilterMatch] = (), title: str = "", *, columns: int = 4
) -> bytes:
    """Render `draw_filter_logos` as PNG."""
    return png(draw_filter_logos(filters, rows, title, columns=columns))


def draw_filter_logos(
    filters: Sequence[Filter], rows: Sequence[FilterMatch] = (), title: str = "", *, columns: int = 4
) -> Figure:
    """Draw every first-layer filter as an information-content logo in one grid.

    Parameters
    ----------
    filters : sequence of Filter
        The first layer. Order in the figure: matched by E-value, gated, alive, dead.
    rows : sequence of FilterMatch
        Best database match per filter; filters without one are drawn all the same.
    title : str
        Line above the grid.
    columns : int
        Logos side by side.

    Returns
    -------
    matplotlib.figure.Figure
        One axes per filter, heights 0 to 2 bits, all letters of one width.
    """
    matches = {row.filter: row for row in rows}
    ordered = sorted(filters, key=lambda f: _rank(f, matches.get(f.index)))
    n_rows = max(1, -(-len(ordered) // columns))
    total = (_CELL[0] * columns + _EDGE, _CELL[1] * n_rows + _HEAD)  # inches
    # Places are computed: a layout engine would draw the grid twice and take four times as long.
    figure = new_figure(*total, layout=None)
    if title:
        top = 1 - 0.09 / total[1]
        figure.text(0.09 / total[0], top, title, fontsize=11, color=INK, weight="bold", ha="left", va="top")
    width = max([4, *(f.ppm.shape[1] for f in ordered)])
    for place, item in enumerate(ordered):
        row, column = divmod(place, columns)
        corner = (_EDGE + column * _CELL[0], (n_rows - row - 1) * _CELL[1] + 0.1)
        box = (corner[0], corner[1], _CELL[0] - 0.14, _CELL[1] - 0.34)
        axes = figure.add_axes((box[0] / total[0], box[1] / total[1], box[2] / total[0], box[3] / total[1]))
        _draw_filter(axes, item, matches.get(item.index), width, ticks=column == 0)
    return figure


def _rank(item: Filter, match: FilterMatch | None) -> tuple[int, float, int]:
    """Sort key: matched by E, gated by E, alive by information, dead."""
    e_value = match.e_value if match is not None and match.target is not None else np.inf
    if not item.alive:
        return 3, 0.0, item.index
    if match is not None and match.significant:
        return 0, e_value, item.index
    if item.gated:
        return 1, e_value, item.index
    return 2, -item.information, item.index


def _draw_filter(axes: Axes, item: Filter, match: FilterMatch | None, width: int, *, ticks: bool) -> None:
    significant = match is not None and match.significant
    axes.set_xlim(0, width)
    axes.set_ylim(0, 2)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK if significant else RULE)
    axes.set_xticks([])
    axes.set_yticks([0, 1, 2], labels=["0", "1", "2"] if ticks else [])
    axes.tick_params(labelsize=6.5, length=2, color=RULE, labelcolor=QUIET)
    if ticks:
        axes.set_ylabel("bits", fontsize=6.5, color=QUIET, labelpad=1)
    axes.set_title(
        filter_label(item, match),
        fontsize=7.5,
        loc="left",
        pad=3,
        color=INK if item.gated else QUIET,
        weight="bold" if significant else "normal",
    )
    if item.alive and item.ppm.shape[1]:
        draw_logo(axes, information_heights(item.ppm), left=(width - item.ppm.shape[1]) / 2)
        return
    axes.set_facecolor("#F4F4F4")
    word = "no column above 0.5 bit" if item.alive else "never active"
    axes.text(width / 2, 1.0, word, ha="center", va="center", fontsize=7.5, color=QUIET, style="italic")


def filter_label(item: Filter, match: FilterMatch | None) -> str:
    """Word a filter in one line: ``#3 · 212 sites · ZBED2 E=2e-5``.

    Parameters
    ----------
    item : Filter
        The filter.
    match : FilterMatch or None
        Its best match, where it was matched at all.
    """
    if not item.alive:
        return f"#{item.index} · dead"
    parts = [f"#{item.index}", f"{item.sites} site{'' if item.sites == 1 else 's'}"]
    if match is not None and match.target is not None:
        name = match.target_name or match.target
        name = name if len(name) <= 16 else f"{name[:15]}…"
        parts.append(f"{name} E={_short(match.e_value)}")
    elif not item.gated:
        parts.append(f"{item.information:.1f} bits: too weak to match")
    return " · ".join(parts)


def _short(value: float) -> str:
    """One or two significant digits: 0.3, 0.012, 2e-5."""
    if value >= 0.01 or value == 0:
        return f"{value:.2g}"
    mantissa, exponent = f"{value:.0e}".split("e")
    return f"{mantissa}e{int(exponent)}"
