"""Reads FASTA: two files of positives and negatives, or a folder that is already split."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tuner.data.dataset import SPLITS, Dataset, Split
from tuner.data.lengths import BYTES_A_BASE, BYTES_A_SEQUENCE, fit_lengths
from tuner.data.partition import SplitRule, partition
from tuner.data.shuffle import dinucleotide_shuffle
from tuner.data.spec import FRACTIONS
from tuner.errors import DataError
from tuner.genome.coordinates import Interval, parse_interval
from tuner.genome.sequence import AMBIGUOUS, Codes, encode_one
from tuner.genome.textfile import read_text
from tuner.limits import require

SHUFFLE: Final = "shuffle"
ENDINGS: Final = tuple(name + packed for packed in ("", ".gz", ".bz2", ".xz") for name in (".fa", ".fasta", ".fna"))
_AMBIGUITY: Final = str.maketrans("", "", "ACGTUNacgtun")


class Record(NamedTuple):
    """One FASTA record: number in the file, from 1; id, the first word; codes, shape=(length,); ambiguity letters;
    and the coordinates in its header, if it has any.
    """

    number: int
    id: str
    codes: Codes
    ambiguous: int
    interval: Interval | None = None


def read_fasta(path: str | Path, max_memory: int | None = None) -> list[Record]:
    """Read a FASTA file.

    Parameters
    ----------
    path : str or Path
        Plain, gzip, bzip2 or xz; upper or lower case; wrapped lines or not, with any line endings. U is read as T, and
        IUPAC ambiguity letters as N. Lines that begin with ``;`` are comments.
    max_memory : int, optional, bytes
        Largest amount of memory for reading; by default half of the available memory.

    Returns
    -------
    list of Record

    Raises
    ------
    DataError
        If the file is missing, empty, damaged or too large, does not begin with ``>``, or a record has no sequence or
        a character that is not a nucleotide. The message names file and record.
    """
    path = Path(path)
    content = read_text(path, max_memory, copies=BYTES_A_BASE).replace(b"\r", b"\n")
    count = content.count(b"\n>") + 1
    require(path, BYTES_A_BASE * len(content) + BYTES_A_SEQUENCE * count, max_memory)
    records: list[Record] = []
    header: bytes | None = None
    sequence = bytearray()
    for number, line in enumerate(io.BytesIO(content), start=1):
        line = line.strip()
        if line.startswith(b">"):
            if header is not None:
                records.append(_record(path, len(records) + 1, header, sequence))
            header = line[1:].strip()
            sequence.clear()
        elif line.startswith(b";"):
            continue
        elif line and header is None:
            raise DataError(
                f"{path.name} line {number}: {line[:20].decode(errors='replace')!r} comes before the first record; "
                f"a FASTA file begins with '>'."
            )
        else:
            sequence += line
    if header is None:
        raise DataError(f"{path.name}: the file has no records; a FASTA file begins with '>'.")
    records.append(_record(path, len(records) + 1, header, sequence))
    return records


def _record(path: Path, number: int, header: bytes, sequence: bytearray) -> Record:
    name = header.split()[0].decode() if header else f"record_{number}"
    where = f"{path.name} record {number} ({name})"
    if not sequence:
        raise DataError(f"{where} has no sequence.")
    text = sequence.decode()
    codes = encode_one(text, where)
    interval = parse_interval(header.decode(errors="replace"), len(codes))
    return Record(number, name, codes, len(text.translate(_AMBIGUITY)), interval)


def fasta(
    positives: str | Path,
    negatives: str | Path,
    *,
    length: int | str | None = None,
    fractions: Sequence[float] = FRACTIONS,
    seed: int = 0,
    task: str = "bound",
    max_memory: int | None = None,
    split: SplitRule | None = None,
) -> Dataset:
    """Read positives and negatives, and split them: stratified, seeded, with relatives in one split.

    Parameters
    ----------
    positives, negatives : str or Path
        FASTA files. `negatives` may be ``"shuffle"``, which makes one dinucleotide shuffle of every positive and puts
        it into the split of its positive.
    length : int or str, optional
        Crop to this length around the centre, or pad with N on both sides; ``"shortest"`` crops all to the shortest.
    fractions : sequence of float
        Shares of train, valid and test.
    seed : int
        Seed of the split and the shuffle.
    task : str
        Name of the only label column.
    max_memory : int, optional, bytes
        As in `read_fasta`.
    split : SplitRule, optional
        How to split; by default by relatives, with these fractions and this seed.

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        As in `read_fasta` and `tuner.data.partition.partition`, or if sequences differ in length and no `length` is
        given.
    """
    positives = Path(positives)
    files = [positives]
    parts = [read_fasta(positives, max_memory)]
    shuffled = str(negatives) == SHUFFLE
    if not shuffled:
        files.append(Path(negatives))
        parts.append(read_fasta(negatives, max_memory))
    ids = tuple(record.id for part in parts for record in part)
    labels = np.repeat(np.array([1, 0], dtype=np.uint8)[: len(parts)], [len(part) for part in parts])
    source = " + ".join(file.name for file in files)
    codes, notes = _stack(source, files, parts, length, labels, max_memory, shuffled)
    intervals = [record.interval for part in parts for record in part]
    rule = split or SplitRule(fractions=fractions, seed=seed)
    rows, groups, decided = partition(codes, labels, rule, source=source, intervals=intervals)
    if shuffled:
        n = len(codes)
        codes = np.concatenate([codes, dinucleotide_shuffle(codes, seed=seed)])
        groups = np.concatenate([groups, groups])
        labels = np.concatenate([labels, np.zeros_like(labels)])
        ids = (*ids, *(f"{name}_shuffled" for name in ids))
        rows = {name: np.concatenate([part, part + n]) for name, part in rows.items()}
    whole = Split(codes=codes, labels=labels[:, None], ids=ids, groups=groups)
    return Dataset(
        name=positives.name,
        tasks=(task,),
        splits={name: whole.take(part) for name, part in rows.items()},
        source=f"{positives} + {negatives}",
        notes=notes + decided,
    )


def folder(
    path: str | Path, *, length: int | str | None = None, task: str = "bound", max_memory: int | None = None
) -> Dataset:
    """Read a folder that is already split.

    Parameters
    ----------
    path : str or Path
        Folder with ``train``, ``valid`` and ``test``, each with ``positives.fa`` and ``negatives.fa`` (or .fasta, .fna,
        all also with .gz, .bz2, .xz). Files ``train_positives.fa`` etc. directly in the folder work too.
    length : int or str, optional
        As in `fasta`.
    task : str
        Name of the only label column.
    max_memory : int, optional, bytes
        As in `read_fasta`.

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        If a file is missing, or as in `read_fasta`.
    """
    path = Path(path)
    if not path.is_dir():
        raise DataError(f"{path}: no such folder.")
    files = [_find(path, split, kind) for split in SPLITS for kind in ("positives", "negatives")]
    parts = [read_fasta(file, max_memory) for file in files]
    labels = np.concatenate([np.full(len(part), i % 2 == 0, dtype=np.uint8) for i, part in enumerate(parts)])
    codes, notes = _stack(path.name, files, parts, length, labels, max_memory)
    ids = tuple(record.id for part in parts for record in part)
    whole = Split(codes=codes, labels=labels[:, None], ids=ids)
    split_of_row = np.repeat(np.arange(len(files)) // 2, [len(part) for part in parts])
    return Dataset(
        name=path.name,
        tasks=(task,),
        splits={name: whole.take(split_of_row == i) for i, name in enumerate(SPLITS)},
        source=str(path),
        notes=notes,
    )


def _find(path: Path, split: str, kind: str) -> Path:
    stems = [path / split / kind, path / f"{split}_{kind}"]
    found = [file for stem in stems for end in ENDINGS if (file := stem.with_name(stem.name + end)).is_file()]
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(f"{path}: both {found[0].name} and {found[1].name} hold the {split} {kind}; remove one.")
    raise DataError(
        f"{path}: no {split}/{kind}.fa and no {split}_{kind}.fa. "
        f"Expected positives and negatives for train, valid and test, ending in {', '.join(ENDINGS)}."
    )


def _stack(
    source: str,
    files: Sequence[Path],
    parts: Sequence[Sequence[Record]],
    length: int | str | None,
    labels: NDArray[np.uint8],
    max_memory: int | None,
    shuffled: bool = False,
) -> tuple[Codes, tuple[str, ...]]:
    """Stack the records of all files, cropped or padded to one length; also return the notes for the data set."""
    records = [(file, record) for file, part in zip(files, parts, strict=True) for record in part]

    def where(index: int) -> str:
        file, record = records[index]
        return f"{file.name} record {record.number} ({record.id})"

    sequences = [record.codes for _, record in records]
    fitted = fit_lengths(
        sequences, length, labels, source=source, where=where, max_memory=max_memory, shuffled=shuffled
    )
    return fitted.codes, _notes(files, parts) + fitted.notes


def _notes(files: Sequence[Path], parts: Sequence[Sequence[Record]]) -> tuple[str, ...]:
    notes = []
    for file, part in zip(files, parts, strict=True):
        if count := sum(record.ambiguous for record in part):
            notes.append(f"{file.name}: {count} IUPAC ambiguity letters ({AMBIGUOUS}) were read as N.")
        if repeated := len(part) - len({record.id for record in part}):
            notes.append(f"{file.name}: {repeated} of {len(part)} records have the id of an earlier one.")
    return tuple(notes)
