"""Reads matrices below lines that begin with >, or alone in a file: JASPAR, HOMER, HOCOMOCO, plain counts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tuner.motifs.records import Kind, Record, named_by, numbers, split

_LETTERED = re.compile(r"([A-Za-z])\s*[:|]?\s*(\[?)([^\[\]]*)(\]?)\s*$")
_HOCOMOCO = re.compile(r"(\w+?)(?:_(?:HUMAN|MOUSE))?\.H\d+\w*\.")
_HOMER_SITES = re.compile(r"\bT:(\d+(?:\.\d+)?)\(")


class _Group(NamedTuple):
    """One > line and the rows below it; a file without > has one group with an empty header."""

    line: int
    header: str
    rows: list[tuple[int, str]]


def is_headed(lines: Sequence[str]) -> bool:
    """Whether the first line that is neither blank nor a comment begins with > or is a row of a matrix."""
    first = next((line.strip() for line in lines if line.strip() and not line.startswith("#")), "")
    return first.startswith(">") or _is_row(first)


def is_homer(lines: Sequence[str]) -> bool:
    """Whether the first header has HOMER's columns: consensus, name, threshold."""
    first = next((line for line in lines if line.strip() and not line.startswith("#")), "")
    fields = first.split("\t")
    return first.startswith(">") and len(fields) >= 3 and bool(numbers([fields[2].strip()]))


def is_jaspar(lines: Sequence[str]) -> bool:
    """Whether rows are named by their bases: ``A [ 3 0 1 ]``."""
    return is_headed(lines) and any(_is_lettered(row) for group in _first_groups(lines) for _, row in group.rows)


def read_jaspar(lines: Sequence[str], file: str) -> Iterator[Record]:
    """Read matrices of rows A, C, G and T, in any order, with or without brackets."""
    for group in _groups(lines):
        identifier, name = _titles(group, file)
        rows: dict[str, list[float]] = {}
        fault = ""
        for number, row in group.rows:
            fault = fault or _add_lettered(rows, row, f"line {number}: motif {identifier}")
        where = f"line {group.line}: motif {identifier}"
        if not fault and (rows or group.rows):
            missing = [base for base in "ACGT" if base not in rows]
            lengths = {len(values) for values in rows.values()}
            if missing:
                fault = f"{where}: no row {' and no row '.join(missing)}"
            elif len(lengths) > 1:
                told = ", ".join(f"{base} {len(rows[base])}" for base in "ACGT")
                fault = f"{where}: rows of different lengths: {told}. Is the file truncated?"
        matrix = [] if fault or not rows else [list(column) for column in zip(*(rows[b] for b in "ACGT"), strict=True)]
        yield Record(group.line, identifier, name, matrix, "counts or probabilities", None, fault)


def read_homer(lines: Sequence[str], file: str) -> Iterator[Record]:
    """Read HOMER motifs: one line per position, probabilities with three decimals."""
    for group in _groups(lines):
        fields = [field.strip() for field in group.header.split("\t")]
        # HOMER prints the name where there is one; several motifs may share a consensus.
        identifier = "_".join((fields[1] if len(fields) > 1 and fields[1] else fields[0]).split())
        found = _HOMER_SITES.search(group.header)
        n_sites = float(found[1]) if found and float(found[1]) > 0 else None
        name = re.split(r"[(/,]", identifier)[0]
        yield _by_positions(group, identifier, name, "probabilities", n_sites)


def read_plain(lines: Sequence[str], file: str) -> Iterator[Record]:
    """Read matrices without letters: four rows A, C, G and T (JASPAR's pfm), or one line per position (HOCOMOCO).

    Any matrix that is not four by four shows which of the two the file uses; if there is none, the sums decide.
    """
    groups = list(_groups(lines))
    values = [[numbers(split(row)) for _, row in group.rows] for group in groups]
    tall = [_is_tall(rows) for rows in values]
    wide = [_is_wide(rows) for rows in values]
    only_tall = any(t and not w for t, w in zip(tall, wide, strict=True))
    only_wide = any(w and not t for t, w in zip(tall, wide, strict=True))
    for group, rows, is_tall, is_wide in zip(groups, values, tall, wide, strict=True):
        identifier, name = _titles(group, file)
        where = f"line {group.line}: motif {identifier}"
        kind: Kind = "counts or probabilities"
        transposed = is_wide
        if is_tall and is_wide:
            transposed = only_wide
            if only_tall == only_wide:
                transposed, fault = _direction([row for row in rows if row is not None], where)
                if fault:
                    yield Record(group.line, identifier, name, [], kind, None, fault)
                    continue
        if transposed:
            stacked = [row for row in rows if row is not None]
            yield Record(group.line, identifier, name, [list(c) for c in zip(*stacked, strict=True)], kind)
        else:
            yield _by_positions(group, identifier, name, kind, None)


