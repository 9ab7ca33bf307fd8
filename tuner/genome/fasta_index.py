r"""Indexes of FASTA files (``.fai``, as samtools writes them), so that any interval of a genome is read at once.

An index lies beside its FASTA, or in the cache if that folder cannot be written. One that is older than its FASTA, or
that does not describe it, is not used.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tuner.errors import DataError
from tuner.files import make_folder, write_atomically
from tuner.genome.chromosomes import main_names
from tuner.genome.mapped import Mapped

Bytes = NDArray[np.uint8]

_CHUNK: Final = 1 << 26
_NEWLINE, _RETURN, _HEADER = (ord(letter) for letter in "\n\r>")


class Record(NamedTuple):
    """Where one sequence of a FASTA file lies.

    Attributes
    ----------
    size : int, bp
    offset : int, bytes
        Position of its first base in the file.
    bases, width : int
        Bases per line, and bytes per line with its end.
    """

    size: int
    offset: int
    bases: int
    width: int

    def position(self, base: int) -> int:
        """Position of a base in the file, in bytes."""
        return self.offset + base // self.bases * self.width + base % self.bases


class Index(NamedTuple):
    """Records of a FASTA file by name, and what was noticed about its ``.fai``."""

    records: Mapping[str, Record]
    notes: tuple[str, ...]


def open_index(path: Path, file: Mapped, cache: Path | None) -> Index:
    """Read the index of a FASTA file, or make it and write it.

    Parameters
    ----------
    path : Path
        An uncompressed FASTA file.
    file : Mapped
        Its bytes.
    cache : Path, optional
        Folder in which the index is kept if that of the FASTA cannot be written.

    Returns
    -------
    Index

    Raises
    ------
    DataError
        If the file is not FASTA, its lines are uneven, two records have one name, or it ends before its index does.
    """
    beside = path.with_name(path.name + ".fai")
    notes: list[str] = []
    content = file.content
    written = path.stat().st_mtime_ns
    for place in (beside, *([] if cache is None else [_in_cache(path, cache)])):
        with contextlib.suppress(OSError):
            if place.stat().st_mtime_ns < written:
                notes.append(f"{place.name} is older than {path.name} and was not used; a new index was made.")
                continue
            records = _parse(place)
            if records and max(_end(r) for r in records.values()) > len(content):
                raise DataError(
                    f"{path}: the file ends before its index {place.name} does, so it was cut short, or the index is "
                    f"that of another file. Copy the FASTA again, or delete {place}."
                )
            if records and all(_begins(content, name, record) for name, record in records.items()):
                return Index(records, tuple(notes))
            notes.append(f"{place.name} is not the index of {path.name} and was not used; a new index was made.")
    records = build_index(path, file)
    text = "".join(f"{name}\t{r.size}\t{r.offset}\t{r.bases}\t{r.width}\n" for name, r in records.items()).encode()
    for place in (beside, *([] if cache is None else [_in_cache(path, cache)])):
        with contextlib.suppress(OSError):
            make_folder(place.parent)
            write_atomically(place, text, durable=False)
            break
    return Index(records, tuple(notes))


def _in_cache(path: Path, cache: Path) -> Path:
    return cache / "genomes" / f"{identity_of(path)}.fai"


def identity_of(path: Path) -> str:
    """Name of a file in the cache: its stem and a digest of its path, size and time of change."""
    found = path.stat()
    told = f"{path.resolve()}\0{found.st_size}\0{found.st_mtime_ns}"
    return f"{path.name.split('.')[0][:60]}-{hashlib.sha256(told.encode()).hexdigest()[:16]}"


def _end(record: Record) -> int:
    return record.position(record.size - 1) + 1 if record.size else record.offset


def _parse(place: Path) -> dict[str, Record]:
    """Records of a ``.fai``; none if it is not one."""
    records = {}
    try:
        for line in place.read_text(encoding="utf-8").splitlines():
            name, *numbers = line.split("\t")
            size, offset, bases, width = (int(number) for number in numbers[:4])
            if not (size >= 0 <= offset and 0 < bases < width):
                return {}
            records[name] = Record(size, offset, bases, width)
    except ValueError:  # also of a file that is not UTF-8
        return {}
    return records


def _begins(content: Bytes, name: str, record: Record) -> bool:
    """Whether the line before a record's first base is its header."""
    if not record.size:
        return True
    before = content[max(0, record.offset - 4096) : record.offset].tobytes()
    header = before.rstrip(b"\r\n").rpartition(b"\n")[2]
    return before.endswith(b"\n") and (len(before) == 4096 or header[1:].split()[:1] == [name.encode()])


def build_index(path: Path, file: Mapped) -> dict[str, Record]:
    """Find the records of a FASTA file.

    Parameters
    ----------
    path : Path
        For errors.
    file : Mapped
        Its bytes.

    Returns
    -------
    dict of str to Record

    Raises
    ------
    DataError
        As `open_index`.
    """
    content = file.content
    if not len(content) or content[0] != _HEADER:
        raise DataError(f"{path}: it is not a FASTA file, which begins with '>'. Give a genome as FASTA or 2bit.")
    starts = [0]
    for at in range(0, len(content), _CHUNK):
        found = at + np.flatnonzero(content[at : at + _CHUNK] == _HEADER)
        starts += [int(i) for i in found if i and content[i - 1] == _NEWLINE]
        file.note(_CHUNK)
    records: dict[str, Record] = {}
    for start, end in zip(starts, [*starts[1:], len(content)], strict=True):
        name, record = _record(path, file, start, end)
        if name in records:
            raise DataError(f"{path}: two records are called {name!r}. Rename or remove one.")
        records[name] = record
    if not any(records[name].size for name in main_names(records)):
        raise DataError(f"{path}: no record has a sequence.")
    return records


def _record(path: Path, file: Mapped, start: int, end: int) -> tuple[str, Record]:
    content = file.content
    first = _line_end(content, start, end)
    words = content[start + 1 : first].tobytes().decode("latin-1").split()
    if not words:
        raise DataError(f"{path}: the record at byte {start} has no name. Write one after its '>'.")
    offset = min(first + 1, end)
    while end > offset and content[end - 1] in (_NEWLINE, _RETURN):
        end -= 1
    if end == offset:
        return words[0], Record(0, offset, 1, 2)
    line = _line_end(content, offset, end)
    returns = line < end and content[line - 1] == _RETURN
    bases, width = line - offset - int(returns), line + 1 - offset
    lines, last = divmod(end - offset, width)
    body = content[offset : offset + lines * width].reshape(lines, width)
    even = bases > 0 and last <= bases
    step = max(1, _CHUNK // width)
    for at in range(0, lines, step):
        block = body[at : at + step]
        even = even and bool((block[:, -1] == _NEWLINE).all()) and not (block[:, :bases] == _NEWLINE).any()
        file.note(block.size)
    if not even or (content[end - last : end] == _NEWLINE).any():
        raise DataError(
            f"{path}: the lines of {words[0]!r} have different lengths, so its bases cannot be found without reading "
            f"it all. Rewrite it with lines of one length, e.g. by `seqkit seq -w 60`."
        )
    return words[0], Record(lines * bases + last, offset, max(bases, 1), width if line < end else bases + 1)


def _line_end(content: Bytes, start: int, end: int) -> int:
    """Position of the first end of a line from `start` on, or `end`."""
    for at in range(start, end, _CHUNK):
        found = np.flatnonzero(content[at : min(at + _CHUNK, end)] == _NEWLINE)
        if len(found):
            return at + int(found[0])
    return end
