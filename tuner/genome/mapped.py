"""`Mapped`: the bytes of a file, mapped, of which only what was read last stays in memory.

Pages of a mapped file count as memory of the process until they are given back. Somebody who reads windows all over a
genome would hold the whole file in the end.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tuner.errors import DataError, permission

MOST_HELD: Final = 1 << 28
"""Bytes that may have been read before their pages are given back."""
_AROUND: Final = 1 << 16  # bytes that Linux maps with each page, if they are in its cache


class Mapped:
    """A file that is read in pieces.

    Parameters
    ----------
    path : Path

    Attributes
    ----------
    content : numpy.ndarray, shape=(size,), uint8
        Its bytes. A piece of it must be copied if it is kept after a call of `note`.

    Raises
    ------
    DataError
        If the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._map: mmap.mmap | None = None
        self._held = 0
        try:
            with path.open("rb") as file:
                if path.stat().st_size:
                    self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror or error}).{permission(error)}") from error
        self.content: NDArray[np.uint8] = np.frombuffer(self._map or b"", dtype=np.uint8)

    def note(self, size: int) -> None:
        """Note that so many bytes in a row were read, and give pages back if they were many since the last time."""
        self._held += max(size, _AROUND)
        if self._held >= MOST_HELD:
            self._held = 0
            if self._map is not None and hasattr(mmap, "MADV_DONTNEED"):
                self._map.madvise(mmap.MADV_DONTNEED)  # a mapped file is read again from the cache of the system
