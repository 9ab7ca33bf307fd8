"""`Genome`: the sequence of any interval of a genome, from FASTA or 2bit.

Positions are 0-based and half-open, as in BED. A FASTA file is mapped into memory, so that processes share its pages;
a compressed one is decompressed once into the cache.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import pooch

from tuner.errors import DataError, permission
from tuner.files import make_folder, replacing
from tuner.genome.assemblies import Identified, identify
from tuner.genome.fasta_index import Bytes, identity_of, open_index
from tuner.genome.mapped import Mapped
from tuner.genome.sequence import Codes, encode_letters
from tuner.genome.two_bit import SIGNATURES, TwoBit

_BLOCK: Final = 1 << 24
_GZIP: Final = b"\x1f\x8b"
_AGAIN: Final = "Copy or download it again."
_LINE_ENDS: Final = (ord("\n"), ord("\r"))


class _Source(Protocol):
    @property
    def sizes(self) -> Mapping[str, int]: ...
    @property
    def notes(self) -> tuple[str, ...]: ...

    def letters(self, chrom: str, start: int, end: int) -> Bytes: ...


class Genome:
    """A genome in a file.

    Parameters
    ----------
    path : str or Path
        FASTA (plain, gzip or bgzip) or 2bit.
    cache : Path, optional
        Folder for decompressed files, and for the index if the folder of the FASTA cannot be written; by default the
        user's cache folder.

    Attributes
    ----------
    path : Path
    name : str
        Name of the file.
    sizes : mapping of str to int, bp
        Size of every chromosome, in the order of the file.
    notes : tuple of str
        What was noticed about the index.

    Raises
    ------
    DataError
        If the file is missing, damaged, cut short, or neither FASTA nor 2bit.
    """

    def __init__(self, path: str | Path, *, cache: Path | None = None) -> None:
        self.path = Path(path)
        self.name = self.path.name
        self._cache = Path(pooch.os_cache("tuner")) if cache is None else cache
        self._source: _Source
        start = _first_bytes(self.path)
        if start in SIGNATURES:
            self._source = TwoBit(self.path)
        else:
            packed = start.startswith(_GZIP)
            self._source = _Fasta(_decompressed(self.path, self._cache) if packed else self.path, self._cache)
        self.sizes: Mapping[str, int] = self._source.sizes
        self.notes: tuple[str, ...] = self._source.notes

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self.path, self._cache)

    def __repr__(self) -> str:
        return f"Genome({str(self.path)!r}: {len(self.sizes)} sequences, {sum(self.sizes.values()):,} bp)"

    @cached_property
    def assembly(self) -> Identified | None:
        """The assembly that the sizes of its chromosomes show, if any."""
        return identify(self.sizes)

    def letters(self, chrom: str, start: int = 0, end: int | None = None) -> Bytes:
        """Return the letters of an interval as they are in the file.

        Parameters
        ----------
        chrom : str
            A key of `sizes`.
        start, end : int, bp
            Begin and end; without an end, that of the chromosome.

        Returns
        -------
        numpy.ndarray, shape=(end - start,), uint8
            ASCII; lower case marks repeats in a soft-masked genome.

        Raises
        ------
        DataError
            If there is no such chromosome, or the interval is not within it.
        """
        if chrom not in self.sizes:
            raise DataError(f"{self.name} has no chromosome {chrom!r}; it has {', '.join(list(self.sizes)[:3])}, ...")
        stop = self.sizes[chrom] if end is None else end
        if not 0 <= start <= stop <= self.sizes[chrom]:
            raise DataError(f"{self.name}: {chrom}:{start}-{stop} is not within {chrom} (0-{self.sizes[chrom]}).")
        return self._source.letters(chrom, start, stop)

    def codes(self, chrom: str, start: int = 0, end: int | None = None) -> Codes:
        """Return the bases of an interval on the forward strand.

        Parameters
        ----------
        chrom, start, end
            As for `letters`.

        Returns
        -------
        numpy.ndarray, shape=(end - start,), uint8
            A, C, G, T = 0..3; N and all ambiguous letters = 4.

        Raises
        ------
        DataError
            As for `letters`, or if a character is not a nucleotide.
        """
        return encode_letters(self.letters(chrom, start, end), f"{self.name}, {chrom}", start)


def _reopened(path: Path, cache: Path) -> Genome:
    return Genome(path, cache=cache)


class _Fasta:
    """An uncompressed FASTA file, mapped."""

    def __init__(self, path: Path, cache: Path) -> None:
        self._file = Mapped(path)
        self._content = self._file.content
        index = open_index(path, self._file, cache)
        self._name, self._records, self.notes = path.name, index.records, index.notes
        self.sizes = {name: record.size for name, record in self._records.items()}

    def letters(self, chrom: str, start: int, end: int) -> Bytes:
        if start == end:
            return np.zeros(0, dtype=np.uint8)
        record = self._records[chrom]
        found = self._content[record.position(start) : record.position(end - 1) + 1]
        letters: Bytes = found[(found != _LINE_ENDS[0]) & (found != _LINE_ENDS[1])]
        if len(letters) != end - start:
            raise DataError(
                f"{self._name}: {chrom}:{start}-{end} holds {len(letters)} letters, so its index ({self._name}.fai) is "
                f"not that of this file. Delete the index."
            )
        self._file.note(len(found))
        return letters


def _first_bytes(path: Path) -> bytes:
    if path.is_dir():
        raise DataError(f"{path}: it is a folder; a genome is one file, FASTA or 2bit.")
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file.") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).{permission(error)}") from error
    if not start:
        raise DataError(f"{path}: the file is empty.")
    return start


def _decompressed(path: Path, cache: Path) -> Path:
    """Decompress a FASTA file into the cache, unless it is there already."""
    kept = cache / "genomes" / f"{identity_of(path)}.fa"
    if kept.is_file():
        return kept
    try:
        make_folder(kept.parent)
        with gzip.open(path, "rb") as packed, replacing(kept, durable=False) as part, part.open("wb") as file:
            while block := packed.read(_BLOCK):
                file.write(block)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: its gzip data are damaged or cut short ({error}). {_AGAIN}") from error
    except OSError as error:
        raise DataError(
            f"{path}: it cannot be decompressed into {kept.parent} ({error.strerror or error}). Free space there, set "
            f"TUNER_CACHE_DIR to another folder, or decompress it yourself and name the FASTA file."
        ) from error
    return kept
