"""`Model` and `Ensemble`: trained networks that take sequences in any common form; `attribute` for any network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from tuner.errors import DataError, ModelError, unknown
from tuner.genome.sequence import N_CODE, Codes, encode
from tuner.interpret import attribution
from tuner.interpret.attribution import Attribution
from tuner.models.ensemble import predicted
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


class _Explained:
    """What `Model` and `Ensemble` share: one function that is predicted and explained."""

    tasks: tuple[str, ...]
    length: int

    @property
    def function(self) -> nn.Module:
        """The torch module whose logits `predict` returns and `attribute` explains."""
        raise TypeError(f"{type(self).__name__} does not say what it predicts.")  # pragma: no cover

    def attribute(
        self, sequences: Sequences, method: str = "deep_shap", *, task: int | str = 0, **options: Any
    ) -> Attribution:
        """Compute what each base contributes to a prediction.

        What is explained is what `predict` returns: if that averages both strands, so do the contributions, and
        those of the reverse complement of a sequence are the same, turned.

        Parameters
        ----------
        sequences : str, sequence of str, or array
            As for `predict`; the contributions are given on the strand that is passed.
        method : str
            ``deep_shap``, ``saliency``, ``mutagenesis``, ``integrated_gradients`` or ``integrated_gradients_complete``.
        task : int or str
            The output to attribute.
        options
            As for `tuner.attribute`.

        Returns
        -------
        Attribution
            Of several models it also holds the agreement of their own contributions (`consensus`).
        """
        if isinstance(task, str):
            if task not in self.tasks:
                raise ModelError(unknown("task", task, self.tasks))
            task = self.tasks.index(task)
        return attribute(self.function, self._codes(sequences), method, task=task, **options)

    def _codes(self, sequences: Sequences) -> Codes:
        codes = to_codes(sequences)
        if len(codes) and codes.shape[1] != self.length:
            raise ModelError(f"sequences of {codes.shape[1]} bp; this model takes sequences of {self.length} bp.")
        return codes.reshape(len(codes), self.length)


@dataclass(frozen=True, eq=False)
class Model(_Explained):
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
        convert = _converter(output)
        return convert(
            predict(self.module, self._codes(sequences), device=device, average_strands=self.average_strands)
        )

    @property
    def function(self) -> nn.Module:
        """The torch module whose logits `predict` returns: the network on the given strand, or its mean over both."""
        return predicted([self.module], self.average_strands)

    def __repr__(self) -> str:
        n = sum(p.numel() for p in self.module.parameters() if p.requires_grad)
        return f"Model({self.length} bp -> {', '.join(self.tasks)}; {n:,} parameters)"


@dataclass(frozen=True, eq=False)
class Ensemble(_Explained):
    """Trained networks of the same tasks; their mean logit is the prediction.

    Parameters
    ----------
    models : tuple of Model
        The networks; at least one.

    Raises
    ------
    ModelError
        If there is no model, or the models have different tasks or lengths.
    """

    models: tuple[Model, ...]

    def __post_init__(self) -> None:
        if not self.models:
            raise ModelError("an ensemble needs at least one model; none was given.")
        kinds = {(model.length, model.tasks) for model in self.models}
        if len(kinds) > 1:
            words = "; ".join(f"{length} bp -> {', '.join(tasks)}" for length, tasks in sorted(kinds))
            raise ModelError(f"models of different tasks or lengths have no mean: {words}.")

    @property
    def tasks(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of the outputs."""
        return self.models[0].tasks

    @property
    def length(self) -> int:  # type: ignore[override]
        """Length of the sequences, bp."""
        return self.models[0].length

    @property
    def function(self) -> nn.Module:
        """The torch module whose logits `predict` returns: the mean over the models, each as it predicts."""
        return predicted([m.module for m in self.models], [m.average_strands for m in self.models])

    def predict(self, sequences: Sequences, *, output: str = "logit", device: str = "cpu") -> npt.NDArray[np.float32]:
        """Predict binding by the mean logit of the models; parameters, returns and errors as for `Model.predict`.

        A probability is that of the mean logit.
        """
        convert = _converter(output)
        each = [model.predict(sequences, device=device) for model in self.models]
        return convert(np.asarray(np.mean(each, axis=0, dtype=np.float64), dtype=np.float32))

    def __repr__(self) -> str:
        return f"Ensemble({len(self.models)} models; {self.length} bp -> {', '.join(self.tasks)})"


def _converter(output: str) -> Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]:
    """Return what turns logits into an output."""
    if output not in OUTPUTS:
        raise ModelError(unknown("output", output, OUTPUTS))
    if output == "logit":
        return lambda logits: logits
    return lambda logits: np.asarray(1.0 / (1.0 + np.exp(-logits.astype(np.float64))), dtype=np.float32)


def attribute(
    network: nn.Module | Model | Ensemble,
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
    network : torch.nn.Module, Model or Ensemble
        Maps (n, 4, length) one-hot to (n, n_tasks) logits; not modified. A torch module is read on the given strand;
        of a `Model` or an `Ensemble` what it predicts is explained, so both strands where it averages them.
    sequences : str, sequence of str, or array
        As for `to_codes`; the contributions are given on this strand.
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
    module = network.function if isinstance(network, Model | Ensemble) else network
    return attribution.attribute(
        method, module, to_codes(sequences), output=output, task=task, references=references, seed=seed, device=device
    )
