"""Claim: TF-MoDISco finds no more in label-shuffled networks than the null lets pass by chance.

    python benchmarks/null_patterns.py --study irf1 --storage runs/tuner.db --artifacts runs/artifacts --trial 3

Trains networks with a trial's settings on shuffled labels, and finds patterns in each as a report does: DeepSHAP of the
same positives (of validation and training; the test split stays closed) with the same references, and TF-MoDISco at the
report's preset. Each network is judged with every other one as its null: a pattern counts if it has more seqlets than
the largest pattern of the null. Of two networks of the same kind, each exceeds the other half of the time, so one null
lets at most one network in two pass (nominal .5), and K nulls together one in K + 1. The same is then measured for the
trial's own network.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tuner.cli import context
from tuner.genome.sequence import Codes
from tuner.interpret.attribution import attribute
from tuner.interpret.modisco import Pattern, above_null, find_patterns, match_patterns
from tuner.models.network import Network
from tuner.motifs.database import MotifDatabase
from tuner.motifs.screen import SIGNIFICANT_E
from tuner.report.source import Options, open_source
from tuner.search.null_networks import train_shuffled
from tuner.search.restore import restore_study
from tuner.storage.artifacts import Artifacts
from tuner.storage.storage import open_storage

Judged = tuple[Sequence[Pattern], Sequence[Sequence[Pattern]]]  # patterns of a network, and of its nulls
FIRST = 1000  # replicates from this number on are not controls of a study


def patterns_of(network: Network, codes: Codes, references: int) -> tuple[Pattern, ...]:
    found = attribute("deep_shap", network, codes, references=references, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        return find_patterns(codes, found.hypothetical, folder=Path(folder), environment=os.environ).patterns


def told(patterns: Sequence[Pattern], nulls: Sequence[Sequence[Pattern]], database: MotifDatabase) -> tuple[int, int]:
    """Count the patterns above all of these nulls, and those of them that match a known motif."""
    above = above_null(patterns, [p for null in nulls for p in null])
    matched = [m.e_value is not None and m.e_value <= SIGNIFICANT_E for m in match_patterns(patterns, database)]
    return sum(above), sum(a and m for a, m in zip(above, matched, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", default="irf1")
    parser.add_argument("--storage", default="runs/tuner.db")
    parser.add_argument("--artifacts", type=Path, default=Path("runs/artifacts"))
    parser.add_argument("--trial", type=int, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sequences", type=int, default=300)
    parser.add_argument("--references", type=int, default=10)
    options = parser.parse_args()
    storage, artifacts = open_storage(options.storage), Artifacts(options.artifacts)
    plan, identity, _ = restore_study(storage, options.study)
    source = open_source(
        storage, artifacts, options.study, plan, identity, Options(),
        data_dir=context.data_dir(), cache=context.cache_dir(), device="cpu",
    )  # fmt: skip
    data, database = source.bench.dataset, source.bench.database
    positives = np.concatenate([s.codes[s.labels[:, 0] == 1] for s in (data.valid, data.train)])[: options.sequences]
    point = source.trial(options.trial).params
    real = patterns_of(source.network(source.shown(options.trial).run)[0].eval(), positives, options.references)
    shuffled = []
    for seed in range(options.seeds):
        network, _, _ = train_shuffled(source.bench, point, replicate=FIRST + seed, on_epoch=lambda record: None)
        shuffled.append(patterns_of(network.eval(), positives, options.references))
        sizes = [p.seqlets for p in shuffled[-1]]
        print(f"shuffled {seed}: {len(sizes)} patterns, seqlets {sizes}", flush=True)
    print(f"trial {options.trial}: {len(real)} patterns, seqlets {[p.seqlets for p in real]}")
    others = [[*shuffled[:i], *shuffled[i + 1 :]] for i in range(len(shuffled))]
    pairs = [(one, [null]) for one, rest in zip(shuffled, others, strict=True) for null in rest]
    report("one null", 1, pairs, [(real, [null]) for null in shuffled], database)
    left_out = list(zip(shuffled, others, strict=True))
    report(f"{len(shuffled) - 1} nulls", len(shuffled) - 1, left_out, [(real, shuffled)], database)


def report(label: str, nulls: int, without: Sequence[Judged], with_signal: Sequence[Judged], db: MotifDatabase) -> None:
    """Print the shares of networks with a pattern, and with a matched motif, above their null."""
    print(f"{label} (nominal {1 / (nulls + 1):.2f})")
    for kind, judged in (("label-shuffled", without), ("trained", with_signal)):
        counts = [told(one, against, db) for one, against in judged]
        above, matched = (statistics.fmean(c[k] > 0 for c in counts) for k in (0, 1))
        print(
            f"  {kind:14} {above:.2f} with a pattern above the null, {matched:.2f} with one that matches a known motif"
        )


if __name__ == "__main__":
    main()
