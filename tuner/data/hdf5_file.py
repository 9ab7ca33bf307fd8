"""Opens HDF5 files and reads arrays from them, with an error for each of the things that can be wrong.

A file may be in another format, truncated, never closed, locked, not readable for this user, or compressed with a
filter that is not installed. h5py raises the same exception for most of these, so they are detected here.
"""

from __future__ import annotations

import errno
import importlib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from tuner.errors import DataError

SIGNATURE: Final = b"\x89HDF\r\n\x1a\n"
# First bytes -> what the file is, and what to do with it. Longer beginnings come first.
_BEGINNINGS: Final[tuple[tuple[bytes, str], ...]] = (
    (b"\x1f\x8b", "gzip: unpack it with gunzip, and name the unpacked file"),
    (b"BZh", "bzip2: unpack it with bunzip2, and name the unpacked file"),
    (b"\xfd7zXZ\x00", "xz: unpack it with unxz, and name the unpacked file"),
    (b"\x28\xb5\x2f\xfd", "Zstandard: unpack it with unzstd, and name the unpacked file"),
    (b"MATLAB 5.0 MAT-file", "a MATLAB 5 file: load it in Python with scipy.io.loadmat, and write X_* and Y_* to HDF5"),
    (b"\x93NUMPY", "NumPy's npy: load it with numpy.load, and write X_* and Y_* to HDF5"),
    (b"\x0e\x03\x13\x01", "HDF4, which is another format: convert it with h4toh5"),
    (b"CDF\x01", "NetCDF 3: convert it with nccopy -k nc4, and name its arrays X_* and Y_*"),
    (b"PAR1", "Parquet: write the table as TSV and give that"),
    (b"SQLite format 3\x00", "a SQLite database"),
    (b"\x80\x04\x95", "a Python pickle, which is not opened because it can run code: write X_* and Y_* to HDF5"),
    (b"version https://git-lfs", "a Git LFS pointer: fetch the file itself with git lfs pull"),
)
_PLUGIN: Final = "hdf5plugin"
# https://github.com/HDFGroup/hdf5_plugins/blob/master/docs/RegisteredFilterPlugins.md: filters that occur, and whether
# the package hdf5plugin provides them.
_FILTERS: Final[dict[int, tuple[str, bool]]] = {
    4: ("szip", False),
    305: ("LZO", False),
    307: ("bzip2", True),
    32000: ("LZF", False),
    32001: ("Blosc", True),
    32002: ("MAFISC", False),
    32003: ("Snappy", False),
    32004: ("LZ4", True),
    32008: ("bitshuffle", True),
    32013: ("ZFP", True),
    32015: ("Zstandard", True),
    32017: ("SZ", True),
    32018: ("FCIDECOMP", True),
    32019: ("JPEG", False),
    32020: ("VBZ", False),
    32024: ("SZ3", True),
    32026: ("Blosc2", True),
    32028: ("SPERR", True),
}
# Exceptions of h5py for a broken file or a type without an equivalent in NumPy; all of them are faults of the file.
FAULTS: Final = (OSError, RuntimeError, KeyError, ValueError, TypeError, UnicodeDecodeError)


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading.

    Parameters
    ----------
    path : Path

    Raises
    ------
    DataError
        If the file cannot be opened; says which of the reasons above it is, and what to do.
    """
    _check_file(path)
    try:
        file = h5py.File(path, "r")
    except FAULTS as error:
        raise _cannot_open(path, error) from error
    with file:
        yield file


def _check_file(path: Path) -> None:
    """Refuse a file that is not readable or in another format; HDF5's own message names neither."""
    try:
        if path.is_dir():
            raise DataError(f"{path} is a folder; expected an HDF5 file. A folder of FASTA files is folder = .")
        if not path.is_file():
            raise DataError(f"{path}: no such file." if not path.exists() else f"{path} is not a regular file.")
        with path.open("rb") as stream:
            start = stream.read(1024)
            size = path.stat().st_size
            # The superblock is at 0, or at 512, 1024, 2048, ... after a user block (MATLAB 7.3 writes one).
            at = 0
            while start[:8] != SIGNATURE and at < size:
                at = 512 if at == 0 else 2 * at
                stream.seek(at)
                if stream.read(8) == SIGNATURE:
                    return
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}). Ask its owner for permission to read the file and its folder."
            if error.errno in (errno.EACCES, errno.EPERM)
            else f"{path}: cannot be read ({error.strerror})."
        ) from error
    if not start:
        raise DataError(f"{path}: the file is empty (0 bytes): copy or download it again.")
    if start[:8] != SIGNATURE:
        raise DataError(f"{path}: not a complete HDF5 file; it is {_identify(path, start)}.")


