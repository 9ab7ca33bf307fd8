"""A database that is full, read-only or gone, and clocks that differ: said at once, waited for or ended; for real."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from machines import AS_NOBODY, in_namespace, python, tmpfs
from optuna.trial import TrialState
from waiting import wait_for

from tuner.storage.attempts import Attempt
from tuner.storage.heartbeat import Heartbeat
from tuner.storage.outage import DatabaseGone
from tuner.storage.process import Process
from tuner.storage.storage import FencedStorage, open_storage

pytestmark = pytest.mark.slow

ELSEWHERE = Process("elsewhere 00000000-0000-0000-0000-000000000000 pid:[1]", 7, 1.0)


def make_claimed(where: Any, process: Process | None = None) -> tuple[FencedStorage, int, Attempt]:
    storage = open_storage(where)
    study_id = storage.create_or_load("s", ["maximize"])
    storage.set_budget(study_id, 2)
    storage.ensure_slots(study_id, ahead=2)
    attempt = storage.claim(study_id, "w", process=process)
    assert attempt is not None
    return storage, study_id, attempt


# ------------------------------------------------------------------ a file that is gone


@pytest.mark.parametrize("how", ["removed", "moved", "replaced", "folder removed"])
def test_a_database_file_that_is_gone_is_an_error_at_the_next_call_and_no_new_file(tmp_path: Path, how: str) -> None:
    path = tmp_path / "runs" / "tuner.db"
    storage, study_id, attempt = make_claimed(path)
    if how == "folder removed":
        path.parent.rename(tmp_path / "gone")
    elif how == "replaced":
        with sqlite3.connect(path) as old, sqlite3.connect(tmp_path / "copy.db") as copy:
            old.backup(copy)
        (tmp_path / "copy.db").replace(path)
    elif how == "moved":
        path.rename(tmp_path / "elsewhere.db")
    else:
        path.unlink()
    words = "replaced by another file" if how == "replaced" else "removed or moved away"
    for call in (
        lambda: storage.counts(study_id),
        lambda: storage.get_all_trials(study_id),
        lambda: storage.beat(attempt, patience=0),
        lambda: storage.finish(attempt, TrialState.COMPLETE, [0.5]),
    ):
        with pytest.raises(DatabaseGone, match=f"^{path}: the database was {words}"):
            call()
    assert path.exists() == (how == "replaced")
    storage.close()


def test_a_file_that_was_removed_and_made_again_is_another_one(tmp_path: Path) -> None:
    """File systems give the number of a removed file to the next one."""
    path = tmp_path / "tuner.db"
    storage, study_id, _ = make_claimed(path)
    storage.close()  # no connection keeps the old file
    for part in tmp_path.glob("tuner.db*"):
        part.unlink()
    open_storage(path).close()
    with pytest.raises(DatabaseGone, match="replaced by another file"):
        storage.counts(study_id)
    storage.close()


def test_a_heartbeat_tells_that_the_database_is_gone(tmp_path: Path) -> None:
    storage, _, attempt = make_claimed(tmp_path / "tuner.db")
    told: list[DatabaseGone] = []
    with Heartbeat(storage, attempt, interval=0.02, stall_after=60, on_gone=told.append):
        (tmp_path / "tuner.db").unlink()
        wait_for(lambda: told)
    assert len(told) == 1
    storage.close()


# ------------------------------------------------------------------ full and read-only disks

FILL = """
import logging, sys
from pathlib import Path
from tuner.storage.storage import open_storage
folder = Path(sys.argv[1])
storage = open_storage(folder / "tuner.db", patience=300)
study_id = storage.create_or_load("s", ["maximize"])
storage.set_budget(study_id, 2000)
class Free(logging.Handler):
    def emit(self, record):
        print(record.getMessage(), flush=True)
        (folder / "fill").unlink(missing_ok=True)
logging.getLogger("tuner.notice").addHandler(Free())
with (folder / "fill").open("wb", buffering=0) as file:
    try:
        while file.write(b"0" * 4096): pass
    except OSError as e:
        print(e.strerror, flush=True)
