"""Lines of a motif file, whose size is limited by what the largest databases have."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from tuner.errors import MotifError
from tuner.textfile import Expected, Room, read_text

# HOCOMOCO v13, one of the largest, has 2 MB and 24,000 lines. A line costs more than its letters: both are counted.
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
    latin=True,  # names of authors and factors; every matrix is ASCII
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

    def refuse(size: int, kind: str, whole: bool) -> MotifError:
        most = f"{limit >> 20} MiB" if limit >= 1 << 20 else f"{limit} bytes"
        unpacked = " decompressed" if kind else ""
        return MotifError(f"{path}: more than {most}{unpacked}; no motif file is so large. Give a file of motifs only.")

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
