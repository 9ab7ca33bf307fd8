"""READERS: name -> function that turns the data section of a study into a Dataset.

A reader checks what only it can see (keys, shapes, records, characters); `tuner.data.dataset.check` checks what every
data set must fulfil.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from tuner.data.dataset import SPLITS, Dataset
from tuner.data.fasta import SHUFFLE, fasta, folder, read_fasta
from tuner.data.hdf5 import koo_hdf5, write_koo_hdf5
from tuner.data.partition import rule_of
from tuner.data.spec import DataSpec, WholeSpec, given_keys
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


def _packed(*endings: str) -> tuple[str, ...]:
    """Return endings of a text file, plain and compressed."""
    return tuple(ending + packed for packed in ("", ".gz", ".bz2", ".xz") for ending in endings)


class Reader(NamedTuple):
    """A data format.

    Attributes
    ----------
    read : callable of (DataSpec, Path, int or None)
        Reads the file or folder at the path as the data section describes, within a number of bytes of memory.
    endings : tuple of str
        Endings of the files that are read this way if no reader is named.
    note : str
        What the file holds.
    keys : frozenset of str
        Keys of the data section that this reader uses, besides those that locate the file.
    """

    read: Callable[[DataSpec, Path, int | None], Dataset]
    endings: tuple[str, ...]
    note: str
    keys: frozenset[str]


def _koo_hdf5(spec: DataSpec, path: Path, max_memory: int | None) -> Dataset:
    splits = ("train", "valid") if spec.test is not None else None if isinstance(spec, WholeSpec) else SPLITS
    return koo_hdf5(path, layout=spec.layout, tasks=spec.tasks, splits=splits, max_memory=max_memory)


def _task(spec: DataSpec) -> str:
    """Return the only task of a FASTA data set."""
    if spec.tasks is None:
        return "bound"
    if len(spec.tasks) != 1:
        raise DataError(f"FASTA files hold one task; tasks names {len(spec.tasks)}: {', '.join(spec.tasks)}.")
    return spec.tasks[0]


def _fasta(spec: DataSpec, path: Path, max_memory: int | None) -> Dataset:
    return fasta(
        path, str(spec.negatives), length=spec.length, fractions=spec.shares, seed=spec.seed, task=_task(spec),
        max_memory=max_memory, split=rule_of(spec),
    )  # fmt: skip


def _folder(spec: DataSpec, path: Path, max_memory: int | None) -> Dataset:
    return folder(path, length=spec.length, task=_task(spec), max_memory=max_memory)


def _deepbind(spec: DataSpec, path: Path, max_memory: int | None) -> Dataset:
    return deepbind(
        path, length=spec.length, fractions=spec.shares, seed=spec.seed, max_memory=max_memory, split=rule_of(spec)
    )


_SPLIT_KEYS: Final = frozenset({"fractions", "split", "valid_chromosomes", "test_chromosomes"})

READERS: Final[Mapping[str, Reader]] = {
    "koo_hdf5": Reader(
        _koo_hdf5,
        (".h5", ".hdf5"),
        "one-hot X_* and labels Y_* for train, valid, test",
        frozenset({"layout", "tasks"}),
    ),
    "fasta": Reader(
        _fasta,
        (),
        "a FASTA file of positives and one of negatives",
        frozenset({"negatives", "length", "tasks"}) | _SPLIT_KEYS,
    ),
    "folder": Reader(
        _folder,
        (),
        "train, valid, test, each with positives.fa and negatives.fa",
        frozenset({"length", "tasks"}),
    ),
    "table": Reader(
        read_table,
        _packed(".tsv", ".csv", ".txt"),
        "one sequence and its labels per row",
        frozenset({"length", "sequence_column", "label_columns", "split_column", "group_column"}) | _SPLIT_KEYS,
    ),
    "deepbind": Reader(
        _deepbind, _packed(".seq"), "TSV with FoldID, EventID, seq, Bound", frozenset({"length"}) | _SPLIT_KEYS
    ),
}


def read(spec: DataSpec, base: Path | None = None, *, max_memory: int | None = None) -> Dataset:
    """Read the file, files or folder that a data section names.

    Parameters
    ----------
    spec : DataSpec
        With `path`, `positives` or `folder`.
    base : Path, optional
        Folder to which relative paths refer.
    max_memory : int, optional, bytes
        Largest amount of memory for reading; by default half of the available memory.

    Returns
    -------
    Dataset
        Not yet checked as a whole.

    Raises
    ------
    DataError
        If the reader is unknown, the ending belongs to none, a key does not belong to the reader, or as in the reader.
    """
    start = Path() if base is None else base
    if spec.positives is not None:
        negatives = SHUFFLE if spec.negatives == SHUFFLE else str(start / str(spec.negatives))
        return READERS["fasta"].read(replace(spec, negatives=negatives), start / spec.positives, max_memory)
    if spec.folder is not None:
        return READERS["folder"].read(spec, start / spec.folder, max_memory)
    path = start / str(spec.path)
    name = _reader_of(spec.reader, path)
    for key in sorted(given_keys(spec) - READERS[name].keys):
        fitting = [other for other, row in READERS.items() if row.endings and key in row.keys]
        raise DataError(f"{path.name}: the reader {name} has no key {key}; it belongs to {' or '.join(fitting)}.")
    return READERS[name].read(spec, path, max_memory)


def reads_length(spec: DataSpec) -> bool:
    """Whether the reader of a data section brings sequences to a length.

    Raises
    ------
    DataError
        As in `read`, if no reader is found.
    """
    return spec.path is None or "length" in READERS[_reader_of(spec.reader, Path(spec.path))].keys


def names_tasks(spec: DataSpec) -> bool:
    """Whether the files of a data section, or the section itself, name the tasks; FASTA and DeepBind's files do not.

    Raises
    ------
    DataError
        As in `read`, if no reader is found.
    """
    if spec.path is None:
        return spec.tasks is not None or spec.dataset is not None
    return _reader_of(spec.reader, Path(spec.path)) != "deepbind"


def splits_itself(spec: DataSpec) -> bool:
    """Whether tuner splits the sequences of a data section; otherwise they come split, or are simulated."""
    if spec.split_column is not None or any(s is not None for s in (spec.dataset, spec.folder, spec.peaks)):
        return False
    return spec.positives is not None or "split" in READERS[_reader_of(spec.reader, Path(str(spec.path)))].keys


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
