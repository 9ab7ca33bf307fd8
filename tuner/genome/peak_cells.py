"""Cells of files of peaks: columns of numbers and strands, and what a spreadsheet may have made of them.

A number that a spreadsheet wrote in another way is read where it can be read in one way only, and is an error with its
line otherwise. Nothing is dropped because one cell of a column is wrong.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tuner.errors import DataError

STRANDS: Final = ("+", "-", ".")
MISSING: Final = ("", ".", "na", "nan", "n/a", "#n/a")
"""Cells, in lower case, that hold no number."""
_THOUSANDS: Final = re.compile(r"[+-]?\d{1,3}([,.'’\u00a0\u202f ]\d{3})+")
_SCIENTIFIC: Final = re.compile(r"[+-]?\d+([.,]\d+)?e[+-]?\d+", re.IGNORECASE)
_FLOAT: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+|inf(inity)?|nan)(e[+-]?\d+)?", re.IGNORECASE)
_COMMA: Final = re.compile(r"[+-]?\d+,\d+(e[+-]?\d+)?", re.IGNORECASE)
_COLOUR: Final = re.compile(r"\d{1,3},\d{1,3},\d{1,3}")
_MONTH: Final = "(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"
_DATE: Final = re.compile(
    rf"\d{{1,2}}[-. ]{_MONTH}[a-z]*([-. ]\d+)?|{_MONTH}[a-z]*[-. ]\d+|\d{{1,4}}[-/.]\d{{1,2}}[-/.]\d{{1,4}}",
    re.IGNORECASE,
)
_BROKEN: Final = re.compile(r"#(ref!.*|name\?|value!|null!|num!|div/0!|n/a)", re.IGNORECASE)


class Column(NamedTuple):
    """Numbers of a column.

    Attributes
    ----------
    values : numpy.ndarray, shape=(n,), float64
        NaN where a cell holds none.
    note : str
        What was read in another way than written; or empty.
    """

    values: NDArray[np.float64]
    note: str


def split_cells(line: str, separator: str | None) -> list[str]:
    """Split a line; a quoted cell of a table separated by commas or semicolons may hold the separator.

    Parameters
    ----------
    line : str
    separator : str or None
        None for any white space.

    Returns
    -------
    list of str
    """
    if '"' not in line:
        return [cell.strip() for cell in line.split(separator)]
    if separator in (",", ";"):
        return [cell.strip() for cell in next(csv.reader([line], delimiter=separator, skipinitialspace=True))]
    cells = [cell.strip() for cell in line.split(separator)]
    return [cell[1:-1].strip() if len(cell) > 1 and cell[0] == cell[-1] == '"' else cell for cell in cells]


def is_broken(cell: str) -> bool:
    """Whether a cell is an error value of a spreadsheet, such as ``#REF!``, and no comment."""
    return _BROKEN.fullmatch(cell) is not None


def check_names(file: str, cells: Sequence[str], lines: Sequence[int]) -> None:
    """Refuse names of chromosomes that a spreadsheet has made dates or errors of.

    Parameters
    ----------
    file : str
        For errors.
    cells : sequence of str
    lines : sequence of int
        Line of each cell in the file.

    Raises
    ------
    DataError
        Names the line of the first one.
    """
    for cell, number in zip(cells, lines, strict=True):
        if not cell:
            raise DataError(
                f"{file} line {number}: the name of the chromosome is missing. Complete or remove this line."
            )
        if is_broken(cell) or _DATE.fullmatch(cell):
            what = "an error value" if is_broken(cell) else "a date"
            raise DataError(
                f"{file} line {number}: a spreadsheet has made {what} of the name of the chromosome ({cell[:40]!r}). "
                f"Format the column as text in the original, and export it again."
            )


