"""Motif files as a person gives them to `match`, `check` and `run`: all formats, broken ones, small databases."""

from __future__ import annotations

import numpy as np
import pytest
from command_line import STUDY, Terminal, write_tiny_study
from test_motifs_formats import IDS, MATRIX, MEME_HEADER, WRITTEN, hocomoco_pwm

from tuner.motifs.jaspar import jaspar_motifs
from tuner.motifs.meme import Motif, write_meme
from tuner.motifs.screen import permuted, reference_filters
from tuner.motifs.tomtom import tomtom

pytestmark = pytest.mark.slow


def motif(identifier: str) -> Motif:
    return next(m for m in jaspar_motifs("JASPAR2026") if m.id == identifier)


@pytest.mark.parametrize("name", [*WRITTEN, "HOCOMOCO pwm"])
def test_a_query_of_any_format_finds_itself_in_jaspar(name: str, terminal: Terminal) -> None:
    writer = hocomoco_pwm if name == "HOCOMOCO pwm" else WRITTEN[name][0]
    (terminal.folder / "query").write_text(writer())
    answer = terminal("match", "query", "--targets", "JASPAR2026", "--json")
    assert answer.code == 0, answer.err
    best: dict[str, dict] = {}
    for row in answer.json:
        best.setdefault(row["query"], row)
    assert {query: row["target"] for query, row in best.items()} == {identifier: identifier for identifier in IDS}
    assert all(row["e_value"] < 1e-6 and row["offset"] == 0 for row in best.values())


