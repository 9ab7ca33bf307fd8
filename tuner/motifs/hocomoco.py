"""Reads HOCOMOCO count files: ``>IDENTIFIER``, then one line of A, C, G and T counts per position."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tuner.errors import MotifError, unknown
from tuner.motifs.meme import Motif, check_ppm


def read_hocomoco(path: Path) -> tuple[Motif, ...]:
    """Read the position count matrices of HOCOMOCO v11 (Kulakovskiy et al. 2018).

    Parameters
    ----------
    path : Path
        Plain text; lines that begin with # are comments.

    Returns
    -------
    tuple of Motif
        Counts divided by their column sums, without pseudocount. `name` is the identifier up to its first
        underscore, and `n_sites` is the largest column sum.

    Raises
    ------
    MotifError
        If there is no such file, no matrix, or a line that is not four counts. The message names the line.
    """
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise MotifError(f"{path}: cannot be read: {error.strerror}.") from error
    counts: dict[str, list[list[float]]] = {}
    rows: list[list[float]] | None = None
    for number, line in enumerate(lines, start=1):
        if line.startswith("#") or not line.strip():
            continue
        if line.startswith(">"):
            rows = counts.setdefault(line[1:].split()[0], [])
            continue
        try:
            row = [float(field) for field in line.split()]
        except ValueError:
            row = []
        if rows is None or len(row) != 4 or not all(0 <= value < np.inf for value in row) or sum(row) <= 0:
            raise MotifError(
                f"{path.name} line {number}: {line.strip()[:40]!r} is not a row of four counts below a >name."
            )
        rows.append(row)
    motifs = tuple(_motif(path, name, np.array(matrix).T) for name, matrix in counts.items() if matrix)
    if not motifs:
        raise MotifError(f"{path.name}: no matrix; expected lines of four counts below >IDENTIFIER.")
    return motifs


def find_hocomoco(path: Path, identifier: str) -> Motif:
    """Read one matrix of a count file, or raise a MotifError that names the nearest identifier."""
    motifs = {motif.id: motif for motif in read_hocomoco(path)}
    if identifier not in motifs:
        raise MotifError(f"{path.name}: {unknown('motif', identifier, motifs)}")
    return motifs[identifier]


def _motif(path: Path, name: str, counts: np.ndarray) -> Motif:
    totals = counts.sum(axis=0)
    return Motif(
        name, name.split("_")[0], check_ppm(counts / totals, f"{path.name}: {name}"), None, float(totals.max())
    )
