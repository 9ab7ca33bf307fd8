"""docs/python.md and docs/notebook.ipynb do what they say."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pyBigWig
import pytest
from command_line import prepare_environment, write_tiny_study

DOCS = Path(__file__).parents[1] / "docs"

# As a notebook does: the last expression of a cell is shown, in HTML where it has one.
SHOW = """
import ast, json, sys
names = {}
for cell in json.load(open(sys.argv[1])):
    *body, last = ast.parse(cell).body
    exec(compile(ast.Module(body, []), "cell", "exec"), names)
    if isinstance(last, ast.Expr):
        value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
        html = getattr(value, "_repr_html_", None)
        print("SHOWN", json.dumps(html() if html else repr(value)))
    else:
        exec(compile(ast.Module([last], []), "cell", "exec"), names)
"""


def run_cells(cells: list[str], folder: Path) -> list[str]:
    """Run cells in a process of their own; what each shows."""
    (folder / "cells.json").write_text(json.dumps(cells))
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:tuner", "-c", SHOW, "cells.json"], cwd=folder,
        env=dict(os.environ), capture_output=True, text=True, check=False, timeout=1500,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line.removeprefix("SHOWN ")) for line in done.stdout.splitlines() if line.startswith("SHOWN ")]


@pytest.fixture
def folder(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    prepare_environment(tmp_path_factory.mktemp("cache"), monkeypatch)
    write_tiny_study(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_the_examples_of_the_page_run_in_order(folder: Path) -> None:
    page = (DOCS / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"<!-- tested -->\n```python\n(.*?)```", page, re.S)
    assert len(blocks) >= 7
    assert page.count("```python") == len(blocks) + 1  # the first, on synthetic data, is a test of its own
    run_cells(["import tuner\n", *blocks], folder)
    assert (folder / "mine_report" / "report.html").is_file()


@pytest.mark.slow
def test_the_notebook_has_ten_cells_without_output_and_they_run_in_order(folder: Path) -> None:
    cells = json.loads((DOCS / "notebook.ipynb").read_text(encoding="utf-8"))["cells"]
    assert len(cells) == 10
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] for cell in cells if cell["cell_type"] == "code")
    shown = run_cells(code, folder)
    assert len(shown) == len(code)
    checked, study, board, candidates, baselines, filters, chance, report = shown
    assert "positives.fa" in checked
    assert "<b>mine-smoke</b>" in study
    assert board.count("<tr>") >= 3
    assert "Verdict(primary=" in candidates
    assert "6-mer" in baselines
    assert 'src="data:image/svg+xml;base64,' in filters
    assert "array([[0." in chance
    assert "report.html" in report
    assert (folder / "mine_report" / "report.html").is_file()


@pytest.mark.slow
def test_the_notebook_of_peaks_goes_from_reb1_to_the_bases_of_its_site(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, data_dir: Path
) -> None:
    prepare_environment(tmp_path_factory.mktemp("cache"), monkeypatch)
    yeast = data_dir / "yeast_reb1"
    (tmp_path / "peaks.bed").symlink_to(yeast / "Reb1_Rhee.bed")
    (tmp_path / "genome.fa.gz").symlink_to(yeast / "Saccharomyces_cerevisiae.R64-1-1.dna.toplevel.fa.gz")
    cells = json.loads((DOCS / "notebook_peaks.ipynb").read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] for cell in cells if cell["cell_type"] == "code")
    shown = run_cells(code, tmp_path)
    assert len(shown) == len(code)
    checked, study, report, model, scores, mutated, site, hits, variants = shown
    assert "peaks.bed" in checked
    assert "<b>reb1-smoke</b>" in study
    assert "report.html" in report
    assert "200 bp -&gt; Reb1" in model
    assert '<th rowspan="8" valign="top">logit</th>' in scores
    assert 'src="data:image/svg+xml;base64,' in mutated
    text, total = ast.literal_eval(site)
    assert total > 0
    assert re.search("TTACCC[GT]|[AC]GGGTAA", text)
    assert "negatives_percentile" in hits
    with pyBigWig.open(str(tmp_path / "reb1.bw")) as track:
        assert track.chroms() == {"I": 230218}
        assert track.header()["nBasesCovered"] > 59_000
    assert (tmp_path / "hits.bed").read_text().startswith("I\t")
    cells = re.findall("<td>(.*?)</td>", variants)
    deltas, chances = [float(x) for x in cells[3::7]], [float(x) for x in cells[5::7]]
    assert len(deltas) == 5
    assert max(deltas) < -0.5, "bases of the site matter"
    assert min(chances) < 0.05
    assert (tmp_path / "reb1_report" / "report.html").is_file()
    assert (tmp_path / "reb1_model" / "config.json").is_file()