print("made", storage.ensure_slots(study_id, ahead=2000), flush=True)
"""


def test_a_full_disk_is_said_at_once_with_what_is_free_and_waited_for(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    said = in_namespace(f"{tmpfs(disk, '2m')}; {python(FILL, disk)} 2>&1").splitlines()
    assert said[0] == "No space left on device"
    assert said[1].startswith(f"{disk}/tuner.db: database or disk is full; 0 bytes of 2.1 MB are free in {disk}. ")
    assert said[1].endswith("Waiting for it, 5 min at most.")
    assert said[2].startswith(f"{disk}/tuner.db is back after ")
    assert said[3:] == ["made 2000"]


READ_ONLY = """
import os, sys, threading, time
from pathlib import Path
from tuner.storage.storage import open_storage
path = Path(sys.argv[1])
storage = open_storage(path, patience=60)
study_id = storage.create_or_load("s", ["maximize"])
storage.close()
path.chmod(0o444)
def free():
    time.sleep(2)
    print("writable", flush=True)
    for part in path.parent.glob("tuner.db*"):  # SQLite gives the files beside it the mode of the database
        part.chmod(0o644)
threading.Thread(target=free).start()
print("budget", storage.set_budget(study_id, 2), flush=True)
storage.close()
path.chmod(0o444)
try:
    open_storage(path, patience=60).create_or_load("t", ["maximize"])
except Exception as e:
    print(type(e).__name__, e)
"""


def test_a_file_that_is_read_only_for_a_while_is_waited_for_and_one_that_is_from_the_start_is_not(
    tmp_path: Path,
) -> None:
    disk = tmp_path / "disk"
    where = "/mnt"  # a folder that nobody may enter: those of the test belong to root
    said = in_namespace(
        f"{tmpfs(disk, '2m')}; mount -t tmpfs -o mode=777 tmpfs {where}; "
        f"{python(READ_ONLY, where + '/tuner.db', prefix=AS_NOBODY)} 2>&1"
    ).splitlines()
    assert said[0].startswith("/mnt/tuner.db: attempt to write a readonly database; ")
    assert said[0].endswith("Waiting for it, 60 s at most.")
    assert said[1] == "writable"
    assert said[2].startswith("/mnt/tuner.db is back after ")
    assert said[3] == "budget 2"
    assert said[4].startswith("StorageError /mnt/tuner.db: attempt to write a readonly database")


@pytest.mark.postgres
def test_a_server_that_is_a_standby_for_a_while_costs_nothing(
    postgres: Any,
    postgres_tables: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Every transaction is read-only, as on a server that waits for its promotion."""
    postgres.psql("TRUNCATE studies CASCADE;")
    storage, study_id, attempt = make_claimed(postgres_tables)

    def switch(to: str) -> None:
        postgres.psql(f"ALTER SYSTEM SET default_transaction_read_only = {to};")
        postgres.psql("SELECT pg_reload_conf();")

    def is_read_only() -> bool:
        return storage._backend.read(
            lambda c: c.exec_driver_sql("SHOW transaction_read_only").scalar() == "on"  # type: ignore[arg-type,return-value]
        )

    switch("on")
    try:
        wait_for(is_read_only)
        ends = threading.Timer(2.0, lambda: switch("off"))
        ends.start()
        with caplog.at_level(logging.WARNING, "tuner.notice"):
            storage.finish(attempt, TrialState.COMPLETE, [0.5])
        ends.join()
    finally:
        switch("off")
    away, back = (record.getMessage() for record in caplog.records if record.name == "tuner.notice")
    assert "cannot execute UPDATE in a read-only transaction. Waiting for it, 15 min at most." in away
    assert " is back after " in back
    assert [t.state for t in storage.get_all_trials(study_id)] == [TrialState.COMPLETE, TrialState.WAITING]
    storage.close()


# ------------------------------------------------------------------ clocks


