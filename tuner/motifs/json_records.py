"""Reads matrices in JSON: HOCOMOCO's annotation (one record per line), JASPAR's records, and lists of records."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tuner.errors import MotifError
from tuner.motifs.records import Kind, Record

# HOCOMOCO 12 and 13 have `pcm` (counts, one row per position), JASPAR has `pfm` (counts, one row per base). Counts come
# before what is derived from them: the first key that a record has is read.
_MATRICES: Mapping[str, Kind] = {
    "pcm": "counts or probabilities",
    "pfm": "counts or probabilities",
    "ppm": "probabilities",
    "pwm": "counts or probabilities",  # log-odds, or other numbers under that name
    "matrix": "counts or probabilities",
}
_IDENTIFIERS = ("matrix_id", "name", "id", "motif")
_BASES = ("A", "C", "G", "T")


def is_json(lines: Sequence[str]) -> bool:
    """Whether this is JSON: one value, or one record per line."""
    first = next((line.strip() for line in lines if line.strip()), "")
    return re.match(r"\{|\[\s*(\{|$)", first) is not None


def read_json(lines: Sequence[str], file: str) -> Iterator[Record]:
    """Read every record that contains a matrix.

    Raises
    ------
    MotifError
        If this is not JSON, or no record contains a matrix.
    """
    records = list(_records(lines, file))
    if not any(_key(record) for _, record in records):
        raise MotifError(
            f"{file}: describes motifs, but contains no matrices that can be read (none of its records has "
            f"{', '.join(_MATRICES)}). Give the file with the matrices, e.g. HOCOMOCO's MEME or pcm bundle."
        )
    for line, record in records:
        yield _read(line, record)


def _records(lines: Sequence[str], file: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Records with their line numbers; records of a value that spans several lines have its first line."""
    filled = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    try:
        found = [(number, _parse(line)) for number, line in filled]
    except ValueError as first:  # not one record per line: the file is one value
        try:
            found = [(filled[0][0], _parse("\n".join(lines)))]
        except ValueError as error:
            whole = error if filled[0][1].strip() in ("{", "[") or len(filled) == 1 else first
            raise MotifError(f"{file}: broken JSON ({whole}). Is the file truncated?") from None
    for number, value in found:
        for record in value if isinstance(value, list) else [value]:
            if not isinstance(record, dict):
                raise MotifError(f"{file} line {number}: {str(record)[:40]!r} is not a record of a motif.")
            yield number, record


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _key(record: Mapping[str, Any]) -> str:
    return next((key for key in _MATRICES if record.get(key)), "")


def _read(line: int, record: Mapping[str, Any]) -> Record:
    identifier = next((_word(record[key]) for key in _IDENTIFIERS if record.get(key)), "")
    where = f"line {line}: motif {identifier}"
    key = _key(record)
    if not key:
        return Record(line, identifier, "", [], "probabilities")
    rows, fault = _rows(record[key])
    fault = f"{where}: {key}: {fault}" if fault else ""
    return Record(line, identifier, _name(record, identifier), rows, _MATRICES[key], None, fault)


def _word(value: object) -> str:
    return "_".join(str(value).split())


def _name(record: Mapping[str, Any], identifier: str) -> str:
    """Name of the factor: HOCOMOCO's gene symbol or `tf`, else a name that is not the identifier."""
    master = record.get("masterlist_info")
    species = master.get("species") if isinstance(master, dict) else None
    genes = [
        species[kind].get("gene_symbol")
        for kind in ("HUMAN", "MOUSE")
        if isinstance(species, dict) and isinstance(species.get(kind), dict)
    ]
    given = [*genes, record.get("tf"), record.get("gene_symbol"), record.get("name")]
    return next((name for name in given if isinstance(name, str) and name and _word(name) != identifier), "")


def _rows(matrix: object) -> tuple[list[list[float]], str]:
    """The matrix with one row per position, and what is wrong with it (empty if nothing is)."""
    if isinstance(matrix, dict):  # one named row per base
        named = {str(base).upper(): row for base, row in matrix.items()}
        if sorted(named) != sorted(_BASES) or len(named) != len(matrix):
            told = " ".join(named)[:40]
            return [], f"rows {told}; only DNA motifs (A, C, G, T) can be matched"
        given: object = [named[base] for base in _BASES]
        by_base = True
    else:
        given, by_base = matrix, False
    if not isinstance(given, list) or not all(isinstance(row, list) and row for row in given):
        return [], "not a list of rows of numbers"
    if not all(isinstance(x, int | float) and not isinstance(x, bool) for row in given for x in row):
        return [], "holds a value that is not a number"
    lengths = {len(row) for row in given}
    if len(lengths) > 1:
        return [], f"rows of different lengths, {min(lengths)} to {max(lengths)}"
    try:
        numbers = [[float(x) for x in row] for row in given]
    except OverflowError:
        return [], "holds a number that is too large"
    if not by_base and lengths != {4}:
        if len(numbers) != 4:
            return [], f"{len(numbers)} rows of {min(lengths)} numbers; expected four numbers per row, or four rows"
        by_base = True
    return [list(column) for column in zip(*numbers, strict=True)] if by_base else numbers, ""
