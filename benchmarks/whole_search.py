"""Claim: the search reaches what naive random search reaches with all its trials in a sixth of the time.

    tuner run --study benchmarks/rungs_zbed2.toml --no-confirm --storage runs/quality.db    random search: the points
    python benchmarks/whole_search.py race --storage runs/quality.db --random rungs_zbed2 --searches 5
    python benchmarks/whole_search.py reach --storage runs/quality.db --random rungs_zbed2
    python benchmarks/whole_search.py time --points 4    only the ratio per trial

`naive_search.py` is the naive side: two threads, one trial after another, each to its last epoch. `race` trains the
points of a stored random search with it, from the same initial weights, and runs searches of the package with two
workers of one thread, as `tuner run` starts them. Each side has the machine to itself, and they alternate: a fifth of
the naive trials, then a search. Each trial and each search is a line of JSON, so an interrupted race continues where it
stopped. The clock of a search runs from the start of the command, that of a naive trial from the point to Tomtom's last
p-value. The naive filters and predictions are then scored off the clock with the package's objectives, on validation
and test.

`reach` divides the time of the naive random search by the time at which each search reaches the final hypervolume of
the naive one, above AUROC .5 and match 0 (0 if never). It also gives the final hypervolume of both, and the same by the
AUROC of the test split: networks selected on validation, scored on test, where nothing is selected. As one random
search may be lucky or not, the same is printed for random searches that are drawn `--draws` times from all stored
random trials, each with the warm starts first and as long as the naive search.

`time` alternates both sides over random points of the study's space. A trial of the package also measures its null, the
ablation effect of each filter, and the composition-matched AUROC; a naive trial does not.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import naive_search
import numpy as np
import optuna
import torch
from memelite import tomtom
from optuna.trial import create_trial
from rungs import append, read
from search_quality import REFERENCE

from tuner.cli import context
from tuner.cli.worker import one_thread, use_kernels
from tuner.data.dataset import Dataset
from tuner.data.registry import load_dataset
from tuner.models.metrics import auroc
from tuner.models.network import Network
from tuner.models.prediction import predict
from tuner.models.training import Trained
from tuner.resources import find_resource
from tuner.results.leaderboard import FrozenTrial, TrialState, hypervolume, pareto_numbers, stage_trials
from tuner.results.trial_files import DESCRIPTION, WEIGHTS, load_network
from tuner.search.loaded import Bench, load_bench
from tuner.search.sampler import slot_sampler
from tuner.search.trial import run_network
from tuner.storage.artifacts import Artifacts
from tuner.storage.storage import open_storage
from tuner.study.file import read_study
from tuner.study.objectives import evaluate_network, measure_all
from tuner.study.parameters import recipe_of, split_point
from tuner.study.plan import make_plan, mix, study_space

AXES = ("auroc", "match_score")


def open_bench(study_name: str) -> Bench:
    """Load the study with its data and motif database, on the CPU."""
    file = find_resource("studies", study_name, Path.cwd())
    study = read_study(file)
    space, _ = study_space(study, "standard", lambda name: find_resource("search_spaces", name, file.parent))
    plan = make_plan(study, space, folder=file.parent)
    return load_bench(plan, data_dir=context.data_dir(), cache=context.cache_dir(), device="cpu")


def points_of(bench: Bench, n: int) -> list[dict[str, Any]]:
    """Draw random points of the study's space."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    studies = (optuna.create_study(sampler=slot_sampler("random", seed=mix(i, "time"), startup=1)) for i in range(n))
    return [bench.plan.space.suggest(study.ask()) for study in studies]


