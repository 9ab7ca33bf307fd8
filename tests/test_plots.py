"""Logos and learning curves show what they are given."""

from __future__ import annotations

import io
import math
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.image import imread
from matplotlib.textpath import TextPath
from scipy.stats import entropy

from tuner.models.recipe import EpochRecord
from tuner.motifs.database import read_meme
from tuner.motifs.filters import Filter
from tuner.motifs.match import FilterMatch
from tuner.plots.contribution_logos import Stretch, contribution_logos
from tuner.plots.curves import draw_learning_curve
from tuner.plots.effects import Drawing, effect_sheet
from tuner.plots.figures import BLUE, GREEN, VERMILION, png, svg
from tuner.plots.filter_logos import filter_label, filter_logos, grid_boxes
from tuner.plots.logos import information_heights, letter_uses

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


def letters(picture: ElementTree.Element) -> list[tuple[str, float, float, float, float]]:
    """Letter, left, right, foot and head of each letter of a logo, as in the picture: y goes down."""
    found = []
    for use in picture.iter(f"{SVG}use"):
        letter = use.attrib["class"]
        assert use.attrib["href"] == f"#letter-{letter}"
        wide, _, _, tall, x, y = (float(v) for v in use.attrib["transform"][7:-1].split())  # matrix(a b c d e f)
        found.append((letter, x, x + wide, y, y + tall))
    return found


def pixels(picture: str, dpi: int) -> np.ndarray:
    """A picture as people see it, shape=(height, width, 4), 0 to 1."""
    return np.asarray(imread(io.BytesIO(png(picture, dpi)), format="png"))


