"""Claim: the variant scores of a model tell which bases a site needs.

    tuner export --study reb1 --preset fast --out runs/reb1_model
    python benchmarks/variants.py runs/reb1_model

Each of the 775 exact sites of the yeast factor Reb1 (TTACCC[GT], positions in the name column of the reference data)
gives six alleles, written as a VCF and scored by `Predictor.score_vcf` with the genome:

    core        a base of TTACCC replaced by another one
    flank       a base 8 to 60 bp from the site replaced
    deletion    of one base of the core, and of one base 8 to 60 bp from the site
    insertion   of one base between two bases of the core, and 8 to 60 bp from the site

An allele in the core that leaves an exact site where it was (one T fewer of TTTACCC) breaks nothing and is left out.
Printed for substitutions, deletions and insertions: the AUROC with which |delta| tells breaks of the core from changes
of the flanks, the share of breaks that lower the logit, medians of delta, and the shares of p below .05 and of alleles
that lose REB1's motif. --chromosomes takes only sites on these, such as those that a model was not trained on.
"""

from __future__ import annotations

import argparse
import os
import re
import tempfile
from pathlib import Path

import numpy as np

import tuner
from tuner.genome.genome import Genome
from tuner.genome.named import NamedGenome
from tuner.genome.sequence import decode
from tuner.models.metrics import auroc

YEAST = Path("yeast_reb1")
GENOME = YEAST / "Saccharomyces_cerevisiae.R64-1-1.dna.toplevel.fa.gz"
SITES = YEAST / "Reb1_VerifiedPromoter_Primary_SORT_250bp.bed"
CORE = 6  # TTACCC


def sites(folder: Path, genome: NamedGenome) -> list[tuple[str, int, str]]:
    """Read chromosome in the genome, begin (0-based) and strand of each exact site, TTACCC[GT] on its strand."""
    found = []
    for line in (folder / SITES).read_text().splitlines():
        chrom, begin, _, strand = re.fullmatch(r"(\w+)_(\d+)_(\d+)_([+-])", line.split("\t")[3]).groups()  # type: ignore[union-attr]
        found.append((genome.find([chrom])[chrom], int(begin), strand))
    return found


def letters(genome: NamedGenome, chrom: str, start: int, end: int) -> str:
    return decode(genome.window(chrom, start, end)[None])[0]


def alleles(genome: NamedGenome, chosen: list[tuple[str, int, str]], seed: int) -> list[tuple[str, int, str, str, str]]:
    """Draw the alleles: chromosome, position (1-based), name, REF, ALT."""
    rng = np.random.default_rng(seed)
    rows = []
    for chrom, begin, strand in chosen:
        first = begin if strand == "+" else begin + 1  # the core is TTACCC, the first six bases on its strand
        size = genome.genome.sizes[chrom]
        for where in ("core", "flank"):
            inner = 1 + int(rng.integers(CORE - 1))  # inside, so that an insertion before it is within the core too
            if where == "core":
                at = first + inner
            else:
                at = first + int(rng.integers(14, 66)) * (1 if rng.random() < 0.5 else -1)
            if not 1 <= at < size - 1:
                continue
            base, before = letters(genome, chrom, at, at + 1), letters(genome, chrom, at - 1, at)
            other = str(rng.choice([one for one in "ACGT" if one != base]))
            extra = str(rng.choice([one for one in "ACGT" if one not in (base, before)]))
            made = (
                (chrom, at + 1, f"substitution_{where}", base, other),
                (chrom, at, f"deletion_{where}", before + base, before),
                (chrom, at, f"insertion_{where}", before, before + extra),
            )
            rows += [row for row in made if where == "flank" or not kept(genome, row, first)]
    return rows


def kept(genome: NamedGenome, row: tuple[str, int, str, str, str], first: int) -> bool:
    """Whether an exact site is still there, on either strand, up to two bases from where it was."""
    chrom, at, _, ref, alt = row
    low, high = first - 3, first + CORE + 4
    text = letters(genome, chrom, low, at - 1) + alt + letters(genome, chrom, at - 1 + len(ref), high)
    return re.search("TTACCC[GT]|[AC]GGGTAA", text) is not None


def write_vcf(path: Path, genome: NamedGenome, rows: list[tuple[str, int, str, str, str]]) -> None:
    lines = ["##fileformat=VCFv4.2", *(f"##contig=<ID={c},length={n}>" for c, n in genome.genome.sizes.items())]
    lines.append("#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO")
    lines += [f"{chrom}\t{at}\t{name}\t{ref}\t{alt}\t.\t.\t." for chrom, at, name, ref, alt in rows]
    path.write_text("\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--chromosomes", nargs="+")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    folder = Path(os.environ["TUNER_DATA_DIR"])
    genome = NamedGenome(Genome(folder / GENOME))
    chosen = [one for one in sites(folder, genome) if not options.chromosomes or one[0] in options.chromosomes]
    rows = alleles(genome, chosen, options.seed)
    with tempfile.TemporaryDirectory() as made:
        vcf = Path(made) / "sites.vcf"
        write_vcf(vcf, genome, rows)
        scored = tuner.load_model(options.model).score_vcf(vcf, genome.genome)
    print(f"{len(chosen)} sites, {len(scored)} alleles; {scored['status'].value_counts().to_dict()}")
    for kind in ("substitution", "deletion", "insertion"):
        part = scored[scored["id"].str.startswith(kind)]
        core = part["id"].str.endswith("core").to_numpy()
        value = auroc(core.astype(int)[:, None], part["delta"].abs().to_numpy()[:, None])
        inside = part[core]
        print(
            f"{kind:12} AUROC of |delta| {value:.4f}; delta below 0 in {(inside['delta'] < 0).mean():.4f} of the core, "
            f"median {inside['delta'].median():+.3f} (flank {part[~core]['delta'].median():+.3f}); p below .05: core "
            f"{(inside['p'] < 0.05).mean():.3f}, flank {(part[~core]['p'] < 0.05).mean():.3f}; motif lost in "
            f"{(inside['motif_lost'] == 'REB1').mean():.3f} and {(part[~core]['motif_lost'] == 'REB1').mean():.3f}"
        )


if __name__ == "__main__":
    main()
