"""Reads text files of data, FASTA and tables, within the allowed memory."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tuner import textfile
from tuner.errors import DataError, TunerError
from tuner.limits import default_limit, memory_here, require, word_size

_COUNTED: Final = 4  # text is counted up to this multiple of the allowed size, so that an error can name the size
_EXPECTED: Final = textfile.Expected(
    DataError,
    others=(
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file; name it by path = with the ending .h5"),
        (b"\xd0\xcf\x11\xe0", "an Excel file; save it as CSV"),
        (b"CRAM", "a CRAM file; export FASTA"),
    ),
)


def read_text(path: Path, max_memory: int | None = None, *, copies: int = 3) -> bytes:
    r"""Read a text file of data; see `tuner.textfile.read_text`.

    Parameters
    ----------
    path : Path
        Any text file, compressed or not.
    max_memory : int, optional, bytes
        Largest amount of memory for reading; by default half of the available memory.
    copies : int
        Memory for the text and everything made from it, in multiples of its size; reading alone needs three.

    Returns
    -------
    bytes
        UTF-8 without byte-order mark. Lines end with ``\n``; ``\r`` remains only if the file contains both.

    Raises
    ------
    DataError
        If the file is missing, not a regular file, not readable, empty, compressed and damaged or truncated, an
        archive, not text, or larger than allowed.
    """

    def room() -> textfile.Room:
        allowed = default_limit() if max_memory is None else max_memory
        most = max(allowed, min(_COUNTED * allowed, memory_here()))
        return textfile.Room(allowed // copies, most // copies, refuse)

    def refuse(size: int, kind: str, whole: bool) -> TunerError:
        text = f"{'' if whole else 'at least '}{word_size(size)} of text"
        try:
            require(path, copies * size, max_memory, f"what its {kind} data hold ({text})" if kind else "reading it")
        except DataError as error:
            return error
        raise ValueError(f"{size} bytes of text are allowed")

    content = textfile.read_text(path, _EXPECTED, room)
    if not content.strip():
        raise DataError(f"{path}: the file is empty.")
    return content
