"""Scans a genome in windows: their scores, and a threshold that a stated share of shuffled windows reaches."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from tuner import __version__
from tuner.data.shuffle import dinucleotide_shuffle
from tuner.errors import DataError, UsageError, unknown
from tuner.files import replacing
from tuner.genome.genome import Genome
from tuner.genome.named import NamedGenome
from tuner.genome.peaks import read_peaks
from tuner.genome.sequence import N_CODE, Codes
from tuner.models.prediction import resolve_device
from tuner.predictor.windows import BATCH

if TYPE_CHECKING:
    from tuner.predictor.predictor import Predictor

FloatArray = npt.NDArray[np.float32]

STRIDE: Final = 25
"""From one window to the next, bp."""
RATE: Final = 1e-3
"""Share of shuffled windows that reach the threshold."""
MOST_N: Final = 0.1
"""Largest share of N in a window that is scored."""
_LEAST: Final = 10_000  # shuffled windows
_BEYOND: Final = 30  # of them that reach the threshold
_TRIES: Final = 20


class Span(NamedTuple):
    """A part of a chromosome that is scanned: name in the genome, start and end in bp."""

    chrom: str
    start: int
    end: int


class Threshold(NamedTuple):
    """What separates hits from the rest.

    Attributes
    ----------
    logit : float
        The lowest score of a hit.
    rate : float
        Share of shuffled windows that reach it.
    null : numpy.ndarray, float32, ascending
        Scores of all shuffled windows.
    """

    logit: float
    rate: float
    null: FloatArray

    def chance(self, logit: float) -> float:
        """Share of shuffled windows that score as high, counting this one."""
        above = len(self.null) - int(np.searchsorted(self.null, logit, side="left"))
        return (1 + above) / (1 + len(self.null))


def spans_of(genome: NamedGenome, length: int, regions: str | Path | None = None) -> list[Span]:
    """Say what is scanned: whole chromosomes, or regions, which are extended to the length of a window and merged.

    Parameters
    ----------
    genome : NamedGenome
    length : int, bp
        Of a window. Shorter chromosomes are left out.
    regions : str or Path, optional
        BED, narrowPeak or another file that `tuner.genome.peaks.read_peaks` reads.

    Raises
    ------
    DataError
        The regions cannot be read, are on chromosomes that the genome does not have, or reach past an end of one; or
        nothing is left to scan.
    """
    sizes = genome.genome.sizes
    if regions is None:
        spans = [Span(chrom, 0, size) for chrom, size in sizes.items() if size >= length]
        if not spans:
            raise DataError(f"{genome.genome.name}: no sequence has the {length} bp of the model's input.")
        return spans
    peaks = read_peaks(regions)
    found = genome.find(np.unique(peaks.chrom).tolist())
    ends: dict[str, list[tuple[int, int]]] = {}
    for i in range(len(peaks)):
        chrom = found.get(str(peaks.chrom[i]))
        if chrom is None:
            raise DataError(
                f"{peaks.where(i)}: {genome.genome.name} has no such chromosome; it has "
                f"{', '.join(list(sizes)[:3])}, ... Give the genome of the regions, or a table of names with --aliases."
            )
        start, end = int(peaks.start[i]), int(peaks.end[i])
        if end > sizes[chrom]:
            raise DataError(f"{peaks.where(i)} reaches past the end of {chrom}, which has {sizes[chrom]:,} bp.")
        if sizes[chrom] < length:
            continue
        if end - start < length:
            start = min(max((start + end - length) // 2, 0), sizes[chrom] - length)
            end = start + length
        ends.setdefault(chrom, []).append((start, end))
    spans = [Span(chrom, *one) for chrom in sizes if chrom in ends for one in _merged(sorted(ends[chrom]))]
    if not spans:
        raise DataError(f"{peaks.name}: no region lies on a chromosome of at least {length} bp.")
    return spans


def _merged(pairs: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    start, end = pairs[0]
    for low, high in pairs[1:]:
        if low > end:
            yield start, end
            start, end = low, high
        end = max(end, high)
    yield start, end


def starts_in(span: Span, length: int, stride: int) -> npt.NDArray[np.int64]:
    """Where the windows of a span begin."""
    return np.arange(span.start, span.end - length + 1, stride, dtype=np.int64)


def task_number(predictor: Predictor, task: str | None) -> int:
    """Number of a task by its name; raises UsageError if it is unknown, or if there are several and none is named."""
    if task is None and len(predictor.tasks) > 1:
        raise UsageError(f"the model has {len(predictor.tasks)} tasks; choose one: {', '.join(predictor.tasks)}.")
    if task is not None and task not in predictor.tasks:
        raise UsageError(unknown("task", task, predictor.tasks))
    return 0 if task is None else predictor.tasks.index(task)


def scan_span(
    predictor: Predictor,
    genome: Genome,
    span: Span,
    *,
    stride: int,
    task: int,
    device: str,
    progress: Callable[[int], None] | None = None,
) -> FloatArray:
    """Score the windows of a span.

    Returns
    -------
    numpy.ndarray, shape=(n,), float32
        Mean logit of the networks for each window of `starts_in`; NaN where more than a tenth is N.
    """
    length = predictor.length
    starts = starts_in(span, length, stride)
    scores = np.full(len(starts), np.nan, dtype=np.float32)
    for first in range(0, len(starts), BATCH):
        part = starts[first : first + BATCH]
        codes = genome.codes(span.chrom, int(part[0]), int(part[-1]) + length)
        windows = np.lib.stride_tricks.sliding_window_view(codes, length)[part - part[0]]
        known = (windows == N_CODE).mean(axis=1) <= MOST_N
        if known.any():
            logits = predictor.logits(np.ascontiguousarray(windows[known]), device=device)
            scores[first : first + len(part)][known] = logits[:, :, task].mean(axis=0)
        if progress is not None:
            progress(len(part))
    return scores


def check_rate(rate: float) -> None:
    """Refuse a rate that is not between 1e-5 and .5; raises UsageError."""
    if not 1e-5 <= rate <= 0.5:
        raise UsageError(f"a false-positive rate of {rate:g}; expected 1e-5 to 0.5.")


def check_stride(stride: int, length: int) -> None:
    """Refuse a stride that is longer than the model's input; raises UsageError."""
    if not 1 <= stride <= length:
        raise UsageError(f"a stride of {stride} bp; expected 1 to {length}, the model's input.")


