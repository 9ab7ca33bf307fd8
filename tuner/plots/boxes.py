"""Box plots of a measured value over seeds, one box per group, as publications show grids of experiments."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tuner.errors import UsageError
from tuner.plots.figures import BLUE, INK, QUIET, VERMILION, default_style, new_figure, png, svg, tidy

FORMATS = ("png", "svg", "pdf")
Groups = Sequence[tuple[tuple[Any, ...], Sequence[float]]]


def box_plots(values: Mapping[str, Groups], *, title: str = "", file_format: str = "png") -> bytes:
    """Render `draw_box_plots` as PNG, SVG or PDF.

    Raises
    ------
    UsageError
        If the format is not one of these.
    """
    if file_format not in FORMATS:
        raise UsageError(f"figures are written as {', '.join(FORMATS)}, not {file_format!r}.")
    figure = draw_box_plots(values, title=title)
    if file_format == "pdf":
        buffer = io.BytesIO()
        figure.savefig(buffer, format="pdf", metadata={"CreationDate": None})
        return buffer.getvalue()
    return png(svg(figure)) if file_format == "png" else svg(figure).encode()


@default_style()
def draw_box_plots(values: Mapping[str, Groups], *, title: str = "") -> Figure:
    """Draw the quartiles and every single run of each group.

    Parameters
    ----------
    values : mapping of str to sequence of (key, values)
        Groups of each measured value. If a key has several elements, the first chooses the panel and the others
        name the box. A group without values keeps its place, which stays empty.
    title : str
        Line above the panels.

    Returns
    -------
    matplotlib.figure.Figure
        One row of panels per measured value; the panels of a row share their scale.
    """
    panels = {name: _panels(groups) for name, groups in values.items()}
    n_columns = max((len(p) for p in panels.values()), default=1) or 1
    n_boxes = max((len(boxes) for p in panels.values() for _, boxes in p), default=1)
    figure = new_figure(max(3.2, 0.28 * n_boxes + 1.4) * n_columns, 3.0 * max(len(panels), 1))
    if title:
        figure.suptitle(title, fontsize=11, color=INK, x=0.01, ha="left", weight="bold")
    grid = figure.subplots(max(len(panels), 1), n_columns, squeeze=False, sharey="row")
    for row, (name, found) in zip(grid, panels.items(), strict=False):
        row[0].set_ylabel(name, fontsize=8.5, color=INK)
        for axes in row[len(found) :]:
            axes.set_axis_off()
        for axes, (label, boxes) in zip(row, found, strict=False):
            tidy(axes)
            axes.set_title(label, fontsize=9, color=INK, loc="left")
            _boxes(axes, boxes)
    return figure


def _panels(groups: Groups) -> list[tuple[str, list[tuple[str, Sequence[float]]]]]:
    panels: dict[str, list[tuple[str, Sequence[float]]]] = {}
    for key, measured in groups:
        panel, rest = (str(key[0]), key[1:]) if len(key) > 1 else ("", key)
        label = ", ".join("-" if k is None else str(k) for k in rest)
        panels.setdefault(panel, []).append((label, measured))
    return list(panels.items())


def _boxes(axes: Axes, boxes: Sequence[tuple[str, Sequence[float]]]) -> None:
    places = range(1, len(boxes) + 1)
    drawn = [(place, list(measured)) for place, (_, measured) in zip(places, boxes, strict=True) if len(measured)]
    if drawn:
        axes.boxplot(
            [measured for _, measured in drawn],
            positions=[place for place, _ in drawn],
            widths=0.6,
            showfliers=False,
            medianprops={"color": VERMILION, "linewidth": 1.4},
            boxprops={"color": QUIET},
            whiskerprops={"color": QUIET},
            capprops={"color": QUIET},
        )
        for place, measured in drawn:
            axes.plot([place] * len(measured), measured, ".", color=BLUE, markersize=4, alpha=0.8)
    axes.set_xticks(list(places), [label for label, _ in boxes], rotation=90, fontsize=7)
    axes.set_xlim(0.4, len(boxes) + 0.6)
