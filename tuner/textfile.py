r"""Text files as people have them: compressed or not, with any line ends, and never larger than allowed.

What is read comes out as UTF-8 with ``\n`` at every line's end. How a file is compressed is told by its first bytes;
endings lie. A compressed file of a few kilobytes can hold gigabytes, so what comes out is counted while it is read.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import os
import re
import stat
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final, NamedTuple

from tuner.errors import TunerError, permission

_CHUNK: Final = 1 << 20
_XZ_DICTIONARY: Final = 256 << 20  # an xz file may ask for 4 GB of it; `xz -9` asks for 65 MB
_KINDS: Final = ((b"\x1f\x8b", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ\x00", "xz"))
_OTHERS: Final = (
    (0, b"PK\x03\x04", "a zip archive; unpack it and give one of its files"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it and give one of its files"),
    (257, b"ustar", "a tar archive; unpack it and give one of its files"),
    (0, b"\x28\xb5\x2f\xfd", "compressed by zstd; decompress it, or use gzip, bzip2 or xz"),
    (0, b"\x1f\x9d", "compressed by compress (.Z); decompress it, or use gzip, bzip2 or xz"),
)
_MARKS: Final = (  # UTF-32 first: its little-endian mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class Expected(NamedTuple):
    """What a reader takes for its text, and how it says that a file is something else.

    Attributes
    ----------
    error : type of TunerError
        What is raised.
    missing : str
        Added to "no such file."
    prefix : str
        Put before "it is a folder" and what else a file is.
    folder : str
        What to do where a folder is given.
    others : tuple of (bytes, str)
        How other files begin, and what to say of them: "an Excel file; save it as CSV".
    pipes : bool
        Whether a pipe is read, too; else only what can be read again by every worker.
    latin : bool
        Whether what is no UTF-8 is read as Latin-1.
    """

    error: type[TunerError]
    missing: str = ""
    prefix: str = ""
    folder: str = "expected a file"
    others: tuple[tuple[bytes, str], ...] = ()
    pipes: bool = False
    latin: bool = False


class Room(NamedTuple):
    """How much text may be read.

    Attributes
    ----------
    kept : int
        Bytes of text that are taken into memory at most.
    counted : int
        How far the text of a larger compressed file is counted, so that the error can name its size.
    refuse : callable
        Given the bytes (more than `kept`), the compression ("" if there is none) and whether these are all: the error.
    """

    kept: int
    counted: int
    refuse: Callable[[int, str, bool], TunerError]


def read_text(path: Path, expected: Expected, room: Callable[[], Room]) -> bytes:
    r"""Read a text file.

    Parameters
    ----------
    path : Path
        Plain, gzip, bzip2 or xz, of one or several members; UTF-8 with or without a byte-order mark, or UTF-16 or
        UTF-32 with one; lines end as on Unix, Windows or old Macintoshes.
    expected : Expected
        What it should be.
    room : callable
        How large it may be; asked once the file is open.

    Returns
    -------
    bytes
        UTF-8 without byte-order mark. Lines end with ``\n``; a ``\r`` is left only where the file holds both.

    Raises
    ------
    TunerError
        Of the expected type: if it is missing, no file, not readable, a damaged or cut compressed file, an archive or
        another file that is none of text, or larger than there is room.
    """
    size = _size(path, expected)
    try:
        with open(path, "rb", opener=_opener) as file:
            content = _content(path, file, size, expected, room())
    except OSError as error:
        raise expected.error(f"{path}: cannot be read ({error.strerror or error}).{permission(error)}") from error
    for magic, words in expected.others:
        if content.startswith(magic):
            raise expected.error(f"{path}: {expected.prefix}it is {words}.")
    for offset, magic, words in _OTHERS:
        if content.startswith(magic, offset):
            raise expected.error(f"{path}: {expected.prefix}it is {words}.")
    return _newlines(_utf8(path, content, expected))


def _opener(path: str, flags: int) -> int:
    """Open a pipe without waiting for a writer: one of the shell has its writer, any other without one is empty."""
    handle = os.open(path, flags | os.O_NONBLOCK)
    os.set_blocking(handle, True)
    return handle


def _size(path: Path, expected: Expected) -> int | None:
    """Size of a regular file, None of a pipe; the rest is refused before it is opened: a pipe waits for a writer."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise expected.error(f"{path}: no such file.{expected.missing and ' ' + expected.missing}") from None
    except (OSError, ValueError) as error:  # a path that is too long, or holds a NUL
        why = getattr(error, "strerror", None) or error
        raise expected.error(f"{str(path)!r}: cannot be looked up ({why}).") from error
    if stat.S_ISDIR(found.st_mode):
        raise expected.error(f"{path}: {expected.prefix}it is a folder; {expected.folder}.")
    if stat.S_ISREG(found.st_mode):
        return found.st_size
    if expected.pipes:
        return None
    raise expected.error(
        f"{path}: it is a pipe, a socket or a device. Data is read by every worker, so it must be a regular file: "
        f"write it to one."
    )


