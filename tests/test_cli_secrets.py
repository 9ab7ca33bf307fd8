"""Everything that a study on PostgreSQL writes, looked through for the password of its storage."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import psycopg
import pytest
from command_line import write_tiny_study
from optuna.trial import TrialState
from rich.table import Table

from tuner.cli import context, logs
from tuner.storage.storage import Attempt, open_storage, this_process

pytestmark = pytest.mark.slow

# Each part of letters and digits stands as it is in every spelling: percent-encoded, JSON, HTML, shell, repr.
PARTS = ("Zq7LkWm5", "Vw9XmRb4", "Yp3RsTd8", "Kd2NhGc6")
PASSWORD = "%t&".join(PARTS[:2]) + '"@ ' + "/é".join(PARTS[2:])


def found_in(content: bytes | str) -> list[str]:
    """Parts of the password that stand somewhere, whatever the case of the letters."""
    data = content if isinstance(content, bytes) else content.encode()
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            data += b"".join(archive.read(name) for name in archive.namelist())
    return [part for part in PARTS if part.lower().encode() in data.lower()]


class Commands:
    """Runs commands as processes in a folder and keeps what they print and how their workers were started.

    Parameters
    ----------
    folder : Path
        Where the person stands.
    url : str
        Of the storage, in the environment as the documentation says.
    """

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.printed, self.started = folder, dict[str, str](), set[tuple[str, ...]]()
        self.environment = {
            **os.environ, "TUNER_STORAGE": url, "TUNER_CACHE_DIR": str(folder / "cache"), "TUNER_COMPILED": "0"
        }  # fmt: skip

    def __call__(self, *words: str, code: int = 0, **more: str) -> str:
        command = subprocess.Popen(
            [sys.executable, "-m", "tuner.cli", *words], cwd=self.folder, env={**self.environment, **more},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        process = psutil.Process(command.pid)
        while True:
            try:
                text, _ = command.communicate(timeout=0.2)
                break
            except subprocess.TimeoutExpired:
                for child in process.children(recursive=True):
                    try:
                        self.started.add(tuple(child.cmdline()))
                    except psutil.NoSuchProcess:
                        continue
        assert command.returncode == code, text
        self.printed[" ".join(words)] = text
        return text


def rows_of(url: str) -> dict[str, str]:
    """Every row of every table, a text a table."""
    with psycopg.connect(url) as connection:
        names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        return {
            name: "\n".join(str(row[0]) for row in connection.execute(f'SELECT t::text FROM "{name}" t'))  # type: ignore[arg-type]
            for (name,) in names
        }


@pytest.mark.postgres
def test_the_password_stands_in_nothing_that_a_study_leaves(postgres: Any, tmp_path: Path) -> None:
    write_tiny_study(tmp_path)
    postgres.psql("CREATE DATABASE secrets;")
    plain = postgres.get_uri(database="secrets")
    url = plain.replace("//postgres:@", f"//postgres:{quote(PASSWORD, '')}@")
    assert url != plain
    tuner = Commands(tmp_path, url)
    study = ("--study", "./tiny.toml")
    tuner("run", *study, "--workers", "1", "--trials", "1", "--no-confirm")
    # Given on the command line, as people do; and a trial that fails with the address in its reason.
    storage = open_storage(url)
    study_id = storage.get_study_id_from_name("tiny")
    storage.set_budget(study_id, 2)
    storage.ensure_slots(study_id, ahead=1)
    attempt = storage.claim(study_id, "worker")
    assert attempt is not None
    assert storage.fail_attempt(attempt, f"OSError: no route to {url}", max_failures=3) == "waiting"
    storage.close()
    tuner("run", *study, "--workers", "1", "--no-confirm", "--storage", url, "--log-format", "json")
    tuner("best", "--name", "tiny", "--storage", url)
    tuner("evaluate", "--trial", "0", "--name", "tiny", "--storage", url, "--json")
    tuner(
        "report", "--name", "tiny", "--storage", url, "--modisco", "none", "--sequences", "5", "--threads", "1",
        "--references", "2", "--most", "1",
    )  # fmt: skip
    tuner("status", "--name", "tiny", "--json", "--storage", url)
    away = url.replace(quote(str(Path(url.partition("host=")[2]).name)), "nobody-there")
    assert away != url
    lines = tuner("status", "--json", "--storage", away, code=1).splitlines()
    [error] = [json.loads(line) for line in lines if line.startswith('{"error"')]
    assert error["exit_code"] == 1
    tuner("status", "--storage", url.replace("postgres:", "nobody:"), code=1, TUNER_DEBUG="1")

    workers = [words for words in tuner.started if "worker" in words]
    assert workers, tuner.started
    assert not [words for words in workers if found_in(" ".join(words))]
    assert {name: found for name, text in tuner.printed.items() if (found := found_in(text))} == {}
    rows = rows_of(url)
    assert "no route to" in rows["tuner_attempts"]
    assert {name: found for name, text in rows.items() if (found := found_in(text))} == {}
    files = [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    kinds = {path.suffix for path in files}
    assert {".log", ".html", ".json", ".tsv", ".png"} <= kinds, kinds
    assert {str(path): found for path in files if (found := found_in(path.read_bytes()))} == {}


@pytest.mark.postgres
def test_no_reason_that_is_stored_holds_the_password(postgres: Any) -> None:
    postgres.psql("CREATE DATABASE reasons;")
    plain = postgres.get_uri(database="reasons")
    url = plain.replace("//postgres:@", f"//postgres:{quote(PASSWORD, '')}@")
    storage = open_storage(url)
    storage.secrets |= {"of-another-service"}
    study_id = storage.create_or_load("s", ["maximize"])
    storage.set_budget(study_id, 5)
    storage.ensure_slots(study_id, ahead=5)
    encoded = re.sub("%..", lambda found: found[0].lower(), quote(PASSWORD, ""))
    text = f"OSError: {url} {PASSWORD!r} {json.dumps(PASSWORD)} {encoded} of-another-service"

    def claim() -> Attempt:
        attempt = storage.claim(study_id, "worker")
        assert attempt is not None
        return attempt

    assert storage.fail_attempt(claim(), text, max_failures=1) == "failed"
    storage.finish(claim(), TrialState.PRUNED, user_attrs={"reason": text})
    storage.finish(claim(), TrialState.COMPLETE, [1.0], user_attrs={"artifacts_error": text})
    storage.hand_back(claim(), text)
    claim()
    storage.count_crash(this_process(), text, memory=False, max_failures=1)
    storage.close()
    rows = rows_of(url)
    assert rows["tuner_attempts"].count("OSError: ") == 4  # that of missing files is an attribute alone
    assert rows["trial_user_attributes"].count("OSError: ") == 6  # failures hold each reason once more
    for text in rows.values():
        assert "of-another-service" not in text
        assert found_in(text) == []


def test_stderr_shows_no_secret_whoever_writes_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"postgresql://u:{quote(PASSWORD, '')}@h/d"
    monkeypatch.setenv("TUNER_STORAGE", url)
    monkeypatch.setenv("COLUMNS", "30")  # narrower than the password: a cell is wrapped
    with logs.restored():
        print(url, file=sys.stderr)
        sys.stderr.write(warnings.formatwarning(f"{PASSWORD} is bad", UserWarning, "x.py", 1))
        table = Table()
        table.add_column("reason")
        table.add_row(f"no route to {url}, {PASSWORD}")
        context.console().print(table)
        context.console().print(f"{PASSWORD} in a line")
    shown = capsys.readouterr().err
    assert "no route to" in shown
    assert "***" in shown
    assert found_in("".join(letter for letter in shown if letter.isalnum())) == []
