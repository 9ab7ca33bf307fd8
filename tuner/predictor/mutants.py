"""Logits of sequences that differ from a reference in one base: of all single mutants, and of chosen ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from tuner.errors import ModelError
from tuner.genome.sequence import N_CODE, Codes, reverse_complement
from tuner.interpret.target import Target
from tuner.interpret.windows import Windows, missing_rule, step
from tuner.models.layers import channels_last
from tuner.models.prediction import exact_kernels, resolve_device
from tuner.predictor.ensemble import Member, member_logits
from tuner.predictor.predictor import Predictor

FloatArray = npt.NDArray[np.float32]

MUTANTS = 1024
"""Mutants whose windows are computed at once."""


def ism_logits(predictor: Predictor, codes: Codes, device: str | torch.device = "cpu") -> FloatArray:
    """Logits of every single-base mutant of sequences.

    Only the positions that a mutation reaches are computed where every layer of a network has a rule for that
    (`tuner.interpret.windows`); otherwise every mutant passes through the network as a whole.

    Parameters
    ----------
    predictor : Predictor
    codes : numpy.ndarray, shape=(n, length), uint8
        A, C, G, T = 0..3, N = 4.
    device : str or torch.device
        ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.

    Returns
    -------
    numpy.ndarray, shape=(members, n, 4, length, n_tasks), float32
        Entry [m, i, b, p] is network m's logit of sequence i with base b at position p: at the base that is there,
        that of the sequence itself.

    Raises
    ------
    ModelError
        The sequences do not have the length of the model's input.
    DeviceError
        There is no such device.
    """
    if codes.ndim != 2 or codes.shape[1] != predictor.length:
        raise ModelError(f"codes of shape {codes.shape}; expected (n, {predictor.length}).")
    return saturated(predictor.members, codes, device)


def saturated(members: Sequence[Member], codes: Codes, device: str | torch.device = "cpu") -> FloatArray:
    """As `ism_logits`, for networks without a predictor."""
    place = resolve_device(device) if isinstance(device, str) else device
    return np.stack([_saturated(member, codes, place) for member in members])


def mutant_logits(
    members: Sequence[Member],
    codes: Codes,
    row: npt.NDArray[np.integer],
    position: npt.NDArray[np.integer],
    base: npt.NDArray[np.integer],
    device: str | torch.device = "cpu",
) -> FloatArray:
    """Logits of chosen single-base mutants.

    Parameters
    ----------
    members : sequence of Member
    codes : numpy.ndarray, shape=(n, length), uint8
        The sequences.
    row, position, base : numpy.ndarray, shape=(mutants,)
        Which sequence, where, and the new base: 0..3 for A, C, G, T, or 4 for N.
    device : str or torch.device
        As for `ism_logits`.

    Returns
    -------
    numpy.ndarray, shape=(members, mutants, n_tasks), float32
    """
    mutants = codes[row]
    mutants[np.arange(len(mutants)), position] = base
    return member_logits(members, mutants, device)


def _saturated(member: Member, codes: Codes, place: torch.device) -> FloatArray:
    """Logits of one network, shape=(n, 4, length, n_tasks)."""
    whole = member_logits([member], codes, place)[0]  # (n, n_tasks)
    found = np.repeat(np.repeat(whole[:, None, None], N_CODE, 1), codes.shape[1], 2)
    changed = codes[:, None, :] != np.arange(N_CODE, dtype=np.uint8)[:, None]  # (n, 4, length)
    if missing_rule(member.network):
        for i, row in enumerate(codes):
            base, position = np.nonzero(changed[i])
            rows = np.zeros(len(base), dtype=np.intp)
            found[i, base, position] = mutant_logits([member], row[None], rows, position, base, place)[0]
        return found
    target = Target(member.network, device=place)
    with torch.inference_mode(), exact_kernels(place):
        for i, row in enumerate(codes):
            base, position = np.nonzero(changed[i])
            logits = _windows(target, row, base, position)
            if member.average_strands:
                other = reverse_complement(row[None])[0]
                logits = (logits + _windows(target, other, 3 - base, len(row) - 1 - position)) / 2
            found[i, base, position] = logits.cpu().numpy()
    return found


def _windows(target: Target, row: Codes, base: npt.NDArray[np.intp], position: npt.NDArray[np.intp]) -> torch.Tensor:
    """Logits of mutants of one strand, shape=(mutants, n_tasks)."""
    whole = channels_last(target.encode(row[None]))
    parts = []
    for i in range(0, len(base), MUTANTS):
        start = torch.from_numpy(position[i : i + MUTANTS].astype(np.int64)).to(target.place)
        values = target.encode(base[i : i + MUTANTS].astype(np.uint8)[:, None])  # (mutants, 4, 1)
        out = step(target.network, Windows(whole, start, values))
        assert isinstance(out, torch.Tensor)
        parts.append(out)
    return torch.cat(parts)
