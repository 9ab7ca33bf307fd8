"""READERS: a name, and the function that turns a study's data section into a Dataset.

A reader checks what only it can see (keys, shapes, records, characters); `tuner.data.dataset.check` checks
what every data set must fulfil.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from tuner.data.dataset import Dataset
from tuner.data.fasta import SHUFFLE, fasta, folder, read_fasta
from tuner.data.hdf5 import koo_hdf5, write_koo_hdf5
from tuner.data.spec import DataSpec
from tuner.data.table import deepbind, read_table, table
from tuner.errors import DataError, unknown

__all__ = [
    "READERS",
    "Reader",
    "deepbind",
    "fasta",
    "folder",
    "koo_hdf5",
    "read",
    "read_fasta",
    "table",
    "write_koo_hdf5",
]


class Reader(NamedTuple):
    """A data format.

    Attributes
    ----------
    read : callable of (DataSpec, Path)
        Reads the file or folder at the path as the data section says.
    endings : tuple of str
        File names that are read this way when no reader is named.
    note : str
        What the file holds.
    """

    read: Callable[[DataSpec, Path], Dataset]
    endings: tuple[str, ...]
    note: str


def _koo_hdf5(spec: DataSpec, path: Path) -> Dataset:
    return koo_hdf5(path, layout=spec.layout, tasks=spec.tasks)


def _task(spec: DataSpec) -> str:
    """The one task of a FASTA data set."""
    if spec.tasks is None:
        return "bound"
    if len(spec.tasks) != 1:
        raise DataError(f"FASTA files hold one task; tasks names {len(spec.tasks)}: {', '.join(spec.tasks)}.")
    return spec.tasks[0]


def _fasta(spec: DataSpec, path: Path) -> Dataset:
    negatives = SHUFFLE if spec.negatives == SHUFFLE else str(path.parent / str(spec.negatives))
    return fasta(path, negatives, length=spec.length, fractions=spec.fractions, seed=spec.seed, task=_task(spec))


def _folder(spec: DataSpec, path: Path) -> Dataset:
    return folder(path, length=spec.length, task=_task(spec))


def _deepbind(spec: DataSpec, path: Path) -> Dataset:
    return deepbind(path, fractions=spec.fractions, seed=spec.seed)


def _table(spec: DataSpec, path: Path) -> Dataset:
    return read_table(spec, path)


READERS: Final[Mapping[str, Reader]] = {
    "koo_hdf5": Reader(_koo_hdf5, (".h5", ".hdf5"), "one-hot X_* and labels Y_* for train, valid, test"),
    "fasta": Reader(_fasta, (), "a FASTA file of positives and one of negatives"),
    "folder": Reader(_folder, (), "train, valid, test, each with positives.fa and negatives.fa"),
    "table": Reader(_table, (".tsv", ".csv", ".txt", ".tsv.gz", ".csv.gz", ".txt.gz"), "a sequence and labels a row"),
    "deepbind": Reader(_deepbind, (".seq", ".seq.gz"), "TSV with FoldID, EventID, seq, Bound"),
}


def read(spec: DataSpec, base: Path | None = None) -> Dataset:
    """Read the file, files or folder that a data section names.

    Parameters
    ----------
    spec : DataSpec
        With `path`, `positives` or `folder`.
    base : Path, optional
        Folder that relative paths start from.

    Returns
    -------
    Dataset
        Not yet checked as a whole.

    Raises
    ------
    DataError
        If the reader is unknown, the file's ending tells none, or as the reader.
    """
    start = Path() if base is None else base
    if spec.positives is not None:
        return READERS["fasta"].read(spec, start / spec.positives)
    if spec.folder is not None:
        return READERS["folder"].read(spec, start / spec.folder)
    path = start / str(spec.path)
    return READERS[_reader_of(spec.reader, path)].read(spec, path)


def _reader_of(name: str | None, path: Path) -> str:
    by_path = {key: row for key, row in READERS.items() if row.endings}
    if name is not None:
        if name not in by_path:
            raise DataError(unknown("reader of a path", name, by_path))
        return name
    for key, row in by_path.items():
        if path.name.lower().endswith(row.endings):
            return key
    endings = ", ".join(ending for row in by_path.values() for ending in row.endings)
    raise DataError(f"{path.name}: no reader for this ending (known: {endings}). Set reader = {' or '.join(by_path)}.")
