"""What is explained: sequences, or intervals of a genome, each as one window of the model's length.

A shorter sequence is padded with N on both sides, as for a prediction. Of a longer one the window with the highest
logit is taken, which is the one that its prediction comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from tuner import textfile
from tuner.data.lengths import fit_length
from tuner.data.stream import EXPECTED, stream_sequences
from tuner.errors import DataError, UsageError, unknown
from tuner.genome.named import NamedGenome
from tuner.genome.peaks import Peaks, read_peaks
from tuner.genome.sequence import Codes
from tuner.predictor.blocks import records_of
from tuner.predictor.windows import BATCH, OVERLAP, starts_of

if TYPE_CHECKING:
    from tuner.predictor.predictor import Predictor

Progress = Callable[[int], None]
"""Called with the number of sequences that are done."""

TOGETHER: Final = 16  # sequences that are explained at once


class Record(NamedTuple):
    """A sequence and where its first base is.

    Attributes
    ----------
    id : str
    chrom : str
        Chromosome as the input names it; empty for a sequence that is not an interval.
    start : int
        Position of the first base: on the chromosome, else 0.
    codes : numpy.ndarray, shape=(any length,), uint8
    """

    id: str
    chrom: str
    start: int
    codes: Codes


class Window(NamedTuple):
    """The part of a sequence that the model reads.

    Attributes
    ----------
    id, chrom : str
        As in `Record`.
    start : int
        Position of the first column; below that of the sequence where the sequence is padded.
    codes : numpy.ndarray, shape=(length,), uint8
    size : int, bp
        Of the whole sequence.
    columns : tuple of (int, int)
        The columns that are asked for, half-open.
    """

    id: str
    chrom: str
    start: int
    codes: Codes
    size: int
    columns: tuple[int, int]


class Positions(NamedTuple):
    """Bases of each sequence that are asked for, from 0, half-open."""

    start: int
    end: int

    @classmethod
    def parse(cls, text: str, length: int) -> Positions:
        """Read START-END; raises UsageError if it is no range, or longer than `length`, the model's input."""
        ends = [int(part) if part.isdecimal() and len(part) < 16 else -1 for part in text.split("-")]
        if len(ends) != 2 or not 0 <= ends[0] < ends[1]:
            raise UsageError(f"positions {text!r}; expected START-END, from 0 and without END, e.g. 80-120.")
        if ends[1] - ends[0] > length:
            raise UsageError(f"positions {text}: {ends[1] - ends[0]} bases; the model reads {length} at once.")
        return cls(*ends)


class Input:
    """Sequences of a file: FASTA, a table, or intervals of a genome.

    Parameters
    ----------
    path : Path
        FASTA or a table as for `tuner.data.stream.stream_sequences`; with a genome, intervals as for
        `tuner.genome.peaks.read_peaks`.
    length : int, bp
        Of the window around the summit, or the middle, of an interval.
    genome : NamedGenome, optional
        Of the intervals.
    sequence_column, max_memory
        As for `tuner.data.stream.stream_sequences`.

    Attributes
    ----------
    total : int or None
        How many sequences there are; None if it is a pipe.
    notes : tuple of str
        Decisions of the reader.

    Raises
    ------
    DataError, UsageError
        Nothing can be read; or, in a file, any of its sequences. So it is known before anything is computed.
    """

    def __init__(
        self,
        path: Path,
        length: int,
        genome: NamedGenome | None = None,
        *,
        sequence_column: str | None = None,
        max_memory: int | None = None,
    ) -> None:
        self.path, self.length, self.genome = path, length, genome
        self._column, self._memory = sequence_column, max_memory
        self.notes: tuple[str, ...] = ()
        self.total: int | None = None
        self._names: dict[str, str] = {}
        self._peaks: Peaks | None = None
        if genome is not None:
            self._open_intervals(genome)
        elif path.is_file():
            self.total = sum(1 for _ in self.records())

    def _open_intervals(self, genome: NamedGenome) -> None:
        if self._column is not None:
            raise UsageError("--sequence-column is for a table of sequences; with --genome, give intervals.")
        if self.path.is_file():
            with textfile.open_text(self.path, EXPECTED._replace(latin=True)) as text:
                if text.readline(1 << 20).lstrip().startswith(">"):
                    raise UsageError(f"{self.path}: it is FASTA, which needs no --genome.")
        peaks = read_peaks(self.path, self._memory)
        self.notes = peaks.notes
        self._names = genome.find(sorted(set(peaks.chrom.tolist())))
        known = np.array([name in self._names for name in peaks.chrom])
        if not known.any():
            have = ", ".join(list(genome.genome.sizes)[:3])
            raise DataError(
                f"{peaks.name}: none of its chromosomes is in {genome.genome.name}: it has "
                f"{peaks.chrom[0]}, ..., the genome {have}, ... Give the right genome, or a table with --aliases."
            )
        if not known.all():
            lost = ", ".join(sorted(set(peaks.chrom[~known].tolist()))[:5])
            self.notes += (
                f"{peaks.name}: {int((~known).sum())} of {len(peaks)} intervals are left out: {genome.genome.name} has "
                f"no {lost}.",
            )
        peaks = peaks.take(known)
        sizes = np.array([genome.genome.sizes[self._names[name]] for name in peaks.chrom.tolist()])
        outside = np.flatnonzero(peaks.centre >= sizes)
        if len(outside):
            i = int(outside[0])
            raise DataError(
                f"{peaks.where(i)} lies past the end of {peaks.chrom[i]} in {genome.genome.name} ({sizes[i]:,} bp). "
                "Give the genome that the intervals were made for."
            )
        self._peaks, self.total = peaks, len(peaks)

    @property
    def sizes(self) -> dict[str, int]:
        """Chromosome of an interval, as the input names it -> its size in bp."""
        return {name: self.genome.genome.sizes[own] for name, own in self._names.items()} if self.genome else {}

    def records(self) -> Iterator[Record]:
        """Read one sequence after the other; errors are those of the readers."""
        if self.genome is None or self._peaks is None:
            found = stream_sequences(self.path, sequence_column=self._column, max_memory=self._memory)
            yield from (Record(one.id, "", 0, one.codes) for one in found)
            return
        for chrom, centre in zip(self._peaks.chrom.tolist(), self._peaks.centre.tolist(), strict=True):
            start = centre - self.length // 2
            codes = self.genome.window(self._names[chrom], start, start + self.length)
            yield Record(f"{chrom}:{start}-{start + self.length}", chrom, start, codes)


