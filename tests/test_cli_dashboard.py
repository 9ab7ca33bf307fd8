"""The dashboard's door: who is answered, what may be changed, and that nobody keeps the others waiting."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from optuna.trial import TrialState

from tuner.report.server import Access, host_name
from tuner.storage.artifacts import Artifacts
from tuner.storage.storage import open_storage

BROWSER = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)
FORMULA = "=HYPERLINK(1)"


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A database with one study of one completed trial, and a picture."""
    with closing(open_storage(tmp_path / "tuner.db")) as storage:
        study = storage.create_or_load("peaks", ["maximize"], metric_names=["auroc"])
        storage.set_budget(study, 1)
        storage.ensure_slots(study, ahead=1)
        attempt = storage.claim(study, "w")
        assert attempt is not None
        attributes = {"motif": FORMULA, "lead": -0.5, "note": "@SUM(A1)"}
        storage.finish(attempt, TrialState.COMPLETE, [0.75], user_attrs=attributes)
        for key, entry in Artifacts(tmp_path / "artifacts").put({"a.svg": b"<svg/>"}).items():
            storage.set_study_system_attr(study, key, entry)
    return tmp_path


@contextmanager
def served(folder: Path, *words: str) -> Iterator[tuple[int, str]]:
    """The command itself, and its port and token."""
    command = [sys.executable, "-m", "tuner", "dashboard", "--port", "0", "--storage", str(folder / "tuner.db")]
    command += ["--artifacts", str(folder / "artifacts"), *words]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with (folder / "err").open("w") as err, subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=err, text=True, cwd=folder, env=environment
    ) as process:  # fmt: skip
        try:
            port, token = 0, ""
            while not port:
                assert process.poll() is None, (folder / "err").read_text()
                if found := re.search(r":(\d+)/dashboard/ \(Ctrl", (folder / "err").read_text()):
                    port = int(found[1])
            if "--write" in words and "--proxy" not in words:
                assert process.stdout is not None
                token = process.stdout.readline().strip().rpartition("token=")[2]
            yield port, token
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def ask(port: int, method: str, path: str, body: Any = None, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.putrequest(method, path, skip_host="Host" in named, skip_accept_encoding=True)
    content = b"" if body is None else json.dumps(body).encode()
    for name, value in {**named, "Content-Type": "application/json", "Content-Length": str(len(content))}.items():
        connection.putheader(name, value)
    connection.endheaders(content)
    answer = connection.getresponse()
    reply = Reply(answer.status, dict(answer.getheaders()), answer.read())
    connection.close()
    return reply


def studies(folder: Path) -> list[str]:
    with closing(open_storage(folder / "tuner.db")) as storage:
        return [s.study_name for s in storage.get_all_studies()]


def test_nothing_is_changed_and_no_other_site_is_answered(folder: Path) -> None:
    with served(folder) as (port, _):
        here = f"127.0.0.1:{port}"
        assert ask(port, "GET", "/api/studies", Accept_Encoding="gzip").status == 200
        assert ask(port, "GET", "/dashboard/", Host=f"localhost:{port}").status == 200
        for host in ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example", "192.168.0.7", "", "a,b"):
            refused = ask(port, "GET", "/api/studies", Host=host)
            assert (refused.status, b"is not this server" in refused.body) == (403, True), host
            assert ask(port, "DELETE", "/api/studies/1", Host=host).status == 403
        for origin in ("http://evil.example", "null", "file://", f"http://127.0.0.1:{port + 1}"):
            refused = ask(port, "GET", "/api/studies", Origin=origin)
            assert refused.status == 403, origin
        assert ask(port, "GET", "/api/studies", Origin=f"http://{here}").status == 200
        for method, path in (
            ("DELETE", "/api/studies/1"), ("POST", "/api/studies"), ("PUT", "/api/studies/1/note"),
            ("POST", "/api/studies/1/rename"), ("POST", "/api/artifacts/1"), ("PATCH", "/"), ("delete", "/"),
        ):  # fmt: skip
            refused = ask(port, method, path, {}, Origin=f"http://{here}")
            assert refused.status == 403
            assert b"this server only reads" in refused.body
    assert studies(folder) == ["peaks"]


def test_a_stored_file_is_shown_and_runs_nothing_of_its_own(folder: Path) -> None:
    with served(folder) as (port, _):
        found = json.loads(ask(port, "GET", "/api/studies/1?after=0").body)["artifacts"]
        reply = ask(port, "GET", f"/artifacts/1/{found[0]['artifact_id']}")
    assert (reply.status, reply.body, reply.headers["Content-Type"]) == (200, b"<svg/>", "image/svg+xml")
    assert reply.headers["Content-Security-Policy"] == "sandbox"
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert "Access-Control-Allow-Origin" not in reply.headers


def test_a_downloaded_table_holds_no_formula(folder: Path) -> None:
    with served(folder) as (port, _):
        reply = ask(port, "GET", "/csv/1")
    rows = list(csv.DictReader(io.StringIO(reply.body.decode())))
    assert [row["auroc"] for row in rows] == ["0.75"]
    assert rows[0]["UserAttribute motif"] == f"'{FORMULA}"
    assert rows[0]["UserAttribute note"] == "'@SUM(A1)"
    assert rows[0]["UserAttribute lead"] == "-0.5"


def test_silent_clients_keep_nobody_waiting(folder: Path) -> None:
    with served(folder) as (port, _):
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(80)]  # more than there are threads
        try:
            for one in silent[::2]:
                one.sendall(b"GET / HT")
            assert ask(port, "GET", "/api/studies").status == 200
        finally:
            for one in silent:
                one.close()