def nothing_sticks_out(picture: str) -> bool:
    """Whether a picture leaves no ink on a sheet that is wider by 40 points on each side."""
    wide, high = (float(v) for v in re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', picture)[0])
    size = f'width="{wide + 80}pt" height="{high + 80}pt" viewBox="-40 -40 {wide + 80} {high + 80}"'
    seen = pixels(re.sub(r'width="[\d.]+pt" height="[\d.]+pt" viewBox="[^"]*"', size, picture, count=1), 72)
    seen[40:-40, 40:-40] = 1.0
    return not (seen[..., 3] * (1 - seen[..., :3].min(axis=2)) > 0.1).any()


# ------------------------------------------------------------------ logos


def test_a_column_is_as_tall_as_its_information() -> None:
    ppm = np.random.default_rng(0).dirichlet(np.ones(4), 30).T
    heights = information_heights(ppm)
    np.testing.assert_allclose(heights.sum(axis=0), 2 - entropy(ppm, base=2, axis=0))
    np.testing.assert_allclose(heights / heights.sum(axis=0), ppm)


def test_certain_and_uniform_columns_are_two_and_no_bits() -> None:
    np.testing.assert_allclose(information_heights(np.array([[1, 0, 0, 0], [0.25] * 4]).T).sum(axis=0), [2, 0])


def logo(heights: np.ndarray, left: float = 0.0) -> list[tuple[str, float, float, float, float]]:
    """Letters of a logo, a column and a unit of height 1 wide and tall, zero at 0."""
    uses = letter_uses(heights, column=1, unit=1, left=left, zero=0, scale=1)
    return letters(ElementTree.fromstring(f'<svg xmlns="http://www.w3.org/2000/svg">{uses}</svg>'))


def test_the_tallest_letter_ends_farthest_from_zero_on_both_sides() -> None:
    found = logo(np.array([[0.5], [0.25], [-0.4], [-0.1]]), left=3)
    assert {letter: (round(-foot, 6), round(-head, 6)) for letter, _, _, foot, head in found} == {
        "A": (0.25, 0.75),  # above C
        "C": (0.0, 0.25),
        "G": (-0.1, -0.5),  # below T, upside down
        "T": (0.0, -0.1),
    }
    assert all(3 < left < right < 4 for _, left, right, _, _ in found)


def test_letters_of_no_height_are_left_out() -> None:
    assert [letter for letter, *_ in logo(np.array([[0.9], [0.0], [0.004], [0.006]]))] == ["A", "T"]


def words(picture: str) -> list[str]:
    """Every text in a picture but the scale of its rows."""
    texts = ["".join(t.itertext()) for t in ElementTree.fromstring(picture).iter(f"{SVG}text")]
    return [text for text in texts if text not in ("0", "1", "2", "bits")]


def test_a_logo_of_a_real_filter_is_seen_as_tall_as_its_information(data_dir: Path) -> None:
    motifs = read_meme(data_dir / "tomtom_reference" / "cnn_filters_32.meme")
    filters = [Filter(i, motif.ppm, 100, 10.0 - i / 100, True, 0) for i, motif in enumerate(motifs)]
    picture = filter_logos(filters)
    boxes, (wide, high) = grid_boxes(32, 4)
    seen = pixels(picture, 144)  # 2 pixels a point
    assert seen.shape[:2] == (2 * high, 2 * wide)
    coloured = np.ptp(seen[..., :3], axis=2) > 0.3  # edges and texts are grey
    widest = max(motif.ppm.shape[1] for motif in motifs)
    for (x, y, w, h), motif in zip(boxes, motifs, strict=True):
        bits = 2 - entropy(motif.ppm, base=2, axis=0)
        column, start = w / widest, x + w * (widest - len(bits)) / widest / 2
        for i, expected in enumerate(bits):
            left, right = (round(2 * (start + column * place)) for place in (i, i + 1))
            inked = coloured[2 * y - 4 : 2 * (y + h), left:right].any(axis=1)  # 2 points above the box as well
            tall = (len(inked) - np.argmax(inked)) / 2 if inked.any() else 0.0
            assert tall * 2 / h == pytest.approx(expected, abs=0.04)  # bits, of which a pixel is .02
    assert nothing_sticks_out(picture)


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
    assert words(filter_logos(filters, rows)) == [
        "#4 · 200 sites · ZBED2 E=2e-5",
        "#3 · 200 sites · ZBED2 E=2e-3",
        "#2 · 200 sites · ZBED2 E=0.5",
        "#5 · 3 sites · 12.0 bits: too weak to match",
        "#1 · 200 sites · 3.0 bits: too weak to match",
        "#0 · dead",
        "never active",
    ]


def test_a_dead_filter_is_a_grey_placeholder() -> None:
    picture = filter_logos([a_filter(0, alive=False), a_filter(1)])
    alive, dead = ElementTree.fromstring(picture).findall(f"{SVG}g")
    assert len(letters(alive)) == 4 * 8
    assert not letters(dead)
    assert words(picture)[1:] == ["#0 · dead", "never active"]
    x, y, w, h = grid_boxes(2, 4)[0][1]
    (field,) = dead.iter(f"{SVG}rect")
    assert [float(field.attrib[key]) for key in ("x", "y", "width", "height")] == [x, y, w, h]


def test_a_filter_without_an_informative_column_says_so() -> None:
    flat = Filter(0, np.empty((4, 0)), 50, 0.0, True, 0)
    assert words(filter_logos([flat]))[1:] == ["no column above 0.5 bit"]


def test_a_match_that_counts_is_bold_on_a_dark_edge() -> None:
    filters = [a_filter(0), a_filter(1)]
    hit, other = ElementTree.fromstring(filter_logos(filters, [a_match(filters[0], 2e-5)])).findall(f"{SVG}g")
    for cell, marked in ((hit, True), (other, False)):
        assert ("edge dark" in [path.attrib["class"] for path in cell.iter(f"{SVG}path")]) is marked
        assert ("hit" in [text.attrib["class"] for text in cell.iter(f"{SVG}text")]) is marked


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


@pytest.mark.parametrize("n", [0, 1, 5, 97])
def test_a_layer_of_any_size_is_drawn(n: int) -> None:
    cells = ElementTree.fromstring(filter_logos([a_filter(i) for i in range(n)])).findall(f"{SVG}g")
    assert [len(letters(cell)) for cell in cells] == [4 * 8] * n


def test_logos_read_names_as_text_and_need_nothing_from_elsewhere() -> None:
    item = a_filter(0)
    for picture in (
        filter_logos([item], [a_match(item, 2e-5, '<b>&"x"')]),
        contribution_logos([Stretch('<b>&"x"', information_heights(item.ppm))]),
    ):
        assert "<b>" not in picture
        assert '<b>&"x"' in "".join(ElementTree.fromstring(picture).itertext())
        assert re.findall(r'(?:href|src)="(?!#letter-)', picture) == []
        assert set(re.findall(r'href="#(letter-.)"', picture)) <= set(re.findall(r'id="(letter-.)"', picture))


def a_stretch(width: int, *, truth: bool = False) -> Stretch:
    rng = np.random.default_rng(width)
    heights = np.zeros((4, width))
    heights[rng.integers(0, 4, width), np.arange(width)] = rng.normal(0.2, 0.3, width)
    return Stretch(f"chr1:{width}", heights, rng.dirichlet(np.ones(4), width).T if truth else None)


def test_contributions_are_drawn_on_both_strands_on_one_scale() -> None:
    stretches = [a_stretch(60, truth=True), a_stretch(20)]
    picture = contribution_logos(stretches)
    found = [letters(logo) for logo in ElementTree.fromstring(picture).findall(f"{SVG}g")]
    assert len(found) == 3 + 2  # forward, reverse complement, truth; forward, reverse complement
    complement = dict(zip("ACGT", "TGCA", strict=True))
    lengths = set()
    for forward, reverse, stretch in ((found[0], found[1], stretches[0]), (found[3], found[4], stretches[1])):
        values = {("ACGT"[row], column): stretch.heights[row, column] for row, column in np.argwhere(stretch.heights)}
        starts = min(left for _, left, *_ in forward)
        column = np.median(np.diff(sorted(left for _, left, *_ in forward)))
        shown = {(letter, round((x - starts) / column)): foot - head for letter, x, _, foot, head in forward}
        for place, height in shown.items():
            lengths.add(round(height / values[place], 3))
        back = sorted((complement[letter], round(foot - head, 2)) for letter, _, _, foot, head in reverse)
        assert back == sorted((letter, round(foot - head, 2)) for letter, _, _, foot, head in forward)
        assert [complement[letter] for letter, *_ in sorted(reverse, key=lambda use: -use[1])] == [
            letter for letter, *_ in sorted(forward, key=lambda use: use[1])
        ]
    assert np.ptp(list(lengths)) <= 0.01 * min(lengths)  # points a unit, alike in all
    assert nothing_sticks_out(picture)


def test_ticks_of_contributions_stand_at_their_values() -> None:
    stretch = a_stretch(60, truth=True)
    for cell in ElementTree.fromstring(contribution_logos([stretch])).findall(f"{SVG}g"):
        ticks = [
            (float(text.attrib["y"]) - 2.3, float(text.text or ""))
            for text in cell.iter(f"{SVG}text")
            if re.fullmatch(r"-?[\d.]+", text.text or "")
        ]
        slope, start = np.polyfit(*np.array(ticks).T, 1)
        uses = letters(cell)
        heads = [slope * head + start for *_, head in uses]
        expected = stretch.heights if min(heads) < -0.01 else information_heights(np.asarray(stretch.truth))
        tops = np.maximum(expected, 0).sum(axis=0).max()
        assert max(heads) == pytest.approx(tops, abs=0.01)


@pytest.mark.parametrize("stretches", [[], [Stretch("nothing", np.zeros((4, 0)))], [Stretch("flat", np.zeros((4, 9)))]])
def test_contributions_of_nothing_are_a_picture(stretches: list[Stretch]) -> None:
    assert pixels(contribution_logos(stretches), 72).shape[1] > 600


# ------------------------------------------------------------------ rasters and style


def test_a_raster_keeps_its_paper_white_its_colours_and_its_size() -> None:
    seen = pixels(svg(draw_learning_curve(history(8))), 100)
    assert seen.shape[:2] == (460, 640)
    assert (seen[0, 0] == 1).all()
    assert (seen[..., 3] == 1).all()
    for wanted in (BLUE, GREEN, VERMILION):
        rgb = [int(wanted[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        assert np.abs(seen[..., :3] - rgb).max(axis=2).min() < 0.01


@pytest.mark.parametrize("face", ["normal", "bold"])
def test_a_raster_has_the_letters_that_matplotlib_measured(face: str) -> None:
    text, where = "validation AUROC", 'x="20" y="50" font-size="40" font-family="DejaVu Sans"'
    canvas = 'xmlns="http://www.w3.org/2000/svg" width="600pt" height="80pt" viewBox="0 0 600 80"'
    seen = pixels(f'<svg {canvas}><text {where} font-weight="{face}">{text}</text></svg>', 72)
    inked = np.flatnonzero(seen[..., 3].any(axis=0))
    box = TextPath((20, 0), text, size=40, prop=FontProperties(family="DejaVu Sans", weight=face)).get_extents()
    assert (inked[0], inked[-1] + 1) == pytest.approx((box.x0, box.x1), abs=1.5)


def test_the_same_picture_has_the_same_bytes() -> None:
    filters = [a_filter(i) for i in range(3)]
    assert filter_logos(filters) == filter_logos(filters)
    assert png(filter_logos(filters)) == png(filter_logos(filters))
    assert svg(draw_learning_curve(history(8))) == svg(draw_learning_curve(history(8)))


def test_a_style_of_the_users_neither_changes_a_picture_nor_is_changed() -> None:
    plain = svg(draw_learning_curve(history(8)))
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "black", "text.usetex": True, "svg.fonttype": "path"}):
        assert svg(draw_learning_curve(history(8))) == plain
        assert mpl.rcParams["font.size"] == 30
        assert mpl.rcParams["svg.fonttype"] == "path"


def test_threads_that_draw_side_by_side_leave_the_users_style() -> None:
    before = dict(mpl.rcParams)
    with ThreadPoolExecutor(4) as pool:
        drawn = set(pool.map(lambda _: svg(draw_learning_curve(history(8))), range(8)))
    assert len(drawn) == 1
    assert dict(mpl.rcParams) == before


def test_a_name_with_dollars_is_no_formula() -> None:
    assert "from $3 to $5" in svg(draw_learning_curve(history(3), title="from $3 to $5"))


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
    picture = svg(draw_learning_curve(history(n)))
    assert ElementTree.fromstring(picture).tag == f"{SVG}svg"
    assert pixels(picture, 50).shape[:2] == (230, 320)


def test_a_curve_says_in_words_what_it_marks() -> None:
    texts = words(svg(draw_learning_curve(history(8))))
    for wanted in ("rate 2e-4", "rate 4e-5", "kept: epoch 5, AUROC 0.900", "training", "validation", "AUROC", "epoch"):
        assert wanted in texts


def test_effects_are_a_logo_above_a_map_on_common_scales() -> None:
    heights, effects = np.zeros((4, 6)), np.zeros((4, 6))
    heights[2, 3], effects[0, 3], effects[1, 3], effects[3, 1] = 1.5, -2.0, -1.0, 0.5
    small = Drawing("half <as> tall", heights / 2, -3, "minus mean effect", effects / 4)
    drawn = ElementTree.fromstring(effect_sheet([Drawing("one", heights, 1000, "minus mean effect", effects), small]))
    texts = ["".join(text.itertext()) for text in drawn.iter(f"{SVG}text")]
    assert "half <as> tall" in texts
    assert "1000" in texts  # a position, at a round number
    letters = [use.get("href") for use in drawn.iter(f"{SVG}use")]
    assert letters == ["#letter-G", "#letter-G"]
    cells = [rect for rect in drawn.iter(f"{SVG}rect") if rect.get("fill-opacity")]
    assert [(c.get("fill"), float(c.get("fill-opacity") or 0)) for c in cells] == [
        (VERMILION, 1.0), (VERMILION, 0.5), (BLUE, 0.25), (VERMILION, 0.25), (VERMILION, 0.12), (BLUE, 0.06),
    ]  # fmt: skip
    widths = [float(c.get("x") or 0) for c in cells]
    assert widths[0] - widths[2] == pytest.approx(2 * float(cells[0].get("width") or 0))  # two columns to the right
    without = effect_sheet([Drawing("no map", heights, 0, "contribution to logit")])
    assert "fill-opacity" not in without
    assert png(without).startswith(b"\x89PNG")
