"""Pictures for the page: SVGs that follow its colours, and plotly's specifications as JSON a script block can hold."""

from __future__ import annotations

import base64
import gzip
import json
import re
from html import escape
from typing import Any

import numpy as np
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from tuner.motifs.match import FilterMatch
from tuner.motifs.meme import column_information, reverse_complement
from tuner.plots.logos import Placement, information_heights, page_logo, place
from tuner.report.data import PatternRow
from tuner.report.numbers import count, e_words

# What the figures are drawn in -> what the page calls it, so that it can be another colour in the dark.
COLOURS = {
    "#222222": "var(--ink)",
    "#767676": "var(--quiet)",
    "#d9d9d9": "var(--rule)",
    "#0072b2": "var(--blue)",
    "#e69f00": "var(--orange)",
    "#009e73": "var(--green)",
    "#d55e00": "var(--vermilion)",
    "#cc79a7": "var(--purple)",
    "#ffffff": "var(--page)",
    "#000000": "var(--ink)",
}
_STRONG = 0.2  # of the tallest column: where a pattern begins and ends


def inline_svg(text: str, name: str, alt: str) -> Markup:
    """Make a matplotlib SVG part of a page, with unique ids, the page's fonts and colours, and an alternative text.

    Parameters
    ----------
    text : str
        As `tuner.plots.figures.svg` makes it; matplotlib has escaped what it writes.
    name : str
        Unique in the page, letters, digits and hyphens: ids begin with it.
    alt : str
        What the picture shows; escaped here.
    """
    body = text[text.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="([^"]*)"', rf'id="{name}-\1"', body)
    body = re.sub(r'(href="|url\()#', rf"\1#{name}-", body)
    body = re.sub(r"#[0-9a-fA-F]{6}\b", lambda m: COLOURS.get(m[0].lower(), m[0]), body)
    body = re.sub(r"'DejaVu Sans'[^;\"]*", "inherit", body)
    body = re.sub(r"font: (?:[a-z]+ )?([\d.]+)px inherit", r"font-size: \1px", body)
    box = re.search(r'viewBox="([^"]*)"', body)
    width = float(box[1].split()[2]) if box else 400.0
    start = body.index(">") + 1
    opening = (
        f'<svg class="figure" role="img" aria-label="{escape(alt)}" viewBox="{box[1] if box else ""}" '
        f'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" style="--wide:{width:.0f}">'
    )
    return Markup(opening + _text_colour(body[start:]))


def _text_colour(body: str) -> str:
    """Text without a colour of its own is black in SVG: give it the page's."""
    return re.sub(r'<text style="(?![^"]*fill)', '<text style="fill: var(--ink); ', body)


def chart_json(figure: Any) -> Markup:
    """Write a plotly figure for ``<script type="application/json">``: nothing in it can end the block."""
    spec = json.loads(figure.to_json())
    spec["layout"].pop("template", None)
    return script_json({"data": spec["data"], "layout": spec["layout"]})


def script_json(value: Any) -> Markup:
    """Write JSON in which no ``<``, ``>`` or ``&`` occurs."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Markup(text.translate({ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}))


def packed_plotly() -> tuple[Markup, str]:
    """Return Plotly's library, gzipped in base64 (a third of its size), and its text, whose hash the page allows."""
    text = get_plotlyjs()
    return Markup(base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()), text


def filter_pictures(
    row: FilterMatch, ppm: np.ndarray, matrices: dict[str, np.ndarray], width: int
) -> list[tuple[str, Markup]]:
    """Logo of a filter, and of the motif it matches beneath it, column above column."""
    ppm = np.asarray(ppm, dtype=np.float64)
    if not row.alive or not ppm.shape[1]:
        return []
    alt = f"Logo of filter {row.filter}, {count(row.sites, 'site')}"
    target = matrices.get(row.target or "") if row.significant else None
    if target is None:
        left = (width - ppm.shape[1]) // 2
        return [("", _bits(ppm, alt, max(width, ppm.shape[1]), max(left, 0)))]
    other = f"Logo of {row.name}, which it matches with {e_words(row.e_value)}"
    return _aligned([("", ppm, alt)], (row.name, target, other), row.strand, width)


