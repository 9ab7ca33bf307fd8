"""A study with one objective, which is minimised, through the commands."""

from __future__ import annotations

import io
import re

import pytest
from command_line import STUDY, Terminal, write_tiny_study
from rich.console import Console

from tuner.cli.watch import picture
from tuner.results.overview import overview
from tuner.storage.storage import open_storage

pytestmark = pytest.mark.slow

NAME = "tiny"


def test_smaller_is_better_and_bears_its_own_name(terminal: Terminal) -> None:
    text = STUDY.replace('name = "tiny"', 'name = "tiny"\nobjectives = ["loss"]')
    write_tiny_study(terminal.folder).write_text(text.replace("candidates = 1", "candidates = 2"))
    ran = terminal("run", "--study", "tiny.toml", "--workers", "2")
    assert ran.code == 0, ran.err
    ended = re.findall(r"^(search|confirmation|controls) .* COMPLETE (\w+)=", ran.err, re.MULTILINE)
    assert {("search", "loss"), ("confirmation", "loss"), ("controls", "auroc")} == set(ended)

    best = terminal("best", "--study", "tiny", "--figure", "front.png", "--json").json
    assert best["objectives"] == [{"name": "loss", "direction": "minimize"}]
    losses = [t["values"]["loss"] for t in best["trials"]]
    assert losses == sorted(losses)
    assert [t["pareto"] for t in best["trials"]] == [True, False]
    means = {c["trial"]: c["metrics"]["loss"]["mean"] for c in best["confirmation"]}
    assert best["primary"]["primary"] == min(means, key=lambda n: means[n])
    assert best["primary"]["lead"] > 0

    shown = terminal("best", "--study", "tiny").err.partition("confirmation: mean over")[2]
    rows = re.findall(r"^│ +(\d+) │ +2 │ +(\d\.\d{4}) │ (primary)?", shown, re.MULTILINE)
    assert [row[0] for row in rows] == [str(n) for n in sorted(means, key=lambda n: means[n])], shown
    assert [row[2] for row in rows] == ["primary", ""]
    assert f"best loss {min(losses):.4f}" in terminal("status", "--study", "tiny").err
    assert "median (mean +- SD)" in terminal("table", "--study", "tiny").err
    assert terminal("confirm", "--study", "tiny").code == 0, "a confirmed study has nothing left to do"

    storage = open_storage("runs/tuner.db")
    shown = io.StringIO()
    Console(file=shown, width=120).print(picture(overview(storage, NAME), [], running=True))
    assert f"best loss {min(losses):.4f}" in shown.getvalue()
    storage.close()
