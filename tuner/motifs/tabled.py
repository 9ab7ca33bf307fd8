"""Reads matrices that are tables with one line per position: TRANSFAC and CIS-BP."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from tuner.errors import MotifError
from tuner.motifs.records import Kind, Record, named_by, numbers, split

_TRANSFAC_HEAD = re.compile(r"P[0Oo]\s+[A-Za-z](\s+[A-Za-z])+\s*$")
_CISBP_HEAD = re.compile(r"Pos(ition)?\s+[A-Za-z](\s+[A-Za-z])+\s*$", re.IGNORECASE)
_TRANSFAC_KEY = re.compile(r"([A-Z][A-Z0-9])(\s+(.*))?$")
_NUMBERED = re.compile(r"\d+\s")


def is_transfac(lines: Sequence[str]) -> bool:
    """Whether a line names the columns as TRANSFAC does: ``P0 A C G T``."""
    return any(_TRANSFAC_HEAD.match(line.strip()) for line in lines if len(line) < 200)


def is_cisbp(lines: Sequence[str]) -> bool:
    """Whether a line names the columns as CIS-BP does: ``Pos A C G T``."""
    return any(_CISBP_HEAD.match(line.strip()) for line in lines if len(line) < 200)


def read_transfac(lines: Sequence[str], file: str) -> Iterator[Record]:
    """Read TRANSFAC entries. The identifier is AC, else ID; the name is NA, else ID."""
    keys: dict[str, str] = {}
    table = _Table("counts or probabilities")
    for number, raw in enumerate(lines, start=1):
        line = raw.strip()
        if line.startswith("//"):
            if table.begins:
                yield table.record(*_transfac_names(keys))
            elif set(keys) & {"AC", "ID", "NA"}:
                yield Record(number, *_transfac_names(keys), [], table.kind)
            keys, table = {}, _Table(table.kind)
        elif _TRANSFAC_HEAD.match(line):
            table.begin(number, split(line)[1:])
        elif _NUMBERED.match(line) and table.begins:
            table.add(number, split(line), consensus=True)
        elif found := _TRANSFAC_KEY.match(line):
            keys.setdefault(found[1], (found[3] or "").strip())
        elif line and table.begins:
            table.spoil(number, line)
    if table.begins:
        yield table.record(*_transfac_names(keys))


def _transfac_names(keys: dict[str, str]) -> tuple[str, str]:
    identifier = keys.get("AC") or keys.get("ID") or keys.get("NA") or keys.get("DE") or ""
    name = keys.get("NA") or keys.get("ID") or ""
    return "_".join(split(identifier)), "" if name == identifier else name


def read_cisbp(lines: Sequence[str], file: str) -> Iterator[Record]:
    """Read one or more CIS-BP tables. A motif of several factors is returned once, with the names of all of them."""
    found: dict[tuple[str, str], Record] = {}
    for place, record in enumerate(_cisbp_tables(lines, file)):
        key = (record.id, repr(record.rows)) if record.rows and record.id else (record.id, f"table {place}")
        if key in found:
            names = found[key].name.split(", ")
            if record.name and record.name not in names and len(found[key].name) + len(record.name) < 150:
                found[key] = found[key]._replace(name=", ".join([*names, record.name]))
        else:
            found[key] = record
    yield from found.values()


def _cisbp_tables(lines: Sequence[str], file: str) -> Iterator[Record]:
    stem = named_by(file)
    keys: dict[str, str] = {}
    table = _Table("probabilities")
    for number, raw in enumerate(lines, start=1):
        line = raw.strip()
        if _CISBP_HEAD.match(line):
            if table.begins:
                yield table.record(*_cisbp_names(keys, stem))
                keys = {}
            table = _Table("probabilities")
            table.begin(number, split(line)[1:])
        elif _NUMBERED.match(line + " ") and table.begins:
            table.add(number, split(line))
        elif line:
            if table.begins:
                yield table.record(*_cisbp_names(keys, stem))
                keys, table = {}, _Table("probabilities")
            key, _, value = line.partition("\t")
            keys.setdefault(key.strip(), value.strip())
    if table.begins:
        yield table.record(*_cisbp_names(keys, stem))


def _cisbp_names(keys: dict[str, str], stem: str) -> tuple[str, str]:
    return "_".join(split(keys.get("Motif", "") or ("" if keys else stem))), keys.get("TF Name", "")


class _Table:
    """Collects the numbered rows of one matrix below a line that names the columns."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.begins = 0
        self._order: list[int] = []
        self._rows: list[list[float]] = []
        self._next: int | None = None
        self._fault = ""

    def begin(self, line: int, letters: Sequence[str]) -> None:
        """Start the table with the names of its columns."""
        if self.begins:
            self._fault = self._fault or f"line {line}: %s: a second row of column names; // is missing before it"
            return
        self.begins = line
        named = [letter.upper() for letter in letters]
        if sorted(named) != list("ACGT"):
            told = " ".join(named)[:40]
            self._fault = f"line {line}: %s: columns {told}; only DNA motifs (A, C, G, T) can be matched"
            self._order = [0, 1, 2, 3]
        else:
            self._order = [named.index(base) for base in "ACGT"]

    def add(self, line: int, words: Sequence[str], *, consensus: bool = False) -> None:
        """Add one numbered row; in TRANSFAC a row ends with a letter of the consensus."""
        if consensus and len(words) == 6 and re.fullmatch(r"[A-Za-z.*-]", words[5]):
            words = words[:5]
        values = numbers(words)
        if self._fault:
            return
        if values is None or len(values) != 5:
            self.spoil(line, " ".join(words))
            return
        number = values[0]
        if self._next is None and number not in (0, 1):
            self._fault = f"line {line}: %s: the first row is numbered {words[0]}. Is the file damaged?"
        elif self._next is not None and number != self._next:
            self._fault = f"line {line}: %s: row {words[0]} where {self._next} is expected. Is the file damaged?"
        else:
            self._next = int(number) + 1
            self._rows.append([values[1 + place] for place in self._order])

    def spoil(self, line: int, text: str) -> None:
        """Record that a line is not a row."""
        self._fault = self._fault or f"line {line}: %s: {text[:40]!r} is not a row number and four values"

    def record(self, identifier: str, name: str) -> Record:
        """Return what was read."""
        fault = self._fault.replace("%s", f"motif {identifier}", 1) if self._fault else ""
        return Record(self.begins, identifier, name, [] if fault else self._rows, self.kind, None, fault)


def is_annotation(lines: Sequence[str]) -> bool:
    """Whether this is one of HOCOMOCO's tables about its motifs, which contain no matrices."""
    first = next((line.strip() for line in lines if line.strip()), "")
    columns = [column.strip() for column in first.lstrip("#").split("\t")]
    return len(columns) > 1 and (
        columns[0] in ("Model", "Motif name") or any(column.startswith("masterlist_info.") for column in columns)
    )


def refuse_annotation(lines: Sequence[str], file: str) -> Iterator[Record]:
    """Refuse such a table, and say which file to give.

    Raises
    ------
    MotifError
        Always.
    """
    raise MotifError(
        f"{file}: describes motifs, but contains no matrices. Give the file with the matrices, e.g. HOCOMOCO's MEME or "
        "pcm bundle."
    )
