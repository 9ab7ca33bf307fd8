r"""Text files as people have them: compressed or not, with any line ends, and never larger than allowed.

What is read comes out as UTF-8 with ``\n`` at every line's end. How a file is compressed is told by its first bytes;
endings lie.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import re
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from tuner.errors import DataError, permission
from tuner.limits import default_limit, memory_here, require, word_size

_CHUNK: Final = 1 << 20
_COUNTED: Final = 4  # up to so many times what is allowed is counted, so that an error can name the size
_XZ_DICTIONARY: Final = 256 << 20  # an xz file may ask for 4 GB of it; `xz -9` asks for 65 MB
_KINDS: Final = ((b"\x1f\x8b", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ\x00", "xz"))
_OTHERS: Final = (
    (b"PK\x03\x04", "a zip archive; unpack it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd; decompress it, or use gzip, bzip2 or xz"),
    (b"\x1f\x9d", "compressed by compress (.Z); decompress it, or use gzip, bzip2 or xz"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file; name it by path = with the ending .h5"),
    (b"\xd0\xcf\x11\xe0", "an Excel file; save it as CSV"),
    (b"CRAM", "a CRAM file; export FASTA"),
)
_MARKS: Final = (  # UTF-32 first: its little-endian mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_TAR: Final = (257, b"ustar")


def read_text(path: Path, max_memory: int | None = None, *, copies: int = 3) -> bytes:
    r"""Read a text file.

    Parameters
    ----------
    path : Path
        Plain, gzip, bzip2 or xz, of one or several members; UTF-8 with or without a byte-order mark, or UTF-16 or
        UTF-32 with one; lines end as on Unix, Windows or old Macintoshes.
    max_memory : int, optional, bytes
        What reading may take; without it half of the memory that is there.
    copies : int
        How often the text's size what is made of it takes; three times are taken here.

    Returns
    -------
    bytes
        UTF-8 without byte-order mark. Lines end with ``\n``; a ``\r`` is left only where the file holds both.

    Raises
    ------
    DataError
        If it is missing, no regular file, not readable, empty, a damaged or cut compressed file, an archive, no text,
        or larger than allowed.
    """
    size = _size(path)
    try:
        with path.open("rb") as file:
            content = _content(path, file, size, max_memory, copies)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).{permission(error)}") from error
    for magic, words in _OTHERS:
        if content.startswith(magic):
            raise DataError(f"{path}: it is {words}.")
    if content[_TAR[0] :].startswith(_TAR[1]):
        raise DataError(f"{path}: it is a tar archive; unpack it and name one of its files.")
    content = _newlines(_utf8(path, content))
    if not content.strip():
        raise DataError(f"{path}: the file is empty.")
    return content


def _size(path: Path) -> int:
    """Size of a regular file; everything else is refused before it is opened, for a pipe would wait for a writer."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{path}: no such file.") from None
    except (OSError, ValueError) as error:  # a path that is too long, or holds a NUL
        raise DataError(f"{str(path)!r}: cannot be looked up ({getattr(error, 'strerror', None) or error}).") from error
    if stat.S_ISDIR(found.st_mode):
        raise DataError(f"{path}: it is a folder; expected a file.")
    if not stat.S_ISREG(found.st_mode):
        raise DataError(
            f"{path}: it is a pipe, a socket or a device. Data is read by every worker, so it must be a regular file: "
            f"write it to one."
        )
    return found.st_size


