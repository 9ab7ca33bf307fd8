"""Reads the lines of a motif file, up to a size far above that of the largest databases."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from tuner.errors import MotifError
from tuner.textfile import Expected, Room, read_text

# HOCOMOCO v13, one of the largest, has 2 MB and 24,000 lines. A line costs memory beyond its characters, so both are
# limited.
MAXIMUM_BYTES = 128 << 20
MAXIMUM_LINES = 3_000_000
_EXPECTED: Final = Expected(
    MotifError,
    missing="Give the path of a motif file, e.g. in MEME format.",
    prefix="cannot be read as text: ",
    folder="give one file",
    others=(
        (b"\x89HDF", "an HDF5 file; give motifs as text, e.g. as a MEME file"),
        (b"\xff\xfe", "UTF-16; save it as UTF-8"),
        (b"\xfe\xff", "UTF-16; save it as UTF-8"),
    ),
    pipes=True,
    latin=True,  # in names of authors and factors; every matrix is ASCII
)
_NO_TEXT = re.compile(r"[\x00-\x08\x0e-\x1f]")


def read_lines(path: Path, *, limit: int = MAXIMUM_BYTES) -> list[str]:
    """Read the lines of a motif file, and decompress it if its first bytes say so.

    Parameters
    ----------
    path : Path
        Text in UTF-8 (with or without a byte-order mark) or Latin-1, plain or compressed with gzip, bzip2 or xz.
    limit : int
        Largest number of bytes of text.

    Returns
    -------
    list of str
        Lines without their ends, which may be those of Unix, Windows or old Macintosh systems.

    Raises
    ------
    MotifError
        If there is no such file, or it is a folder, an archive, not text, larger than `limit`, or compressed in a way
        that is damaged or unknown.
    """

    def refuse(size: int, kind: str, whole: bool) -> MotifError:
        most = f"{limit >> 20} MiB" if limit >= 1 << 20 else f"{limit} bytes"
        unpacked = " decompressed" if kind else ""
        return MotifError(
            f"{path}: more than {most}{unpacked}; no motif file is that large. Give a file that contains only motifs."
        )

    content = read_text(path, _EXPECTED, lambda: Room(limit, limit, refuse))
    ends = content.count(b"\n") + content.count(b"\r")
    if ends > MAXIMUM_LINES:
        raise MotifError(f"{path}: {ends:,} lines; a motif file has at most {MAXIMUM_LINES:,}.")
    text = content.decode("utf-8")
    if found := _NO_TEXT.search(text):
        raise MotifError(
            f"{path}: cannot be read as text: it holds the control character {found[0]!r}. Is it a binary file?"
        )
    return re.split(r"[\r\n]", text)
