"""First layer of a network: a logo in bits for every filter, with the motif that it matches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from tuner.plots.logos import Box, edges, information_heights, letter_uses, logo_sheet

if TYPE_CHECKING:
    from tuner.motifs.filters import Filter
    from tuner.motifs.match import FilterMatch

_WIDE, _HIGH = 188, 49  # points; fits a label of 40 characters at 7.5 points
_CELL = (_WIDE + 10, _HIGH + 24)
_EDGE, _HEAD = 26, 16  # points: left of the grid for the ticks, above it for the first labels


def filter_logos(filters: Sequence[Filter], rows: Sequence[FilterMatch] = (), *, columns: int = 4) -> str:
    """Draw every first-layer filter as an information-content logo in one grid.

    Parameters
    ----------
    filters : sequence of Filter
        Filters of the first layer. They are drawn in the order significant, gated, alive, dead.
    rows : sequence of FilterMatch
        Best database match of each filter; filters without a row are drawn too.
    columns : int
        Logos side by side.

    Returns
    -------
    str
        A self-contained SVG. Each logo is a ``g`` in its box of `grid_boxes`, with heights from 0 to 2 bits; all
        letters have the same width.
    """
    matches = {row.filter: row for row in rows}
    ordered = in_order(filters, matches)
    boxes, size = grid_boxes(len(ordered), columns)
    width = max([4, *(item.ppm.shape[1] for item in ordered)])
    cells = (
        _cell(item, matches.get(item.index), box, width, first=place % columns == 0)
        for place, (item, box) in enumerate(zip(ordered, boxes, strict=True))
    )
    return logo_sheet(*size, cells)


def grid_boxes(n: int, columns: int) -> tuple[list[Box], tuple[int, int]]:
    """Return the box of each of `n` logos, row by row from the top, and the size of the picture; in points."""
    boxes: list[Box] = []
    for place in range(n):
        row, column = divmod(place, columns)
        boxes.append((_EDGE + column * _CELL[0], _HEAD + row * _CELL[1], _WIDE, _HIGH))
    return boxes, (_EDGE + columns * _CELL[0], max(1, -(-n // columns)) * _CELL[1])


def _cell(item: Filter, match: FilterMatch | None, box: Box, width: int, *, first: bool) -> str:
    """Draw one filter: letters, edges and label, and the scale for the first of a row."""
    x, y, w, h = box
    significant = match is not None and match.significant
    kind = " ".join([*([] if item.gated else ["quiet"]), *(["hit"] if significant else [])])
    label = f'<text x="{x:g}" y="{y - 3:g}" class="{kind}">{escape(filter_label(item, match))}</text>'
    scale = edges(box, [(0, "0"), (h / 2, "1"), (h, "2")], written=first, dark=significant)
    if first:
        turned = f"translate({x - 13:g} {y + h / 2:g}) rotate(-90)"
        scale += f'<text transform="{turned}" class="scale middle">bits</text>'
    if reason := why_empty(item):
        inside = (
            f'<rect x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" fill="#F4F4F4"/>'
            f'<text x="{x + w / 2:g}" y="{y + h / 2 + 2.5:g}" class="none">{reason}</text>'
        )
    else:
        column = w / width
        left = x + column * (width - item.ppm.shape[1]) / 2
        heights = information_heights(item.ppm)
        inside = letter_uses(heights, column=column, unit=h / 2, left=left, zero=y + h, scale=2.0)
    return f"<g>{label}{inside}{scale}</g>"


def in_order(filters: Sequence[Filter], matches: Mapping[int, FilterMatch]) -> list[Filter]:
    """Sort the filters as a grid shows them; the keys of `matches` are filter indices."""
    return sorted(filters, key=lambda item: _rank(item, matches.get(item.index)))


def why_empty(item: Filter) -> str:
    """Say why a filter has no logo; empty if it has one."""
    if not item.alive:
        return "never active"
    return "" if item.ppm.shape[1] else "no column above 0.5 bit"


def _rank(item: Filter, match: FilterMatch | None) -> tuple[int, float, int]:
    """Sort key: significant by E, gated by E, alive by information, dead."""
    e_value = match.e_value if match is not None and match.target is not None else np.inf
    if not item.alive:
        return 3, 0.0, item.index
    if match is not None and match.significant:
        return 0, e_value, item.index
    if item.gated:
        return 1, e_value, item.index
    return 2, -item.information, item.index


def filter_label(item: Filter, match: FilterMatch | None) -> str:
    """Describe a filter in one line: ``#3 · 212 sites · ZBED2 E=2e-5``.

    Parameters
    ----------
    item : Filter
        The filter.
    match : FilterMatch or None
        Its best match; None if it was not compared.
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
    """Format a number with one or two significant digits: 0.3, 0.012, 2e-5."""
    if value >= 0.01 or value == 0:
        return f"{value:.2g}"
    mantissa, exponent = f"{value:.0e}".split("e")
    return f"{mantissa}e{int(exponent)}"
