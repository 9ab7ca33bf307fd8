"""Makes tuner/motifs/reference_filters.meme: first-layer filters of trained networks.

The screen for promiscuous targets permutes the columns of these matrices, so they must have the widths, composition and
information content of the filters of a search. Eight small networks, ReLU and exponential, with wide and narrower
pooling, are trained on the ZBED2 and IRF1 ChIP-seq sets of Koo & Ploenzke (2021). Their filters are read from training
and validation sequences with the package's own rule for sites, and those that pass the gates are kept. The kernels have
the largest width that a search tries (25), because wide matrices find the promiscuous targets: with kernels of 11 no
target of JASPAR2026 is matched by more than 1 % of the matrices, with kernels of 19 seven are, with kernels of 25
thirteen. Takes one thread and about three minutes of CPU time.

    python benchmarks/reference_filters.py --out tuner/motifs/reference_filters.meme

What is matched by filters that cannot show a motif is measured by `motif_null.py`.

TUNER_DATA_DIR names the folder with the data sets.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from itertools import product
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import torch
from torch import nn

from tuner.motifs.filters import Filter, FilterScan, build_filters
from tuner.motifs.meme import Motif, write_meme

DATASETS = {"ZBED2": "koo/ZBED2_400_h3k27ac.h5", "IRF1": "koo/IRF1_400_h3k27ac.h5"}
SHAPES = ((25, 25), (25, 10))  # (kernel, first pool): filters that show whole motifs, and parts of motifs
ACTIVATIONS = ("relu", "exponential")
FILTERS = 32
EPOCHS = 16
BATCH = 100


class Exponential(nn.Module):
    """The first-layer activation of Koo & Ploenzke (2021)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return e^x, elementwise."""
        return torch.exp(x)


class Sequences(NamedTuple):
    """One split of one data set."""

    x: torch.Tensor  # (n, 4, 400) float32 one-hot
    y: torch.Tensor  # (n, 1)


def read(path: Path, split: str) -> Sequences:
    with h5py.File(path, "r") as file:
        return Sequences(
            torch.from_numpy(file[f"X_{split}"][:].astype(np.float32)),
            torch.from_numpy(file[f"Y_{split}"][:].astype(np.float32)),
        )


def build(kernel: int, pool: int, activation: str) -> nn.Sequential:
    """Build convolution, pool, convolution, pool, dense; wide first pools make filters learn whole motifs."""
    first = nn.Conv1d(4, FILTERS, kernel, padding=kernel // 2, bias=False)
    nn.init.xavier_uniform_(first.weight)
    return nn.Sequential(
        first,  # (n, 32, 400)
        nn.BatchNorm1d(FILTERS),
        Exponential() if activation == "exponential" else nn.ReLU(),
        nn.Dropout(0.1),
        nn.MaxPool1d(pool),  # (n, 32, 400 / pool)
        nn.Conv1d(FILTERS, 64, 5, padding=2, bias=False),
        nn.BatchNorm1d(64),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.MaxPool1d(100 // pool),  # (n, 64, 4)
        nn.Flatten(),
        nn.Linear(256, 96),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(96, 1),
    )


def train(model: nn.Sequential, data: Sequences, generator: torch.Generator) -> None:
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, [EPOCHS * 3 // 4], gamma=0.2)
    loss = nn.BCEWithLogitsLoss()
    model.train()
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(data.x), generator=generator).split(BATCH):
            x = data.x[rows]
            flipped = torch.rand(len(rows), generator=generator) < 0.5
            x[flipped] = x[flipped].flip(1, 2)
            optimiser.zero_grad()
            loss(model(x), data.y[rows]).backward()
            optimiser.step()
        schedule.step()


def auroc(model: nn.Sequential, data: Sequences) -> float:
    with torch.no_grad():
        scores = model(data.x)[:, 0] + model(data.x.flip(1, 2))[:, 0]
    positive = data.y[:, 0] > 0
    ranks = scores.argsort().argsort().double() + 1
    n = int(positive.sum())
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * (len(scores) - n)))


def scan(model: nn.Sequential, x: torch.Tensor, kernel: int) -> FilterScan:
    """Find the best position of every filter in every sequence where a window of kernel + 1 fits."""
    parts = []
    floor = torch.full((FILTERS,), torch.inf)
    with torch.no_grad():
        for batch in x.split(200):
            before = model[1](model[0](batch))  # (n, 32, 400)
            after = model[2](before)
            floor = torch.minimum(floor, after.amin(dim=(0, 2)))
            low, high = kernel // 2 + 1, batch.shape[2] - kernel + kernel // 2 + 1
            position = before[:, :, low:high].argmax(dim=2) + low
            index = position.unsqueeze(2)
            parts.append([t.gather(2, index)[:, :, 0].numpy() for t in (after, before)] + [position.numpy()])
    activation, preactivation, positions = (np.concatenate(part) for part in zip(*parts, strict=True))
    return FilterScan(activation, preactivation, positions, floor.numpy())


def filters_of(name: str, activation: str, shape: tuple[int, int], seed: int) -> tuple[Filter, ...]:
    """Train one network and read its filters."""
    kernel, pool = shape
    folder = Path(os.environ["TUNER_DATA_DIR"])
    began = time.process_time()
    training, validation = (read(folder / DATASETS[name], split) for split in ("train", "valid"))
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = build(kernel, pool, activation)
    train(model, training, generator)
    model.eval()
    x = torch.cat([training.x, validation.x])
    codes = np.where(x.sum(1) > 0, x.argmax(1), 4).astype(np.uint8)
    filters = build_filters(codes, scan(model, x, kernel), kernel, kernel // 2)
    print(
        f"{name} {activation} kernel {kernel} pool {pool}: validation AUROC "
        f"{auroc(model, validation):.3f}, {sum(item.gated for item in filters)} of {FILTERS} filters pass the "
        f"gates, {time.process_time() - began:.0f} s CPU",
        file=sys.stderr,
    )
    return filters


def write_references(out: Path) -> None:
    motifs: list[Motif] = []
    for seed, (name, activation, shape) in enumerate(product(DATASETS, ACTIVATIONS, SHAPES)):
        filters = filters_of(name, activation, shape, seed)
        label = f"{name}-{activation}-k{shape[0]}-p{shape[1]}"
        motifs += [Motif(f"{label}-f{f.index}", "", f.ppm, n_sites=f.sites) for f in filters if f.gated]
    write_meme(motifs, out)
    print(f"{len(motifs)} matrices in {out}", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/reference_filters.meme"), help="MEME file to write")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write_references(arguments.out)


if __name__ == "__main__":
    main()