def tasks_of(predictor: Predictor, task: str | None) -> list[int]:
    """Indices of the tasks that are explained: the named one, else all; raises UsageError for an unknown name."""
    if task is None:
        return list(range(len(predictor.tasks)))
    if task not in predictor.tasks:
        raise UsageError(unknown("task", task, predictor.tasks))
    return [predictor.tasks.index(task)]


def windows_of(
    predictor: Predictor, records: Iterable[Record], tasks: list[int], *, positions: Positions | None = None,
    device: str = "cpu",
) -> Iterator[list[Window]]:  # fmt: skip
    """Bring sequences to the model's length, some at a time.

    Parameters
    ----------
    predictor : Predictor
        Chooses the window of a longer sequence: that with the highest logit of any of the tasks, among windows a
        quarter of their length apart; with `positions`, among those that hold all of them.
    records : iterable of Record
        One at a time is taken.
    tasks : list of int
        Indices.
    positions : Positions, optional
        What is asked for of each sequence.
    device : str
        As for `Predictor.predict`.

    Raises
    ------
    DataError
        A sequence does not have the positions.
    """
    found: list[Window] = []
    for record in records:
        found.append(_window(predictor, record, tasks, positions, device))
        if len(found) == TOGETHER:
            yield found
            found = []
    if found:
        yield found


def _window(predictor: Predictor, record: Record, tasks: list[int], positions: Positions | None, device: str) -> Window:
    length, size = predictor.length, len(record.codes)
    if positions is not None and positions.end > size:
        raise DataError(f"{record.id} has {size} bases; positions {positions.start}-{positions.end} are not in it.")
    if size <= length:
        start, codes = -((length - size) // 2), fit_length(record.codes, length)
    else:
        starts = starts_of(size, length, max(length // OVERLAP, 1))
        if positions is not None:
            middle = (positions.start + positions.end - length) // 2
            starts = [s for s in starts if s <= positions.start and positions.end <= s + length]
            starts = starts or [min(max(middle, 0), size - length)]
        start = _best_start(predictor, record.codes, starts, tasks, device)
        codes = record.codes[start : start + length]
    low, high = (0, length) if positions is None else (positions.start - start, positions.end - start)
    return Window(record.id, record.chrom, record.start + start, codes, size, (low, high))


def _best_start(predictor: Predictor, codes: Codes, starts: list[int], tasks: list[int], device: str) -> int:
    if len(starts) == 1:
        return starts[0]
    best, found = -np.inf, starts[0]
    for i in range(0, len(starts), BATCH):
        some = starts[i : i + BATCH]
        rows = np.stack([codes[start : start + predictor.length] for start in some])
        logits = predictor.logits(rows, device=device).mean(axis=0, dtype=np.float64)[:, tasks].max(axis=1)
        if logits.max() > best:
            best, found = float(logits.max()), some[int(np.argmax(logits))]
    return found


def windows_in(predictor: Predictor, sequences: Any, tasks: list[int], device: str) -> Iterator[list[Window]]:
    """Windows of sequences in any of the forms that `Predictor.predict` takes."""
    records = (Record(one.id, "", 0, one.codes) for one in records_of(sequences))
    return windows_of(predictor, records, tasks, device=device)
