"""Scoring the alleles of a VCF: what each changes in the model's logit, and whether chance changes it as much."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from tuner.data.shuffle import dinucleotide_shuffle
from tuner.genome.named import NamedGenome
from tuner.genome.sequence import Codes
from tuner.predictor.alleles import Allele, Place, Windows, alleles_of, flanks_of, windows_of
from tuner.predictor.variant_motifs import MotifChanges
from tuner.predictor.vcf import Record, Survey
from tuner.predictor.windows import BATCH

if TYPE_CHECKING:
    from tuner.predictor.predictor import Predictor

FloatArray = npt.NDArray[np.float64]

NULL: Final = 1000
"""Shuffled contexts of each class of alleles."""
SCORES: Final = ("logit_ref", "logit_alt", "delta", "sd", "t", "log2_odds", "percentile", "p")
"""Columns of each task; `docs/predictor.md` says what each is."""
PLACED: Final = ("chrom", "pos", "id", "ref", "alt", "status", "n")
MOTIFS: Final = ("motif_lost", "lost_bits", "motif_gained", "gained_bits")


class Compared(NamedTuple):
    """Logits of two alleles.

    Attributes
    ----------
    reference, alternative : numpy.ndarray, shape=(members, n_tasks), float64
        Of each network.
    """

    reference: FloatArray
    alternative: FloatArray


class Scores(NamedTuple):
    """A record of a VCF with one row for each of its alleles, in the order of `columns`."""

    record: Record
    rows: list[list[Any]]


def columns(tasks: Iterable[str]) -> list[str]:
    """Names of the columns; those of `SCORES` end with the task where there are several."""
    names = list(tasks)
    ends = [""] if len(names) == 1 else [f"_{task}" for task in names]
    return [*PLACED, *(name + end for end in ends for name in SCORES), *MOTIFS]


class VariantScorer:
    """Scores alleles with a model and a genome.

    Parameters
    ----------
    predictor : Predictor
        The model.
    genome : NamedGenome
        Of the variants.
    survey : Survey
        Of the VCF: its chromosomes, and a sample of its alleles for the null.
    device : str
        As for `Predictor.predict`.
    null : int
        Shuffled contexts of each class; 0 leaves p out.
    seed : int
        Of the shuffles.
    """

    def __init__(
        self, predictor: Predictor, genome: NamedGenome, survey: Survey, *, device: str = "cpu", null: int = NULL,
        seed: int = 0,
    ) -> None:  # fmt: skip
        self._predictor, self._genome, self._chromosomes = predictor, genome, survey.chromosomes
        self._device, self._length = device, predictor.length
        targets = (predictor.about.get("motifs") or {}).get("targets") or {}
        self._motifs = MotifChanges(predictor.files, targets)
        self.null: dict[str, FloatArray] = {}
        if null:
            for kind, places in survey.samples.items():
                self.null[kind] = self._chance(places, null, seed)

    def score(self, records: Iterable[Record]) -> Iterator[Scores]:
        """Score the alleles of records, one batch of windows after the other; in their order."""
        waiting: list[tuple[Record, list[Allele]]] = []
        pending = 0
        for record in records:
            chrom = self._chromosomes.get(record.chrom)
            alleles = list(alleles_of(record, self._genome, chrom, self._length))
            waiting.append((record, alleles))
            pending += 2 * len(alleles)
            if pending >= BATCH:
                yield from self._finish(waiting)
                waiting, pending = [], 0
        yield from self._finish(waiting)

    def _finish(self, waiting: list[tuple[Record, list[Allele]]]) -> Iterator[Scores]:
        places = [allele.place for _, alleles in waiting for allele in alleles if allele.place is not None]
        flanks = [flanks_of(place, self._genome, self._length) for place in places]
        windows = [
            windows_of(left, place.ref, place.alt, right, self._length)
            for place, (left, right) in zip(places, flanks, strict=True)
        ]
        compared = iter(zip(places, flanks, windows, self._compare(windows), strict=True))
        for record, alleles in waiting:
            yield Scores(record, [self._row(one, next(compared) if one.place else None) for one in alleles])

    def _row(self, allele: Allele, found: tuple[Place, tuple[Codes, Codes], Windows, Compared] | None) -> list[Any]:
        head = [allele.chrom, allele.position, allele.id, allele.ref, allele.alt, allele.status]
        if found is None:
            empty = [math.nan] * (len(SCORES) * len(self._predictor.tasks))
            return [*head, None, *empty, "", math.nan, "", math.nan]
        place, (left, right), windows, both = found
        unknown = int((windows.reference > 3).sum())
        lost, gained = self._motifs.of(left, place.ref, place.alt, right)
        scores = [value for task in range(len(self._predictor.tasks)) for value in self._scores(both, place, task)]
        return [*head, unknown, *scores, lost.name, lost.bits, gained.name, gained.bits]

    def _scores(self, both: Compared, place: Place, task: int) -> list[float]:
        """Values of `SCORES` for one task."""
        ref, alt = both.reference[:, task], both.alternative[:, task]
        change = alt - ref
        delta, m = float(change.mean()), len(change)
        spread = float(change.std(ddof=1)) if m > 1 else math.nan
        t = delta / (spread / math.sqrt(m)) if spread > 0 else math.nan
        slope = self._predictor.calibration.slope[task]
        highest = np.array([max(ref.mean(), alt.mean())])
        [percentile] = self._predictor.references[task].percentiles(highest)[0]
        p = math.nan
        if place.kind in self.null:
            chance = self.null[place.kind][:, task]
            p = (1 + len(chance) - int(np.searchsorted(chance, abs(delta), side="left"))) / (1 + len(chance))
        return [
            float(ref.mean()), float(alt.mean()), delta, spread, t, slope * delta / math.log(2), float(percentile), p,
        ]  # fmt: skip

    def _compare(self, windows: list[Windows]) -> Iterator[Compared]:
        """Logits of both alleles; a window that several alleles share is read once."""
        number: dict[bytes, int] = {}
        rows: list[Codes] = []
        for one in windows:
            for codes in (one.reference, *one.alternatives):
                if number.setdefault(codes.tobytes(), len(rows)) == len(rows):
                    rows.append(codes)
        if not rows:
            return
        parts = [
            self._predictor.logits(np.stack(rows[start : start + BATCH]), device=self._device)
            for start in range(0, len(rows), BATCH)
        ]
        logits = np.concatenate(parts, axis=1).astype(np.float64)  # (members, windows, n_tasks)
        for one in windows:
            several = [logits[:, number[codes.tobytes()]] for codes in one.alternatives]
            yield Compared(logits[:, number[one.reference.tobytes()]], np.mean(several, axis=0))

    def _chance(self, places: list[Place], wanted: int, seed: int) -> FloatArray:
        """|delta| of alleles between shuffled flanks, ascending in each task; shape=(wanted, n_tasks)."""
        chosen = [places[i % len(places)] for i in range(wanted)]
        flanks = [flanks_of(place, self._genome, self._length) for place in chosen]
        left = dinucleotide_shuffle(np.stack([one for one, _ in flanks]), seed=seed)
        right = dinucleotide_shuffle(np.stack([other for _, other in flanks]), seed=seed + 1)
        windows = [windows_of(left[i], place.ref, place.alt, right[i], self._length) for i, place in enumerate(chosen)]
        changes = [both.alternative.mean(axis=0) - both.reference.mean(axis=0) for both in self._compare(windows)]
        return np.sort(np.abs(np.stack(changes)), axis=0)
