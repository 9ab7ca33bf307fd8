"""Claim: networks trained in bfloat16 predict the test split as well as those trained in float32, within .01 AUROC.

    python benchmarks/precision.py --out runs/precision.jsonl

Trains the last warm start of the studies zbed2 and irf1 (ResidualBind, exponential, chosen by cross-validation) from
ten seeds in both precisions, with the compiled kernels if they can be built, and scores each network on the test split;
nothing is selected by these scores. Both trainings of a seed begin with the same weights and use the same sequences in
the same order. Prints for each study the mean difference of the paired seeds with its 95 % interval (Student's t), and
the spread over seeds in both precisions. Each training is a line of JSON; an interrupted run continues where it
stopped.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from rungs import append, read
from scipy import stats
from whole_search import open_bench

from tuner.cli import context
from tuner.cli.worker import one_thread, use_kernels
from tuner.data.registry import load_dataset
from tuner.models.architectures import build_model
from tuner.models.metrics import auroc
from tuner.models.training import fit, predict
from tuner.study.parameters import recipe_of, split_point

PRECISIONS = ("bfloat16", "float32")


def train(study: str, seeds: int, out: Path) -> None:
    """Train the networks that the table lacks."""
    bench = open_bench(study)
    use_kernels(bench)
    data = load_dataset(bench.plan.data_spec, data_dir=context.data_dir(), cache=bench.cache)  # with the test split
    point = dict(bench.plan.space.warm_starts[-1].parameters)
    hyperparameters, training = split_point(point)
    done = {(row["study"], row["seed"], row["precision"]) for row in read(out)}
    for seed in range(seeds):
        for precision in PRECISIONS:
            if (study, seed, precision) in done:
                continue
            recipe = recipe_of({**training, "precision": precision}, "point", bench.plan.recipe)
            network = build_model(hyperparameters, n_tasks=data.n_tasks, length=data.length, seed=seed)
            started = time.process_time()
            trained = fit(network, data.train, data.valid, recipe, seed=seed)
            row = {"study": study, "seed": seed, "precision": precision, "seconds": time.process_time() - started}
            row["valid"] = trained.chosen.auroc
            row["test"] = auroc(data.test.labels, predict(network, data.test.codes, average_strands=True))
            append(out, row)
            print(f"{study} seed {seed} {precision}: test AUROC {row['test']:.4f}, {row['seconds']:.0f} s", flush=True)


def compare(study: str, out: Path) -> None:
    """Print the paired difference."""
    rows = [row for row in read(out) if row["study"] == study]
    scores = {p: {row["seed"]: row["test"] for row in rows if row["precision"] == p} for p in PRECISIONS}
    seeds = sorted(scores["bfloat16"].keys() & scores["float32"].keys())
    a, b = (np.array([scores[p][seed] for seed in seeds]) for p in PRECISIONS)
    low, high = stats.t.interval(0.95, len(seeds) - 1, loc=(a - b).mean(), scale=stats.sem(a - b))
    print(
        f"{study}, {len(seeds)} seeds: bfloat16 {a.mean():.4f} (SD {a.std(ddof=1):.4f}), float32 {b.mean():.4f} "
        f"(SD {b.std(ddof=1):.4f}), difference {(a - b).mean():+.4f} (95 % {low:+.4f} to {high:+.4f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", nargs="+", default=["zbed2", "irf1"])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("runs/precision.jsonl"))
    options = parser.parse_args()
    one_thread()
    for study in options.studies:
        train(study, options.seeds, options.out)
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}")
    for study in options.studies:
        compare(study, options.out)


if __name__ == "__main__":
    main()
