"""In-silico mutagenesis: the change of the output when one base is replaced by another."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tuner.genome.sequence import N_CODE, Codes
from tuner.interpret.target import FloatArray, Target
from tuner.interpret.windows import missing_rule, mutant_outputs

WINDOWS = 4
"""Factor by which `batch` grows for windows, which are shorter than sequences."""


def mutagenesis_engine(target: Target) -> str:
    """Say how the mutants of a network are computed, and why if not by windows."""
    layer = missing_rule(target.network)
    return f"whole sequences, as no window is known for {layer}" if layer else "windows"


def mutagenesis(
    target: Target, codes: Codes, references: Codes, batch: int, *, where: NDArray[np.bool_] | None = None
) -> FloatArray:
    """Compute the output of every single-base mutant minus the output of the sequence (Alipanahi et al. 2015).

    If :mod:`tuner.interpret.windows` supports all layers of the network, only the positions that a mutation reaches are
    computed; otherwise every mutant passes through the network as a whole.

    Parameters
    ----------
    target : Target
    codes : numpy.ndarray, shape=(n, length), uint8
    references : numpy.ndarray
        Not used.
    batch : int
        Mutants at a time that are computed as whole sequences.
    where : numpy.ndarray, shape=(n, length), bool, optional
        Which positions are mutated; by default all.

    Returns
    -------
    numpy.ndarray, shape=(n, 4, length), float32
        0 at the observed base, and at all four bases where the sequence is N or is not mutated.
    """
    outputs = _whole if missing_rule(target.network) else _windows
    chosen = codes != N_CODE if where is None else where & (codes != N_CODE)
    with torch.inference_mode():
        before = torch.from_numpy(target.values(codes, batch)).to(target.dtype)
        effects = [outputs(target, row, own, batch) for row, own in zip(codes, chosen, strict=True)]
    known = torch.from_numpy(codes[:, None, :] != np.arange(N_CODE, dtype=np.uint8)[:, None])
    known &= torch.from_numpy(chosen)[:, None, :]
    found = torch.zeros(len(codes), N_CODE, codes.shape[1], dtype=target.dtype)
    found[known] = torch.cat(effects).cpu() - before.repeat_interleave(known.sum(dim=(1, 2)))
    return found.float().numpy()


def _mutations(codes: Codes, chosen: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return new base and position of every mutant of one sequence, ordered by base, then position."""
    other = (codes != np.arange(N_CODE, dtype=np.uint8)[:, None]) & chosen  # (4, length)
    base, position = np.nonzero(other)
    return base, position


def _windows(target: Target, codes: Codes, chosen: NDArray[np.bool_], batch: int) -> Tensor:
    base, position = _mutations(codes, chosen)
    step = batch * WINDOWS
    parts = [
        mutant_outputs(target, codes, base[i : i + step], position[i : i + step]) for i in range(0, len(base), step)
    ]
    return torch.cat([torch.empty(0, dtype=target.dtype, device=target.place), *parts])


def _whole(target: Target, codes: Codes, chosen: NDArray[np.bool_], batch: int) -> Tensor:
    base, position = _mutations(codes, chosen)
    parts = [torch.empty(0, dtype=target.dtype, device=target.place)]
    for i in range(0, len(base), batch):
        part = slice(i, i + batch)
        mutants = np.tile(codes, (len(base[part]), 1))
        mutants[np.arange(len(mutants)), position[part]] = base[part]
        parts.append(target(target.encode(mutants))[:, 0])
    return torch.cat(parts)
