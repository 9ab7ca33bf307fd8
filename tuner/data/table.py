"""Tables: one sequence a row, with its labels, and optionally its split and group."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tuner.data.dataset import SPLITS, Dataset, Split
from tuner.data.fasta import fit_length, read_text
from tuner.data.sequence import AMBIGUOUS, Codes, encode_one
from tuner.data.shuffle import dinucleotide_shuffle
from tuner.data.spec import FRACTIONS, DataSpec
from tuner.data.splits import duplicate_groups, merge_groups, stratified
from tuner.errors import DataError, unknown

# Names that are taken for the sequence column when none is given.
SEQUENCE_NAMES: Final = ("sequence", "seq", "seqs")
# Columns that are never labels unless they are named as such.
ID_NAMES: Final = ("id", "name", "peak", "header", "eventid", "foldid")
_SPLIT_NAMES: Final = {"val": "valid", "validation": "valid", "training": "train", "testing": "test"}


def table(
    path: str | Path,
    *,
    sequence_column: str | None = None,
    label_columns: Sequence[str] | None = None,
    split_column: str | None = None,
    group_column: str | None = None,
    length: int | None = None,
    fractions: Sequence[float] = FRACTIONS,
    seed: int = 0,
) -> Dataset:
    """Read a TSV or CSV file, plain or gzip, with a header line.

    Parameters
    ----------
    path : str or Path
        Tab-separated if the header holds a tab, else comma-separated.
    sequence_column : str, optional
        Without it the column called sequence, seq or seqs.
    label_columns : sequence of str, optional
        One task each, 0 or 1. Without it every column but sequence, id, split and group.
    split_column : str, optional
        Holding train, valid or test; without it the rows are split stratified.
    group_column : str, optional
        Rows of one group (chromosome, gene family) stay in one split.
    length : int, optional
        Crop around the centre, or pad with N.
    fractions : sequence of float
        Shares of train, valid and test.
    seed : int
        Seeds the split.

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        If a column is missing, a row is short, a label is not 0 or 1, or a sequence is broken.
    """
    path = Path(path)
    header, rows = _read(path)
    sequence_at = _sequence_column(header, sequence_column, path.name)
    special = [name for name in (split_column, group_column) if name is not None]
    for name in (*special, *(label_columns or ())):
        _column(header, name, path.name)
    tasks = tuple(label_columns) if label_columns is not None else _label_columns(header, sequence_at, special)
    if not tasks:
        raise DataError(f"{path.name}: no label column among {', '.join(header)}; name them in label_columns.")
    columns = list(zip(*rows, strict=True))
    codes, ambiguous = _sequences(columns[sequence_at], path.name, length)
    labels = np.stack([_label(columns[header.index(task)], task, path.name) for task in tasks], axis=1)
    id_at = next((i for i, name in enumerate(header) if name.lower() in ID_NAMES and name not in tasks), None)
    whole = Split(codes=codes, labels=labels, ids=None if id_at is None else columns[id_at])
    if split_column is not None:
        if group_column is not None:
            raise DataError(f"{path.name}: give split_column or group_column, not both: the file splits already.")
        parts = _named_splits(columns[header.index(split_column)], path.name)
    else:
        groups = duplicate_groups(codes)
        if group_column is not None:
            groups = merge_groups(groups, np.array(columns[header.index(group_column)]))
        parts = stratified(labels, fractions, seed=seed, groups=groups)
    note = f"{path.name}: {ambiguous} IUPAC ambiguity letters ({AMBIGUOUS}) were read as N."
    return Dataset(
        name=path.name,
        tasks=tasks,
        splits={name: whole.take(part) for name, part in parts.items()},
        source=str(path),
        notes=(note,) if ambiguous else (),
    )


def deepbind(path: str | Path, *, fractions: Sequence[float] = FRACTIONS, seed: int = 0) -> Dataset:
    """Read DeepBind's ChIP-seq format: TSV with FoldID, EventID, seq and Bound (Alipanahi et al. 2015).

    Parameters
    ----------
    path : str or Path
        A file with positives only (the ``_AC`` training files) gets one dinucleotide shuffle of each as its
        negatives, in the split of its positive.
    fractions : sequence of float
        Shares of train, valid and test.
    seed : int
        Seeds split and shuffle.

    Returns
    -------
    Dataset
    """
    path = Path(path)
    header, rows = _read(path)
    for name in ("EventID", "seq", "Bound"):
        _column(header, name, path.name)
    columns = dict(zip(header, zip(*rows, strict=True), strict=True))
    codes, _ = _sequences(columns["seq"], path.name, None)
    labels = _label(columns["Bound"], "Bound", path.name)
    ids: tuple[str, ...] = columns["EventID"]
    notes: tuple[str, ...] = ()
    groups = duplicate_groups(codes)
    if labels.all():
        codes = np.concatenate([codes, dinucleotide_shuffle(codes, seed=seed)])
        groups, ids = np.concatenate([groups, groups]), (*ids, *(f"{name}_shuffled" for name in ids))
        labels = np.concatenate([labels, np.zeros_like(labels)])
        notes = (f"{path.name}: the negatives are dinucleotide shuffles of the positives.",)
    whole = Split(codes=codes, labels=labels[:, None], ids=ids)
    parts = stratified(labels, fractions, seed=seed, groups=groups)
    splits = {name: whole.take(part) for name, part in parts.items()}
    return Dataset(name=path.name, tasks=("bound",), splits=splits, source=str(path), notes=notes)


def read_table(spec: DataSpec, path: Path) -> Dataset:
    """Read the table that a study's data section describes."""
    return table(
        path,
        sequence_column=spec.sequence_column,
        label_columns=spec.label_columns,
        split_column=spec.split_column,
        group_column=spec.group_column,
        length=spec.length,
        fractions=spec.fractions,
        seed=spec.seed,
    )