def test_a_worker_whose_clock_is_an_hour_ahead_is_watched_for_two_graces_not_for_an_hour(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage, study_id, _ = make_claimed(tmp_path / "tuner.db", ELSEWHERE)
    with sqlite3.connect(tmp_path / "tuner.db") as database:
        database.execute("UPDATE tuner_attempts SET beat = beat + 3600, started = started + 3600")
    started = time.monotonic()
    with caplog.at_level(logging.WARNING, "tuner.notice"):
        wait_for(lambda: storage.reap(study_id, grace=1.0) == [0], 60)
    assert time.monotonic() - started >= 2.0
    (said,) = [record.getMessage() for record in caplog.records if record.name == "tuner.notice"]
    assert said.startswith("trial 0 waits: nothing was heard from w on elsewhere (process 7) for ")
    assert "; its host's clock is 3600 s ahead of this one's" in said
    (record,) = storage.attempts(1)
    assert str(record.reason).endswith("s; its host's clock is 3600 s ahead of this one's")
    storage.close()


def test_a_worker_whose_clock_is_an_hour_ahead_and_that_beats_keeps_its_slot(tmp_path: Path) -> None:
    storage, study_id, attempt = make_claimed(tmp_path / "tuner.db", ELSEWHERE)
    for i in range(30):
        storage.beat(attempt)
        with sqlite3.connect(tmp_path / "tuner.db") as database:
            database.execute("UPDATE tuner_attempts SET beat = beat + 3600")
        assert storage.reap(study_id, grace=0.3) == [], i
        time.sleep(0.05)
    storage.close()


# ------------------------------------------------------------------ files that a full disk does not take

LATE = """
import logging, sys, threading, time
from pathlib import Path
import torch
from deaths import QUICK, Tiny, make_bench
from tuner.search import late_files
from tuner.storage.artifacts import Artifacts, missing_names
from tuner.search.shutdown import Stopper
from tuner.storage.storage import open_storage
from tuner.search.worker import Worker
torch.set_num_threads(1)
late_files.TRY_SECONDS, late_files.LEAVE_SECONDS = 0.1, float(sys.argv[3])
folder, disk = Path(sys.argv[1]), Path(sys.argv[2])
bench, storage, artifacts = make_bench(folder), open_storage(folder / "tuner.db"), Artifacts(disk / "a", patience=0.6)
trained = []
def fill():
    trained.append(1)
    if len(trained) == 1:
        with (disk / "fill").open("wb", buffering=0) as file:
            try:
                while file.write(b"0" * 4096): pass
            except OSError as e:
                print(e.strerror, flush=True)
    elif sys.argv[4] == "free":
        (disk / "fill").unlink()
worker = Worker(bench, storage, artifacts, folder / "checkpoints", Stopper(), name="w", pace=QUICK, ahead=2)
assert worker.work([Tiny(bench, {"trained": fill})])
for trial in open_storage(folder / "tuner.db").get_all_trials(1):  # this process remembers trials as they ended
    there = [name for name, held in artifacts.held(trial).items() if held.present]
    print(trial.number, trial.state.name, there, missing_names(trial.system_attrs), flush=True)
"""


@pytest.mark.parametrize("fate", ["free", "full"])
def test_files_that_a_full_disk_did_not_take_are_written_when_there_is_room_or_named(tmp_path: Path, fate: str) -> None:
    """The disk is full when the first of two trials ends; in one case there is room when the second one ends."""
    disk = tmp_path / "disk"
    tests = f"PYTHONPATH={Path(__file__).parent}"
    wait = 60 if fate == "free" else 0.5
    lines = in_namespace(
        f"{tmpfs(disk, '1m')}; {python(LATE, tmp_path / 'study', disk, wait, fate, prefix=tests)} 2>&1"
    ).splitlines()
    said = "\n".join(lines)
    assert lines[0] == "No space left on device"
    assert f"{disk}/a: cannot write " in lines[1]
    assert "(No space left on device; 0 bytes of 1.0 MB are free in " in lines[1]
    assert "Its values are stored; its files will be written as soon as possible." in said
    if fate == "free":
        assert "tiny trial 0: its files are written now." in said
        assert lines[-2:] == [f"{n} COMPLETE ['a.tsv', 'b.tsv'] []" for n in (0, 1)]
    else:
        assert "files of tiny trial 0, tiny trial 1 could not be written; tuner rerun restores them." in said
        assert lines[-2:] == [f"{n} COMPLETE [] ['a.tsv', 'b.tsv']" for n in (0, 1)]
