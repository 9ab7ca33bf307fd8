"""Three small figures of how well a score separates two classes: ROC, precision-recall and calibration."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tuner.plots.figures import BLUE, INK, QUIET, default_style, new_figure, tidy

_SIZE = (3.3, 3.1)  # inches


@default_style()
def draw_roc(fpr: Sequence[float], tpr: Sequence[float], *, label: str = "") -> Figure:
    """Draw a ROC curve with the diagonal of chance.

    Parameters
    ----------
    fpr, tpr : sequence of float
        Ascending, from 0 to 1.
    label : str
        Line above the axes.
    """
    figure, axes = _unit_square("false positive rate", "true positive rate", label)
    axes.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle=(0, (4, 3)))
    axes.text(0.62, 0.55, "chance", fontsize=8, color=QUIET, rotation=45, ha="center", va="center")
    axes.plot(fpr, tpr, color=BLUE, linewidth=1.8)
    return figure


@default_style()
def draw_precision_recall(
    recall: Sequence[float], precision: Sequence[float], *, prevalence: float, label: str = ""
) -> Figure:
    """Draw a precision-recall curve with the line of chance.

    Parameters
    ----------
    recall, precision : sequence of float
        Recall ascends.
    prevalence : float
        Share of positives: the precision of chance.
    label : str
        Line above the axes.
    """
    figure, axes = _unit_square("recall", "precision", label)
    axes.axhline(prevalence, color=QUIET, linewidth=1, linestyle=(0, (4, 3)))
    axes.text(0.02, prevalence - 0.03, f"chance {prevalence:.2f}", fontsize=8, color=QUIET, va="top")
    axes.plot(recall, precision, color=BLUE, linewidth=1.8)
    return figure


@default_style()
def draw_calibration(
    predicted: Sequence[float],
    observed: Sequence[float],
    counts: Sequence[int],
    *,
    low: Sequence[float] = (),
    high: Sequence[float] = (),
    label: str = "",
) -> Figure:
    """Draw observed frequency against predicted probability; the area of a point shows its number of sequences.

    Parameters
    ----------
    predicted, observed : sequence of float
        Means of the occupied bins.
    counts : sequence of int
        Number of sequences in each bin.
    low, high : sequence of float
        Ends of the intervals of `observed`, drawn as bars; or nothing.
    label : str
        Line above the axes.
    """
    figure, axes = _unit_square("predicted probability", "observed frequency", label)
    axes.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle=(0, (4, 3)))
    axes.text(0.62, 0.55, "perfect", fontsize=8, color=QUIET, rotation=45, ha="center", va="center")
    axes.plot(predicted, observed, color=BLUE, linewidth=1.2, alpha=0.6)
    if len(low):
        axes.vlines(predicted, low, high, color=BLUE, linewidth=1, alpha=0.6)
    if len(counts):
        sizes = 14 + 150 * np.asarray(counts, dtype=np.float64) / max(counts)
        axes.scatter(predicted, observed, s=sizes, color=BLUE, edgecolors="white", linewidths=0.8, zorder=3)
    return figure


def _unit_square(x: str, y: str, label: str) -> tuple[Figure, Axes]:
    figure = new_figure(*_SIZE)
    axes = figure.add_subplot()
    tidy(axes)
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.02)
    ticks = [0, 0.25, 0.5, 0.75, 1]
    axes.set_xticks(ticks, labels=[f"{t:g}" for t in ticks])
    axes.set_yticks(ticks, labels=[f"{t:g}" for t in ticks])
    axes.set_xlabel(x, fontsize=9, color=INK)
    axes.set_ylabel(y, fontsize=9, color=INK)
    if label:
        axes.set_title(label, fontsize=9.5, color=INK, loc="left")
    return figure, axes
