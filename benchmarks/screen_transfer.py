"""Claim: the screen, made with filters of ZBED2 and IRF1 networks, also holds for filters of other data.

    python benchmarks/screen_transfer.py --out runs/filter_sets

Takes filters of networks trained for a few epochs on Koo & Ploenzke's simulated Task 1 and on REST ChIP-seq peaks
against their dinucleotide shuffles (DeepBind's file), with kernels of 19 and 25, and permutes their columns. Prints the
fraction of permuted matrices that match in each screened database, and the targets that a screen made with these
filters would remove in addition to the shipped list. Networks are trained once and kept (`filter_sets.py`; about 2
minutes of CPU time). TUNER_DATA_DIR names the folder of reference data.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from filter_sets import OTHER_NETS, add_folder, filters, one_thread

from tuner.motifs.database import MotifDatabase, load_database
from tuner.motifs.meme import Motif
from tuner.motifs.proportions import wilson_interval
from tuner.motifs.screen import permuted, screen_motifs
from tuner.motifs.tomtom import tomtom

PERMUTED = 750
DATABASES = ("JASPAR2016", "JASPAR2026", "motifs/H13CORE.meme")


def best_e_values(references: Sequence[Motif], database: MotifDatabase) -> np.ndarray:
    """Return the lowest E-value of each permuted matrix among the screened targets."""
    queries = permuted([motif.ppm for motif in references], PERMUTED, np.random.default_rng(1))
    targets = [motif.ppm for motif in database.screened]
    return np.asarray(tomtom(queries, targets).p_value.min(axis=1) * len(targets))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_folder(parser)
    folder = parser.parse_args().out
    one_thread()
    groups: dict[str, list[Motif]] = {}
    for net in OTHER_NETS:
        gated = [item for item in filters(net, folder).filters if item.gated]
        groups.setdefault(net.data, []).extend(
            Motif(f"{net.name}-f{f.index}", "", f.ppm, n_sites=f.sites) for f in gated
        )
    print("| database | filters of | filters | permuted match, E <= .01 | 95 % | E <= .1 | also left out |")
    print("|---|---|---|---|---|---|---|")
    for name in DATABASES:
        file = Path(os.environ["TUNER_DATA_DIR"]) / name
        database = load_database(str(file) if file.is_file() else name)
        for data, references in groups.items():
            e_values = best_e_values(references, database)
            rate, loose = float((e_values <= 0.01).mean()), float((e_values <= 0.1).mean())
            low, high = wilson_interval(rate * PERMUTED, PERMUTED)
            report = screen_motifs(database.name, database.motifs, references=references, n=PERMUTED)
            extra = sorted(report.promiscuous() - database.promiscuous, key=lambda motif: -report.rates[motif])
            words = ", ".join(f"{motif} {report.rates[motif]:.3f}" for motif in extra) or "none"
            cells = (database.name, data, len(references), f"{rate:.3f}", f"{low:.3f} to {high:.3f}")
            print("| " + " | ".join(map(str, (*cells, f"{loose:.3f}", words))) + " |", flush=True)


if __name__ == "__main__":
    main()