def threshold_of(
    predictor: Predictor, genome: Genome, spans: Sequence[Span], rate: float, *, task: int, device: str, seed: int = 0
) -> Threshold:
    """Find the score that this share of shuffled windows reaches.

    The windows are drawn at random from what is scanned, so that they have its composition, and their dinucleotides are
    shuffled. At least 10,000 are drawn, and so many that 30 reach the threshold.

    Raises
    ------
    UsageError
        The rate is not between 1e-5 and .5.
    DataError
        What is scanned is N nearly everywhere.
    """
    check_rate(rate)
    wanted = max(_LEAST, math.ceil(_BEYOND / rate))
    rng = np.random.default_rng(seed)
    windows = _drawn(genome, spans, predictor.length, wanted, rng)
    shuffled = dinucleotide_shuffle(windows, seed=seed)
    parts = [
        predictor.logits(shuffled[i : i + BATCH], device=device)[:, :, task].mean(axis=0)
        for i in range(0, wanted, BATCH)
    ]
    null = np.sort(np.concatenate(parts).astype(np.float32))
    most = int(rate * wanted + 1e-9)
    logit = float(null[-most])
    return Threshold(logit, float((null >= logit).mean()), null)


def _drawn(genome: Genome, spans: Sequence[Span], length: int, wanted: int, rng: np.random.Generator) -> Codes:
    room = np.array([span.end - span.start - length + 1 for span in spans], dtype=float)
    windows: list[Codes] = []
    for _ in range(_TRIES * wanted):
        span = spans[int(rng.choice(len(spans), p=room / room.sum()))] if len(spans) > 1 else spans[0]
        start = span.start + int(rng.integers(span.end - span.start - length + 1))
        codes = genome.codes(span.chrom, start, start + length)
        if (codes == N_CODE).mean() <= MOST_N:
            windows.append(codes)
            if len(windows) == wanted:
                return np.stack(windows)
    raise DataError(
        f"{genome.name}: nearly all of what is scanned is N; of {_TRIES * wanted} windows {len(windows)} are not."
    )


