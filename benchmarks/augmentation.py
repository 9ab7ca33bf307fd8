"""Do EvoAug's transforms and fine-tuning on unaltered sequences help on small data? Validation AUROCs only.

    python benchmarks/augmentation.py --data FOLDER --out runs/augmentation.jsonl

Trains the default ResidualBind (exponential) with the default recipe on three small sets: NFE2 in GM12878 (`nfe2`, 644
peaks and 644 controls of a gapped k-mer SVM, 200 bp), `mouse_3` of GUE (100 bp), and 1,000 random training sequences of
ZBED2 (`zbed2`, 400 bp). Each set is trained with and without transforms (two of each sequence, at the default
strengths), for 20, 45 and 100 epochs, of which the last 5 are fine-tuning if there are transforms. All recipes of a
seed begin with the same weights. The validation split of each set decides about the epoch, and its AUROC is what is
printed: means over the seeds, and their difference with its 95 % interval over paired seeds (Student's t). Each
training is a line of JSON; an interrupted run continues where it stopped.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rungs import append, read
from scipy import stats

from tuner.data.dataset import Dataset
from tuner.data.registry import load_dataset
from tuner.data.spec import DataSpec
from tuner.models.architectures import build_model
from tuner.models.recipe import Recipe
from tuner.models.training import fit

SETS: Mapping[str, Mapping[str, Any]] = {
    "nfe2": {"positives": "nfe2_gm12878/tr.fa", "negatives": "nfe2_gm12878/neg.tr.fa", "length": 200},
    "mouse_3": {"path": "gue/gue_mouse_3.tsv.gz", "split_column": "split", "label_columns": ("label",)},
    "zbed2": {"dataset": "zbed2"},
}
EVOAUG = {"augment_max": 2, "finetune_epochs": 5}
RECIPES: Mapping[str, Recipe] = {
    "20 epochs": Recipe(),
    "45 epochs": Recipe(epochs=45, patience=45),
    "100 epochs": Recipe(epochs=100, patience=100),
    "15 epochs with transforms + 5": Recipe(**EVOAUG),  # type: ignore[arg-type]
    "40 epochs with transforms + 5": Recipe(epochs=45, patience=45, **EVOAUG),  # type: ignore[arg-type]
    "95 epochs with transforms + 5": Recipe(epochs=100, patience=100, **EVOAUG),  # type: ignore[arg-type]
}


def load(name: str, folder: Path) -> Dataset:
    """Load a set."""
    return load_dataset(DataSpec(**SETS[name]), data_dir=folder, base=folder)


def train(name: str, folder: Path, seeds: int, epochs: list[int], out: Path) -> None:
    """Train the networks that the table lacks."""
    data = load(name, folder)
    sequences = data.train
    if name == "zbed2":
        sequences = sequences.take(np.random.default_rng(0).permutation(len(sequences))[:1000])
    print(f"{name}: {len(sequences)} training and {len(data.valid)} validation sequences of {data.length} bp")
    done = {(row["set"], row["seed"], row["recipe"]) for row in read(out)}
    for seed in range(seeds):
        for label, recipe in RECIPES.items():
            if (name, seed, label) in done or recipe.epochs not in epochs:
                continue
            network = build_model({"architecture": "residualbind"}, n_tasks=1, length=data.length, seed=seed)
            started = time.process_time()
            trained = fit(network, sequences, data.valid, recipe, seed=seed)
            row = {"set": name, "seed": seed, "recipe": label, "valid": trained.chosen.auroc}
            row |= {"epoch": trained.chosen_epoch, "seconds": time.process_time() - started}
            append(out, row)
            print(f"{name} seed {seed} {label}: {row['valid']:.4f}, {row['seconds']:.0f} s", flush=True)


def compare(name: str, out: Path) -> None:
    """Print a line for each number of epochs."""
    found: dict[str, dict[int, float]] = {}
    for row in read(out):
        if row["set"] == name:
            found.setdefault(row["recipe"], {})[row["seed"]] = row["valid"]
    for epochs in (20, 45, 100):
        plain, altered = (
            found.get(key, {}) for key in (f"{epochs} epochs", f"{epochs - 5} epochs with transforms + 5")
        )
        seeds = sorted(set(plain) & set(altered))
        if len(seeds) < 2:
            continue
        without, with_ = (np.array([values[seed] for seed in seeds]) for values in (plain, altered))
        difference = with_ - without
        half = stats.t.ppf(0.975, len(seeds) - 1) * stats.sem(difference)
        print(
            f"{name:8} {epochs:3} epochs: {without.mean():.3f} without, {with_.mean():.3f} with transforms, difference "
            f"{difference.mean():+.3f} ({difference.mean() - half:+.3f} to {difference.mean() + half:+.3f})"
        )


def main() -> None:
    """Train and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with nfe2_gm12878, gue and koo")
    parser.add_argument("--out", type=Path, default=Path("runs/augmentation.jsonl"))
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, nargs="+", choices=(20, 45, 100), default=[20, 45, 100])
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.sets:
        train(name, options.data, options.seeds, options.epochs, options.out)
    for name in options.sets:
        compare(name, options.out)


if __name__ == "__main__":
    main()
