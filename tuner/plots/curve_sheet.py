"""The learning curve of a trial as SVG, written as text: matplotlib takes a hundred times as long, for axes and ticks.

It shows what `tuner.plots.curves.draw_learning_curve` draws for a paper, in the same words and colours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.ticker import MaxNLocator

from tuner.models.recipe import EpochRecord
from tuner.plots.curves import kept_epoch, kept_label, rate_cuts
from tuner.plots.figures import BLUE, GREEN, INK, QUIET, RULE, VERMILION

_WIDE, _HIGH = 460.0, 331.0  # points, as the drawn figure
_LEFT, _RIGHT = 48.0, 453.0
_FEW = 20  # epochs, up to which each is a dot

_STYLE = "".join(
    f"{selector}{{{rule}}}"
    for selector, rule in {
        "text": f"font-family:'DejaVu Sans',Verdana,Arial,sans-serif;font-size:8px;fill:{INK}",
        ".middle": "text-anchor:middle",
        ".end": "text-anchor:end",
        ".rate": f"font-size:7px;fill:{QUIET};text-anchor:middle",
        "path": "fill:none",
        ".grid": f"stroke:{RULE};stroke-width:.6",
        ".axis": f"stroke:{QUIET};stroke-width:.8",
        ".line": "stroke-width:1.6",
        ".cut": f"stroke:{QUIET};stroke-width:.9;stroke-dasharray:1 1.6",
        ".kept": f"stroke:{INK};stroke-width:1",
    }.items()
)


class Series(NamedTuple):
    """One line of a panel: its name, a value an epoch, its colour, and whether it is dashed."""

    name: str
    values: Sequence[float]
    colour: str
    dashed: bool = False


class _Panel(NamedTuple):
    """Where a panel lies, in points from the upper left corner, and what it spans."""

    top: float
    bottom: float
    epochs: tuple[float, float]
    values: tuple[float, float]

    def x(self, epoch: float) -> float:
        low, high = self.epochs
        return _LEFT + (_RIGHT - _LEFT) * (epoch - low) / (high - low)

    def y(self, value: float) -> float:
        low, high = self.values
        return self.bottom - (self.bottom - self.top) * (value - low) / (high - low)


def curve_sheet(history: Sequence[EpochRecord], *, best_epoch: int | None = None) -> bytes:
    """Draw training and validation loss, validation AUROC, and the learning-rate cuts of a run.

    Parameters
    ----------
    history : sequence of EpochRecord
        One record per epoch, in order; may be empty.
    best_epoch : int, optional
        Epoch whose weights were kept; the one of highest AUROC where it is not given.

    Returns
    -------
    bytes
        An SVG in points that needs nothing else: two panels that share their epochs.
    """
    epochs = [record.epoch for record in history]
    losses = [
        Series("training", [r.loss for r in history], BLUE),
        Series("validation", [r.valid_loss for r in history], VERMILION),
    ]
    scores = [
        Series("AUROC", [r.auroc for r in history], GREEN),
        Series("average precision", [r.average_precision for r in history], BLUE, dashed=True),
    ]
    upper = _Panel(18.0, 155.0, _span(epochs, 1.0), _span([v for s in losses for v in s.values]))
    lower = _Panel(175.0, 300.0, upper.epochs, _span([v for s in scores for v in s.values]))
    kept = kept_epoch(history, best_epoch)
    parts = []
    for panel, series, title in ((upper, losses, "loss (nats)"), (lower, scores, "validation")):
        parts.append(_frame(panel, title, integers=panel is lower))
        if not history:
            middle = f'x="{(_LEFT + _RIGHT) / 2:g}" y="{(panel.top + panel.bottom) / 2:g}" class="middle"'
            parts.append(f'<text {middle} fill="{QUIET}">no epoch finished</text>')
            continue
        for cut, rate in rate_cuts(history):
            x = panel.x(cut)
            parts.append(f'<path class="cut" d="M{x:.2f} {panel.top}V{panel.bottom}"/>')
            if panel is upper:
                parts.append(f'<text x="{x:.2f}" y="{panel.top - 3:g}" class="rate">{rate}</text>')
        if kept is not None:
            parts.append(f'<path class="kept" d="M{panel.x(kept):.2f} {panel.top}V{panel.bottom}"/>')
        parts.extend(_line(panel, epochs, one) for one in series)
        parts.append(_legend(panel, series, top=panel is upper))
    label = kept_label(history, kept)
    if label and kept is not None:
        value = next(record.auroc for record in history if record.epoch == kept)
        parts.append(f'<circle cx="{lower.x(kept):.2f}" cy="{lower.y(value):.2f}" r="3" fill="{INK}"/>')
        parts.append(f'<text x="{_RIGHT}" y="{lower.top - 4:g}" class="end">{label}</text>')
    parts.append(f'<text x="{(_LEFT + _RIGHT) / 2:g}" y="{_HIGH - 5:g}" class="middle">epoch</text>')
    size = f'width="{_WIDE:g}pt" height="{_HIGH:g}pt" viewBox="0 0 {_WIDE:g} {_HIGH:g}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{_STYLE}</style>'
        f'<rect width="100%" height="100%" fill="#FFFFFF"/>{"".join(parts)}</svg>\n'
    ).encode()


def _span(values: Sequence[float], least: float = 1e-3) -> tuple[float, float]:
    """Lowest and highest finite value with a twentieth of room on both sides; never empty."""
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = min(finite), max(finite)
    room = 0.05 * max(high - low, least)
    if high - low < least:
        room = least / 2
    return low - room, high + room


def _frame(panel: _Panel, title: str, *, integers: bool) -> str:
    """Grid, ticks, left and lower edge, and the name of the values; epochs are written below the lower panel."""
    grid, texts = [], []
    ticks = [
        v
        for v in MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]).tick_values(*panel.values)
        if panel.values[0] <= v <= panel.values[1]
    ]
    step = min(np.diff(ticks), default=1.0)
    digits = max(0, -math.floor(math.log10(step) + 1e-9)) if step > 0 else 0
    digits += round(step * 10**digits, 6) % 1 > 0  # .025 needs three
    for value in ticks:
        y = panel.y(value)
        grid.append(f"M{_LEFT - 3:g} {y:.2f}H{_RIGHT:g}")
        texts.append(f'<text x="{_LEFT - 5:g}" y="{y + 2.9:.2f}" class="end">{value:.{digits}f}</text>')
    low, high = panel.epochs
    for epoch in MaxNLocator(9, integer=True, min_n_ticks=1).tick_values(low, high):
        if low <= epoch <= high:
            x = panel.x(epoch)
            grid.append(f"M{x:.2f} {panel.top}V{panel.bottom + 3:g}")
            if integers:
                texts.append(f'<text x="{x:.2f}" y="{panel.bottom + 12:g}" class="middle">{epoch:.0f}</text>')
    turned = f"translate(11 {(panel.top + panel.bottom) / 2:g}) rotate(-90)"
    texts.append(f'<text transform="{turned}" class="middle">{title}</text>')
    axis = f"M{_LEFT} {panel.top}V{panel.bottom}H{_RIGHT}"
    return f'<path class="grid" d="{"".join(grid)}"/><path class="axis" d="{axis}"/>{"".join(texts)}'


def _line(panel: _Panel, epochs: Sequence[int], series: Series) -> str:
    """A line with a gap where a value is not finite; of few epochs each is a dot."""
    path, dots, pen = [], [], "M"
    for epoch, value in zip(epochs, series.values, strict=True):
        if not math.isfinite(value):
            pen = "M"
            continue
        x, y = panel.x(epoch), panel.y(value)
        path.append(f"{pen}{x:.2f} {y:.2f}")
        pen = "L"
        if len(epochs) <= _FEW:
            dots.append(f'<circle cx="{x:.2f}" cy="{y:.2f}" r="1.7" fill="{series.colour}"/>')
    return f"{_stroke(series, ''.join(path))}{''.join(dots)}"


def _stroke(series: Series, path: str) -> str:
    dashes = ' stroke-dasharray="6 2.6"' if series.dashed else ""
    return f'<path class="line" stroke="{series.colour}"{dashes} d="{path}"/>'


def _legend(panel: _Panel, series: Sequence[Series], *, top: bool) -> str:
    """Names of the lines on pale paper, in the upper or the lower right corner."""
    wide, row = 104.0, 12.0
    x, y = _RIGHT - wide - 3, panel.top + 3 if top else panel.bottom - row * len(series) - 6
    parts = [f'<rect x="{x}" y="{y:g}" width="{wide}" height="{row * len(series) + 3:g}" fill="#FFF" opacity=".85"/>']
    for number, one in enumerate(series):
        middle = y + row * (number + 0.5) + 1.5
        parts.append(_stroke(one, f"M{x + 4} {middle:g}h16"))
        parts.append(f'<text x="{x + 25}" y="{middle + 2.9:g}">{one.name}</text>')
    return "".join(parts)
