"""Sequence logos as SVG: motifs in bits, and (with negative heights) contribution scores.

The outlines of the four letters are defined once, and each letter of a logo refers to one of them. A logo of 20 columns
takes 3 kB and half a millisecond, is sharp at any size, and on a page it follows the page's colours.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from html import escape
from typing import NamedTuple

import numpy as np
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D

from tuner.motifs.meme import column_information
from tuner.plots.figures import BLUE, GREEN, INK, ORANGE, QUIET, RULE, VERMILION

COLOURS = {"A": GREEN, "C": BLUE, "G": ORANGE, "T": VERMILION}
COLUMN = 10  # user units of `page_logo`
_FILL = 0.94  # share of a column's width that a letter fills
_COMMANDS = {Path.MOVETO: "M", Path.LINETO: "L", Path.CURVE3: "Q", Path.CURVE4: "C"}

Box = tuple[float, float, float, float]
"""x and y of the upper left corner, width and height; in points, with y downwards."""

_STYLE = "".join(
    f"{selector}{{{rule}}}"
    for selector, rule in {
        "text": f"font-family:'DejaVu Sans',Verdana,Arial,sans-serif;font-size:7.5px;fill:{INK}",
        ".quiet": f"fill:{QUIET}",
        ".hit": "font-weight:bold",
        ".none": f"font-style:italic;fill:{QUIET};text-anchor:middle",
        ".scale": f"font-size:6.5px;fill:{QUIET};text-anchor:end",
        ".middle": "text-anchor:middle",
        ".title": "font-size:8.5px",
        ".edge": f"stroke:{RULE};stroke-width:.8;fill:none",
        ".dark": f"stroke:{INK}",
        **{f".{letter}": f"fill:{colour}" for letter, colour in COLOURS.items()},
    }.items()
)


def information_heights(ppm: np.ndarray) -> np.ndarray:
    """Scale a PPM to letter heights in bits.

    Parameters
    ----------
    ppm : np.ndarray, shape=(4, width)
        Columns sum to 1.

    Returns
    -------
    np.ndarray, shape=(4, width)
        Probability times the information content of the column, in bits; a column sums to 0 to 2.
    """
    return np.asarray(ppm * np.clip(column_information(ppm), 0.0, 2.0))


def letter_starts(heights: np.ndarray) -> np.ndarray:
    """Stack the letters of each column, and return for each letter the edge that is nearer to zero.

    Parameters
    ----------
    heights : np.ndarray, shape=(4, width)
        Rows A, C, G, T.

    Returns
    -------
    np.ndarray, shape=(4, width), float64
        A letter extends from this value to this value plus its height; the tallest of a column is outermost.
    """
    order = np.argsort(np.abs(heights), axis=0)  # (4, width), smallest next to zero
    sizes = np.take_along_axis(heights, order, axis=0)
    up, down = np.cumsum(np.maximum(sizes, 0.0), axis=0), np.cumsum(np.minimum(sizes, 0.0), axis=0)
    near = np.where(sizes >= 0, up, down) - sizes
    starts = np.empty_like(heights, dtype=np.float64)
    np.put_along_axis(starts, order, near, axis=0)
    return starts


@cache
def letter_paths() -> str:
    """Return the four letters as a ``defs`` element."""
    paths = "".join(f'<path id="letter-{letter}" d="{_outline(letter)}"/>' for letter in COLOURS)
    return f"<defs>{paths}</defs>"


def letter_symbols() -> str:
    """Define the four letters, filling the unit square with y upwards, as an SVG that a page includes once."""
    return f'<svg class="letters" width="0" height="0" aria-hidden="true" focusable="false">{letter_paths()}</svg>'


def _outline(letter: str) -> str:
    """Path of a letter that fills the unit square."""
    path = TextPath((0, 0), letter, size=1, prop=FontProperties(family="DejaVu Sans", weight="bold"))
    box = path.get_extents()
    unit = Affine2D().translate(-box.x0, -box.y0).scale(1 / box.width, 1 / box.height)
    return "".join(
        "Z" if code == Path.CLOSEPOLY else _COMMANDS[code] + " ".join(f"{place:.3f}" for place in places)
        for places, code in path.iter_segments(unit, simplify=False)
    )


def letter_uses(heights: np.ndarray, *, column: float, unit: float, left: float, zero: float, scale: float) -> str:
    """Place the letters of a logo, in user units of a picture with y downwards.

    Parameters
    ----------
    heights : np.ndarray, shape=(4, width)
        Rows A, C, G, T; negative letters hang upside down.
    column, unit : float
        Width of a column, and size of one unit of height.
    left, zero : float
        Left edge of the first column, and y of height zero.
    scale : float
        Range of heights of the whole picture; letters below half a percent of it are left out.

    Returns
    -------
    str
        ``use`` elements that refer to the paths of `letter_symbols`.
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
        Alternative text for those who cannot see the picture; escaped here.
    low, high : float, optional
        Scale; by default that of the tallest stacks.
    columns, left : int
        Number of columns of the picture, and the one where the first column of `heights` lies.
    tall : int
        Height in user units; a column is 10 wide.

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


def logo_sheet(width: float, height: float, parts: Iterable[str]) -> str:
    """Make a self-contained SVG file of logos.

    Parameters
    ----------
    width, height : float
        Size in points.
    parts : iterable of str
        Elements of the file; they may contain `letter_uses` and use the classes of this module's style.
    """
    size = f'width="{width:g}pt" height="{height:g}pt" viewBox="0 0 {width:g} {height:g}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{_STYLE}</style>{letter_paths()}'
        f'<rect width="100%" height="100%" fill="#FFFFFF"/>{"".join(parts)}</svg>\n'
    )


def edges(
    box: Box, ticks: Iterable[tuple[float, str]], *, foot: float = 0, written: bool = True, dark: bool = False
) -> str:
    """Draw the left edge of a logo with its ticks, and the line on which its letters stand.

    Parameters
    ----------
    box : Box
        Where the logo lies.
    ticks : iterable of (float, str)
        Height above the lower edge of the box, in points, and text of each tick.
    foot : float
        Height of the line above the lower edge, in points.
    written : bool
        Whether the texts are written.
    dark : bool
        Whether the edges are dark.
    """
    x, y, w, h = box
    places = [(y + h - above, text) for above, text in ticks]
    marks = "".join(f"M{x - 2:g} {at:.5g}h2" for at, _ in places)
    words = "".join(f'<text x="{x - 5:g}" y="{at + 2.3:.5g}" class="scale">{text}</text>' for at, text in places)
    return (
        f'<path class="edge" d="{marks}"/>'
        f'<path class="edge{" dark" if dark else ""}" d="M{x:g} {y:g}v{h:g}M{x:g} {y + h - foot:.5g}h{w:g}"/>'
        f"{words if written else ''}"
    )


class Placement(NamedTuple):
    """Alignment of a matrix with another one.

    Attributes
    ----------
    offset : int
        Position of the target's first column, counted from the query's first column.
    strand : str
        ``+``, or ``-`` if the reverse complement of the target is aligned.
    """

    offset: int
    strand: str


def place(query: np.ndarray, target: np.ndarray, strand: str | None = None) -> Placement:
    """Align a target with a query at the largest sum of products of probabilities minus 1/4.

    Parameters
    ----------
    query, target : np.ndarray, shape=(4, width)
        PPMs.
    strand : str, optional
        ``+`` or ``-`` if it is already known.

    Returns
    -------
    Placement
        Placement of the target, reverse-complemented if the strand is ``-``.
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
