"""Measures the power of a match: plants motifs of known information, builds the filter's matrix and matches it.

    python benchmarks/match_power.py --figure docs/images/match_power.png

Motifs of JASPAR2026 are planted unchanged (within half a bit of the stated information), trimmed to their core, or
softened by mixing with the uniform matrix, until they have exactly 6, 8, ... bits. A filter of kernel 19 has 20 to 500
sites sampled from the planted matrix between random flanks, some of which are wrong (random sequence). Matrix, trimming
and gates are those of `build_filters`; the match is that of `match_filters` with the screened database. Prints the
fraction of filters that pass the gates, match anything at E <= .01, and match their own family at E <= .01. Takes about
a minute.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from tuner.motifs.database import MotifDatabase, load_database
from tuner.motifs.filters import Filter, FilterScan, build_filters
from tuner.motifs.meme import Motif, column_information, reverse_complement
from tuner.motifs.proportions import wilson_interval
from tuner.motifs.screen import SIGNIFICANT_E
from tuner.motifs.tomtom import tomtom

KERNEL = 19
LENGTH = 60
POSITION = 30  # of the filter in each of its sites; the window of 20 bp begins at 30 - 9 - 1
BITS = (6.0, 8.0, 10.0, 12.0, 14.0, 16.0, 20.0)
SITES = (20, 50, 100, 500)
WRONG = (0.0, 0.25, 0.5)
MOTIFS = 10  # per level and kind


class Planted(NamedTuple):
    """A matrix to be planted, and the database motif from which it was made."""

    kind: str
    bits: float
    motif: Motif
    ppm: np.ndarray


class Outcome(NamedTuple):
    """One filter: what was planted, how, and the result."""

    kind: str
    bits: float
    sites: int
    wrong: float
    gated: bool
    matched: bool
    own: bool


def soften(ppm: np.ndarray, bits: float) -> np.ndarray:
    """Mix with the uniform matrix until `bits` of information are left (bisection, exact to a thousandth)."""
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        if column_information((1 - middle) * ppm + middle * 0.25).sum() > bits:
            low = middle
        else:
            high = middle
    return (1 - high) * ppm + high * 0.25


def trim_to(ppm: np.ndarray, bits: float) -> np.ndarray:
    """Drop the weaker outer column while more than `bits` are left, then soften to `bits`."""
    while True:
        information = column_information(ppm)
        left = information[0] < information[-1]
        if information.sum() - min(information[0], information[-1]) < bits:
            return soften(ppm, bits)
        ppm = ppm[:, 1:] if left else ppm[:, :-1]


_CHANGES: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {"trimmed": trim_to, "softened": soften}


def plan(database: MotifDatabase, rng: np.random.Generator) -> Iterator[Planted]:
    """Choose motifs of every level and kind, with a known family and a width that fits the kernel."""
    usable = [m for m in database.screened if m.family and m.ppm.shape[1] <= KERNEL]
    bits_of = np.array([column_information(m.ppm).sum() for m in usable])
    for bits in BITS:
        near = np.flatnonzero(abs(bits_of - bits) <= 0.5)
        for i in rng.choice(near, min(MOTIFS, len(near)), replace=False):
            yield Planted("whole", bits, usable[i], usable[i].ppm)
        sharp = np.flatnonzero(bits_of >= max(bits + 1, 14.0))
        for kind, change in _CHANGES.items():
            for i in rng.choice(sharp, min(MOTIFS, len(sharp)), replace=False):
                yield Planted(kind, bits, usable[i], change(usable[i].ppm, bits))


def make_filter(index: int, ppm: np.ndarray, sites: int, wrong: float, rng: np.random.Generator) -> Filter:
    """Build a filter from sites of this matrix; every fourth sequence is a site, so that all of them are used."""
    codes = rng.integers(0, 4, size=(4 * sites, LENGTH)).astype(np.uint8)
    if rng.random() < 0.5:
        ppm = reverse_complement(ppm)
    start = POSITION - KERNEL // 2 + int(rng.integers(0, KERNEL - ppm.shape[1] + 1))
    cumulative = ppm.cumsum(axis=0)  # (4, width)
    right = round(sites * (1 - wrong))
    drawn = (rng.random((right, 1, ppm.shape[1])) > cumulative[None]).sum(axis=1)
    codes[:right, start : start + ppm.shape[1]] = np.minimum(drawn, 3)
    activation = np.zeros((4 * sites, 1))
    activation[:sites] = 1.0
    scan = FilterScan(activation, activation, np.full((4 * sites, 1), POSITION), np.zeros(1))
    (built,) = build_filters(codes, scan, KERNEL, KERNEL // 2)
    return built._replace(index=index)


def measure(database: MotifDatabase, planted: Sequence[Planted], rng: np.random.Generator) -> Iterator[Outcome]:
    """Measure every planted matrix with every number of sites and share of wrong sites."""
    targets = [motif.ppm for motif in database.screened]
    families = [set((motif.family or "").split("::")) for motif in database.screened]
    for sites in SITES:
        for wrong in WRONG:
            built = [make_filter(i, item.ppm, sites, wrong, rng) for i, item in enumerate(planted)]
            shown = [item for item in built if item.gated]
            significant = tomtom([item.ppm for item in shown], targets).p_value * len(targets) <= SIGNIFICANT_E
            row_of = {item.index: row for row, item in enumerate(shown)}
            for i, item in enumerate(planted):
                found = significant[row_of[i]] if i in row_of else np.zeros(len(targets), bool)
                family = set((item.motif.family or "").split("::"))
                own = any(families[column] & family for column in np.flatnonzero(found))
                yield Outcome(item.kind, item.bits, sites, wrong, i in row_of, bool(found.any()), own)


def share(outcomes: Sequence[Outcome], what: str, **chosen: object) -> tuple[float, int]:
    """Return the fraction of the outcomes with these properties for which `what` holds, and their number."""
    rows = [o for o in outcomes if all(getattr(o, key) == value for key, value in chosen.items())]
    return sum(getattr(o, what) for o in rows) / max(len(rows), 1), len(rows)


def print_tables(outcomes: Sequence[Outcome]) -> None:
    print("| bits | kind | n | " + " | ".join(f"{n} sites" for n in SITES) + " |")
    print("|---|---|---|" + "---|" * len(SITES))
    for bits in BITS:
        for kind in ("whole", "trimmed", "softened"):
            chosen = {"bits": bits, "kind": kind, "wrong": 0.0}
            cells = []
            for sites in SITES:
                matched, n = share(outcomes, "matched", sites=sites, **chosen)
                own, _ = share(outcomes, "own", sites=sites, **chosen)
                cells.append(f"{matched:.2f} / {own:.2f}")
            print(f"| {bits:g} | {kind} | {n} | " + " | ".join(cells) + " |")
    print("\n| bits | n | " + " | ".join(f"{n} sites, {w:.0%} wrong" for w in WRONG for n in (50, 500)) + " |")
    print("|---|---|" + "---|" * (2 * len(WRONG)))
    for bits in BITS:
        cells = []
        for wrong in WRONG:
            for sites in (50, 500):
                gated, n = share(outcomes, "gated", bits=bits, sites=sites, wrong=wrong)
                own, _ = share(outcomes, "own", bits=bits, sites=sites, wrong=wrong)
                cells.append(f"{gated:.2f} / {own:.2f}")
        print(f"| {bits:g} | {n} | " + " | ".join(cells) + " |")


def draw(outcomes: Sequence[Outcome]) -> Figure:
    """Draw one panel per share of wrong sites and one line per number of sites, with 95 % Wilson intervals."""
    figure = Figure(figsize=(9, 3.2), layout="constrained", dpi=150)
    panels = figure.subplots(1, len(WRONG), sharex=True, sharey=True)
    for panel, wrong in zip(panels, WRONG, strict=True):
        for place, sites in enumerate(SITES):
            rates = [share(outcomes, "own", bits=bits, sites=sites, wrong=wrong) for bits in BITS]
            y = np.array([rate for rate, _ in rates])
            bounds = np.array([wilson_interval(rate * n, n) for rate, n in rates])
            errors = abs(bounds.T - y)
            x = np.array(BITS) + 0.15 * (place - 1.5)
            panel.errorbar(x, y, errors, marker="o", markersize=3, linewidth=1, label=f"{sites} sites")
        panel.set(title=f"{wrong:.0%} of the sites wrong", xlabel="information planted (bits)", ylim=(-0.02, 1.02))
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("matches its own family, E ≤ .01")
    panels[-1].legend(fontsize=8)  # the empty one
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", default="JASPAR2026")
    parser.add_argument("--figure", type=Path, help="PNG file to write")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    database = load_database(options.database)
    outcomes = list(measure(database, list(plan(database, rng)), rng))
    print_tables(outcomes)
    if options.figure:
        draw(outcomes).savefig(options.figure)


if __name__ == "__main__":
    main()
