"""Databases that cannot be written are read, whole, and without a trace."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from optuna.trial import TrialState
from other_user import NO_ENTRY, needs_root, run_as, shared_folder

from tuner.errors import StorageError
from tuner.storage.address import parse_url
from tuner.storage.database import _only_read
from tuner.storage.readonly import Reader
from tuner.storage.storage import FencedStorage, open_storage


def finish(storage: FencedStorage, value: float) -> None:
    study = storage.create_or_load("peaks", ["maximize"], metric_names=["auroc"])
    storage.set_budget(study, (storage.budget(study) or 0) + 1)
    storage.ensure_slots(study, ahead=1)
    attempt = storage.claim(study, "w")
    assert attempt is not None
    storage.finish(attempt, TrialState.COMPLETE, [value])


def values(storage: FencedStorage) -> list[list[float]]:
    return [t.values for t in storage.get_all_trials(storage.get_study_id_from_name("peaks"))]


def listing(folder: Path) -> list[tuple[str, int, int]]:
    return sorted((p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in folder.iterdir())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "runs").mkdir()
    with closing(open_storage(tmp_path / "runs" / "tuner.db")) as storage:
        finish(storage, 0.75)
    return tmp_path / "runs" / "tuner.db"


def read_only(file: Path) -> FencedStorage:
    """What `open_storage(reading=True)` opens for a user who cannot write: root always can."""
    return FencedStorage(_only_read(parse_url(file), patience=1))


def test_a_file_is_read_and_left_as_it_was(file: Path) -> None:
    before = listing(file.parent)
    with closing(read_only(file)) as storage:
        assert values(storage) == [[0.75]]
        assert storage.address == str(file)
        said = r"tuner\.db: this database cannot be written here, so it is open read-only"
        with pytest.raises(StorageError, match=said):
            storage.set_budget(1, 7)
        with pytest.raises(StorageError, match="cannot be written here"):
            storage.set_study_user_attr(1, "a", 1)
        assert listing(file.parent) == before


def test_what_another_process_commits_meanwhile_is_seen(file: Path) -> None:
    with closing(read_only(file)) as storage, closing(open_storage(file)) as writer:
        for value in (0.5, 0.25):
            finish(writer, value)
            assert values(storage)[-1] == [value]


@pytest.fixture(params=["-wal", "-wal without -shm", "-journal"])
def interrupted(request: pytest.FixtureRequest, file: Path, tmp_path: Path) -> Iterator[tuple[Path, list[list[float]]]]:
    """A copy of a database whose writer was killed, and what is committed in it."""
    kept = tmp_path / "killed"
    kept.mkdir()
    suffixes = ["", "-wal", "-shm"]
    if request.param == "-journal":
        with closing(sqlite3.connect(file)) as plain:
            plain.execute("PRAGMA journal_mode = delete")
            plain.execute("PRAGMA cache_spill = 1")
            plain.execute("PRAGMA cache_size = 1")
            plain.execute("BEGIN IMMEDIATE")
            plain.execute("UPDATE trial_values SET value = 0.1")
            plain.execute("CREATE TABLE large (x)")
            count = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 3000)"
            plain.execute(f"INSERT INTO large {count} SELECT randomblob(400) FROM n")
            for suffix in ("", "-journal"):
                shutil.copy(f"{file}{suffix}", kept / f"tuner.db{suffix}")
            plain.rollback()
        yield kept / "tuner.db", [[0.75]]
        return
    with closing(open_storage(file)) as writer:
        finish(writer, 0.5)
        for suffix in suffixes if request.param == "-wal" else suffixes[:2]:
            shutil.copy(f"{file}{suffix}", kept / f"tuner.db{suffix}")
    yield kept / "tuner.db", [[0.75], [0.5]]


def test_what_a_killed_writer_left_beside_the_file_counts(interrupted: tuple[Path, list[list[float]]]) -> None:
    file, committed = interrupted
    assert any(p.stat().st_size for p in file.parent.iterdir() if p.name != "tuner.db"), "something is left"
    names = sorted(p.name for p in file.parent.iterdir())
    content = file.read_bytes()
    with closing(read_only(file)) as storage:
        assert values(storage) == committed
    assert file.read_bytes() == content
    assert sorted(p.name for p in file.parent.iterdir()) == names


def test_tables_that_are_missing_are_made_in_a_copy(file: Path) -> None:
    with closing(sqlite3.connect(file)) as older:
        older.execute("DROP TABLE tuner_rungs")
        older.execute("DROP TABLE tuner_stops")
    content = file.read_bytes()
    with closing(read_only(file)) as storage:
        assert values(storage) == [[0.75]]
        assert storage.outcomes(storage.get_study_id_from_name("peaks")) == {"complete": 1}
    assert file.read_bytes() == content


def test_what_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "no.db").write_text("no database " * 100)
    with pytest.raises(StorageError, match=r"no\.db: cannot be read .file is not a database"):
        read_only(tmp_path / "no.db")
    with pytest.raises(FileNotFoundError):
        Reader(tmp_path / "gone.db").connect()


COMMANDS = """
import contextlib, io, sys
from tuner.cli.app import main
for words in sys.argv[1:]:
    sys.argv = ["tuner", *words.split()]
    try:
        main()
    except SystemExit as end:
        print(f"{words}: {end.code or 0}", flush=True)
"""


def test_a_user_who_cannot_write_reads_with_every_reading_command(file: Path, tmp_path: Path) -> None:
    needs_root()
    home = shared_folder(tmp_path)
    before = listing(file.parent)
    reading = ("status --json", "best --json", "show --trial 0 --json", "table --json", f"table --out {home}/all.tsv")
    writing = ("stop", "tables", "confirm")
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[1]), "TMPDIR": str(home)}
    done = run_as(NO_ENTRY, [sys.executable, "-c", COMMANDS, *reading, *writing], file.parent.parent, environment)
    assert "Traceback" not in done.stderr
    assert "(this is a bug" not in done.stderr, done.stderr
    codes = [line for line in done.stdout.splitlines() if line.startswith((*reading, *writing))]
    assert codes == [f"{w}: 0" for w in reading] + [f"{w}: 1" for w in writing], done.stderr
    assert (home / "all.tsv").read_text().splitlines()[1].split("\t")[:2] == ["0", "COMPLETE"]
    assert "readonly database" in done.stderr
    assert listing(file.parent) == before, "no table, no -wal, no folder of artifacts"
    assert json.loads(done.stdout[: done.stdout.index("status --json: 0")])
