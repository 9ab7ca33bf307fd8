"""Evolution-inspired augmentations of training sequences (EvoAug; Lee, Tang, Toneyan & Koo 2023, Genome Biology).

What is done to each sequence is drawn on the CPU for a whole epoch, as a table of integers, and is a function of the
epoch's seed alone. Random bases and noise follow from one integer per sequence by a hash of the position, so that no
generator has to be kept: batches can be made in any order, a GPU makes the same bases as a CPU, and nothing waits for
a GPU, so that a step can be recorded in a CUDA graph.
"""

from __future__ import annotations

import math
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tuner.genome.sequence import N_CODE
from tuner.models.prediction import flip_strand
from tuner.models.recipe import Recipe


class Column(IntEnum):
    """Columns of the table that says what is done to each sequence; a row of zeros does nothing."""

    SEED = 0
    REVERSE = 1
    INSERTED = 2  # number of inserted bases
    INSERT_AT = 3  # position before which they are inserted
    CROPPED = 4  # how many of the bases that are then too many are cut off at the left end
    DELETED = 5
    DELETE_AT = 6
    ROLLED = 7  # positions to the right, around the end
    INVERTED = 8
    INVERT_AT = 9
    MUTATED = 10
    NOISY = 11


# Streams of the hash, one for each use.
_INSERT, _DELETE, _WHERE, _MUTATE, _NOISE = range(5)


class Transforms(NamedTuple):
    """What is done to each sequence of an epoch or batch.

    Attributes
    ----------
    table : torch.Tensor, shape=(n, 12), int64
        A row per sequence, with the columns of `Column`.
    used : tuple of str
        Names of the transforms that the recipe uses.
    mutations : int
        Number of positions of a mutated sequence that get a random base; a quarter of them get the base they had.
    noise : float
        Standard deviation of the Gaussian noise on the one-hot sequence.
    """

    table: Tensor
    used: tuple[str, ...]
    mutations: int
    noise: float

    @classmethod
    def draw(cls, n: int, length: int, recipe: Recipe, seed: int, *, unaltered: bool = False) -> Transforms | None:
        """Choose the transforms of n sequences.

        Parameters
        ----------
        n : int
            Number of sequences.
        length : int, bp
            Their length; no segment is longer.
        recipe : Recipe
            Its `augment_max` is the number of different transforms of a sequence, or with `augment_hard = false` the
            largest number, drawn evenly from 1 upwards. They are drawn from those with a strength above 0.
        seed : int
            Seed of the epoch.
        unaltered : bool
            Leave all sequences as they are; a recorded step can then be replayed on them.

        Returns
        -------
        Transforms or None
            None if the recipe uses no transform.
        """
        strengths = recipe.transforms()
        used = tuple(strengths)
        most = min(recipe.augment_max, len(used))
        if most == 0:
            return None
        table = np.zeros((n, len(Column)), dtype=np.int64)
        mutations = min(round(strengths.get("mutation", 0.0) / 0.75 * length), length)
        if not unaltered:
            generator = np.random.default_rng(seed)
            table[:, Column.SEED] = generator.integers(-(2**63), 2**63, size=n, dtype=np.int64)
            count = np.full(n, most) if recipe.augment_hard else generator.integers(1, most + 1, size=n)
            # A transform is chosen if its rank in a random order is below the number of transforms of the sequence.
            ranks = generator.random((n, len(used))).argsort(axis=1).argsort(axis=1)
            chosen = dict(zip(used, (ranks < count[:, None]).T, strict=True))
            for name, strength in strengths.items():
                _fill(table, name, strength, chosen[name], length, generator)
        return cls(torch.from_numpy(table), used, mutations, strengths.get("noise", 0.0))

    def apply(self, codes: Tensor) -> Tensor:
        """Apply all transforms but the noise, in the order of `Column`.

        Parameters
        ----------
        codes : torch.Tensor, shape=(n, length), uint8
            A, C, G, T = 0..3, N = 4, for the n sequences of the table.

        Returns
        -------
        torch.Tensor, shape=(n, length), uint8
            N moves with the bases around it, and is not mutated.
        """
        if "reverse_complement" in self.used:
            codes = torch.where(self._column(Column.REVERSE) > 0, flip_strand(codes), codes)
        if "insertion" in self.used:
            codes = self._insert(codes)
        if "deletion" in self.used:
            codes = self._delete(codes)
        if "translocation" in self.used:
            at = self._positions(codes) - self._column(Column.ROLLED)
            codes = codes.gather(1, at.remainder(codes.shape[1]))
        if "inversion" in self.used:
            codes = self._invert(codes)
        if self.mutations:
            codes = self._mutate(codes)
        return codes

    def noisy(self, x: Tensor) -> Tensor:
        """Add Gaussian noise to the one-hot inputs x (n, 4, length) of the sequences that were chosen for it."""
        if "noise" not in self.used:
            return x
        n, channels, length = x.shape
        bits = self._bits(_NOISE, channels * length // 2)
        # Box & Muller (1958): two uniform numbers, here of 24 bits each, give two normal ones.
        first = ((bits >> 40 & 0xFFFFFF).to(x.dtype) + 0.5) / 2**24
        angle = (bits >> 8 & 0xFFFFFF).to(x.dtype) * (2 * math.pi / 2**24)
        radius = (-2.0 * first.log()).sqrt()
        normal = torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1).view(n, channels, length)
        return x + normal * (self._column(Column.NOISY) * self.noise).to(x.dtype)[:, :, None]

    def _column(self, column: Column) -> Tensor:
        """Values of a column : (n, 1)."""
        return self.table[:, int(column), None]

    @staticmethod
    def _positions(codes: Tensor) -> Tensor:
        return torch.arange(codes.shape[1], device=codes.device)

    def _bits(self, stream: int, count: int) -> Tensor:
        """Hash (seed, stream, position) to 64 random bits each : (n, count)."""
        places = torch.arange(count, device=self.table.device) + (stream << 32)
        return _mix(self._column(Column.SEED) + places * _signed(0x9E3779B97F4A7C15))

    def _bases(self, stream: int, count: int) -> Tensor:
        """Random bases, each with probability one quarter : (n, count), uint8."""
        return (self._bits(stream, count) >> 62 & 3).to(torch.uint8)

    def _insert(self, codes: Tensor) -> Tensor:
        length = codes.shape[1]
        size, place = self._column(Column.INSERTED), self._column(Column.INSERT_AT)
        at = self._positions(codes) + self._column(Column.CROPPED)
        source = torch.where(at < place, at, at - size).clamp(0, length - 1)
        new = (at >= place) & (at < place + size)
        return torch.where(new, self._bases(_INSERT, length), codes.gather(1, source))

    def _delete(self, codes: Tensor) -> Tensor:
        length = codes.shape[1]
        size, place = self._column(Column.DELETED), self._column(Column.DELETE_AT)
        at = self._positions(codes) - size // 2
        source = torch.where(at < place, at, at + size)
        new = (source < 0) | (source >= length)
        return torch.where(new, self._bases(_DELETE, length), codes.gather(1, source.clamp(0, length - 1)))

    def _invert(self, codes: Tensor) -> Tensor:
        size, place = self._column(Column.INVERTED), self._column(Column.INVERT_AT)
        at = self._positions(codes)
        inside = (at >= place) & (at < place + size)
        mirrored = torch.where(inside, 2 * place + size - 1 - at, at)
        bases = codes.gather(1, mirrored)
        return torch.where(inside & (bases < N_CODE), 3 - bases, bases)

    def _mutate(self, codes: Tensor) -> Tensor:
        length = codes.shape[1]
        scores = self._bits(_WHERE, length)
        last = scores.kthvalue(self.mutations, dim=1, keepdim=True).values
        hit = (scores <= last) & (self._column(Column.MUTATED) > 0) & (codes < N_CODE)
        return torch.where(hit, self._bases(_MUTATE, length), codes)


