"""Motif matrices: what a valid one is, its information content, and MEME files.

A matrix is a position probability matrix (PPM) of shape (4, width), rows in the order A, C, G, T,
columns summing to 1. MEME files hold its transpose, one line a position.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np

from tuner.errors import MotifError
from tuner.files import write_atomically

COLUMN_SUM_TOLERANCE = 1e-3  # MEME files of four decimals are off by at most 2e-4
DEFAULT_SITES = 20.0  # what the MEME format assumes where a matrix states no nsites


class Motif(NamedTuple):
    """One named matrix.

    Attributes
    ----------
    id : str
        Identifier, unique within a file or database, e.g. ``"MA1971.2"``.
    name : str
        Name of the factor, e.g. ``"ZBED2"``; empty if the file has none.
    ppm : np.ndarray, shape=(4, width), float64
        Probabilities; columns sum to 1.
    family : str or None
        Structural family of the factor, where the database knows it.
    n_sites : float or None
        Number of sites the matrix was counted from.
    """

    id: str
    name: str
    ppm: np.ndarray
    family: str | None = None
    n_sites: float | None = None


def check_ppm(ppm: object, where: str) -> np.ndarray:
    """Return `ppm` as float64 with columns scaled to sum to exactly 1, or say what is wrong with it.

    Parameters
    ----------
    ppm : array_like, shape=(4, width)
        Probabilities whose columns sum to 1 within 1e-3.
    where : str
        Name of the motif for the error, e.g. ``"filters.meme: filter3"``.

    Returns
    -------
    np.ndarray, shape=(4, width), float64

    Raises
    ------
    MotifError
        Not numbers, not (4, width), no column, NaN or infinite, negative, zero columns, or counts.
    """
    try:
        matrix = np.array(ppm, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise MotifError(f"{where}: not a matrix of numbers ({error}).") from None
    if matrix.ndim != 2 or matrix.shape[0] != 4 or matrix.shape[1] == 0:
        raise MotifError(f"{where}: shape {matrix.shape}; expected (4, width) with rows A, C, G, T.")
    if not np.isfinite(matrix).all():
        raise MotifError(f"{where}: column {_first(~np.isfinite(matrix))} holds NaN or infinity.")
    if (matrix < 0).any():
        column = _first(matrix < 0)
        raise MotifError(
            f"{where}: column {column} holds {matrix[:, column].min():g}. Give probabilities, not log-odds."
        )
    sums = matrix.sum(axis=0)
    if (sums == 0).any():
        raise MotifError(f"{where}: column {int(np.argmin(sums))} is all zero. Remove it or use 0.25 each.")
    if (np.abs(sums - 1) > COLUMN_SUM_TOLERANCE).any():
        column = int(np.argmax(np.abs(sums - 1)))
        raise MotifError(
            f"{where}: column {column} sums to {sums[column]:g}, not 1. "
            "Divide counts by their column sums to get probabilities."
        )
    return np.asarray(matrix / sums, dtype=np.float64)


def _first(bad: np.ndarray) -> int:
    return int(np.flatnonzero(bad.any(axis=0))[0])


def column_information(ppm: np.ndarray) -> np.ndarray:
    """Information content of each column against a uniform background.

    Parameters
    ----------
    ppm : np.ndarray, shape=(4, width)
        Probabilities.

    Returns
    -------
    np.ndarray, shape=(width,), float64, bits
        ``2 + sum_b p_b log2 p_b``, between 0 and 2 (Schneider & Stephens 1990).
    """
    safe = np.where(ppm > 0, ppm, 1.0)  # 0 log 0 = 0
    return np.asarray(2.0 + (ppm * np.log2(safe)).sum(axis=0), dtype=np.float64)


def corrected_information(ppm: np.ndarray, n_sites: float) -> float:
    """Information content less what so many random sites show by chance.

    Parameters
    ----------
    ppm : np.ndarray, shape=(4, width)
        Probabilities estimated from `n_sites` sites.
    n_sites : float
        Number of sites, positive.

    Returns
    -------
    float, bits
        Sum over columns of ``IC - 3 / (2 ln 2 n_sites)`` (small-sample correction of Schneider et al.
        1986). May be negative.
    """
    return float(column_information(ppm).sum() - ppm.shape[1] * 3.0 / (2.0 * np.log(2.0) * n_sites))


def reverse_complement(ppm: np.ndarray) -> np.ndarray:
    """Matrix of the other strand: both axes reversed."""
    return np.ascontiguousarray(ppm[::-1, ::-1])


def ppm_bytes(ppm: np.ndarray) -> bytes:
    """Bytes of a matrix at six decimals, the precision of our MEME files; the same on every platform."""
    return np.round(np.asarray(ppm) * 1e6).astype("<i4").tobytes(order="C")


def motifs_digest(motifs: Iterable[Motif]) -> str:
    """SHA-256 over identifiers and matrices (six decimals), in the order given."""
    digest = hashlib.sha256()
    for motif in motifs:
        digest.update(f"{motif.id}\t{motif.ppm.shape[1]}\n".encode())
        digest.update(ppm_bytes(motif.ppm))
    return digest.hexdigest()


_MATRIX = re.compile(r"letter-probability matrix\s*:(.*)", re.IGNORECASE)
_FIELD = re.compile(r"(\w+)\s*=\s*(\S+)")


def read_meme(path: str | Path) -> tuple[Motif, ...]:
    """Read every letter-probability matrix of a MEME text file.

    Parameters
    ----------
    path : str or Path
        A file in minimal MEME format, or the text output of MEME or STREME. DNA only.

    Returns
    -------
    tuple of Motif
        In file order; `n_sites` is None where the file states none.

    Raises
    ------
    MotifError
        File missing or unreadable, another alphabet, no motif, a repeated identifier, a truncated or
        invalid matrix; the text names file, line and motif.

    Notes
    -----
    Format: https://meme-suite.org/meme/doc/meme-format.html
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise MotifError(f"{path}: no such file. Give the path of a MEME file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise MotifError(f"{path}: cannot be read as text ({error}).") from None
    motifs: list[Motif] = []
    seen: set[str] = set()
    identifier = name = ""
    at = 0
    while at < len(lines):
        line = lines[at].strip()
        at += 1
        if line.startswith("ALPHABET"):
            _check_alphabet(line, f"{path.name} line {at}")
        elif line.startswith("MOTIF "):
            # MEME's own output goes on with "width = 15 sites = 20 ..." on this line.
            words = re.split(r"\bwidth\s*=", line[6:])[0].split()
            if not words:
                _fail(path, at, "MOTIF without a name")
            identifier, name = words[0], " ".join(words[1:])
        elif found := _MATRIX.match(line):
            if not identifier:
                _fail(path, at, "a matrix before any MOTIF line")
            if identifier in seen:
                _fail(path, at, f"motif {identifier} occurs twice. Rename or remove one")
            fields = dict(_FIELD.findall(found[1]))
            rows, at = _read_rows(path, lines, at, identifier, fields)
            sites = _positive(fields.get("nsites"))
            ppm = check_ppm(np.array(rows).T, f"{path.name}: motif {identifier}")
            motifs.append(Motif(identifier, name, ppm, n_sites=sites))
            seen.add(identifier)
    if not motifs:
        raise MotifError(f"{path}: no 'letter-probability matrix' found. Expected a MEME text file, version 4.")
    return tuple(motifs)


def _check_alphabet(line: str, where: str) -> None:
    letters = line.split("=", 1)[-1].strip().strip('"') if "=" in line else "ACGT"
    if letters.split()[:1] not in (["ACGT"], ["DNA"]):
        raise MotifError(f"{where}: alphabet {letters!r}; only DNA motifs (ACGT) can be matched.")


def _read_rows(
    path: Path, lines: Sequence[str], at: int, identifier: str, fields: dict[str, str]
) -> tuple[list[list[float]], int]:
    """Rows of one matrix and the index of the line after it."""
    width = int(_positive(fields.get("w")) or 0)
    rows: list[list[float]] = []
    while at < len(lines) and (not width or len(rows) < width):
        words = lines[at].split()
        if not words and not rows:  # some writers leave a blank line after the header
            at += 1
            continue
        try:
            values = [float(word) for word in words]
        except ValueError:
            break
        if not values:
            break
        at += 1
        if len(values) != 4:
            _fail(path, at, f"motif {identifier}: {len(values)} numbers in a row, expected A C G T")
        rows.append(values)
    if not rows or (width and len(rows) < width):
        _fail(path, at, f"motif {identifier}: {len(rows)} of {width or 'its'} rows. Is the file truncated?")
    return rows, at


def _positive(text: str | None) -> float | None:
    try:
        value = float(text or "nan")
    except ValueError:
        return None
    return value if value > 0 else None


def _fail(path: Path, line: int, what: str) -> NoReturn:
    raise MotifError(f"{path.name} line {line}: {what}.")


def write_meme(motifs: Iterable[Motif], path: str | Path | None = None) -> str:
    """Word motifs as a minimal MEME file and, if `path` is given, write it.

    Parameters
    ----------
    motifs : iterable of Motif
        Matrices with at least one column.
    path : str or Path, optional
        Where to write.

    Returns
    -------
    str
        The text: six decimals, ``nsites`` as in each motif (the format's 20 where unknown).

    Raises
    ------
    MotifError
        An invalid matrix, an identifier with white space, or a path that cannot be written.
    """
    parts = [
        "MEME version 4\n\nALPHABET= ACGT\n\nstrands: + -\n\n"
        "Background letter frequencies\nA 0.25 C 0.25 G 0.25 T 0.25\n"
    ]
    for motif in motifs:
        if not motif.id or motif.id.split() != [motif.id]:
            raise MotifError(f"motif {motif.id!r}: an identifier is one word without white space.")
        ppm = check_ppm(motif.ppm, f"motif {motif.id}")
        sites = DEFAULT_SITES if motif.n_sites is None else motif.n_sites
        parts.append(f"\nMOTIF {motif.id} {motif.name}".rstrip() + "\n")
        parts.append(f"letter-probability matrix: alength= 4 w= {ppm.shape[1]} nsites= {sites:.10g} E= 0\n")
        parts.extend(" ".join(f"{p:.6f}" for p in column) + "\n" for column in ppm.T)
    text = "".join(parts)
    if path is not None:
        try:
            write_atomically(path, text.encode())
        except OSError as error:
            raise MotifError(f"{path}: cannot be written ({error}).") from None
    return text
