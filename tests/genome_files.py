"""Genomes and peaks that tests make: random sequences in FASTA files, and BED files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

LETTERS = np.frombuffer(b"ACGT", dtype=np.uint8)


def random_letters(n: int, seed: int = 0, *, gc: float = 0.5, repeats: bool = False) -> bytes:
    """Random bases; with `repeats`, stretches of 300 in lower case, and GC content that changes along the sequence."""
    rng = np.random.default_rng(seed)
    if not repeats:
        return LETTERS[rng.choice(4, n, p=[(1 - gc) / 2, gc / 2, gc / 2, (1 - gc) / 2])].tobytes()
    local = np.repeat(rng.uniform(0.3, 0.7, n // 1000 + 1), 1000)[:n]
    strong = rng.random(n) < local
    letters = np.where(strong, LETTERS[1 + rng.integers(0, 2, n)], LETTERS[3 * rng.integers(0, 2, n)]).astype(np.uint8)
    masked = np.repeat(rng.random(n // 300 + 1) < 0.4, 300)[:n]
    return np.where(masked, letters + 32, letters).astype(np.uint8).tobytes()


def write_fasta(path: Path, records: Mapping[str, bytes], width: int = 60, end: bytes = b"\n") -> Path:
    """Write a FASTA file with lines of one length."""
    with path.open("wb") as file:
        for name, letters in records.items():
            file.write(b">" + name.encode() + b" made" + end)
            for at in range(0, len(letters), width):
                file.write(letters[at : at + width] + end)
    return path


def write_bed(path: Path, rows: Sequence[Sequence[object]]) -> Path:
    """Write rows separated by tabs."""
    path.write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))
    return path
