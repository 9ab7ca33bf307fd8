"""The page: one file, nothing loaded, nothing let in, readable by everyone."""

from __future__ import annotations

import ast
import gzip
import json
import re
import shlex
import shutil
import subprocess
from base64 import b64decode
from html import unescape
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from report_example import HOSTILE, bare, hostile, irf1, layer, shuffled

from tuner.plots.logos import page_logo, place
from tuner.report.figures import figure_files
from tuner.report.page import LARGEST, render
from tuner.report.pictures import script_json, strong_columns

pytestmark = pytest.mark.slow

BROWSER = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)
VOID = {"meta", "link", "br", "img", "input"}


class Page(HTMLParser):
    """Elements in order, and whether every one that opens closes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    made = {"irf1": irf1(), "shuffled": shuffled(), "bare": bare(), "hostile": hostile()}
    return {name: render(data) for name, data in made.items()}


@pytest.fixture(params=["irf1", "shuffled", "bare", "hostile"])
def page(request: pytest.FixtureRequest, pages: dict[str, str]) -> Page:
    return Page(pages[request.param])


def test_the_motif_stands_before_everything_but_the_headline(pages: dict[str, str]) -> None:
    text = pages["irf1"]
    assert text.index("<h1>") < text.index('id="motif"') < text.index('class="tiles"') < text.index('id="data"')
    hero = text[text.index('id="motif"') : text.index('class="verdict"')]
    assert hero.count('class="logo"') == 3  # contributions, bases, the known motif
    assert "IRF7 (MA0772.2), E = 2 × 10⁻⁸" in hero
    assert "above the null" in hero


def test_the_page_says_which_logit_is_explained_and_how_well_the_models_agree(pages: dict[str, str]) -> None:
    text = pages["irf1"]
    explained = "the mean logit of the 5 retrained models of trial 25, averaged over both strands"
    assert f"Contributions to {explained}: DeepSHAP against 20 shuffled references" in text
    assert "of two of the 5 models by themselves correlate with r = 0.89" in text
    assert "by themselves correlate" not in pages["bare"]


def test_the_page_of_a_shuffled_model_shows_no_motif(pages: dict[str, str]) -> None:
    assert 'id="motif"' not in pages["shuffled"]
    assert "There is no motif to show" in pages["shuffled"]


def test_every_element_closes_and_every_id_is_its_own(page: Page) -> None:
    assert page.open == []
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    targets = {
        str(a[key])[1:] for _, a in page.elements for key in ("href", "xlink:href") if str(a.get(key))[:1] == "#"
    }
    assert targets <= set(ids)


def test_nothing_is_loaded_from_anywhere(pages: dict[str, str]) -> None:
    for text in pages.values():
        found = Page(text)
        loaders = [a for tag, a in found.elements for key in ("src", "srcset", "data", "action") if key in a]
        assert loaders == []
        links = [str(a["href"]) for tag, a in found.elements if "href" in a and tag != "use"]
        assert [link for link in links if link[:1] != "#" and link != "data:,"] == []
        outside = text[: text.index('id="plotly"')] + text[text.index("</script>", text.index('id="plotly"')) :]
        assert not re.search(r"url\((?!#)|@import", outside)
        assert len(text.encode()) < LARGEST


def test_only_the_pages_own_scripts_may_run(pages: dict[str, str]) -> None:
    import hashlib
    from base64 import b64encode

    for text in pages.values():
        found = Page(text)
        policy = next(str(a["content"]) for a in found.of("meta") if a.get("http-equiv"))
        assert policy.startswith(
            "default-src 'none'; style-src 'unsafe-inline'; img-src data: blob:; script-src 'sha256-"
        )
        scripts = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
        assert len(scripts) == 1
        packed = re.search(r'id="plotly">(.*?)</script>', text, flags=re.DOTALL)
        assert packed is not None
        for code in (scripts[0].encode(), gzip.decompress(b64decode(packed[1]))):
            assert f"'sha256-{b64encode(hashlib.sha256(code).digest()).decode()}'" in policy


def test_hostile_names_are_text_and_nothing_else(pages: dict[str, str]) -> None:
    text = pages["hostile"]
    found = Page(text)
    assert "<script>alert" not in text
    assert "<img" not in text
    assert {tag for tag, _ in found.elements} == {tag for tag, _ in Page(pages["irf1"]).elements}
    assert not [key for _, a in found.elements for key in a if key.startswith("on")]
    assert "".join(found.text).count(HOSTILE) > 20
    assert "${49}" not in text
    for block in re.findall(r'<script type="application/json">(.*?)</script>', text, flags=re.DOTALL):
        assert not set(block) & set("<>&")
        assert "<script" not in json.dumps(json.loads(block))  # plotly reads hover texts as HTML


def test_json_in_a_script_block_cannot_end_it() -> None:
    value = {"name": "</script><!--\u2028&"}
    assert json.loads(script_json(value)) == value
    assert "<" not in script_json(value)


def test_the_page_can_be_read_without_eyes(page: Page) -> None:
    assert page.of("html")[0]["lang"] == "en"
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    for attributes in page.of("svg"):
        assert attributes.get("aria-hidden") == "true" or attributes.get("aria-label"), attributes
    tags = [tag for tag, _ in page.elements]
    assert tags.count("table") == tags.count("caption")
    assert all("scope" in a for a in page.of("th"))
    assert all(a.get("tabindex") == "0" for _, a in page.elements if a.get("role") == "region")


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_stands_out_from_every_ground(pages: dict[str, str], scheme: int) -> None:
    # WCAG 2.1, 1.4.3 and 1.4.11: 4.5 for text, 3 for lines and points
    blocks = re.findall(r":root \{(.*?)\}", pages["irf1"], flags=re.DOTALL)
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", blocks[scheme]))
    for ground in ("page", "card", "wash", "warn"):
        for kind, least in (("ink quiet accent good doubt", 4.5), ("blue orange green vermilion purple", 3.0)):
            for name in kind.split():
                if least == 3.0 and ground != "page":
                    continue  # figures lie on the page
                high, low = sorted((luminance(colours[name]), luminance(colours[ground])), reverse=True)
                assert (high + 0.05) / (low + 0.05) >= least, (name, ground)


def test_all_trials_and_all_filters_are_on_the_page(pages: dict[str, str]) -> None:
    text = pages["irf1"]
    for trial in irf1().trials:
        assert f'<th scope="row">{trial.number}</th>' in text
    for index in range(32):
        assert f"#{index}" in text
    assert 'href="#trial-24">reported' in text
    assert "not distinguishable from trial 25" in text.lower()


def test_the_page_is_the_same_twice(pages: dict[str, str]) -> None:
    assert render(bare()) == pages["bare"]


# ------------------------------------------------------------------ pictures


def test_a_logo_is_as_tall_as_its_heights_say() -> None:
    heights = np.array([[2.0, -1.0], [0, 0], [1.0, 0], [0, 0]])
    svg = ElementTree.fromstring(page_logo(heights, alt='a "b" <c>', tall=40))
    assert svg.get("aria-label") == 'a "b" <c>'
    moves = [[float(x) for x in str(use.get("transform"))[7:-1].split()] for use in svg.iter("use")]
    names = [use.get("class") for use in svg.iter("use")]
    # 4 in all (3 up, 1 down) over 40 units: a letter of height h is 10 h tall, and zero lies at 30.
    places = {(name, m[4] > 10): (round(-m[3]), round(m[5])) for name, m in zip(names, moves, strict=True)}
    assert places == {("A", False): (20, 20), ("G", False): (10, 30), ("A", True): (-10, 30)}


def test_a_motif_is_laid_where_it_was_cut() -> None:
    ppm = layer()[24]
    part = ppm[:, 3:11]
    assert place(ppm, part) == (3, "+")
    assert place(part, ppm) == (-3, "+")
    assert place(ppm, part[::-1, ::-1]) == (3, "-")


def test_a_pattern_is_shown_without_its_silent_flanks() -> None:
    cwm = np.zeros((4, 30))
    cwm[0, 10:16] = 1.0
    cwm[1, 25] = 0.1
    assert strong_columns(cwm) == (9, 17)
    assert strong_columns(np.zeros((4, 5))) == (0, 5)


def test_every_figure_is_a_file_for_a_paper() -> None:
    files = figure_files(hostile())
    names = {name.rsplit(".", 1)[0] for name in files}
    assert {"front", "history", "importance", "parallel"} <= names
    assert {f"trial-25-{kind}" for kind in ("roc", "pr", "calibration", "learning", "filters", "contributions",
                                            "patterns", "marginal", "baselines")} <= names  # fmt: skip
    for name, content in files.items():
        if name.endswith(".svg"):
            tags = {element.tag.split("}")[-1] for element in ElementTree.fromstring(content).iter()}
            assert "script" not in tags
            assert "img" not in tags
        else:
            assert content.startswith(b"\x89PNG")


# ------------------------------------------------------------------ a browser

PROBE = """<script>
const seen = [], frames = Array.from(document.querySelectorAll("iframe"));
let asked = 0;
const clock = setInterval(function () {
  const ended = function (frame) {
    const root = frame.contentDocument.documentElement;  // null while the frame goes from blank to its page
    return root !== null && root.dataset.charts;
  };
  asked += 1;
  if (!frames.every(ended) && asked < 200000) { return; }
  clearInterval(clock);
  for (const frame of frames) {
    const page = frame.contentDocument, root = page.documentElement;
    const logo = page.querySelector("#motif svg.logo");
    const chart = page.querySelector(".chart.drawn .main-svg");
    seen.push({
      charts: root.dataset.charts || "",
      drawn: page.querySelectorAll(".chart.drawn").length,
      wide: root.scrollWidth,
      chart: chart === null ? null : chart.getBoundingClientRect().right,
      logo: logo === null ? null : logo.getBoundingClientRect().bottom,
      letters: logo === null ? 0 : logo.querySelectorAll("use").length,
      loaded: frame.contentWindow.performance.getEntriesByType("resource").map(function (e) { return e.name; }),
    });
  }
  const out = document.createElement("pre");
  out.id = "seen";
  out.textContent = JSON.stringify(seen);
  document.body.appendChild(out);
}, 50);
</script>"""


def browse(folder: Path, text: str, *widths: int) -> tuple[list[dict[str, Any]], list[str]]:
    """What a browser without a network makes of a page at some widths, and what it complains of."""
    if BROWSER is None:
        pytest.skip("browser: no chromium here")
    (folder / "report.html").write_text(text, encoding="utf-8")
    frames = "".join(f'<iframe src="report.html" style="border:0;width:{w}px;height:800px"></iframe>' for w in widths)
    (folder / "probe.html").write_text(f"<!doctype html><body>{frames}{PROBE}", encoding="utf-8")
    options = [
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-logging=stderr",
        "--allow-file-access-from-files", "--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=20000000",
        f"--user-data-dir={folder / 'profile'}", "--window-size=1400,1700", "--dump-dom",
    ]  # fmt: skip
    done = subprocess.run(
        [BROWSER, *options, (folder / "probe.html").as_uri()], capture_output=True, text=True, timeout=300, check=True
    )
    seen = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, flags=re.DOTALL)
    assert seen is not None, done.stderr[-2000:]
    return json.loads(unescape(seen[1])), [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.browser
def test_a_browser_without_a_network_shows_everything(pages: dict[str, str], tmp_path: Path) -> None:
    widths = (1280, 360)
    seen, complaints = browse(tmp_path, pages["irf1"], *widths)
    assert complaints == []
    for found, width in zip(seen, widths, strict=True):
        assert found["loaded"] == []
        assert (found["charts"], found["drawn"]) == ("drawn", 4)
        assert found["wide"] <= width  # nothing sticks out sideways
        assert found["chart"] <= width
        assert found["letters"] > 10
        assert found["logo"] < 800  # the motif is seen without scrolling


@pytest.mark.browser
def test_a_browser_runs_no_hostile_name_nor_any_script_that_slipped_in(pages: dict[str, str], tmp_path: Path) -> None:
    (seen,), complaints = browse(tmp_path, pages["hostile"], 1280)
    assert complaints == []
    assert seen["charts"] == "drawn"
    slipped = '<body><script>document.documentElement.remove()</script><img src="x" onerror="document.body.remove()">'
    (seen,), complaints = browse(tmp_path, pages["bare"].replace("<body>", slipped, 1), 1280)
    assert len(complaints) >= 2  # the policy refuses the script and the handler, and says so
    assert seen["charts"] == "drawn"


def test_commands_take_the_model_out_of_the_study_and_use_it(pages: dict[str, str]) -> None:
    section = pages["irf1"].partition('<section id="use"')[2].partition("</section>")[0]
    commands = [shlex.split(unescape(one)) for one in re.findall(r"<code>(.*?)</code>", section)]
    assert [words[:2] for words in commands] == [
        ["tuner", "export"], ["tuner", "predict"], ["python", "-c"], ["tuner", "scan"], ["tuner", "variants"],
    ]  # fmt: skip
    assert all(words[2] == f"{irf1().study.name}_model" for words in commands[3:])
    name = irf1().study.name
    assert commands[0][2:] == ["--name", name, "--out", f"{name}_model"]
    assert commands[1][2] == f"{name}_model"
    ast.parse(commands[2][2])
    assert '<a href="#use">' in pages["irf1"]
    hostile_section = pages["hostile"].partition('<section id="use"')[2].partition("</section>")[0]
    for one in re.findall(r"<code>(.*?)</code>", hostile_section):
        assert shlex.split(unescape(one))[0] in ("tuner", "python")  # one command, whatever the name
