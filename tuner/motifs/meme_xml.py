"""Reads the XML output of MEME, STREME and DREME."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from xml.parsers import expat

from tuner.errors import MotifError
from tuner.motifs.records import Record, numbers

_ROOTS = ("MEME", "STREME", "dreme")


def is_xml(lines: Sequence[str]) -> bool:
    """Whether the first line that is not blank begins with a tag."""
    return next((line for line in lines if line.strip()), "").lstrip().startswith("<")


def read_meme_xml(lines: Sequence[str], file: str) -> Iterator[Record]:
    """Read the motifs of an XML output.

    Raises
    ------
    MotifError
        If the XML is broken, is from another program or declares entities, or if the alphabet is not ACGT.
    """
    handler = _Handler(file)
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = handler.start
    parser.EndElementHandler = handler.end
    parser.CharacterDataHandler = handler.text
    parser.EntityDeclHandler = handler.entity
    handler.line = lambda: parser.CurrentLineNumber
    try:
        parser.Parse("\n".join(lines), True)
    except expat.ExpatError as error:
        raise MotifError(f"{file}: broken XML ({error}). Is the file truncated?") from None
    yield from handler.records


class _Handler:
    """Collects motifs while expat parses."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.records: list[Record] = []
        self.line: Any = None
        self._root = ""
        self._symbols: dict[str, str] = {}  # identifier of a letter to the letter
        self._motif: dict[str, str] | None = None
        self._begins = 0
        self._rows: list[list[float]] = []
        self._row: dict[str, str] | None = None
        self._letter: str | None = None
        self._in_probabilities = False
        self._fault = ""

    def entity(self, *_: object) -> None:
        raise MotifError(f"{self.file}: declares XML entities, which MEME never writes.")

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if not self._root:
            self._root = tag
            if tag not in _ROOTS:
                raise MotifError(
                    f"{self.file}: XML or HTML with the root <{tag[:40]}>; "
                    "motifs can be read from the XML of MEME, STREME and DREME."
                )
        if tag == "alphabet":
            # MEME 4.9 and older: <alphabet id="nucleotide">; newer ones: <alphabet name="DNA" like="dna">.
            self._check_alphabet(attributes.get("like") or attributes.get("id") or attributes.get("name") or "")
        elif tag == "background":
            self._check_alphabet(attributes.get("type", ""))  # DREME before 4.11
        elif tag == "letter" and "symbol" in attributes:
            self._symbols[attributes.get("id", "")] = attributes["symbol"]
        elif tag == "motif":
            self._motif, self._begins, self._rows, self._fault = attributes, self.line(), [], ""
        elif self._motif is None:
            return
        elif tag == "probabilities":
            self._in_probabilities = True
        elif tag == "pos":
            self._add_row({base: attributes[base] for base in attributes if len(base) == 1})
        elif tag == "alphabet_array" and self._in_probabilities:
            self._row = {}
        elif tag == "value" and self._row is not None:
            letter = attributes.get("letter_id", "")
            self._letter = self._symbols.get(letter, letter.removeprefix("letter_"))
            self._row[self._letter] = ""

    def text(self, text: str) -> None:
        if self._row is not None and self._letter is not None:
            self._row[self._letter] = (self._row[self._letter] + text)[:100]

    def end(self, tag: str) -> None:
        if tag == "value":
            self._letter = None
        elif tag == "alphabet_array" and self._row is not None:
            self._add_row(self._row)
            self._row = None
        elif tag == "probabilities":
            self._in_probabilities = False
        elif tag == "motif" and self._motif is not None:
            self._finish(self._motif)
            self._motif = None

    def _check_alphabet(self, told: str) -> None:
        if told.lower() not in ("dna", "nucleotide", ""):
            raise MotifError(f"{self.file}: alphabet {told[:40]!r}; only DNA motifs (ACGT) can be matched.")

    def _add_row(self, row: dict[str, str]) -> None:
        values = numbers(row.get(base, "").strip() for base in "ACGT")
        if set(row) - set("ACGT") or values is None:
            self._fault = (
                self._fault or f"position {len(self._rows) + 1} is not a row of probabilities of A, C, G and T"
            )
        else:
            self._rows.append(values)

    def _finish(self, motif: dict[str, str]) -> None:
        if self._root == "dreme":
            name, alternative = motif.get("seq", ""), motif.get("alt", motif.get("id", ""))
            sites, width = motif.get("nsites", ""), motif.get("length", "")
        elif self._root == "STREME":
            name, alternative = motif.get("id", ""), motif.get("alt", "")
            sites, width = motif.get("npassing", ""), motif.get("width", "")
        else:
            name, alternative = motif.get("name", ""), motif.get("alt", "")
            sites, width = motif.get("sites", ""), motif.get("width", "")
        stated = numbers([width])
        if not self._fault and stated and stated[0] != len(self._rows):
            self._fault = f"width {width}, but {len(self._rows)} positions follow. Is the file damaged?"
        counted = numbers([sites])
        n_sites = counted[0] if counted and 0 < counted[0] < float("inf") else None
        fault = f"line {self._begins}: motif {name}: {self._fault}" if self._fault else ""
        self.records.append(Record(self._begins, name, alternative, self._rows, "probabilities", n_sites, fault))