def _identify(path: Path, start: bytes) -> str:
    """Say what a file is that is not HDF5."""
    for beginning, what in _BEGINNINGS:
        if start.startswith(beginning):
            return what
    if start.startswith(b"PK\x03\x04"):
        with suppress(OSError, zipfile.BadZipFile):
            names = zipfile.ZipFile(path).namelist()
            if names and all(name.endswith(".npy") for name in names):
                return "NumPy's npz: load it with numpy.load, and write X_* and Y_* to HDF5"
        return "a zip archive: unpack it, and name the unpacked file"
    try:
        text = start.decode("utf-8")
    except UnicodeDecodeError as error:
        text = start[: error.start].decode("utf-8") if error.start > len(start) - 4 else ""
    if not text or any(ord(letter) < 32 and letter not in "\t\r\n\f" for letter in text):
        shown = start[:8].hex(" ")
        return (
            f"in none of the known formats (first bytes {shown}). It is truncated or damaged: copy or download it again"
        )
    if text.lstrip().startswith(">"):
        return "text that begins like FASTA: name it by positives = or folder ="
    if text.lstrip().lower().startswith(("<!doctype", "<html", "<?xml")):
        return "a web page, perhaps the notice of a failed download: download the file again"
    return "text, perhaps a table: give it an ending such as .tsv, or set reader ="


def _cannot_open(path: Path, error: Exception) -> DataError:
    words = " ".join(str(error).split())
    if isinstance(error, BlockingIOError) or "unable to lock file" in words:
        number = getattr(error, "errno", None)
        if number in (errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES):
            return DataError(
                f"{path}: another program has this file open for writing. Close it there, or wait until it is done."
            )
        return DataError(
            f"{path}: the file system does not lock files ({words}). "
            "Set HDF5_USE_FILE_LOCKING=FALSE if no program writes to the file."
        )
    if "already open for write" in words or "h5clear" in words:
        return DataError(
            f"{path}: the file is marked as open for writing: a program is writing to it, or ended without closing it. "
            f"Close it there. If no program has it open, the last data may be missing: make the file again, or "
            f"clear the mark with h5clear -s {path.name} and check what it holds."
        )
    if "truncated file" in words:
        return DataError(
            f"{path}: not a complete HDF5 file ({words}). It is truncated or damaged: copy or download it again."
        )
    return DataError(
        f"{path}: not a complete HDF5 file ({words}). It is truncated or damaged: copy or download it again, "
        f"or make it again if the program that wrote it was ended before it closed the file."
    )


def load_filters(array: h5py.Dataset) -> None:
    """Load the filters of hdf5plugin if the array needs a missing filter and the package is installed."""
    if _missing_filters(array):
        with suppress(ImportError):
            importlib.import_module(_PLUGIN)  # registers its filters with HDF5


def _missing_filters(array: h5py.Dataset) -> list[int]:
    plist = array.id.get_create_plist()
    codes = [int(plist.get_filter(i)[0]) for i in range(plist.get_nfilters())]
    return [code for code in codes if not h5py.h5z.filter_avail(code)]


def cannot_read(array: h5py.Dataset, where: str, error: Exception) -> DataError:
    """Return an error that says why the values of an array cannot be read: a missing filter, or else damage."""
    words = " ".join(str(error).split())
    missing = _missing_filters(array)
    if not missing:
        return DataError(
            f"{where}: not a complete HDF5 file ({words}). It is truncated or damaged: copy or download it again."
        )
    code = missing[0]
    name, in_plugin = _FILTERS.get(code, ("not a common one", False))
    if in_plugin:
        remedy = (
            f"Install it: pip install {_PLUGIN}"
            if not _is_installed(_PLUGIN)
            else f"The installed {_PLUGIN} does not have it: pip install --upgrade {_PLUGIN}"
        )
    else:
        remedy = "HDF5's list of registered filters names its maintainer"
    return DataError(
        f"{where} is compressed with the HDF5 filter {code} ({name}), which is not installed. {remedy}; or, where "
        f"the file can be read, rewrite it with gzip: h5repack -f GZIP=4 in.h5 out.h5."
    )


def _is_installed(package: str) -> bool:
    try:
        importlib.import_module(package)
    except ImportError:
        return False
    return True


def read_block(array: h5py.Dataset, rows: slice, where: str) -> NDArray[Any]:
    """Read rows of an array.

    Raises
    ------
    DataError
        As in `cannot_read`.
    """
    try:
        return np.asarray(array[rows])
    except FAULTS as error:
        raise cannot_read(array, where, error) from error


def unwritten_chunks(array: h5py.Dataset) -> tuple[int, int]:
    """Return how many chunks of an array were never written, and how many it has; an array without chunks has one.

    Unwritten chunks take no space in the file and read as zeros: 24 GB of them fit into 2 kB.
    """
    plist = array.id.get_create_plist()
    if array.is_virtual or plist.get_external_count():
        return 0, 1  # the values are in other files
    if array.chunks is None:
        compact = plist.get_layout() == h5py.h5d.COMPACT
        return (0 if compact or array.id.get_storage_size() else 1), 1
    total = 1
    for size, chunk in zip(array.shape, array.chunks, strict=True):
        total *= -(-size // chunk)
    return total - int(array.id.get_num_chunks()), total


def missing_sources(array: h5py.Dataset, folder: Path) -> list[str]:
    """Return the missing files from which a virtual or external array takes its values, which then read as zeros."""
    names: list[str] = []
    if array.is_virtual:
        names += [source.file_name for source in array.virtual_sources() if source.file_name != "."]
    plist = array.id.get_create_plist()
    for i in range(plist.get_external_count()):
        name = plist.get_external(i)[0]
        names.append(name.decode(errors="replace") if isinstance(name, bytes) else str(name))
    return [name for name in dict.fromkeys(names) if not (folder / name).is_file()]
