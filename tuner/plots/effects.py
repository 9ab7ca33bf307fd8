"""Effects of the bases of single sequences: a logo of what is there, and a map of what each mutation does."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from typing import Final, NamedTuple

import numpy as np
from matplotlib.ticker import MaxNLocator

from tuner.plots.figures import BLUE, VERMILION
from tuner.plots.logos import COLOURS, Box, edges, letter_uses, logo_sheet

_LEFT, _HIGH, _CELL = 78, 52, 8  # points: space left of a logo, its height, height of a row of the map
_TITLE, _GAP, _AXIS = 16, 14, 10  # points above a drawing, below it, and for its positions
_WIDE, _COLUMN = 1200, 9.0  # points: width of the widest sheet, and of the widest column
_NARROWEST: Final = 2.0


class Drawing(NamedTuple):
    """One sequence.

    Attributes
    ----------
    title : str
        Line above it.
    heights : np.ndarray, shape=(4, width)
        Signed heights of the letters, rows A, C, G, T.
    start : int
        Position of the first column.
    label : str
        What the heights are.
    effects : np.ndarray, shape=(4, width), or None
        Change of the output by each base, for a map below the logo.
    """

    title: str
    heights: np.ndarray
    start: int
    label: str
    effects: np.ndarray | None = None


class Sheet(str):
    """A self-contained SVG, which a notebook shows as a picture."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        coded = base64.b64encode(self.encode()).decode()
        return f'<img alt="effects of the bases" src="data:image/svg+xml;base64,{coded}">'


def mutations(title: str, sequence: str, effects: np.ndarray, start: int = 0) -> Drawing:
    """Draw what mutagenesis found: letters of minus the mean effect of a base's mutations, above the map of all.

    Parameters
    ----------
    title : str
        Line above it.
    sequence : str
        The bases that were mutated.
    effects : np.ndarray, shape=(4, len(sequence))
        Change of the output by each base, rows A, C, G, T; 0 at the observed base.
    start : int
        Position of the first base.
    """
    observed = np.array(list(COLOURS))[:, None] == np.array(list(sequence))[None]
    return Drawing(title, -effects.sum(axis=0) / 3 * observed, start, "minus mean effect", effects)


def effect_sheet(drawings: Sequence[Drawing]) -> Sheet:
    """Draw sequences one below the other, all on the same scales.

    Parameters
    ----------
    drawings : sequence of Drawing
        At least one.

    Returns
    -------
    Sheet
        In a map, blue raises the output and vermilion lowers it; full colour is the largest
        change of the sheet.
    """
    low = min(float(np.minimum(d.heights, 0).sum(axis=0).min(initial=0)) for d in drawings)
    high = max(float(np.maximum(d.heights, 0).sum(axis=0).max(initial=1e-9)) for d in drawings)
    most = max((float(np.abs(d.effects).max(initial=0)) for d in drawings if d.effects is not None), default=0.0)
    widest = max(d.heights.shape[1] for d in drawings)
    column = max(_NARROWEST, min(_COLUMN, _WIDE / max(widest, 1)))
    parts, y = [], 4.0
    for drawing in drawings:
        y += _TITLE
        parts.append(f'<text x="{_LEFT}" y="{y - 6:g}" class="title">{escape(drawing.title)}</text>')
        box = (_LEFT, y, column * drawing.heights.shape[1], _HIGH)
        parts.append(_logo(drawing, box, low, high, column))
        y += _HIGH + 4
        if drawing.effects is not None:
            parts.append(_map(drawing.effects, y, column, most))
            y += 4 * _CELL + 2
        parts.append(_positions(drawing, y, column))
        y += _AXIS + _GAP
    return Sheet(logo_sheet(_LEFT + column * widest + 20, y, parts))


def _logo(drawing: Drawing, box: Box, low: float, high: float, column: float) -> str:
    x, y, _, h = box
    unit = h / max(high - low, 1e-12)
    values = [v for v in MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(low, high) if low <= v <= high]
    digits = max((len(f"{v:.6g}".partition(".")[2]) for v in values), default=0)
    ticks = [((v - low) * unit, f"{v:.{digits}f}") for v in values]
    lines = drawing.label.split()
    middle = y + h / 2 + 2.3 - 4 * (len(lines) - 1)
    words = "".join(
        f'<text x="{x - 30:g}" y="{middle + 8 * i:g}" class="scale">{escape(line)}</text>'
        for i, line in enumerate(lines)
    )
    letters = letter_uses(drawing.heights, column=column, unit=unit, left=x, zero=y + high * unit, scale=high - low)
    return f"<g>{edges(box, ticks, foot=-low * unit)}{letters}{words}</g>"


def _map(effects: np.ndarray, y: float, column: float, most: float) -> str:
    """Cells of the bases' effects; those below a hundredth of the largest stay white."""
    names = "".join(
        f'<text x="{_LEFT - 5}" y="{y + _CELL * row + 6.3:g}" class="scale">{base}</text>'
        for row, base in enumerate(COLOURS)
    )
    cells = "".join(
        f'<rect x="{_LEFT + column * j:.6g}" y="{y + _CELL * row:g}" width="{column:.4g}" height="{_CELL}" '
        f'fill="{BLUE if effects[row, j] > 0 else VERMILION}" fill-opacity="{abs(effects[row, j]) / most:.2f}"/>'
        for row in range(4)
        for j in np.flatnonzero(np.abs(effects[row]) >= 0.01 * max(most, 1e-12))
    )
    return f"<g>{names}{cells}</g>"


def _positions(drawing: Drawing, y: float, column: float) -> str:
    """Positions below a drawing, at round numbers."""
    width = drawing.heights.shape[1]
    room = max(5, len(str(drawing.start + width)) * 5 / column)  # columns that a number takes
    step = next(s * 10**e for e in range(9) for s in (1, 2, 5) if s * 10**e >= 1.5 * room)
    first = -(-drawing.start // step) * step
    return "".join(
        f'<text x="{_LEFT + column * (place - drawing.start + 0.5):.6g}" y="{y + 7:g}" class="scale middle">'
        f"{place}</text>"
        for place in range(first, drawing.start + width, step)
    )
