"""The supervisor restarts what was killed, bounds what crashes, and says why it gives up."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from machines import memory_group
from optuna.trial import TrialState

from tuner.cli import logs
from tuner.errors import StorageError
from tuner.search import worker_pipe
from tuner.search.supervisor import CRASHES, CountCrash, Supervisor
from tuner.storage.process import Process
from tuner.storage.storage import open_storage

pytestmark = pytest.mark.slow

# Does one thing in each of its first lives, and ends well in the next.
LIVES = (
    'n=$(cat lives 2>/dev/null || echo 0); echo $((n + 1)) > lives; echo "life $n"; [ "$n" -lt {n} ] && {act}; exit 0'
)


class Crashes:
    """Notes what it is told."""

    def __init__(self, *, finished: bool) -> None:
        self.finished, self.seen = finished, list[tuple[Process, str, bool]]()

    def __call__(self, process: Process, reason: str, *, memory: bool) -> bool:
        self.seen.append((process, reason, memory))
        return self.finished


def supervise(
    folder: Path, act: str, n: int, count_crash: CountCrash | None = None, **more: Any
) -> tuple[int, BaseException | None]:
    """Lives that were started, and what ended it."""
    script = f"cd {folder}; " + LIVES.replace("{n}", str(n)).replace("{act}", act)
    supervisor = Supervisor(["sh", "-c", script], 1, dict(os.environ), folder / "logs", count_crash=count_crash, **more)
    error = None
    try:
        supervisor.run(lambda: None, interval=0.02)
    except StorageError as e:
        error = e
    return int((folder / "lives").read_text()), error


@pytest.mark.parametrize("act", ["kill -KILL $$", "kill -TERM $$", "exit 143"])
def test_a_worker_that_others_kill_is_started_as_often_as_that_happens(tmp_path: Path, act: str) -> None:
    crashes = Crashes(finished=False)
    assert supervise(tmp_path, act, 3 * CRASHES, crashes) == (3 * CRASHES + 1, None)
    assert crashes.seen == []


def test_a_worker_that_crashes_again_and_again_ends_the_run_with_its_last_line(tmp_path: Path) -> None:
    crashes = Crashes(finished=False)
    lives, error = supervise(tmp_path, "kill -SEGV $$", 99, crashes)
    assert lives == len(crashes.seen) == CRASHES
    assert f"crashed with SIGSEGV, {CRASHES} times in a row without a finished trial" in str(error)
    assert str(error).endswith(f"life {CRASHES - 1}")
    process, reason, memory = crashes.seen[0]
    assert (process.is_dead, reason, memory) == (True, "the process crashed with SIGSEGV", False)


def test_crashes_between_finished_trials_do_not_end_the_run(tmp_path: Path) -> None:
    """Whoever started the run is told of the first, not of each within a minute."""
    crashes, told = Crashes(finished=True), list[str]()
    assert supervise(tmp_path, "exit 75", 2 * CRASHES, crashes, tell=told.append) == (2 * CRASHES + 1, None)
    assert {reason for _, reason, _ in crashes.seen} == {"the process hung"}
    assert told == ["worker 0 hung; it is started again"]


def test_the_kernels_kill_for_want_of_memory_is_a_crash_and_no_other_kill_is(tmp_path: Path) -> None:
    """The kernel's count is a file here, which the worker raises before the second of three kills."""
    counter, crashes = tmp_path / "count", Crashes(finished=False)
    counter.write_text("7")
    act = f"{{ [ $n = 1 ] && echo 8 > {counter}.new && mv {counter}.new {counter}; kill -KILL $$; }}"
    assert supervise(tmp_path, act, 3, crashes, kills=lambda: int(counter.read_text())) == (4, None)
    ((process, reason, memory),) = crashes.seen
    assert (process.is_dead, memory) == (True, True)
    assert reason == "the process was killed by the kernel: the memory ran out"


@pytest.mark.skipif(not Path("/proc/self/oom_score_adj").exists(), reason="linux: the kernel's memory killer")
@pytest.mark.parametrize("share", [0.001, 0.7])
def test_a_worker_that_has_just_started_outweighs_its_run_for_the_kernels_memory_killer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    """The kernel adds a thousandth of the memory for each point; the worker here takes next to none itself."""
    memory = round(psutil.Process().memory_info().rss / share)
    monkeypatch.setattr("tuner.storage.process.memory_here", lambda: memory)
    own = int(Path("/proc/self/oom_score_adj").read_text())
    assert supervise(tmp_path, "sleep 1; cat /proc/self/oom_score_adj > score", 1) == (1, None)
    score = int((tmp_path / "score").read_text())
    if share < 0.01:
        assert score == min(1000, own + 300)
    else:
        assert min(1000, own + 750) <= score <= 1000


# A run that takes 190 MB, whose worker takes what is left, 2 MB at a time.
RUN_OUT = """
import os, sys
from pathlib import Path
from tuner.errors import StorageError
from tuner.search.supervisor import Supervisor
kept = b"x" * (150 << 20)
more = "kept = []\\nwhile True: kept.append(b'x' * (2 << 20))"
try:
    Supervisor([sys.executable, "-c", more], 1, dict(os.environ), Path(sys.argv[1]), tell=print).run(lambda: None)
except StorageError as e:
    print(e)
"""


