"""Claim: the search reaches what naive random search reaches with all its trials in a sixth of the time.

    python benchmarks/search_quality.py --study zbed2 --seeds 5 --storage runs/quality.db    the searches themselves
    python benchmarks/whole_search.py time --study zbed2 --points 6    trains; goes on where it was interrupted
    python benchmarks/whole_search.py reach --storage runs/quality.db --random zbed2-random zbed2-random-seed1

The naive side is in this file and in `training_step.py`: the same network in nn.Conv1d and its like, float32, a
DataLoader over one-hot sequences, scikit-learn's metrics after each epoch, a loop over filters, memelite's Tomtom, two
threads, one trial after the other, each to its last epoch. `time` trains points of the study's space with it and with
the package, two workers of one thread as `tuner run` starts them; both have the machine to themselves and take turns,
and both train the same epochs on the same sequences. A trial of the package also measures its null, what the network
loses without each filter, and the composition-matched subset; the naive one does not.

`reach` compares other searches with random search. Naive random search makes the values of stored random trials, each
at its stored cost times the ratio of `time`; it is drawn anew `--draws` times from all there are, the warm starts
always first. The package makes the values of the other search in their order, with two workers. Printed for each
search: how much later than it naive random search ends, counted to the moment when the search has the hypervolume,
above AUROC .5 and match 0, that random search has in the end (median and quartiles over the draws; never there counts
as 0), and the hypervolume of both in the end, also by the AUROC of the test split: networks chosen on validation,
scored on test, where nothing is chosen. Costs are seconds of training, or epochs where the searches ran beside other
work; measuring at a rung then counts a fifth of an epoch (`trial.py`).
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import heapq
import math
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optuna
import torch
from memelite import tomtom
from optuna.trial import create_trial
from rungs import append, read
from search_quality import REFERENCE
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import DataLoader, TensorDataset
from training_step import plain_network

from tuner.cli import context
from tuner.cli.worker import one_thread, use_kernels
from tuner.data.dataset import Dataset
from tuner.data.registry import load_dataset
from tuner.models.architectures import build_model
from tuner.models.metrics import auroc
from tuner.models.prediction import predict as model_logits
from tuner.models.recipe import Recipe
from tuner.motifs.database import MotifDatabase
from tuner.resources import find_resource
from tuner.search.artifacts import Artifacts
from tuner.search.bench import Bench, load_bench
from tuner.search.job import DESCRIPTION, WEIGHTS, load_network, run_network
from tuner.search.names import recipe_of, split_point
from tuner.search.results import FrozenTrial, TrialState, hypervolume, pareto_numbers, stage_trials
from tuner.search.sampler import slot_sampler
from tuner.search.storage import open_storage
from tuner.search.study import make_plan, mix, study_space
from tuner.search.study_file import read_study

NAIVE_THREADS = 2
SITES, WINDOW_BEFORE = 500, 1


def one_hot(codes: np.ndarray) -> Tensor:
    """Float32, shape=(n, 4, length); unknown bases are zeros."""
    return torch.from_numpy(np.eye(5, 4, dtype=np.float32)[np.minimum(codes, 4)]).transpose(1, 2).contiguous()


def augmented(x: Tensor, shift: int) -> Tensor:
    """Each sequence as its reverse complement with probability one half, moved by up to `shift` positions."""
    n, _, length = x.shape
    x = torch.where((torch.rand(n) < 0.5)[:, None, None], x.flip(1, 2), x)
    if not shift:
        return x
    places = torch.arange(length) - torch.randint(-shift, shift + 1, (n, 1))
    inside = (places >= 0) & (places < length)
    return x.gather(2, places.clamp(0, length - 1)[:, None].expand(-1, 4, -1)) * inside[:, None]


def predict(model: nn.Module, x: Tensor) -> np.ndarray:
    """Mean logits of both strands."""
    model.eval()
    with torch.no_grad():
        parts = [(model(part) + model(part.flip(1, 2))) / 2 for part in x.split(256)]
    return torch.cat(parts).numpy()


def naive_matrices(first: nn.Module, activation: nn.Sequential, x: Tensor, width: int) -> list[np.ndarray]:
    """One matrix a filter: the mean of the windows around its best positions."""
    with torch.no_grad():
        maps = torch.cat([activation(first(part)) for part in x.split(256)]).numpy()
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (width, width)))
    matrices = []
    for filter_maps in maps.transpose(1, 0, 2):
        places, peaks = filter_maps.argmax(axis=1), filter_maps.max(axis=1)
        windows = []
        for i in np.argsort(-peaks)[:SITES]:
            start = places[i] + width - width // 2 - WINDOW_BEFORE
            windows.append(padded[i, :, start : start + width + WINDOW_BEFORE])
        matrices.append(np.mean(windows, axis=0) + 1e-6)
    return matrices


def naive_trial(point: Mapping[str, Any], data: Dataset, database: MotifDatabase, recipe: Recipe, seed: int) -> None:
    """Train and measure one point as one would write it down."""
    hyperparameters, _ = split_point(point)
    torch.manual_seed(seed)
    network = build_model(hyperparameters, n_tasks=data.n_tasks, length=data.length, seed=seed)
    model = plain_network(network)
    penalised = [p for p in model.parameters() if p.ndim >= 2][:-1]
    x, valid = one_hot(data.train.codes), one_hot(data.valid.codes)
    rows = TensorDataset(x, torch.from_numpy(data.train.labels).float())
    loader = DataLoader(rows, batch_size=recipe.batch_size, shuffle=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.learning_rate, eps=recipe.adam_epsilon)
    for epoch in range(recipe.epochs):
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * (1 + math.cos(math.pi * epoch / recipe.epochs)) / 2
        model.train()
        for sequences, labels in loader:
            optimizer.zero_grad()
            loss = binary_cross_entropy_with_logits(model(augmented(sequences, recipe.shift)), labels)
            (loss + recipe.l2 * sum(w.square().sum() for w in penalised)).backward()
            optimizer.step()
        logits = predict(model, valid)
        roc_auc_score(data.valid.labels, logits)
        average_precision_score(data.valid.labels, logits)
    model.eval()
    depth = 3 if network.first_batch_norm is not None else 2
    matrices = naive_matrices(model[0], model[1:depth], torch.cat([x, valid]), network.first_convolution.kernel_size[0])
    tomtom(matrices, [motif.ppm for motif in database.screened])


def open_bench(study_name: str) -> Bench:
    """The study's data and database, on the CPU."""
    file = find_resource("studies", study_name, Path.cwd())
    study = read_study(file)
    space, _ = study_space(study, "standard", lambda name: find_resource("search_spaces", name, file.parent))
    plan = make_plan(study, space, folder=file.parent)
    return load_bench(plan, data_dir=context.data_dir(), cache=context.cache_dir(), device="cpu")