def read_positions(file: str, cells: Sequence[str], lines: Sequence[int], word: str) -> NDArray[np.int64]:
    """Read a column of positions; decimal digits only, as everything else may have lost digits.

    Parameters
    ----------
    file : str
        For errors.
    cells : sequence of str
    lines : sequence of int
        Line of each cell in the file.
    word : str
        What the positions are.

    Returns
    -------
    numpy.ndarray, shape=(n,), int64

    Raises
    ------
    DataError
        Names the line of the first cell that is no position, and what to do.
    """
    for cell, number in zip(cells, lines, strict=True):
        if cell.isascii() and cell.isdigit() and len(cell) < 16:
            continue
        where = f"{file} line {number}: the {word} {cell[:40]!r}"
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
        if is_broken(cell):
            raise DataError(f"{where} is an error value of a spreadsheet. Correct the formula, and export it again.")
        raise DataError(
            f"{where} is not a whole number. Expected a BED file: chromosome, start and end, counted from 0."
        )
    return np.array(cells, dtype=np.int64)


def read_numbers(file: str, cells: Sequence[str], lines: Sequence[int], column: int) -> Column | None:
    """Read a column that may hold numbers, with a decimal point or comma.

    Parameters
    ----------
    file : str
        For errors.
    cells : sequence of str
    lines : sequence of int
        Line of each cell in the file.
    column : int
        Its number from 1.

    Returns
    -------
    Column or None
        None if it holds something else; a column without any number is NaN.

    Raises
    ------
    DataError
        If most of its cells are numbers but one is not, or the comma may separate thousands as well as decimals.
    """
    if all(_FLOAT.fullmatch(cell) for cell in cells):
        return Column(np.array(cells, dtype=np.float64), "")
    filled = [i for i, cell in enumerate(cells) if cell.lower() not in MISSING]
    commas = [i for i in filled if _COMMA.fullmatch(cells[i])]
    odd = [i for i in filled if not _COMMA.fullmatch(cells[i]) and not _FLOAT.fullmatch(cells[i])]
    if not filled:
        return Column(np.full(len(cells), np.nan), "")
    if 2 * len(odd) >= len(filled) or (odd and _COLOUR.fullmatch(cells[odd[0]])):
        return None
    if odd:
        raise DataError(
            f"{file} line {lines[odd[0]]}: {cells[odd[0]][:40]!r} in column {column} is not a number, but the other "
            f"lines have numbers there. Correct it, or write a point where there is none."
        )
    if commas and all(_THOUSANDS.fullmatch(cells[i]) for i in commas):
        raise DataError(
            f"{file} line {lines[commas[0]]}: {cells[commas[0]][:40]!r} in column {column} can be read in two ways, as "
            f"its comma may separate thousands or decimals. Export it with decimal points and no thousands separators."
        )
    values = np.full(len(cells), np.nan)
    values[filled] = [float(cells[i].replace(",", ".")) for i in filled]
    notes = []
    if commas:
        notes.append(f"the commas of column {column} were read as decimal points")
    if empty := len(cells) - len(filled):
        notes.append(f"{empty} of {len(cells)} peaks have no number in column {column}")
    return Column(values, f"{file}: {', and '.join(notes)}.")


def read_strands(file: str, cells: Sequence[str], lines: Sequence[int]) -> NDArray[np.str_] | None:
    """Read a column that may hold strands.

    Parameters
    ----------
    file : str
        For errors.
    cells : sequence of str
    lines : sequence of int
        Line of each cell in the file.

    Returns
    -------
    numpy.ndarray, shape=(n,), str, or None
        ``+``, ``-`` or ``.``; None if the column holds something else.

    Raises
    ------
    DataError
        If most of its cells are strands but one is not.
    """
    odd = [i for i, cell in enumerate(cells) if cell and cell not in STRANDS]
    if not odd:
        return np.array([cell or "." for cell in cells], dtype="<U1")
    if 2 * len(odd) >= len(cells):
        return None
    raise DataError(
        f"{file} line {lines[odd[0]]}: the strand {cells[odd[0]][:40]!r} in column 6 is none of + - and . (unknown). "
        f"Correct it."
    )
