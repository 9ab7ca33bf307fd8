"""Bad input: one clear line, exit code 2 (type something else) or 1, before anything is trained."""

from __future__ import annotations

import re
import sqlite3

import optuna
import pytest
from command_line import SPACE, STUDY, Terminal, write_tiny_study

from tuner.storage.storage import open_storage

pytestmark = pytest.mark.slow


@pytest.fixture
def terminal(terminal: Terminal) -> Terminal:
    write_tiny_study(terminal.folder)
    return terminal


def refused(terminal: Terminal, *words: str) -> tuple[int, str]:
    """Refused by a command, and nothing was left behind."""
    answer = terminal.refuses(*words)
    assert not (terminal.folder / "runs" / "tuner.db").exists()
    return answer


@pytest.mark.parametrize(
    ("study", "expected"),
    [
        (STUDY.replace("trials = 2", "trails = 2"), "tiny.toml [search]: unknown key 'trails'; did you mean 'trials'?"),
        (STUDY.replace("trials = 2", 'trials = "2"'), r"tiny.toml \[search.trials\]: .*'2'"),
        (STUDY.replace('space = "', 'objectives = ["auroc", "auroc"]\nspace = "'), "'auroc' is listed twice"),
        (
            STUDY.replace('space = "', 'objectives = ["auroc", "match_fractoin"]\nspace = "'),
            "unknown objective 'match_fractoin'; did you mean 'match_fraction'?",
        ),
        (STUDY.replace("trials = 2", "trials = = 2"), r"tiny.toml: TOML syntax error: .*line 17"),
        (STUDY.replace("trials = 2", "trials = 2\ntrials = 3"), r"TOML syntax error: .*line 18"),
        (STUDY.replace("epochs = 2", "epoch = 2"), "unknown key 'epoch'; did you mean 'epochs'?"),
        (STUDY.replace("tiny_space", "tiny_spaec"), r"tiny_spaec.toml: there is no such search space file"),
        (STUDY.replace('"./tiny_space.toml"', '"defualt"'), "unknown search space 'defualt'; did you mean 'default'?"),
        ('name = "tiny"\n', r"tiny.toml: the \[data\] table is missing"),
    ],
)  # fmt: skip
def test_broken_study_file_is_misuse(study: str, expected: str, terminal: Terminal) -> None:
    (terminal.folder / "tiny.toml").write_text(study)
    for command in ("check", "run"):
        code, text = refused(terminal, command, "--study", "./tiny.toml")
        assert code == 2
        assert expected in text or re.search(expected, text), text


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        (SPACE.replace("low = 7", "low = 15"), "[kernel_size]: low 15 must be below high 11"),
        (SPACE.replace('"relu"', '"rleu"'), "[activation]: unknown activation 'rleu'; did you mean 'relu'?"),
        (SPACE.replace('"cnn"', '"cnnn"'), "unknown architecture 'cnnn'; did you mean 'cnn'?"),
        (SPACE.replace("[filters]", "[fitlers]"), "unknown parameter 'fitlers'; did you mean 'filters'?"),
        (SPACE.replace("step = 2", "stpe = 2"), "unknown key 'stpe'; did you mean 'step'?"),
        (SPACE.replace("low = 7", 'low = "7"'), "it is '7'"),
    ],
)
def test_broken_space_file_is_misuse(space: str, expected: str, terminal: Terminal) -> None:
    (terminal.folder / "tiny_space.toml").write_text(space)
    code, text = refused(terminal, "check", "--study", "./tiny.toml")
    assert code == 2
    assert text.startswith("tiny_space.toml")
    assert expected in text


def test_unknown_study_names_the_nearest(terminal: Terminal) -> None:
    assert refused(terminal, "run", "--study", "zbde2") == (2, "unknown study 'zbde2'; did you mean 'zbed2'?")
    code, text = refused(terminal, "run", "--study", "./zbed2.toml")
    assert code == 2
    assert "give its name without '.toml'" in text


def test_unknown_preset_sampler_and_device(terminal: Terminal) -> None:
    for words, expected in (
        (("--preset", "fats"), "unknown preset 'fats'; did you mean 'fast'?"),
        (("--sampler", "tpee"), "unknown sampler 'tpee'; did you mean 'tpe'?"),
        (("--time-limit", "soon"), "--time-limit 'soon' is not a duration; write 90s, 30m or 2h."),
    ):
        assert refused(terminal, "run", "--study", "./tiny.toml", *words) == (2, expected)
    code, text = refused(terminal, "run", "--study", "./tiny.toml", "--device", "tpu")
    assert code == 2
    assert "tpu" in text


def test_missing_data_file_is_named(terminal: Terminal) -> None:
    (terminal.folder / "positives.fa").unlink()
    for command in ("run", "check"):
        code, text = refused(terminal, command, "--study", "./tiny.toml")
        assert code == 1
        assert "positives.fa" in text


