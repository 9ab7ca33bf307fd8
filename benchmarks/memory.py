"""Claim: a worker holds at most a tenth of its data's float32 one-hot; 200,000 x 1000 bp start within a minute.

    python benchmarks/memory.py --json memory.json

Makes a FASTA file of positives and one of negatives, and starts one worker, then two at once. Each reads the files as
in a study and prepares training. Prints the seconds until then, and how much the data add to the proportional set size:
private pages and the worker's share of shared pages. With --step, one training step follows.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import psutil
import torch

from tuner.data.registry import load_dataset
from tuner.data.shared import share_codes
from tuner.data.spec import DataSpec
from tuner.models.architectures import build_model
from tuner.models.memory import keep_freed_memory
from tuner.models.recipe import Recipe
from tuner.models.training import _Run


def write(folder: Path, n: int, length: int) -> None:
    rng = np.random.default_rng(0)
    letters = np.frombuffer(b"ACGT", dtype=np.uint8)
    for name in ("positives", "negatives"):
        with (folder / f"{name}.fa").open("wb") as file:
            for start in range(0, n // 2, 1000):
                rows = letters[rng.integers(0, 4, (min(1000, n // 2 - start), length), dtype=np.uint8)]
                for i, row in enumerate(rows):
                    file.write(b">%s_%d\n%s\n" % (name.encode(), start + i, row.tobytes()))


def worker(folder: Path, step: bool, pipe: Connection) -> None:
    torch.set_num_threads(1)
    process = psutil.Process()
    empty = process.memory_full_info().pss
    started = time.perf_counter()
    spec = DataSpec(positives=str(folder / "positives.fa"), negatives=str(folder / "negatives.fa"))
    dataset = share_codes(load_dataset(spec).without_test(), folder / "cache")
    settings = {"architecture": "cnn", "activation": "exponential"}
    keep_freed_memory()  # as `fit` does when training begins
    model = build_model(settings, n_tasks=1, length=dataset.length, seed=0)
    run = _Run(model, dataset.train, dataset.valid, Recipe(batch_size=100), torch.device("cpu"))
    seconds = time.perf_counter() - started
    pipe.send("ready")
    pipe.recv()  # all workers hold their data now
    held = process.memory_full_info().pss - empty
    if step:
        small = dataset.train.take(np.arange(100))
        _Run(run.model, small, small, run.recipe, run.device).train_epoch(0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    sequences = sum(len(split) for split in dataset.splits.values())
    pipe.send({"seconds": seconds, "pss": held, "peak_rss": peak, "one_hot": sequences * dataset.length * 16})


def measure(folder: Path, workers: int, step: bool) -> list[dict[str, float]]:
    context = multiprocessing.get_context("spawn")
    pipes = []
    for _ in range(workers):
        mine, other = context.Pipe()
        context.Process(target=worker, args=(folder, step, other), daemon=True).start()
        pipes.append(mine)
    for pipe in pipes:
        pipe.recv()
    for pipe in pipes:
        pipe.send("measure")
    return [pipe.recv() for pipe in pipes]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=int, default=200_000)
    parser.add_argument("--length", type=int, default=1000)
    parser.add_argument("--step", action="store_true", help="also train on one batch")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as name:
        write(Path(name), options.sequences, options.length)
        print(f"{options.sequences} sequences of {options.length} bp; MB a worker, seconds to the first step")
        for workers in (1, 2):
            rows = measure(Path(name), workers, options.step)
            for row in rows:
                share = f"{row['pss'] / row['one_hot']:.3f} of one-hot's {row['one_hot'] / 1e6:.0f}"
                print(
                    f"{workers} at once: holds {row['pss'] / 1e6:.0f} ({share}), "
                    f"peak {row['peak_rss'] / 1e6:.0f}, {row['seconds']:.1f} s",
                    flush=True,
                )
            found[workers] = rows
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