def pattern_pictures(row: PatternRow, matrices: dict[str, np.ndarray]) -> list[tuple[str, Markup]]:
    """Logos of a pattern: its contributions, its bases, and the motif it matches best beneath them."""
    start, end = strong_columns(np.asarray(row.cwm))
    cwm, ppm = np.asarray(row.cwm)[:, start:end], np.asarray(row.ppm, dtype=np.float64)[:, start:end]
    size = f"pattern {row.name} of {count(row.seqlets, 'seqlet')}"
    target = matrices.get(row.match.id) if row.match is not None else None
    shown = [("bits", ppm, f"Bases of {size}")]
    if row.match is None or target is None:
        width = ppm.shape[1]
        return [("contribution", Markup(page_logo(cwm, alt=f"Contributions of {size}"))),
                ("bits", _bits(ppm, shown[0][2], width, 0))]  # fmt: skip
    name = row.match.name or row.match.id
    alt = f"Logo of {name} ({row.match.id}), the best match with {e_words(row.match.e_value)}"
    found = _aligned(shown, (f"{name}, bits", target, alt), None, 0)
    at = place(ppm, target)
    left, columns = max(0, -at.offset), _columns(ppm.shape[1], target.shape[1], at)
    top = Markup(page_logo(cwm, alt=f"Contributions of {size}", columns=columns, left=left))
    return [("contribution", top), *found]


def strong_columns(cwm: np.ndarray) -> tuple[int, int]:
    """Where a pattern begins and ends: columns of at least a fifth of its strongest, and one on each side."""
    strength = np.abs(cwm).sum(axis=0)
    strong = np.flatnonzero(strength >= _STRONG * strength.max(initial=0.0))
    if not len(strong) or not strength.max(initial=0.0):
        return 0, cwm.shape[1]
    return max(0, int(strong[0]) - 1), min(cwm.shape[1], int(strong[-1]) + 2)


def _aligned(
    rows: list[tuple[str, np.ndarray, str]], target: tuple[str, np.ndarray, str], strand: str | None, width: int
) -> list[tuple[str, Markup]]:
    name, other, words = target
    first = rows[0][1]
    at = place(first, other, strand if strand in ("+", "-") else None)
    columns = max(width, _columns(first.shape[1], other.shape[1], at))
    spare = (columns - _columns(first.shape[1], other.shape[1], at)) // 2
    left, right = max(0, -at.offset) + spare, max(0, at.offset) + spare
    shown = other if at.strand == "+" else reverse_complement(other)
    found = [(label, _bits(ppm, alt, columns, left)) for label, ppm, alt in rows]
    flipped = ", reverse complement" if at.strand == "-" else ""
    return [*found, (f"{name}{flipped}", _bits(shown, words + flipped, columns, right))]


def _columns(query: int, target: int, at: Placement) -> int:
    return max(query, at.offset + target) - min(0, at.offset)


def _bits(ppm: np.ndarray, alt: str, columns: int, left: int) -> Markup:
    total = f"{column_information(ppm).sum():.1f} bits"
    logo = page_logo(
        information_heights(ppm), alt=f"{alt}: {consensus(ppm)}, {total}", low=0.0, high=2.0, columns=columns, left=left
    )
    return Markup(logo)


def consensus(ppm: np.ndarray) -> str:
    """The most frequent bases; small letters where a column has less than half a bit."""
    letters = np.array(list("ACGT"))[ppm.argmax(axis=0)]
    strong = column_information(ppm) > 0.5
    return "".join(c if s else c.lower() for c, s in zip(letters, strong, strict=True))


def stretch_pictures(heights: np.ndarray, truth: np.ndarray | None, low: float, high: float, name: str) -> list[Any]:
    """Contribution logos of a stretch, forward and reverse complement, and the truth beneath."""
    heights = np.asarray(heights, dtype=np.float64)

    def logo(matrix: np.ndarray, words: str) -> Markup:
        return Markup(page_logo(matrix, alt=f"{words} of {name}", low=low, high=high, tall=46))

    rows = [("forward", logo(heights, "Contributions, forward strand,"))]
    if truth is not None:
        drawn = information_heights(np.asarray(truth, dtype=np.float64))
        rows.append(("truth, bits", Markup(page_logo(drawn, alt=f"Ground truth of {name}", low=0, high=2, tall=30))))
    rows.append(("reverse complement", logo(heights[::-1, ::-1], "Contributions, reverse complement,")))
    return rows
