"""Figure of one training run: losses above, validation metrics below."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tuner.plots.figures import BLUE, GREEN, INK, QUIET, VERMILION, default_style, new_figure, tidy

if TYPE_CHECKING:
    from tuner.models.recipe import EpochRecord


@default_style()
def draw_learning_curve(history: Sequence[EpochRecord], *, best_epoch: int | None = None, title: str = "") -> Figure:
    """Draw training and validation loss, validation AUROC, and the learning-rate cuts of a run.

    Parameters
    ----------
    history : sequence of EpochRecord
        One record per epoch, in order; may be empty.
    best_epoch : int, optional
        Epoch whose weights were kept; by default the one with the highest AUROC.
    title : str
        Line above the panels.

    Returns
    -------
    matplotlib.figure.Figure
        Two axes with common epochs: loss in nats per label, and AUROC with average precision.
    """
    figure = new_figure(6.4, 4.6, layout=None)  # a layout engine would draw everything twice
    figure.subplots_adjust(left=0.105, right=0.985, bottom=0.1, top=0.89 if title else 0.945, hspace=0.16)
    if title:
        figure.suptitle(title, fontsize=11, color=INK, x=0.01, ha="left", weight="bold")
    losses, scores = figure.subplots(2, 1, sharex=True)
    for axes in (losses, scores):
        tidy(axes)
    losses.set_ylabel("loss (nats)", fontsize=8.5, color=INK)
    scores.set_ylabel("validation", fontsize=8.5, color=INK)
    scores.set_xlabel("epoch", fontsize=8.5, color=INK)
    scores.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if not history:
        for axes in (losses, scores):
            axes.text(0.5, 0.5, "no epoch finished", transform=axes.transAxes, ha="center", color=QUIET)
        return figure
    epochs = np.array([record.epoch for record in history])
    _line(losses, epochs, [record.loss for record in history], BLUE, "training")
    _line(losses, epochs, [record.valid_loss for record in history], VERMILION, "validation")
    _line(scores, epochs, [record.auroc for record in history], GREEN, "AUROC")
    _line(
        scores,
        epochs,
        [record.average_precision for record in history],
        BLUE,
        "average precision",
        style="--",
    )
    _mark_best(losses, scores, history, best_epoch)
    _mark_cuts(losses, scores, history)
    losses.legend(fontsize=8, edgecolor="none", framealpha=0.85, loc="upper right", labelcolor=INK)
    scores.legend(fontsize=8, edgecolor="none", framealpha=0.85, loc="lower right", labelcolor=INK)
    return figure


def _line(
    axes: Axes,
    epochs: np.ndarray,
    values: Sequence[float | None],
    colour: str,
    label: str,
    *,
    style: str = "-",
) -> None:
    """Draw one series; a missing or non-finite value leaves a gap."""
    heights = np.array([math.nan if value is None else value for value in values], dtype=np.float64)
    heights[~np.isfinite(heights)] = math.nan
    few = len(epochs) <= 20
    axes.plot(
        epochs,
        heights,
        style,
        color=colour,
        label=label,
        linewidth=1.6,
        marker="o" if few else "",
        markersize=3,
    )


def _mark_best(losses: Axes, scores: Axes, history: Sequence[EpochRecord], kept: int | None) -> None:
    """Draw a line through the epoch whose weights were kept, and write its AUROC if it has one."""
    scored = {record.epoch: record.auroc for record in history if math.isfinite(record.auroc)}
    if kept is None and scored:
        kept = max(scored, key=lambda epoch: scored[epoch])
    if kept is None:
        return
    for axes in (losses, scores):
        axes.axvline(kept, color=INK, linewidth=1.0, zorder=1)
    if kept in scored:
        scores.plot([kept], [scored[kept]], "o", color=INK, markersize=6, zorder=4)
        label = f"kept: epoch {kept}, AUROC {scored[kept]:.3f}"
        scores.set_title(label, fontsize=8, color=INK, loc="right", pad=4)


def _mark_cuts(losses: Axes, scores: Axes, history: Sequence[EpochRecord]) -> None:
    """Draw a dotted line before each epoch that began with a smaller learning rate."""
    for before, after in pairwise(history):
        if after.learning_rate >= before.learning_rate:
            continue
        cut, rate = after.epoch - 0.5, f"rate {after.learning_rate:.0e}".replace("e-0", "e-")
        for axes in (losses, scores):
            axes.axvline(cut, color=QUIET, linewidth=0.9, linestyle=":", zorder=1)
        losses.annotate(
            rate,
            (cut, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 2),
            textcoords="offset points",
            ha="center",
            fontsize=7,
            color=QUIET,
        )
