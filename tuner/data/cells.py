"""Reads rows and cells of a delimited text: one row per line, and no row is lost.

In a tab-separated table a quote is a character like any other (as in the site name ``5" UTR``). In a table separated by
commas or semicolons, and in a tab-separated one whose whole header is quoted (as R writes it), a quote at the beginning
of a cell encloses the cell up to the next quote on the same line; ``""`` inside it means one quote. A quoted cell that
continues on the next line would swallow rows, so it is an error.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from tuner.errors import DataError

DELIMITERS: Final = ("\t", ",", ";")
_WORDS: Final = {"\t": "tab", ",": "comma", ";": "semicolon"}


class Row(NamedTuple):
    """One line: its number in the file, from 1, and its cells without surrounding white space."""

    line: int
    cells: list[str]


class Cells(NamedTuple):
    """A table that is read row by row.

    Attributes
    ----------
    header : list of str
        Names of the columns. A last column without a name is dropped; all rows must leave it empty.
    delimiter : str
    rows : iterator of Row
        Rows with as many cells as the header.
    blank : list of int
        Numbers of the blank lines between the rows read so far; blank lines are skipped.
    """

    header: list[str]
    delimiter: str
    rows: Iterator[Row]
    blank: list[int]


def read_cells(content: bytes, where: str, wanted: Sequence[str] = ()) -> Cells:
    r"""Read the header, and the rows one by one.

    Parameters
    ----------
    content : bytes
        UTF-8, lines ending with ``\n``.
    where : str
        Name of the file, for errors.
    wanted : sequence of str
        Column names in lower case; if several delimiters occur in the header, one that gives such a column is used.

    Returns
    -------
    Cells

    Raises
    ------
    DataError
        If the header has a name twice. While the rows are read: if a row has another number of cells than the header,
        an unclosed quote, or a carriage return.
    """
    return cells_of((line.decode().rstrip("\n") for line in io.BytesIO(content)), where, wanted)


def cells_of(texts: Iterable[str], where: str, wanted: Sequence[str] = ()) -> Cells:
    """Read a table line by line; parameters and errors as in `read_cells`, lines without their ends."""
    lines = iter(enumerate(texts, start=1))
    at, text = next(((number, line) for number, line in lines if line.strip()), (1, ""))
    delimiter = _delimiter(text, wanted, f"{where} line {at}")
    quoted = delimiter != "\t" or all(_is_quoted(cell) for cell in text.split("\t"))
    header = _split(text, delimiter, quoted, f"{where} line {at}")
    if len(header) > 1 and not header[-1]:
        header.pop()  # some programs end every line with a delimiter
    if len(set(header)) != len(header):
        raise DataError(f"{where}: column names repeat in the header {', '.join(header)}.")
    blank: list[int] = []
    return Cells(header, delimiter, _rows(lines, header, delimiter, quoted, where, blank), blank)


def _rows(
    lines: Iterator[tuple[int, str]], header: list[str], delimiter: str, quoted: bool, where: str, blank: list[int]
) -> Iterator[Row]:
    skipped: list[int] = []
    for number, text in lines:
        if not text.strip(" \r"):  # a line of tabs is a row of empty cells
            skipped.append(number)
            continue
        blank += skipped  # blank lines at the end of the file are not counted
        skipped.clear()
        if "\r" in text:
            raise DataError(
                f"{where} line {number}: a carriage return inside the line; some lines of this file end with it alone. "
                f"Use the same line ending everywhere."
            )
        cells = _split(text, delimiter, quoted, f"{where} line {number}")
        if len(cells) == len(header) + 1 and not cells[-1]:
            cells.pop()
        if len(cells) != len(header):
            raise DataError(f"{where} line {number}: {_count(len(cells), len(header), delimiter)}")
        yield Row(number, cells)


def _count(found: int, expected: int, delimiter: str) -> str:
    words = f"{found} fields; the header has {expected} (separated by {_WORDS[delimiter]})."
    if found == expected + 1:
        words += (
            " If the first field is a row name, as R writes it, write the table without row names (row.names = FALSE)."
        )
    return words


def _delimiter(header: str, wanted: Sequence[str], where: str) -> str:
    present = [delimiter for delimiter in DELIMITERS if delimiter in header]
    for delimiter in present:
        names = [cell.lower() for cell in _split(header, delimiter, delimiter != "\t", where)]
        names += [name.strip('"') for name in names]
        if any(name in names for name in wanted):
            return delimiter
    return present[0] if present else ","


def _is_quoted(cell: str) -> bool:
    return len(cell.strip()) > 1 and cell.strip()[0] == cell.strip()[-1] == '"'


def _split(text: str, delimiter: str, quoted: bool, where: str) -> list[str]:
    """Split one line into cells as in RFC 4180, except that a cell may not continue on the next line."""
    if not quoted or '"' not in text:
        return [cell.strip() for cell in text.split(delimiter)]
    cells = []
    start = 0
    while start <= len(text):
        opening = start
        while text.startswith(" ", opening):
            opening += 1
        if not text.startswith('"', opening):
            end = text.find(delimiter, start)
            end = len(text) if end < 0 else end
            cells.append(text[start:end].strip())
        else:
            value, end = _quoted(text, opening, where)
            rest = text.find(delimiter, end)
            rest = len(text) if rest < 0 else rest
            if text[end:rest].strip():
                raise DataError(
                    f"{where}: {text[end:rest].strip()[:20]!r} follows the closing quote of a cell. "
                    f'Write a quote inside a quoted cell twice ("").'
                )
            cells.append(value.strip())
            end = rest
        start = end + 1
    return cells


def _quoted(text: str, opening: int, where: str) -> tuple[str, int]:
    """Return the value of the quoted cell that begins at `opening`, and the position after its closing quote."""
    parts = []
    at = opening + 1
    while True:
        closing = text.find('"', at)
        if closing < 0:
            raise DataError(
                f"{where}: the quote before {text[opening + 1 : opening + 21]!r} is not closed on its line. "
                f'Remove it, or write it twice inside a quoted cell (""""); a cell may not continue on the next line.'
            )
        parts.append(text[at:closing])
        if not text.startswith('""', closing):
            return '"'.join(parts), closing + 1
        at = closing + 2
