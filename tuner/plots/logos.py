"""Sequence logos: what the first-layer filters see, and (with negative heights) contribution scores.

Letters are outlines scaled by arrays, one patch per letter and picture: a grid of logos is one axes in inches, because
axes, spines and ticks of their own for each filter would take longer than everything in them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.textpath import TextPath

from tuner.motifs.meme import column_information
from tuner.plots.figures import BLUE, GREEN, INK, ORANGE, QUIET, RULE, VERMILION, new_figure

if TYPE_CHECKING:
    from tuner.motifs.filters import Filter
    from tuner.motifs.match import FilterMatch

COLOURS = {"A": GREEN, "C": BLUE, "G": ORANGE, "T": VERMILION}

_CELL = (2.75, 1.02)  # inches: a label of 40 characters at 7.5 points fits
_EDGE, _HEAD = 0.36, 0.36  # inches left of the grid for the ticks, above it for the title
_SIDE = 0.96  # part of a column that a letter fills
POINTS = 72  # of an inch


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
    for letter, (vertices, codes) in logo_letters(heights).items():
        _add_letters(axes, letter, vertices + np.array([left, 0.0]), codes)


def _add_letters(axes: Axes, letter: str, vertices: np.ndarray, codes: np.ndarray) -> None:
    # add_patch would work out the limits of every curve, three times the cost of drawing it.
    axes.add_artist(PathPatch(Path(vertices, codes), facecolor=COLOURS[letter], linewidth=0))


def logo_letters(heights: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Outlines of a logo: letter -> vertices (n, 2), in columns and units of height, and path codes (n,)."""
    starts = letter_starts(heights)
    columns = (1 - _SIDE) / 2 + np.arange(heights.shape[1])
    found = {}
    for row, letter in enumerate(COLOURS):
        shown = np.abs(heights[row]) > 1e-3 * max(float(np.abs(heights).max(initial=0.0)), 1e-12)
        if not shown.any():
            continue
        vertices, codes = letter_outline(letter)
        scale = np.stack([np.full(int(shown.sum()), _SIDE), heights[row, shown]], axis=1)  # (n, 2)
        corner = np.stack([columns[shown], starts[row, shown]], axis=1)  # (n, 2)
        placed = vertices[None] * scale[:, None] + corner[:, None]  # (n, vertices, 2)
        found[letter] = placed.reshape(-1, 2), np.tile(codes, len(placed))
    return found


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
        One axes in inches; each logo lies in its box of `grid_boxes`, heights 0 to 2 bits, all letters of one width.
    """
    matches = {row.filter: row for row in rows}
    ordered = in_order(filters, matches)
    boxes, (wide, high) = grid_boxes(len(ordered), columns)
    figure = new_figure(wide, high, layout=None)
    if title:
        figure.text(0.09 / wide, 1 - 0.09 / high, title, fontsize=11, color=INK, weight="bold", ha="left", va="top")
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_xlim(0, wide)
    axes.set_ylim(0, high)
    axes.set_axis_off()
    width = max([4, *(f.ppm.shape[1] for f in ordered)])
    letters: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {letter: [] for letter in COLOURS}
    for place, (item, box) in enumerate(zip(ordered, boxes, strict=True)):
        match = matches.get(item.index)
        _write_label(axes, item, match, box)
        if place % columns == 0:
            _write_bits(axes, box)
        if why_empty(item):
            continue
        x, y, w, h = box
        scale, corner = (w / width, h / 2), (x + w / width * (width - item.ppm.shape[1]) / 2, y)
        for letter, (vertices, codes) in logo_letters(information_heights(item.ppm)).items():
            letters[letter].append((vertices * scale + corner, codes))
    for letter, parts in letters.items():
        if parts:
            vertices, codes = (np.concatenate(part) for part in zip(*parts, strict=True))
            _add_letters(axes, letter, vertices, codes)
    _draw_frames(axes, ordered, boxes, [i for i, row in matches.items() if row.significant])
    return figure


Box = tuple[float, float, float, float]
"""x, y, width, height in inches, from the lower left corner of the figure."""


def grid_boxes(n: int, columns: int) -> tuple[list[Box], tuple[float, float]]:
    """Where each of `n` logos lies, row by row from the top, and width and height of the figure; inches."""
    rows = max(1, -(-n // columns))
    boxes = []
    for place in range(n):
        row, column = divmod(place, columns)
        x, y = _EDGE + column * _CELL[0], (rows - row - 1) * _CELL[1] + 0.1
        boxes.append((x, y, _CELL[0] - 0.14, _CELL[1] - 0.34))
    return boxes, (_CELL[0] * columns + _EDGE, _CELL[1] * rows + _HEAD)


def in_order(filters: Sequence[Filter], matches: Mapping[int, FilterMatch]) -> list[Filter]:
    """The filters as a grid shows them; `matches` by index of the filter."""
    return sorted(filters, key=lambda item: _rank(item, matches.get(item.index)))


def why_empty(item: Filter) -> str:
    """Why a filter has no logo; empty where it has one."""
    if not item.alive:
        return "never active"
    return "" if item.ppm.shape[1] else "no column above 0.5 bit"


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


def _write_label(axes: Axes, item: Filter, match: FilterMatch | None, box: Box) -> None:
    """Line above a logo, and why there is none."""
    x, y, w, h = box
    significant = match is not None and match.significant
    axes.text(
        x, y + h + 3 / POINTS, filter_label(item, match), fontsize=7.5, color=INK if item.gated else QUIET,
        weight="bold" if significant else "normal", va="baseline",
    )  # fmt: skip
    if reason := why_empty(item):
        axes.text(x + w / 2, y + h / 2, reason, ha="center", va="center", fontsize=7.5, color=QUIET, style="italic")


def _write_bits(axes: Axes, box: Box) -> None:
    """Scale of the first logo of a row."""
    x, y, _, h = box
    for bits in (0, 1, 2):
        axes.text(
            x - 5 / POINTS, y + bits * h / 2, str(bits), fontsize=6.5, color=QUIET, ha="right", va="center_baseline"
        )
    axes.text(x - 15 / POINTS, y + h / 2, "bits", fontsize=6.5, color=QUIET, rotation=90, ha="center", va="center")


def _draw_frames(axes: Axes, ordered: Sequence[Filter], boxes: Sequence[Box], significant: Sequence[int]) -> None:
    """Left and lower edge of every logo, dark where its filter matches, ticks at whole bits, and grey fields."""
    edges, ticks, fields = [], [], []
    for item, (x, y, w, h) in zip(ordered, boxes, strict=True):
        edges.append([(x, y + h), (x, y), (x + w, y)])
        ticks += [[(x - 2 / POINTS, y + bits * h / 2), (x, y + bits * h / 2)] for bits in (0, 1, 2)]
        if why_empty(item):
            fields.append([(x, y), (x + w, y), (x + w, y + h), (x, y + h)])
    colours = [INK if item.index in significant else RULE for item in ordered]
    axes.add_collection(PolyCollection(fields, facecolor="#F4F4F4", linewidth=0, zorder=0), autolim=False)
    axes.add_collection(LineCollection(edges, colors=colours, linewidths=0.8), autolim=False)
    axes.add_collection(LineCollection(ticks, colors=RULE, linewidths=0.8), autolim=False)


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
