"""FASTA: two files of positives and negatives, or a folder that is split already."""

from __future__ import annotations

import gzip
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from tuner.data.dataset import SPLITS, Dataset, Split
from tuner.data.sequence import AMBIGUOUS, N_CODE, Codes, encode_one
from tuner.data.shuffle import dinucleotide_shuffle
from tuner.data.spec import FRACTIONS
from tuner.data.splits import duplicate_groups, stratified
from tuner.errors import DataError

SHUFFLE: Final = "shuffle"
ENDINGS: Final = (".fa", ".fasta", ".fna", ".fa.gz", ".fasta.gz", ".fna.gz")
_AMBIGUITY: Final = str.maketrans("", "", "ACGTUNacgtun")


class Record(NamedTuple):
    """One FASTA record: its number in the file from 1, its id (the first word), its codes (length,)."""

    number: int
    id: str
    codes: Codes
    ambiguous: int


def read_text(path: Path) -> str:
    """Read a text file, gzip-compressed or not.

    Raises
    ------
    DataError
        If it is missing, empty, a broken gzip file, or no text.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file.")
    try:
        raw = path.read_bytes()
        if raw[:2] == b"\x1f\x8b":  # gzip says so itself; endings lie
            raw = gzip.decompress(raw)
        text = raw.decode("ascii")
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error}). Copy or download it again.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start} is no ASCII text; expected a text file.") from error
    if not text.strip():
        raise DataError(f"{path}: the file is empty.")
    return text


def read_fasta(path: str | Path) -> list[Record]:
    """Read a FASTA file.

    Parameters
    ----------
    path : str or Path
        Plain or gzip; upper or lower case; lines wrapped or not. U is T; IUPAC ambiguity letters are N.

    Returns
    -------
    list of Record

    Raises
    ------
    DataError
        If the file is missing or empty, does not start with ``>``, or a record has no sequence or a character
        that is no nucleotide; names file and record.
    """
    path = Path(path)
    headers: list[str] = []
    lines: list[list[str]] = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        line = line.strip()
        if line.startswith(">"):
            headers.append(line[1:].strip())
            lines.append([])
        elif line and not headers:
            raise DataError(
                f"{path.name} line {number}: {line[:20]!r} comes before the first record; a FASTA file begins with '>'."
            )
        elif line:
            lines[-1].append(line)
    records = []
    for number, (header, parts) in enumerate(zip(headers, lines, strict=True), start=1):
        name = header.split()[0] if header else f"record_{number}"
        where = f"{path.name} record {number} ({name})"
        text = "".join(parts)
        if not text:
            raise DataError(f"{where} has no sequence.")
        records.append(Record(number, name, encode_one(text, where), len(text.translate(_AMBIGUITY))))
    return records


def fasta(
    positives: str | Path,
    negatives: str | Path,
    *,
    length: int | None = None,
    fractions: Sequence[float] = FRACTIONS,
    seed: int = 0,
    task: str = "bound",
) -> Dataset:
    """Read positives and negatives, and split them: stratified, seeded, copies of a sequence kept together.

    Parameters
    ----------
    positives, negatives : str or Path
        FASTA files; `negatives` may be ``"shuffle"``: one dinucleotide shuffle of every positive, which goes
        into the split of its positive.
    length : int, optional
        Crop to this length around the centre, or pad with N on both sides.
    fractions : sequence of float
        Shares of train, valid and test.
    seed : int
        Seeds split and shuffle.
    task : str
        Name of the one label column.

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        As `read_fasta`, or if sequences differ in length and no `length` is given.
    """
    positives = Path(positives)
    files = [positives]
    parts = [read_fasta(positives)]
    shuffled = str(negatives) == SHUFFLE
    if not shuffled:
        files.append(Path(negatives))
        parts.append(read_fasta(negatives))
    codes = _stack(files, parts, length)
    groups = duplicate_groups(codes)
    ids = tuple(record.id for part in parts for record in part)
    labels = np.repeat(np.array([1, 0], dtype=np.uint8)[: len(parts)], [len(part) for part in parts])
    notes = _notes(files, parts)
    if shuffled:
        codes = np.concatenate([codes, dinucleotide_shuffle(codes, seed=seed)])
        groups = np.concatenate([groups, groups])
        labels = np.concatenate([labels, np.zeros_like(labels)])
        ids = (*ids, *(f"{name}_shuffled" for name in ids))
        notes += (f"{positives.name}: the negatives are dinucleotide shuffles of the positives.",)
        parted = stratified(labels[: len(labels) // 2], fractions, seed=seed, groups=groups[: len(labels) // 2])
        rows = {name: np.concatenate([part, part + len(labels) // 2]) for name, part in parted.items()}
    else:
        rows = stratified(labels, fractions, seed=seed, groups=groups)
    whole = Split(codes=codes, labels=labels[:, None], ids=ids)
    return Dataset(
        name=positives.name,
        tasks=(task,),
        splits={name: whole.take(part) for name, part in rows.items()},
        source=f"{positives} + {negatives}",
        notes=notes,
    )


def folder(path: str | Path, *, length: int | None = None, task: str = "bound") -> Dataset:
    """Read a folder that is split already.

    Parameters
    ----------
    path : str or Path
        Holding ``train``, ``valid`` and ``test``, each with ``positives.fa`` and ``negatives.fa`` (or .fasta,
        .fna, each also .gz); ``train_positives.fa`` and so on directly in the folder work too.
    length : int, optional
        As in `fasta`.
    task : str
        Name of the one label column.

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        If a file is missing, or as `read_fasta`.
    """
    path = Path(path)
    if not path.is_dir():
        raise DataError(f"{path}: no such folder.")
    files = [_find(path, split, kind) for split in SPLITS for kind in ("positives", "negatives")]
    parts = [read_fasta(file) for file in files]
    codes = _stack(files, parts, length)
    labels = np.concatenate([np.full(len(part), i % 2 == 0, dtype=np.uint8) for i, part in enumerate(parts)])
    ids = tuple(record.id for part in parts for record in part)
    whole = Split(codes=codes, labels=labels[:, None], ids=ids)
    split_of_row = np.repeat(np.arange(len(files)) // 2, [len(part) for part in parts])
    return Dataset(
        name=path.name,
        tasks=(task,),
        splits={name: whole.take(split_of_row == i) for i, name in enumerate(SPLITS)},
        source=str(path),
        notes=_notes(files, parts),
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


def _stack(files: Sequence[Path], parts: Sequence[Sequence[Record]], length: int | None) -> Codes:
    """Stack the records of all files, cropped or padded to one length."""
    records = [(file, record) for file, part in zip(files, parts, strict=True) for record in part]
    if length is None:
        lengths = Counter(len(record.codes) for _, record in records)
        usual = lengths.most_common(1)[0][0]
        for file, record in records:
            if len(record.codes) != usual:
                raise DataError(
                    f"{file.name} record {record.number} ({record.id}) has {len(record.codes)} bases, "
                    f"{lengths[usual]} of {len(records)} sequences have {usual}. "
                    f"Set length = {usual} to crop or pad all of them around their centres."
                )
        length = usual
    return np.stack([fit_length(record.codes, length) for _, record in records])


def fit_length(codes: Codes, length: int) -> Codes:
    """Crop one sequence (n,) around its centre, or pad it with N on both sides, to (length,)."""
    surplus = len(codes) - length
    if surplus >= 0:
        return codes[surplus // 2 : surplus // 2 + length]
    left = -surplus // 2
    return np.pad(codes, (left, -surplus - left), constant_values=N_CODE)


def _notes(files: Sequence[Path], parts: Sequence[Sequence[Record]]) -> tuple[str, ...]:
    counts = [(file, sum(record.ambiguous for record in part)) for file, part in zip(files, parts, strict=True)]
    return tuple(
        f"{file.name}: {count} IUPAC ambiguity letters ({AMBIGUOUS}) were read as N." for file, count in counts if count
    )
