"""Log lines as text and JSON, and that no secret leaves the process, whatever goes wrong."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from command_line import Terminal

from tuner.cli import context, logs
from tuner.cli.redaction import redact, secrets_of
from tuner.errors import StorageError
from tuner.search.log_fields import log_fields
from tuner.search.supervisor import Supervisor
from tuner.storage.address import address, parse_url
from tuner.storage.storage import open_storage

pytestmark = pytest.mark.slow

PASSWORD = "hun/ter@2 'x"


# ------------------------------------------------------------------ lines


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_every_line_is_an_object_that_says_where_it_belongs(capsys: pytest.CaptureFixture[str]) -> None:
    log = logging.getLogger("tuner.worker")
    with logs.restored():
        logs.start("json", worker="w-0")
        with log_fields(study="s", trial=3, attempt=2):
            log.info("epoch %d", 4, extra={"event": "epoch", "epoch": 4, "loss": 0.5})
        log.warning("after", extra={"loss": float("nan")})
        print("printed\n\nfor people", file=sys.stderr)
        context.note("noted", trial=7)
    first, after, *printed = lines(capsys)
    assert list(first)[:4] == ["time", "level", "logger", "message"]
    assert first["time"].endswith("+00:00")
    expected = {
        "level": "INFO", "logger": "tuner.worker", "message": "epoch 4", "worker": "w-0", "study": "s", "trial": 3,
        "attempt": 2, "event": "epoch", "epoch": 4, "loss": 0.5,
    }  # fmt: skip
    assert first == {"time": first["time"], **expected}
    assert ("trial" in after, after["level"], after["worker"]) == (False, "WARNING", "w-0")
    assert after["loss"] is None, "JSON has no NaN"
    assert [line["message"] for line in printed] == ["printed", "for people", "noted"]
    assert printed[-1]["trial"] == 7


def test_exceptions_are_one_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    def fails() -> None:
        raise ZeroDivisionError("in a thread")

    with logs.restored():
        logs.start("json")
        try:
            {}["missing"]
        except KeyError:
            logging.getLogger("x").exception("lost")
        thread = threading.Thread(target=fails)
        thread.start()
        thread.join()
    lost, thrown = lines(capsys)
    assert (lost["level"], lost["message"]) == ("ERROR", "lost")
    assert lost["exc_info"].splitlines()[-1] == "KeyError: 'missing'"
    assert thrown["exc_info"].splitlines()[-1] == "ZeroDivisionError: in a thread"


def test_text_lines_are_as_before_and_everything_is_put_back(capsys: pytest.CaptureFixture[str]) -> None:
    stderr, hook, handlers = sys.stderr, threading.excepthook, logging.getLogger().handlers[:]
    for kind in logs.FORMATS:
        with logs.restored():
            logs.start(kind, worker="w")
            logging.getLogger("tuner.worker").info("hello")
        assert (sys.stderr, threading.excepthook, logging.getLogger().handlers) == (stderr, hook, handlers)
        shown = capsys.readouterr().err
        assert (shown[20:] == "hello\n") == (kind == "text")


def test_the_environment_chooses_the_format_and_an_unknown_one_is_misuse(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("run", "--study", "zbde2")
    assert terminal.refuses(*words) == (2, "unknown study 'zbde2'; did you mean 'zbed2'?")
    assert terminal.refuses(*words, "--log-format", "jsn") == (2, "unknown log format 'jsn'; did you mean 'json'?")
    monkeypatch.setenv("TUNER_LOG_FORMAT", "json")
    answer = terminal(*words)
    assert answer.code == 2
    last = json.loads(answer.err.splitlines()[-1])
    assert (last["level"], last["message"]) == ("ERROR", "unknown study 'zbde2'; did you mean 'zbed2'?")
    assert terminal.refuses(*words, "--log-format", "text")[0] == 2


def test_an_unexpected_error_of_a_worker_is_logged_with_its_traceback(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(url: str, **options: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("tuner.storage.storage.open_storage", broken)
    answer = terminal("worker", "--study", "x", "--name", "x", "--log-format", "json")
    assert answer.code == 1
    last = json.loads(answer.err.splitlines()[-1])
    assert last["message"].startswith("ZeroDivisionError: division by zero (this is a bug")
    assert "in broken" in last["exc_info"]


def test_a_supervisor_quotes_the_message_of_a_json_log(tmp_path: Path) -> None:
    script = 'import sys; print(\'{"message": "no such study"}\', file=sys.stderr); sys.exit(1)'
    supervisor = Supervisor([sys.executable, "-c", script], 1, {}, tmp_path)
    with pytest.raises(StorageError, match=r"^worker 0 failed: no such study$"):
        supervisor.run(lambda: None, interval=0.05)


# ------------------------------------------------------------------ secrets


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("at postgresql://u:p@w/d@host/db now", "at postgresql://u:***@host/db now"),
        ("at postgresql://u@host/db", "at postgresql://u@host/db"),
        ("(postgresql+psycopg://u:p@h:5432/db)", "(postgresql+psycopg://u:***@h:5432/db)"),
        ("http://127.0.0.1:8080/dashboard/", "http://127.0.0.1:8080/dashboard/"),
        ("postgresql://h/db?user=u&password=abc&x=1", "postgresql://h/db?user=u&password=***&x=1"),
        ("host=h password='a b' user=u", "host=h password=*** user=u"),
        ("GET https://b/k?X-Amz-Signature=0af&X-Amz-Date=1", "GET https://b/k?X-Amz-Signature=***&X-Amz-Date=1"),
        ("key AKIAIOSFODNN7EXAMPLE denied", "key *** denied"),
        ("password authentication failed for user u", "password authentication failed for user u"),
    ],
)
def test_secrets_are_known_by_their_form(text: str, expected: str) -> None:
    assert redact(text, ()) == expected


def test_secrets_of_the_environment_are_masked_wherever_they_stand() -> None:
    environment = {
        "PGPASSWORD": "s3cret", "AWS_SECRET_ACCESS_KEY": "wJalr/XUt+nFE", "AWS_SESSION_TOKEN": "tok=en",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "/var/run/token", "HOME": "/root",
        "TUNER_STORAGE": "postgresql://u:in%2Furl@h/d",
    }  # fmt: skip
    known = secrets_of(environment, ["--storage", "postgresql://u:worded@h/d"])
    text = "s3cret wJalr/XUt+nFE wJalr%2FXUt%2BnFE tok=en in/url in%2Furl worded /var/run/token /root"
    assert redact(text, known) == "*** *** *** *** *** *** *** /var/run/token /root"


@pytest.mark.parametrize("option", ["password=abcd", "sslpassword=abcd"])
def test_a_password_among_the_options_of_a_url_is_not_shown(option: str) -> None:
    url = parse_url(f"postgresql://u@h/d?{option}&connect_timeout=3")
    assert "abcd" not in address(url)
    assert "connect_timeout=3" in address(url)


@pytest.fixture(scope="module")
def guarded(postgres: Any) -> Iterator[str]:
    """URL, without password, of a role that a real server asks for one."""
    postgres.psql("CREATE ROLE guarded LOGIN PASSWORD 'the right one';")
    rules = Path(postgres.pgdata) / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text("local all guarded scram-sha-256\n" + before)
    postgres.psql("SELECT pg_reload_conf();")
    yield postgres.get_uri().replace("//postgres:", "//guarded:")
    rules.write_text(before)
    postgres.psql("SELECT pg_reload_conf();")
    postgres.psql("DROP ROLE guarded;")


def with_password(url: str) -> str:
    return url.replace("//guarded:", f"//guarded:{quote(PASSWORD, '')}")


@pytest.mark.postgres
@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("place", ["url", "environment"])
def test_a_wrong_password_is_one_line_without_the_password(
    guarded: str, terminal: Terminal, monkeypatch: pytest.MonkeyPatch, place: str, debug: bool
) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    if debug:
        monkeypatch.setenv("TUNER_DEBUG", "1")
    url = with_password(guarded) if place == "url" else guarded
    worker = ("worker", "--study", "x", "--name", "x")
    for words in (("status", "--json"), ("stop", "--name", "x"), ("tables",), worker):
        code, text = terminal.refuses(*words, "--storage", url)
        assert code == 1
        assert "password authentication failed" in text
        assert "Check user and password" in text
        assert_hidden(text)
    answer = terminal(*worker, "--storage", url, "--log-format", "json")
    assert "password authentication failed" in json.loads(answer.err.splitlines()[-1])["message"]
    assert_hidden(answer.err + answer.out)


def assert_hidden(text: str) -> None:
    assert not [form for form in (PASSWORD, quote(PASSWORD, ""), "hun/ter", "hun%2Fter") if form in text], text


@pytest.mark.postgres
@pytest.mark.parametrize("kind", logs.FORMATS)
def test_a_chain_of_database_errors_in_a_log_hides_the_password(
    guarded: str, kind: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = with_password(guarded)
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    with logs.restored():
        logs.start(kind)
        try:
            try:
                open_storage(url)
            except StorageError as e:
                raise RuntimeError(f"cannot open {url} with {PASSWORD}") from e
        except RuntimeError:
            logging.getLogger("tuner.worker").exception("lost %s", url)
    shown = capsys.readouterr().err
    assert "OperationalError" in shown, "the chain is there"
    assert "psycopg" in shown
    assert "cannot open" in shown
    assert_hidden(shown)


def test_a_traceback_of_debugging_hides_passwords(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    try:
        raise ValueError(f"bad value {PASSWORD} for postgresql://u:other@h/d")
    except ValueError as e:
        logs.print_exception(type(e), e, e.__traceback__)
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert_hidden(shown)
    assert "other" not in shown
