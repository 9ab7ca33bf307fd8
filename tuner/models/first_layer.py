"""First layer: where its filters respond most, and how much the logits depend on each of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from tuner.errors import ModelError
from tuner.genome.sequence import Codes, one_hot
from tuner.models import compiled
from tuner.models.activations import ACTIVATIONS
from tuner.models.network import Network
from tuner.motifs.filters import FilterScan


@contextmanager
def evaluating(model: Network, device: str | torch.device) -> Iterator[torch.device]:
    """Put the model on `device` in evaluation mode without gradients, and restore its training mode afterwards."""
    target = torch.device(device)
    training = model.training
    model.to(target).eval()
    try:
        # Results do not depend on the precision in which the caller trains.
        with torch.inference_mode(), torch.autocast(target.type, enabled=False):
            yield target
    finally:
        model.train(training)


def scan_filters(model: Network, codes: Codes, device: str | torch.device = "cpu", batch: int = 128) -> FilterScan:
    """Find each filter's best position in each sequence, on the given strand only.

    Parameters
    ----------
    model : Network
        Trained or not. Batch norm uses its running statistics, dropout is off.
    codes : np.ndarray, shape=(n_sequences, length), uint8
        A, C, G, T = 0..3, N = 4.
    device : str or torch.device
        Device of the computation; the model stays there.
    batch : int
        Sequences per forward pass.

    Returns
    -------
    FilterScan
        The best position has the highest activation; among equal activations (zeros of a ReLU, a saturated
        sigmoid) the highest pre-activation; among equal pre-activations it is the leftmost. Only those positions count
        whose window of kernel_size + 1 bases, which begins one base before the receptive field, lies inside the
        sequence. `floor` is taken over the same positions.

    Raises
    ------
    ModelError
        If the sequences have another length than the model's, or are too short for any window.
    """
    kernel_size = int(model.first_convolution.kernel_size[0])
    length = _check_length(model, codes)
    # Position p reads [p - offset, p - offset + kernel_size); the window begins one base earlier.
    first, stop = model.offset + 1, model.offset + length - kernel_size + 1
    if first >= stop:
        raise ModelError(
            f"sequences of {length} bp have no room for a window of kernel_size + 1 = {kernel_size + 1}. "
            f"Use a kernel_size below {length}."
        )
    values, inputs, positions, floors = [], [], [], []
    activation, monotone = model.first_activation, ACTIVATIONS[model.plan.activation].monotone
    layers = model.first_convolution, model.first_batch_norm
    with evaluating(model, device) as target:
        for start in range(0, len(codes), batch):
            rows = torch.from_numpy(np.ascontiguousarray(codes[start : start + batch])).to(target)
            if monotone and (found := compiled.highest(*layers, rows, first, stop)):
                inputs.append(found[0])
                values.append(activation(found[0]))
                positions.append(found[1])
                floors.append(activation(found[2]))
                continue
            x = one_hot(rows)
            before = model.preactivate(x)[:, :, first:stop].contiguous()  # (n, n_filters, positions)
            if monotone:  # then the highest pre-activation has the highest activation
                position = before.argmax(dim=2, keepdim=True)
                floors.append(activation(before.amin(dim=(0, 2))))
            else:
                after = activation(before)
                best = after.amax(dim=2, keepdim=True)
                position = before.masked_fill(after < best, -torch.inf).argmax(dim=2, keepdim=True)
                floors.append(after.amin(dim=(0, 2)))
            inputs.append(before.gather(2, position).squeeze(2))
            values.append(activation(inputs[-1]))
            positions.append(position.squeeze(2) + first)
    if not values:
        raise ModelError("no sequences to scan.")
    return FilterScan(
        torch.cat(values).cpu().numpy(),
        torch.cat(inputs).cpu().numpy(),
        torch.cat(positions).cpu().numpy(),
        torch.stack(floors).amin(dim=0).cpu().numpy(),
    )


def ablation_effects(model: Network, codes: Codes, device: str | torch.device = "cpu", batch: int = 128) -> np.ndarray:
    """Measure how much the logits change when a filter is switched off.

    Parameters
    ----------
    model : Network
        A trained network.
    codes : np.ndarray, shape=(n_sequences, length), uint8
        A few hundred sequences: each filter and sequence costs one forward pass through the deeper layers.
    device, batch
        As in :func:`scan_filters`.

    Returns
    -------
    np.ndarray, shape=(n_filters,), float32
        Mean absolute difference of the logits over sequences and tasks when the filter's activation map is
        replaced everywhere by its mean over all sequences and positions.
    """
    _check_length(model, codes)
    if not len(codes):
        raise ModelError("no sequences to measure ablation on.")
    with evaluating(model, device) as target:
        tensor = torch.from_numpy(np.ascontiguousarray(codes)).to(target)
        maps = [model.head(one_hot(chunk)) for chunk in torch.split(tensor, batch)]
        n_filters = maps[0].shape[1]
        total = torch.stack([h.double().sum(dim=(0, 2)) for h in maps]).sum(dim=0)
        mean = (total / (len(codes) * maps[0].shape[2])).float()
        effects = torch.zeros(n_filters, dtype=torch.float64, device=target)
        for h in maps:
            logits = model.tail(h)
            for index in range(n_filters):
                effects[index] += _without(model, h, index, mean[index]).sub_(logits).abs().sum()
        return (effects / (len(codes) * model.n_tasks)).float().cpu().numpy()


def _without(model: Network, h: Tensor, index: int, value: Tensor) -> Tensor:
    """Logits with one channel of the map replaced by a constant; the map is restored afterwards."""
    kept = h[:, index].clone()
    h[:, index] = value
    logits = model.tail(h)
    h[:, index] = kept
    return logits


def _check_length(model: Network, codes: Codes) -> int:
    if codes.ndim != 2 or codes.shape[1] != model.length:
        raise ModelError(
            f"sequences of shape {codes.shape} do not fit a network for {model.length} bp; "
            f"expected (n, {model.length})."
        )
    return int(codes.shape[1])
