"""A real run whose database is removed, whose logs cannot be written, or that another run joins."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from machines import PYTHON, in_namespace
from tiny import STUDY, write_study
from waiting import wait_for

pytestmark = pytest.mark.slow

ENDLESS = STUDY.replace("epochs = 4", "epochs = 100000\npatience = 100000").replace("trials = 6", "trials = 4")
SHORT = STUDY.replace("epochs = 4", "epochs = 1").replace("trials = 6", "trials = 2")
RUN = ["-m", "tuner", "run", "--study", "tiny.toml", "--no-confirm"]


def test_a_run_whose_database_is_removed_ends_with_one_line_and_no_leaderboard(tmp_path: Path) -> None:
    """Meanwhile its workers, and not the run, are what the kernel's memory killer should take; the logs say whose."""
    write_study(tmp_path, study=ENDLESS)
    with (tmp_path / "err").open("wb") as err, (tmp_path / "out").open("wb") as out:
        run = subprocess.Popen([sys.executable, *RUN, "--workers", "1"], cwd=tmp_path, stdout=out, stderr=err)
    try:
        logs = tmp_path / "runs" / "logs" / "tiny"
        wait_for(lambda: [p for p in logs.glob("worker-*") if "epoch 2," in p.read_text()] or run.poll() is not None)
        assert run.poll() is None, (tmp_path / "err").read_text()
        assert [re.sub(r"\.[A-Za-z0-9-]+-", ".HOST-", p.name) for p in logs.iterdir()] == [
            f"worker-0.HOST-{run.pid}.log"
        ]
        (worker,) = [c for c in psutil.Process(run.pid).children() if "--worker-name" in c.cmdline()]
        scores = [int(Path(f"/proc/{pid}/oom_score_adj").read_text()) for pid in (run.pid, worker.pid)]
        assert scores[1] == min(1000, scores[0] + 300)
        for file in (tmp_path / "runs").glob("tuner.db*"):
            file.unlink()
        assert run.wait(60) == 1
    finally:
        run.kill()
        run.wait()
    assert not worker.is_running() or worker.status() == "zombie"
    errors = [line for line in (tmp_path / "err").read_text().splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert f"{tmp_path}/runs/tuner.db: the database was removed or moved away while it was in use" in errors[0]
    assert (tmp_path / "out").read_text() == ""
    assert list((tmp_path / "runs").glob("tuner.db*")) == []


def test_a_log_folder_that_cannot_be_written_stops_and_silences_nothing(tmp_path: Path) -> None:
    """A file system without room lies where the logs go: the study ends, and the run says what is lost."""
    write_study(tmp_path, study=SHORT)
    logs = tmp_path / "runs" / "logs"
    logs.mkdir(parents=True)
    said = in_namespace(
        f"cd {tmp_path}; mount -t tmpfs -o size=4k,mode=755 tmpfs {logs}; head -c 4096 /dev/zero > {logs}/full;"
        f"{PYTHON} {' '.join(RUN)} --workers 2 2>&1 && echo ended well"
    )
    assert said.strip().endswith("ended well")
    assert "log cannot be written (No space left on device" in said
    assert "search 2/2 trial=" in said
