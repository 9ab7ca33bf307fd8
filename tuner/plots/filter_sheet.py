"""The first layer of a trial as one SVG, written as text: a twentieth of the time that matplotlib takes for it.

It shows what `tuner.plots.logos.draw_filter_logos` draws for a paper, in the same places and words.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from tuner.motifs.filters import Filter
from tuner.motifs.match import FilterMatch
from tuner.plots.figures import INK, QUIET, RULE
from tuner.plots.logos import COLOURS, POINTS, Box, filter_label, grid_boxes, in_order, information_heights, why_empty
from tuner.plots.page_logos import letter_paths, letter_uses

_STYLE = "".join(
    f"{selector}{{{rule}}}"
    for selector, rule in {
        "text": f"font-family:'DejaVu Sans',Verdana,Arial,sans-serif;font-size:7.5px;fill:{INK}",
        ".quiet": f"fill:{QUIET}",
        ".hit": "font-weight:bold",
        ".none": f"font-style:italic;fill:{QUIET};text-anchor:middle",
        ".scale": f"font-size:6.5px;fill:{QUIET};text-anchor:end",
        ".edge,.tick": f"stroke:{RULE};stroke-width:.8;fill:none",
        ".dark": f"stroke:{INK}",
        **{f".{letter}": f"fill:{colour}" for letter, colour in COLOURS.items()},
    }.items()
)


def filter_sheet(filters: Sequence[Filter], rows: Sequence[FilterMatch] = (), *, columns: int = 4) -> bytes:
    """Draw every first-layer filter as an information-content logo in one grid.

    Parameters
    ----------
    filters : sequence of Filter
        The first layer. Order in the picture: matched by E-value, gated, alive, dead.
    rows : sequence of FilterMatch
        Best database match per filter; filters without one are drawn all the same.
    columns : int
        Logos side by side.

    Returns
    -------
    bytes
        An SVG in points that needs nothing else; each logo lies in its box of `grid_boxes`, heights 0 to 2 bits, all
        letters of one width.
    """
    matches = {row.filter: row for row in rows}
    ordered = in_order(filters, matches)
    boxes, (wide, high) = grid_boxes(len(ordered), columns)
    width = max([4, *(item.ppm.shape[1] for item in ordered)])
    parts = [
        _cell(item, matches.get(item.index), _points(box, high), width, scale=place % columns == 0)
        for place, (item, box) in enumerate(zip(ordered, boxes, strict=True))
    ]
    size = f'width="{wide * POINTS:g}pt" height="{high * POINTS:g}pt" viewBox="0 0 {wide * POINTS:g} {high * POINTS:g}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{_STYLE}</style>{letter_paths()}'
        f'<rect width="100%" height="100%" fill="#FFFFFF"/>{"".join(parts)}</svg>\n'
    ).encode()


def _points(box: Box, high: float) -> Box:
    """A box in inches from the lower left corner, in points from the upper left one."""
    x, y, w, h = box
    return x * POINTS, (high - y - h) * POINTS, w * POINTS, h * POINTS


def _cell(item: Filter, match: FilterMatch | None, box: Box, width: int, *, scale: bool) -> str:
    """One filter: label, frame, letters; with `scale`, the bits at its left edge."""
    x, y, w, h = box
    significant = match is not None and match.significant
    kind = " ".join([*([] if item.gated else ["quiet"]), *(["hit"] if significant else [])])
    label = f'<text x="{x:g}" y="{y - 3:g}" class="{kind}">{escape(filter_label(item, match))}</text>'
    bits = "".join(
        f'<text x="{x - 5:g}" y="{y + h - value * h / 2 + 2.3:g}" class="scale">{value}</text>' for value in (0, 1, 2)
    )
    turned = f"translate({x - 13:g} {y + h / 2:g}) rotate(-90)"
    bits += f'<text transform="{turned}" class="scale" style="text-anchor:middle">bits</text>'
    ticks = "".join(f"M{x - 2:g} {y + value * h / 2:g}h2" for value in (0, 1, 2))
    frame = (
        f'<path class="edge{" dark" if significant else ""}" d="M{x:g} {y:g}v{h:g}h{w:g}"/>'
        f'<path class="tick" d="{ticks}"/>'
    )
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
    return f"<g>{inside}{frame}{label}{bits if scale else ''}</g>"
