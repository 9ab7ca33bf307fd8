"""Which of `match_fraction` and `match_score` depends more on hyperparameters and less on the seed?

    python benchmarks/objective_reliability.py --out runs/filter_sets

Six network settings on ZBED2, four seeds each, ten epochs. Prints the mean and standard deviation over seeds of each
setting, the standard deviation within settings divided by the mean, and the intraclass correlation with one-way random
effects, ICC(1,1) of Shrout & Fleiss (1979), which is the share of the variance between settings, with its 95 % interval
from the F distribution. Networks are trained once and kept (`filter_sets.py`; about 7 minutes of CPU time); with
--cached, settings with fewer than two finished seeds are left out. TUNER_DATA_DIR names the folder of reference data.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from filter_sets import REPLICATES, add_folder, filters, one_thread
from scipy.stats import f as f_distribution

from tuner.motifs.database import load_database
from tuner.motifs.match import match_filters

MEASURED = ("match_fraction", "match_score", "match_excess", "distinct", "auroc")


class Reliability(NamedTuple):
    """Decomposition of a metric's variance into settings and seeds.

    Attributes
    ----------
    mean : float
        Mean over everything.
    within : float
        Standard deviation over seeds, pooled over settings.
    icc, low, high : float
        Intraclass correlation ICC(1,1) with its 95 % interval.
    """

    mean: float
    within: float
    icc: float
    low: float
    high: float


def reliability(groups: Sequence[Sequence[float]]) -> Reliability:
    """One-way analysis of variance of the values, one group per setting; groups may differ in size."""
    arrays = [np.asarray(group, dtype=np.float64) for group in groups]
    sizes = np.array([len(array) for array in arrays], dtype=np.float64)
    total, k = sizes.sum(), len(arrays)
    grand = np.concatenate(arrays).mean()
    between = (sizes * [(array.mean() - grand) ** 2 for array in arrays]).sum() / (k - 1)
    within = sum(((array - array.mean()) ** 2).sum() for array in arrays) / (total - k)
    n = (total - (sizes**2).sum() / total) / (k - 1)  # equals the group size if all groups have the same size
    ratio = between / within
    low = ratio / f_distribution.ppf(0.975, k - 1, total - k)
    high = ratio * f_distribution.ppf(0.975, total - k, k - 1)
    icc, low, high = ((value - 1) / (value + n - 1) for value in (ratio, low, high))
    return Reliability(float(grand), float(np.sqrt(within)), float(icc), float(low), float(high))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_folder(parser)
    parser.add_argument(
        "--cached", action="store_true", help="train nothing; use only networks that are already trained"
    )
    options = parser.parse_args()
    one_thread()
    database = load_database("JASPAR2026")
    found: dict[str, list[dict[str, float]]] = {}
    for net in REPLICATES:
        if options.cached and not (options.out / f"{net.name}.npz").is_file():
            continue
        item = filters(net, options.out)
        metrics = match_filters(item.filters, database, {}, n_filters=len(item.filters)).metrics
        label = " ".join(str(value) for _, value in net.settings)
        found.setdefault(label, []).append({**metrics, "auroc": item.auroc})
    found = {label: runs for label, runs in found.items() if len(runs) > 1}
    print("| setting | seeds | " + " | ".join(MEASURED) + " |")
    print("|---|---|" + "---|" * len(MEASURED))
    for label, runs in found.items():
        columns = [np.array([run[name] for run in runs]) for name in MEASURED]
        cells = [f"{column.mean():.3f} +- {column.std(ddof=1):.3f}" for column in columns]
        print(f"| {label} | {len(runs)} | " + " | ".join(cells) + " |")
    print("\n| number | mean | SD over seeds | SD / mean | ICC(1,1) | 95 % |\n|---|---|---|---|---|---|")
    for name in MEASURED:
        r = reliability([[run[name] for run in runs] for runs in found.values()])
        print(
            f"| {name} | {r.mean:.3f} | {r.within:.3f} | {r.within / r.mean:.2f} | {r.icc:.2f} "
            f"| {r.low:.2f} to {r.high:.2f} |"
        )


if __name__ == "__main__":
    main()
