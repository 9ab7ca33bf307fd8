"""Motif matrices: what a valid one is, its information content, and how it is written as a MEME file.

A matrix is a position probability matrix (PPM) of shape (4, width), rows in the order A, C, G, T,
columns summing to 1. MEME files hold its transpose, one line a position.
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


def check_ppm(ppm: object, where: str, *, tolerance: float = COLUMN_SUM_TOLERANCE) -> np.ndarray:
    """Return `ppm` as float64 with columns scaled to sum to exactly 1, or say what is wrong with it.

    Parameters
    ----------
    ppm : array_like, shape=(4, width)
        Probabilities whose columns sum to 1 within `tolerance`.
    where : str
        Name of the motif for the error, e.g. ``"filters.meme: filter3"``.
    tolerance : float
        Greatest difference of a column sum from 1.

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
    with np.errstate(over="ignore"):
        sums = matrix.sum(axis=0)
    if (sums == 0).any():
        raise MotifError(f"{where}: column {int(np.argmin(sums))} is all zero. Remove it or use 0.25 each.")
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


def read_meme(path: str | Path) -> tuple[Motif, ...]:
    """Read every matrix of a motif file that must be whole, such as the filters of a trial.

    Parameters
    ----------
    path : str or Path
        A file in MEME format, or in any other of `tuner.motifs.formats.FORMATS`.

    Returns
    -------
    tuple of Motif
        In file order; `n_sites` is None where the file states none.

    Raises
    ------
    MotifError
        As `tuner.motifs.formats.read_motif_file`, and where any of its matrices is broken.
    """
    from tuner.motifs.formats import read_motif_file  # its readers make the motifs of this module

    return _whole(read_motif_file(path))


def parse_meme(text: str, name: str) -> tuple[Motif, ...]:
    """Read every matrix of a text, as `read_meme` reads a file; errors call it `name`."""
    from tuner.motifs.formats import parse_motifs  # its readers make the motifs of this module

    return _whole(parse_motifs(text, name))


def _whole(found: MotifFile) -> tuple[Motif, ...]:
    if found.broken:
        raise MotifError(found.broken[0])
    return found.motifs


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
