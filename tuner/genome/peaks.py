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
from tuner.genome.textfile import read_text
from tuner.limits import require

STRANDS: Final = ("+", "-", ".")
BYTES_A_PEAK: Final = 600
"""Upper bound in bytes per peak while a file is read; a line of narrowPeak was measured with 420."""
_SKIPPED: Final = ("#", "track", "browser")
_THOUSANDS: Final = re.compile(r"[+-]?\d{1,3}([,.'\u00a0 ]\d{3})+")
_SCIENTIFIC: Final = re.compile(r"[+-]?\d+([.,]\d+)?e[+-]?\d+", re.IGNORECASE)
_FLOAT: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+|inf(inity)?|nan)(e[+-]?\d+)?", re.IGNORECASE)


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
    rows: list[list[str]] = []
    lines: list[int] = []
    notes: list[str] = []
    for number, cells in _cells(path, text):
        if not rows and _is_header(cells):
            notes.append(f"{path.name}: line {number} holds the names of columns and was skipped.")
            continue
        if len(cells) < 3:
            _refuse_narrow(path, number, cells)
        if rows and len(cells) != len(rows[0]):
            raise DataError(
                f"{path.name} line {number}: {len(cells)} columns, but line {lines[0]} has {len(rows[0])}. The line "
                f"was cut short, or two files were joined; give one format per file."
            )
        rows.append(cells)
        lines.append(number)
    if not rows:
        raise DataError(f"{path.name}: no peaks; every line is blank, a comment, or a track or browser line.")
    columns = list(zip(*rows, strict=True))
    start, end = (_positions(path, columns[i], lines, word) for i, word in ((1, "start"), (2, "end")))
    swapped = np.flatnonzero(end < start)
    if len(swapped):
        i = int(swapped[0])
        raise DataError(
            f"{path.name} line {lines[i]}: the end {end[i]} lies before the start {start[i]}. Exchange the two columns."
        )
    return _typed(path, columns, np.array(lines, dtype=np.int64), start, end, notes)


def _cells(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the cells of each line that may hold a peak."""
    separator: str | None = ""
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.strip("\r")
        bare = line.strip().lstrip('"')
        if not bare or bare.startswith("#") or bare.split(None, 1)[0].lower() in _SKIPPED:
            continue
        if separator == "":
            separator = next((one for one in ("\t", ";") if line.count(one) >= 1), None)
            if separator is None and line.count(",") >= 2 and len(line.split()) < 3:
                separator = ","
        cells = [cell.strip() for cell in line.split(separator)]
        if '"' in line:
            cells = [cell[1:-1].strip() if len(cell) > 1 and cell[0] == cell[-1] == '"' else cell for cell in cells]
        while cells and not cells[-1]:  # Excel ends lines with empty cells
            cells.pop()
        if cells:
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


def _positions(path: Path, cells: Sequence[str], lines: Sequence[int], word: str) -> NDArray[np.int64]:
    """Read a column of positions; decimal digits only, as everything else may have lost digits."""
    for cell, number in zip(cells, lines, strict=True):
        if cell.isascii() and cell.isdigit() and len(cell) < 16:
            continue
        where = f"{path.name} line {number}: the {word} {cell[:40]!r}"
        if re.fullmatch(r"-\d+", cell):
            raise DataError(f"{where} is negative; positions count from 0. Remove or correct this peak.")
        if _SCIENTIFIC.fullmatch(cell):
            raise DataError(
                f"{where} was rounded by a spreadsheet. Format the column as a number without decimals in the "
                f"original, and export it again."
            )
        if _THOUSANDS.fullmatch(cell):
            raise DataError(
                f"{where} has thousands separators. Format the column as a number without them, and export it again."
            )
        raise DataError(
            f"{where} is not a whole number. Expected a BED file: chromosome, start and end, counted from 0."
        )
    return np.array(cells, dtype=np.int64)


def _typed(
    path: Path, columns: list[tuple[str, ...]], lines: NDArray[np.int64], start: NDArray[np.int64],
    end: NDArray[np.int64], notes: list[str],
) -> Peaks:  # fmt: skip
    n = len(start)
    strand = np.full(n, ".", dtype="<U1")
    if len(columns) >= 6 and all(cell in STRANDS for cell in columns[5]):
        strand = np.array(columns[5], dtype="<U1")
    summit = np.full(n, -1, dtype=np.int64)
    signal = np.full(n, np.nan)
    kind = "BED"
    scored = len(columns) in (9, 10) and all(_is_numeric(columns[i]) for i in (6, 7, 8))
    if scored and not _is_bed9(columns, start, end):
        kind = "narrowPeak" if len(columns) == 10 else "broadPeak"
        signal = np.array(columns[6], dtype=np.float64)
        if len(columns) == 10:
            summit = _summits(path, columns[9], lines, start, end)
            missing = int((summit < 0).sum())
            if missing:
                notes.append(
                    f"{path.name}: {missing} of {n} peaks have no summit (column 10 is -1); their middle is used."
                )
    elif len(columns) >= 5 and _is_numeric(columns[4]):
        signal = np.array(columns[4], dtype=np.float64)
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
    return Peaks(path.name, kind, chrom, start, end, summit, signal, strand, lines, tuple(notes))


def _numbered(cells: Sequence[str]) -> NDArray[np.int64]:
    return np.asarray(np.unique(np.array(cells), return_inverse=True)[1], dtype=np.int64)


def _is_numeric(cells: Sequence[str]) -> bool:
    return all(_FLOAT.fullmatch(cell) for cell in cells)


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