def test_the_kernel_ends_a_worker_and_not_the_run_though_the_run_takes_more(tmp_path: Path) -> None:
    with memory_group(256 << 20) as join:
        done = subprocess.run(
            ["sh", "-c", f'{join} && exec "$0" "$@"', sys.executable, "-c", RUN_OUT, str(tmp_path / "logs")],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    killed = "worker 0 was killed by the kernel: the memory ran out"
    assert done.stdout.splitlines() == [
        f"{killed}; it is started again",
        f"{killed}, {CRASHES} times in a row without a finished trial. Take fewer --workers, or allow more memory. "
        "Its log ends with: it printed nothing",
    ]


def test_an_error_that_the_worker_explains_ends_the_run_at_once(tmp_path: Path) -> None:
    lives, error = supervise(tmp_path, "echo 'error: the data set is gone'; exit 1", 9)
    assert (lives, str(error)) == (1, "worker 0 failed: the data set is gone")


CRASHING_WORKER = """
import os, signal, sys
from optuna.trial import TrialState
from tuner.storage.storage import open_storage
storage = open_storage(sys.argv[1])
study_id = storage.get_study_id_from_name("s")
while storage.open_slots(study_id):
    storage.reap(study_id, grace=60)
    storage.ensure_slots(study_id, ahead=1)
    attempt = storage.claim(study_id, "w")
    if attempt.number == 0:
        os.kill(os.getpid(), signal.SIGSEGV)
    storage.finish(attempt, TrialState.COMPLETE, [1.0])
"""


def test_a_slot_that_crashes_every_process_fails_and_the_others_complete(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "tuner.db")
    study_id = storage.create_or_load("s", ["maximize"])
    storage.set_budget(study_id, 3)

    def count_crash(process: Process, reason: str, *, memory: bool) -> bool:
        return storage.count_crash(process, reason, memory=memory, max_failures=2)

    command = [sys.executable, "-c", CRASHING_WORKER, str(tmp_path / "tuner.db")]
    Supervisor(command, 1, dict(os.environ), tmp_path / "logs", count_crash=count_crash).run(lambda: None)
    trials = storage.get_all_trials(study_id)
    assert [t.state for t in trials] == [TrialState.FAIL, TrialState.COMPLETE, TrialState.COMPLETE]
    assert trials[0].user_attrs["failures"] == ["the process crashed with SIGSEGV"] * 2
    storage.close()


SPEAKING = """
import json, os, sys
pipe = int(os.environ["TUNER_NOTICES"])
for i in range(3):
    os.write(pipe, json.dumps({"message": f"the disk is full, {i} bytes free", "last": False}).encode() + b"\\n")
os.write(pipe, json.dumps({"message": "the data set is gone", "last": True}).encode() + b"\\n")
sys.exit(1)
"""


def test_last_words_arrive_without_a_log_and_a_notice_is_told_once(tmp_path: Path) -> None:
    """The folder of the logs is a file here."""
    (tmp_path / "logs").write_text("")
    told: list[str] = []
    supervisor = Supervisor([sys.executable, "-c", SPEAKING], 1, dict(os.environ), tmp_path / "logs", tell=told.append)
    with pytest.raises(StorageError, match=r"^worker 0 failed: the data set is gone$"):
        supervisor.run(lambda: None, interval=0.02)
    assert len(told) == 2
    assert "worker-0." in told[0]
    assert ": the log cannot be written (" in told[0]
    assert told[1] == "worker 0: the disk is full, 0 bytes free"


def test_a_worker_whose_supervisor_listens_no_more_is_not_stopped(tmp_path: Path) -> None:
    """It says far more than a pipe holds."""
    log = logging.getLogger("tuner.notice")
    reading, writing = os.pipe()
    handler = logs.ToSupervisor(writing, logs.Unfailing(sys.stderr))
    log.addHandler(handler)
    try:
        for i in range(5000):
            log.warning("%d: %s", i, "x" * 10_000)
        os.close(reading)
        log.warning("nobody")
    finally:
        log.removeHandler(handler)
        os.close(writing)


def test_a_stream_on_a_full_disk_ends_nothing() -> None:
    """/dev/full takes nothing, as a full disk."""
    code = (
        "from tuner.cli import logs; import logging, sys; f = sys.argv[1];"
        "logs.start(f); logging.getLogger('tuner').info('x' * 20000); logs.say('hello'); logs.failed('bye')"
    )
    for form in ("text", "json"):
        with Path("/dev/full").open("wb") as full:
            wrapped = f"from tuner.cli import logs\nwith logs.restored():\n    exec({code!r})"
            done = subprocess.run([sys.executable, "-c", wrapped, form], stderr=full, timeout=120, check=False)
        assert done.returncode == 0, form


def test_a_log_that_grows_is_moved_aside_and_old_ones_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_pipe, "LARGEST_LOG", 100)
    monkeypatch.setattr(worker_pipe, "KEPT_LOGS", 2)
    book = worker_pipe.LogFile(tmp_path, 0)
    with book.open(lambda line: None) as log:
        assert not isinstance(log, int)
        log.write(b"first\n" * 30)
        log.flush()
        book.keep_small()
        log.write(b"error: second\n")
    assert book.path.read_bytes() == b"error: second\n"
    assert book.path.with_name(f"{book.path.name}.1").read_bytes() == b"first\n" * 30
    assert book.last_line() == "second"
    for name, age in (("worker-0.old-1.log", 200_000), ("worker-0.old-2.log", 300_000), ("worker-1.log", 10)):
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    worker_pipe.remove_old_logs(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([book.path.name, f"{book.path.name}.1", "worker-1.log"])
