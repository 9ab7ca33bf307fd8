r"""Reading text files: compressed or not, with any line ends, and never larger than allowed.

The result is UTF-8 with ``\n`` at the end of every line. The kind of compression is recognised by the first bytes, not
by the file's ending. A compressed file of a few kilobytes can expand to gigabytes, so its text is counted while it is
read.
"""

from __future__ import annotations

import bz2
import codecs
import contextlib
import gzip
import io
import lzma
import os
import re
import stat
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, TextIO

from tuner.errors import TunerError, permission

_CHUNK: Final = 1 << 20
_XZ_DICTIONARY: Final = 256 << 20  # an xz file can demand 4 GB; `xz -9` needs 65 MB
_KINDS: Final = ((b"\x1f\x8b", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ\x00", "xz"))
_OTHERS: Final = (
    *((30, name, "an Excel file; save it as CSV") for name in (b"[Content_Types].xml", b"_rels/.rels", b"docProps/")),
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
    """What a reader accepts, and how its errors describe other files.

    Attributes
    ----------
    error : type of TunerError
        Type of the errors.
    missing : str
        Sentence after "no such file."
    prefix : str
        Text before "it is a folder" and similar descriptions.
    folder : str
        What to do if a folder is given.
    others : tuple of (bytes, str)
        First bytes of other files, and their description: "an Excel file; save it as CSV".
    pipes : bool
        Whether pipes are accepted; otherwise only files, which every worker can read again.
    latin : bool
        Whether text that is not UTF-8 is read as Latin-1.
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
        Largest number of bytes of text kept in memory.
    counted : int
        Number of bytes up to which the text of a larger compressed file is counted, for its size in the error.
    refuse : callable
        Makes the error from the bytes (more than `kept`), the compression ("" for none), and whether these are all.
    """

    kept: int
    counted: int
    refuse: Callable[[int, str, bool], TunerError]


def read_text(path: Path, expected: Expected, room: Callable[[], Room]) -> bytes:
    r"""Read a text file.

    Parameters
    ----------
    path : Path
        Plain, gzip, bzip2 or xz, with one or several members; UTF-8 with or without a byte-order mark, or UTF-16 or
        UTF-32 with one; line ends of Unix, Windows or old Macintoshes.
    expected : Expected
        What it should be.
    room : callable
        Returns how large it may be; called once the file is open.

    Returns
    -------
    bytes
        UTF-8 without byte-order mark. Lines end with ``\n``; a ``\r`` is left only if the file has both.

    Raises
    ------
    TunerError
        Of the expected type: the file is missing, not a file, not readable, damaged or truncated, an archive, not text,
        or too large.
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


@contextlib.contextmanager
def open_text(path: Path, expected: Expected, progress: Callable[[int], None] | None = None) -> Iterator[TextIO]:
    r"""Open a text file of any size, to be read piece by piece.

    Parameters
    ----------
    path : Path
        As for `read_text`; a pipe is read only once.
    expected : Expected
        What it should be.
    progress : callable, optional
        Called with the number of bytes of the file that have been read so far.

    Yields
    ------
    TextIO
        Its text; every line ends with ``\n``.

    Raises
    ------
    TunerError
        As `read_text`, but for the size; what is wrong further on is raised where it is read.
    """
    _size(path, expected)
    kind = ""
    try:
        with open(path, "rb", opener=_opener) as file:
            start = file.peek(512)[:512]
            for offset, magic, words in (*((0, *other) for other in expected.others), *_OTHERS):
                if start.startswith(magic, offset):
                    raise expected.error(f"{path}: {expected.prefix}it is {words}.")
            kind = next((kind for magic, kind in _KINDS if start.startswith(magic)), "")
            pieces = io.BufferedReader(_Pieces(_parts(file, kind), file, progress), _CHUNK)
            mark = pieces.peek(4)
            encoding = next((name for sign, name in _MARKS if mark.startswith(sign)), "utf-8-sig")
            with io.TextIOWrapper(pieces, encoding=encoding, newline=None) as text:
                yield text
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise _damaged(path, kind, error, expected) from error
    except UnicodeDecodeError as error:
        raise expected.error(
            f"{path}: the byte 0x{error.object[error.start]:02x} is not {error.encoding.upper()} text. "
            f"If it is a text file, save it as UTF-8."
        ) from error
    except OSError as error:
        if error.errno is None:
            raise _damaged(path, kind, error, expected) from error
        raise expected.error(f"{path}: cannot be read ({error.strerror or error}).{permission(error)}") from error


class _Pieces(io.RawIOBase):
    """The text of a file, decompressed, as a stream."""

    def __init__(self, parts: Iterator[bytes], file: IO[bytes], progress: Callable[[int], None] | None) -> None:
        self._parts, self._file, self._progress = parts, file, progress
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            piece = next(self._parts, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
            if self._progress is not None and self._file.seekable():
                self._progress(self._file.tell())
        taken = min(len(buffer), len(self._rest))
        buffer[:taken] = self._rest[:taken]
        self._rest = self._rest[taken:]
        return taken


def _opener(path: str, flags: int) -> int:
    """Open a pipe without waiting for a writer: pipes of a shell have one, and a pipe without one is empty."""
    handle = os.open(path, flags | os.O_NONBLOCK)
    os.set_blocking(handle, True)
    return handle


def _size(path: Path, expected: Expected) -> int | None:
    """Size of a regular file, None for a pipe; others are refused before opening, which could wait forever."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise expected.error(f"{path}: no such file.{expected.missing and ' ' + expected.missing}") from None
    except (OSError, ValueError) as error:  # a path that is too long, or contains a NUL
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
    if size is None:  # a pipe cannot be rewound, so it is read whole; compressed data are smaller than their text
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
        if error.errno is None:  # how bz2 reports damaged data; errors of a disk have a number
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
        parts.clear()  # do not keep text that turns out to be too large
        if total > room.counted:
            raise room.refuse(total, kind, False)
    if total > room.kept:
        raise room.refuse(total, kind, True)
    return b"".join(parts)


def _parts(file: IO[bytes], kind: str) -> Iterator[bytes]:
    if kind == "xz":
        return _streams(file)
    if not kind:
        return _all(file)
    return _all(gzip.GzipFile(fileobj=file, mode="rb") if kind == "gzip" else bz2.BZ2File(file))


def _damaged(path: Path, kind: str, error: Exception, expected: Expected) -> TunerError:
    return expected.error(f"{path}: its {kind} data are damaged or cut short ({error}). Copy or download it again.")


def _all(file: gzip.GzipFile | bz2.BZ2File | IO[bytes]) -> Iterator[bytes]:
    while part := file.read(_CHUNK):
        yield part


def _streams(file: IO[bytes]) -> Iterator[bytes]:
    """Decompress one or several xz streams with a limit on their dictionaries, which `lzma.LZMAFile` lacks."""
    data = file.read(_CHUNK)
    while data:
        decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_DICTIONARY)
        while not decompressor.eof:
            yield decompressor.decompress(data, _CHUNK)
            data = file.read(_CHUNK) if decompressor.needs_input and not decompressor.eof else b""
            if decompressor.needs_input and not data and not decompressor.eof:
                raise EOFError("its end is missing")
        data = decompressor.unused_data
        while not data.strip(b"\x00"):  # streams are padded with zeros
            data = file.read(_CHUNK)
            if not data:
                return
        data = data.lstrip(b"\x00")


def _utf8(path: Path, content: bytes, expected: Expected) -> bytes:
    """Text as UTF-8 without byte-order marks, even if files with marks were concatenated."""
    for mark, name in _MARKS:
        if content.startswith(mark):
            try:
                content = content.decode(name).encode("utf-8")
            except UnicodeError as error:
                raise expected.error(f"{path}: it begins like {name.upper()} text, but is not ({error}).") from error
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
                f"{path} line {_line(content, at)}: the byte 0x{content[at]:02x} is not UTF-8 text. "
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