def serve(options: argparse.Namespace) -> None:
    """Run the process of one side: for every line on stdin, train its point and print seconds and values."""
    bench = open_bench(options.study)
    if options.side == "package":
        one_thread()
        use_kernels(bench)
    else:
        torch.set_num_threads(naive_search.THREADS)
        motifs = [motif.ppm for motif in bench.database.screened]
        tomtom(motifs[:2], motifs)  # compiled before the clock runs
    print("ready", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        point, seed, started = asked["point"], asked["seed"], time.perf_counter()
        row: dict[str, Any] = {}
        if options.side == "package":
            run_network(bench, point, seed=seed, on_epoch=lambda record: None)
        else:
            recipe = recipe_of(split_point(point)[1], "point", bench.plan.recipe)
            network = naive_search.train(point, bench.dataset, bench.database, recipe, seed)
        row["seconds"] = time.perf_counter() - started
        if asked.get("measure"):
            row |= worth(bench, network, options.study, seed)
        print(json.dumps(row), flush=True)


def worth(bench: Bench, network: Network, study: str, seed: int) -> dict[str, float]:
    """Measure the package's objectives for a naive network, and its AUROC on the test split."""
    trained = Trained((), 0, 0, "epochs", 0.0, 0, ())
    targets = bench.plan.study.motifs.targets
    evaluation = evaluate_network(
        network, trained, bench.dataset, bench.database, targets, average_strands=True, device="cpu",
        seed=mix(seed, "permutations"), rung=AXES,
    )  # fmt: skip
    values = measure_all(evaluation)
    test = test_data(study).test
    return {**{name: values[name] for name in AXES}, "test": auroc(test.labels, predict(network, test.codes))}


def start(side: str, options: argparse.Namespace) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "serve", "--study", options.study, "--side", side]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    if process.stdout.readline().strip() != "ready":
        raise SystemExit(f"the {side} side did not start")
    return process


