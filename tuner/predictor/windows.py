"""Sequences of any length: shorter ones are padded, longer ones are read in windows, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from tuner.data.lengths import fit_length
from tuner.data.stream import Sequence
from tuner.errors import UsageError
from tuner.genome.sequence import Codes

BATCH: Final = 1024  # windows that are predicted at once; a multiple of the batches that networks take
OVERLAP: Final = 4  # windows of a longer sequence start a quarter of their length apart

FloatArray = npt.NDArray[np.float64]


class Scored(NamedTuple):
    """Predictions for one sequence.

    Attributes
    ----------
    id : str
        Of the sequence.
    length : int, bp
        Of the whole sequence.
    windows : int
        How many windows it was read in; 1 where it is not longer than the model's input.
    logits : numpy.ndarray, shape=(members, n_tasks), float64
        Of every network, in the window with the highest mean logit of the task.
    mean : numpy.ndarray, shape=(n_tasks,), float64
        Mean over the windows of the networks' mean logit.
    start : numpy.ndarray, shape=(n_tasks,), int64
        Where the window with the highest logit begins, from 0.
    """

    id: str
    length: int
    windows: int
    logits: FloatArray
    mean: FloatArray
    start: npt.NDArray[np.int64]


def starts_of(sequence: int, length: int, stride: int) -> list[int]:
    """Where the windows of a sequence begin; the last one ends where the sequence ends.

    Parameters
    ----------
    sequence : int, bp
        Length of the sequence.
    length : int, bp
        Length of a window.
    stride : int, bp
        From one window to the next.
    """
    last = sequence - length
    if last <= 0:
        return [0]
    starts = list(range(0, last + 1, stride))
    return starts if starts[-1] == last else [*starts, last]


class _Open:
    """A sequence whose windows are being predicted."""

    def __init__(self, sequence: Sequence, windows: int) -> None:
        self.id, self.length, self.windows, self.left = sequence.id, len(sequence.codes), windows, windows
        self.best: FloatArray | None = None  # (members, n_tasks)
        self.start = np.zeros(0, dtype=np.int64)
        self.total = np.zeros(0)

    def add(self, start: int, logits: FloatArray) -> None:
        """Take the logits of one window, shape=(members, n_tasks)."""
        mean = logits.mean(axis=0)
        self.left -= 1
        if self.best is None:
            self.best, self.total, self.start = logits.copy(), mean, np.full(len(mean), start, dtype=np.int64)
            return
        self.total = self.total + mean
        higher = mean > self.best.mean(axis=0)
        self.best[:, higher] = logits[:, higher]
        self.start[higher] = start

    def scored(self) -> Scored:
        assert self.best is not None
        return Scored(self.id, self.length, self.windows, self.best, self.total / self.windows, self.start)


def score_sequences(
    sequences: Iterable[Sequence],
    predict: Callable[[Codes], npt.NDArray[np.float32]],
    length: int,
    stride: int | None = None,
    batch: int = BATCH,
) -> Iterator[list[Scored]]:
    """Predict sequences of any length, one batch of windows after the other.

    Parameters
    ----------
    sequences : iterable of Sequence
        One at a time is taken.
    predict : callable
        Codes, shape=(n, length) -> logits, shape=(members, n, n_tasks).
    length : int, bp
        Of a window. A shorter sequence gets N on both sides, as a data set that is padded does.
    stride : int, optional, bp
        From one window of a longer sequence to the next; by default a quarter of `length`.
    batch : int
        Windows that are predicted at once.

    Yields
    ------
    list of Scored
        What has been finished by a batch, in the order of the sequences.

    Raises
    ------
    UsageError
        The stride is not between 1 and `length`.
    """
    step = max(length // OVERLAP, 1) if stride is None else stride
    if not 1 <= step <= length:
        raise UsageError(f"a stride of {step} bp; expected 1 to {length}, the length of the model's input.")
    waiting: deque[_Open] = deque()
    rows: list[tuple[_Open, int, Codes]] = []
    for sequence in sequences:
        starts = starts_of(len(sequence.codes), length, step)
        one = _Open(sequence, len(starts))
        waiting.append(one)
        for start in starts:
            window = sequence.codes[start : start + length]
            rows.append((one, start, window if len(window) == length else fit_length(window, length)))
            if len(rows) == batch:
                yield _finish(rows, waiting, predict)
    if rows:
        yield _finish(rows, waiting, predict)


def _finish(
    rows: list[tuple[_Open, int, Codes]], waiting: deque[_Open], predict: Callable[[Codes], npt.NDArray[np.float32]]
) -> list[Scored]:
    """Predict the windows that have been collected, and take away the sequences that have no more."""
    logits = predict(np.stack([window for _, _, window in rows])).astype(np.float64)
    for i, (one, start, _) in enumerate(rows):
        one.add(start, logits[:, i])
    rows.clear()
    done = []
    while waiting and not waiting[0].left:
        done.append(waiting.popleft().scored())
    return done
