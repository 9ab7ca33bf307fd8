"""Reads sequences one after the other, for predictions: files of any size in bounded memory.

The sequences may differ in length, and labels are not needed. `SOURCES` holds the formats. A format that needs a second
file, such as regions of a genome, becomes a row of it, and gives `(id, codes)` as the others do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple, TextIO

import numpy as np

from tuner import textfile
from tuner.data.cells import cells_of
from tuner.data.table import ID_NAMES, SEQUENCE_NAMES
from tuner.errors import DataError, unknown
from tuner.genome.sequence import AMBIGUOUS, N_CODE, Codes, encode_one
from tuner.limits import require

EXPECTED: Final = textfile.Expected(
    DataError,
    others=(
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file; write its sequences as FASTA"),
        (b"\xd0\xcf\x11\xe0", "an Excel file; save it as CSV"),
        (b"CRAM", "a CRAM file; export FASTA"),
    ),
    pipes=True,
)
BYTES_A_BASE: Final = 8
"""Of one sequence while it is read: its pieces, its text, its bytes, its codes, and what is compared with them."""
_PIECE: Final = 1 << 20  # characters
_SURE: Final = 10  # letters; shorter sequences are not judged
_BED: Final = re.compile(r"\S+\t\d+\t\d+(\t|$)")
_PROTEIN: Final = frozenset("EFILPQZ*")
_LETTERS: Final = np.frombuffer((AMBIGUOUS + AMBIGUOUS.lower()).encode(), dtype=np.uint8)


class Sequence(NamedTuple):
    """One sequence: its id, and its codes, shape=(length,), uint8."""

    id: str
    codes: Codes


Source = Callable[[TextIO, str, str | None, int | None], Iterator[Sequence]]
"""Reads an open text: (text, name of the file for errors, sequence column, memory) -> sequences."""


def stream_sequences(
    path: str | Path,
    *,
    form: str | None = None,
    sequence_column: str | None = None,
    max_memory: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Iterator[Sequence]:
    """Read the sequences of a file, one after the other.

    Parameters
    ----------
    path : str or Path
        FASTA, or a table with a header line and one sequence a row; plain, gzip, bzip2 or xz; a pipe is possible.
    form : str, optional
        A name in `SOURCES`; by default the first character decides: ``>`` begins FASTA.
    sequence_column : str, optional
        Column of a table; by default the one called sequence, seq or seqs.
    max_memory : int, optional, bytes
        Memory that one sequence may take; by default half of what is available.
    progress : callable, optional
        Called with the number of bytes of the file that have been read so far.

    Yields
    ------
    Sequence
        Ids are the first word of a FASTA header, or the column id, name, peak or header of a table, else numbers.

    Raises
    ------
    DataError
        The file is missing, empty, damaged, or not text; a sequence is empty, too long for the memory, of amino acids,
        or has another character that is not a nucleotide. The message names file and record.
    """
    path = Path(path)
    if form is not None and form not in SOURCES:
        raise DataError(unknown("format of sequences", form, SOURCES))
    with textfile.open_text(path, EXPECTED, progress) as text:
        first, line = "", " "
        while line and not first:  # blank lines are skipped
            line = text.readline(_PIECE)
            first = line if line.strip() else ""
        if not first:
            raise DataError(f"{path}: the file is empty.")
        found = form or ("fasta" if first.lstrip().startswith((">", ";")) else "table")
        if found == "table" and _BED.match(first):
            raise DataError(
                f"{path}: it looks like BED, which holds positions and no sequences. Name their genome with "
                f"--genome; in Python, use predict_bed."
            )
        yield from SOURCES[found](_Again(first, text), path.name, sequence_column, max_memory)  # type: ignore[arg-type]


class _Again:
    """A text whose first piece has been read already."""

    def __init__(self, first: str, text: TextIO) -> None:
        self._first, self._text = first, text

    def readline(self, size: int = -1) -> str:
        line, self._first = self._first, ""
        return line or self._text.readline(size)


def _fasta(text: TextIO, where: str, sequence_column: str | None, max_memory: int | None) -> Iterator[Sequence]:
    if sequence_column is not None:
        raise DataError(f"{where}: a sequence column is for a table; this file is FASTA.")
    header: str | None = None
    number, size, begins, skipped = 0, 0, True, False
    pieces: list[str] = []
    while piece := text.readline(_PIECE):
        is_begin, begins = begins, piece.endswith("\n")
        if is_begin and piece.lstrip().startswith(">"):
            if header is not None:
                yield _record(where, number, header, pieces)
            header, number, size, pieces, skipped = piece.strip()[1:], number + 1, 0, [], True
        elif (is_begin and piece.lstrip().startswith(";")) or (not is_begin and skipped):
            skipped = True  # a comment, or the rest of a line that is longer than a piece
        else:
            skipped = False
            bases = piece.strip()
            if bases and header is None:
                raise DataError(f"{where}: {bases[:20]!r} comes before the first record; a FASTA file begins with '>'.")
            size += len(bases)
            if size > _PIECE:
                require(where, BYTES_A_BASE * size, max_memory, f"record {number} of at least {size:,} bases")
            if bases:
                pieces.append(bases)
    if header is None:
        raise DataError(f"{where}: the file has no records; a FASTA file begins with '>'.")
    yield _record(where, number, header, pieces)


def _record(where: str, number: int, header: str, pieces: list[str]) -> Sequence:
    name = header.split()[0] if header.strip() else f"record_{number}"
    return Sequence(name, _encode("".join(pieces), f"{where} record {number} ({name[:80]})"))


def _table(text: TextIO, where: str, sequence_column: str | None, max_memory: int | None) -> Iterator[Sequence]:
    wanted = (sequence_column.lower(),) if sequence_column else SEQUENCE_NAMES
    cells = cells_of(_lines(text, where, max_memory), where, wanted)
    lower = [name.lower() for name in cells.header]
    if sequence_column is not None:
        if sequence_column not in cells.header:
            raise DataError(f"{where}: {unknown('column', sequence_column, cells.header)}")
        at = cells.header.index(sequence_column)
    else:
        at = next((i for i, name in enumerate(lower) if name in SEQUENCE_NAMES), -1)
    if at < 0:
        shown = ", ".join(cells.header)[:200]
        raise DataError(
            f"{where}: it begins neither with '>' as FASTA does, nor with a header that has a column called "
            f"{' or '.join(SEQUENCE_NAMES)}, but with {shown!r}. Name the column of a table with --sequence-column."
        )
    named = next((i for i, name in enumerate(lower) if name in ID_NAMES and i != at), None)
    number = 0
    for number, (line, row) in enumerate(cells.rows, start=1):
        name = str(number) if named is None else row[named]
        yield Sequence(name, _encode(row[at], f"{where} line {line}"))
    if not number:
        raise DataError(f"{where}: the table has a header but no rows.")


def _lines(text: TextIO, where: str, max_memory: int | None) -> Iterator[str]:
    """Whole lines, without their ends."""
    pieces: list[str] = []
    size = 0
    while piece := text.readline(_PIECE):
        pieces.append(piece)
        size += len(piece)
        if piece.endswith("\n"):
            yield "".join(pieces).rstrip("\n")
            pieces, size = [], 0
        elif size > _PIECE:
            require(where, BYTES_A_BASE * size, max_memory, f"a line of at least {size:,} characters")
    if pieces:
        yield "".join(pieces)


SOURCES: Final[Mapping[str, Source]] = {"fasta": _fasta, "table": _table}
"""Name of a format -> its reader."""


def _encode(text: str, where: str) -> Codes:
    if not text:
        raise DataError(f"{where} has no sequence.")
    try:
        codes = encode_one(text, where)
    except DataError as error:
        if _PROTEIN & set(text.upper()):
            raise DataError(f"{error} {_AMINO}") from error
        raise
    unclear = codes == N_CODE
    if len(text) >= _SURE and unclear.any():
        letters = np.isin(np.frombuffer(text.encode("latin-1"), dtype=np.uint8), _LETTERS)
        if 2 * int(letters.sum()) > len(text):
            raise DataError(f"{where}: over half of its letters are none of A, C, G, T, U and N. {_AMINO}")
    return codes


_AMINO: Final = "It looks like a protein; predictions are made for DNA. Give the DNA sequences."
