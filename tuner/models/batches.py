"""The order in which an epoch shows the training sequences, and their augmentation."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from tuner.genome.sequence import N_CODE
from tuner.models.augmentation import Transforms
from tuner.models.balance import Rows, balanced_rows
from tuner.models.prediction import flip_strand
from tuner.models.recipe import Recipe


def epoch_seed(seed: int, epoch: int) -> int:
    """Mix a run's seed and an epoch number into 64 bits that no other pair shares in practice."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0])


def batch_bounds(n: int, size: int) -> list[tuple[int, int]]:
    """First index and end of each batch of n sequences; a last batch of one sequence is added to the one before it.

    Batch norm in dense layers cannot compute the variance of a single sequence.
    """
    starts = list(range(0, n, size))
    if len(starts) > 1 and n - starts[-1] == 1:
        starts.pop()
    return list(zip(starts, [*starts[1:], n], strict=True))


class EpochOrder(NamedTuple):
    """The random choices of one epoch or batch, for the training sequences in the order they are shown."""

    rows: torch.Tensor  # (n,) int64, indices of the sequences
    reversed: torch.Tensor  # (n,) bool, whether the other strand is shown
    shift: torch.Tensor | None  # (n, 1) int64, number of positions to the right
    noise: float = 0.0  # standard deviation of the noise on the inputs
    generator: torch.Generator | None = None  # draws the noise; separate, so that dropout's draws stay the same
    transforms: Transforms | None = None

    @classmethod
    def draw(
        cls,
        n: int,
        recipe: Recipe,
        seed: int,
        device: torch.device,
        *,
        length: int = 0,
        groups: tuple[Rows, ...] = (),
        finetune: bool = False,
    ) -> EpochOrder:
        """Choose order, strands, shifts and transforms of n sequences; a function of the seed alone.

        Parameters
        ----------
        n : int
            Number of sequences.
        recipe : Recipe
            What is drawn.
        seed : int
            Seed of the epoch.
        device : torch.device
            Where the choices are kept.
        length : int, bp
            Length of the sequences, for transforms.
        groups : tuple of np.ndarray
            Rows of each class, for balanced batches; see `tuner.models.balance`.
        finetune : bool
            Leave the sequences unaltered, except for the strand.
        """
        generator = np.random.default_rng(seed)
        rows = generator.permutation(n)
        # Both are always drawn, so that switching one augmentation off does not change the draws of the other.
        flipped = generator.random(n) < 0.5
        shift = generator.integers(-recipe.shift, recipe.shift + 1, size=n)
        flipped &= recipe.reverse_complement
        if recipe.balanced_batches:
            rows = balanced_rows(groups, n, np.random.default_rng(epoch_seed(seed, 2)))
        if finetune:
            shift[:] = 0
        noise = 0.0 if finetune else recipe.input_noise
        transforms = Transforms.draw(n, length, recipe, epoch_seed(seed, 1), unaltered=finetune)
        return cls(
            torch.from_numpy(rows).to(device),
            torch.from_numpy(flipped).to(device),
            torch.from_numpy(shift)[:, None].to(device) if recipe.shift else None,
            noise,
            torch.Generator(device).manual_seed(epoch_seed(seed, 0)) if noise else None,
            None if transforms is None else transforms._replace(table=transforms.table.to(device)),
        )

    def part(self, first: int, last: int) -> EpochOrder:
        """Return the choices for a batch: the sequences from `first` to before `last`."""
        return self._replace(
            rows=self.rows[first:last],
            reversed=self.reversed[first:last],
            shift=None if self.shift is None else self.shift[first:last],
            transforms=self._transforms(lambda table: table[first:last]),
        )

    def clone(self) -> EpochOrder:
        """Return a copy that shares no memory with this one."""
        shift = None if self.shift is None else self.shift.clone()
        return self._replace(
            rows=self.rows.clone(),
            reversed=self.reversed.clone(),
            shift=shift,
            transforms=self._transforms(torch.Tensor.clone),
        )

    def copy(self, other: EpochOrder) -> None:
        """Copy the choices of another batch into this one's memory."""
        self.rows.copy_(other.rows)
        self.reversed.copy_(other.reversed)
        if self.shift is not None and other.shift is not None:
            self.shift.copy_(other.shift)
        if self.transforms is not None and other.transforms is not None:
            self.transforms.table.copy_(other.transforms.table)

    def _transforms(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Transforms | None:
        """Return the transforms with another table."""
        return None if self.transforms is None else self.transforms._replace(table=change(self.transforms.table))

    def take(self, codes: torch.Tensor) -> torch.Tensor:
        """Select the codes of these sequences from those of all sequences, and augment them: (n, length).

        Nothing here waits for a GPU, so that it can be recorded in a CUDA graph.
        """
        batch = codes.index_select(0, self.rows)
        # Computed for each batch: storing the other strand would double the memory for the codes in every worker.
        batch = torch.where(self.reversed[:, None], flip_strand(batch), batch)
        if self.shift is not None:
            length = batch.shape[1]
            source = torch.arange(length, device=batch.device) - self.shift
            outside = (source < 0) | (source >= length)
            batch = batch.gather(1, source.clamp(0, length - 1)).masked_fill(outside, N_CODE)
        return batch if self.transforms is None else self.transforms.apply(batch)

    def noisy(self, x: torch.Tensor) -> torch.Tensor:
        """Add the noise of transforms to the one-hot inputs of a batch, then input noise, clipping them to [0, 1].

        Each call continues the generator's sequence, so batches must be processed in order.
        """
        if self.transforms is not None:
            x = self.transforms.noisy(x)
        if self.generator is None:
            return x
        noise = torch.randn(x.shape, generator=self.generator, device=x.device, dtype=x.dtype)
        return (x + self.noise * noise).clamp(0.0, 1.0)
