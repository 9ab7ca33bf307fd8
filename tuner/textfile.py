r"""Text files as people have them: compressed or not, with any line ends, and never larger than allowed.

Text is returned as UTF-8 whose lines end in ``\n``. The compression is recognised by the first bytes of a file, because
its name may be wrong. A compressed file of a few kilobytes can hold gigabytes, so the decompressed bytes are counted
while they are read.
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
    """What a reader accepts as text, and how its errors describe a file that is something else.

    Attributes
    ----------
    error : type of TunerError
        Type of the errors raised.
    missing : str
        Sentence that follows "no such file."
    prefix : str
        Text that precedes "it is a folder" and similar statements.
    folder : str
        What to do if the path is a folder.
    others : tuple of (bytes, str)
        First bytes of files of other formats, and how the error describes such a file, e.g. "an Excel file; save it as
        CSV".
    pipes : bool
        Whether pipes are accepted; if not, only files that every worker can read again.
    latin : bool
        Whether text that is not valid UTF-8 is read as Latin-1.
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
        Largest number of bytes of text that are read into memory.
    counted : int
        Up to how many bytes a larger compressed file is decompressed, so that the error can name its size.
    refuse : callable
        Maps the number of bytes (more than `kept`), the compression ("" if there is none) and whether that is the whole
        text to the error.
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
        What the file should be.
    room : callable
        Returns how large the text may be; called once the file is open.

    Returns
    -------
    bytes
        UTF-8 without a byte-order mark. Lines end in ``\n``; a ``\r`` is left only if the file contains both.

    Raises
    ------
    TunerError
        Of the expected type: if the file is missing, not a regular file, not readable, damaged or cut short, an archive
        or another file that is not text, or larger than allowed.
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
    """Open a pipe without waiting for a writer: a shell's pipe has one, and any other pipe without one is empty."""
    handle = os.open(path, flags | os.O_NONBLOCK)
    os.set_blocking(handle, True)
    return handle


def _size(path: Path, expected: Expected) -> int | None:
    """Return the size of a regular file, None for a pipe; refuse the rest before opening it, which might block."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise expected.error(f"{path}: no such file.{expected.missing and ' ' + expected.missing}") from None
    except (OSError, ValueError) as error:  # a path that is too long, or contains a NUL character
        why = getattr(error, "strerror", None) or error
        raise expected.error(f"{str(path)!r}: cannot be looked up ({why}).") from error
    if stat.S_ISDIR(found.st_mode):
        raise expected.error(f"{path}: {expected.prefix}it is a folder; {expected.folder}.")
    if stat.S_ISREG(found.st_mode):
        return found.st_size
    if expected.pipes:
        return None
    raise expected.error(
        f"{path}: it is a pipe, a socket or a device. Every worker reads the data, so it must be a regular file: "
        f"save it as one."
    )


def _content(path: Path, file: IO[bytes], size: int | None, expected: Expected, room: Room) -> bytes:
    if size is None:  # a stream that cannot be rewound is read whole; compressed, it is smaller than its text
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
        if error.errno is None:  # bz2 reports damaged data as an OSError without errno; errors of the disk have one
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
        parts.clear()  # text that turns out to be too large is not kept
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
    """Decompress one or several xz streams with a limit on dictionary memory, which `lzma.LZMAFile` lacks."""
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
    """Return the text as UTF-8 without byte-order marks, also if files that begin with one were concatenated."""
    for mark, name in _MARKS:
        if content.startswith(mark):
            try:
                content = content.decode(name).encode("utf-8")
            except UnicodeError as error:
                words = f"it begins like {name.upper()} text but is not valid"
                raise expected.error(f"{path}: {words} ({error}).") from error
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
        held = len(decoder.getstate()[0])  # bytes of a character that began in the last chunk
        try:
            decoder.decode(content[start : start + _CHUNK], start + _CHUNK >= len(content))
        except UnicodeDecodeError as error:
            at = start - held + error.start
            raise expected.error(
                f"{path} line {_line(content, at)}: the byte 0x{content[at]:02x} is not valid UTF-8. "
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
