"""Arrays whose rows arrive one after the other, as a NumPy archive in bounded memory."""

from __future__ import annotations

import contextlib
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import numpy.typing as npt

_PIECE: Final = 1 << 20  # bytes
_DATE: Final = (1980, 1, 1, 0, 0, 0)  # the same arrays give the same file


class Rows:
    """An array that grows by rows, kept in a file until their number is known.

    Parameters
    ----------
    file : IO of bytes
        Open for writing and reading, empty.
    shape : tuple of int
        Of one row.
    dtype : numpy.dtype or type
        Of the elements.
    """

    def __init__(self, file: IO[bytes], shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
        self._file, self._row, self.dtype, self._n = file, shape, np.dtype(dtype), 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array so far."""
        return (self._n, *self._row)

    def add(self, rows: npt.NDArray[Any]) -> None:
        """Append rows, shape=(any number, *shape of one row)."""
        if rows.shape[1:] != self._row:
            raise ValueError(f"rows of shape {rows.shape[1:]}; expected {self._row}")
        self._file.write(np.ascontiguousarray(rows, dtype=self.dtype).tobytes())
        self._n += len(rows)

    def mapped(self) -> npt.NDArray[Any]:
        """The array, read from the file as it is needed."""
        self._file.flush()
        if not self._n:
            return np.zeros(self.shape, self.dtype)
        return np.memmap(self._file, dtype=self.dtype, mode="r", shape=self.shape)

    def copy(self, target: IO[bytes]) -> None:
        """Write the array as NPY."""
        header = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": self.shape}
        np.lib.format.write_array_header_1_0(target, header)
        self._file.flush()
        self._file.seek(0)
        shutil.copyfileobj(self._file, target, _PIECE)
        self._file.seek(0, 2)


@contextlib.contextmanager
def growing(folder: Path, arrays: Mapping[str, tuple[tuple[int, ...], npt.DTypeLike]]) -> Iterator[dict[str, Rows]]:
    """Open arrays that grow, by name, each from the shape of a row and a type; their files are removed at the end."""
    paths = {name: folder / f".{name}.rows" for name in arrays}
    with contextlib.ExitStack() as stack:
        found = {}
        for name, (shape, dtype) in arrays.items():
            stack.callback(paths[name].unlink, missing_ok=True)
            found[name] = Rows(stack.enter_context(paths[name].open("w+b")), shape, dtype)
        yield found


def write_archive(path: Path, arrays: Mapping[str, Rows | npt.NDArray[Any]]) -> None:
    """Write arrays as ``numpy.savez_compressed`` does; nothing is pickled."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy", _DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(entry, "w", force_zip64=True) as target:
                if isinstance(array, Rows):
                    array.copy(target)
                else:
                    np.lib.format.write_array(target, array, allow_pickle=False)
