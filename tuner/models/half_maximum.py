"""Windows around the positions where a filter exceeds a share of its maximum; Koo & Ploenzke 2021, Methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tuner.data.sequence import Codes, one_hot
from tuner.errors import ModelError
from tuner.models.first_layer import evaluating
from tuner.models.network import Network

WINDOW = 20  # bp; published for kernels of 19


class Windows(NamedTuple):
    """Base counts of all windows of each filter.

    Attributes
    ----------
    counts : np.ndarray, shape=(n_shares, n_filters, 4, 20), float64
        Bases at each column.
    sites : np.ndarray, shape=(n_shares, n_filters), int64
        Windows counted.
    """

    counts: np.ndarray
    sites: np.ndarray


def half_maximum_windows(
    model: Network,
    codes: Codes,
    shares: Sequence[float] = (0.5,),
    device: str | torch.device = "cpu",
    batch: int = 128,
) -> Windows:
    """Count bases in windows centred on every position above a share of the filter's maximum.

    Parameters
    ----------
    model : Network
        In evaluation mode the first activation map is read before dropout.
    codes : np.ndarray, shape=(n_sequences, length), uint8
        A, C, G, T = 0..3, N = 4.
    shares : sequence of float
        Thresholds as shares of the maximum over all sequences and positions; published is .5.
    device : str or torch.device
        Where to compute.
    batch : int
        Sequences at a time.

    Returns
    -------
    Windows
        Window [p - 10, p + 10) of centre p, counted where it begins after the first base and ends before
        the last one (both ends exclusive, as published).

    Raises
    ------
    ModelError
        Sequences of another length than the network's, or shorter than a window.
    """
    if codes.ndim != 2 or not len(codes) or codes.shape[1] != model.length or model.length < WINDOW + 2:
        raise ModelError(
            f"sequences of shape {codes.shape} do not fit a network for {model.length} bp and windows of {WINDOW}."
        )
    length, kernel = model.length, int(model.first_convolution.kernel_size[0])
    half = WINDOW // 2
    shift = (kernel - 1) // 2 - model.offset  # centre = position + shift
    with evaluating(model, device) as target:
        tensor = torch.from_numpy(np.ascontiguousarray(codes)).to(target)
        chunks = torch.split(tensor, batch)
        peak = torch.stack([model.head(one_hot(chunk)).amax(dim=(0, 2)) for chunk in chunks]).amax(dim=0)
        n_filters = len(peak)
        counts = torch.zeros(len(shares), n_filters, 4, WINDOW, dtype=torch.float64)
        sites = torch.zeros(len(shares), n_filters, dtype=torch.int64)
        for chunk in chunks:
            x = one_hot(chunk)
            maps = model.head(x)  # (n, n_filters, positions)
            first, last = max(half + 1, shift), min(length - half - 1, maps.shape[2] - 1 + shift)  # centres
            inner = maps[:, :, first - shift : last + 1 - shift]
            for i, share in enumerate(shares):
                above = (inner > share * peak[:, None]).float()
                sites[i] += above.sum(dim=(0, 2)).long().cpu()
                counts[i] += _count(above, x, first - half).double().cpu()
    return Windows(counts.numpy(), sites.numpy())


def _count(above: Tensor, x: Tensor, start: int) -> Tensor:
    """Bases below each column of the windows: a product of sites and sequence for every offset."""
    n, n_filters, width = above.shape
    sites = above.transpose(0, 1).reshape(n_filters, n * width)
    columns = [
        sites @ x[:, :, start + j : start + j + width].transpose(1, 2).reshape(n * width, 4) for j in range(WINDOW)
    ]
    return torch.stack(columns, dim=2)  # (n_filters, 4, WINDOW)