def _content(path: Path, file: IO[bytes], size: int | None, expected: Expected, room: Room) -> bytes:
    if size is None:  # what cannot be rewound is taken whole; compressed, it is smaller than its text
        source = file.read(_CHUNK)
        whole = bytearray(source)
        while source and len(whole) <= room.kept:
            source = file.read(_CHUNK)
            whole += source
        file, size = io.BytesIO(whole), len(whole)
    start = file.read(8)
    file.seek(0)
    kind = next((kind for magic, kind in _KINDS if start.startswith(magic)), "")
    if not kind:
        if size > room.kept:
            raise room.refuse(size, "", True)
        return file.read(size)
    try:
        return _unpacked(file, kind, room)
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise _damaged(path, kind, error, expected) from error
    except OSError as error:
        if error.errno is None:  # so bz2 reports damaged data; a disk's errors have a number
            raise _damaged(path, kind, error, expected) from error
        raise


def _unpacked(file: IO[bytes], kind: str, room: Room) -> bytes:
    parts: list[bytes] = []
    total = 0
    for part in _parts(file, kind):
        total += len(part)
        if total <= room.kept:
            parts.append(part)
            continue
        parts.clear()  # nothing is kept of what turns out to be too large
        if total > room.counted:
            raise room.refuse(total, kind, False)
    if total > room.kept:
        raise room.refuse(total, kind, True)
    return b"".join(parts)


def _parts(file: IO[bytes], kind: str) -> Iterator[bytes]:
    if kind == "xz":
        return _streams(file)
    return _all(gzip.GzipFile(fileobj=file, mode="rb") if kind == "gzip" else bz2.BZ2File(file))


def _damaged(path: Path, kind: str, error: Exception, expected: Expected) -> TunerError:
    return expected.error(f"{path}: its {kind} data are damaged or cut short ({error}). Copy or download it again.")


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


def _utf8(path: Path, content: bytes, expected: Expected) -> bytes:
    """Text as UTF-8 without byte-order marks, also where files with marks were put together."""
    for mark, name in _MARKS:
        if content.startswith(mark):
            try:
                content = content.decode(name).encode("utf-8")
            except UnicodeError as error:
                raise expected.error(f"{path}: it begins as {name.upper()} text and is none ({error}).") from error
    if codecs.BOM_UTF8 in content:
        content = re.sub(rb"(^|[\r\n])\xef\xbb\xbf", rb"\1", content)
    at = content.find(b"\x00")
    if at >= 0:
        raise expected.error(
            f"{path} line {_line(content, at)}: it holds a NUL byte, so it is a binary file, or UTF-16 text without a "
            f"byte-order mark. Save it as UTF-8 text."
        )
    if not content.isascii():
        if expected.latin and not _is_utf8(content):
            return content.decode("latin-1").encode("utf-8")
        _check_utf8(path, content, expected)
    return content


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _check_utf8(path: Path, content: bytes, expected: Expected) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(content), _CHUNK):
        held = len(decoder.getstate()[0])  # bytes of a character that the last chunk began
        try:
            decoder.decode(content[start : start + _CHUNK], start + _CHUNK >= len(content))
        except UnicodeDecodeError as error:
            at = start - held + error.start
            raise expected.error(
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
