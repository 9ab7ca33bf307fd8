"""Writes the scores of variants: a table with one row per allele, and the VCF with INFO fields."""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from tuner.files import replacing
from tuner.genome.named import NamedGenome
from tuner.predictor.alleles import SCORED
from tuner.predictor.predictor import Predictor
from tuner.predictor.scores import cell, output
from tuner.predictor.variants import MOTIFS, NULL, PLACED, SCORES, VariantScorer, columns
from tuner.predictor.vcf import Record, Survey, open_vcf, records_of, survey
from tuner.results.trial_table import text_cell

ENDINGS: Final = (".vcf", ".vcf.gz", ".vcf.bgz", ".bcf")
"""Of an annotated file: VCF, VCF compressed with bgzip, or BCF."""
FIELDS: Final = {
    "logit_ref": "Logit of the model for REF, mean over its networks and both strands",
    "logit_alt": "Logit of the model for ALT",
    "delta": "Change of the logit, ALT minus REF",
    "sd": "Standard deviation of the change over the networks",
    "t": "Mean change divided by its standard error over the networks",
    "log2_odds": "Change of the calibrated log2 odds of binding",
    "percentile": "Percent of the validation negatives that score below the higher of the two alleles",
    "p": "Share of shuffled contexts in which alleles of this class change the logit as much",
}
_TEXTS: Final = {
    "status": "scored, or why the allele is not scored",
    "motif_lost": "Known motif that ALT weakens most, by the filters of the model",
    "motif_gained": "Known motif that ALT strengthens most, by the filters of the model",
}
_PREFIX: Final = "TUNER_"


class Written(NamedTuple):
    """What was scored: alleles, those with a score, and what the survey of the VCF found."""

    alleles: int
    scored: int
    survey: Survey


def write_variants(
    predictor: Predictor,
    vcf: str | Path,
    genome: NamedGenome,
    out: str | Path,
    *,
    vcf_out: str | Path | None = None,
    null: int = NULL,
    seed: int = 0,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Written:
    """Score every alternative allele of a VCF.

    Parameters
    ----------
    predictor : Predictor
        The model.
    vcf : str or Path
        VCF or BCF, plain or compressed; it is read twice.
    genome : NamedGenome
        To which its positions refer.
    out : str or Path
        Tab-separated text, one row per allele in the order of the file.
    vcf_out : str or Path, optional
        The records with INFO fields; VCF, bgzipped VCF or BCF by its ending.
    null, seed, device
        As for `VariantScorer`.
    progress : callable, optional
        Called with the number of alleles scored so far, and of all.

    Raises
    ------
    DataError, DeviceError, UsageError
        As for `survey` and `Predictor.predict`; no output is written, and existing ones are unchanged.
    OSError
        An output cannot be written.
    """
    path = Path(vcf)
    found = survey(path, genome, predictor.length)
    scorer = VariantScorer(predictor, genome, found, device=device, null=null, seed=seed)
    names = columns(predictor.tasks)
    total, done, scored = sum(found.statuses.values()), 0, 0
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open_vcf(path))
        table: IO[str] = stack.enter_context(output(Path(out)))
        annotated = stack.enter_context(_Annotated.to(Path(vcf_out), file, predictor)) if vcf_out else None
        table.write("\t".join(map(text_cell, names)) + "\n")
        for record, rows in scorer.score(records_of(file, path)):
            table.writelines("\t".join(map(cell, row)) + "\n" for row in rows)
            if annotated is not None:
                annotated.write(record, rows)
            done += len(rows)
            scored += sum(row[PLACED.index("status")] == SCORED for row in rows)
            if progress is not None:
                progress(done, total)
    return Written(done, scored, found)


class _Annotated:
    """An annotated VCF that is being written.

    Text is written as the record gives it, because `VariantFile.write` adds END to records with symbolic alleles; only
    BCF needs it.
    """

    def __init__(self, tasks: tuple[str, ...]) -> None:
        self._write: Callable[[Record], object] = _nowhere
        ends = [""] if len(tasks) == 1 else ["_" + re.sub(r"\W", "_", task) for task in tasks]
        self._numbers = [_PREFIX + name.upper() + end for end in ends for name in SCORES]

    @classmethod
    @contextlib.contextmanager
    def to(cls, out: Path, source: Any, predictor: Predictor) -> Iterator[_Annotated]:
        """Open a file for the records of `source`, whose header gets the new fields; it appears at the end."""
        header = source.header
        found = cls(predictor.tasks)
        for number, name in zip(found._numbers, [n for _ in predictor.tasks for n in SCORES], strict=True):
            task = number.removeprefix(_PREFIX + name.upper()).removeprefix("_")
            words = FIELDS[name] + (f"; task {task}" if task else "")
            header.info.add(number, "A", "Float", words)
        for name, words in _TEXTS.items():
            header.info.add(_PREFIX + name.upper(), "A", "String", words)
        with replacing(out) as part, contextlib.ExitStack() as stack:
            found._write = stack.enter_context(_writer(part, out.name, header))
            yield found

    def write(self, record: Record, rows: list[list[Any]]) -> None:
        """Write a record with the scores of its alleles."""
        if record.alts:
            values = list(zip(*rows, strict=True))
            numbers = values[len(PLACED) : len(PLACED) + len(self._numbers)]
            for name, column in zip(self._numbers, numbers, strict=True):
                record.info[name] = tuple(None if math.isnan(value) else float(value) for value in column)
            texts = dict(zip((*PLACED, *MOTIFS), [*values[: len(PLACED)], *values[-len(MOTIFS) :]], strict=True))
            for name in _TEXTS:
                record.info[_PREFIX + name.upper()] = tuple(_plain(value) for value in texts[name])
        self._write(record)


def _plain(text: str) -> str | None:
    """A text that an INFO field may hold: no spaces, commas, semicolons or equals signs."""
    return re.sub(r"[\s,;=]+", "_", text) or None


def _nowhere(record: Record) -> object:
    raise RuntimeError("the file is not open")


@contextlib.contextmanager
def _writer(part: Path, name: str, header: Any) -> Iterator[Callable[[Record], object]]:
    """Open an output of the format that its name ends with; yields what writes a record."""
    import pysam

    if name.endswith(".bcf"):
        if "END" not in header.info:
            header.info.add("END", "1", "Integer", "Last position of the allele")
        with pysam.VariantFile(os.fspath(part), "wb", header=header) as file:
            yield file.write
    elif name.endswith(".vcf"):
        with part.open("w", encoding="utf-8") as text:
            text.write(str(header))
            yield lambda record: text.write(str(record))
    else:
        with pysam.BGZFile(os.fspath(part), "wb", None) as packed:
            packed.write(str(header).encode())
            yield lambda record: packed.write(str(record).encode())
