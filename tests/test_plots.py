"""Logos and learning curves show what they are given."""

from __future__ import annotations

import io
import math
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from PIL import Image
from scipy.stats import entropy

from tuner.models.recipe import EpochRecord
from tuner.motifs.database import read_meme
from tuner.motifs.filters import Filter
from tuner.motifs.match import FilterMatch
from tuner.plots.curve_sheet import curve_sheet
from tuner.plots.curves import draw_learning_curve
from tuner.plots.figures import BLUE, GREEN, VERMILION, new_figure, png
from tuner.plots.filter_sheet import filter_sheet
from tuner.plots.logos import (
    Box,
    draw_filter_logos,
    draw_logo,
    filter_label,
    grid_boxes,
    information_heights,
)

PNG = b"\x89PNG\r\n\x1a\n"
SVG = "{http://www.w3.org/2000/svg}"


def a_filter(index: int, *, sites: int = 200, information: float = 12.0, alive: bool = True) -> Filter:
    width = 8 if alive else 0
    ppm = np.full((4, width), 0.02)
    ppm[index % 4] = 0.94
    return Filter(index, ppm, sites if alive else 0, information if alive else 0.0, alive, 0)


def a_match(item: Filter, e_value: float, name: str | None = "ZBED2") -> FilterMatch:
    known: dict[str, object] = {
        "filter": item.index,
        "target": name and "MA1971.2",
        "target_name": name,
        "e_value": e_value,
        "gated": item.gated,
        "significant": item.gated and e_value <= 0.01,
    }
    return FilterMatch(**{field: known.get(field) for field in FilterMatch._fields})  # type: ignore[arg-type]


def letters(axes: Axes) -> list[PathPatch]:
    return [artist for artist in axes.get_children() if isinstance(artist, PathPatch)]


# ------------------------------------------------------------------ logos


def test_a_column_is_as_tall_as_its_information() -> None:
    ppm = np.random.default_rng(0).dirichlet(np.ones(4), 30).T
    heights = information_heights(ppm)
    np.testing.assert_allclose(heights.sum(axis=0), 2 - entropy(ppm, base=2, axis=0))
    np.testing.assert_allclose(heights / heights.sum(axis=0), ppm)


def test_certain_and_uniform_columns_are_two_and_no_bits() -> None:
    np.testing.assert_allclose(information_heights(np.array([[1, 0, 0, 0], [0.25] * 4]).T).sum(axis=0), [2, 0])


def test_the_tallest_letter_ends_farthest_from_zero_on_both_sides() -> None:
    axes = new_figure(2, 2).add_subplot()
    draw_logo(axes, np.array([[0.5], [0.25], [-0.4], [-0.1]]), left=3)
    boxes = [patch.get_path().get_extents() for patch in letters(axes)]
    assert [(round(box.y0, 6), round(box.y1, 6)) for box in boxes] == [
        (0.25, 0.75),  # A above C
        (0.0, 0.25),
        (-0.5, -0.1),  # G below T
        (-0.1, 0.0),
    ]
    assert all(3 < box.x0 < box.x1 < 4 for box in boxes)


def test_a_letter_below_zero_stands_on_its_head() -> None:
    upright, hanging = (new_figure(1, 1).add_subplot() for _ in range(2))
    one = np.zeros((4, 1))
    one[0] = 1.0
    draw_logo(upright, one)
    draw_logo(hanging, -one)
    flipped = letters(hanging)[0].get_path().vertices * [1, -1]
    np.testing.assert_allclose(letters(upright)[0].get_path().vertices, flipped)


def written(figure: Figure) -> list[str]:
    """Every text in the grid but the scale of its rows."""
    return [t.get_text() for t in figure.axes[0].texts if t.get_text() not in ("0", "1", "2", "bits")]


def inside(figure: Figure, box: Box) -> np.ndarray:
    """Corners of the letters that lie in a box, shape=(n, 2), in columns of inches and bits."""
    x, y, w, h = box
    corners = np.concatenate([np.empty((0, 2)), *(patch.get_path().vertices for patch in letters(figure.axes[0]))])
    here = corners[((corners >= (x, y - 1e-9)) & (corners <= (x + w, y + h + 1e-9))).all(axis=1)]
    return (here - (x, y)) * (1, 2 / h)


