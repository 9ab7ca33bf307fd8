r"""What do networks learn from each kind of negatives? Train on one kind, test on all.

    python benchmarks/negatives.py --peaks yeast_reb1/Reb1_Rhee.bed \
        --genome yeast_reb1/Saccharomyces_cerevisiae.R64-1-1.dna.toplevel.fa.gz --seeds 3

The positives, and the chromosomes of the splits, are the same for every kind; only the negatives differ. The network is
the warm start of the default search space with a maximum and average pool. Prints the mean test AUROC over seeds of
networks trained on the negatives of each row and tested on those of each column, and the AUROC that GC content, CpG
content and a 6-mer regression reach on each kind by themselves. Paths are below TUNER_DATA_DIR, or absolute.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tuner.data.dataset import Dataset
from tuner.data.registry import load_dataset
from tuner.data.spec import DataSpec
from tuner.genome.sequence import cpg, gc_content
from tuner.models.architectures import build_model
from tuner.models.baselines import fit_baseline
from tuner.models.hyperparameters import HYPERPARAMETERS
from tuner.models.metrics import auroc
from tuner.models.prediction import predict
from tuner.models.recipe import Recipe
from tuner.models.training import fit
from tuner.study.space import read_space

KINDS = ("gc", "gc+cpg", "flanks", "shuffle")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peaks", required=True)
    parser.add_argument("--genome", required=True)
    parser.add_argument("--length", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=16)
    options = parser.parse_args()
    torch.set_num_threads(1)
    started, base = time.monotonic(), Path(os.environ.get("TUNER_DATA_DIR", "."))
    files = {"peaks": str(base / options.peaks), "genome": str(base / options.genome)}
    data = {kind: load_dataset(DataSpec(**files, negatives=kind, length=options.length)) for kind in KINDS}
    parameters = warm_start()
    print("| trained on | " + " | ".join(f"tested on {kind}" for kind in KINDS) + " |")
    print("|---|" + "---|" * len(KINDS))
    for kind, dataset in data.items():
        models = [train(dataset, parameters, options.epochs, seed) for seed in range(options.seeds)]
        cells = []
        for other in data.values():
            values = [auroc(other.test.labels, predict(model, other.test.codes)) for model in models]
            cells.append(f"{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})")
        print(f"| {kind} | " + " | ".join(cells) + " |", flush=True)
    for name, measure in (("GC content", gc_content), ("CpG o/e", cpg)):
        values = [auroc(d.test.labels, measure(d.test.codes)[:, None]) for d in data.values()]
        print(f"| {name} alone | " + " | ".join(f"{value:.3f}" for value in values) + " |")
    values = [auroc(d.test.labels, fit_baseline("6-mer", d).score(d.test.codes)) for d in data.values()]
    print("| 6-mer regression, by itself | " + " | ".join(f"{value:.3f}" for value in values) + " |")
    sizes = ", ".join(f"{kind} {len(d.train)}" for kind, d in data.items())
    print(f"\ntraining sequences: {sizes}; {options.seeds} seeds; {time.monotonic() - started:.0f} s")


def warm_start() -> dict[str, Any]:
    """Hyperparameters of the warm start of the default space that no publication made."""
    space = read_space(Path(__file__).parents[1] / "search_spaces" / "default.toml")
    [parameters] = [w.parameters for w in space.warm_starts if "Koo" not in w.source]
    return {name: value for name, value in parameters.items() if name in HYPERPARAMETERS}


def train(dataset: Dataset, parameters: dict[str, Any], epochs: int, seed: int) -> torch.nn.Module:
    """One network."""
    recipe = Recipe(epochs=epochs, learning_rate=3e-3, batch_size=64, schedule="cosine", shift=30)
    model = build_model(parameters, n_tasks=1, length=dataset.length, seed=seed)
    fit(model, dataset.train, dataset.valid, recipe, seed=seed)
    return model


if __name__ == "__main__":
    main()
