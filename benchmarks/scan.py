"""Time, memory and hits of a scan of the yeast genome (12.2 Mb) for Reb1.

    tuner export --study reb1 --preset fast --out runs/reb1_model
    python benchmarks/scan.py runs/reb1_model

Windows every 25 bp on both strands, one thread. Beside time and peak memory it prints, for the whole genome and for
chromosome I and for two rates, how many hits there are, which share of them covers a peak of Rhee & Pugh (2011), and
which shares of the peaks and of the 775 exact sites are covered. The threshold is found in two ways: from windows whose
dinucleotides are shuffled, as `tuner scan` does, and from the genome's own windows, which hold the sites themselves.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from pathlib import Path

import numpy as np
import torch
from variants import GENOME, YEAST, sites

import tuner
from tuner.genome.genome import Genome
from tuner.genome.named import NamedGenome
from tuner.genome.peaks import read_peaks
from tuner.predictor.hits import merged_hits
from tuner.predictor.scan import Scores, Span, spans_of, threshold_of

RATES = (1e-2, 1e-3)


def covered(hits: list[tuple[int, int]], places: np.ndarray) -> tuple[int, int]:
    """How many hits hold a place, and how many places lie in a hit."""
    if not hits or not len(places):
        return 0, 0
    inside = [(places >= start) & (places < end) for start, end in hits]
    return sum(bool(one.any()) for one in inside), int(np.any(inside, axis=0).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--stride", type=int, default=25)
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = Path(os.environ["TUNER_DATA_DIR"])
    named = NamedGenome(Genome(folder / GENOME))
    predictor = tuner.load_model(options.model)
    peaks = read_peaks(folder / YEAST / "Reb1_Rhee.bed")
    found = named.find(np.unique(peaks.chrom).tolist())
    chroms = np.array([found[name] for name in peaks.chrom.tolist()])
    exact = sites(folder, named)
    spans = [span for span in spans_of(named, predictor.length) if span.chrom != "Mito"]
    started, cpu = time.perf_counter(), time.process_time()
    scores = Scores(predictor, named.genome, spans, stride=options.stride, task=0, device="cpu")
    for number in range(len(spans)):
        scores.of(number)
    seconds, spent = time.perf_counter() - started, time.process_time() - cpu
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    networks = len(predictor.members)
    print(
        f"{networks} networks, {predictor.length} bp: {scores.windows:,} windows in {seconds:.0f} s "
        f"(CPU {spent:.0f} s), {scores.windows / spent:,.0f} windows a second, {memory:.2f} GB"
    )
    own = np.sort(np.concatenate([scores.of(i)[np.isfinite(scores.of(i))] for i in range(len(spans))]))
    for rate in RATES:
        shuffled = threshold_of(predictor, named.genome, spans, rate, task=0, device="cpu").logit
        for source, limit in (("shuffled windows", shuffled), ("genome's windows", float(own[-int(rate * len(own))]))):
            for where in ("I", "all"):
                total = np.zeros(5, dtype=int)
                for number, span in enumerate(spans):
                    if where in (span.chrom, "all"):
                        total += one_chromosome(scores, number, span, limit, peaks.centre[chroms == span.chrom], exact)
                hits, true, n_peaks, of_peaks, of_exact = total.tolist()
                n_exact = sum(where in (chrom, "all") for chrom, _, _ in exact)
                print(
                    f"rate {rate:g} of {source}, threshold {limit:6.2f}, chromosome {where:3}: {hits} hits, precision "
                    f"{true / max(hits, 1):.3f}, recall {of_peaks / n_peaks:.3f} of {n_peaks} peaks, "
                    f"{of_exact / n_exact:.3f} of {n_exact} exact sites"
                )


def one_chromosome(
    scores: Scores, number: int, span: Span, limit: float, centres: np.ndarray, exact: list[tuple[str, int, str]]
) -> np.ndarray:
    """Hits, those with a peak, peaks, peaks in hits, and exact sites in hits."""
    hits = [(start, end) for _, start, end, _, _ in merged_hits(scores, number, limit)]
    true, of_peaks = covered(hits, centres)
    middle = np.array([begin + 3 for chrom, begin, _ in exact if chrom == span.chrom])
    return np.array([len(hits), true, len(centres), of_peaks, covered(hits, middle)[1]])


if __name__ == "__main__":
    main()
