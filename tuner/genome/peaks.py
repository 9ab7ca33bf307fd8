"""Reads peaks: BED3 to BED12, narrowPeak, broadPeak and the summits of MACS.

Lines of `track` and `browser`, comments and blank lines are skipped. The number and the content of the columns decide
the format, not the ending of the file. Positions are 0-based and half-open.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from tuner.errors import DataError
from tuner.genome.peak_cells import (
    check_names,
    is_broken,
    read_numbers,
    read_positions,
    read_strands,
    split_cells,
)
from tuner.genome.textfile import read_text
from tuner.limits import require

BYTES_A_PEAK: Final = 600
"""Upper bound in bytes per peak while a file is read; a line of narrowPeak was measured with 420."""
_SKIPPED: Final = ("track", "browser")
_SEPARATOR: Final = re.compile(r"\"?sep=(.)\"?", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Peaks:
    """Peaks of one file, in its order.

    Parameters
    ----------
    name : str
        Name of the file.
    kind : str
        ``narrowPeak``, ``broadPeak``, ``summits`` or ``BED``.
    chrom : numpy.ndarray, shape=(n,), str
    start, end : numpy.ndarray, shape=(n,), int64, bp
    summit : numpy.ndarray, shape=(n,), int64, bp
        Position on the chromosome; -1 if the file has none.
    signal : numpy.ndarray, shape=(n,), float64
        Strength; NaN if the file has none.
    strand : numpy.ndarray, shape=(n,), str
        ``+``, ``-`` or ``.``.
    line : numpy.ndarray, shape=(n,), int64
        Line of the file, from 1.
    notes : tuple of str
        Decisions of the reader.
    """

    name: str
    kind: str
    chrom: NDArray[np.str_]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    summit: NDArray[np.int64]
    signal: NDArray[np.float64]
    strand: NDArray[np.str_]
    line: NDArray[np.int64]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.start)

    @property
    def centre(self) -> NDArray[np.int64]:
        """The summit of each peak, or its middle."""
        return np.where(self.summit >= 0, self.summit, (self.start + self.end) // 2)

    def take(self, index: NDArray[Any]) -> Peaks:
        """Return the peaks that an integer or boolean index selects."""
        names = ("chrom", "start", "end", "summit", "signal", "strand", "line")
        return replace(self, **{name: getattr(self, name)[index] for name in names})

    def where(self, index: int) -> str:
        """Name the place of a peak for an error."""
        return f"{self.name} line {self.line[index]}: {self.chrom[index]}:{self.start[index]}-{self.end[index]}"


def read_peaks(path: str | Path, max_memory: int | None = None) -> Peaks:
    """Read a file of peaks or regions.

    Parameters
    ----------
    path : str or Path
        BED (three columns or more), narrowPeak, broadPeak or summits; plain, gzip, bgzip, bzip2 or xz, with any line
        ends. Cells are separated by tabs, else by semicolons, commas or spaces, and may be quoted.
    max_memory : int, optional, bytes
        Largest amount of memory for reading; by default half of the available memory.

    Returns
    -------
    Peaks

    Raises
    ------
    DataError
        If the file is missing, damaged, empty or has no peak; or with the line, if a line has fewer or more columns
        than the first one, or a position is no whole number, is negative, or lies before the start.
    """
    path = Path(path)
    text = read_text(path, max_memory).decode()
    require(path, BYTES_A_PEAK * (text.count("\n") + 1), max_memory)
    rows, lines, notes = _rows(path, text)
    if not rows:
        raise DataError(f"{path.name}: no peaks; every line is blank, a comment, or a track or browser line.")
    columns = list(zip(*rows, strict=True))
    check_names(path.name, columns[0], lines)
    start, end = (read_positions(path.name, columns[i], lines, word) for i, word in ((1, "start"), (2, "end")))
    swapped = np.flatnonzero(end < start)
    if len(swapped):
        i = int(swapped[0])
        raise DataError(
            f"{path.name} line {lines[i]}: the end {end[i]} lies before the start {start[i]}. Exchange the two columns."
        )
    return _typed(path, columns, np.array(lines, dtype=np.int64), start, end, notes)


def _rows(path: Path, text: str) -> tuple[list[list[str]], list[int], list[str]]:
    """Cells and number of each line that holds a peak, with equally many cells, and notes."""
    rows: list[list[str]] = []
    lines: list[int] = []
    notes: list[str] = []
    for number, cells in _cells(path, text):
        if not rows and _is_header(cells):
            notes.append(f"{path.name}: line {number} holds the names of columns and was skipped.")
            continue
        rows.append(cells)
        lines.append(number)
    if len({len(cells) for cells in rows}) == 1:  # Excel ends lines with empty cells
        filled = max(max(i for i, cell in enumerate(cells) if cell) for cells in rows) + 1
        rows = [cells[:filled] for cells in rows]
    else:
        for cells in rows:
            while not cells[-1]:
                cells.pop()
    for number, cells in zip(lines, rows, strict=True):
        if len(cells) < 3:
            _refuse_narrow(path, number, cells)
        if len(cells) != len(rows[0]):
            raise DataError(
                f"{path.name} line {number}: {len(cells)} columns, but line {lines[0]} has {len(rows[0])}. The line "
                f"was cut short, or two files were joined; give one format per file."
            )
    return rows, lines, notes


def _cells(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the cells of each line that may hold a peak."""
    separator: str | None = ""
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.strip("\r")
        bare = line.strip().lstrip('"')
        if not bare or bare.split(None, 1)[0].lower() in _SKIPPED:
            continue
        if bare.startswith("#") and not is_broken(re.split(r'[\t;,"]', bare)[0]):
            continue
        if separator == "":
            if found := _SEPARATOR.fullmatch(line.strip()):
                separator = found[1]
                continue
            separator = next((one for one in ("\t", ";") if line.count(one) >= 1), None)
            if separator is None and line.count(",") >= 2 and len(line.partition(",")[0].split()) == 1:
                separator = ","
        cells = split_cells(line, separator)
        if any(cells):  # Excel writes lines of separators behind the last row
            yield number, cells


