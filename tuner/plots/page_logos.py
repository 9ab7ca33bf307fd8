"""Logos for a web page: letters defined once, each logo a few uses of them, coloured by the page's style.

A logo of 20 columns takes 3 kB where matplotlib's takes 40, it follows the page into the dark, and it is sharp
at any size. The stack is that of `tuner.plots.logos`.
"""

from __future__ import annotations

from functools import cache
from html import escape
from typing import NamedTuple

import numpy as np
from matplotlib.path import Path

from tuner.plots.logos import COLOURS, letter_outline, letter_starts

COLUMN = 10  # user units
_FILL = 0.94  # part of a column that a letter fills
_COMMANDS = {Path.MOVETO: "M", Path.LINETO: "L", Path.CURVE3: "Q", Path.CURVE4: "C"}


class Placement(NamedTuple):
    """How a matrix lies beside another one.

    Attributes
    ----------
    offset : int
        Column of the other matrix's first column, counted from the first one's.
    strand : str
        ``+``, or ``-`` where its reverse complement is meant.
    """

    offset: int
    strand: str


def letter_symbols() -> str:
    """Define the four letters, filling the unit square with y upwards, as SVG to put once into a page."""
    return f'<svg class="letters" width="0" height="0" aria-hidden="true" focusable="false">{letter_paths()}</svg>'


@cache
def letter_paths() -> str:
    """The four letters as a ``defs`` element."""
    paths = "".join(f'<path id="letter-{letter}" d="{_path(letter)}"/>' for letter in COLOURS)
    return f"<defs>{paths}</defs>"


def _path(letter: str) -> str:
    vertices, codes = letter_outline(letter)
    parts, waiting = [], 0
    for (x, y), code in zip(vertices, codes, strict=True):
        if code == Path.CLOSEPOLY:
            parts.append("Z")
            continue
        if not waiting:
            parts.append(_COMMANDS[code])
            waiting = {Path.CURVE3: 2, Path.CURVE4: 3}.get(code, 1)
        parts.append(f"{x:.3f} {y:.3f} ")
        waiting -= 1
    return "".join(parts).replace(" Z", "Z").strip()


def page_logo(
    heights: np.ndarray,
    *,
    alt: str,
    low: float | None = None,
    high: float | None = None,
    columns: int | None = None,
    left: int = 0,
    tall: int = 40,
) -> str:
    """Draw a logo as an inline SVG that uses `letter_symbols`.

    Parameters
    ----------
    heights : np.ndarray, shape=(4, width)
        Rows A, C, G, T; negative letters hang upside down.
    alt : str
        What the picture shows, for those who do not see it; escaped here.
    low, high : float, optional
        Scale; that of the tallest stacks where they are not given.
    columns, left : int
        Columns of the picture, and where the first column of `heights` lies in it.
    tall : int
        Height, user units; a column is 10 wide.

    Returns
    -------
    str
        An ``svg`` element with ``role="img"``.
    """
    columns = heights.shape[1] + left if columns is None else columns
    if low is None:
        low = float(np.minimum(heights, 0).sum(axis=0).min(initial=0.0))
    if high is None:
        high = float(np.maximum(heights, 0).sum(axis=0).max(initial=0.0))
    unit = tall / max(high - low, 1e-12)
    zero = high * unit
    uses = letter_uses(heights, column=COLUMN, unit=unit, left=COLUMN * left, zero=zero, scale=high - low)
    line = f'<path class="zero" d="M0 {zero:.4g}H{columns * COLUMN}"/>'
    return (
        f'<svg class="logo" role="img" aria-label="{escape(alt)}" viewBox="0 -1 {columns * COLUMN} {tall + 2}" '
        f'style="--columns:{columns}">{line}{uses}</svg>'
    )


def letter_uses(heights: np.ndarray, *, column: float, unit: float, left: float, zero: float, scale: float) -> str:
    """Place the letters of a logo, in user units of a picture whose y goes down.

    Parameters
    ----------
    heights : np.ndarray, shape=(4, width)
        Rows A, C, G, T; negative letters hang upside down.
    column, unit : float
        Width of a column, and what one unit of height takes.
    left, zero : float
        Left edge of the first column, and where heights start.
    scale : float
        Heights of the whole picture; letters below half a percent of it are left out.

    Returns
    -------
    str
        ``use`` elements of the paths that `letter_symbols` defines.
    """
    starts = letter_starts(heights)
    least = 5e-3 * max(scale, 1e-12)
    return "".join(
        f'<use href="#letter-{letter}" class="{letter}" transform="matrix({column * _FILL:.4g} 0 0 '
        f"{-heights[row, i] * unit:.4g} {left + column * (i + (1 - _FILL) / 2):.6g} "
        f'{zero - starts[row, i] * unit:.6g})"/>'
        for row, letter in enumerate(COLOURS)
        for i in np.flatnonzero(np.abs(heights[row]) > least)
    )


def place(query: np.ndarray, target: np.ndarray, strand: str | None = None) -> Placement:
    """Find where a target lies beside a query: the greatest sum of products of what exceeds 1/4.

    Parameters
    ----------
    query, target : np.ndarray, shape=(4, width)
        PPMs.
    strand : str, optional
        ``+`` or ``-`` where it is known already.

    Returns
    -------
    Placement
        Of the target, reverse-complemented where the strand is ``-``.
    """
    best, found = -np.inf, Placement(0, strand or "+")
    for way in strand or "+-":
        other = (target if way == "+" else target[::-1, ::-1]) - 0.25
        products = (query - 0.25).T @ other  # (query width, target width)
        for offset in range(1 - target.shape[1], query.shape[1]):
            score = float(np.trace(products, offset=-offset))
            if score > best:
                best, found = score, Placement(offset, way)
    return found
