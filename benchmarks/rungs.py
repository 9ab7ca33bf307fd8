"""Claim: stopping at rungs takes at most .55 of the epochs and keeps at least .97 of the hypervolume.

    python benchmarks/rungs.py collect --study zbed2 --points 24        trains; goes on where it was interrupted
    python benchmarks/rungs.py import --study zbed2-seed2 --storage runs/tuner.db    AUROC of a finished search
    python benchmarks/rungs.py replay --rungs 4 8 --eta 2 --seeds 100 runs/rungs/zbed2.jsonl runs/rungs/irf1.jsonl

`collect` draws points of the study's space (its warm starts first), trains each to its last epoch and measures
everything at several epochs on the way, with the code that measures a finished trial; one line of JSON a point.
`replay` takes the points in another random order for each seed, warm starts first, lets `--workers` simulated
workers train them, and asks the rule of a search at each rung. Both sides have the same points in the same order;
the hypervolume is of final validation values above the reference (.5, 0), of completed trials only. The interval of
the mean ratio resamples the points, not only their order: which points were drawn matters more.
"""

from __future__ import annotations

import argparse
import heapq
import json
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from optuna.trial import TrialState, create_trial

from tuner.cli import context
from tuner.errors import TrainingDiverged
from tuner.resources import find_resource
from tuner.search.artifacts import Artifacts
from tuner.search.bench import load_bench
from tuner.search.job import run_network
from tuner.search.results import hypervolume, stage_trials
from tuner.search.sampler import slot_sampler
from tuner.search.stopping import Decision, StoppingSection, decide
from tuner.search.storage import open_storage
from tuner.search.study import make_plan, mix, study_space
from tuner.search.study_file import read_study

EPOCHS = [2, 3, 4, 6, 8, 12]
REFERENCE = {"auroc": 0.5, "match_score": 0.0, "match_fraction": 0.0}


@dataclass
class Recorder:
    """Lets every training go on and keeps what it measured."""

    rungs: Sequence[int]
    values: dict[int, dict[str, float]] = field(default_factory=dict)

    def known(self, rung: int) -> Decision | None:
        """Nothing was decided before."""
        return None

    def enter(self, rung: int, values: Mapping[str, float]) -> Decision:
        """Keep the values."""
        self.values[rung] = dict(values)
        return Decision(True, "")


def read(path: Path) -> list[dict[str, Any]]:
    """Points of a table; a line that a kill cut off is left out."""
    points = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            points.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return points