def test_broken_and_wide_motifs_are_named_and_the_others_matched(terminal: Terminal) -> None:
    wide = Motif("wide", "", np.tile(motif("MA0139.2").ppm, (1, 5)))
    text = write_meme([motif("MA0139.2"), wide]) + f"MOTIF bad\n{MATRIX} w= 1\n9 1 0 0\n"
    (terminal.folder / "query.meme").write_text(text)
    answer = terminal("match", "query.meme", "--targets", "JASPAR2016")
    assert answer.code == 1
    assert "1 of 1 motifs have a significant match" in answer.err
    errors = [line for line in answer.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 3
    assert "motif bad: column 0 sums to 10, not 1" in errors[0]
    assert "query.meme: motif wide: 75 columns; at most 64 can be compared" in errors[1]
    assert errors[2] == "error: 2 motifs are left out"
    as_json = terminal("match", "query.meme", "--targets", "JASPAR2016", "--json")
    assert as_json.code == 1
    assert {row["query"] for row in as_json.json} == {"MA0139.2"}
    write_meme([wide], terminal.folder / "query.meme")
    assert terminal.refuses("match", "query.meme", "--json")[0] == 1


def test_names_that_look_like_markup_are_printed_as_they_are(terminal: Terminal) -> None:
    write_meme([motif("MA0139.2")._replace(id="[/red]", name="[bold]")], terminal.folder / "[x].meme")
    answer = terminal("match", "[x].meme", "--targets", "[x].meme")
    assert answer.code == 0, answer.err
    assert "[x].meme against [x], 1 target " in answer.err
    assert "[/red]" in answer.err
    assert "[bold]" in answer.err


def test_more_pairs_than_a_table_holds_are_lines_with_tabs(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    write_meme([motif(identifier) for identifier in IDS], terminal.folder / "five.meme")
    drawn = terminal("match", "five.meme", "--targets", "JASPAR2016")
    monkeypatch.setattr("tuner.cli.match.LARGEST_TABLE", 5)
    listed = terminal("match", "five.meme", "--targets", "JASPAR2016")
    assert (drawn.code, listed.code) == (0, 0)
    rows = [line.split("\t") for line in listed.err.splitlines() if "\t" in line]
    table = [[c.strip() for c in line.strip("│").split("│")] for line in drawn.err.splitlines() if line[0] == "│"]
    assert rows[0] == ["query", "target", "name", "p", "E", "offset", "overlap", "strand"]
    assert [row + [""] * (9 - len(row)) for row in rows[1:]] == table
    assert drawn.err.splitlines()[-1] == listed.err.splitlines()[-1]


def test_a_database_of_one_sharp_motif_is_used(terminal: Terminal) -> None:
    study = write_tiny_study(terminal.folder)
    write_meme([motif("MA0139.2")], terminal.folder / "motifs.meme")
    study.write_text(STUDY.replace("M0", "MA0139.2"))
    answer = terminal("check", "--study", f"./{study.name}", "--json")
    assert answer.code == 0, answer.err
    motifs = answer.json["motifs"]
    assert motifs.pop("null_rate") < 0.05, "how often such a file is matched by chance has tests of its own"
    assert motifs == {
        "database": "motifs", "targets": 1, "promiscuous": 0, "broken": [], "named": {"planted": ["MA0139.2"]},
    }  # fmt: skip
    matched = terminal("match", "motifs.meme", "--targets", "motifs.meme", "--json").json
    assert [(row["promiscuous"], row["significant"]) for row in matched] == [(False, True)]


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_database_without_a_usable_motif_is_refused_before_anything(command: str, terminal: Terminal) -> None:
    study = write_tiny_study(terminal.folder)
    study.write_text(STUDY.replace('targets = { planted = ["M0"] }', ""))
    for text, message in (
        (
            write_meme([motif("MA1929.2")]),
            "motifs: no target is left: column-permuted filters match every motif of this",
        ),
        ("", "motifs.meme: the file is empty"),
        (MEME_HEADER + f"MOTIF a\n{MATRIX} w= 3\n1 0 0 0\n", "motif a: 1 of 3 rows"),
    ):
        (terminal.folder / "motifs.meme").write_text(text)
        code, error = terminal.refuses(command, "--study", f"./{study.name}")
        assert code == 1
        assert message in error
    assert not list(terminal.folder.glob("runs/**/*.db")), "no study was made"


def test_every_named_target_that_cannot_count_is_named(terminal: Terminal) -> None:
    study = write_tiny_study(terminal.folder)
    text = write_meme([motif("MA0139.2"), motif("MA1929.2")]) + f"MOTIF bad\n{MATRIX} w= 3\n1 0 0 0\n"
    (terminal.folder / "motifs.meme").write_text(text)
    targets = '{ gapped = ["MA1929.2"], cut = ["bad"], gone = ["MA0139.1"] }'
    study.write_text(STUDY.replace('{ planted = ["M0"] }', targets))
    code, error = terminal.refuses("check", "--study", f"./{study.name}")
    assert code == 1
    assert "target 'gapped': MA1929.2 is promiscuous in motifs" in error
    assert "target 'cut': motifs: motif bad is left out: motifs.meme line" in error
    assert "target 'gone': motifs: unknown motif 'MA0139.1'; did you mean 'MA0139.2'" in error
    study.write_text(STUDY.replace("M0", "MA0139.2"))
    answer = terminal("check", "--study", f"./{study.name}")
    assert answer.code == 0
    assert "warning: motifs.meme line" in answer.err
    assert "warning: 1 motif is left out" in answer.err
    assert answer.err.strip().endswith("warnings (above)")


@pytest.mark.parametrize(("alone", "exceeds"), [("MA0140.3", True), ("MA1971.2", False)])
def test_check_says_where_few_targets_match_by_chance_more_often_than_promised(
    alone: str, exceeds: bool, terminal: Terminal
) -> None:
    study = write_tiny_study(terminal.folder)
    study.write_text(STUDY.replace('targets = { planted = ["M0"] }', ""))
    target = motif(alone)
    (terminal.folder / "motifs.meme").write_text(write_meme([target]))
    queries = permuted([m.ppm for m in reference_filters()], 1500, np.random.default_rng(0))
    rate = (tomtom(queries, [target.ppm]).p_value <= 0.01).mean()  # E is p: there is one target
    assert (rate > 0.01) == exceeds
    checked = terminal("check", "--study", f"./{study.name}")
    assert checked.code == 0, checked
    note = (
        f"note: motifs has 1 target, so a filter matches at p <= 0.01, and {rate:.1%} of column-permuted filters match"
    )
    assert (note in checked.err) == exceeds
    assert ("note:" in checked.err) == exceeds
    assert terminal("check", "--study", f"./{study.name}", "--json").json["motifs"]["null_rate"] == rate


def test_a_narrow_terminal_cuts_no_identifier_and_no_number(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_meme([motif("MA0139.2")], terminal.folder / "one.meme")
    wide = terminal("match", "one.meme", "--targets", "JASPAR2016")
    monkeypatch.setenv("COLUMNS", "50")
    narrow = terminal("match", "one.meme", "--targets", "JASPAR2016")
    letters = {
        answer: sorted("".join(c for c in answer.err if c.isalnum() or c in "-.+…")) for answer in (wide, narrow)
    }
    assert max(map(len, narrow.err.splitlines()[1:-1])) <= 50
    assert letters[wide] == letters[narrow]