def test_changes_need_the_token_and_an_origin(folder: Path) -> None:
    with served(folder, "--write") as (port, token):
        origin = f"http://127.0.0.1:{port}"
        note = ("PUT", "/api/studies/1/note", {"body": "seen", "version": 1})
        assert len(token) == 32
        assert b"token" in ask(port, *note, Origin=origin).body
        assert ask(port, "GET", "/dashboard/?token=wrong").status == 200
        given = ask(port, "GET", f"/dashboard/?token={token}")
        assert (given.status, given.headers["Location"]) == (302, "/dashboard/")
        assert "HttpOnly" in given.headers["Set-Cookie"]
        assert "SameSite=Strict" in given.headers["Set-Cookie"]
        cookie = given.headers["Set-Cookie"].partition(";")[0]
        assert ask(port, *note, Cookie=cookie).status == 403, "without an Origin"
        assert ask(port, *note, Cookie=cookie, Origin="http://evil.example").status == 403
        assert ask(port, *note, Cookie=cookie, Origin=origin, Host="evil.example").status == 403
        assert ask(port, *note, Cookie=cookie, Origin=origin).status == 204
        assert json.loads(ask(port, "GET", "/api/studies/1?after=0").body)["note"]["body"] == "seen"
        assert ask(port, "DELETE", "/api/studies/1", Cookie=cookie, Origin=origin).status == 204
    assert studies(folder) == []


def test_behind_a_proxy_its_name_is_answered_and_may_change(folder: Path) -> None:
    name = "tuner.example.org"
    note = ("PUT", "/api/studies/1/note", {"body": "seen", "version": 1})
    with served(folder, "--proxy", name) as (port, _):
        assert ask(port, "GET", "/api/studies", Host=name).status == 200
        assert ask(port, *note, Host=name, Origin=f"http://evil.{name}").status == 403
        assert ask(port, *note, Host=f"127.0.0.1:{port}", Origin=f"http://127.0.0.1:{port}").status == 403
        assert ask(port, *note, Host=name, Origin=f"https://{name}").status == 204
    with served(folder, "--proxy", name, "--read-only") as (port, _):
        assert ask(port, *note, Host=name, Origin=f"https://{name}").status == 403
    assert studies(folder) == ["peaks"]


def test_where_others_can_connect_only_addresses_and_declared_names_are_answered() -> None:
    access = Access("0.0.0.0", frozenset({"tuner.example.org"}))
    known = ("10.0.0.3:8080", "[::1]:80", "localhost", "tuner.example.org", "TUNER.example.org.:443", "0.0.0.0")
    assert [access.knows(host) for host in (*known, socket.gethostname())] == [True] * 7
    assert [access.knows(host) for host in ("evil.example", "10.0.0.3.evil.example", "", "user@10.0.0.3")] == [
        False
    ] * 4
    assert [host_name(host) for host in ("[::1]:80", "A.b:1", "a/b", "a:b", "[x]")] == ["::1", "a.b", "", "", ""]


@pytest.mark.browser
def test_a_browser_shows_study_note_and_artifact(folder: Path) -> None:
    if BROWSER is None:
        pytest.skip("browser: no chromium here")
    with served(folder) as (port, _):
        options = [
            "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-sync", "--virtual-time-budget=60000", "--enable-logging=stderr",
            f"--user-data-dir={folder / 'profile'}", "--dump-dom",
        ]  # fmt: skip
        shown = {}
        for page in ("dashboard/", "dashboard/studies/1", "dashboard/studies/1/trials"):
            done = subprocess.run(
                [BROWSER, *options, f"http://127.0.0.1:{port}/{page}"], capture_output=True, text=True, timeout=300
            )
            shown[page] = done.stdout
            refused = [line for line in done.stderr.splitlines() if "CONSOLE" in line and "403" in line]
            assert not refused
    assert "peaks" in shown["dashboard/"]
    assert "peaks" in shown["dashboard/studies/1"]
    assert "a.svg" in shown["dashboard/studies/1"] or "plotly" in shown["dashboard/studies/1"]
    assert "Complete" in shown["dashboard/studies/1/trials"]
