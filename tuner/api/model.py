"""`Model`: a trained network that takes sequences in any common form, and `attribute` for any network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from tuner.data.sequence import N_CODE, Codes, encode
from tuner.errors import DataError, ModelError, unknown
from tuner.interpret import attribution
from tuner.interpret.attribution import Attribution
from tuner.models.network import Network
from tuner.models.prediction import predict

OUTPUTS = ("logit", "probability")

Sequences = str | Sequence[str] | npt.NDArray[Any]


def to_codes(sequences: Any) -> Codes:
    """Convert sequences given in any of the usual forms to codes.

    Parameters
    ----------
    sequences : str, sequence of str, or array
        Text; or codes, shape=(n, length), A, C, G, T = 0..3 and N = 4; or one-hot, shape=(n, 4, length), N all zeros.

    Returns
    -------
    numpy.ndarray, shape=(n, length), uint8

    Raises
    ------
    DataError
        The sequences are in none of these forms, differ in length, or contain a letter that is not a nucleotide code.
    """
    if isinstance(sequences, str):
        sequences = [sequences]
    if isinstance(sequences, Sequence) and all(isinstance(one, str) for one in sequences):
        return encode(sequences)
    array = np.asarray(sequences)
    if array.dtype.kind in "UO" and array.ndim == 1 and all(isinstance(one, str) for one in array):
        return encode([str(one) for one in array])
    if array.dtype.kind not in "buif":
        raise DataError(f"sequences are of type {array.dtype}; expected text, codes or one-hot.")
    if array.ndim == 3 and array.shape[1] == 4:
        return _from_one_hot(array)
    if array.ndim == 3 and array.shape[2] == 4:
        raise DataError(f"one-hot sequences have shape {array.shape}; expected (n, 4, length). Transpose axes 1 and 2.")
    if array.ndim != 2:
        raise DataError(
            f"sequences have shape {array.shape}; expected text, codes (n, length) or one-hot (n, 4, length)."
        )
    if array.dtype.kind == "f" or (array.size and not (array.min() >= 0 and array.max() <= N_CODE)):
        raise DataError("codes are whole numbers: 0, 1, 2, 3 for A, C, G, T and 4 for N.")
    return np.ascontiguousarray(array, dtype=np.uint8)


def _from_one_hot(array: npt.NDArray[Any]) -> Codes:
    if not (((array == 0) | (array == 1)).all() and (array.sum(axis=1) <= 1).all()):
        raise DataError("a one-hot sequence has a single 1 at each position, or none for N; this one has other values.")
    codes: Codes = array.argmax(axis=1).astype(np.uint8)
    codes[~array.any(axis=1)] = N_CODE  # (n, 4, length) -> (n, length)
    return codes


@dataclass(frozen=True, eq=False)
class Model:
    """A trained network.

    Parameters
    ----------
    module : Network
        The torch module: maps (n, 4, length) float32 one-hot to (n, n_tasks) logits.
    tasks : tuple of str
        Names of its outputs.
    length : int, bp
        Length of the sequences that it was trained on; it accepts no others.
    average_strands : bool
        Whether its predictions are the mean over both strands.
    """

    module: Network
    tasks: tuple[str, ...]
    length: int
    average_strands: bool

    def predict(self, sequences: Sequences, *, output: str = "logit", device: str = "cpu") -> npt.NDArray[np.float32]:
        """Predict binding.

        Parameters
        ----------
        sequences : str, sequence of str, or array
            As for `to_codes`; all of the length that the model was trained for.
        output : str
            ``"logit"``, the natural log-odds, or ``"probability"``.
        device : str
            ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.

        Returns
        -------
        numpy.ndarray, shape=(n, n_tasks), float32

        Raises
        ------
        DataError, ModelError, DeviceError
            The model cannot take the sequences, or the device does not exist.
        """
        if output not in OUTPUTS:
            raise ModelError(unknown("output", output, OUTPUTS))
        logits = predict(self.module, self._codes(sequences), device=device, average_strands=self.average_strands)
        if output == "logit":
            return logits
        return np.asarray(1.0 / (1.0 + np.exp(-logits.astype(np.float64))), dtype=np.float32)

    def attribute(
        self, sequences: Sequences, method: str = "deep_shap", *, task: int | str = 0, **options: Any
    ) -> Attribution:
        """Compute what each base contributes to a prediction.

        Parameters
        ----------
        sequences : str, sequence of str, or array
            As for `predict`; one strand, as given.
        method : str
            ``deep_shap``, ``saliency``, ``mutagenesis``, ``integrated_gradients`` or ``integrated_gradients_complete``.
        task : int or str
            The output to attribute.
        options
            As for `tuner.attribute`.
        """
        if isinstance(task, str):
            if task not in self.tasks:
                raise ModelError(unknown("task", task, self.tasks))
            task = self.tasks.index(task)
        return attribute(self.module, self._codes(sequences), method, task=task, **options)

    def _codes(self, sequences: Sequences) -> Codes:
        codes = to_codes(sequences)
        if len(codes) and codes.shape[1] != self.length:
            raise ModelError(f"sequences of {codes.shape[1]} bp; this model takes sequences of {self.length} bp.")
        return codes.reshape(len(codes), self.length)

    def __repr__(self) -> str:
        n = sum(p.numel() for p in self.module.parameters() if p.requires_grad)
        return f"Model({self.length} bp -> {', '.join(self.tasks)}; {n:,} parameters)"


def attribute(
    network: nn.Module | Model,
    sequences: Sequences,
    method: str = "deep_shap",
    *,
    output: str = "logit",
    task: int = 0,
    references: int | npt.NDArray[np.uint8] = 10,
    seed: int = 0,
    device: str = "cpu",
) -> Attribution:
    """Attribute one output of a network to the bases of sequences.

    Parameters
    ----------
    network : torch.nn.Module or Model
        Maps (n, 4, length) one-hot to (n, n_tasks) logits; not modified.
    sequences : str, sequence of str, or array
        As for `to_codes`; one strand, as given.
    method : str
        ``deep_shap``, ``saliency``, ``mutagenesis``, ``integrated_gradients`` or ``integrated_gradients_complete``.
    output : str
        ``"logit"`` or ``"probability"``.
    task : int
        The output to attribute.
    references : int or numpy.ndarray, shape=(n, n_references, length), uint8
        Number of dinucleotide-shuffled references to make, or the references to use.
    seed : int
        Seed of the shuffling.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.

    Returns
    -------
    Attribution
        Its `contributions` and `effects` are float32 arrays of shape (n, 4, length).

    Raises
    ------
    AttributionError, DataError, DeviceError
        The attribution cannot be computed; says why.
    """
    module = network.module if isinstance(network, Model) else network
    return attribution.attribute(
        method, module, to_codes(sequences), output=output, task=task, references=references, seed=seed, device=device
    )
