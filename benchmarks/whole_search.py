"""Claim: the search reaches what naive random search reaches with all its trials in a sixth of the time.

    python benchmarks/search_quality.py --study zbed2 --seeds 5 --storage runs/quality.db    the searches themselves
    python benchmarks/whole_search.py time --study zbed2 --points 6    trains; goes on where it was interrupted
    python benchmarks/whole_search.py reach --study zbed2 --seeds 5 --storage runs/quality.db

The naive side is in this file and in `training_step.py`: the same network in nn.Conv1d and its like, float32, a
DataLoader over one-hot sequences, scikit-learn's metrics after each epoch, a loop over filters, memelite's Tomtom, two
threads, one trial after the other, each to its last epoch. `time` trains points of the study's space with it and with
the package, two workers of one thread as `tuner run` starts them; both have the machine to themselves and take turns,
and both train the same epochs on the same sequences. A trial of the package also measures its null, what the network
loses without each filter, and the composition-matched subset; the naive one does not.

`reach` takes random search and another search of the same seed and budget. Naive random search makes the values of the
stored random search, each trial at its stored cost times the ratio of `time`; the package makes those of the other
search in their order, with two workers. Printed: when that one has the hypervolume, above AUROC .5 and match 0, that
random search has in the end, how much longer all trials of the naive side take, and how much hypervolume it has in the
end. A search that never gets there counts as a ratio of 0. Costs are seconds of training, or epochs where the searches
ran beside other work; measuring at a rung then counts a quarter of an epoch. Beside it the hypervolume of both fronts
by the AUROC of the test split: networks chosen on validation, scored on test, where nothing is chosen.
"""

from __future__ import annotations

import argparse
import hashlib
import heapq
import math
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from memelite import tomtom
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
from tuner.search.storage import FencedStorage, open_storage
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


def reach(options: argparse.Namespace) -> None:
    """Print the ratio of times to the same hypervolume for each seed."""
    storage, faster = open_storage(options.storage), statistics.median(times_faster(options.times))
    artifacts = Artifacts(options.artifacts or Path(options.storage).parent / "artifacts")
    plan = open_bench(options.study).plan
    data = load_dataset(plan.data_spec, data_dir=context.data_dir(), cache=context.cache_dir())  # with its test split
    ratios, gains, tests = [], [], []
    for seed in range(options.seeds):
        suffix = f"-seed{seed}" if seed else ""
        found = {}
        pair = (
            ("random", options.random + suffix, options.trials),
            ("search", options.search + suffix, options.search_trials or options.trials),
        )
        for side, name, wanted in pair:
            trials = sorted(stage_trials(storage, name), key=lambda t: t.number)
            ended = [t for t in trials if t.state.is_finished()]
            if len(ended) < wanted:
                raise SystemExit(f"{name}: {len(ended)} of {wanted} trials in {options.storage}; see --help")
            ended = ended[:wanted]
            bound = [REFERENCE.get(n, 0.0) for n in options.axes]
            rungs = Counter(entry.trial for entry in storage.rung_log(storage.get_study_id_from_name(name)))
            extra = options.rung_epochs if side == "search" and options.by == "epochs" else 0.0
            ends = finished_at([float(t.user_attrs.get(options.by, 0.0)) + extra * rungs[t.number] for t in ended], 2)
            order = sorted(range(len(ended)), key=ends.__getitem__)
            shown = [by_names(ended[i], options.axes) for i in order]
            volumes = [hypervolume(shown[: k + 1], options.axes, bound) for k in range(len(order))]
            found[side] = ([ends[i] for i in order], volumes)
        goal, whole = found["random"][1][-1], faster * found["random"][0][-1]
        place = next((k for k, v in enumerate(found["search"][1]) if v >= goal), None)
        ratios.append(whole / found["search"][0][place] if place is not None else 0.0)
        gains.append(found["search"][1][-1] / goal)
        on_test = {
            side: test_hypervolume(storage, artifacts, data, name, options.axes, wanted) for side, name, wanted in pair
        }
        tests.append(on_test["search"] / on_test["random"])
        shown_place = (
            "never there" if place is None else f"there with {place + 1} trials: {ratios[-1]:.1f} times faster"
        )
        print(
            f"seed {seed}: random ends at {goal:.4f}; the search {shown_place}, ends at {found['search'][1][-1]:.4f} "
            f"with {found['search'][0][-1] / found['random'][0][-1]:.2f} of random's {options.by}; "
            f"on test random {on_test['random']:.4f}, the search {on_test['search']:.4f}",
            flush=True,
        )
    print(
        f"median {statistics.median(ratios):.1f} times faster; final hypervolume {statistics.median(gains):.2f} times "
        f"random's, on test {statistics.median(tests):.2f} times"
    )


def by_names(trial: FrozenTrial, names: Sequence[str]) -> FrozenTrial:
    """A trial with the values of these metrics, which need not be the objectives of its study."""
    if trial.state != TrialState.COMPLETE:
        return trial
    found = optuna.trial.create_trial(values=[float(trial.user_attrs[n]) for n in names])
    found.number = trial.number
    return found


def test_hypervolume(
    storage: FencedStorage, artifacts: Artifacts, data: Dataset, name: str, names: Sequence[str], trials: int
) -> float:
    """Hypervolume of the validation front by test AUROC and the stored match fraction."""
    ended = sorted(stage_trials(storage, name), key=lambda t: t.number)[:trials]
    front = pareto_numbers([by_names(t, names) for t in ended], names)
    points = []
    for trial in (t for t in ended if t.number in front):
        network, both = load_network(artifacts.get(trial, WEIGHTS), artifacts.get(trial, DESCRIPTION))
        logits = model_logits(network, data.test.codes, average_strands=both)
        values = {**trial.user_attrs, "auroc": auroc(data.test.labels, logits)}
        points.append(optuna.trial.create_trial(values=[values[n] for n in names]))
    return hypervolume(points, names, [REFERENCE.get(n, 0.0) for n in names])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, run in (("time", timing), ("serve", serve), ("reach", reach)):
        one = commands.add_parser(name)
        one.set_defaults(run=run)
        one.add_argument("--study", default="zbed2")
        if name == "reach":
            one.add_argument("--seeds", type=int, default=5)
            one.add_argument("--trials", type=int, default=30)
            one.add_argument("--search-trials", type=int, help="of the other search, if not as many")
            one.add_argument("--storage", default="runs/quality.db")
            one.add_argument("--artifacts", type=Path, help="where that storage's files are; beside it if left out")
            one.add_argument("--random", default="zbed2-random", help="name of the random searches")
            one.add_argument("--search", default="zbed2", help="name of the others")
            one.add_argument("--axes", nargs="+", default=["auroc", "match_fraction"], help="of the hypervolume")
            one.add_argument("--by", choices=("seconds", "epochs"), default="seconds", help="what a trial costs")
            one.add_argument("--rung-epochs", type=float, default=0.25, help="what measuring at a rung costs")
            one.add_argument("--times", type=Path, default=Path("runs/whole_search.jsonl"))
        else:
            one.add_argument("--points", type=int, default=6)
            one.add_argument("--out", type=Path, default=Path("runs/whole_search.jsonl"))
            one.add_argument("--side", choices=("naive", "package"))
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
