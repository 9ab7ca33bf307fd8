"""Predictions for some sequences, and sequences in the forms that people hold them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from collections.abc import Sequence as Many
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from tuner.data.stream import Sequence
from tuner.errors import DataError
from tuner.genome.sequence import N_CODE, Codes, decode, encode_one
from tuner.predictor.reference import FloatArray

Progress = Callable[[int], None]
"""Called with the number of bytes of the input that have been read so far."""

SCORES: Final = ("logit", "sd", "probability", "negatives_percentile", "positives_percentile", "mean_logit", "start")
"""Columns of each task; `docs/predictor.md` says what each is."""


class Block(NamedTuple):
    """Predictions for some sequences.

    Attributes
    ----------
    ids : list of str
        Of the sequences.
    lengths, windows : list of int
        Bases, and windows that were read, of each sequence.
    scores : dict of str to numpy.ndarray, shape=(n, n_tasks)
        A column for each of `SCORES`.
    """

    ids: list[str]
    lengths: list[int]
    windows: list[int]
    scores: dict[str, npt.NDArray[Any]]


def cells_of(block: Block) -> list[Any]:
    """Columns of a block, in the order of `Predictor.columns`."""
    tasks = block.scores["logit"].shape[1]
    return [
        block.ids, block.lengths, block.windows, *(block.scores[name][:, i] for i in range(tasks) for name in SCORES)
    ]  # fmt: skip


def records_of(sequences: Any) -> Iterator[Sequence]:
    """Sequences in any of the forms of `Predictor.predict`; raises DataError for what is none of them."""
    if isinstance(sequences, str):
        sequences = [sequences]
    array = sequences if isinstance(sequences, np.ndarray) else None
    if array is not None and array.dtype == np.uint8 and array.ndim == 2:
        if array.size and array.max() > N_CODE:
            raise DataError("codes are whole numbers: 0, 1, 2, 3 for A, C, G, T and 4 for N.")
        yield from (Sequence(str(i), row) for i, row in enumerate(array))
        return
    if not isinstance(sequences, Iterable) or (array is not None and array.ndim != 1):
        raise DataError("expected text, a sequence of texts, or codes of shape (n, length), uint8.")
    for i, one in enumerate(sequences):
        if not isinstance(one, str):
            raise DataError(f"sequence {i} is of type {type(one).__name__}; expected text.")
        if not one:
            raise DataError(f"sequence {i} is empty.")
        yield Sequence(str(i), encode_one(one, f"sequence {i}"))


def example_of(codes: Codes, ids: Many[str] | None, logits: FloatArray, count: int = 8) -> tuple[tuple[str, str], ...]:
    """Choose sequences whose scores are evenly spaced in rank, from the lowest to the highest.

    Parameters
    ----------
    codes : numpy.ndarray, shape=(n, length), uint8
        To choose from.
    ids : sequence of str, optional
        Their names.
    logits : numpy.ndarray, shape=(n,)
        Their scores.
    count : int
        How many.
    """
    order = np.argsort(logits, kind="stable")
    rows = np.unique(order[np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)])
    rows = rows[np.argsort(logits[rows], kind="stable")]
    names = [
        f"example{i + 1}" if ids is None else "".join(ids[r].split()[:1]) or f"example{i + 1}"
        for i, r in enumerate(rows)
    ]
    return tuple(zip(names, decode(codes[rows]), strict=True))
