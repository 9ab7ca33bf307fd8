"""Claim: filters that cannot show a motif match at most 3 % of the time in every screened database.

    python benchmarks/motif_null.py --out runs/filter_sets

Prints, for JASPAR2016, JASPAR2026 and HOCOMOCO v13, the targets that the screen removes with their match rates, and the
fraction of filters that match at E <= .01 (`match_fraction`) and at E <= .1, for column permutations of the reference
filters (other permutations than those of the screen), networks trained on shuffled labels, and untrained networks. Mean
and maximum are over networks of 32 filters; the Wilson interval is over all filters; match_null uses one permutation
per filter. Networks are trained once and kept in the folder of --out (`filter_sets.py`; forty trainings, about 40
minutes of CPU time); with --cached, missing networks are left out. TUNER_DATA_DIR names the folder of reference data.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from filter_sets import SHUFFLED_NETS, UNTRAINED_NETS, FilterSet, Net, add_folder, filters, one_thread

from tuner.motifs.database import MotifDatabase, load_database, screen_database
from tuner.motifs.match import match_filters
from tuner.motifs.proportions import wilson_interval
from tuner.motifs.screen import PROMISCUOUS_RATE, SIGNIFICANT_E, permuted, reference_filters
from tuner.motifs.tomtom import tomtom

DATABASES = ("JASPAR2016", "JASPAR2026", "motifs/H13CORE.meme")
LOOSE_E = 0.1
PERMUTED = 1500
PERMUTATION_SEED = 1  # that of the screen is 0
MOST_NAMED = 25


class Rate(NamedTuple):
    """Share of the filters of several networks that match at one E-value."""

    hits: list[int]
    trials: list[int]

    def words(self) -> tuple[str, ...]:
        """Format mean, maximum and interval."""
        low, high = wilson_interval(sum(self.hits), sum(self.trials))
        largest = max(h / n for h, n in zip(self.hits, self.trials, strict=True))
        return (f"{sum(self.hits) / sum(self.trials):.3f}", f"{largest:.3f}", f"{low:.3f} to {high:.3f}")


class Row(NamedTuple):
    """Kind of filters, and their matches at the two E-values."""

    kind: str
    networks: int
    strict: Rate
    loose: Rate
    null: float  # match_null with one permutation per filter


def available(nets: Sequence[Net], folder: Path, cached: bool) -> list[FilterSet]:
    """Return the filter sets of these networks: all, or only those already trained."""
    return [filters(net, folder) for net in nets if not cached or (folder / f"{net.name}.npz").is_file()]


def permuted_row(database: MotifDatabase) -> Row:
    """Measure permutations of the reference filters, grouped by their network."""
    references = reference_filters()
    queries = permuted([m.ppm for m in references], PERMUTED, np.random.default_rng(PERMUTATION_SEED))
    network = np.array([references[i % len(references)].id.rsplit("-", 1)[0] for i in range(PERMUTED)])
    targets = [motif.ppm for motif in database.screened]
    best = np.concatenate([tomtom(queries[i : i + 250], targets).p_value.min(axis=1) for i in range(0, PERMUTED, 250)])
    names = sorted(set(network))

    def rate(e_value: float) -> Rate:
        hit = best * len(targets) <= e_value
        return Rate([int(hit[network == n].sum()) for n in names], [int((network == n).sum()) for n in names])

    return Row("permuted references", len(names), rate(SIGNIFICANT_E), rate(LOOSE_E), float("nan"))


def network_row(kind: str, sets: Sequence[FilterSet], database: MotifDatabase) -> Row:
    """Measure the filters of these networks with `match_filters`."""
    strict, loose, null = Rate([], []), Rate([], []), []
    for item in sets:
        found = match_filters(item.filters, database, {}, n_filters=len(item.filters), permutations=1)
        strict.hits.append(sum(row.significant for row in found.rows))
        loose.hits.append(sum(row.gated and row.e_value <= LOOSE_E for row in found.rows))
        null.append(found.metrics["match_null"])
        for rate in (strict, loose):
            rate.trials.append(len(item.filters))
    return Row(kind, len(sets), strict, loose, float(np.mean(null)))


def rows(database: MotifDatabase, sets: Sequence[FilterSet]) -> Iterator[Row]:
    """Measure every control with one database."""
    yield permuted_row(database)
    for labels in ("shuffled", "untrained"):
        for data in ("ZBED2", "IRF1"):
            chosen = [item for item in sets if (item.net.data, item.net.labels) == (data, labels)]
            if chosen:
                yield network_row(f"{labels}, {data}", chosen, database)


def describe(name: str) -> MotifDatabase:
    """Screen a database anew, print the targets removed, and check that studies get the same screen."""
    report = screen_database(name)
    database = load_database(name)
    assert database.promiscuous == report.promiscuous(), name
    out = [(motif, rate) for motif, rate in report.rates.items() if rate > report.threshold]
    shown = out if len(out) <= MOST_NAMED else out[:10]
    print(f"\n## {database.name}: {len(database.motifs)} motifs, {len(out)} left out (above {report.threshold:g})\n")
    print(", ".join(f"{motif} {rate:.4f}" for motif, rate in shown) + (", ..." if len(out) > len(shown) else ""))
    if report.threshold < PROMISCUOUS_RATE:
        loose = MotifDatabase(name, database.motifs, frozenset(m for m, r in out if r > PROMISCUOUS_RATE))
        mean, _, interval = permuted_row(loose).strict.words()
        print(f"\nat the threshold of 1 %: {len(loose.promiscuous)} left out; permuted {mean} ({interval})")
    return database


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_folder(parser)
    parser.add_argument(
        "--cached", action="store_true", help="train nothing; use only networks that are already trained"
    )
    parser.add_argument("--databases", nargs="+", default=list(DATABASES))
    options = parser.parse_args()
    one_thread()
    sets = available((*SHUFFLED_NETS, *UNTRAINED_NETS), options.out, options.cached)
    for name in options.databases:
        file = Path(os.environ["TUNER_DATA_DIR"]) / name
        database = describe(str(file) if file.is_file() else name)
        print("\n| filters | networks | n | E <= .01 mean | max | 95 % | E <= .1 mean | max | 95 % | match_null |")
        print("|---|---|---|---|---|---|---|---|---|---|")
        for row in rows(database, sets):
            cells = (
                row.kind,
                row.networks,
                sum(row.strict.trials),
                *row.strict.words(),
                *row.loose.words(),
                f"{row.null:.3f}",
            )
            print("| " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    main()