def _read(path: Path) -> tuple[list[str], list[list[str]]]:
    lines = read_text(path).splitlines()
    delimiter = "\t" if "\t" in lines[0] else ","
    header, *rows = csv.reader(lines, delimiter=delimiter)
    rows = [row for row in rows if row]
    if len(set(header)) != len(header):
        raise DataError(f"{path.name}: column names repeat in the header {', '.join(header)}.")
    if not rows:
        raise DataError(f"{path.name}: a header and no rows.")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise DataError(f"{path.name} line {number}: {len(row)} fields; the header has {len(header)}.")
    return header, rows


def _column(header: Sequence[str], name: str, where: str) -> int:
    if name not in header:
        raise DataError(f"{where}: {unknown('column', name, header)}")
    return list(header).index(name)


def _sequence_column(header: Sequence[str], name: str | None, where: str) -> int:
    if name is not None:
        return _column(header, name, where)
    for i, column in enumerate(header):
        if column.lower() in SEQUENCE_NAMES:
            return i
    raise DataError(
        f"{where}: no column is called {' or '.join(SEQUENCE_NAMES)}; "
        f"set sequence_column to one of {', '.join(header)}."
    )


def _label_columns(header: Sequence[str], sequence_at: int, special: Sequence[str]) -> tuple[str, ...]:
    return tuple(
        name
        for i, name in enumerate(header)
        if i != sequence_at and name and name.lower() not in ID_NAMES and name not in special
    )


def _sequences(texts: Sequence[str], where: str, length: int | None) -> tuple[Codes, int]:
    encoded = [encode_one(text, f"{where} line {line}") for line, text in enumerate(texts, start=2)]
    usual = length if length is not None else len(encoded[0])
    for line, codes in enumerate(encoded, start=2):
        if len(codes) == 0:
            raise DataError(f"{where} line {line}: the sequence is empty.")
        if length is None and len(codes) != usual:
            raise DataError(
                f"{where} line {line}: the sequence has {len(codes)} bases, line 2 has {usual}. "
                f"Set length = {usual} to crop or pad all of them around their centres."
            )
    ambiguous = sum(1 for text in texts for letter in text.upper() if letter in AMBIGUOUS)
    return np.stack([fit_length(codes, usual) for codes in encoded]), ambiguous


def _label(texts: Sequence[str], task: str, where: str) -> NDArray[np.uint8]:
    known = {"0": 0, "1": 1, "0.0": 0, "1.0": 1}
    for line, text in enumerate(texts, start=2):
        if text.strip() not in known:
            raise DataError(
                f"{where} line {line}: column {task!r} is {text!r}; labels are 0 or 1. "
                f"If it is no label, name the label columns in label_columns."
            )
    return np.array([known[text.strip()] for text in texts], dtype=np.uint8)


def _named_splits(texts: Sequence[str], where: str) -> dict[str, NDArray[np.int64]]:
    names = [_SPLIT_NAMES.get(text.strip().lower(), text.strip().lower()) for text in texts]
    for line, name in enumerate(names, start=2):
        if name not in SPLITS:
            raise DataError(f"{where} line {line}: {unknown('split', texts[line - 2], SPLITS)}")
    return {split: np.flatnonzero(np.array(names) == split) for split in SPLITS}
