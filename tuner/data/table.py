"""Reads tables with one sequence per row, its labels, and optionally its split or group."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tuner.data.cells import Cells, read_cells
from tuner.data.dataset import SPLITS, Dataset, Split
from tuner.data.lengths import BYTES_A_BASE, BYTES_A_SEQUENCE, fit_lengths
from tuner.data.partition import SplitRule, partition, rule_of
from tuner.data.shuffle import dinucleotide_shuffle
from tuner.data.spec import FRACTIONS, DataSpec
from tuner.data.splits import duplicate_groups
from tuner.errors import DataError, unknown
from tuner.genome.coordinates import Interval, parse_interval
from tuner.genome.sequence import AMBIGUOUS, N_CODE, Codes, encode_one
from tuner.genome.textfile import read_text
from tuner.limits import require

# Names of the sequence column if none is given.
SEQUENCE_NAMES: Final = ("sequence", "seq", "seqs")
# Columns that are not labels unless they are named as such.
ID_NAMES: Final = ("id", "name", "peak", "header", "eventid", "foldid")
# Columns of 0 and 1 that say how a table was made or is to be used, and that would be learned like any other task.
_NO_TASK: Final = re.compile(
    r"((is|in|use|used|for)[ _.-]?)*(train|test|valid|validation|val|dev|eval|holdout|hold[ _.-]?out)(ing|ed)?"
    r"([ _.-]?(set|split|fold|data|flag))?"
    r"|(data|sub)?set|(sub|data)?[ _.-]?split|(cv|k|outer|inner)?[ _.-]?folds?([ _.-]?(id|nr|no|number))?[ _.-]?\d*"
    r"|cv([ _.-]?(split|group|set))?|partition|part|strand|orientation|reverse|is[ _.-]?reverse|forward|rc|batch"
    r"|replicates?|rep|plate|lane|group|cluster|index|idx|row|weight|sample[ _.-]?weight|unnamed: ?\d+",
    re.IGNORECASE,
)
_LABEL: Final = re.compile(r"\+?0*([01])([.,]0*)?(e[+-]?0+)?", re.IGNORECASE)
_PLAIN: Final = str.maketrans("", "", "ACGTUNacgtun")
_BYTES_A_COLUMN: Final = 400  # its name, its position, a cell of the current row
_LABEL_WORDS: Final = {"true": 1, "false": 0}
_SPLIT_NAMES: Final = {"val": "valid", "validation": "valid", "training": "train", "testing": "test"}


class _Columns(NamedTuple):
    """Contents of a table that are kept, with one entry per row."""

    lines: list[int]
    sequences: list[Codes]
    labels: NDArray[np.uint8]
    ids: tuple[str, ...] | None
    splits: list[str]
    groups: list[str]
    notes: tuple[str, ...]


def table(
    path: str | Path,
    *,
    sequence_column: str | None = None,
    label_columns: Sequence[str] | None = None,
    split_column: str | None = None,
    group_column: str | None = None,
    length: int | str | None = None,
    fractions: Sequence[float] = FRACTIONS,
    seed: int = 0,
    max_memory: int | None = None,
    split: SplitRule | None = None,
) -> Dataset:
    """Read a TSV or CSV file, plain or compressed, with a header line.

    Parameters
    ----------
    path : str or Path
        Separated like its header: by tabs, else commas, else semicolons; see `tuner.data.cells` for quotes.
    sequence_column : str, optional
        By default the column called sequence, seq or seqs.
    label_columns : sequence of str, optional
        One task each, 0 or 1 (also 0., 1.0, True, false). By default every column except sequence, id, split and group.
    split_column : str, optional
        Column with train, valid or test; without it a split is made.
    group_column : str, optional
        Rows of one group (chromosome, gene family) stay in one split.
    length : int or str, optional
        Crop to this length around the centre, or pad with N; ``"shortest"`` crops all to the shortest.
    fractions : sequence of float
        Shares of train, valid and test.
    seed : int
        Seed of the split.
    max_memory : int, optional, bytes
        Largest amount of memory for reading; by default half of the available memory.
    split : SplitRule, optional
        How to split; by default by relatives, with these fractions and this seed.

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        If a column is missing or does not look like a label, a row is incomplete or broken, a label is not 0 or 1, a
        sequence is broken, or the table does not fit into memory.
    """
    path = Path(path)
    if split_column is not None and group_column is not None:
        raise DataError(f"{path.name}: give split_column or group_column, not both: the file is already split.")
    cells = _open(path, max_memory, (sequence_column.lower(),) if sequence_column else SEQUENCE_NAMES)
    header = cells.header
    sequence_at = _sequence_column(header, sequence_column, path.name)
    special = [name for name in (split_column, group_column) if name is not None]
    for name in (*special, *(label_columns or ())):
        _column(header, name, path.name)
    tasks = tuple(label_columns) if label_columns is not None else _label_columns(header, sequence_at, special)
    if not tasks:
        raise DataError(f"{path.name}: no label column among {', '.join(header)}; name them in label_columns.")
    if label_columns is None:
        _refuse_no_tasks(tasks, path.name)
    id_at = next((i for i, name in enumerate(header) if name.lower() in ID_NAMES and name not in tasks), None)
    found = _columns(cells, path.name, sequence_at, tasks, id_at, split_column, group_column)
    fitted = fit_lengths(
        found.sequences, length, found.labels, source=path.name, max_memory=max_memory,
        where=lambda index: f"{path.name} line {found.lines[index]}: the sequence",
    )  # fmt: skip
    named = None
    if group_column is not None:
        place = {name: i for i, name in enumerate(sorted(set(found.groups)))}
        named = np.array([place[name] for name in found.groups])
    decided: tuple[str, ...] = ()
    if split_column is not None:
        parts, groups = _named_splits(found.splits, found.lines, path.name), duplicate_groups(fitted.codes)
    else:
        parts, groups, decided = partition(
            fitted.codes, found.labels, split or SplitRule(fractions=fractions, seed=seed), source=path.name,
            intervals=_intervals(found), groups=named,
        )  # fmt: skip
    whole = Split(codes=fitted.codes, labels=found.labels, ids=found.ids, groups=groups)
    return Dataset(
        name=path.name,
        tasks=tasks,
        splits={name: whole.take(part) for name, part in parts.items()},
        source=str(path),
        notes=found.notes + fitted.notes + decided,
    )


def deepbind(
    path: str | Path,
    *,
    length: int | str | None = None,
    fractions: Sequence[float] = FRACTIONS,
    seed: int = 0,
    max_memory: int | None = None,
    split: SplitRule | None = None,
) -> Dataset:
    """Read DeepBind's ChIP-seq format: TSV with FoldID, EventID, seq and Bound (Alipanahi et al. 2015).

    Parameters
    ----------
    path : str or Path
        For a file with only positives (the ``_AC`` training files), one dinucleotide shuffle of each positive is the
        negative, in the same split.
    length : int or str, optional
        As in `table`.
    fractions : sequence of float
        Shares of train, valid and test.
    seed : int
        Seed of the split and the shuffle.
    max_memory : int, optional, bytes
        As in `table`.
    split : SplitRule, optional
        As in `table`.

    Returns
    -------
    Dataset
    """
    path = Path(path)
    cells = _open(path, max_memory, ("seq",))
    places = [_column(cells.header, name, path.name) for name in ("seq", "EventID", "Bound")]
    found = _columns(cells, path.name, places[0], ("Bound",), places[1], None, None)
    fitted = fit_lengths(
        found.sequences, length, found.labels, source=path.name, max_memory=max_memory,
        where=lambda index: f"{path.name} line {found.lines[index]}: the sequence",
        shuffled=bool(found.labels.all()),
    )  # fmt: skip
    codes, labels, ids = fitted.codes, found.labels[:, 0], found.ids or ()
    real = codes
    if labels.all():
        codes = np.concatenate([codes, dinucleotide_shuffle(codes, seed=seed)])
        ids = (*ids, *(f"{name}_shuffled" for name in ids))
        labels = np.concatenate([labels, np.zeros_like(labels)])
    rule = split or SplitRule(fractions=fractions, seed=seed)
    parts, groups, decided = partition(real, labels, rule, source=path.name, intervals=_intervals(found))
    whole = Split(codes=codes, labels=labels[:, None], ids=ids, groups=groups)
    splits = {name: whole.take(part) for name, part in parts.items()}
    notes = found.notes + fitted.notes + decided
    return Dataset(name=path.name, tasks=("bound",), splits=splits, source=str(path), notes=notes)


def read_table(spec: DataSpec, path: Path, max_memory: int | None = None) -> Dataset:
    """Read the table that the data section of a study describes."""
    return table(
        path,
        sequence_column=spec.sequence_column,
        label_columns=spec.label_columns,
        split_column=spec.split_column,
        group_column=spec.group_column,
        length=spec.length,
        fractions=spec.shares,
        seed=spec.seed,
        max_memory=max_memory,
        split=rule_of(spec),
    )


def _intervals(found: _Columns) -> list[Interval | None] | None:
    """Read the coordinates in the names of the rows."""
    if found.ids is None:
        return None
    return [parse_interval(name, len(codes)) for name, codes in zip(found.ids, found.sequences, strict=True)]


def _open(path: Path, max_memory: int | None, wanted: Sequence[str]) -> Cells:
    content = read_text(path, max_memory, copies=BYTES_A_BASE)
    rows = content.count(b"\n")
    columns = max(map(content[: content.find(b"\n") + 1].count, (b"\t", b",", b";"))) + 1
    need = BYTES_A_BASE * len(content) + BYTES_A_SEQUENCE * rows + _BYTES_A_COLUMN * columns + 2 * rows * columns
    require(path, need, max_memory)
    return read_cells(content, path.name, wanted)


def _columns(
    cells: Cells,
    where: str,
    sequence_at: int,
    tasks: Sequence[str],
    id_at: int | None,
    split_column: str | None,
    group_column: str | None,
) -> _Columns:
    """Read every row and keep what is needed; an error names the first wrong line."""
    place = {name: i for i, name in enumerate(cells.header)}
    tasks_at = [place[task] for task in tasks]
    lines, sequences, ids, splits, groups = [], [], [], [], []
    labels = bytearray()
    ambiguous = 0
    for line, row in cells.rows:
        text = row[sequence_at]
        if not text:
            raise DataError(f"{where} line {line}: the sequence is empty.")
        codes = encode_one(text, f"{where} line {line}")
        ambiguous += len(text.translate(_PLAIN)) if (codes == N_CODE).any() else 0
        for task, at in zip(tasks, tasks_at, strict=True):
            labels.append(_label(row[at], task, f"{where} line {line}"))
        lines.append(line)
        sequences.append(codes)
        if id_at is not None:
            ids.append(row[id_at])
        if split_column is not None:
            splits.append(row[place[split_column]])
        if group_column is not None:
            groups.append(row[place[group_column]])
    if not lines:
        raise DataError(f"{where}: the table has a header but no rows.")
    notes = []
    if ambiguous:
        notes.append(f"{where}: {ambiguous} IUPAC ambiguity letters ({AMBIGUOUS}) were read as N.")
    if cells.blank:
        notes.append(
            f"{where}: {len(cells.blank)} blank lines between the rows were skipped (first: {cells.blank[0]})."
        )
    if repeated := len(ids) - len(set(ids)):
        notes.append(f"{where}: {repeated} of {len(ids)} rows have the id of an earlier one.")
    return _Columns(
        lines,
        sequences,
        np.frombuffer(bytes(labels), dtype=np.uint8).reshape(len(lines), len(tasks)),
        None if id_at is None else tuple(ids),
        splits,
        groups,
        tuple(notes),
    )


def _refuse_no_tasks(tasks: Sequence[str], where: str) -> None:
    """Refuse to guess that a column such as ``fold`` or ``strand`` is a task."""
    doubtful = [task for task in tasks if _NO_TASK.fullmatch(task.strip())]
    if doubtful:
        others = ", ".join(f'"{task}"' for task in tasks if task not in doubtful)
        raise DataError(
            f"{where}: is the column {doubtful[0]!r} a label? Its name suggests how rows are split or made. Name the "
            f"label columns: label_columns = [{others}]. Name a column of train, valid and test in split_column, and "
            f"one of groups that stay together in group_column."
        )


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


def _label(text: str, task: str, where: str) -> int:
    found = _LABEL.fullmatch(text)
    if found:
        return int(found[1])
    try:
        return _LABEL_WORDS[text.lower()]
    except KeyError:
        raise DataError(
            f"{where}: column {task!r} is {text[:40]!r}; labels are 0 or 1. "
            f"If it is not a label column, name those in label_columns."
        ) from None


def _named_splits(texts: Sequence[str], lines: Sequence[int], where: str) -> dict[str, NDArray[np.int64]]:
    names = [_SPLIT_NAMES.get(text.lower(), text.lower()) for text in texts]
    for line, text, name in zip(lines, texts, names, strict=True):
        if name not in SPLITS:
            raise DataError(f"{where} line {line}: {unknown('split', text[:40], SPLITS)}")
    return {split: np.flatnonzero(np.array(names) == split) for split in SPLITS}
