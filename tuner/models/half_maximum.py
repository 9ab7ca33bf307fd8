"""Windows around the positions where a filter exceeds a fraction of its maximum; Koo & Ploenzke 2021, Methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tuner.errors import ModelError
from tuner.genome.sequence import Codes, one_hot
from tuner.models.first_layer import evaluating
from tuner.models.network import Network

WINDOW = 20  # bp, as in the publication, whose filters are 19 bp wide


class Windows(NamedTuple):
    """Base counts over all windows of each filter.

    Attributes
    ----------
    counts : np.ndarray, shape=(n_shares, n_filters, 4, 20), float64
        How often each base occurs in each column of the windows.
    sites : np.ndarray, shape=(n_shares, n_filters), int64
        Number of windows.
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
    """Count bases in windows centred on every position above a fraction of the filter's maximum.

    Parameters
    ----------
    model : Network
        The network, used in evaluation mode.
    codes : np.ndarray, shape=(n_sequences, length), uint8
        A, C, G, T = 0..3, N = 4.
    shares : sequence of float
        Thresholds as fractions of the maximum over all sequences and positions; the publication uses .5.
    device : str or torch.device
        Device of the computation.
    batch : int
        Sequences per forward pass.

    Returns
    -------
    Windows
        A window with centre p is [p - 10, p + 10). It is counted if it begins after the first base of the sequence and
        ends before the last one, as in the publication.

    Raises
    ------
    ModelError
        If the sequences have another length than the network's, or are too short for a window.
    """
    if codes.ndim != 2 or not len(codes) or codes.shape[1] != model.length or model.length < WINDOW + 2:
        raise ModelError(
            f"sequences of shape {codes.shape} do not fit a network for {model.length} bp and windows of {WINDOW} bp; "
            f"expected (n, {model.length}), with n of 1 or more and a length of {WINDOW + 2} bp or more."
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
    """Count the bases in each column of the windows: for every column a matrix product of sites and sequences."""
    n, n_filters, width = above.shape
    sites = above.transpose(0, 1).reshape(n_filters, n * width)
    columns = [
        sites @ x[:, :, start + j : start + j + width].transpose(1, 2).reshape(n * width, 4) for j in range(WINDOW)
    ]
    return torch.stack(columns, dim=2)  # (n_filters, 4, WINDOW)
