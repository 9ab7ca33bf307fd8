"""A task that a network of 300 weights learns in seconds: a planted hexamer on either strand.

Also a program: ``python training_task.py CHECKPOINT`` trains on it with that checkpoint and prints a line per
epoch, for a test to kill.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from tuner.data.dataset import Split
from tuner.genome.sequence import encode_one, reverse_complement
from tuner.models.layers import Dropout
from tuner.models.training import EpochRecord, Recipe, Trained, fit

LENGTH = 40
RECIPE = Recipe(
    epochs=6, patience=10, batch_size=32, learning_rate=0.01, schedule="plateau", precision="float32", shift=3
)


def split(n: int, seed: int) -> Split:
    """Half of the sequences hold TGACTC, on either strand, anywhere."""
    generator = np.random.default_rng(seed)
    codes = generator.integers(0, 4, size=(n, LENGTH)).astype(np.uint8)
    labels = (np.arange(n) % 2).astype(np.uint8)
    motif = encode_one("TGACTC")
    for row in np.flatnonzero(labels):
        start = generator.integers(0, LENGTH - len(motif))
        codes[row, start : start + len(motif)] = motif
    flipped = generator.random(n) < 0.5
    codes[flipped] = reverse_complement(codes[flipped])
    return Split(codes, labels[:, None])


class Net(nn.Module):
    """Convolution, batch norm, max over the sequence, dropout, logit."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.first_convolution = nn.Conv1d(4, 8, 8)
            self.norm = nn.BatchNorm1d(8)
            self.activation = nn.ReLU()
            self.dropout = Dropout(0.1)
            self.output = nn.Linear(8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, 4, length) -> (n, 1)."""
        h = self.activation(self.norm(self.first_convolution(x)))
        return self.output(self.dropout(h.amax(dim=2)))

    def l2_penalty(self) -> torch.Tensor:
        """Ten times the sum of squared kernel weights."""
        return 10 * self.first_convolution.weight.square().sum()


TRAIN, VALID = split(400, seed=1), split(200, seed=2)


def run(recipe: Recipe = RECIPE, *, seed: int = 3, **options: object) -> tuple[Net, Trained]:
    """Train a fresh network on the task."""
    net = Net()
    return net, fit(net, TRAIN, VALID, recipe, seed=seed, **options)  # type: ignore[arg-type]


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    """Bit for bit, buffers included."""
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def scores(trained: Trained) -> list[tuple[float | None, ...]]:
    """The history without its seconds; what was not measured is None, because NaN equals nothing."""
    records = [record._replace(seconds=0.0) for record in trained.history]
    return [tuple(None if value != value else value for value in record) for record in records]


if __name__ == "__main__":
    torch.set_num_threads(1)

    def tell(record: EpochRecord) -> None:
        print(record.epoch, flush=True)

    slow = Net()
    slow.first_convolution.register_forward_pre_hook(lambda *_: time.sleep(0.01))
    fit(slow, TRAIN, VALID, RECIPE, seed=3, checkpoint=Path(sys.argv[1]), on_epoch=tell)
