"""Reads motif files in all supported formats, recognised by their content and not by their names."""

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
        Description for people: what the format contains.
    recognises : callable
        Whether these lines are in this format. The formats are tried in the order of the table.
    read : callable
        Turns the lines and the name of the file into records.
    """

    holds: str
    recognises: Callable[[Sequence[str]], bool]
    read: Callable[[Sequence[str], str], Iterator[Record]]


FORMATS: Mapping[str, Format] = {
    "MEME XML": Format("XML output of MEME, STREME and DREME: probabilities", is_xml, read_meme_xml),
    "JSON": Format(
        "HOCOMOCO annotation (one record per line) and JASPAR records: name, and pcm, pfm, ppm or pwm",
        is_json,
        read_json,
    ),
    "HOCOMOCO annotation": Format(
        "no matrices: refused with an error that names the right file", is_annotation, refuse_annotation
    ),
    "MEME": Format("minimal format and text output: probabilities", is_meme, read_meme_lines),
    "TRANSFAC": Format("P0 A C G T, one line per position: counts", is_transfac, read_transfac),
    "CIS-BP": Format("Pos A C G T, one line per position: probabilities", is_cisbp, read_cisbp),
    "HOMER": Format(">consensus, name, threshold; one line per position: probabilities", is_homer, read_homer),
    "JASPAR": Format(">identifier name; rows A [ ... ] to T: counts", is_jaspar, read_jaspar),
    "matrices": Format(
        ">identifier; four rows (JASPAR pfm) or one line per position (HOCOMOCO pcm, pwm): counts or log-odds",
        is_headed,
        read_plain,
    ),
}


class MotifFile(NamedTuple):
    """Contents of a motif file.

    Attributes
    ----------
    format : str
        Key of `FORMATS`.
    motifs : tuple of Motif
        In file order, at least one.
    broken : tuple of str
        One sentence for each matrix that could not be read, saying where it is and what is wrong with it.
    """

    format: str
    motifs: tuple[Motif, ...]
    broken: tuple[str, ...]


def read_motif_file(path: str | Path, *, limit: int = MAXIMUM_BYTES) -> MotifFile:
    """Read every valid matrix of a motif file, and name the others.

    Parameters
    ----------
    path : str or Path
        A file in any of `FORMATS`, plain or compressed with gzip, bzip2 or xz. DNA only.
    limit : int
        Largest number of bytes of decompressed text.

    Returns
    -------
    MotifFile

    Raises
    ------
    MotifError
        If the file is missing, unreadable, too large, in no known format, in another alphabet, or without a single
        valid motif. The message names file, line and motif.

    Notes
    -----
    Counts are divided by their column sums, with no pseudocount. Probabilities rounded to two decimals or more are
    scaled to sum to 1. Log-odds are converted to probabilities, ``.25 e^S`` or ``.25 2^S``, if these sum to 1.
    """
    path = Path(path)
    return _read(read_lines(path, limit=limit), path)


def parse_motifs(text: str, name: str) -> MotifFile:
    """Read every valid matrix of a text, as `read_motif_file` does of a file.

    Parameters
    ----------
    text : str
        Text in any of `FORMATS`.
    name : str
        Name of the text in errors.
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
        f"{path}: not in a known motif format (no 'letter-probability matrix' found; it begins {first[:40]!r}). "
        f"The known formats are {known}, and matrices of numbers below >names."
    )


def _none_found(name: str) -> str:
    return "no 'letter-probability matrix' found" if name == "MEME" else f"the {name} file holds no matrix"
