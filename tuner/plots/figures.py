"""A figure without pyplot: nothing global, so that worker threads and the report draw side by side."""

from __future__ import annotations

import io
from contextlib import AbstractContextManager
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

__all__ = ["Figure", "new_figure", "png", "reproducible", "svg", "tidy"]

INK = "#222222"
QUIET = "#767676"  # 4.5:1 on white, the least that still counts as legible (WCAG 2.1, 1.4.3)
RULE = "#D9D9D9"
# Okabe & Ito 2008: told apart with every common colour blindness.
COLOURS = 128  # of a picture
BLUE, ORANGE, GREEN, VERMILION, PURPLE = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"


def new_figure(width: float, height: float, *, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """Make an empty white figure with its own canvas.

    Parameters
    ----------
    width, height : float
        Size in inches.
    layout : {"constrained", None}
        Who places the axes: matplotlib, or the caller.
    """
    figure = Figure(figsize=(width, height), facecolor="white", layout=layout)
    FigureCanvasAgg(figure)
    return figure


def tidy(axes: Axes, *, grid: bool = True) -> None:
    """Leave of the frame only the two spines that carry ticks, and a faint grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(QUIET)
    axes.tick_params(labelsize=8, color=QUIET, labelcolor=INK, length=3)
    if grid:
        axes.grid(color=RULE, linewidth=0.6)
        axes.set_axisbelow(True)


def png(figure: Figure, dpi: int = 120) -> bytes:
    """Render a figure; the same figure gives the same bytes.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        What to render.
    dpi : int
        Pixels per inch.
    """
    figure.set_dpi(dpi)
    canvas: Any = FigureCanvasAgg(figure)  # without types
    canvas.draw()
    drawn = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    # A few flat colours and the edges between: a palette takes a third of the bytes, and half the time to pack.
    few = drawn.quantize(COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    palette = np.array(few.getpalette()).reshape(-1, 3)
    palette[np.asarray(few)[0, 0]] = 255  # the paper; the palette's white is off by one
    few.putpalette(palette.ravel().tolist())
    buffer = io.BytesIO()
    few.save(buffer, format="PNG", compress_level=3)
    return buffer.getvalue()


def reproducible() -> AbstractContextManager[None]:
    """Draw as for a page: text stays text, ids do not change from run to run, a name with dollars is no formula."""
    style: Any = {"svg.fonttype": "none", "svg.hashsalt": "tuner", "text.parse_math": False}
    return mpl.rc_context(style)


def svg(figure: Figure) -> str:
    """Render a figure as SVG; the same figure gives the same text."""
    buffer = io.StringIO()
    with reproducible():
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