def test_every_real_filter_gets_a_logo(data_dir: Path) -> None:
    motifs = read_meme(data_dir / "tomtom_reference" / "cnn_filters_32.meme")
    filters = [Filter(i, motif.ppm, 100, 10.0, True, 0) for i, motif in enumerate(motifs)]
    figure = draw_filter_logos(filters, title="Trial 3")
    boxes, size = grid_boxes(32, 4)
    assert tuple(figure.get_size_inches()) == pytest.approx(size)
    assert [text.get_text() for text in figure.texts] == ["Trial 3"]
    assert len(written(figure)) == len(motifs) == 32
    widest = max(motif.ppm.shape[1] for motif in motifs)
    for box, motif in zip(boxes, motifs, strict=True):
        corners = inside(figure, box)
        assert corners[:, 1].max() == pytest.approx((2 - entropy(motif.ppm, base=2, axis=0)).max(), abs=1e-6)
        extent = corners[:, 0].max() - corners[:, 0].min()
        assert extent == pytest.approx((motif.ppm.shape[1] - 0.04) * box[2] / widest, rel=0.05)
    outside = sum(len(patch.get_path().vertices) for patch in letters(figure.axes[0]))
    assert sum(len(inside(figure, box)) for box in boxes) == outside, "no letter leaves its box"
    assert png(figure).startswith(PNG)


def test_filters_are_ordered_matched_gated_weak_dead() -> None:
    filters = [
        a_filter(0, alive=False),
        a_filter(1, information=3.0),
        a_filter(2),
        a_filter(3),
        a_filter(4),
        a_filter(5, sites=3),
    ]
    rows = [a_match(filters[2], 0.5), a_match(filters[3], 2e-3), a_match(filters[4], 2e-5)]
    assert written(draw_filter_logos(filters, rows)) == [
        "#4 · 200 sites · ZBED2 E=2e-5",
        "#3 · 200 sites · ZBED2 E=2e-3",
        "#2 · 200 sites · ZBED2 E=0.5",
        "#5 · 3 sites · 12.0 bits: too weak to match",
        "#1 · 200 sites · 3.0 bits: too weak to match",
        "#0 · dead",
        "never active",
    ]


def test_a_dead_filter_is_a_grey_placeholder() -> None:
    figure = draw_filter_logos([a_filter(0, alive=False), a_filter(1)])
    (alive, dead), _ = grid_boxes(2, 4)
    assert len(inside(figure, alive)) > 0
    assert len(inside(figure, dead)) == 0
    assert written(figure)[1:] == ["#0 · dead", "never active"]
    (field,) = [c for c in figure.axes[0].collections if isinstance(c, PolyCollection)]
    assert len(field.get_paths()) == 1


def test_a_filter_without_an_informative_column_says_so() -> None:
    flat = Filter(0, np.empty((4, 0)), 50, 0.0, True, 0)
    assert written(draw_filter_logos([flat]))[1:] == ["no column above 0.5 bit"]


@pytest.mark.parametrize(
    ("e_value", "name", "label"),
    [
        (1e-12, "ZBED2", "#3 · 1 site · ZBED2 E=1e-12"),
        (0.0, "ZBED2", "#3 · 1 site · ZBED2 E=0"),
        (7.04, "Stat5a::Stat5b::Stat6", "#3 · 1 site · Stat5a::Stat5b:… E=7"),
    ],
)
def test_a_label_stays_on_one_line(e_value: float, name: str, label: str) -> None:
    item = a_filter(3, sites=1)
    assert filter_label(item, a_match(item, e_value, name)) == label


def test_a_layer_of_any_size_is_drawn() -> None:
    for n in (0, 1, 5, 97):
        assert len(written(draw_filter_logos([a_filter(i) for i in range(n)]))) == n
        assert len(ElementTree.fromstring(filter_sheet([a_filter(i) for i in range(n)])).findall(f"{SVG}g")) == n


def test_the_same_picture_has_the_same_bytes() -> None:
    filters = [a_filter(i) for i in range(3)]
    assert filter_sheet(filters) == filter_sheet(filters)
    assert curve_sheet(history(8)) == curve_sheet(history(8))
    assert png(draw_filter_logos(filters)) == png(draw_filter_logos(filters))


