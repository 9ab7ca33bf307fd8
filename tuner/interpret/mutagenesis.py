"""In-silico mutagenesis: what the output does when one base becomes another."""

from __future__ import annotations

import numpy as np
import torch

from tuner.data.sequence import N_CODE, Codes
from tuner.interpret.target import FloatArray, Target


def mutagenesis(target: Target, codes: Codes, references: Codes, batch: int) -> FloatArray:
    """Output of every single-base mutant minus the output of the sequence (Alipanahi et al. 2015).

    Parameters
    ----------
    target : Target
    codes : numpy.ndarray, shape=(n, length), uint8
    references : numpy.ndarray
        Not used.
    batch : int
        Mutants at a time.

    Returns
    -------
    numpy.ndarray, shape=(n, 4, length), float32
        0 at the base that is there, and at all four where that is N.
    """
    n, length = codes.shape
    known = codes != N_CODE
    mutable = codes[:, None, :] != np.arange(4, dtype=np.uint8)[:, None]  # (n, 4, length)
    sequence, base, position = np.nonzero(mutable & known[:, None, :])
    effects = torch.zeros((n, 4, length), dtype=target.dtype)
    with torch.inference_mode():
        before = torch.from_numpy(target.values(codes, batch)).to(target.dtype)
        for start in range(0, len(sequence), batch):
            part = slice(start, start + batch)
            mutants = codes[sequence[part]]
            mutants[np.arange(len(mutants)), position[part]] = base[part]
            after = target(target.encode(mutants))[:, 0].cpu()
            effects[sequence[part], base[part], position[part]] = after - before[sequence[part]]
    return effects.float().numpy()
