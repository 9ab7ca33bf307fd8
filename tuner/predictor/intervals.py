"""Predictions for intervals of a genome: a window around each summit, or all of each; as a table, BED and bigWig."""

from __future__ import annotations

import contextlib
import heapq
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from tuner.data.stream import Sequence as Read
from tuner.errors import DataError, UsageError, unknown
from tuner.files import replacing
from tuner.genome.named import NamedGenome
from tuner.genome.peaks import Peaks, read_peaks
from tuner.genome.sequence import reverse_complement
from tuner.genome.sites import RESOLVED
from tuner.predictor.base_track import check_package, write_bigwig
from tuner.predictor.blocks import cells_of
from tuner.predictor.scan import task_number
from tuner.predictor.scores import cell, output
from tuner.results.trial_table import text_cell

if TYPE_CHECKING:
    from tuner.predictor.predictor import Predictor

AROUND: Final = ("summit", "interval")
"""What is predicted of an interval: one window around its summit, or all of it."""
PLACED: Final = ("chrom", "start", "end", "strand", "status")
SCORED: Final = "scored"


class Place(NamedTuple):
    """An interval and what is read of it.

    Attributes
    ----------
    chrom, strand : str
        As in the file.
    start, end : int, bp
        As in the file.
    status : str
        ``scored``, or why it is not.
    here : str
        Its chromosome in the genome; empty if it is not scored.
    low, high : int, bp
        What is read, half-open; it may reach past the ends of the chromosome.
    """

    chrom: str
    start: int
    end: int
    strand: str
    status: str
    here: str
    low: int
    high: int

    @property
    def id(self) -> str:
        """``chrom:start-end(strand)``."""
        return f"{self.chrom}:{self.start}-{self.end}({self.strand})"


class Intervals(NamedTuple):
    """Intervals of a file, in its order.

    Attributes
    ----------
    places : list of Place
    around : str
        One of `AROUND`.
    notes : tuple of str
        Of the reader.
    """

    places: list[Place]
    around: str
    notes: tuple[str, ...]


def intervals_of(
    path: str | Path, genome: NamedGenome, length: int, *, around: str | None = None, max_memory: int | None = None
) -> Intervals:
    """Read intervals and find them in a genome.

    Parameters
    ----------
    path : str or Path
        BED, narrowPeak, broadPeak or summits, as for `tuner.genome.peaks.read_peaks`.
    genome : NamedGenome
    length : int, bp
        Of the model's input; shorter intervals are extended to it around their middle.
    around : str, optional
        One of `AROUND`; by default the summit where the file has summits, else the interval.
    max_memory : int, optional, bytes
        For reading.

    Raises
    ------
    DataError
        The file cannot be read, or the genome has the chromosomes of fewer than 90 % of the intervals.
    UsageError
        `around` is unknown.
    """
    if around is not None and around not in AROUND:
        raise UsageError(unknown("value of around", around, AROUND))
    peaks = read_peaks(path, max_memory)
    found = genome.find(np.unique(peaks.chrom).tolist())
    resolved = np.isin(peaks.chrom, list(found))
    if resolved.mean() < RESOLVED:
        lost = [name for name in dict.fromkeys(peaks.chrom.tolist()) if name not in found]
        raise DataError(
            f"{peaks.name}: only {int(resolved.sum())} of {len(peaks)} intervals lie on chromosomes of "
            f"{genome.genome.name}. The intervals are on {', '.join(lost[:3])}; the genome has "
            f"{', '.join(list(genome.genome.sizes)[:3])}, ... Give the genome of the intervals, or a table of names "
            f"with --aliases."
        )
    chosen = around or ("summit" if peaks.kind == "summits" or bool((peaks.summit >= 0).any()) else "interval")
    notes = tuple(note for note in peaks.notes if chosen == "summit" or "middle of each peak" not in note)
    return Intervals([_place(peaks, i, genome, found, length, chosen) for i in range(len(peaks))], chosen, notes)


def _place(peaks: Peaks, i: int, genome: NamedGenome, found: dict[str, str], length: int, around: str) -> Place:
    chrom, start, end = str(peaks.chrom[i]), int(peaks.start[i]), int(peaks.end[i])
    head = (chrom, start, end, str(peaks.strand[i]))
    if chrom not in found:
        return Place(*head, "chromosome not in the genome", "", 0, 0)
    centre = int(peaks.centre[i])
    if centre >= genome.genome.sizes[found[chrom]]:
        return Place(*head, "past the end of the chromosome", "", 0, 0)
    if around == "summit" or end - start < length:
        start = centre - length // 2 if around == "summit" else (start + end) // 2 - length // 2
        end = start + length
    return Place(*head, SCORED, found[chrom], start, end)


def columns_of(predictor: Predictor) -> list[str]:
    """Names of the columns: `PLACED`, then those of the predictor, whose start becomes a position, window_start."""
    return [*PLACED, *(f"window_{name}" if _is_start(name) else name for name in predictor.columns)]


def _is_start(name: str) -> bool:
    return name.split("_")[0] == "start"


