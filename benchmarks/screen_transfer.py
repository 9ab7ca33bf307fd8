"""Claim: the screen, made with filters of ZBED2 and IRF1 networks, also holds for filters of other data.

    python benchmarks/screen_transfer.py --out runs/filter_sets

takes filters of networks trained for a few epochs on Koo & Ploenzke's simulated Task 1 and on REST ChIP-seq peaks
against their dinucleotide shuffles (DeepBind's file), kernels of 19 and 25, permutes their columns, and prints which
fraction of the permuted matrices match in each screened database, and which targets a screen made with these filters
would leave out beside the shipped list. Networks are trained once and kept (`filter_sets.py`; about 2 minutes of
CPU). TUNER_DATA_DIR names the folder of reference data.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
from filter_sets import OTHER_NETS, add_folder, filters, one_thread

from tuner.motifs.database import MotifDatabase, load_database
from tuner.motifs.meme import Motif
from tuner.motifs.proportions import wilson_interval
from tuner.motifs.screen import PERMUTED_PPMS, permuted, screen_motifs
from tuner.motifs.tomtom import tomtom

DATABASES = ("JASPAR2016", "JASPAR2026", "motifs/H13CORE.meme")


def match_rate(references: list[Motif], database: MotifDatabase, e_value: float) -> tuple[float, float, float]:
    """Fraction of permuted matrices that match a screened target, with its Wilson interval."""
    queries = permuted([motif.ppm for motif in references], PERMUTED_PPMS, np.random.default_rng(0))
    targets = [motif.ppm for motif in database.screened]
    best = np.concatenate(
        [tomtom(queries[i : i + 250], targets).p_value.min(axis=1) for i in range(0, len(queries), 250)]
    )
    hits = int((best * len(targets) <= e_value).sum())
    return hits / len(queries), *wilson_interval(hits, len(queries))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_folder(parser)
    folder = parser.parse_args().out
    one_thread()
    groups: dict[tuple[str, int], list[Motif]] = {}
    for net in OTHER_NETS:
        key = (net.data, int(str(dict(net.settings)["kernel_size"])))
        gated = [item for item in filters(net, folder).filters if item.gated]
        groups.setdefault(key, []).extend(Motif(f"{net.name}-f{f.index}", "", f.ppm, n_sites=f.sites) for f in gated)
    print("| database | filters of | kernel | filters | permuted match, E <= .01 | 95 % | E <= .1 | also left out |")
    print("|---|---|---|---|---|---|---|---|")
    for name in DATABASES:
        file = Path(os.environ["TUNER_DATA_DIR"]) / name
        database = load_database(str(file) if file.is_file() else name)
        for (data, kernel), references in groups.items():
            rate, low, high = match_rate(references, database, 0.01)
            loose = match_rate(references, database, 0.1)[0]
            report = screen_motifs(database.name, database.motifs, references=references)
            extra = sorted(report.promiscuous() - database.promiscuous, key=lambda motif: -report.rates[motif])
            words = ", ".join(f"{motif} {report.rates[motif]:.3f}" for motif in extra) or "none"
            cells = (database.name, data, kernel, len(references), f"{rate:.3f}", f"{low:.3f} to {high:.3f}")
            print("| " + " | ".join(map(str, (*cells, f"{loose:.3f}", words))) + " |", flush=True)


if __name__ == "__main__":
    main()
