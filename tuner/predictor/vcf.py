"""Reads VCF and BCF files: a first look at all alleles, and their records one after the other."""

from __future__ import annotations

import contextlib
import errno
import gzip
import importlib.util
import os
import shutil
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from tuner.errors import DataError, UsageError, permission
from tuner.genome.assemblies import identify
from tuner.genome.named import NamedGenome
from tuner.predictor.alleles import EQUAL, MISMATCH, PAST, SCORED, Allele, Place, alleles_of, letters_at

Record = Any
"""A `pysam.VariantRecord`."""
MOST_MISMATCHES: Final = 0.02
"""Largest share of alleles whose REF may differ from the genome."""
SAMPLED: Final = 1000
"""Alleles of each class that are kept for the null."""
_SURE: Final = 0.9
_COMPLEMENT: Final = str.maketrans("ACGT", "TGCA")


@dataclass
class Survey:
    """What a VCF holds.

    Attributes
    ----------
    chromosomes : dict of str to str
        Name in the VCF -> name in the genome.
    missing : tuple of str
        Chromosomes of the VCF that the genome does not have.
    statuses : Counter of str
        Status -> number of alleles.
    samples : dict of str to list of Place
        Class -> alleles of it, at most `SAMPLED`, drawn at random with a fixed seed.
    """

    chromosomes: dict[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    statuses: Counter[str] = field(default_factory=Counter)
    samples: dict[str, list[Place]] = field(default_factory=dict)


def check_package() -> None:
    """Refuse to begin without pysam.

    Raises
    ------
    UsageError
        It is not installed; says how to install it.
    """
    if importlib.util.find_spec("pysam") is None:
        raise UsageError("VCF files are read with pysam, which is not here; pip install 'tuner-tfbs[genome]'.")


@contextlib.contextmanager
def open_vcf(path: Path) -> Iterator[Any]:
    """Open a VCF or BCF file, plain or compressed, as a `pysam.VariantFile`.

    Raises
    ------
    DataError
        It is missing, not a VCF, without a header, damaged or cut short.
    """
    check_package()
    import pysam

    if not path.is_file():
        what = "it is a folder" if path.is_dir() else "a pipe cannot be read twice; write it to a file" if (
            path.exists()
        ) else "no such file"  # fmt: skip
        raise DataError(f"{path}: {what}.")
    before = pysam.set_verbosity(0)  # htslib writes to stderr by itself
    with contextlib.ExitStack() as stack:
        stack.callback(pysam.set_verbosity, before)
        try:
            file = pysam.VariantFile(os.fspath(stack.enter_context(_seekable(path))))
        except (ValueError, OSError) as error:
            if isinstance(error, OSError) and error.errno not in (None, errno.ENOEXEC):
                reason = f"cannot be read ({error.strerror or error}).{permission(error)}"
            else:
                reason = (
                    "not a VCF or BCF file with a header, or cut short within it. A VCF begins with a line "
                    "'##fileformat=VCFv4.2', and the last line of its header, '#CHROM ...', names the columns."
                )
            raise DataError(f"{path}: {reason}") from error
        with file:
            yield file


@contextlib.contextmanager
def _seekable(path: Path) -> Iterator[Path]:
    """A file that pysam can read: bgzip and plain files as they are, gzip decompressed into a temporary file."""
    with path.open("rb") as file:
        head = file.read(14)
    if head[:2] != b"\x1f\x8b" or head[12:14] == b"BC":
        yield path
        return
    with tempfile.NamedTemporaryFile(suffix=".vcf") as copy:
        try:
            with gzip.open(path, "rb") as packed:
                shutil.copyfileobj(packed, copy, 1 << 20)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(f"{path}: its gzip data are damaged or cut short ({error}).") from error
        copy.flush()
        yield Path(copy.name)


def records_of(file: Any, path: Path) -> Iterator[Record]:
    """Yield the records of an open file.

    Raises
    ------
    DataError
        A record cannot be read; says after which one.
    """
    number, last = 0, "the header"
    while True:
        try:
            record = next(file, None)
            if record is None:
                return
            number, last = number + 1, f"{record.chrom}:{record.pos}"
        except (OSError, ValueError) as error:
            raise DataError(
                f"{path}: record {number + 1}, after {last}, cannot be read ({error}). The file is damaged or cut "
                f"short, or the line does not have the columns of a VCF."
            ) from error
        yield record


def survey(path: Path, genome: NamedGenome, length: int) -> Survey:
    """Look at every allele once, before anything is scored.

    Parameters
    ----------
    path : Path
        VCF or BCF.
    genome : NamedGenome
    length : int, bp
        Of the model's input.

    Returns
    -------
    Survey

    Raises
    ------
    DataError
        The file cannot be read or has no records; no chromosome is in the genome; or REF differs from the genome in
        more than 2 % of the alleles, with the likely reason.
    """
    found = Survey()
    rng = np.random.default_rng(0)
    seen: Counter[str] = Counter()
    wrong: list[Allele] = []
    with open_vcf(path) as file:  # all names are matched at once: whether I is Roman, the others tell
        names = dict.fromkeys(record.chrom for record in records_of(file, path))
    found.chromosomes = genome.find(names)
    found.missing = tuple(name for name in names if name not in found.chromosomes)
    with open_vcf(path) as file:
        sizes = {name: contig.length for name, contig in file.header.contigs.items() if contig.length}
        for record in records_of(file, path):
            for allele in alleles_of(record, genome, found.chromosomes.get(record.chrom), length):
                found.statuses[allele.status] += 1
                if allele.status in (MISMATCH, PAST) and len(wrong) < SAMPLED:
                    wrong.append(allele)
                if allele.place is not None:
                    _sample(found.samples.setdefault(allele.place.kind, []), allele.place, seen, rng)
    if not found.statuses:
        raise DataError(f"{path}: the VCF has a header but no records.")
    if not found.chromosomes:
        raise DataError(
            f"{path}: none of its chromosomes is in {genome.genome.name}. The VCF has {_three(list(names))}; "
            f"the genome has {_three(list(genome.genome.sizes))}. Give the genome of the variants, or a table of names "
            f"with --aliases."
        )
    misplaced = found.statuses[MISMATCH] + found.statuses[PAST]
    compared = misplaced + found.statuses[SCORED] + found.statuses[EQUAL]
    if misplaced > max(MOST_MISMATCHES * compared, 1):
        raise DataError(_mismatch(path, genome, misplaced, compared, wrong, found, sizes))
    return found


def _sample(kept: list[Place], place: Place, seen: Counter[str], rng: np.random.Generator) -> None:
    """Keep each of the alleles of a class with the same chance (reservoir sampling)."""
    seen[place.kind] += 1
    if len(kept) < SAMPLED:
        kept.append(place)
    elif (at := int(rng.integers(seen[place.kind]))) < SAMPLED:
        kept[at] = place


def _three(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _mismatch(
    path: Path, genome: NamedGenome, count: int, compared: int, wrong: list[Allele], found: Survey,
    sizes: Mapping[str, int],
) -> str:  # fmt: skip
    """Word the error of a VCF that is not of this genome."""
    first = wrong[0]
    here = _genome_letters(genome, found, first, 0)
    head = (
        f"{path}: REF differs from {genome.genome.name} in {count} of {compared} alleles, first at "
        f"{first.chrom}:{first.position}, where REF is {first.ref[:20]} and the genome has {_or_end(here[:20])}."
    )
    described, own = identify(sizes), genome.genome.assembly
    for words, explains in _REASONS.items():
        if np.mean([explains(genome, found, allele) for allele in wrong]) >= _SURE:
            return f"{head} {words}"
    if described is not None and (own is None or described.assembly != own.assembly):
        which = f", and this genome is {own.assembly}" if own is not None else ""
        return f"{head} The header says that the VCF is of {described.assembly}{which}: give that genome."
    name = f" ({own.assembly})" if own is not None else ""
    return f"{head} The VCF is probably of another assembly than this genome{name}: give the one it was made with."


def _or_end(letters: str) -> str:
    """Bases, or that there are none: `NamedGenome.window` gives N past the end."""
    return letters if letters.strip("N") else "none, because its chromosome is shorter or unknown there"


def _genome_letters(genome: NamedGenome, found: Survey, allele: Allele, shift: int) -> str:
    """Bases of the genome at the place of a REF, or `shift` bases behind it."""
    start = allele.position - 1 + shift
    return letters_at(genome, found.chromosomes[allele.chrom], start, start + len(allele.ref))


def _from_zero(genome: NamedGenome, found: Survey, allele: Allele) -> bool:
    return _genome_letters(genome, found, allele, 1) == allele.ref.upper()


def _exchanged(genome: NamedGenome, found: Survey, allele: Allele) -> bool:
    return _genome_letters(genome, found, allele._replace(ref=allele.alt), 0) == allele.alt.upper()


def _other_strand(genome: NamedGenome, found: Survey, allele: Allele) -> bool:
    return _genome_letters(genome, found, allele, 0)[::-1].translate(_COMPLEMENT) == allele.ref.upper()


_REASONS: Final[Mapping[str, Callable[[NamedGenome, Survey, Allele], bool]]] = {
    "The positions seem to be counted from 0; a VCF counts from 1.": _from_zero,
    "REF and ALT seem to be exchanged.": _exchanged,
    "The alleles seem to be on the other strand; a VCF gives those of the forward strand.": _other_strand,
}
"""What to say of a VCF -> whether it explains that a REF differs from the genome."""
