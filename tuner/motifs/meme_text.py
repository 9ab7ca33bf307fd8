"""Reads MEME files: the minimal format of any version, and the text output of MEME, STREME and DREME.

Format: https://meme-suite.org/meme/doc/meme-format.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from tuner.errors import MotifError
from tuner.motifs.records import Record, numbers, split

_MATRIX = re.compile(r"letter-probability matrix\s*:?(.*)", re.IGNORECASE)
_FIELD = re.compile(r"(\w+)\s*=\s*([^\s=]*)(?!\s*=)")
_VERSION = re.compile(r"MEME version\b|.*\bletter-probability matrix\b", re.IGNORECASE)


def is_meme(lines: Sequence[str]) -> bool:
    """Whether any line states a MEME version or is the header of a letter-probability matrix."""
    return any(_VERSION.match(line.strip()) for line in lines if len(line) < 1000)


def read_meme_lines(lines: Sequence[str], file: str) -> Iterator[Record]:
    """Read the letter-probability matrices; log-odds matrices and sites are ignored.

    Raises
    ------
    MotifError
        If the alphabet is not ACGT.
    """
    identifier = name = ""
    declared = 0  # line of a MOTIF that has no matrix yet
    at = _skip_alphabet(lines, file)
    while at < len(lines):
        line = lines[at].strip()
        at += 1
        if re.match(r"MOTIF(\s|$)", line):
            if declared:
                yield Record(declared, identifier, name, [], "probabilities")
            # In MEME's own output this line continues with "width = 15 sites = 20 ...".
            words = split(re.split(r"\bwidth\s*=", line[5:])[0])
            identifier, name = (words[0], " ".join(words[1:])) if words else ("", "")
            declared = at
        elif found := _MATRIX.match(line):
            record, at = _read_matrix(lines, at, identifier, name, found[1])
            if not declared and not identifier:
                record = record._replace(fault=f"line {record.line}: a matrix before any MOTIF line")
            declared = 0
            yield record
    if declared:
        yield Record(declared, identifier, name, [], "probabilities")


def _read_matrix(lines: Sequence[str], at: int, identifier: str, name: str, header: str) -> tuple[Record, int]:
    """Read one matrix and check it against its header; also return the index of the line after it."""
    begins = at
    fields = {key.lower(): value for key, value in _FIELD.findall(header)}
    rows: list[list[float]] = []
    fault, end, gap = "", at, 0
    while at < len(lines):
        words = split(lines[at])
        at += 1
        if not words:  # some writers leave a blank line after the header
            gap = gap or (at if rows else 0)
            continue
        values = numbers(words)
        if values is None:
            # A line that begins with a number is a damaged row; other text comes after the matrix.
            if numbers(words[:1]) and len(words) >= 4 and not gap and not fault:
                fault = f"line {at}: motif {identifier}: {lines[at - 1].strip()[:40]!r} is not a row of four numbers"
                continue
            break
        if len(values) != 4 and not fault:
            fault = f"line {at}: motif {identifier}: {len(values)} numbers in a row, expected A C G T"
        rows.append(values)
        end = at
    fault = fault or _header_fault(fields, len(rows), begins, end, identifier)
    sites = _number(fields.get("nsites", ""))
    n_sites = sites if sites is not None and 0 < sites < float("inf") else None
    return Record(begins, identifier, name, [] if fault else rows, "probabilities", n_sites, fault), end


def _header_fault(fields: dict[str, str], n_rows: int, begins: int, end: int, identifier: str) -> str:
    """Say where the rows contradict the header; an empty text if nowhere."""
    stated = fields.get("w", "")
    letters = fields.get("alength", "")
    if letters and _number(letters) != 4:
        return f"line {begins}: motif {identifier}: alength= {letters}; only DNA motifs (ACGT) can be matched"
    if stated:
        width = _number(stated)
        if width is None or width < 1 or width != width // 1:
            return f"line {begins}: motif {identifier}: w= {stated} is not a number of columns"
        if n_rows < width:
            return f"line {end}: motif {identifier}: {n_rows} of {width:.0f} rows. Is the file truncated?"
        if n_rows > width:
            return f"line {begins}: motif {identifier}: w= {width:.0f}, but {n_rows} rows follow. Correct one of them"
    elif not n_rows:
        return f"line {end}: motif {identifier}: the matrix has no rows. Is the file truncated?"
    return ""


def _number(text: str) -> float | None:
    values = numbers([text])
    return values[0] if values else None


def _skip_alphabet(lines: Sequence[str], file: str) -> int:
    """Check the alphabet that the file states; return the index of the line at which to continue."""
    for at, raw in enumerate(lines):
        line = raw.strip()
        if not re.match(r"ALPHABET\b", line):
            continue
        where = f"{file} line {at + 1}"
        stated = line[len("ALPHABET") :].strip()
        if stated.startswith("="):
            letters = stated[1:].strip()
            if letters.upper().split()[:1] not in (["ACGT"], ["DNA"]):
                raise MotifError(f"{where}: alphabet {letters[:60]!r}; only DNA motifs (ACGT) can be matched.")
            continue
        return _skip_definition(lines, at, stated, where)
    return 0


def _skip_definition(lines: Sequence[str], at: int, stated: str, where: str) -> int:
    """Check an alphabet definition of MEME 5, from ``ALPHABET "DNA" DNA-LIKE`` to ``END ALPHABET``."""
    core: set[str] = set()
    for end in range(at + 1, len(lines)):
        line = lines[end].strip()
        if line.startswith("END ALPHABET"):
            if core and not core == set("ACGT"):
                stated = f"{stated} with the letters {''.join(sorted(core))}"
                break
            if "RNA" in stated.upper() or "PROTEIN" in stated.upper():
                break
            return end + 1
        if re.match(r"MOTIF\b", line):
            break
        if "=" not in line:  # the other lines are ambiguity codes such as R = AG
            core |= set(re.findall(r"(?:^|~\s*)(\S)(?:\s|$)", re.sub(r'"[^"]*"', " ", line)))
    else:
        if not stated.upper().startswith(('"RNA', '"PROT', "RNA", "PROT")):
            return at + 1
    raise MotifError(f"{where}: alphabet {stated[:80]}; only DNA motifs (ACGT) can be matched.")
