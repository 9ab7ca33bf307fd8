"""Motif files in every format that is read, told apart by what they hold and not by their names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tuner.errors import MotifError
from tuner.motifs.headed import is_headed, is_homer, is_jaspar, read_homer, read_jaspar, read_plain
from tuner.motifs.json_records import is_json, read_json
from tuner.motifs.meme import Motif
from tuner.motifs.meme_text import is_meme, read_meme_lines
from tuner.motifs.meme_xml import is_xml, read_meme_xml
from tuner.motifs.records import Record, check_records
from tuner.motifs.tabled import (
    is_annotation,
    is_cisbp,
    is_transfac,
    read_cisbp,
    read_transfac,
    refuse_annotation,
)
from tuner.motifs.text import MAXIMUM_BYTES, read_lines


class Format(NamedTuple):
    """How one format is recognised and read.

    Attributes
    ----------
    holds : str
        For people: what it holds.
    recognises : callable
        Whether these lines are of this format; formats are asked in their order.
    read : callable
        Lines and the file's name to records.
    """

    holds: str
    recognises: Callable[[Sequence[str]], bool]
    read: Callable[[Sequence[str], str], Iterator[Record]]


FORMATS: Mapping[str, Format] = {
    "MEME XML": Format("XML output of MEME, STREME and DREME: probabilities", is_xml, read_meme_xml),
    "JSON": Format(
        "HOCOMOCO annotation (a record a line) and JASPAR records: name, and pcm, pfm, ppm or pwm", is_json, read_json
    ),
    "HOCOMOCO annotation": Format("no matrices: refused with what to give", is_annotation, refuse_annotation),
    "MEME": Format("minimal format and text output: probabilities", is_meme, read_meme_lines),
    "TRANSFAC": Format("P0 A C G T, a line a position: counts", is_transfac, read_transfac),
    "CIS-BP": Format("Pos A C G T, a line a position: probabilities", is_cisbp, read_cisbp),
    "HOMER": Format(">consensus, name, threshold; a line a position: probabilities", is_homer, read_homer),
    "JASPAR": Format(">identifier name; rows A [ ... ] to T: counts", is_jaspar, read_jaspar),
    "matrices": Format(
        ">identifier; four rows (JASPAR pfm) or a line a position (HOCOMOCO pcm, pwm): counts or log-odds",
        is_headed,
        read_plain,
    ),
}


class MotifFile(NamedTuple):
    """What a motif file holds.

    Attributes
    ----------
    format : str
        Row of `FORMATS`.
    motifs : tuple of Motif
        In file order, at least one.
    broken : tuple of str
        One sentence for each matrix that could not be read: where it is and what is wrong with it.
    """

    format: str
    motifs: tuple[Motif, ...]
    broken: tuple[str, ...]


def read_motif_file(path: str | Path, *, limit: int = MAXIMUM_BYTES) -> MotifFile:
    """Read every matrix of a motif file that can be read, and name the others.

    Parameters
    ----------
    path : str or Path
        A file of any row of `FORMATS`, plain or compressed by gzip, bzip2 or xz. DNA only.
    limit : int
        Most bytes of decompressed text.

    Returns
    -------
    MotifFile

    Raises
    ------
    MotifError
        File missing, unreadable or too large, of no known format, of another alphabet, or without a single whole
        motif; the text names file, line and motif.

    Notes
    -----
    Counts are divided by their column sums, with no pseudocount. Probabilities rounded to two decimals or more are
    scaled to sum to 1. Log-odds are turned back into probabilities, ``.25 e^S`` or ``.25 2^S``, where these sum to 1.
    """
    path = Path(path)
    return _read(read_lines(path, limit=limit), path)


def parse_motifs(text: str, name: str) -> MotifFile:
    """Read every matrix of a text, as `read_motif_file` reads a file.

    Parameters
    ----------
    text : str
        Of any row of `FORMATS`.
    name : str
        What errors call it.
    """
    return _read(text.splitlines(), Path(name))


def _read(lines: Sequence[str], path: Path) -> MotifFile:
    name = next((name for name, row in FORMATS.items() if row.recognises(lines)), None)
    if name is None:
        raise MotifError(_no_format(path, lines))
    row = FORMATS[name]
    motifs, broken = check_records(row.read(lines, path.name), path.name)
    if broken and not motifs:
        more = f" None of the {len(broken)} motifs of this file can be read." if len(broken) > 1 else ""
        raise MotifError(broken[0] + more)
    if not motifs:
        raise MotifError(f"{path}: no motif found: {_none_found(name)}.")
    return MotifFile(name, motifs, broken)


def _no_format(path: Path, lines: Sequence[str]) -> str:
    known = ", ".join(name for name in FORMATS if name not in ("HOCOMOCO annotation", "matrices"))
    first = next((line.strip() for line in lines if line.strip()), "")
    if not first:
        return f"{path}: the file is empty: no 'letter-probability matrix' found. Expected motifs, e.g. a MEME file."
    return (
        f"{path}: no motif format is recognised (no 'letter-probability matrix' found; it begins {first[:40]!r}). "
        f"Read are {known}, and matrices of numbers below >names."
    )


def _none_found(name: str) -> str:
    return "no 'letter-probability matrix' found" if name == "MEME" else f"the {name} file holds no matrix"