def _is_tall(rows: Sequence[list[float] | None]) -> bool:
    return bool(rows) and all(row is not None and len(row) == 4 for row in rows)


def _is_wide(rows: Sequence[list[float] | None]) -> bool:
    lengths = {-1 if row is None else len(row) for row in rows}
    return len(rows) == 4 and len(lengths) == 1 and min(lengths) > 0


def _direction(rows: list[list[float]], where: str) -> tuple[bool, str]:
    """Whether the rows of a four by four matrix are bases: sums over positions are equal, sums over bases are not.

    The second value says why this cannot be decided; it is empty if it can.
    """
    lines = [sum(row) for row in rows]
    columns = [sum(column) for column in zip(*rows, strict=True)]
    by_line = max(lines) - min(lines) <= 0.02 * abs(max(lines))
    by_column = max(columns) - min(columns) <= 0.02 * abs(max(columns))
    if by_line == by_column:
        return False, (
            f"{where}: four rows of four numbers: it is unclear whether a row is a base or a position. "
            "Name the rows (A [ ... ]) or give a MEME file"
        )
    return by_column, ""


def _by_positions(group: _Group, identifier: str, name: str, kind: Kind, n_sites: float | None) -> Record:
    rows: list[list[float]] = []
    fault = ""
    for number, line in group.rows:
        values = numbers(split(line))
        if values is None or len(values) != 4:
            what = f"{line.strip()[:40]!r} is not a row of four numbers below a >name"
            if re.fullmatch(r"[A-Za-z*-]{5,}", line.strip()):
                what += ". Is it a FASTA file of sequences? A motif is a matrix"
            fault = f"line {number}: motif {identifier}: {what}"
            break
        rows.append(values)
    return Record(group.line, identifier, name, [] if fault else rows, kind, n_sites, fault)


def _groups(lines: Sequence[str]) -> Iterator[_Group]:
    group = _Group(0, "", [])
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if text.startswith(">"):
            if group.line:
                yield group
            group = _Group(number, line.strip(" \r\n")[1:], [])
        else:
            if not group.line:
                group = group._replace(line=number)
            group.rows.append((number, text))
    if group.line:
        yield group


def _first_groups(lines: Sequence[str]) -> list[_Group]:
    return list(_groups(lines[:200]))


def _titles(group: _Group, file: str) -> tuple[str, str]:
    """Identifier and name from a header; a matrix without a header is named after its file."""
    words = split(group.header)
    if not words:
        alone = bool(group.rows) and group.rows[0][0] == group.line  # no > line: the group begins with a row
        return (named_by(file), "") if alone else ("", "")
    identifier, name = words[0], " ".join(words[1:])
    if not name and (found := _HOCOMOCO.match(identifier)):
        name = found[1]
    return identifier, name


def _is_row(line: str) -> bool:
    return _is_lettered(line) or len(numbers(split(line)) or []) >= 4


def _is_lettered(line: str) -> bool:
    found = _LETTERED.match(line)
    return found is not None and bool(numbers(split(found[3])))


def _add_lettered(rows: dict[str, list[float]], line: str, where: str) -> str:
    """Add the row of one base to `rows`; return what is wrong with it, or an empty text."""
    found = _LETTERED.match(line) if len(line) < 100_000 else None
    values = numbers(split(found[3])) if found else None
    if found is None or not values:
        return f"{where}: {line[:40]!r} is not a row such as 'A [ 3 0 1 ]'"
    base = found[1].upper()
    if base not in "ACGT":
        return f"{where}: row {base}; only DNA motifs (rows A, C, G, T) can be matched"
    if base in rows:
        return f"{where}: two rows {base}"
    if found[2] and not found[4]:
        return f"{where}: row {base} has no closing bracket. Is the file truncated?"
    rows[base] = values
    return ""
