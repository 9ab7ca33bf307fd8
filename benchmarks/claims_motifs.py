"""The parts of claims.py about motifs; run it as `python benchmarks/claims.py motifs`.

copies    layers in which one motif fills several filters: how often the 95 % interval of match_excess holds the
          population value, with all filters counted as independent and with the effective number of filters
planned   filters without a motif (permuted columns) and a study that names targets: how often one of them is said to
          match, by the search through the whole database and by the planned comparison
chance    layers of permuted filters: how often at least one matches, beside the chance that is printed
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tuner.motifs.chance import REAL_SEQUENCE, at_least, chance_rate
from tuner.motifs.copies import copies, effective_number, similarity
from tuner.motifs.database import MotifDatabase, load_database
from tuner.motifs.filters import trim_ppm
from tuner.motifs.match import SMALLEST_LAYER, excess_interval
from tuner.motifs.meme import reverse_complement
from tuner.motifs.planned import PLANNED_P, choose_level
from tuner.motifs.screen import SIGNIFICANT_E, permuted, reference_filters
from tuner.motifs.tomtom import tomtom

LAYER, MOTIFS, NOISY, SITES, KNOWN = 32, 60, 8, 200, 0.3
PERMUTATIONS = 2  # a study makes 20; the null's own part of the interval is then smaller
LAYERS = {"32 motifs, 1 filter each": (1,) * 32, "16 motifs, 2 each": (2,) * 16, "8 motifs, 4 each": (4,) * 8,
          "8, 6, 4, 3, 2, 1 ...": (8, 6, 4, 3, 2, *(1,) * 9)}  # fmt: skip


class Pool(NamedTuple):
    """Noisy filters of many motifs, and everything that Tomtom says of them.

    Attributes
    ----------
    known, unknown : np.ndarray
        Motifs that the database has, and that it lacks (permuted columns).
    matched : np.ndarray, shape=(motifs, NOISY), bool
    hits : np.ndarray, shape=(motifs, NOISY)
        Matches among the permutations.
    alike : np.ndarray, shape=(motifs x NOISY, motifs x NOISY)
        p of `similarity`.
    """

    known: np.ndarray
    unknown: np.ndarray
    matched: np.ndarray
    hits: np.ndarray
    alike: np.ndarray


def make_pool(database: MotifDatabase, rng: np.random.Generator) -> Pool:
    """Draw motifs, make filters of each from drawn sites at shifted windows and on either strand, and match them."""
    usable = [m.ppm for m in database.screened if 8 <= m.ppm.shape[1] <= 16]
    chosen = [usable[i] for i in rng.choice(len(usable), 2 * MOTIFS, replace=False)]
    motifs = [*chosen[:MOTIFS], *(rng.permutation(ppm, axis=1) for ppm in chosen[MOTIFS:])]
    ppms = [noisy(ppm, rng) for ppm in motifs for _ in range(NOISY)]
    targets = [motif.ppm for motif in database.screened]

    def significant(queries: Sequence[np.ndarray]) -> np.ndarray:
        return best(queries, targets) * len(targets) <= SIGNIFICANT_E

    hits = sum(significant([rng.permutation(ppm, axis=1) for ppm in ppms]).astype(int) for _ in range(PERMUTATIONS))
    shape = (len(motifs), NOISY)
    return Pool(
        np.arange(MOTIFS), np.arange(MOTIFS, 2 * MOTIFS), significant(ppms).reshape(shape),
        np.asarray(hits).reshape(shape), similarity(ppms, targets),
    )  # fmt: skip


def noisy(ppm: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The matrix of a filter that sees a motif: drawn sites, a shifted window of 19, one of the strands."""
    width, shift = 19, int(rng.integers(0, 19 - ppm.shape[1] + 1))
    whole = np.full((4, width), 0.25)
    whole[:, shift : shift + ppm.shape[1]] = ppm
    drawn = rng.multinomial(SITES, (whole / whole.sum(axis=0)).T).T / SITES
    trimmed = trim_ppm(drawn)[0]
    return reverse_complement(trimmed) if rng.random() < 0.5 else trimmed


def best(queries: Sequence[np.ndarray], targets: Sequence[np.ndarray]) -> np.ndarray:
    """Smallest p of each query."""
    return np.concatenate(
        [tomtom(queries[i : i + 250], targets).p_value.min(axis=1) for i in range(0, len(queries), 250)]
    )