def points_of(bench: Bench, n: int) -> list[dict[str, Any]]:
    """Random points of the study's space."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    studies = (optuna.create_study(sampler=slot_sampler("random", seed=mix(i, "time"), startup=1)) for i in range(n))
    return [bench.plan.space.suggest(study.ask()) for study in studies]


def serve(options: argparse.Namespace) -> None:
    """One process of one side: for every point number on stdin train it and print the seconds."""
    bench = open_bench(options.study)
    points = points_of(bench, options.points)
    if options.side == "package":
        one_thread()
        use_kernels(bench)
    else:
        torch.set_num_threads(NAIVE_THREADS)
        motifs = [motif.ppm for motif in bench.database.screened]
        tomtom(motifs[:2], motifs)  # compiled before the clock runs
    print("ready", flush=True)
    for line in sys.stdin:
        point, started = points[int(line)], time.perf_counter()
        recipe = recipe_of(split_point(point)[1], "point", bench.plan.recipe)
        if options.side == "package":
            run_network(bench, point, seed=int(line), on_epoch=lambda record: None)
        else:
            naive_trial(point, bench.dataset, bench.database, recipe, int(line))
        print(time.perf_counter() - started, flush=True)


def start(side: str, options: argparse.Namespace) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "serve", "--study", options.study, "--points", str(options.points)]
    process = subprocess.Popen([*command, "--side", side], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    if process.stdout.readline().strip() != "ready":
        raise SystemExit(f"the {side} side did not start")
    return process


def measure(processes: Sequence[subprocess.Popen[str]], point: int) -> float:
    """Seconds until every process has trained the point, all at once."""
    started = time.perf_counter()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(f"{point}\n")
        process.stdin.flush()
    for process in processes:
        assert process.stdout is not None
        if not process.stdout.readline():
            raise SystemExit("a side ended before its time; its error is above")
    return time.perf_counter() - started


def timing(options: argparse.Namespace) -> None:
    """Alternate both sides over the points; a line of JSON a point."""
    done = {row["point"] for row in read(options.out)}
    left = [i for i in range(options.points) if i not in done]
    if left:
        naive, package = [start("naive", options)], [start("package", options) for _ in range(2)]
        for point in left:
            row = {"point": point, "naive": measure(naive, point), "package": measure(package, point) / len(package)}
            append(options.out, row)
            print(f"point {point}: naive {row['naive']:.0f} s, package {row['package']:.0f} s a trial", flush=True)
        for process in (*naive, *package):
            process.terminate()
    ratios = times_faster(options.out)
    low, middle, high = statistics.quantiles(ratios, n=4)
    texts = (Path(__file__).with_name(name).read_bytes() for name in ("training_step.py", "whole_search.py"))
    digest = hashlib.sha256(b"".join(texts)).hexdigest()[:12]
    print(f"a trial is {middle:.2f} ({low:.2f} to {high:.2f}) times faster, {len(ratios)} points; naive side {digest}")


def times_faster(path: Path) -> list[float]:
    return [row["naive"] / row["package"] for row in read(path)]


def finished_at(seconds: Sequence[float], workers: int) -> list[float]:
    """When each trial ends if `workers` take them in their order."""
    free = [0.0] * workers
    ends = []
    for one in seconds:
        end = heapq.heappop(free) + one
        heapq.heappush(free, end)
        ends.append(end)
    return ends


class Scored(NamedTuple):
    """A finished trial as the hypervolume sees it.

    Attributes
    ----------
    trial : FrozenTrial
        With the values of the axes, which need not be the objectives of its study.
    cost : float
        Seconds, or epochs.
    on_test : callable
        The same trial with the AUROC of the test split in place of the validation one.
    """

    trial: FrozenTrial
    cost: float
    on_test: Callable[[], FrozenTrial]


def reach(options: argparse.Namespace) -> None:
    """Print for each search how much sooner it has what random search ends with, over draws of random searches."""
    faster, axes = statistics.median(times_faster(options.times)), options.axes
    random = [one for name in options.random for one in scored(options, name, rung_epochs=0.0)]
    starts = [one for one in random if "warm_start" in one.trial.user_attrs]
    starts = starts[: len(starts) // len(options.random)]
    others = [one for one in random if "warm_start" not in one.trial.user_attrs]
    if len(starts) + len(others) < options.trials:
        raise SystemExit(f"{len(starts)} warm starts and {len(others)} others; {options.trials} trials are wanted")
    rng, goals = np.random.default_rng(0), []
    for _ in range(options.draws):
        drawn = [*starts, *(others[i] for i in rng.permutation(len(others))[: options.trials - len(starts)])]
        goals.append(
            (volume(drawn, axes), faster * finished_at([one.cost for one in drawn], 2)[-1], on_test(drawn, axes))
        )
    print(
        f"random search: {options.draws} draws of {options.trials}, from {len(starts)} warm starts and "
        f"{len(others)} others"
    )
    medians, gains, tests = [], [], []
    for name in options.search:
        found = scored(options, name, rung_epochs=options.rung_epochs)[: options.search_trials or options.trials]
        ends = finished_at([one.cost for one in found], 2)
        order = sorted(range(len(found)), key=ends.__getitem__)
        volumes = [volume([found[i] for i in order[: k + 1]], axes) for k in range(len(order))]
        tested = on_test(found, axes)
        ratios = []
        for goal, whole, _ in goals:
            place = next((k for k, v in enumerate(volumes) if v >= goal), None)
            ratios.append(0.0 if place is None else whole / ends[order[place]])
        medians.append(statistics.median(ratios))
        gains.append(statistics.median(volumes[-1] / goal for goal, _, _ in goals))
        tests.append(statistics.median(tested / test for _, _, test in goals))
        low, _, high = statistics.quantiles(ratios, n=4)
        never = sum(r == 0 for r in ratios) / len(ratios)
        whole = faster * ends[-1] / statistics.median(w for _, w, _ in goals)
        complete = sum(one.trial.state == TrialState.COMPLETE for one in found)
        print(
            f"{name}: {medians[-1]:.1f} ({low:.1f} to {high:.1f}) times faster, in {never:.2f} of draws never there; "
            f"ends with {gains[-1]:.2f} times the hypervolume ({tests[-1]:.2f} on test) after {whole:.2f} times the "
            f"{options.by}; {complete} of {len(found)} trials trained to the end",
            flush=True,
        )
    print(
        f"median over {len(medians)} searches: {statistics.median(medians):.1f} times faster; final hypervolume "
        f"{statistics.median(gains):.2f} times random's, on test {statistics.median(tests):.2f} times"
    )


def scored(options: argparse.Namespace, name: str, *, rung_epochs: float) -> list[Scored]:
    """The finished trials of a study, in their order."""
    storage = open_storage(options.storage)
    artifacts = Artifacts(options.artifacts or Path(options.storage).parent / "artifacts")
    rungs = Counter(entry.trial for entry in storage.rung_log(storage.get_study_id_from_name(name)))
    extra = rung_epochs if options.by == "epochs" else 0.0

    def with_values(trial: FrozenTrial, **other: float) -> FrozenTrial:
        if trial.state != TrialState.COMPLETE:
            return trial
        measured = {**trial.user_attrs, **other}
        return create_trial(values=[float(measured[n]) for n in options.axes], user_attrs=trial.user_attrs)

    @cache
    def test_auroc(number: int) -> float:
        trial, data = trials[number], test_data(options.study)
        network, both = load_network(artifacts.get(trial, WEIGHTS), artifacts.get(trial, DESCRIPTION))
        logits = model_logits(network, data.test.codes, average_strands=both)
        return auroc(data.test.labels, logits)

    def tested(trial: FrozenTrial) -> FrozenTrial:
        return with_values(trial, auroc=test_auroc(trial.number))

    trials = {t.number: t for t in stage_trials(storage, name) if t.state.is_finished()}
    return [
        Scored(
            with_values(t),
            float(t.user_attrs.get(options.by, 0.0)) + extra * rungs[t.number],
            partial(tested, t),
        )
        for t in sorted(trials.values(), key=lambda t: t.number)
    ]


@cache
def test_data(study: str) -> Dataset:
    """The study's data set with its test split."""
    plan = open_bench(study).plan
    return load_dataset(plan.data_spec, data_dir=context.data_dir(), cache=context.cache_dir())


