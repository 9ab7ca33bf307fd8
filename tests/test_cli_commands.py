"""What every command says of itself, and the commands that need no study."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Terminal, write_tiny_study

import tuner
from tuner.cli.app import COMMANDS

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_ends_with_an_example_of_that_command(name: str, terminal: Terminal) -> None:
    answer = terminal(name, "--help")
    assert answer.code == 0
    assert answer.out.rstrip().splitlines()[-1].strip().startswith(f"Example: tuner {name} ")


def test_help_lists_every_command_whole(terminal: Terminal) -> None:
    answer = terminal("--help")
    assert answer.code == 0
    listed = answer.out.partition("Commands:")[2].strip().splitlines()
    assert [line.split()[0] for line in listed] == list(COMMANDS)
    assert "..." not in "".join(listed[1:-4]), "a line was cut"


def test_no_command_is_misuse_and_shows_the_help(terminal: Terminal) -> None:
    answer = terminal()
    assert (answer.code, answer.out) == (2, "")
    assert "Commands:" in answer.err


def test_version(terminal: Terminal) -> None:
    assert terminal("--version") == (0, f"{tuner.__version__}\n", "")


def test_installed_entry_point_starts() -> None:
    done = subprocess.run([sys.executable, "-m", "tuner", "lst"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr == "error: No such command 'lst'. Did you mean 'list'?\n"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["run"], "Missing option '--study'"),
        (["list"], "Missing argument 'KIND'"),
        (["status", "--wtach"], "--watch"),
        (["run", "--study", "zbed2", "--workers", "0"], "greater than or equal to 1"),
        (["list", "activation"], "did you mean 'activations'"),
        (["status", "--watch", "--json"], "exclude each other"),
    ],
)
def test_misuse_is_one_line_and_code_2(words: list[str], expected: str, terminal: Terminal) -> None:
    code, text = terminal.refuses(*words)
    assert code == 2
    assert expected in text


def test_unexpected_error_is_one_line_and_called_a_bug(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("division by\nzero")

    monkeypatch.setattr("tuner.cli.list_.print_rows", broken)
    code, text = terminal.refuses("list", "presets")
    assert code == 1
    assert text == "ZeroDivisionError: division by zero (this is a bug; TUNER_DEBUG=1 shows where)."
    monkeypatch.setenv("TUNER_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        terminal("list", "presets")


def test_reference_says_what_help_says() -> None:
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        from make_commands import reference
    finally:
        sys.path.pop(0)
    stored = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert stored == reference(), "run: python docs/make_commands.py > docs/commands.md"


KINDS = {
    "studies": "zbed2",
    "spaces": "default",
    "architectures": "residualbind",
    "hyperparameters": "kernel_size",
    "activations": "exponential",
    "initializers": "he_normal",
    "objectives": "match_fraction",
    "datasets": "irf1",
    "presets": "smoke",
}


@pytest.mark.parametrize("kind", KINDS)
def test_list_is_a_list_of_named_objects(kind: str, terminal: Terminal) -> None:
    answer = terminal("list", kind, "--json")
    assert answer.code == 0
    assert KINDS[kind] in [row["name"] for row in answer.json]
    assert KINDS[kind] in terminal("list", kind).err


def test_listed_architectures_have_their_published_parameter_counts(terminal: Terminal) -> None:
    rows = {row["name"]: row for row in terminal("list", "architectures", "--json").json}
    # Koo & Ploenzke 2021, counted by Keras from the published code.
    published = {"residualbind": 31_665, "cnn_deep": 286_700, "cnn_dist": 46_225, "cnn_local": 14_929}
    assert {name: rows[name]["parameters"] for name in published} == published
    assert {"length", "tasks", "source"} <= rows["residualbind"].keys()
    assert all(row["parameters"] > 0 for row in rows.values())


def test_a_broken_study_file_does_not_hide_the_others(terminal: Terminal) -> None:
    (terminal.folder / "studies").mkdir()
    (terminal.folder / "studies" / "mine.toml").write_text("name = ")
    rows = {row["name"]: row for row in terminal("list", "studies", "--json").json}
    assert "broken: " in rows["mine"]["title"]
    assert "zbed2" in rows


def test_simulated_set_reads_back_as_the_same_data(terminal: Terminal) -> None:
    from tuner.data.hdf5 import koo_hdf5
    from tuner.data.simulate import SIMULATORS

    answer = terminal("simulate", "hw4_single", "--out", "hw4.h5", "--seed", "7", "--json")
    assert answer.code == 0
    written = koo_hdf5(terminal.folder / "hw4.h5")
    assert written.fingerprint == answer.json["fingerprint"]
    assert written.fingerprint == SIMULATORS["hw4_single"].simulate(seed=7).fingerprint


def test_simulate_sets_other_parameters(terminal: Terminal) -> None:
    from tuner.data.simulate import SIMULATORS

    answer = terminal(
        "simulate", "hw4_single", "--set", "motif_probability=0.8", "--set", "n=200", "--out", "weak.h5", "--json"
    )
    assert answer.json["fingerprint"] == SIMULATORS["hw4_single"].simulate(n=200, motif_probability=0.8).fingerprint
    code, text = terminal.refuses("simulate", "hw4_single", "--set", "probability=1", "--out", "weak.h5")
    assert (code, "unknown parameter 'probability'" in text) == (2, True)


def test_simulate_refuses_unknown_names_and_folders(terminal: Terminal) -> None:
    assert terminal.refuses("simulate", "tsk1", "--out", "x.h5") == (
        2,
        "unknown simulator 'tsk1'; did you mean 'task1'?",
    )
    code, text = terminal.refuses("simulate", "task1", "--out", "no/where.h5")
    assert (code, text) == (2, "--out no/where.h5: there is no folder no.")


def test_match_prints_every_pair_of_the_motif_module(terminal: Terminal) -> None:
    from tuner.motifs.compare import match_motifs
    from tuner.motifs.database import load_database, read_meme

    write_tiny_study(terminal.folder)
    path = str(terminal.folder / "motifs.meme")
    answer = terminal("match", "motifs.meme", "--targets", "motifs.meme", "--json")
    expected = match_motifs(read_meme(path), load_database(path))
    assert answer.json == [m._asdict() for m in expected]
    assert set(answer.json[0]) == {
        "query", "target", "target_name", "p_value", "e_value", "offset", "overlap", "strand", "promiscuous",
        "significant",
    }  # fmt: skip
    best = {row["query"]: row["target"] for row in reversed(answer.json)}
    assert best == {f"M{i}": f"M{i}" for i in range(12)}, "each motif is its own best match"
    assert (
        "12 of 12 motifs have a significant match" in terminal("match", "motifs.meme", "--targets", "motifs.meme").err
    )


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("nan 0.3 0.3 0.4", "motif M0: column 0 holds NaN"),
        ("0 0 0 0", "motif M0: column 0 is all zero"),
        ("10 20 30 40", "motif M0: column 0 sums to 100"),
    ],
)
def test_match_refuses_what_is_no_ppm_and_names_the_motif(row: str, expected: str, terminal: Terminal) -> None:
    (terminal.folder / "bad.meme").write_text(
        f"MEME version 4\n\nMOTIF M0\nletter-probability matrix: alength= 4 w= 1 nsites= 9 E= 0\n{row}\n"
    )
    code, text = terminal.refuses("match", "bad.meme", "--json")
    assert code == 1
    assert expected in text


def test_screen_writes_the_report_it_prints(terminal: Terminal) -> None:
    import json

    write_tiny_study(terminal.folder)
    answer = terminal("screen", "motifs.meme", "--out", "screen.json", "--json")
    assert answer.code == 0
    written = json.loads((terminal.folder / "screen.json").read_text())
    assert {**written, "promiscuous": answer.json["promiscuous"]} == answer.json
    assert written["n_motifs"] == 12


def test_dashboard_warns_where_others_can_connect() -> None:
    from tuner.report.server import is_loopback

    assert [is_loopback(h) for h in ("127.0.0.1", "localhost", "::1", "127.0.0.2")] == [True] * 4
    assert [is_loopback(h) for h in ("0.0.0.0", "::", "example.org", "192.168.0.4")] == [False] * 4