def append(path: Path, row: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        handle.write("\n" * (path.stat().st_size > 0 and not path.read_text().endswith("\n")) + json.dumps(row) + "\n")


def collect(options: argparse.Namespace) -> None:
    """Train points and measure them at several epochs."""
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    given = Path(options.study)
    file = given if given.suffix == ".toml" else find_resource("studies", options.study, Path.cwd())
    study = read_study(file)
    space, _ = study_space(study, options.preset, lambda name: find_resource("search_spaces", name, file.parent))
    plan = make_plan(study, space, folder=file.parent, preset=options.preset)
    bench = load_bench(plan, data_dir=context.data_dir(), cache=context.cache_dir(), device="cpu")
    out = options.out or Path("runs/rungs") / f"{study.name}.jsonl"
    done = {row["point"] for row in read(out)}
    for number in range(options.points):
        if number in done:
            continue
        warm = number < len(space.warm_starts)
        draws = optuna.create_study(sampler=slot_sampler("random", seed=mix(options.seed, "rungs", number), startup=1))
        if warm:
            draws.enqueue_trial(dict(space.warm_starts[number].parameters))
        point, started = space.suggest(draws.ask()), time.perf_counter()
        recorder = Recorder([epoch for epoch in EPOCHS if epoch < plan.recipe.epochs])
        row: dict[str, Any] = {"point": number, "warm_start": warm, "params": point}
        seconds: list[float] = []
        try:
            outcome = run_network(
                bench, point, seed=mix(options.seed, number), gate=recorder,
                on_epoch=lambda record, seconds=seconds: seconds.append(record.seconds),
            )  # fmt: skip
            row |= {"rungs": recorder.values, "final": outcome.measured, "epochs": outcome.attributes["epochs"]}
            row["seconds"] = statistics.mean(seconds)
        except TrainingDiverged as e:
            row["diverged"] = str(e)
        append(out, row)
        shown = row.get("diverged") or " ".join(f"{k} {row['final'][k]:.4f}" for k in ("auroc", "match_score"))
        print(f"{study.name} point {number}: {shown}, {time.perf_counter() - started:.0f} s", flush=True)


def import_study(options: argparse.Namespace) -> None:
    """Write the same table from a finished search; only AUROC is known at the rungs."""
    storage, artifacts = open_storage(options.storage), Artifacts(Path(options.storage).parent / "artifacts")
    out = options.out or Path("runs/rungs") / f"{options.study}.jsonl"
    out.unlink(missing_ok=True)
    for trial in stage_trials(storage, options.study):
        if trial.state != TrialState.COMPLETE:
            continue
        lines = [line.split("\t") for line in artifacts.get(trial, "history.tsv").decode().splitlines()]
        curve = np.array([float(line[lines[0].index("auroc")]) for line in lines[1:]])
        best = np.maximum.accumulate(curve)
        final = {k: v for k, v in trial.user_attrs.items() if k in REFERENCE}
        append(out, {
            "point": trial.number, "warm_start": "warm_start" in trial.user_attrs, "params": trial.params,
            "rungs": {epoch + 1: {"auroc": value} for epoch, value in enumerate(best[:-1])},
            "final": final, "epochs": len(curve), "seconds": trial.user_attrs["seconds"] / len(curve),
        })  # fmt: skip


@dataclass
class Run:
    """One simulated search."""

    epochs: int
    completed: list[int]
    stopped: list[int]


def simulate(
    points: Sequence[Mapping[str, Any]], rule: StoppingSection, objectives: Sequence[str], workers: int
) -> Run:
    """Train `points` in their order by several workers; a rung is decided at the moment it is reached."""
    seen: dict[int, list[list[float]]] = {}
    waiting = iter(range(len(points)))
    run = Run(0, [], [])
    events: list[tuple[float, int, Iterator[int]]] = []

    def begin(at: float) -> None:
        if (number := next(waiting, None)) is not None:
            stops = (e for e in [*rule.rungs, points[number]["epochs"]] if e <= points[number]["epochs"])
            step(at, number, 0, stops)

    def step(at: float, number: int, reached: int, stops: Iterator[int]) -> None:
        epoch = next(stops)
        heapq.heappush(events, (at + (epoch - reached) * points[number]["seconds"], number, stops))
        where[number] = epoch

    where: dict[int, int] = {}
    for _ in range(workers):
        begin(0.0)
    while events:
        now, number, stops = heapq.heappop(events)
        point, epoch = points[number], where[number]
        goes_on = epoch < point["epochs"]
        if goes_on:
            mine = [point["rungs"][str(epoch)][name] for name in objectives]
            before = seen.setdefault(epoch, [])
            goes_on = decide(epoch, before, mine, point["warm_start"], rule).goes_on
            before.append(mine)
            if not goes_on:
                run.stopped.append(number)
        else:
            run.completed.append(number)
        if goes_on:
            step(now, number, epoch, stops)
        else:
            run.epochs += epoch
            begin(now)
    return run


def volume(finals: Sequence[Mapping[str, float]], axes: Sequence[str]) -> float:
    """Hypervolume of final values above the reference."""
    trials = [create_trial(values=[f[axis] for axis in axes]) for f in finals]
    return hypervolume(trials, axes, [REFERENCE[axis] for axis in axes])


def replay(options: argparse.Namespace) -> None:
    """Print share of epochs and of hypervolume over many orders, and the interval over points."""
    rule = StoppingSection(rungs=options.rungs, eta=options.eta, minimum=options.minimum)
    results = []
    for path in options.tables:
        points = [row for row in read(path) if "final" in row]
        warm, drawn = [p for p in points if p["warm_start"]], [p for p in points if not p["warm_start"]]
        objectives = [name for name in options.objectives if name in points[0]["rungs"][str(rule.rungs[0])]]
        rng = np.random.default_rng(0)

        def one(chosen: Sequence[Mapping[str, Any]], *, objectives: list[str] = objectives) -> tuple[float, float]:
            run = simulate(chosen, rule, objectives, options.workers)
            whole = volume([p["final"] for p in chosen], options.axes)
            kept = volume([chosen[i]["final"] for i in run.completed], options.axes)
            return run.epochs / sum(p["epochs"] for p in chosen), kept / whole

        def many(
            pool: Sequence[Mapping[str, Any]], seeds: int, *, warm: list[Any] = warm, rng: Any = rng
        ) -> np.ndarray:
            return np.array([one([*warm, *(pool[i] for i in rng.permutation(len(pool)))]) for _ in range(seeds)])

        pairs = many(drawn, options.seeds)  # (seeds, 2)
        means = []
        for _ in range(options.resamples):
            pool = [drawn[i] for i in rng.integers(0, len(drawn), len(drawn))]
            means.append(many(pool, 10).mean(axis=0))
        low, high = np.quantile(np.array(means), [0.025, 0.975], axis=0) if means else (pairs.mean(0), pairs.mean(0))
        order = np.quantile([pairs[rng.integers(0, len(pairs), len(pairs)), 1].mean() for _ in range(2000)], 0.025)
        row = {
            "table": path.name, "points": len(points), "warm_starts": len(warm), "rule": rule.model_dump(),
            "compared_by": objectives, "epochs": pairs[:, 0].mean(), "epochs_high": high[0],
            "hypervolume": pairs[:, 1].mean(), "hypervolume_low_over_orders": order, "hypervolume_low": low[1],
            "worst_order": pairs[:, 1].min(), "unchanged": float((pairs[:, 1] > 1 - 1e-12).mean()),
        }  # fmt: skip
        results.append(row)
        print(
            f"{path.name}: {len(points)} points, rungs {rule.rungs}, eta {rule.eta:g}, by {', '.join(objectives)}: "
            f"epochs {row['epochs']:.3f} (97.5 % of draws below {high[0]:.3f}), hypervolume {row['hypervolume']:.4f}, "
            f"95 % lower bound over orders {order:.4f}, over draws of points {low[1]:.4f}; "
            f"worst order {row['worst_order']:.4f}, unchanged in {row['unchanged']:.0%}",
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("collect", help="train points and measure them at several epochs")
    one.add_argument("--study", default="zbed2")
    one.add_argument("--preset", default="standard")
    one.add_argument("--points", type=int, default=24)
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--out", type=Path)
    one.set_defaults(run=collect)
    one = commands.add_parser("import", help="the AUROC curves of a finished search")
    one.add_argument("--study", required=True)
    one.add_argument("--storage", default="runs/tuner.db")
    one.add_argument("--out", type=Path)
    one.set_defaults(run=import_study)
    one = commands.add_parser("replay", help="the rule on collected points")
    one.add_argument("tables", type=Path, nargs="+")
    one.add_argument("--rungs", type=int, nargs="+", default=StoppingSection().rungs)
    one.add_argument("--eta", type=float, default=StoppingSection().eta)
    one.add_argument("--minimum", type=int, default=StoppingSection().minimum)
    one.add_argument("--objectives", nargs="+", default=["auroc", "match_score"], help="compared at the rungs")
    one.add_argument("--axes", nargs="+", default=["auroc", "match_score"], help="of the hypervolume")
    one.add_argument("--seeds", type=int, default=100, help="orders of the points")
    one.add_argument("--resamples", type=int, default=200, help="draws of the points, for the interval")
    one.add_argument("--workers", type=int, default=2)
    one.add_argument("--json", type=Path)
    one.set_defaults(run=replay)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