def volume(trials: Sequence[Scored], axes: Sequence[str]) -> float:
    """Hypervolume above AUROC .5 and match 0."""
    return hypervolume([one.trial for one in trials], axes, [REFERENCE.get(n, 0.0) for n in axes])


def on_test(trials: Sequence[Scored], axes: Sequence[str]) -> float:
    """Hypervolume of the validation front by test AUROC and the stored match."""
    numbered = []
    for number, one in enumerate(trials):
        numbered.append(copy.copy(one.trial))
        numbered[-1].number = number
    front = pareto_numbers(numbered, axes)
    return hypervolume([trials[i].on_test() for i in front], axes, [REFERENCE.get(n, 0.0) for n in axes])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, run in (("time", timing), ("serve", serve), ("reach", reach)):
        one = commands.add_parser(name)
        one.set_defaults(run=run)
        one.add_argument("--study", default="zbed2")
        if name == "reach":
            one.add_argument("--trials", type=int, default=30, help="of a random search")
            one.add_argument("--search-trials", type=int, help="of the other searches, if not as many")
            one.add_argument(
                "--draws", type=int, default=200, help="of a random search from the random trials there are"
            )
            one.add_argument("--storage", default="runs/quality.db")
            one.add_argument("--artifacts", type=Path, help="where that storage's files are; beside it if left out")
            one.add_argument("--random", nargs="+", default=["zbed2-random"], help="names of random searches")
            one.add_argument("--search", nargs="+", default=["zbed2"], help="names of the others")
            one.add_argument("--axes", nargs="+", default=["auroc", "match_fraction"], help="of the hypervolume")
            one.add_argument("--by", choices=("seconds", "epochs"), default="seconds", help="what a trial costs")
            one.add_argument("--rung-epochs", type=float, default=0.2, help="what measuring at a rung costs")
            one.add_argument("--times", type=Path, default=Path("runs/whole_search.jsonl"))
        else:
            one.add_argument("--points", type=int, default=6)
            one.add_argument("--out", type=Path, default=Path("runs/whole_search.jsonl"))
            one.add_argument("--side", choices=("naive", "package"))
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
