"""Negatives from a genome: windows that no peak is near, drawn inside the chromosomes of each split.

`NEGATIVES` lists the kinds. Matched windows are the default, because sequences that differ from the positives in GC
content, or artificial ones, let a network score well without the motif (Kruetzfeldt et al. 2020, PLoS One 15:e0237412;
Tourne et al. 2026, Bioinformatics btag048).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tuner.data.matching import Bins, bins_of, draw_matched, free_starts
from tuner.genome.genome import Genome
from tuner.genome.intervals import Axis, Index, Regions, strongest
from tuner.genome.sites import MOST_N, unknown_share
from tuner.genome.window_counts import count_windows

FARTHEST: Final = 20
"""Largest distance of a flank from its peak, in windows, behind the zone around the peak."""


@dataclass(frozen=True, eq=False)
class Ground:
    """Where negatives may lie.

    Parameters
    ----------
    genome : Genome
    axis : Axis
    taken : Regions
        Zones around all peaks, and the blacklist: no negative touches them.
    length : int, bp
    """

    genome: Genome
    axis: Axis
    taken: Regions
    length: int

    def usable(self, start: Index) -> NDArray[np.bool_]:
        """Whether each window lies within its chromosome, touches no taken region, and holds little N; shape=(n,)."""
        number = np.clip(self.axis.chromosome(start), 0, len(self.axis.names) - 1)
        first = start - self.axis.offset[number]
        good: NDArray[np.bool_] = (first >= 0) & (first + self.length <= self.axis.sizes[number])
        good &= ~self.taken.touched(start, start + self.length)
        good[good] = unknown_share(self.genome, self.axis, start[good], self.length) <= MOST_N
        return good


class Share(NamedTuple):
    """What one split needs.

    Attributes
    ----------
    chromosomes : numpy.ndarray, shape=(n_chromosomes,), int64
        Numbers of its chromosomes.
    positives : numpy.ndarray, shape=(n,), int64
        First positions of its positives, on the axis.
    wanted : int
        Number of negatives.
    """

    chromosomes: Index
    positives: Index
    wanted: int


Draw = Callable[[Ground, Share, np.random.Generator], Index]


def repeated(n: int, wanted: int, rng: np.random.Generator) -> Index:
    """Rows 0..n-1, each as often as any other or once more, `wanted` in all; for a ratio that is no whole number."""
    if not n:
        return np.zeros(0, dtype=np.int64)
    whole, rest = divmod(wanted, n)
    return np.concatenate([np.tile(np.arange(n), whole), np.sort(rng.choice(n, rest, replace=False))]).astype(np.int64)


def _matched(ground: Ground, share: Share, rng: np.random.Generator, *, by_cpg: bool) -> Index:
    counts = count_windows(ground.genome, ground.axis, share.positives, ground.length)
    found = bins_of(counts, ground.length, by_cpg=by_cpg)
    rows = repeated(len(share.positives), share.wanted, rng)
    wanted = Bins(found.fine[rows], found.coarse[rows], found.known[rows])
    free = free_starts(ground.axis, share.chromosomes, ground.taken, ground.length)
    return draw_matched(ground.genome, ground.axis, free, wanted, ground.length, by_cpg=by_cpg, rng=rng)


def draw_gc(ground: Ground, share: Share, rng: np.random.Generator) -> Index:
    """Draw windows with the GC content and, in a soft-masked genome, the share of repeats of the positives."""
    return _matched(ground, share, rng, by_cpg=False)


def draw_gc_cpg(ground: Ground, share: Share, rng: np.random.Generator) -> Index:
    """Draw windows that are matched in CpG observed/expected too."""
    return _matched(ground, share, rng, by_cpg=True)


def draw_flanks(ground: Ground, share: Share, rng: np.random.Generator) -> Index:
    """Draw a window beside each positive, on a random side, as near as the zones around the peaks allow."""
    rows = repeated(len(share.positives), share.wanted, rng)
    found = np.zeros(0, dtype=np.int64)
    for farthest in range(1, FARTHEST + 1):
        side: Index = 2 * rng.integers(0, 2, len(rows)) - 1
        away = ground.length * 2 + rng.integers(0, farthest * ground.length, len(rows))
        start = share.positives[rows] + side * away
        good = ground.usable(start)
        good &= ground.axis.chromosome(start) == ground.axis.chromosome(share.positives[rows])
        order = np.flatnonzero(good)
        both = np.concatenate([found, start[order]])
        # Earlier ones are stronger, so that they stay.
        kept = strongest(both, -np.arange(len(both), dtype=np.float64), ground.length / 2)[len(found) :]
        found = np.concatenate([found, start[order[kept]]])
        rows = np.delete(rows, order[kept])
        if not len(rows):
            break
    return np.sort(found)


def draw_from(regions: Index) -> Draw:
    """Make a function that draws windows around the centres of regions: accessible ones, or peaks of other factors.

    Parameters
    ----------
    regions : numpy.ndarray, shape=(n,), int64
        First positions of the windows, on the axis.

    Returns
    -------
    callable
    """

    def draw(ground: Ground, share: Share, rng: np.random.Generator) -> Index:
        start = regions[np.isin(ground.axis.chromosome(regions), share.chromosomes)]
        start = rng.permutation(start[ground.usable(start)])
        start = start[strongest(start, -np.arange(len(start), dtype=np.float64), ground.length / 2)]
        return np.sort(start[: share.wanted])

    return draw


NEGATIVES: Final[Mapping[str, Draw]] = {"gc": draw_gc, "gc+cpg": draw_gc_cpg, "flanks": draw_flanks}
"""Kinds of negatives that need nothing but the genome."""


def shortfalls(kind: str, wanted: Mapping[str, int], drawn: Mapping[str, Sequence[int] | Index]) -> tuple[str, ...]:
    """Name each split with fewer negatives than wanted."""
    lacking = [f"{name} has {len(drawn[name])} of {n}" for name, n in wanted.items() if len(drawn[name]) < n]
    if not lacking:
        return ()
    remedy = {
        "gc": "its chromosomes hold no more unbound windows of that GC content",
        "gc+cpg": 'its chromosomes hold no more unbound windows of that GC and CpG content; "gc" finds more',
        "flanks": f"other peaks or the ends of chromosomes are within {FARTHEST} windows",
    }.get(kind, "the file has no more regions there that no peak is near")
    return (f"negatives ({kind}): {', '.join(lacking)}; {remedy}. A smaller ratio asks for fewer.",)