def _fill(
    table: np.ndarray, name: str, strength: float, chosen: np.ndarray, length: int, generator: np.random.Generator
) -> None:
    """Draw what one transform does to the sequences that were chosen for it."""
    n = len(table)
    longest = min(int(strength), length)
    size = generator.integers(0, longest + 1, size=n) * chosen
    if name == "reverse_complement":
        table[:, Column.REVERSE] = chosen & (generator.random(n) < strength)
    elif name == "insertion":
        table[:, Column.INSERTED] = size
        table[:, Column.INSERT_AT] = generator.integers(0, length, size=n)
        table[:, Column.CROPPED] = generator.integers(0, size + 1)
    elif name == "translocation":
        table[:, Column.ROLLED] = size * generator.choice([-1, 1], size=n)
    elif name in ("deletion", "inversion"):
        first = Column.DELETED if name == "deletion" else Column.INVERTED
        table[:, first] = size
        # As published: a segment begins where the longest one would still fit.
        table[:, first + 1] = generator.integers(0, length - longest + 1, size=n)
    else:
        table[:, Column.MUTATED if name == "mutation" else Column.NOISY] = chosen


def _signed(bits: int) -> int:
    """Return the int64 with these 64 bits."""
    return bits - 2**64 if bits >= 2**63 else bits


def _mix(z: Tensor) -> Tensor:
    """The finaliser of SplitMix64 (Steele, Lea & Flood 2014); multiplication wraps around in int64."""
    z = (z ^ (z >> 30 & (1 << 34) - 1)) * _signed(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> 27 & (1 << 37) - 1)) * _signed(0x94D049BB133111EB)
    return z ^ (z >> 31 & (1 << 33) - 1)