def test_truncated_hdf5_is_named(terminal: Terminal) -> None:
    (terminal.folder / "data.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(40))
    data = 'path = "data.h5"'
    study = STUDY.replace('positives = "positives.fa"\nnegatives = "negatives.fa"', data)
    (terminal.folder / "tiny.toml").write_text(study)
    code, text = refused(terminal, "run", "--study", "./tiny.toml")
    assert code == 1
    assert "data.h5" in text


def test_target_that_the_database_lacks_is_an_error(terminal: Terminal) -> None:
    (terminal.folder / "tiny.toml").write_text(STUDY.replace('["M0"]', '["M00"]'))
    code, text = refused(terminal, "run", "--study", "./tiny.toml")
    assert code == 1
    assert "unknown motif 'M00'" in text


def test_check_names_everything_that_is_wrong(terminal: Terminal) -> None:
    (terminal.folder / "positives.fa").unlink()
    (terminal.folder / "tiny.toml").write_text(STUDY.replace("motifs.meme", "JASPAR2025"))
    answer = terminal("check", "--study", "./tiny.toml", "--json")
    assert answer.code == answer.json["exit_code"] == 1
    assert len(answer.json["problems"]) == 2
    assert answer.err.count("error: ") == 2


def test_check_builds_networks_for_the_data_at_hand(terminal: Terminal) -> None:
    fine = terminal("check", "--study", "./tiny.toml", "--json")
    assert fine.code == 0
    assert fine.json["networks"]["points"] == 50
    assert fine.json["data"]["splits"]["test"] == {"sequences": 24}, "the test split stays closed"
    # A kernel of 11 fits into 11 bp, but the window that filters are read from is one wider.
    for length, expected in ((10, "kernel_size 11 is longer than the sequences"), (11, "kernel_size + 1 = 12")):
        (terminal.folder / "tiny.toml").write_text(STUDY.replace("[data]", f"[data]\nlength = {length}"))
        answer = terminal("check", "--study", "./tiny.toml", "--json")
        assert answer.code == 1
        assert re.match(rf"\d+ of 50 points of the space cannot be built for {length} bp: ", answer.json["error"])
        assert expected in answer.json["error"]


def test_nothing_is_stored_where_no_study_ran(terminal: Terminal) -> None:
    for command in (("status",), ("best",), ("show", "--trial", "0"), ("rerun", "--trial", "0"), ("confirm",),
                    ("dashboard",), ("delete", "--name", "tiny", "--yes")):  # fmt: skip
        code, text = refused(terminal, *command)
        assert code == 1
        assert "no storage here yet" in text
    assert not (terminal.folder / "runs").exists()


@pytest.mark.parametrize(
    "url", ["postgresql://tuner:secret@127.0.0.1:1/none", "postgres://tuner:secret@127.0.0.1:1/none"]
)
def test_unreachable_database_is_an_error_without_its_password(url: str, terminal: Terminal) -> None:
    for command in (("run", "--study", "./tiny.toml"), ("status",)):
        code, text = refused(terminal, *command, "--storage", url)
        assert code == 1
        assert "127.0.0.1:1/none" in text
        assert "secret" not in text


def test_other_database_is_an_error(terminal: Terminal) -> None:
    code, text = refused(terminal, "status", "--storage", "mysql://host/db")
    assert code == 1
    assert "mysql is not supported; use SQLite or PostgreSQL" in text
    (terminal.folder / "no.db").write_text("this is no database " * 100)
    code, text = refused(terminal, "status", "--storage", "no.db")
    assert code == 1
    assert "no.db" in text


def test_storage_newer_than_optuna_is_an_error(terminal: Terminal) -> None:
    path = terminal.folder / "new.db"
    open_storage(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v99.0.0.a'")
    connection.close()
    for command in (("run", "--study", "./tiny.toml"), ("status",)):
        code, text = refused(terminal, *command, "--storage", "new.db")
        assert code == 1
        assert "new.db" in text
        assert "updating optuna" in text


def test_storage_newer_than_tuner_is_an_error(terminal: Terminal) -> None:
    path = terminal.folder / "new.db"
    open_storage(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE tuner_meta SET value = '99'")
    connection.close()
    code, text = refused(terminal, "status", "--storage", "new.db")
    assert code == 1
    assert "made by a later tuner" in text


def test_folder_that_cannot_be_written_is_an_error(terminal: Terminal) -> None:
    (terminal.folder / "file").write_text("")
    for option in ("--storage", "--artifacts"):
        code, text = terminal.refuses("run", "--study", "./tiny.toml", option, "file/below")
        assert code == 1
        assert "file" in text
        # Permissions do not stop root; the kernel's own folder does.
        code, text = terminal.refuses("run", "--study", "./tiny.toml", option, "/proc/nowhere/below")
        assert code == 1
        assert "/proc/nowhere" in text


def test_study_of_another_program_is_not_touched(terminal: Terminal) -> None:
    url = f"sqlite:///{terminal.folder / 'other.db'}"
    optuna.create_study(study_name="tiny", storage=url, directions=["maximize", "maximize"])
    code, text = terminal.refuses("run", "--study", "./tiny.toml", "--storage", "other.db")
    assert code == 1
    assert "tiny is not a study of tuner: another program made it" in text
    code, text = terminal.refuses("rerun", "--trial", "0", "--name", "tiny", "--storage", "other.db")
    assert code == 1
    assert "tiny is not a study of tuner" in text
