"""Contribution logos of single sequences on both strands, with the planted motifs where they are known."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import numpy as np
from matplotlib.ticker import MaxNLocator

from tuner.plots.logos import Box, edges, information_heights, letter_uses, logo_sheet

_LEFT, _WIDE, _HIGH = 78, 564, 52  # points: space for labels and ticks left of a logo, and its size
_TITLE, _GAP = 16, 12  # points above a stretch, below a logo


class Stretch(NamedTuple):
    """A stretch of one sequence.

    Attributes
    ----------
    title : str
        Line above it.
    heights : np.ndarray, shape=(4, width)
        Contributions to the logit, forward strand.
    truth : np.ndarray, shape=(4, width), or None
        Probabilities from which it was drawn, if known.
    """

    title: str
    heights: np.ndarray
    truth: np.ndarray | None = None


def contribution_logos(stretches: Sequence[Stretch]) -> str:
    """Draw each stretch forward and as reverse complement, with the ground truth beneath if there is one.

    Parameters
    ----------
    stretches : sequence of Stretch
        From top to bottom, all on the same scale and with the same letter width; may be empty.

    Returns
    -------
    str
        A self-contained SVG with one ``g`` per logo.
    """
    low = min((float(np.minimum(s.heights, 0).sum(axis=0).min(initial=0)) for s in stretches), default=0.0)
    high = max((float(np.maximum(s.heights, 0).sum(axis=0).max(initial=1e-9)) for s in stretches), default=1.0)
    column = _WIDE / max([1, *(s.heights.shape[1] for s in stretches)])
    parts, y = [], 4
    for stretch in stretches:
        y += _TITLE
        parts.append(f'<text x="{_LEFT}" y="{y - 6}" class="title">{escape(stretch.title)}</text>')
        both = {"forward": stretch.heights, "reverse complement": stretch.heights[::-1, ::-1]}
        logos = [(label, heights, low, high) for label, heights in both.items()]
        if stretch.truth is not None:
            logos.append(("truth (bits)", information_heights(stretch.truth), 0.0, 2.0))
        for label, heights, bottom, top in logos:
            parts.append(_logo(label, heights, (_LEFT, y, column * heights.shape[1], _HIGH), bottom, top))
            y += _HIGH + _GAP
    return logo_sheet(_LEFT + _WIDE + 6, y, parts)


def _logo(label: str, heights: np.ndarray, box: Box, low: float, high: float) -> str:
    x, y, w, h = box
    unit = h / max(high - low, 1e-12)
    values = [v for v in MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(low, high) if low <= v <= high]
    digits = max((len(f"{v:.6g}".partition(".")[2]) for v in values), default=0)
    ticks = [((v - low) * unit, f"{v:.{digits}f}") for v in values]
    lines = label.split()
    middle = y + h / 2 + 2.3 - 4 * (len(lines) - 1)
    words = "".join(
        f'<text x="{x - 26:g}" y="{middle + 8 * i:g}" class="scale">{line}</text>' for i, line in enumerate(lines)
    )
    column, zero = w / max(heights.shape[1], 1), y + high * unit
    letters = letter_uses(heights, column=column, unit=unit, left=x, zero=zero, scale=high - low)
    return f"<g>{edges(box, ticks, foot=-low * unit)}{letters}{words}</g>"
