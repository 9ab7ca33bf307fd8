"""Reads 2bit, as the specification of UCSC describes them; the file is mapped, and no number in it is trusted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tuner.errors import DataError
from tuner.genome.mapped import Mapped

Bytes = NDArray[np.uint8]

SIGNATURES: Final[Mapping[bytes, Literal["<", ">"]]] = {b"\x43\x27\x41\x1a": "<", b"\x1a\x41\x27\x43": ">"}
"""First four bytes of a file -> order of its bytes."""
_BASES: Final = np.frombuffer(b"TCAG", dtype=np.uint8)
_SHIFTS: Final = np.array([6, 4, 2, 0], dtype=np.uint8)
_LOWER: Final = 32


class _Blocks(NamedTuple):
    start: NDArray[np.int64]
    end: NDArray[np.int64]

    def within(self, start: int, end: int) -> Iterator[slice]:
        """Parts of the blocks within an interval, counted from its start."""
        first, last = np.searchsorted(self.end, start, side="right"), np.searchsorted(self.start, end, side="left")
        for low, high in zip(self.start[first:last].tolist(), self.end[first:last].tolist(), strict=True):
            yield slice(max(low - start, 0), min(high, end) - start)


class _Record(NamedTuple):
    size: int
    unknown: _Blocks
    repeats: _Blocks
    offset: int  # of the packed bases, in bytes


class TwoBit:
    """A 2bit file.

    Parameters
    ----------
    path : Path

    Attributes
    ----------
    sizes : dict of str to int, bp
    notes : tuple of str

    Raises
    ------
    DataError
        If the file cannot be read, or what it announces does not fit into it.
    """

    notes: tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = Mapped(path)
        self._content = self._file.content
        self._order: Literal["<", ">"] = SIGNATURES.get(self._content[:4].tobytes(), "<")
        self._records = dict(self._read())
        self.sizes = {name: record.size for name, record in self._records.items()}

    def _read(self) -> Iterator[tuple[str, _Record]]:
        version, count = self._numbers(4, 2)
        if version not in (0, 1):
            raise DataError(f"{self._path}: version {version} of 2bit is not known; versions 0 and 1 are.")
        at = 16
        for _ in range(count):
            size = int(self._part(at, 1)[0])
            name = self._part(at + 1, size).tobytes().decode("latin-1")
            at += 1 + size
            wide = np.dtype("u8" if version else "u4").newbyteorder(self._order)
            offset = int(self._part(at, wide.itemsize).view(wide)[0])
            at += wide.itemsize
            yield name, self._record(offset)

    def _record(self, at: int) -> _Record:
        (size,) = self._numbers(at, 1)
        at += 4
        blocks = []
        for _ in range(2):
            (count,) = self._numbers(at, 1)
            values = np.array(self._numbers(at + 4, 2 * count), dtype=np.int64)
            blocks.append(_Blocks(values[:count], values[:count] + values[count:]))
            at += 4 + 8 * count
        if at + 4 + -(-size // 4) > len(self._content):
            self._part(len(self._content), 1)
        return _Record(size, blocks[0], blocks[1], at + 4)

    def _part(self, at: int, size: int) -> Bytes:
        if at + size > len(self._content):
            raise DataError(
                f"{self._path}: the file ends before the bases that it announces, so it was cut short or is damaged. "
                f"Copy or download it again."
            )
        return np.array(self._content[at : at + size])

    def _numbers(self, at: int, count: int) -> list[int]:
        found: list[int] = self._part(at, 4 * count).view(np.dtype("u4").newbyteorder(self._order)).tolist()
        return found

    def letters(self, chrom: str, start: int, end: int) -> Bytes:
        """Letters of an interval within a chromosome; lower case marks repeats."""
        record = self._records[chrom]
        first = start // 4
        packed = self._content[record.offset + first : record.offset + -(-end // 4)]
        codes = (packed[:, None] >> _SHIFTS) & 3  # (bytes, 4)
        letters: Bytes = _BASES[codes.reshape(-1)[start - 4 * first : end - 4 * first]]
        self._file.note(len(packed))
        for part in record.unknown.within(start, end):
            letters[part] = ord("N")
        for part in record.repeats.within(start, end):
            letters[part] += _LOWER
        return letters