class Scores:
    """Scores of all spans, kept in a folder so that an interrupted scan goes on where it stopped.

    Parameters
    ----------
    predictor, genome, spans, stride, task, device
        As for `scan_span`.
    folder : Path, optional
        Of finished spans; None keeps them in memory.

    Attributes
    ----------
    resumed : int
        Spans that an earlier, interrupted scan finished.
    anew : bool
        Whether spans of an interrupted scan with other settings were discarded.
    """

    def __init__(
        self, predictor: Predictor, genome: Genome, spans: Sequence[Span], *, stride: int, task: int, device: str,
        folder: Path | None = None,
    ) -> None:  # fmt: skip
        check_stride(stride, predictor.length)
        self._predictor, self._genome, self.spans, self.stride = predictor, genome, list(spans), stride
        self._task, self._device, self._folder = task, device, folder
        self._kept: dict[int, FloatArray] = {}
        self.resumed, self.anew = 0, False
        if folder is not None:
            self._begin(folder)

    def _begin(self, folder: Path) -> None:
        """Keep the folder of a scan of the same model, genome and settings; empty that of another one."""
        folder.mkdir(exist_ok=True)
        mark, own = folder / "scan.json", self._fingerprint()
        if mark.is_file() and mark.read_text() == own:
            self.resumed = sum((folder / f"{i}.npy").is_file() for i in range(len(self.spans)))
            return
        for file in folder.glob("*.npy"):
            file.unlink()
            self.anew = True
        with replacing(mark) as part:
            part.write_text(own)

    def _fingerprint(self) -> str:
        digest = hashlib.sha256()
        for member in self._predictor.members:
            digest.update(json.dumps([member.hyperparameters, member.average_strands], sort_keys=True).encode())
            for name, tensor in member.network.state_dict().items():
                digest.update(name.encode())
                digest.update(np.ascontiguousarray(tensor.cpu().numpy()).tobytes())
        state = self._genome.path.stat()
        settings = {
            "model": digest.hexdigest(),
            "genome": [str(self._genome.path.absolute()), state.st_size, state.st_mtime_ns],
            "device": resolve_device(self._device).type,
            "stride": self.stride, "task": self._task, "spans": [list(span) for span in self.spans],
            "version": __version__,
        }  # fmt: skip
        return json.dumps(settings)

    @property
    def length(self) -> int:
        """Of a window, bp."""
        return self._predictor.length

    @property
    def windows(self) -> int:
        """How many windows there are."""
        return sum(len(starts_in(span, self._predictor.length, self.stride)) for span in self.spans)

    def of(self, number: int, progress: Callable[[int], None] | None = None) -> FloatArray:
        """Scores of a span; it is scanned unless that has been done."""
        file = None if self._folder is None else self._folder / f"{number}.npy"
        if file is not None and file.is_file():
            found: FloatArray = np.load(file, allow_pickle=False)
            if progress is not None:
                progress(len(found))
            return found
        if number in self._kept:
            return self._kept[number]
        span = self.spans[number]
        scores = scan_span(
            self._predictor, self._genome, span, stride=self.stride, task=self._task, device=self._device,
            progress=progress,
        )  # fmt: skip
        if file is None:
            self._kept[number] = scores
        else:
            with replacing(file, durable=False) as part, part.open("wb") as stream:
                np.save(stream, scores, allow_pickle=False)
        return scores

    def intervals(self) -> Iterator[tuple[str, int, int, float]]:
        """Yield the `stride` bp in the middle of each scored window, in the order of the chromosomes' names."""
        inset = (self._predictor.length - self.stride) // 2
        for number in sorted(range(len(self.spans)), key=lambda i: (self.spans[i].chrom, self.spans[i].start)):
            span, scores = self.spans[number], self.of(number)
            starts = starts_in(span, self._predictor.length, self.stride) + inset
            for i in np.flatnonzero(np.isfinite(scores)).tolist():
                yield span.chrom, int(starts[i]), int(starts[i]) + self.stride, float(scores[i])
