"""Text of a motif file: plain, gzip, bzip2 or xz, told by its first bytes, and never more of it than fits in memory.

A compressed file of a few kilobytes can hold gigabytes, so what comes out is counted while it is read.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NoReturn

from tuner.errors import MotifError, permission

# HOCOMOCO v13, one of the largest, has 2 MB and 24,000 lines. A line costs more than its letters: both are counted.
MAXIMUM_BYTES = 128 << 20
MAXIMUM_LINES = 3_000_000
_XZ_MEMORY = 128 << 20  # an xz file may ask for a dictionary of 4 GB; xz -9 asks for 65 MB
_CHUNK = 1 << 20

_REFUSED = (
    (0, b"PK\x03\x04", "it is a zip archive; unpack it and give one of its files"),
    (0, b"\x28\xb5\x2f\xfd", "it is compressed by zstd; decompress it, or compress it with gzip, bzip2 or xz"),
    (0, b"7z\xbc\xaf\x27\x1c", "it is a 7z archive; unpack it and give one of its files"),
    (0, b"\x89HDF", "it is an HDF5 file; give motifs as text, e.g. as a MEME file"),
    (0, b"\xff\xfe", "it is UTF-16; save it as UTF-8"),
    (0, b"\xfe\xff", "it is UTF-16; save it as UTF-8"),
    (257, b"ustar", "it is a tar archive; unpack it and give one of its files"),
)
_NO_TEXT = re.compile(r"[\x00-\x08\x0e-\x1f]")


def read_lines(path: Path, *, limit: int = MAXIMUM_BYTES) -> list[str]:
    """Read the lines of a motif file, decompressed if its first bytes say so.

    Parameters
    ----------
    path : Path
        Plain text in UTF-8 (with or without a byte-order mark) or Latin-1, or such a file in gzip, bzip2 or xz.
    limit : int
        Most bytes of text.

    Returns
    -------
    list of str
        Without line ends, which may be those of Unix, Windows or old Macintoshes.

    Raises
    ------
    MotifError
        No such file, a folder, a damaged or unknown compression, an archive, no text, or more than `limit`.
    """
    try:
        with open(path, "rb", opener=_opener) as file:
            content = _content(path, file, limit)
    except FileNotFoundError:
        raise MotifError(f"{path}: no such file. Give the path of a motif file, e.g. in MEME format.") from None
    except IsADirectoryError:
        raise MotifError(f"{path}: cannot be read as text: it is a folder; give one file.") from None
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte
        remedy = permission(error) if isinstance(error, OSError) else ""
        raise MotifError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error}).{remedy}") from None
    for offset, magic, why in _REFUSED:
        if content[offset:].startswith(magic):
            raise MotifError(f"{path}: cannot be read as text: {why}.")
    ends = content.count(b"\n") + content.count(b"\r")
    if ends > MAXIMUM_LINES:
        raise MotifError(f"{path}: {ends:,} lines; a motif file has at most {MAXIMUM_LINES:,}.")
    text = _decode(path, content)
    return re.split(r"\r\n|\r|\n", text)


def _opener(path: str, flags: int) -> int:
    """Open a pipe without waiting for a writer: one of the shell has its writer, any other without one is empty."""
    handle = os.open(path, flags | os.O_NONBLOCK)
    os.set_blocking(handle, True)
    return handle


def _decode(path: Path, content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")  # names of authors and factors; every matrix is ASCII
    if found := _NO_TEXT.search(text):
        raise MotifError(
            f"{path}: cannot be read as text: it holds the control character {found[0]!r}. Is it a binary file?"
        )
    return text


def _content(path: Path, file: IO[bytes], limit: int) -> bytes:
    """At most `limit` bytes of text, decompressed."""
    start = file.read(6)
    # Not every file can be rewound (a pipe of the shell), so the first bytes are put back by reading through them.
    source = _Again(start, file)
    opened: Callable[[], Iterator[bytes]]
    if start.startswith(b"\x1f\x8b"):
        kind, opened = "gzip", lambda: _read_all(gzip.GzipFile(fileobj=source, mode="rb"))  # type: ignore[call-overload]
    elif start.startswith(b"BZh"):
        kind, opened = "bzip2", lambda: _read_all(bz2.BZ2File(source))  # type: ignore[call-overload]
    elif start.startswith(b"\xfd7zXZ\x00"):
        kind, opened = "xz", lambda: _read_xz(source)
    else:
        kind, opened = "", lambda: _read_all(source)
    parts: list[bytes] = []
    size = 0
    try:
        for part in opened():
            size += len(part)
            if size > limit:
                unpacked = " decompressed" if kind else ""
                _too_large(path, limit, unpacked)
            parts.append(part)
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        _damaged(path, kind, error)
    except OSError as error:
        if kind and error.errno is None:  # bz2 reports damaged data so; a disk's errors have a number
            _damaged(path, kind, error)
        raise
    return b"".join(parts)


def _too_large(path: Path, limit: int, unpacked: str) -> NoReturn:
    size = f"{limit >> 20} MiB" if limit >= 1 << 20 else f"{limit} bytes"
    raise MotifError(f"{path}: more than {size}{unpacked}; no motif file is so large. Give a file of motifs only.")


def _damaged(path: Path, kind: str, error: BaseException) -> NoReturn:
    raise MotifError(
        f"{path}: its {kind} data are damaged or cut short ({error}). Copy or download it again."
    ) from None


def _read_all(file: IO[bytes] | _Again) -> Iterator[bytes]:
    while part := file.read(_CHUNK):
        yield part


def _read_xz(file: _Again) -> Iterator[bytes]:
    """Parts of an xz file of one or several streams, with bounded memory."""
    data = file.read(_CHUNK)
    while data.strip(b"\x00"):  # padding between streams is zeros
        decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
        while not decompressor.eof:
            yield decompressor.decompress(data, _CHUNK)
            data = file.read(_CHUNK) if decompressor.needs_input else b""
            if decompressor.needs_input and not data and not decompressor.eof:
                raise EOFError("the end is missing")
        data = decompressor.unused_data.lstrip(b"\x00") or file.read(_CHUNK).lstrip(b"\x00")


class _Again:
    """A binary file whose first bytes, read already, come again."""

    def __init__(self, start: bytes, file: IO[bytes]) -> None:
        self._start = start
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            size = _CHUNK
        part, self._start = self._start[:size], self._start[size:]
        return part or self._file.read(size)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False