def test_a_sheet_says_and_shows_what_the_drawn_grid_does() -> None:
    rng = np.random.default_rng(0)
    filters = [a_filter(i)._replace(ppm=rng.dirichlet([0.3] * 4, 5 + i).T) for i in range(6)]
    filters += [a_filter(6, alive=False), a_filter(7, information=3.0), Filter(8, np.empty((4, 0)), 50, 0.0, True, 0)]
    rows = [a_match(filters[2], 2e-5, "A<B> & C"), a_match(filters[3], 0.5)]
    figure, sheet = draw_filter_logos(filters, rows), ElementTree.fromstring(filter_sheet(filters, rows))
    wide, high = figure.get_size_inches()
    assert [float(v) for v in sheet.attrib["viewBox"].split()] == pytest.approx([0, 0, 72 * wide, 72 * high])
    texts = ["".join(t.itertext()) for t in sheet.iter(f"{SVG}text")]
    assert sorted(t for t in texts if t not in ("0", "1", "2", "bits")) == sorted(written(figure))
    boxes, _ = grid_boxes(len(filters), 4)
    empty = 0
    for cell, (x, y, w, h) in zip(sheet.findall(f"{SVG}g"), boxes, strict=True):
        expected = inside(figure, (x, y, w, h))
        found = []
        for use in cell.iter(f"{SVG}use"):
            assert use.attrib["href"] == f"#letter-{use.attrib['class']}"
            a, _, _, d, e, f = (float(v) for v in use.attrib["transform"][7:-1].split())  # matrix(a b c d e f)
            found += [(e, f), (e + a, f + d)]
        if not found:
            empty += 1
            assert len(expected) == 0
            continue
        corners = (np.array(found) / 72 - (x, high - y)) * (1, -2 / h)  # as `inside` has them
        assert corners.min(axis=0) == pytest.approx(expected.min(axis=0), abs=0.02)
        assert corners.max(axis=0) == pytest.approx(expected.max(axis=0), abs=0.02)
    assert empty == 2


def test_a_sheet_reads_names_as_text_and_needs_nothing_from_elsewhere() -> None:
    item = a_filter(0)
    sheet = filter_sheet([item], [a_match(item, 2e-5, '<b>&"x"')]).decode()
    assert "<b>" not in sheet
    assert '<b>&"x" E=2e-5' in "".join(ElementTree.fromstring(sheet).itertext())
    assert re.findall(r'(?:href|src)="(?!#letter-)', sheet) == []
    assert set(re.findall(r'href="#(letter-.)"', sheet)) <= set(re.findall(r'id="(letter-.)"', sheet))


def test_a_picture_keeps_its_paper_white_and_its_colours_apart() -> None:
    with Image.open(io.BytesIO(png(draw_learning_curve(history(8))))) as image:
        colours = {colour for _, colour in image.convert("RGB").getcolors(1000) or []}
        assert image.mode == "P"
        assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
    for wanted in (BLUE, GREEN, VERMILION):
        wished = [int(wanted[i : i + 2], 16) for i in (1, 3, 5)]
        assert min(max(abs(a - b) for a, b in zip(wished, c, strict=True)) for c in colours) <= 4


# ------------------------------------------------------------------ learning curves


def history(n: int) -> list[EpochRecord]:
    rates = [1e-3 if epoch <= 4 else 2e-4 if epoch <= 6 else 4e-5 for epoch in range(1, n + 1)]
    aurocs = [0.9 - 0.01 * abs(epoch - 5) for epoch in range(1, n + 1)]
    return [EpochRecord(i + 1, 0.7 / (i + 1), 0.8 / (i + 1), aurocs[i], 0.8, rates[i], 1.0) for i in range(n)]


def verticals(axes: Axes) -> list[float]:
    return sorted(float(line.get_xdata()[0]) for line in axes.lines if list(line.get_ydata()) == [0, 1])


def test_a_curve_marks_the_best_epoch_and_the_cuts_of_the_learning_rate() -> None:
    figure = draw_learning_curve(history(8), title="Trial 3")
    losses, scores = figure.axes
    assert verticals(losses) == verticals(scores) == [4.5, 5, 6.5]
    assert [text.get_text() for text in losses.texts] == ["rate 2e-4", "rate 4e-5"]
    assert scores.get_title(loc="right") == "kept: epoch 5, AUROC 0.900"
    for axes, labels in ((losses, ["training", "validation"]), (scores, ["AUROC", "average precision"])):
        assert axes.get_legend_handles_labels()[1] == labels


