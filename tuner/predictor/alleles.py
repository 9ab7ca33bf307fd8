"""Alleles of a VCF on a genome, and the windows in which a model compares them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np

from tuner.errors import DataError
from tuner.genome.named import NamedGenome
from tuner.genome.sequence import Codes, decode, encode_one

SCORED: Final = "scored"
MISMATCH: Final = "REF differs from the genome"
PAST: Final = "past the end of the chromosome"
EQUAL: Final = "REF and ALT are equal"
_BASES: Final = frozenset("ACGT")


class Place(NamedTuple):
    """Where an allele differs from the genome, without the bases that REF and ALT share at their ends.

    Attributes
    ----------
    chrom : str
        Name in the genome.
    start : int, bp
        0-based position of the first base that changes, or before which bases are inserted.
    ref, alt : numpy.ndarray, uint8
        Codes of the bases that are replaced, and of those that replace them; one of them may be empty.
    """

    chrom: str
    start: int
    ref: Codes
    alt: Codes

    @property
    def kind(self) -> str:
        """Its class: ``SNV``, ``MNV``, or insertion or deletion with the power of two that bounds its length."""
        longer = len(self.alt) - len(self.ref)
        if not longer:
            return "SNV" if len(self.ref) == 1 else "MNV"
        bound = 1 << (abs(longer) - 1).bit_length()
        return f"{'insertion' if longer > 0 else 'deletion'} of at most {bound} bp"


class Allele(NamedTuple):
    """One alternative allele of a record.

    Attributes
    ----------
    chrom, id, ref, alt : str
        As in the VCF.
    position : int, bp
        1-based, as in the VCF.
    status : str
        ``scored``, or why it is not.
    place : Place, optional
        None where it is not scored.
    """

    chrom: str
    position: int
    id: str
    ref: str
    alt: str
    status: str
    place: Place | None


class Windows(NamedTuple):
    """What a model reads to compare two alleles: codes of shape (length,), and one or two of the alternative."""

    reference: Codes
    alternatives: tuple[Codes, ...]


def alleles_of(record: Any, genome: NamedGenome, chrom: str | None, length: int) -> Iterator[Allele]:
    """Yield the alternative alleles of a record.

    Parameters
    ----------
    record : pysam.VariantRecord
    genome : NamedGenome
    chrom : str, optional
        Its chromosome in the genome; None if there is none.
    length : int, bp
        Of the model's input.
    """
    ref, start = record.ref or "", record.pos - 1
    size = 0 if chrom is None else genome.genome.sizes[chrom]
    inside = chrom is not None and 0 <= start and start + len(ref) <= size
    here = letters_at(genome, chrom, start, start + len(ref)) if chrom is not None and inside else ""
    for alt in record.alts or (".",):
        status = _status(ref, alt, chrom, start, size, here)
        place = None
        if status == SCORED:
            assert chrom is not None  # the status says so
            place = _trimmed(chrom, start, ref.upper(), alt.upper())
            longest = "REF" if len(place.ref) > length else "ALT" if len(place.alt) > length else ""
            if longest:
                status, place = f"{longest} longer than the model's input", None
        yield Allele(record.chrom, record.pos, record.id or "", ref, alt, status, place)


def letters_at(genome: NamedGenome, chrom: str, start: int, end: int) -> str:
    """Bases of an interval in capitals, with N past the ends of the chromosome."""
    codes = genome.window(chrom, start, end)
    return decode(codes[None])[0] if len(codes) else ""


def _status(ref: str, alt: str, chrom: str | None, start: int, size: int, here: str) -> str:
    if alt in (".", ""):
        return "no alternative allele"
    if alt == "*":
        return "spanned by a deletion (*)"
    if alt.startswith("<"):
        return "symbolic allele"
    if "[" in alt or "]" in alt or alt.startswith(".") or alt.endswith("."):
        return "breakend"
    if not set(ref.upper()) <= _BASES or not set(alt.upper()) <= _BASES:
        return "letters other than A, C, G, T"
    if chrom is None:
        return "chromosome not in the genome"
    if start < 0 or start + len(ref) > size:
        return PAST
    if ref.upper() != here:
        return MISMATCH
    return EQUAL if ref.upper() == alt.upper() else SCORED


def _trimmed(chrom: str, start: int, ref: str, alt: str) -> Place:
    """Leave out what both alleles share: first at their ends, then at their beginnings."""
    while ref and alt and ref[-1] == alt[-1]:
        ref, alt = ref[:-1], alt[:-1]
    shared = 0
    while shared < min(len(ref), len(alt)) and ref[shared] == alt[shared]:
        shared += 1
    return Place(chrom, start + shared, _codes(ref[shared:]), _codes(alt[shared:]))


def _codes(text: str) -> Codes:
    return encode_one(text) if text else np.zeros(0, dtype=np.uint8)


def flanks_of(place: Place, genome: NamedGenome, length: int) -> tuple[Codes, Codes]:
    """Read the `length` bases on either side of an allele, with N past the ends of the chromosome."""
    end = place.start + len(place.ref)
    return (
        genome.window(place.chrom, place.start - length, place.start),
        genome.window(place.chrom, end, end + length),
    )


def windows_of(left: Codes, ref: Codes, alt: Codes, right: Codes, length: int) -> Windows:
    """Put both alleles between their flanks.

    The window of the reference has the allele in its middle. A substitution changes only the allele. An insertion or
    deletion is read twice, once with the bases on its left where they were in the window of the reference, once with
    those on its right, so that the mean is the same whichever strand is read.

    Parameters
    ----------
    left, right : numpy.ndarray, shape=(at least length,), uint8
        Bases on either side, next to the allele.
    ref, alt : numpy.ndarray, uint8
        At most `length` bases each.
    length : int, bp
        Of the windows.
    """
    if max(len(ref), len(alt)) > length or min(len(left), len(right)) < length:
        raise DataError(f"alleles of {len(ref)} and {len(alt)} bp between flanks; expected at most {length} bp.")
    before = (length - len(ref)) // 2
    after = length - len(ref) - before
    reference = np.concatenate([_last(left, before), ref, right[:after]])
    if len(alt) == len(ref):
        return Windows(reference, (np.concatenate([_last(left, before), alt, right[:after]]),))
    longer = len(alt) - len(ref)
    kept_left = np.concatenate([_last(left, before), alt, right[: max(after - longer, 0)]])[:length]
    kept_right = _last(np.concatenate([_last(left, max(before - longer, 0)), alt, right[:after]]), length)
    return Windows(reference, (kept_left, kept_right))


def _last(codes: Codes, n: int) -> Codes:
    return codes[len(codes) - n :]
