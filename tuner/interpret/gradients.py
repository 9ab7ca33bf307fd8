"""Saliency and integrated gradients."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tuner.genome.sequence import Codes
from tuner.interpret.target import FloatArray, Target

KOO_STEPS = 20
"""Number of points between reference and sequence, at 0, .05, ... .95 (Koo & Ploenzke 2021, published code)."""
COMPLETE_STEPS = 100
"""Number of midpoints of the path. Max pools and ReLUs make the gradient jump, so the error falls only as 1 / steps."""


def _gradient(target: Target, x: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        return torch.autograd.grad(target(x).sum(), x)[0]


def saliency(target: Target, codes: Codes, references: Codes, batch: int) -> FloatArray:
    """Compute the gradient of the output with respect to the one-hot sequence (Simonyan et al. 2013).

    Parameters
    ----------
    target : Target
    codes : numpy.ndarray, shape=(n, length), uint8
    references : numpy.ndarray
        Not used.
    batch : int
        Sequences at a time.

    Returns
    -------
    numpy.ndarray, shape=(n, 4, length), float32
    """
    parts = [_gradient(target, target.encode(codes[i : i + batch])) for i in range(0, len(codes), batch)]
    return torch.cat(parts).float().cpu().numpy()


def _path(target: Target, codes: Codes, references: Codes, alphas: Tensor, batch: int) -> list[Tensor]:
    """Mean gradient on the line from each reference to its sequence; shape=(n_references, 4, length) per sequence."""
    n, n_references = references.shape[:2]
    pairs = [(i, k) for i in range(n) for k in range(n_references)]
    step = max(1, batch // len(alphas))
    parts = []
    for start in range(0, len(pairs), step):
        rows, which = np.transpose(pairs[start : start + step])
        x, origin = target.encode(codes[rows]), target.encode(references[rows, which])
        # (pairs, 1, length, 4) + (steps, 1, 1) * ... : channels stay adjacent in memory.
        x, origin = x.transpose(1, 2).unsqueeze(1), origin.transpose(1, 2).unsqueeze(1)
        points = (origin + alphas[:, None, None] * (x - origin)).flatten(0, 1)  # (pairs * steps, length, 4)
        gradient = _gradient(target, points.transpose(1, 2))
        parts.append(gradient.reshape(len(rows), len(alphas), *gradient.shape[1:]).mean(dim=1))
    return list(torch.split(torch.cat(parts), n_references))


def integrated_gradients(target: Target, codes: Codes, references: Codes, batch: int) -> FloatArray:
    """Compute the mean gradient between references and sequence, as Koo & Ploenzke (2021) do.

    The points lie at 0, .05, ... .95 of the path, and the factor (sequence - reference) is omitted, so the result
    multiplied by the one-hot sequence does not add up to a difference of outputs.

    Parameters
    ----------
    target : Target
    codes : numpy.ndarray, shape=(n, length), uint8
    references : numpy.ndarray, shape=(n, n_references, length), uint8
    batch : int
        Points at a time.

    Returns
    -------
    numpy.ndarray, shape=(n, 4, length), float32
    """
    alphas = torch.arange(KOO_STEPS, dtype=target.dtype, device=target.place) / KOO_STEPS
    means = _path(target, codes, references, alphas, batch)
    return torch.stack([mean.mean(dim=0) for mean in means]).float().cpu().numpy()


def complete_integrated_gradients(target: Target, codes: Codes, references: Codes, batch: int) -> FloatArray:
    """Compute integrated gradients (Sundararajan et al. 2017) with the midpoint rule, as hypothetical contributions.

    Parameters and return value as for :func:`integrated_gradients`; see :func:`project`.
    """
    alphas = (torch.arange(COMPLETE_STEPS, dtype=target.dtype, device=target.place) + 0.5) / COMPLETE_STEPS
    means = _path(target, codes, references, alphas, batch)
    parts = [project(mean, target.encode(own)) for mean, own in zip(means, references, strict=True)]
    return torch.stack(parts).float().cpu().numpy()


def project(multipliers: Tensor, references: Tensor) -> Tensor:
    """Turn multipliers into hypothetical contributions: what each base would contribute at each position.

    Base b replaces the reference's base, so it contributes the multiplier of b minus that of the reference's base, as
    in tangermeme and DeepLIFT. For the observed base this is its contribution.

    Parameters
    ----------
    multipliers : torch.Tensor, shape=(n_references, 4, length)
        Multiplier of each base, per reference.
    references : torch.Tensor, shape=(n_references, 4, length)
        One-hot.

    Returns
    -------
    torch.Tensor, shape=(4, length)
        Mean over references.
    """
    return (multipliers - (multipliers * references).sum(dim=1, keepdim=True)).mean(dim=0)
