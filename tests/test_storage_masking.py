"""Secrets in every spelling, tables without formulas."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import FrozenTrial, TrialState

from tuner.cli.redaction import redact, secrets_of
from tuner.cli.report import typed_command
from tuner.errors import StorageError
from tuner.results.trial_table import harmless, read_tsv, tidy, to_tsv
from tuner.storage.address import explain, parse_url
from tuner.storage.masking import mask, passwords_of

WORDS = "a bad password is cut out of no ordinary word, says u at host=h port=5432"


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF), min_size=6, max_size=30))
def test_a_long_password_is_masked_in_every_spelling(password: str) -> None:
    echoes = [
        password, quote(password, ""), quote_plus(password), quote(password, "").lower(), json.dumps(password),
        repr(password), f"postgresql://u:{quote(password, '')}@h/d", f"password={password}",
    ]  # fmt: skip
    if quote(password, "").lower() != quote(password, "") and password.lower() != password:
        echoes.pop(3)  # lower case changes the letters too
    for echo in echoes:
        assert password not in mask(f"at {echo} now", {password}).replace("***", ""), echo
        assert quote(password, "") not in mask(f"at {echo} now", {password}).replace("***", "")


@pytest.mark.parametrize("password", ["a", "s", "h", "pw", "host"])
def test_a_short_password_is_cut_out_of_no_word(password: str) -> None:
    assert mask(WORDS, {password}) == WORDS.replace("host=h ", "host=*** " if password == "h" else "host=h ")
    url = parse_url(f"postgresql://u:{password}@127.0.0.1:1/d?sslpassword={password}")
    line = explain(RuntimeError(f"connection to server at {WORDS} failed: password={password} user=u"), url)
    assert "connection to server at a bad password is cut out of no ordinary word" in line
    assert f"={password} user" not in line
    assert redact(f"at postgresql://u:{password}@h/d", ()) == "at postgresql://u:***@h/d"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://u:p@ss@host/db", {"p@ss"}),
        ("postgresql://u:a%40b@host/db", {"a%40b", "a@b"}),
        ("postgresql://u:a b'c@host/db", {"a b'c"}),
        ("postgresql://u@host/db?password=x%20y&sslpassword=z", {"x%20y", "x y", "z"}),
        ("host=h password='it\\'s' user=u", {"it\\'s", "it's"}),
        ("host=h password=plain", {"plain"}),
        ("runs/tuner.db", set()),
        ("https://example.org/a:b", set()),
    ],
)
def test_passwords_are_found_by_parts(text: str, expected: set[str]) -> None:
    assert passwords_of(text) == expected


@pytest.mark.parametrize("text", ["postgresql://u:first@second@host/db", "host=h user=u password=hunter22 dbname=d"])
def test_an_address_that_cannot_be_taken_apart_shows_no_part_of_the_password(text: str) -> None:
    with pytest.raises(StorageError) as refused:
        parse_url(text)
    assert not [part for part in ("first", "second", "hunter22") if part in str(refused.value)]
    assert "%40" in str(refused.value) or "PGPASSWORD" in str(refused.value)


def test_the_command_on_a_report_holds_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "environment-secret")
    urls = ["postgresql://u:distinct%40one@h/d", "postgresql://u:dist inct@two@h/d?sslpassword=three-three"]
    for words in (["--storage", urls[0]], ["--storage", urls[1]], [f"--storage={urls[0]}"], [f"--storage={urls[1]}"]):
        typed = typed_command(["tuner", "report", *words, "--out", "a b", "--name", "environment-secret"])
        assert typed.startswith("tuner report ")
        assert "'a b'" in typed
        for part in ("distinct", "dist inct", "inct@", "one", "two@", "three", "environment-secret"):
            assert part not in typed, typed


def test_secrets_of_json_and_of_aws_are_known_by_their_name() -> None:
    text = json.dumps({"password": 'a"b', "aws_secret_access_key": "xyz", "user": "u"})
    assert redact(text, ()) == '{"password": ***, "aws_secret_access_key": ***, "user": "u"}'
    assert redact("aws_session_token = abc\nsslpassword=q", ()) == "aws_session_token = ***\nsslpassword=***"
    assert redact("PGPASSWORD=abc psql", ()) == "PGPASSWORD=*** psql"
    known = secrets_of({"PGPASSWORD": "x"}, [])
    assert redact("xylophone next x", known) == "xylophone next x"


# ------------------------------------------------------------------ tables


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "\ufeff=1", "\uff1d1", "-", "--1",
     "-1e", "- 0.5", "+", "-AP1"],
)  # fmt: skip
def test_a_text_that_a_spreadsheet_would_compute_is_quoted(text: str) -> None:
    assert harmless(text) == f"'{text}"


@pytest.mark.parametrize("text", ["-0.5", "+1", "-1e-05", "-.5", "-inf", "1.", "", "CTCF", "a=b", "'quoted", "0"])
def test_numbers_and_plain_texts_stay(text: str) -> None:
    assert harmless(text) == text


def test_a_table_of_hostile_names_is_read_back_as_it_was(tmp_path: Path) -> None:
    trial = FrozenTrial(
        number=0, state=TrialState.COMPLETE, value=-0.5, datetime_start=None, datetime_complete=None,
        params={}, distributions={}, user_attrs={"=motif": "=cmd|x", "lead": -0.5, "line": "a\r\n=b", "name": "-AP1"},
        system_attrs={}, intermediate_values={}, trial_id=0,
    )  # fmt: skip
    text = to_tsv(tidy([trial], ["auroc"]))
    head, row = (line.split("\t") for line in text.splitlines())
    assert head == ["trial", "state", "'=motif", "lead", "line", "name", "auroc"]
    assert row == ["0", "COMPLETE", "'=cmd|x", "-0.5", "a  =b", "'-AP1", "-0.5"]
    [back] = read_tsv(text)
    assert (back["lead"], back["name"], back["auroc"]) == (-0.5, "-AP1", -0.5)
