"""Motif matrices: validation, information content, and MEME files.

A matrix is a position probability matrix (PPM) of shape (4, width), with rows in the order A, C, G, T and columns that
sum to 1. MEME files contain its transpose, with one line per position.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tuner.errors import MotifError
from tuner.files import write_atomically

if TYPE_CHECKING:
    from tuner.motifs.formats import MotifFile

COLUMN_SUM_TOLERANCE = 1e-3  # in MEME files with four decimals the error is at most 2e-4
DEFAULT_SITES = 20.0  # what the MEME format assumes if a matrix states no nsites


class Motif(NamedTuple):
    """A named matrix.

    Attributes
    ----------
    id : str
        Identifier, unique within a file or database, e.g. ``"MA1971.2"``.
    name : str
        Name of the factor, e.g. ``"ZBED2"``; empty if the file has none.
    ppm : np.ndarray, shape=(4, width), float64
        Probabilities; columns sum to 1.
    family : str or None
        Structural family of the factor, if the database states it.
    n_sites : float or None
        Number of sites from which the matrix was estimated.
    """

    id: str
    name: str
    ppm: np.ndarray
    family: str | None = None
    n_sites: float | None = None


def check_ppm(ppm: object, where: str, *, tolerance: float = COLUMN_SUM_TOLERANCE) -> np.ndarray:
    """Return `ppm` as float64 with columns scaled to sum to exactly 1, or raise an error that says what is wrong.

    Parameters
    ----------
    ppm : array_like, shape=(4, width)
        Probabilities whose columns sum to 1 within `tolerance`.
    where : str
        Name of the motif for the error, e.g. ``"filters.meme: filter3"``.
    tolerance : float
        Largest allowed difference of a column sum from 1.

    Returns
    -------
    np.ndarray, shape=(4, width), float64

    Raises
    ------
    MotifError
        If these are not numbers, the shape is not (4, width), there is no column, a value is NaN, infinite or
        negative, a column is all zero, or these are counts.
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
    with np.errstate(over="ignore"):
        sums = matrix.sum(axis=0)
    if (sums == 0).any():
        raise MotifError(f"{where}: column {int(np.argmin(sums))} is all zero. Remove it, or use 0.25 for each base.")
    if (np.abs(sums - 1) > tolerance).any():
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
    """Information content minus the amount expected by chance for this number of sites.

    Parameters
    ----------
    ppm : np.ndarray, shape=(4, width)
        Probabilities estimated from `n_sites` sites.
    n_sites : float
        Number of sites; must be positive.

    Returns
    -------
    float, bits
        Sum over columns of ``IC - 3 / (2 ln 2 n_sites)`` (small-sample correction of Schneider et al.
        1986). May be negative.
    """
    return float(column_information(ppm).sum() - ppm.shape[1] * 3.0 / (2.0 * np.log(2.0) * n_sites))


def reverse_complement(ppm: np.ndarray) -> np.ndarray:
    """Return the matrix of the other strand: both axes are reversed."""
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


def read_meme(path: str | Path) -> tuple[Motif, ...]:
    """Read a motif file in which every matrix must be valid, such as the filters of a trial.

    Parameters
    ----------
    path : str or Path
        A file in MEME format or any other of `tuner.motifs.formats.FORMATS`.

    Returns
    -------
    tuple of Motif
        In file order; `n_sites` is None if the file does not state it.

    Raises
    ------
    MotifError
        As for `tuner.motifs.formats.read_motif_file`, and if any matrix is broken.
    """
    from tuner.motifs.formats import read_motif_file  # its readers make the motifs of this module

    return _whole(read_motif_file(path))


def parse_meme(text: str, name: str) -> tuple[Motif, ...]:
    """Read every matrix of a text, as `read_meme` does of a file; errors call the text `name`."""
    from tuner.motifs.formats import parse_motifs  # its readers make the motifs of this module

    return _whole(parse_motifs(text, name))


def _whole(found: MotifFile) -> tuple[Motif, ...]:
    if found.broken:
        raise MotifError(found.broken[0])
    return found.motifs


def write_meme(motifs: Iterable[Motif], path: str | Path | None = None) -> str:
    """Format motifs as a minimal MEME file and, if `path` is given, write it.

    Parameters
    ----------
    motifs : iterable of Motif
        Matrices with at least one column.
    path : str or Path, optional
        Where to write.

    Returns
    -------
    str
        Text of the file: six decimals, ``nsites`` of each motif (20 if unknown, as in the format).

    Raises
    ------
    MotifError
        If a matrix is invalid, an identifier contains white space, or the path cannot be written.
    """
    parts = [
        "MEME version 4\n\nALPHABET= ACGT\n\nstrands: + -\n\n"
        "Background letter frequencies\nA 0.25 C 0.25 G 0.25 T 0.25\n"
    ]
    for motif in motifs:
        if not motif.id or motif.id.split() != [motif.id]:
            raise MotifError(f"motif {motif.id!r}: an identifier must be one word without white space.")
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