def rows_of(
    predictor: Predictor, genome: NamedGenome, places: Sequence[Place], *, device: str, stride: int | None,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[list[Any]]:  # fmt: skip
    """Yield the cells of every interval, in order and in the columns of `columns_of`."""
    turned = not all(member.average_strands for member in predictor.members)
    wanted = [place for place in places if place.status == SCORED]
    starts = [i for i, name in enumerate(predictor.columns) if _is_start(name)]

    def sequences() -> Iterator[Read]:
        for done, place in enumerate(wanted, start=1):
            codes = genome.window(place.here, place.low, place.high)
            yield Read(place.id, reverse_complement(codes[None])[0] if turned and place.strand == "-" else codes)
            if progress is not None:
                progress(done, len(wanted))

    scored = (
        row
        for block in predictor.blocks(sequences(), device=device, stride=stride)
        for row in zip(*cells_of(block), strict=True)
    )
    for place in places:
        head = [place.chrom, place.start, place.end, place.strand, place.status]
        if place.status != SCORED:
            yield [*head, place.id, *[None] * (len(predictor.columns) - 1)]
            continue
        cells = list(next(scored))
        for i in starts:  # counted along the strand that was read
            reverse = turned and place.strand == "-"
            cells[i] = place.high - predictor.length - cells[i] if reverse else place.low + cells[i]
        yield [*head, *cells]


class WrittenIntervals(NamedTuple):
    """What was predicted: intervals, those without a score by reason, what was read of them, and notes."""

    intervals: int
    unscored: dict[str, int]
    around: str
    notes: tuple[str, ...]


def write_intervals(
    predictor: Predictor,
    path: str | Path,
    genome: NamedGenome,
    out: str | Path,
    *,
    around: str | None = None,
    bigwig: str | Path | None = None,
    bed: str | Path | None = None,
    task: str | None = None,
    device: str = "cpu",
    stride: int | None = None,
    max_memory: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> WrittenIntervals:
    """Predict the intervals of a file, and write one row for each.

    Parameters
    ----------
    predictor, path, genome, around, max_memory
        As for `intervals_of`.
    out : str or Path
        Tab-separated text.
    bigwig : str or Path, optional
        Logit of what was read; where it overlaps, the highest.
    bed : str or Path, optional
        Scored intervals, sorted: BED6, whose score is ten times the percentile among validation negatives, then logit,
        probability and percentile.
    task : str, optional
        Of `bigwig` and `bed`, if the model has several.
    device, stride
        As for `Predictor.predict`.
    progress : callable, optional
        Called with the number of intervals read so far, and of all.

    Raises
    ------
    DataError, DeviceError, UsageError
        As for `intervals_of`; no output is written, and existing ones are unchanged.
    OSError
        An output cannot be written.
    """
    number = task_number(predictor, task) if bigwig is not None or bed is not None else 0
    if bigwig is not None:
        check_package()
    found = intervals_of(path, genome, predictor.length, around=around, max_memory=max_memory)
    kept: list[tuple[Place, list[Any]]] = []
    with contextlib.ExitStack() as stack:
        table = stack.enter_context(output(Path(out)))
        table.write("\t".join(map(text_cell, columns_of(predictor))) + "\n")
        rows = rows_of(predictor, genome, found.places, device=device, stride=stride, progress=progress)
        for place, row in zip(found.places, rows, strict=True):
            table.write("\t".join(map(cell, row)) + "\n")
            if place.status == SCORED and (bigwig is not None or bed is not None):
                kept.append((place, _values(predictor, row, number)))
        if bed is not None:
            part = stack.enter_context(replacing(bed))
            part.write_text("".join(_bed_lines(kept)), encoding="utf-8")
        if bigwig is not None and kept:
            sizes = {place.chrom: genome.genome.sizes[place.here] for place, _ in kept}
            write_bigwig(stack.enter_context(replacing(bigwig)), sizes, highest(kept, sizes))
    unscored: dict[str, int] = {}
    for place in found.places:
        if place.status != SCORED:
            unscored[place.status] = unscored.get(place.status, 0) + 1
    missing = (f"no interval has a score, so {bigwig} was not written.",) if bigwig is not None and not kept else ()
    return WrittenIntervals(len(found.places), unscored, found.around, (*found.notes, *missing))


def _values(predictor: Predictor, row: list[Any], task: int) -> list[float]:
    """Logit, probability and percentile among negatives of one task."""
    end = "" if len(predictor.tasks) == 1 else f"_{predictor.tasks[task]}"
    names = columns_of(predictor)
    return [float(row[names.index(name + end)]) for name in ("logit", "probability", "negatives_percentile")]


def _bed_lines(kept: Sequence[tuple[Place, list[float]]]) -> Iterator[str]:
    for place, (logit, chance, percentile) in sorted(kept, key=lambda pair: pair[0][:3]):
        score = 0 if math.isnan(percentile) else round(10 * percentile)
        cells = (place.chrom, place.start, place.end, place.id, score, place.strand)
        yield "\t".join(map(str, cells)) + f"\t{logit:.6g}\t{chance:.6g}\t{percentile:.6g}\n"


def highest(kept: Sequence[tuple[Place, list[float]]], sizes: dict[str, int]) -> Iterator[tuple[str, int, int, float]]:
    """Yield steps of the highest logit of what was read, in the order of chromosomes' names."""
    for chrom in sorted(sizes):
        spans = sorted(
            (max(place.low, 0), min(place.high, sizes[chrom]), values[0])
            for place, values in kept
            if place.chrom == chrom
        )
        open_: list[tuple[float, int]] = []  # minus the logit, and the end, of spans that cover `at`
        at, i = 0, 0
        while i < len(spans) or open_:
            while open_ and open_[0][1] <= at:
                heapq.heappop(open_)
            if not open_:
                if i == len(spans):
                    break
                at = max(at, spans[i][0])
            while i < len(spans) and spans[i][0] <= at:
                heapq.heappush(open_, (-spans[i][2], spans[i][1]))
                i += 1
            while open_ and open_[0][1] <= at:
                heapq.heappop(open_)
            if not open_:
                continue
            value, end = -open_[0][0], open_[0][1]
            stop = min(end, spans[i][0]) if i < len(spans) else end
            yield chrom, at, stop, value
            at = stop
