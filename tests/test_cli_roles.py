"""Commands as the roles of `roles.sql`: a worker runs a study to its end, a reader reads and leaves no trace."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import Answer, write_tiny_study
from database_roles import psql
from storage_backends import CONTEXT

from tuner.cli.app import main
from tuner.results.overview import find_trial
from tuner.storage.artifacts import entries_of
from tuner.storage.storage import open_storage

pytestmark = pytest.mark.slow


def obey(folder: Path, words: tuple[str, ...], environment: dict[str, str], out: Path, err: Path) -> None:
    """Be a process that was started with these words."""
    os.chdir(folder)
    os.environ.update(environment)
    for path, number in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    with open(1, "w", closefd=False) as sys.stdout, open(2, "w", closefd=False) as sys.stderr:
        sys.argv = ["tuner", *words]
        main()


class Typist:
    """Types commands as one of the roles, each in a process of its own that ends as users' do."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url, self.count = folder, url, 0

    @contextlib.contextmanager
    def started(self, role: str, *words: str) -> Any:
        self.count += 1
        out, err = (self.folder / f"{self.count}.{kind}" for kind in ("out", "err"))
        out.touch()
        err.touch()
        environment = {"TUNER_STORAGE": self.url.replace("USER", f"tuner_{role}")}
        process = CONTEXT.Process(target=obey, args=(self.folder, words, environment, out, err))
        process.start()
        try:
            yield process, out, err
        finally:
            process.kill()
            process.join()

    def __call__(self, role: str, *words: str) -> Answer:
        with self.started(role, *words) as (process, out, err):
            process.join(300)
            return Answer(process.exitcode, out.read_text(), err.read_text())


def wait_until(found: Callable[[], bool], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def contents(server: Any) -> str:
    """All that the database holds, as text, but for the random word that newer dumps begin and end with."""
    command = [server.bin_path / "pg_dump", "--data-only", server.get_uri(database="roles")]
    dump = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    return re.sub(r"(?m)^\\(un)?restrict .*$", "", dump)


def count(server: Any, query: str) -> int:
    return int(psql(server, "roles", "--tuples-only", "--command", f"SELECT count(*) FROM {query}").stdout)


def trial_files(url: str, name: str) -> list[str]:
    """Identifiers of the files of the search's first trial."""
    storage = open_storage(url.replace("USER", "tuner_reader"))
    try:
        return [identifier for _, identifier in entries_of(find_trial(storage, name, 0, "search"))]
    finally:
        storage.close()


ENDLESS = "epochs = 100000\npatience = 100000"  # no worker is ever between two trials
REPORT = "report --modisco none --references 2 --sequences 20 --threads 1"
REFUSED = [
    "stop", "evaluate --trial 0", "delete --name tiny --yes", "worker --study tiny.toml",
    "worker --study endless.toml --name endless",
]  # fmt: skip


@pytest.mark.postgres
def test_a_worker_runs_a_study_to_its_end_and_a_reader_reads_it_without_a_trace(
    roles: str,
    postgres: Any,
    tmp_path: Path,
) -> None:
    study = write_tiny_study(tmp_path)
    study.write_text(study.read_text().replace("trials = 2", "trials = 2\nstopping = { rungs = [1], minimum = 1 }"))
    (tmp_path / "endless.toml").write_text(study.read_text().replace("epochs = 2", ENDLESS))
    tuner = Typist(tmp_path, roles)

    with tuner.started("worker", "worker", "--study", "endless.toml", "--name", "endless") as (process, _, log):
        wait_until(lambda: " epoch 1," in log.read_text() or not process.is_alive())
        stopped = tuner("worker", "stop", "--name", "endless", "--now", "--json")
        process.join(120)
        assert process.exitcode == 0, log.read_text()
        assert "handed back" in log.read_text()
    assert (stopped.code, stopped.json["asked"], stopped.json["left"]) == (0, 1, 1), stopped
    refused = tuner("worker", "delete", "--name", "endless", "--yes")
    assert (refused.code, refused.err.count("error: ")) == (1, 1), refused
    assert "permission denied" in refused.err
    assert "tuner_owner to delete" in refused.err
    assert tuner("owner", "delete", "--name", "endless", "--yes").code == 0

    ran = tuner("worker", "worker", "--study", "tiny.toml")
    assert ran.code == 0, ran.err
    assert count(postgres, "tuner_rungs") == 2
    for role, words in (("worker", "evaluate"), ("owner", REPORT)):
        done = tuner(role, *words.split())
        assert done.code == 0, done.err

    before = contents(postgres)
    for words in ("status", "best", "show --trial 0", "table", "verify", f"{REPORT} --stages page"):
        read = tuner("reader", *words.split())
        assert read.code == 0, f"{words}: {read.err}"
    for words in REFUSED:
        refused = tuner("reader", *words.split())
        last = refused.err.strip().splitlines()[-1]
        assert (refused.code, refused.err.count("error: "), last[:7]) == (1, 1, "error: "), f"{words}: {refused}"
        assert "permission denied for table" in last, words
        assert "use one that may do this: tuner_worker" in last, words
        assert "Traceback" not in refused.err, words
    assert contents(postgres) == before

    lost = trial_files(roles, "tiny")
    for identifier in lost:
        (tmp_path / "runs" / "artifacts" / identifier).unlink()
    missed = tuner("reader", "verify")
    assert missed.code == 1
    assert missed.err.count("tuner rerun") == len(lost), missed.err
    restored = tuner("worker", "rerun", "--trial", "0", "--json")
    assert restored.code == 0, restored.err
    assert len(restored.json["files"]) == len(lost)
    assert {f["state"] for f in restored.json["files"]} <= {"restored", "made anew"}
    assert tuner("reader", "verify").code == 0