def measure(processes: Sequence[subprocess.Popen[str]], asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Send a request to all processes at once, and return their answers."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(json.dumps(asked) + "\n")
        process.stdin.flush()
    answers = []
    for process in processes:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SystemExit("a side ended before its time; its error is above")
        answers.append(json.loads(line))
    return answers


def timing(options: argparse.Namespace) -> None:
    """Alternate both sides over the points; write one line of JSON per point."""
    done = {row["point"] for row in read(options.out)}
    left = [i for i in range(options.points) if i not in done]
    if left:
        points = points_of(open_bench(options.study), options.points)
        naive, package = [start("naive", options)], [start("package", options) for _ in range(2)]
        for i in left:
            asked = {"point": points[i], "seed": i}
            row: dict[str, Any] = {"point": i, "naive": measure(naive, asked)[0]["seconds"]}
            row["package"] = max(answer["seconds"] for answer in measure(package, asked)) / len(package)
            append(options.out, row)
            print(f"point {i}: naive {row['naive']:.0f} s, package {row['package']:.0f} s a trial", flush=True)
        for process in (*naive, *package):
            process.terminate()
    ratios = [row["naive"] / row["package"] for row in read(options.out)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(
        f"a trial is {middle:.2f} ({low:.2f} to {high:.2f}) times faster, {len(ratios)} points; "
        f"naive side {naive_search.digest()}"
    )


def race(options: argparse.Namespace) -> None:
    """Alternate a share of the naive trials with a search; write one line of JSON for each trial and search."""
    storage = open_storage(options.storage)
    points = [(t.number, t.params, t.user_attrs["seed"]) for t in stage_trials(storage, options.random[0])]
    bounds = [share * len(points) // options.searches for share in range(options.searches + 1)]
    naive: subprocess.Popen[str] | None = None
    for share in range(options.searches):
        done = {row.get("naive", row.get("search")) for row in read(options.out)}
        for number, point, trial_seed in points[bounds[share] : bounds[share + 1]]:
            if number not in done:
                naive = naive or start("naive", options)
                row = measure([naive], {"point": point, "seed": trial_seed, "measure": True})[0]
                append(options.out, {"naive": number, **row})
                print(f"naive trial {number}: {row['seconds']:.0f} s, AUROC {row['auroc']:.4f}", flush=True)
        name = f"race-seed{share}"
        if name not in done:
            if name in optuna.get_all_study_names(storage):
                optuna.delete_study(study_name=name, storage=storage)  # it was killed, so its clock is wrong
            command = [
                sys.executable, "-m", "tuner", "run", "--study", options.file, "--no-confirm", "--trials",
                str(options.search_trials), "--workers", "2", "--seed", str(share), "--name", name,
                "--storage", options.storage,
            ]  # fmt: skip
            started = time.time()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            trials = [t for t in stage_trials(open_storage(options.storage), name) if t.datetime_complete]
            ends = {t.number: t.datetime_complete.timestamp() - started for t in trials if t.datetime_complete}
            append(options.out, {"search": name, "ends": ends})
            print(f"{name}: {max(ends.values()):.0f} s", flush=True)
    if naive is not None:
        naive.terminate()


class Scored(NamedTuple):
    """A finished trial with its values for the hypervolume.

    Attributes
    ----------
    trial : FrozenTrial
        Trial with the values of the axes, which need not be the objectives of its study.
    on_test : callable
        The same trial with the AUROC of the test split in place of the validation one.
    """

    trial: FrozenTrial
    on_test: Callable[[], FrozenTrial]


class Goal(NamedTuple):
    """End of a random search: hypervolume, hypervolume by test AUROC, and seconds."""

    volume: float
    on_test: float
    seconds: float


def reach(options: argparse.Namespace) -> None:
    """Print how much sooner each search reaches the final hypervolume of random search."""
    axes, rows = options.axes, read(options.out)
    naive = [row for row in rows if "naive" in row]
    seconds = sum(row["seconds"] for row in naive)
    print(f"naive side {naive_search.digest()}: {len(naive)} trials in {seconds:.0f} s")
    searches = []
    for row in rows:
        if "search" in row:
            trials = {one.trial.user_attrs["number"]: one for one in scored(options, row["search"])}
            ends = sorted((end, int(n)) for n, end in row["ends"].items() if int(n) < options.search_trials)
            searches.append((row["search"], [(end, trials[number]) for end, number in ends]))

    stored = {one.trial.user_attrs["number"]: one.trial.user_attrs for one in scored(options, options.random[0])}
    for axis in AXES:
        more = np.array([stored[row["naive"]][axis] - row[axis] for row in naive])
        error = more.std(ddof=1) / len(more) ** 0.5
        print(f"{axis} of the package's networks at the same points: {more.mean():+.4f} (standard error {error:.4f})")
    if set(axes) <= set(AXES):
        measured = [naive_scored(row, axes) for row in naive]
        print("against the naive search itself:")
        compare(searches, [Goal(volume(measured, axes), on_test(measured, axes), seconds)], axes)

    random = [one for name in options.random for one in scored(options, name)]
    starts = [one for one in random if "warm_start" in one.trial.user_attrs]
    starts = starts[: len(starts) // len(options.random)]
    others = [one for one in random if "warm_start" not in one.trial.user_attrs]
    if len(starts) + len(others) < len(naive):
        raise SystemExit(f"{len(starts)} warm starts and {len(others)} others; {len(naive)} trials are wanted")
    rng, goals = np.random.default_rng(0), []
    for _ in range(options.draws):
        drawn = [*starts, *(others[i] for i in rng.permutation(len(others))[: len(naive) - len(starts)])]
        goals.append(Goal(volume(drawn, axes), on_test(drawn, axes), seconds))
    print(
        f"against {options.draws} draws of {len(naive)} trials from {len(starts)} warm starts and {len(others)} others:"
    )
    compare(searches, goals, axes)


def compare(
    searches: Sequence[tuple[str, Sequence[tuple[float, Scored]]]], goals: Sequence[Goal], axes: Sequence[str]
) -> None:
    """Print each search in comparison with the random ones, and the medians."""
    medians, gains, tests = [], [], []
    for name, found in searches:
        ends, trials = [end for end, _ in found], [one for _, one in found]
        volumes = [volume(trials[: k + 1], axes) for k in range(len(trials))]
        tested, ratios = on_test(trials, axes), []
        for goal in goals:
            place = next((k for k, v in enumerate(volumes) if v >= goal.volume), None)
            ratios.append(0.0 if place is None else goal.seconds / ends[place])
        medians.append(statistics.median(ratios))
        gains.append(statistics.median(volumes[-1] / goal.volume for goal in goals))
        tests.append(statistics.median(tested / goal.on_test for goal in goals))
        low, high = np.percentile(ratios, [25, 75])
        never = sum(r == 0 for r in ratios) / len(ratios)
        complete = sum(one.trial.state == TrialState.COMPLETE for one in trials)
        print(
            f"{name}: {medians[-1]:.1f} ({low:.1f} to {high:.1f}) times faster, in {never:.2f} of them never there; "
            f"ends with {gains[-1]:.2f} times the hypervolume ({tests[-1]:.2f} on test) after {ends[-1]:.0f} s; "
            f"{complete} of {len(trials)} trials trained to the end",
            flush=True,
        )
    if medians:
        print(
            f"median over {len(medians)} searches: {statistics.median(medians):.1f} times faster; final hypervolume "
            f"{statistics.median(gains):.2f} times random's, on test {statistics.median(tests):.2f} times"
        )


def scored(options: argparse.Namespace, name: str) -> list[Scored]:
    """Return the finished trials of a stored study in order."""
    storage = open_storage(options.storage)
    artifacts = Artifacts(options.artifacts or Path(options.storage).parent / "artifacts")
    trials = {t.number: t for t in stage_trials(storage, name) if t.state.is_finished()}

    def with_values(trial: FrozenTrial, **other: float) -> FrozenTrial:
        attributes = {**trial.user_attrs, "number": trial.number}
        if trial.state != TrialState.COMPLETE:
            return create_trial(state=trial.state, user_attrs=attributes)
        measured = {**attributes, **other}
        return create_trial(values=[float(measured[n]) for n in options.axes], user_attrs=attributes)

    @cache
    def tested(number: int) -> FrozenTrial:
        trial, data = trials[number], test_data(options.study)
        network, both = load_network(artifacts.get(trial, WEIGHTS), artifacts.get(trial, DESCRIPTION))
        return with_values(
            trial, auroc=auroc(data.test.labels, predict(network, data.test.codes, average_strands=both))
        )

    return [Scored(with_values(t), partial(tested, number)) for number, t in sorted(trials.items())]


def naive_scored(row: Mapping[str, Any], axes: Sequence[str]) -> Scored:
    """Convert a line of the race to a scored trial."""
    both = [
        create_trial(values=[float({**row, "auroc": score}[n]) for n in axes]) for score in (row["auroc"], row["test"])
    ]
    return Scored(both[0], lambda: both[1])


@cache
def test_data(study: str) -> Dataset:
    """Load the data set of the study with its test split."""
    plan = open_bench(study).plan
    return load_dataset(plan.data_spec, data_dir=context.data_dir(), cache=context.cache_dir())


def volume(trials: Sequence[Scored], axes: Sequence[str]) -> float:
    """Return the hypervolume above AUROC .5 and match 0."""
    return hypervolume([one.trial for one in trials], axes, [REFERENCE.get(n, 0.0) for n in axes])


def on_test(trials: Sequence[Scored], axes: Sequence[str]) -> float:
    """Return the hypervolume of the validation front by test AUROC and stored match."""
    numbered = []
    for number, one in enumerate(trials):
        numbered.append(copy.copy(one.trial))
        numbered[-1].number = number
    front = pareto_numbers(numbered, axes)
    return hypervolume([trials[i].on_test() for i in front], axes, [REFERENCE.get(n, 0.0) for n in axes])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, run in (("time", timing), ("race", race), ("reach", reach), ("serve", serve)):
        one = commands.add_parser(name)
        one.set_defaults(run=run)
        one.add_argument("--study", default="zbed2", help="study with the data and motif database")
        if name == "serve":
            one.add_argument("--side", choices=("naive", "package"))
            continue
        table = Path("runs/whole_search.jsonl" if name == "time" else "runs/race.jsonl")
        one.add_argument("--out", type=Path, default=table, help="table that race and time write and reach reads")
        if name == "time":
            one.add_argument("--points", type=int, default=6)
            continue
        one.add_argument("--storage", default="runs/quality.db")
        one.add_argument("--random", nargs="+", default=["rungs_zbed2"], help="random searches; race uses the first")
        one.add_argument("--search-trials", type=int, default=60, help="trials of each search of the package")
        if name == "race":
            one.add_argument("--file", default="benchmarks/stopping_zbed2.toml", help="study that the package searches")
            one.add_argument("--searches", type=int, default=5)
        else:
            one.add_argument(
                "--artifacts", type=Path, help="folder of the storage's artifacts [default: beside the storage]"
            )
            one.add_argument("--axes", nargs="+", default=list(AXES), help="axes of the hypervolume")
            one.add_argument("--draws", type=int, default=200)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
