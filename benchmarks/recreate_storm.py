"""Claim: a study that is deleted and created again under load is another study for every process that was away.

    python benchmarks/recreate_storm.py --storage sqlite postgres --rounds 5

Workers run short trials of one study. In each round some of them are suspended (SIGSTOP), the study is deleted and
created again with the same name, and they are resumed; meanwhile other processes open its test split as fast as they
can. Workers and openers that find their study gone exit, and others are started. At the end the budget is used up, and
`history.py` compares what the processes recorded outside the database with what it holds.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import history
from kill_storm import NAME, Short, database, make_storm_plan, table

from tuner.errors import StudyError, StudyGone
from tuner.results.deletion import delete, doomed
from tuner.search.loaded import Bench
from tuner.search.worker import Pace, Stopper, Worker
from tuner.storage.artifacts import Artifacts
from tuner.storage.storage import FencedStorage, open_storage

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tuner.search.worker", "__main__"])  # the imports cost seconds, once
PACE = Pace(poll=0.1, beat=0.5, grace=5.0)


def work(url: str, folder: str, name: str, budget: int) -> None:
    """Run one worker process; exit with 0 at the end of the study and 1 if it is gone, as `tuner worker` does."""
    root, plan = Path(folder), make_storm_plan(budget)
    bench = Bench(plan, None, None, "cpu")  # type: ignore[arg-type]  # nothing is trained
    storage = history.open_recorded(url, root / "history")
    worker = Worker(
        bench, storage, Artifacts(root / "artifacts"), root / "checkpoints", Stopper(parent=os.getppid()), name=name,
        ahead=4, pace=PACE,
    )  # fmt: skip
    with contextlib.suppress(StudyError):  # raised between the deletion and the new study
        stage = Joining(plan, root / "log", (0.2, 0.6))
        try:
            worker.work([stage])
        except StudyGone as e:
            history.write(root / "history", "left", reason=str(e))
            sys.exit(e.exit_code)


class Joining(Short):
    """Trials of a study that the storm creates; a worker never creates it."""

    def prepare(self, storage: FencedStorage) -> None:
        """Join the study."""
        storage.join(NAME, who="this worker")


def evaluate(url: str, folder: str) -> None:
    """Open the test split of the study that exists at the time, until told to stop."""
    root = Path(folder)
    while not (root / "enough").exists():
        storage = history.open_recorded(url, root / "history")
        with contextlib.suppress(StudyGone, StudyError):
            study = storage.join(NAME)
            while not (root / "enough").exists():
                history.open_test_split(storage, NAME, study)
                time.sleep(0.05)
        storage.close()


def make(storage: FencedStorage, budget: int) -> None:
    """Create the study, as `tuner run` does."""
    storage.set_budget(storage.create_or_load(NAME, ["maximize"], metric_names=["auroc"]), budget)


class Storm:
    """Workers and openers that are started again when they end."""

    def __init__(self, url: str, folder: Path, budget: int, workers: int, openers: int) -> None:
        self.arguments, self.folder, self.budget = (url, str(folder)), folder, budget
        self.workers = [self._worker(i) for i in range(workers)]
        self.openers = [self._start(evaluate, *self.arguments) for _ in range(openers)]
        self.codes: list[int | None] = []

    def _start(self, target: Callable[..., None], *arguments: Any) -> BaseProcess:
        process = CONTEXT.Process(target=target, args=arguments)
        process.start()
        return process

    def _worker(self, i: int) -> BaseProcess:
        return self._start(work, *self.arguments, f"worker-{i}", self.budget)

    def replace_ended(self) -> None:
        """Start a worker for each that has ended."""
        for i, worker in enumerate(self.workers):
            if not worker.is_alive():
                self.codes.append(worker.exitcode)
                self.workers[i] = self._worker(i)

    def round(self, storage: FencedStorage, artifacts: Artifacts, chance: random.Random) -> None:
        """Suspend some workers, delete and create the study again, and resume them."""
        away = chance.sample(self.workers, len(self.workers) // 2)
        for worker in away:
            os.kill(int(worker.pid or 0), signal.SIGSTOP)
        try:
            delete(storage, doomed(storage, NAME, force=True), artifacts, [self.folder / "checkpoints"])
            make(storage, self.budget)
        finally:
            for worker in away:
                os.kill(int(worker.pid or 0), signal.SIGCONT)

    def end(self) -> None:
        """Stop the openers, and let the last study run to its end."""
        (self.folder / "enough").touch()
        for process in self.openers:
            process.join()
        for worker in self.workers:
            worker.join()
            self.codes.append(worker.exitcode)


def run(kind: str, seed: int, rounds: int, budget: int) -> tuple[dict[str, Any], list[str]]:
    """Run one storm; return a row of the table, and what was wrong."""
    chance, began = random.Random(seed), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tuner-storm-") as name, database(kind, Path(name)) as (url, _):
        folder = Path(name)
        storage, artifacts = open_storage(url, patience=60), Artifacts(folder / "artifacts")
        make(storage, budget)
        storm = Storm(url, folder, budget, workers=4, openers=3)
        until(lambda: "stored" in text_of(folder))
        for _ in range(rounds):
            time.sleep(chance.uniform(1, 3))
            storm.replace_ended()
            storm.round(storage, artifacts, chance)
        until(lambda: (storm.replace_ended(), storage.open_slots(storage.get_study_id_from_name(NAME)) == 0)[1])
        storm.end()
        events = history.read_log(folder / "history")
        fresh = open_storage(url)
        there = history.read_database(fresh, artifacts)
        wrong = history.check(events, there, {NAME: budget})
        wrong += [f"a worker left with {code}" for code in storm.codes if code not in (0, 1)]
        wrong += [f"checkpoint left: {p}" for p in (folder / "checkpoints").rglob("*.safetensors")]
        fresh.close()
        storage.close()
    count = {word: sum(e["event"] == word for e in events) for word in ("claim", "stored", "refused", "left", "opened")}
    recorded = sum(len(s.openings) for s in there.studies.values())
    row = {
        "storage": kind, "seed": seed, "deleted": rounds, **count, "openings on record": recorded,
        "studies": len(there.studies), "slots": budget, "wrong": len(wrong), "seconds": round(time.monotonic() - began),
    }  # fmt: skip
    return row, wrong


def text_of(folder: Path) -> str:
    """Read the log; empty if there is none yet."""
    log = folder / "history"
    return log.read_text() if log.exists() else ""


def until(found: Callable[[], object], seconds: float = 900) -> None:
    """Wait for a condition; raise an error when it takes too long."""
    end = time.monotonic() + seconds
    while not found():
        if time.monotonic() > end:
            sys.exit("waited in vain")
        time.sleep(0.25)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storage", nargs="+", choices=("sqlite", "postgres"), default=["sqlite"])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5, help="number of deletions")
    parser.add_argument("--budget", type=int, default=20)
    options = parser.parse_args()
    failed, first = False, True
    for kind in options.storage:
        for seed in range(options.seeds):
            row, wrong = run(kind, seed, options.rounds, options.budget)
            failed |= bool(wrong)
            print("\n".join(table([row]).splitlines()[0 if first else 2 :]), flush=True)
            print("".join(f"wrong: {line}\n" for line in wrong), end="", file=sys.stderr)
            first = False
    if failed:
        sys.exit("something is wrong")


if __name__ == "__main__":
    main()