def test_the_epoch_that_was_kept_can_be_another_than_the_best() -> None:
    scores = draw_learning_curve(history(8), best_epoch=8).axes[1]
    assert scores.get_title(loc="right") == "kept: epoch 8, AUROC 0.870"


def test_a_diverged_epoch_leaves_a_gap() -> None:
    broken = [*history(3), history(4)[3]._replace(loss=math.nan, valid_loss=math.inf, auroc=math.nan)]
    figure = draw_learning_curve(broken)
    assert np.isnan(figure.axes[0].lines[1].get_ydata()[3])
    assert figure.axes[1].get_title(loc="right") == "kept: epoch 3, AUROC 0.880"


@pytest.mark.parametrize("n", [0, 1, 2, 60])
def test_a_curve_of_any_length_is_a_picture(n: int) -> None:
    assert png(draw_learning_curve(history(n))).startswith(PNG)
    assert ElementTree.fromstring(curve_sheet(history(n))).tag == f"{SVG}svg"


def points(path: str) -> list[np.ndarray]:
    """Corners of each unbroken stretch of a path of M and L."""
    stretches = [re.findall(r"[ML]?([-\d.]+) ([-\d.]+)", part) for part in path.split("M")[1:]]
    return [np.array(stretch, dtype=float) for stretch in stretches]


@pytest.mark.parametrize("n", [8, 30])
def test_a_curve_sheet_shows_what_the_drawn_curve_does(n: int) -> None:
    records = history(n)
    records[2] = records[2]._replace(loss=math.nan, valid_loss=math.inf)
    figure, sheet = draw_learning_curve(records), ElementTree.fromstring(curve_sheet(records))
    texts = ["".join(t.itertext()) for t in sheet.iter(f"{SVG}text")]
    for wanted in ("rate 2e-4", "rate 4e-5", "kept: epoch 5, AUROC 0.900", "training", "validation", "AUROC", "epoch"):
        assert wanted in texts
    lines = [p for p in sheet.iter(f"{SVG}path") if p.attrib.get("class") == "line" and "h16" not in p.attrib["d"]]
    drawn = [line for axes in figure.axes for line in axes.lines[:2]]
    for line, expected in zip(lines, drawn, strict=True):
        found = points(line.attrib["d"])
        assert line.attrib["stroke"] == expected.get_color()
        values = np.asarray(expected.get_ydata())
        gaps = np.isfinite(values)
        assert [len(stretch) for stretch in found] == ([2, n - 3] if not gaps.all() else [n])
        found_all, values = np.concatenate(found), values[gaps]
        # Up is down in a picture, and values lie evenly.
        if np.ptp(values):
            assert np.corrcoef(found_all[:, 1], values)[0, 1] == pytest.approx(-1, abs=1e-5)
        assert np.allclose(np.diff(found[-1][:, 0]), np.diff(found[-1][:, 0])[0], atol=0.02)
    circles = len(list(sheet.iter(f"{SVG}circle")))
    assert circles == (1 + 4 * n - 2 if n <= 20 else 1)


def test_values_stand_at_the_ticks_of_a_curve_sheet() -> None:
    records = history(8)
    sheet = ElementTree.fromstring(curve_sheet(records))
    right = [
        t for t in sheet.iter(f"{SVG}text") if t.attrib.get("class") == "end" and not (t.text or "").startswith("k")
    ]
    ticks = np.array([[float(t.attrib["y"]) - 2.9, float(t.text or "")] for t in right])
    lines = [p for p in sheet.iter(f"{SVG}path") if p.attrib.get("class") == "line" and "h16" not in p.attrib["d"]]
    for line, values, panel in (
        (lines[0], [r.loss for r in records], ticks[ticks[:, 0] < 165]),
        (lines[2], [r.auroc for r in records], ticks[ticks[:, 0] > 165]),
    ):
        slope, start = np.polyfit(panel[:, 0], panel[:, 1], 1)
        assert slope * points(line.attrib["d"])[0][:, 1] + start == pytest.approx(values, abs=2e-3)