def measure_copies(database: MotifDatabase, draws: int) -> None:
    """Coverage of the interval of match_excess."""
    rng = np.random.default_rng(0)
    pool = make_pool(database, rng)
    print("| layer of 32 filters | independent ones, found | covers, all filters | covers, effective number |")
    print("|---|---|---|---|")
    for name, sizes in LAYERS.items():
        rows = []
        for _ in range(draws):
            kind = rng.random(len(sizes)) < KNOWN
            known, unknown = (rng.choice(part, len(sizes), replace=False) for part in (pool.known, pool.unknown))
            motifs = np.where(kind, known, unknown)
            picks = [
                (m, f) for m, size in zip(motifs, sizes, strict=True) for f in rng.choice(NOISY, size, replace=False)
            ]
            at = tuple(np.array(picks).T)
            flat = at[0] * NOISY + at[1]
            effective = effective_number(copies(pool.alike[np.ix_(flat, flat)]), LAYER)
            rows.append((pool.matched[at].mean(), pool.hits[at].sum() / (LAYER * PERMUTATIONS), effective))
        truth = float(np.mean([fraction - null for fraction, null, _ in rows]))
        covered = np.zeros(2)
        for fraction, null, effective in rows:
            for i, number in enumerate((LAYER, effective)):
                low, high = excess_interval(fraction, null, PERMUTATIONS, number)
                covered[i] += low <= truth <= high
        found = float(np.mean([effective for *_, effective in rows]))
        true = LAYER**2 / sum(size**2 for size in sizes)
        cells = " | ".join(f"{c / draws:.3f}" for c in covered)
        print(f"| {name} | {true:.0f}, {found:.1f} | {cells} |", flush=True)


def measure_planned(p_values: np.ndarray, draws: int) -> None:
    """How often a study's own target is claimed where there is none."""
    rng = np.random.default_rng(0)
    number = p_values.shape[1]
    print("| named motifs | filters or patterns tested | any, whole database | own target, p x named motifs | "
          "own target, p x named x tested |")  # fmt: skip
    print("|---|---|---|---|---|")
    for named in (1, 3, 10, 40):
        for tested in (1, 5, 32):
            told = np.zeros(3)
            for _ in range(draws):
                rows = rng.choice(len(p_values), tested, replace=False)
                smallest = p_values[np.ix_(rows, rng.choice(number, named, replace=False))].min()
                told += (
                    p_values[rows].min() * number <= SIGNIFICANT_E, smallest * named <= PLANNED_P,
                    smallest * named * tested <= PLANNED_P,
                )  # fmt: skip
            print(f"| {named} | {tested} | " + " | ".join(f"{t / draws:.3f}" for t in told) + " |", flush=True)


def measure_each(database: MotifDatabase, p_values: np.ndarray, others: np.ndarray) -> None:
    """The same for each motif named alone, at .01 and at the level that other permuted filters (`others`) choose."""
    for tested in (1, 5, 32):
        told = np.array([1 - (1 - (p * tested <= PLANNED_P).mean()) ** tested for p in p_values.T])
        levels = [choose_level(other, tested, tested) for other in others.T]
        chosen = np.array(
            [1 - (1 - (p * tested <= v).mean()) ** tested for p, v in zip(p_values.T, levels, strict=True)]
        )
        worst = ", ".join(
            f"{database.screened[i].name} {told[i]:.2f} -> {chosen[i]:.2f}" for i in np.argsort(-told)[:3]
        )
        print(f"| {tested} | {told.mean():.4f}, {(told > 0.05).sum()} of {len(told)} | {chosen.mean():.4f}, "
              f"{(chosen > 0.05).sum()} | {worst} |", flush=True)  # fmt: skip


def measure_chance(p_values: np.ndarray, draws: int) -> None:
    """How often a layer without a motif has a match."""
    rng = np.random.default_rng(0)
    hit = p_values.min(axis=1) * p_values.shape[1] <= SIGNIFICANT_E
    print(
        "\n| filters | at least one of the permuted filters matches | chance that is printed, without and with x 1.5 |"
    )
    print("|---|---|---|")
    for size in (16, 32, 48, 64):
        seen = np.mean([hit[rng.choice(len(hit), size, replace=False)].any() for _ in range(draws)])
        rate = chance_rate(float(hit.mean()) * size / max(size, SMALLEST_LAYER), size, size)
        print(f"| {size} | {seen:.3f} | {at_least(1, size, rate / REAL_SEQUENCE):.3f}, {at_least(1, size, rate):.3f} |")


def motifs(draws: int) -> None:
    """Everything above."""
    database = load_database("JASPAR2026")
    targets = [motif.ppm for motif in database.screened]

    def of_seed(seed: int) -> np.ndarray:
        queries = permuted([m.ppm for m in reference_filters()], 1500, np.random.default_rng(seed))
        return np.concatenate([tomtom(queries[i : i + 250], targets).p_value for i in range(0, len(queries), 250)])

    p_values, others = of_seed(2), of_seed(1)  # the seed of the level is 1, that of the screen 0
    measure_copies(database, draws)
    print()
    measure_planned(p_values, draws)
    print("\n| tested | each motif named alone: mean, above .05, at .01 | at its level | worst |\n|---|---|---|---|")
    measure_each(database, p_values, others)
    measure_chance(p_values, draws)
