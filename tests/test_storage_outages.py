"""PostgreSQL goes away, or loses an answer; no worker exits, and no healthy trial runs again."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from deaths import work_through_an_outage
from optuna.trial import TrialState
from sqlalchemy.engine import make_url
from storage_backends import join, start

from tuner.storage.storage import open_storage

pytestmark = [pytest.mark.postgres, pytest.mark.slow]
MOMENTS = ("suggest", "epoch 1", "trained", "prepare")  # the last one finds no slot: it is idle


def test_an_outage_longer_than_the_grace_costs_no_trial(
    postgres: Any,
    postgres_tables: str,
    tmp_path: Path,
) -> None:
    postgres.psql("TRUNCATE studies CASCADE;")
    workers, log = [], tmp_path / "log"
    for moment in MOMENTS:  # one after the other, so that each has a slot at its moment
        workers.append(start(work_through_an_outage, postgres_tables, str(tmp_path), moment))
        end = time.monotonic() + 120
        while not (log.exists() and f"at {moment}" in log.read_text().splitlines()):
            assert time.monotonic() < end
            time.sleep(0.02)
    pid = postgres.get_pid()
    os.kill(pid, signal.SIGINT)  # fast shutdown: every connection is cut
    while Path(f"/proc/{pid}").exists():
        time.sleep(0.05)
    (tmp_path / "stopped").touch()
    time.sleep(2.5)
    postgres.ensure_postgres_running()
    join(workers)
    storage = open_storage(postgres_tables)
    trials = storage.get_all_trials(storage.get_study_id_from_name("tiny"))
    assert [t.state for t in trials] == [TrialState.COMPLETE] * 3
    for trial in trials:
        (record,) = storage.attempts(trial._trial_id)
        assert record.outcome == "complete"
        assert trial.values == [max(auroc for _, _, auroc in json.loads(trial.user_attrs["losses"]))]
    assert log.read_text().splitlines().count("execute") == 3
    storage.close()


class Proxy:
    """Stands before a server's socket; when armed, it lets one COMMIT through and then cuts that connection."""

    def __init__(self, server: Path, folder: Path) -> None:
        self.server, self.armed, self.cut = server, False, 0
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(folder / server.name))
        self.listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed at the end
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server, contextlib.suppress(OSError):
            server.connect(str(self.server))
            while ready := select.select([client, server], [], [])[0]:
                for side in ready:
                    data = side.recv(65536)
                    if not data:
                        return
                    if side is client and self.armed and b"COMMIT" in data:
                        self.armed = False
                        server.sendall(data)
                        server.recv(65536)  # committed; nobody hears it
                        self.cut += 1
                        return
                    (server if side is client else client).sendall(data)


@pytest.fixture
def proxy(postgres: Any) -> Iterator[tuple[Proxy, str]]:
    folder = Path(tempfile.mkdtemp(prefix="tuner-"))  # a socket's path is at most 107 characters
    (path,) = Path(str(make_url(postgres.get_uri()).query["host"])).glob(".s.PGSQL.*[0-9]")
    proxy = Proxy(path, folder)
    yield proxy, f"postgresql://postgres:@/postgres?host={folder}"
    proxy.listener.shutdown(socket.SHUT_RDWR)
    proxy.listener.close()
    shutil.rmtree(folder)


@pytest.mark.parametrize("ending", ["finish", "hand_back", "fail_attempt"])
def test_what_was_committed_before_the_connection_broke_is_a_success(
    proxy: tuple[Proxy, str],
    postgres: Any,
    postgres_tables: str,
    ending: str,
) -> None:
    postgres.psql("TRUNCATE studies CASCADE;")
    relay, url = proxy
    storage = open_storage(url)
    study_id = storage.create_or_load("s", ["maximize"])
    storage.set_budget(study_id, 1)
    storage.ensure_slots(study_id, ahead=1)
    attempt = storage.claim(study_id, "w")
    assert attempt is not None
    endings = {
        "finish": lambda: storage.finish(attempt, TrialState.COMPLETE, [0.5]),
        "hand_back": lambda: storage.hand_back(attempt, "told to"),
        "fail_attempt": lambda: storage.fail_attempt(attempt, "bug", max_failures=2),
    }
    relay.armed = True
    endings[ending]()
    assert relay.cut == 1
    trial = storage.get_trial(attempt.trial_id)
    assert trial.state == (TrialState.COMPLETE if ending == "finish" else TrialState.WAITING)
    assert trial.values == ([0.5] if ending == "finish" else None)
    assert [r.attempt for r in storage.attempts(attempt.trial_id)] == [1]
    storage.close()


def test_a_worker_has_two_connections_at_most(
    postgres: Any,
    postgres_tables: str,
    tmp_path: Path,
) -> None:
    """Main thread, heartbeat and a stop at once; the third of them waits."""
    storage = open_storage(postgres_tables)
    barrier, seen = threading.Barrier(2), list[int]()

    def hold(connection: Any) -> None:
        barrier.wait(20)
        query = f"SELECT count(*) FROM pg_stat_activity WHERE application_name = 'tuner {os.getpid()}'"
        seen.append(connection.exec_driver_sql(query).scalar())
        time.sleep(0.2)

    threads = [threading.Thread(target=storage._backend.read, args=(hold,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [2] * 4
    storage.close()
