"""Records that the readers find in a motif file, and the checks that turn them into motifs or name what is broken."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal, NamedTuple

import numpy as np

from tuner.errors import MotifError
from tuner.motifs.meme import Motif, check_ppm

# Four numbers with two decimals, each rounded by at most .005, sum to 1 within .02.
ROUNDING = 0.02 + 1e-9
# Added to every column of counts, in equal parts: nothing, as in JASPAR's own MEME files and `jaspar_motifs`.
PSEUDOCOUNT = 0.0
SMALLEST_COUNT = 1.5  # a column with a smaller sum that is not 1 contains neither counts nor probabilities
MAXIMUM_COUNT = 1e12
MAXIMUM_COLUMNS = 1000  # the longest motif of JASPAR 2026 has 35
MAXIMUM_NAME = 200
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf|infinity)", re.IGNORECASE | re.ASCII)
_LONGEST_LINE = 100_000  # ten times the length of 1,000 columns of ten characters

Kind = Literal["probabilities", "counts or probabilities"]


class Record(NamedTuple):
    """One matrix as a file states it.

    Attributes
    ----------
    line : int
        Line where it begins, from 1.
    id, name : str
        As the file states them.
    rows : list of list of float
        One row per position: A, C, G, T.
    kind : str
        What the numbers are, according to the format.
    n_sites : float or None
        As the file states it; for counts the largest column sum is used instead.
    fault : str
        What is wrong with it, and in which line; empty if nothing is.
    """

    line: int
    id: str
    name: str
    rows: list[list[float]]
    kind: Kind
    n_sites: float | None = None
    fault: str = ""


class Checked(NamedTuple):
    """Motifs of a file, and one sentence for each matrix that is not valid."""

    motifs: tuple[Motif, ...]
    broken: tuple[str, ...]


def numbers(words: Iterable[str]) -> list[float] | None:
    """Convert words to floats; None if any is not a plain number (``1_0`` and non-ASCII digits are not)."""
    values = []
    for word in words:
        if not NUMBER.fullmatch(word):
            return None
        values.append(float(word))
    return values


def split(line: str) -> list[str]:
    """Split a line into words; a line too long for any matrix stays one word, which limits the number of words."""
    return line.split() if len(line) <= _LONGEST_LINE else [line]


def named_by(file: str) -> str:
    """Identifier of a matrix that is named only by its file, as in CIS-BP: the file name without its endings."""
    return "_".join(re.sub(r"(?i)\.(txt|tsv|pfm|ppm|pwm|pcm|jaspar|motif)(\.(gz|bz2|xz))?$", "", file).split())


def check_records(records: Iterable[Record], file: str) -> Checked:
    """Turn records into motifs.

    Parameters
    ----------
    records : iterable of Record
        In the order of the file.
    file : str
        Name of the file, for the messages.

    Returns
    -------
    Checked
        In the order of the file. Of two matrices with the same identifier the first is kept.
    """
    motifs: list[Motif] = []
    broken: list[str] = []
    seen: dict[str, int] = {}
    for record in records:
        fault = record.fault or _name_fault(record, seen)
        if fault:
            broken.append(f"{file} {fault}" + ("" if fault.endswith("?") else "."))
            continue
        seen[record.id] = record.line
        try:
            ppm, n_sites = _probabilities(record, f"{file} line {record.line}: motif {record.id}")
        except MotifError as error:
            broken.append(str(error))
            continue
        motifs.append(Motif(record.id, record.name, ppm, n_sites=n_sites))
    return Checked(tuple(motifs), tuple(broken))


def _name_fault(record: Record, seen: dict[str, int]) -> str:
    where = f"line {record.line}"
    if not record.id:
        return f"{where}: the motif has no name"
    if len(record.id) > MAXIMUM_NAME or len(record.name) > MAXIMUM_NAME:
        return f"{where}: motif {record.id[:40]}...: the name has more than {MAXIMUM_NAME} characters"
    if record.id.split() != [record.id] or not (record.id + record.name).isprintable():
        return f"{where}: motif {record.id!r} {record.name!r}: names must be printable, identifiers without white space"
    if record.id in seen:
        return f"{where}: motif {record.id} occurs twice, first in line {seen[record.id]}. Rename or remove one"
    if not record.rows:
        return f"{where}: motif {record.id}: no matrix follows"
    if len(record.rows) > MAXIMUM_COLUMNS:
        return f"{where}: motif {record.id}: {len(record.rows)} columns; a motif has at most {MAXIMUM_COLUMNS}"
    return ""


def _probabilities(record: Record, where: str) -> tuple[np.ndarray, float | None]:
    """Return the matrix as probabilities, and its number of sites."""
    matrix = np.array(record.rows, dtype=np.float64).T  # (4, width)
    if record.kind == "probabilities" or not np.isfinite(matrix).all():
        return check_ppm(matrix, where, tolerance=ROUNDING), record.n_sites
    if (matrix < 0).any():
        return _from_log_odds(matrix, where), record.n_sites
    if (matrix > MAXIMUM_COUNT).any():
        raise MotifError(
            f"{where}: column {int(matrix.max(axis=0).argmax())} holds {matrix.max():g}, too much for a count."
        )
    sums = matrix.sum(axis=0)
    if (sums == 0).any() or (np.abs(sums - 1) <= ROUNDING).all():
        return check_ppm(matrix, where, tolerance=ROUNDING), record.n_sites
    if (sums < SMALLEST_COUNT).any():
        column = int(sums.argmin())
        raise MotifError(
            f"{where}: column {column} sums to {sums[column]:g}: neither probabilities, whose columns all sum to "
            "1, nor counts of at least two sites. Give one or the other."
        )
    return check_ppm((matrix + PSEUDOCOUNT / 4) / (sums + PSEUDOCOUNT), where), float(sums.max())


def _from_log_odds(matrix: np.ndarray, where: str) -> np.ndarray:
    """Convert log-odds against a uniform background to probabilities: .25 e^S or .25 2^S, whichever sums to 1."""
    for base in (np.e, 2.0):
        with np.errstate(over="ignore"):
            ppm = 0.25 * base**matrix
        if np.isfinite(ppm).all() and (np.abs(ppm.sum(axis=0) - 1) <= ROUNDING).all():
            return check_ppm(ppm / ppm.sum(axis=0), where)
    column = int(np.flatnonzero((matrix < 0).any(axis=0))[0])
    raise MotifError(
        f"{where}: column {column} holds {matrix[:, column].min():g}. These are log-odds, but neither natural nor "
        "binary ones against a uniform background. Give the counts or probabilities behind them (HOCOMOCO: pcm)."
    )