def _is_header(cells: Sequence[str]) -> bool:
    """Whether a line names columns: no digit in the second and third cell, and one of them is about start or end."""
    if len(cells) < 3 or any(letter.isdigit() for letter in cells[1] + cells[2]):
        return False
    words = (cells[1] + " " + cells[2]).lower()
    return "start" in words or "end" in words


def _refuse_narrow(path: Path, number: int, cells: Sequence[str]) -> NoReturn:
    found = re.fullmatch(r"(\S+):([\d,]+)-([\d,]+)", cells[0])
    remedy = (
        f"Write {found[1]}, {found[2].replace(',', '')} and {found[3].replace(',', '')} into columns of their own "
        f"(BED counts from 0)."
        if found
        else "Peaks need chromosome, start and end, separated by tabs."
    )
    what = f"one column ({cells[0][:40]!r})" if len(cells) == 1 else f"{len(cells)} columns"
    raise DataError(f"{path.name} line {number}: {what}; expected at least three. {remedy}")


def _typed(
    path: Path, columns: list[tuple[str, ...]], lines: NDArray[np.int64], start: NDArray[np.int64],
    end: NDArray[np.int64], notes: list[str],
) -> Peaks:  # fmt: skip
    n, told = len(start), lines.tolist()
    strand = np.full(n, ".", dtype="<U1")
    if len(columns) >= 6:
        found = read_strands(path.name, columns[5], told)
        strand = strand if found is None else found
        if found is None:
            notes.append(f"{path.name}: column 6 ({columns[5][0][:20]!r}) holds no strands, so the sites have none.")
    summit = np.full(n, -1, dtype=np.int64)
    kind, signal = "BED", None
    if len(columns) in (9, 10) and not _is_bed9(columns, start, end):
        scores = [read_numbers(path.name, columns[i], told, i + 1) for i in (6, 7, 8)]
        if all(score is not None for score in scores) and any(np.isfinite(s.values).any() for s in scores if s):
            kind, signal = "narrowPeak" if len(columns) == 10 else "broadPeak", scores[0]
    if kind == "narrowPeak":
        summit = _summits(path, columns[9], lines, start, end)
        missing = int((summit < 0).sum())
        if missing:
            notes.append(f"{path.name}: {missing} of {n} peaks have no summit (column 10 is -1); their middle is used.")
    elif kind == "BED" and len(columns) >= 5:
        signal = read_numbers(path.name, columns[4], told, 5)
    if signal is not None and signal.note:
        notes.append(signal.note)
    if kind == "BED" and bool((end - start == 1).all()):
        kind = "summits"
    if kind == "narrowPeak" and (summit >= 0).all():
        notes.append(f"{path.name}: the summits of column 10 are used.")
    if kind in ("BED", "broadPeak"):
        notes.append(f"{path.name}: {kind} has no summits; the middle of each peak is used.")
    elif kind == "narrowPeak":
        regions = len(np.unique(np.stack([_numbered(columns[0]), start, end]), axis=1).T)
        if regions < n:
            notes.append(f"{path.name}: {n} summits of {regions} peaks; each summit is a site of its own.")
    chrom = np.array(columns[0], dtype=np.str_)
    strength = np.full(n, np.nan) if signal is None else signal.values
    return Peaks(path.name, kind, chrom, start, end, summit, strength, strand, lines, tuple(notes))


def _numbered(cells: Sequence[str]) -> NDArray[np.int64]:
    return np.asarray(np.unique(np.array(cells), return_inverse=True)[1], dtype=np.int64)


def _is_bed9(columns: list[tuple[str, ...]], start: NDArray[np.int64], end: NDArray[np.int64]) -> bool:
    """Whether columns 7 and 8 are the thick part of a BED9 line, which lies within its interval."""
    if len(columns) != 9 or not all(cell.isdigit() for i in (6, 7) for cell in columns[i]):
        return False
    thick = [np.array(columns[i], dtype=np.float64) for i in (6, 7)]
    return bool(((thick[0] >= start) & (thick[1] <= end) & (thick[0] <= thick[1])).all())


def _summits(
    path: Path, cells: Sequence[str], lines: NDArray[np.int64], start: NDArray[np.int64], end: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Positions of the summits of narrowPeak, which are counted from the start of the peak; -1 means none."""
    for cell, number in zip(cells, lines, strict=True):
        if not re.fullmatch(r"-?\d{1,15}", cell, re.ASCII):
            raise DataError(
                f"{path.name} line {number}: the summit {cell[:40]!r} in column 10 is not a whole number; expected the "
                f"distance from the start of the peak, or -1."
            )
    offset = np.array(cells, dtype=np.int64)
    outside = np.flatnonzero((offset >= np.maximum(end - start, 1)) & (offset >= 0))
    if len(outside):
        i = int(outside[0])
        raise DataError(
            f"{path.name} line {lines[i]}: the summit in column 10 is {offset[i]}, but the peak has "
            f"{end[i] - start[i]} bases. Column 10 of narrowPeak is the distance from the start of the peak, or -1."
        )
    return np.where(offset >= 0, start + offset, -1)
