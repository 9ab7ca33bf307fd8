"""Claim: the time of an epoch grows in proportion to sequences and to their length, and faster than filters.

    python benchmarks/growth.py --json growth.json

Times an epoch of `fit`'s own loop with batches of 100, on one thread, for a ResidualBind with an exponential first
layer. One of number of sequences, length and number of first-layer filters varies; the others are 400 sequences, 400 bp
and 32 filters. The kernels of its residual block are filters x filters. All settings alternate. Prints the median CPU
time, and the exponent of its growth from the previous setting: 100 % means in proportion, 200 % means with the square.
The sequences are random, and only training is timed, not the other measurements of a trial.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from tuner.data.dataset import Split
from tuner.models import compiled
from tuner.models.architectures import build_model
from tuner.models.memory import keep_freed_memory
from tuner.models.recipe import Recipe
from tuner.models.training import _Run

BATCH = 100
USUAL = {"sequences": 400, "length": 400, "filters": 32}
VARIED = {"sequences": (400, 800, 1600, 3200), "length": (200, 400, 800, 1600), "filters": (16, 32, 64, 128)}


def epoch(sequences: int, length: int, filters: int) -> Callable[[], float]:
    """Prepare an epoch of this size."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, (sequences, length), dtype=np.uint8)
    split = Split(codes, rng.integers(0, 2, (sequences, 1), dtype=np.uint8))
    settings: dict[str, str | int] = {"architecture": "residualbind", "activation": "exponential", "filters": filters}
    model = build_model(dict(settings), n_tasks=1, length=length, seed=0)
    run = _Run(model, split, split, Recipe(batch_size=BATCH), torch.device("cpu"))
    return lambda: run.train_epoch(1)


def seconds(work: Callable[[], float]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--compiled", type=Path, metavar="FOLDER", help="train with compiled kernels built in this folder"
    )
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    if options.compiled and (reason := compiled.enable(options.compiled)):
        raise SystemExit(reason)
    sizes = {(name, value): {**USUAL, name: value} for name, values in VARIED.items() for value in values}
    works = {key: epoch(**size) for key, size in sizes.items()}
    times: dict[tuple[str, int], list[float]] = {key: [] for key in works}
    for _ in range(options.rounds + 1):
        for key, work in works.items():
            times[key].append(seconds(work))
    rows = []
    for name, values in VARIED.items():
        before = None
        for value in values:
            middle = statistics.median(times[name, value][1:])  # the first includes allocation and loading of kernels
            growth = "" if before is None else f"{math.log(middle / before[1]) / math.log(value / before[0]):8.0%}"
            print(f"{name:10} {value:6d} {middle * 1e3:9.0f} ms an epoch {growth}", flush=True)
            rows.append({"varied": name, "value": value, "seconds": times[name, value][1:]})
            before = (value, middle)
    if options.json:
        options.json.write_text(json.dumps({"usual": USUAL, "batch": BATCH, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
