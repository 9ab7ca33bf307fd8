"""Matplotlib figures without pyplot, which keeps global state; and the conversion of any SVG to PNG."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import matplotlib as mpl
import resvg_py
from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["Figure", "default_style", "new_figure", "png", "svg", "tidy"]

INK = "#222222"
QUIET = "#767676"  # 4.5:1 on white, the lowest contrast that counts as legible (WCAG 2.1, 1.4.3)
RULE = "#D9D9D9"
# Okabe & Ito 2008: distinguishable with every common form of colour blindness.
BLUE, ORANGE, GREEN, VERMILION, PURPLE = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"
SERIES = (BLUE, VERMILION, GREEN, PURPLE, ORANGE)

_LOCK = threading.RLock()


def new_figure(width: float, height: float, *, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """Make an empty white figure.

    Parameters
    ----------
    width, height : float
        Size in inches.
    layout : {"constrained", None}
        Whether matplotlib places the axes, or the caller does (None).
    """
    return Figure(figsize=(width, height), facecolor="white", layout=layout)


def tidy(axes: Axes, *, grid: bool = True) -> None:
    """Keep only the two spines that carry ticks, and a faint grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(QUIET)
    axes.tick_params(labelsize=8, color=QUIET, labelcolor=INK, length=3)
    if grid:
        axes.grid(color=RULE, linewidth=0.6)
        axes.set_axisbelow(True)


@contextmanager
def default_style() -> Iterator[None]:
    """Use matplotlib's defaults whatever style the user has set; decorates every function that draws.

    In SVG, text stays text and ids do not change from run to run. A name with two dollar signs is not a formula.
    """
    with _LOCK, mpl.rc_context():  # the style is global: a second thread would save this one as the user's
        mpl.rcdefaults()
        mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "tuner", "text.parse_math": False})
        yield


@default_style()
def svg(figure: Figure) -> str:
    """Render a figure as SVG; the same figure gives the same text."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def png(picture: str, dpi: int = 120) -> bytes:
    """Convert an SVG to PNG; the same picture gives the same bytes.

    Parameters
    ----------
    picture : str
        SVG with text in DejaVu Sans, which matplotlib provides.
    dpi : int
        Pixels per inch.
    """
    folder = Path(mpl.get_data_path(), "fonts", "ttf")
    fonts = [str(folder / f"DejaVuSans{face}.ttf") for face in ("", "-Bold", "-Oblique")]
    return resvg_py.svg_to_bytes(svg_string=picture, dpi=dpi, font_files=fonts, skip_system_fonts=True)
