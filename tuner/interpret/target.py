"""The output that is attributed: one task's logit or probability, computed by a copy of the network."""

from __future__ import annotations

import copy

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from tuner.errors import AttributionError, unknown
from tuner.genome.sequence import N_CODE, Codes, one_hot
from tuner.models.prediction import resolve_device

FloatArray = npt.NDArray[np.float32]

OUTPUTS = {"logit": nn.Identity, "probability": nn.Sigmoid}
"""Output that can be attributed -> the module that computes it from a logit.

A probability saturates: its gradients vanish for sequences with a confident prediction, so the two outputs rank bases
differently.
"""


class Target(nn.Module):
    """One output of one task, as a network with a single output.

    The network is copied: hooks, precision, device and training mode of the original stay as they are.

    Parameters
    ----------
    network : torch.nn.Module
        Maps (n, 4, length) one-hot to (n, n_tasks) logits.
    output : str
        A key of :data:`OUTPUTS`.
    task : int
        Index of the logit.
    device : str or torch.device
        As for :func:`~tuner.models.prediction.resolve_device`.
    dtype : torch.dtype
        Type of weights and inputs.

    Raises
    ------
    AttributionError
        If the output is unknown.
    DeviceError
        If the device does not exist.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        output: str = "logit",
        task: int = 0,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        if output not in OUTPUTS:
            raise AttributionError(unknown("output", output, OUTPUTS))
        place = resolve_device(device) if isinstance(device, str) else device
        self.network = copy.deepcopy(network)
        self.final = OUTPUTS[output]()
        self.task, self.place, self.dtype = task, place, dtype
        self.to(place, dtype).eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, 4, length) to (n, 1)."""
        out: Tensor = self.final(self.network(x)[:, self.task : self.task + 1])
        return out

    def encode(self, codes: Codes) -> Tensor:
        """Encode as one-hot, shape=(n, 4, length), on the network's device and in its precision."""
        return one_hot(torch.from_numpy(np.ascontiguousarray(codes)).to(self.place), self.dtype)

    def values(self, codes: Codes, batch: int = 256) -> npt.NDArray[np.float64]:
        """Compute the outputs, shape=(n,), of sequences, shape=(n, length)."""
        with torch.inference_mode():
            parts = [self(self.encode(codes[i : i + batch]))[:, 0] for i in range(0, len(codes), batch)]
        return torch.cat(parts).double().cpu().numpy()


def precise(device: torch.device) -> torch.dtype:
    """Return float64 if the device supports it, else float32 (Apple's GPUs)."""
    return torch.float32 if device.type == "mps" else torch.float64


def check_codes(network: nn.Module, codes: Codes, task: int) -> None:
    """Refuse sequences that do not fit the network, and tasks that it does not have.

    Raises
    ------
    AttributionError
        With what was found and what was expected.
    """
    if codes.ndim != 2 or not len(codes) or codes.dtype != np.uint8:
        raise AttributionError(
            f"sequences have shape {codes.shape} and type {codes.dtype}; expected (n, length) uint8 codes, n >= 1."
        )
    if codes.max() > N_CODE:
        raise AttributionError(f"codes hold {codes.max()}; expected 0..3 for A, C, G, T and 4 for N.")
    length = getattr(network, "length", codes.shape[1])
    if codes.shape[1] != length:
        raise AttributionError(f"sequences of {codes.shape[1]} bp do not fit a network for {length} bp.")
    n_tasks = getattr(network, "n_tasks", task + 1)
    if not 0 <= task < n_tasks:
        raise AttributionError(f"task {task} does not exist: the network has {n_tasks}. Count from 0.")
