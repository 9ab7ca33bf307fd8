"""`Predictor`: the winner of a study in use, from sequences to calibrated probabilities."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tuner.data.stream import Sequence, stream_sequences
from tuner.errors import ModelError
from tuner.genome.sequence import Codes
from tuner.models.calibration import Calibration
from tuner.models.prediction import resolve_device
from tuner.predictor.blocks import SCORES, Block, cells_of, records_of
from tuner.predictor.ensemble import Ensemble, Member, member_logits
from tuner.predictor.reference import Reference
from tuner.predictor.uses import Uses
from tuner.predictor.windows import BATCH, Scored, score_sequences

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Predictor(Uses):
    """An ensemble of trained networks that says how likely sequences are bound.

    Parameters
    ----------
    members : tuple of Member
        The networks.
    tasks : tuple of str
        Names of the labels.
    length : int, bp
        Of the networks' input.
    calibration : Calibration
        From mean logits to probabilities.
    references : tuple of Reference
        Of each task: validation scores and thresholds.
    example : tuple of (str, str)
        Ids and sequences to try it with.
    files : mapping of str to bytes
        Files that are saved with it: the matched filters of its first layers.
    about : mapping of str to any
        Where it comes from, in values that JSON has: study, data, scores, versions.
    """

    members: tuple[Member, ...]
    tasks: tuple[str, ...]
    length: int
    calibration: Calibration
    references: tuple[Reference, ...]
    example: tuple[tuple[str, str], ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.members:
            raise ModelError("a predictor needs at least one trained network.")
        shapes = {(m.network.length, m.network.n_tasks) for m in self.members}
        if shapes != {(self.length, len(self.tasks))}:
            raise ModelError(
                f"networks for (length, tasks) {sorted(shapes)}; expected {(self.length, len(self.tasks))} for all."
            )
        if not len(self.tasks) == len(self.references) == len(self.calibration.slope):
            raise ModelError("calibration, validation scores and tasks differ in number.")

    @cached_property
    def module(self) -> Ensemble:
        """One torch module of all networks: (n, 4, length) one-hot, rows A, C, G, T -> (n, n_tasks) mean logits."""
        return Ensemble(self.members)

    # ------------------------------------------------------------------ predictions

    def predict(self, sequences: Any, *, device: str = "cpu", stride: int | None = None) -> pd.DataFrame:
        """Predict binding.

        Parameters
        ----------
        sequences : str, sequence of str, or numpy.ndarray, shape=(n, any length), uint8
            Text of any length; or codes, A, C, G, T = 0..3 and N = 4.
        device : str
            ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        stride : int, optional, bp
            From one window of a longer sequence to the next; by default a quarter of the model's input.

        Returns
        -------
        pandas.DataFrame
            One row per sequence, in their order and with the index of a Series; columns of `columns`, but the id.

        Raises
        ------
        DataError, DeviceError, UsageError
            A character is not a nucleotide, there is no such device, or the stride is out of its range.
        """
        table = self._frame(self.blocks(records_of(sequences), device=device, stride=stride)).drop(columns="id")
        index = getattr(sequences, "index", None)
        if index is not None and not callable(index) and len(index) == len(table):
            table.index = index
        return table

    def predict_fasta(self, path: str | Path, *, device: str = "cpu", stride: int | None = None) -> pd.DataFrame:
        """Predict the sequences of a FASTA file, plain or compressed; arguments and errors as in `predict`.

        Returns
        -------
        pandas.DataFrame
            One row per sequence, in their order; columns of `columns`.
        """
        return self._frame(self.blocks(stream_sequences(path, form="fasta"), device=device, stride=stride))

    def predict_table(
        self, path: str | Path, *, sequence_column: str | None = None, device: str = "cpu", stride: int | None = None
    ) -> pd.DataFrame:
        """Predict the sequences of a table, plain or compressed, as `predict_fasta` does.

        Parameters
        ----------
        path : str or Path
            Separated by tabs, commas or semicolons, with a header line.
        sequence_column : str, optional
            By default the column called sequence, seq or seqs.
        device, stride
            As for `predict`.
        """
        found = stream_sequences(path, form="table", sequence_column=sequence_column)
        return self._frame(self.blocks(found, device=device, stride=stride))

    def blocks(
        self, sequences: Iterable[Sequence], *, device: str = "cpu", stride: int | None = None, batch: int = BATCH
    ) -> Iterator[Block]:
        """Predict sequences one batch after the other, in bounded memory; arguments and errors as in `predict`."""
        place = resolve_device(device)

        def logits(codes: Codes) -> npt.NDArray[np.float32]:
            return member_logits(self.members, codes, place)

        for scored in score_sequences(sequences, logits, self.length, stride, batch):
            if scored:
                yield self._block(scored)

    def logits(self, codes: Codes, *, device: str = "cpu") -> npt.NDArray[np.float32]:
        """Logits of every network, shape=(members, n, n_tasks), of codes, shape=(n, length), uint8."""
        if codes.ndim != 2 or codes.shape[1] != self.length:
            raise ModelError(f"codes of shape {codes.shape}; expected (n, {self.length}).")
        return member_logits(self.members, codes, resolve_device(device))

    @property
    def columns(self) -> list[str]:
        """Names of the columns of predictions; those of `SCORES` end with the task where there are several."""
        ends = [""] if len(self.tasks) == 1 else [f"_{task}" for task in self.tasks]
        return ["id", "length", "windows", *(name + end for end in ends for name in SCORES)]

    def _block(self, scored: list[Scored]) -> Block:
        each = np.stack([one.logits for one in scored])  # (n, members, n_tasks)
        mean = each.mean(axis=1)
        spread = each.std(axis=1, ddof=1) if len(self.members) > 1 else np.full_like(mean, np.nan)
        sides = [reference.percentiles(mean[:, i]) for i, reference in enumerate(self.references)]
        scores = {
            "logit": mean,
            "sd": spread,
            "probability": np.asarray(self.calibration.probability(mean)).reshape(mean.shape),
            "negatives_percentile": np.stack([low for low, _ in sides], axis=1),
            "positives_percentile": np.stack([high for _, high in sides], axis=1),
            "mean_logit": np.stack([one.mean for one in scored]),
            "start": np.stack([one.start for one in scored]),
        }
        return Block([s.id for s in scored], [s.length for s in scored], [s.windows for s in scored], scores)

    def _frame(self, blocks: Iterable[Block]) -> pd.DataFrame:
        import pandas as pd

        parts = [pd.DataFrame(dict(zip(self.columns, cells_of(block), strict=True))) for block in blocks]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=self.columns)

    # ------------------------------------------------------------------ explanations

    # ------------------------------------------------------------------ what it is

    @property
    def thresholds(self) -> pd.DataFrame:
        """One row per task and false-positive rate: logit, calibrated probability, and recall on validation."""
        import pandas as pd

        return pd.DataFrame(threshold_rows(self)).set_index(["task", "false_positive_rate"])

    def motifs(self) -> pd.DataFrame:
        """One row per first-layer filter that matches a known motif: model, filter, target, p and E."""
        import io

        import pandas as pd

        from tuner.results.trial_table import unquoted

        text = self.files.get("matches.tsv", b"")
        if not text:
            return pd.DataFrame(columns=["model", "filter", "target"])
        table = pd.read_csv(io.BytesIO(text), sep="\t")
        for column in ("target", "target_name", "family", "strand"):
            table[column] = [unquoted(cell) if isinstance(cell, str) else cell for cell in table[column]]
        return table

    def save(self, folder: str | Path, *, onnx: bool = False, force: bool = False) -> Path:
        """Write a folder that `tuner.load_model` reads, and from which anybody can predict.

        Parameters
        ----------
        folder : str or Path
            Appears whole or not at all.
        onnx : bool
            Also write the ensemble as one ONNX graph, and a script that needs numpy and onnxruntime only.
        force : bool
            Replace a model that is there already.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        UsageError
            The folder exists, or the packages of the extra ``export`` are missing.
        ModelError
            The graph gives other values than torch.
        OSError
            It cannot be written.
        """
        from tuner.predictor.folder import save_predictor

        return save_predictor(self, Path(os.path.expanduser(folder)), onnx=onnx, force=force)

    def __repr__(self) -> str:
        n = sum(m.parameters for m in self.members)
        networks = "1 network" if len(self.members) == 1 else f"{len(self.members)} networks"
        return f"Predictor({networks}, {n:,} parameters; {self.length} bp -> {', '.join(self.tasks)})"

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self))}</p>{self.thresholds.to_html(na_rep='', float_format='{:.4g}'.format)}"


def threshold_rows(predictor: Predictor) -> list[dict[str, Any]]:
    """Thresholds of every task with their calibrated probabilities, as plain values."""
    rows = []
    for i, (task, reference) in enumerate(zip(predictor.tasks, predictor.references, strict=True)):
        for limit in reference.thresholds:
            chance = None
            if limit.logit is not None:
                whole = np.zeros(len(predictor.tasks))
                whole[i] = limit.logit
                chance = float(np.atleast_1d(predictor.calibration.probability(whole))[i])
            rows.append({
                "task": task, "false_positive_rate": limit.rate, "logit": limit.logit, "probability": chance,
                "recall": limit.recall,
            })  # fmt: skip
    return rows
