"""Where a network runs, and its logits for sequences: always float32, so that scores are comparable."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from tuner.errors import DeviceError, ModelError, unknown
from tuner.genome.sequence import N_CODE, one_hot
from tuner.models.strands import CONJOIN


def resolve_device(name: str) -> torch.device:
    """Turn a device name into a device that exists here.

    Parameters
    ----------
    name : str
        ``"auto"`` (the first CUDA device, else the CPU), ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"``.

    Raises
    ------
    DeviceError
        If there is no such device; names those there are.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    here = ["cpu", *(f"cuda:{i}" for i in range(gpus))]
    if torch.backends.mps.is_available():
        here.append("mps")
    wanted = ("cuda:0" if gpus else "cpu") if name == "auto" else "cuda:0" if name == "cuda" else name
    if wanted not in here:
        raise DeviceError(f"no device {name!r} here; there is: auto, {', '.join(here)}.")
    return torch.device(wanted)


@contextmanager
def exact_kernels(device: torch.device) -> Iterator[None]:
    """Have cuDNN choose repeatable algorithms in full float32 precision; does nothing on a CPU."""
    if device.type != "cuda":
        yield
        return
    matmul = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = matmul


def flip_strand(codes: torch.Tensor) -> torch.Tensor:
    """Reverse-complement codes on whatever device they are.

    Parameters
    ----------
    codes : torch.Tensor, shape=(n, length), uint8
        A, C, G, T = 0..3, N = 4; N stays N.
    """
    other = codes.flip(1)
    return torch.where(other < N_CODE, 3 - other, other)


def predict(
    model: nn.Module,
    codes: npt.NDArray[np.uint8],
    *,
    device: str | torch.device = "cpu",
    average_strands: bool = True,
    conjoin: str = "logit",
    batch: int | None = None,
) -> npt.NDArray[np.float32]:
    """Compute the logits of sequences.

    Parameters
    ----------
    model : torch.nn.Module
        Maps (n, 4, length) float32 to (n, n_tasks) logits. It is moved to `device`, and its training mode is
        as before when this returns.
    codes : numpy.ndarray, shape=(n, length), uint8
        A, C, G, T = 0..3, N = 4.
    device : str or torch.device
        As `resolve_device` takes it.
    average_strands : bool
        Join the predictions of a sequence and of its reverse complement.
    conjoin : str
        What is averaged then: ``"logit"``, or ``"probability"`` as DeepDifE does.
    batch : int, optional
        Sequences per forward pass.

    Returns
    -------
    numpy.ndarray, shape=(n, n_tasks), float32
        Logits: natural log-odds of the positive class.

    Raises
    ------
    DeviceError
        If the device does not exist.
    ModelError
        If `conjoin` is unknown.
    """
    if conjoin not in CONJOIN:
        raise ModelError(unknown("value of conjoin", conjoin, CONJOIN))
    place = resolve_device(device) if isinstance(device, str) else device
    # 128 activation maps still fit a CPU's cache: half the time of 512 for a deep network.
    step = batch or (128 if place.type == "cpu" else 512)
    model.to(place)
    was_training = model.training
    model.eval()
    parts: list[torch.Tensor] = []
    try:
        with torch.no_grad(), exact_kernels(place):
            for start in range(0, max(len(codes), 1), step):
                rows = torch.from_numpy(np.ascontiguousarray(codes[start : start + step])).to(place)
                logits = model(one_hot(rows))
                if average_strands:
                    logits = CONJOIN[conjoin](logits, model(one_hot(flip_strand(rows))))
                parts.append(logits.float())
    finally:
        model.train(was_training)
    return torch.cat(parts).cpu().numpy()