def _content(path: Path, file: IO[bytes], size: int, max_memory: int | None, copies: int) -> bytes:
    kind = _kind(file)
    if not kind:
        require(path, copies * size, max_memory)
        file.seek(0)
        return file.read(size)
    try:
        # Once to count and once to keep: nothing is kept of what turns out to be too large.
        allowed = default_limit() if max_memory is None else max_memory
        most = max(allowed, min(_COUNTED * allowed, memory_here()))
        total = 0
        for part in _parts(file, kind):
            total += len(part)
            if copies * total > most:
                require(
                    path, copies * total, allowed, f"what its {kind} data hold (at least {word_size(total)} of text)"
                )
        require(path, copies * total, allowed, f"what its {kind} data hold ({word_size(total)} of text)")
        return b"".join(_parts(file, kind))
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise _damaged(path, kind, error) from error
    except OSError as error:
        if error.errno is None:  # so bz2 reports damaged data; a disk's errors have a number
            raise _damaged(path, kind, error) from error
        raise


def _kind(file: IO[bytes]) -> str:
    start = file.read(8)
    return next((kind for magic, kind in _KINDS if start.startswith(magic)), "")


def _parts(file: IO[bytes], kind: str) -> Iterator[bytes]:
    file.seek(0)
    if kind == "xz":
        return _streams(file)
    return _all(gzip.GzipFile(fileobj=file, mode="rb") if kind == "gzip" else bz2.BZ2File(file))


def _damaged(path: Path, kind: str, error: Exception) -> DataError:
    return DataError(f"{path}: its {kind} data are damaged or cut short ({error}). Copy or download it again.")


def _all(file: gzip.GzipFile | bz2.BZ2File) -> Iterator[bytes]:
    while part := file.read(_CHUNK):
        yield part


def _streams(file: IO[bytes]) -> Iterator[bytes]:
    """Decompress xz of one or several streams, whose dictionaries are limited: `lzma.LZMAFile` limits none."""
    data = file.read(_CHUNK)
    while data:
        decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_DICTIONARY)
        while not decompressor.eof:
            yield decompressor.decompress(data, _CHUNK)
            data = file.read(_CHUNK) if decompressor.needs_input and not decompressor.eof else b""
            if decompressor.needs_input and not data and not decompressor.eof:
                raise EOFError("its end is missing")
        data = decompressor.unused_data
        while not data.strip(b"\x00"):  # padding between and after streams is zeros
            data = file.read(_CHUNK)
            if not data:
                return
        data = data.lstrip(b"\x00")


def _utf8(path: Path, content: bytes) -> bytes:
    """Text as UTF-8 without byte-order marks, also where files with marks were put together."""
    for mark, name in _MARKS:
        if content.startswith(mark):
            try:
                content = content.decode(name).encode("utf-8")
            except UnicodeError as error:
                raise DataError(f"{path}: it begins as {name.upper()} text and is none ({error}).") from error
    if codecs.BOM_UTF8 in content:
        content = re.sub(rb"(^|[\r\n])\xef\xbb\xbf", rb"\1", content)
    at = content.find(b"\x00")
    if at >= 0:
        raise DataError(
            f"{path} line {_line(content, at)}: it holds a NUL byte, so it is a binary file, or UTF-16 text without a "
            f"byte-order mark. Save it as UTF-8 text."
        )
    if not content.isascii():
        _check_utf8(path, content)
    return content


def _check_utf8(path: Path, content: bytes) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(content), _CHUNK):
        held = len(decoder.getstate()[0])  # bytes of a character that the last chunk began
        try:
            decoder.decode(content[start : start + _CHUNK], start + _CHUNK >= len(content))
        except UnicodeDecodeError as error:
            at = start - held + error.start
            raise DataError(
                f"{path} line {_line(content, at)}: the byte 0x{content[at]:02x} is no UTF-8 text. "
                f"If it is a text file, save it as UTF-8."
            ) from error


def _line(content: bytes, at: int) -> int:
    before = content[:at]
    return 1 + (before.count(b"\n") or before.count(b"\r"))


def _newlines(content: bytes) -> bytes:
    if b"\r" not in content:
        return content
    content = content.replace(b"\r\n", b"\n")
    if b"\r" in content and b"\n" not in content:
        return content.replace(b"\r", b"\n")
    return re.sub(rb"\r+\n", b"\n", content) if b"\r\n" in content else content
