"""Matches the filters of a network with known motifs, and measures how much of that is chance."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tuner.errors import MotifError
from tuner.motifs.compare import MotifMatch, match_motifs
from tuner.motifs.copies import copies, effective_number, similarity
from tuner.motifs.database import MotifDatabase
from tuner.motifs.filters import Filter
from tuner.motifs.meme import Motif, ppm_bytes, reverse_complement
from tuner.motifs.proportions import difference_interval
from tuner.motifs.screen import SIGNIFICANT_E
from tuner.motifs.tomtom import TomtomResult, prepare_kernel, tomtom

__all__ = [
    "FilterMatch",
    "Matches",
    "MotifMatch",
    "TomtomResult",
    "check_targets",
    "match_filters",
    "match_motifs",
    "prepare_kernel",
    "tomtom",
]

TARGET_E = 0.1
SCORED_DECADES = 3.0  # match_score rises from 0 at E = .1 to 1 at E = 1e-4
PERMUTATIONS = 20  # per filter
SMALLEST_LAYER = 32  # smallest divisor of the fractions: a small layer has no advantage


class FilterMatch(NamedTuple):
    """The best screened target of one filter.

    Attributes
    ----------
    filter : int
        Channel of the first convolution.
    target, target_name, family : str or None
        The target; None if the filter's matrix has no columns.
    p_value, e_value : float
        Tomtom's p, and p times the number of screened targets.
    offset, overlap, strand : int, int, str
        The alignment, as in `TomtomResult`.
    gated : bool
        Whether the filter passes the gates.
    significant : bool
        Whether the filter counts in ``match_fraction``: it is gated and E <= .01.
    sites, information : int, float
        As in `Filter`.
    effect : float
        Ablation effect of the filter on the validation split; NaN if not measured.
    """

    filter: int
    target: str | None
    target_name: str | None
    family: str | None
    p_value: float
    e_value: float
    offset: int
    overlap: int
    strand: str
    gated: bool
    significant: bool
    sites: int
    information: float
    effect: float

    @property
    def alive(self) -> bool:
        """Whether the filter responds to any sequence."""
        return self.sites > 0

    @property
    def name(self) -> str:
        """Name of the target, else its identifier, else nothing."""
        return self.target_name or self.target or ""

    @property
    def influence(self) -> float:
        """The ablation effect; 0 where it was not measured."""
        return 0.0 if math.isnan(self.effect) else self.effect


class Matches(NamedTuple):
    """Metrics of a layer, and one row per filter."""

    metrics: dict[str, float]
    rows: tuple[FilterMatch, ...]


def check_targets(database: MotifDatabase, targets: Mapping[str, Sequence[str]]) -> None:
    """Refuse a database without screened motifs, and named targets that no filter could ever match.

    Parameters
    ----------
    database : MotifDatabase
        Database of the study.
    targets : Mapping of str to sequence of str
        Name of each family and the identifiers of its motifs.

    Raises
    ------
    MotifError
        If no motif is left after the screen, or if a family has no identifiers, or one that the database lacks, whose
        matrix is broken in the file, or that is promiscuous. Every such family is named.
    """
    if not database.screened:
        left_out = sorted(database.promiscuous)
        told = f"{', '.join(left_out[:5])}{' and others' if len(left_out) > 5 else ''}"
        raise MotifError(
            f"{database.name}: no target is left: column-permuted filters match every motif of this database ({told}), "
            "so no match would mean anything. Use a database with other motifs, e.g. JASPAR2026."
        )
    faults = [
        fault for family, identifiers in targets.items() for fault in _target_faults(database, family, identifiers)
    ]
    if faults:
        raise MotifError(" ".join(faults))


def _target_faults(database: MotifDatabase, family: str, identifiers: Sequence[str]) -> list[str]:
    """What is wrong with the motifs named for one family."""
    if not identifiers:
        return [f"target {family!r} names no motif of {database.name}."]
    faults = []
    for identifier in identifiers:
        try:
            database.find(identifier)
        except MotifError as error:
            faults.append(f"target {family!r}: {error}")
            continue
        if identifier in database.promiscuous:
            faults.append(
                f"target {family!r}: {identifier} is promiscuous in {database.name} (column-permuted "
                "filters match it), so a match would mean nothing. Name another motif."
            )
    return faults


def match_filters(
    filters: Sequence[Filter],
    database: MotifDatabase,
    targets: Mapping[str, Sequence[str]],
    *,
    n_filters: int,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
    effects: np.ndarray | None = None,
) -> Matches:
    """Match the filters of a first layer with the screened motifs of a database.

    Parameters
    ----------
    filters : sequence of Filter
        From `build_filters`, in any order.
    database : MotifDatabase
        Only its screened motifs are compared, and E-values use their number.
    targets : Mapping of str to sequence of str
        Named families, e.g. ``{"ZBED2": ["MA1971.2"]}``; may be empty.
    n_filters : int
        Number of filters in the layer. Fractions divide by it, or by 32 if it is smaller.
    permutations : int
        Column permutations of each gated filter for ``match_null``; with 0 there is no null.
    seed : int
        Seed of the permutations. Those of a filter depend on its matrix alone, not on its index or strand.
    effects : np.ndarray, shape=(n_filters,), optional
        Ablation effect of each filter, indexed by `Filter.index`; without them there is no ``used_match_fraction``.

    Returns
    -------
    Matches
        Rows by channel. Metrics:

        - ``match_fraction``: gated filters with E <= .01, divided by ``max(n_filters, 32)``; in [0, 1].
        - ``match_null``: the match fraction of column permutations of the gated filters, mean over permutations.
        - ``match_excess``, ``match_excess_low``, ``match_excess_high``: ``match_fraction`` minus ``match_null``, with
          a 95 % interval (Wilson intervals of both, combined by Newcombe 1998, method 10, over ``filters_effective``).
        - ``filters_effective``: how many independent filters the layer is worth, as copies of a motif are not.
        - ``match_score``: sum of ``clip((-1 - log10 E) / 3, 0, 1)`` over gated filters, divided by
          ``max(n_filters, 32)``.
        - ``target_fraction``: gated filters that match a named target at E <= .1, divided likewise.
        - ``coverage``: share of the named families that any gated filter matches; 0 if none is named.
        - ``distinct``: number of families (names where the family is unknown) among the best targets of
          significant filters.
        - ``used_match_fraction``: share of the summed ablation effects that belongs to significant filters.
        - ``filters_alive``, ``filters_gated``: numbers of filters.

    Raises
    ------
    MotifError
        If a target is impossible (see `check_targets`), or filters and effects do not fit `n_filters`.
    """
    check_targets(database, targets)
    _check_numbers(filters, n_filters, permutations, effects)
    screened = database.screened
    ppms = [motif.ppm for motif in screened]
    ordered = sorted(filters, key=lambda item: item.index)
    shown = [item for item in ordered if item.alive and item.ppm.shape[1] > 0]
    result = tomtom([item.ppm for item in shown], ppms)
    e_values = result.p_value * len(screened)  # (n_shown, n_screened)
    place = {item.index: row for row, item in enumerate(shown)}
    rows = tuple(_row(item, place.get(item.index), result, screened, effects) for item in ordered)

    size = max(n_filters, SMALLEST_LAYER)
    gated = [item for item in shown if item.gated]
    gated_e = e_values[[place[item.index] for item in gated]]
    best_e = gated_e.min(axis=1) if gated else np.empty(0)
    matched = sum(row.significant for row in rows)
    found = _targets_found(gated_e, screened, targets)  # (n_gated, n_families)
    metrics = {
        "match_fraction": matched / size,
        "match_score": float(np.clip((-1.0 - np.log10(best_e)) / SCORED_DECADES, 0.0, 1.0).sum()) / size,
        "target_fraction": float(found.any(axis=1).sum()) / size,
        "coverage": float(found.any(axis=0).sum()) / len(targets) if targets else 0.0,
        "distinct": float(len({row.family or row.target_name for row in rows if row.significant})),
        "filters_alive": float(sum(item.alive for item in ordered)),
        "filters_gated": float(len(gated)),
    }
    if effects is not None:
        metrics["used_match_fraction"] = _used(rows)
    if permutations:
        null = _null_hits(gated, ppms, permutations, seed) / (permutations * size)
        effective = effective_number(copies(similarity([item.ppm for item in gated], ppms)), size)
        low, high = excess_interval(matched / size, null, permutations, effective)
        metrics |= {"match_null": null, "match_excess": matched / size - null, "filters_effective": effective}
        metrics |= {"match_excess_low": low, "match_excess_high": high}
    return Matches(metrics, rows)


def excess_interval(fraction: float, null: float, permutations: int, effective: float) -> tuple[float, float]:
    """95 % interval of the match excess.

    Parameters
    ----------
    fraction, null : float
        Match fractions of the filters and of their permutations.
    permutations : int
        Of each filter.
    effective : float
        Independent filters that the layer is worth.
    """
    trials = permutations * effective
    return difference_interval(fraction * effective, effective, null * trials, trials)


def _check_numbers(filters: Sequence[Filter], n_filters: int, permutations: int, effects: np.ndarray | None) -> None:
    if permutations < 0:
        raise MotifError(f"permutations is {permutations}; expected at least 0.")
    indices = [item.index for item in filters]
    if len(set(indices)) != len(indices):
        raise MotifError("two filters have the same index.")
    if any(not 0 <= index < n_filters for index in indices):
        raise MotifError(f"filter indices go up to {max(indices)} in a layer of n_filters = {n_filters}.")
    if effects is not None and np.shape(effects) != (n_filters,):
        raise MotifError(f"effects have shape {np.shape(effects)}; expected ({n_filters},).")


def _row(
    item: Filter,
    place: int | None,
    result: TomtomResult,
    screened: Sequence[Motif],
    effects: np.ndarray | None,
) -> FilterMatch:
    effect = float("nan") if effects is None else float(effects[item.index])
    common = (item.sites, item.information, effect)
    if place is None:
        nothing = (None, None, None, 1.0, float(len(screened)), 0, 0, "+")
        return FilterMatch(item.index, *nothing, item.gated, False, *common)
    best = _best(result, place)
    p_value = float(result.p_value[place, best])
    e_value = p_value * len(screened)
    target = screened[best]
    return FilterMatch(
        item.index,
        target.id,
        target.name,
        target.family,
        p_value,
        e_value,
        int(result.offset[place, best]),
        int(result.overlap[place, best]),
        str(result.strand[place, best]),
        item.gated,
        item.gated and e_value <= SIGNIFICANT_E,
        *common,
    )


def _best(result: TomtomResult, query: int) -> int:
    """Index of the target with the lowest p-value; ties go to the higher score, then to the order of the database."""
    return int(np.lexsort((-result.score[query], result.p_value[query]))[0])


def _null_hits(gated: Sequence[Filter], targets: Sequence[np.ndarray], permutations: int, seed: int) -> int:
    """Number of column-permuted matrices, `permutations` per filter, whose best target is significant."""
    if not gated:
        return 0
    queries: list[np.ndarray] = []
    for item in gated:
        # Seeded by the matrix itself, the smaller of its two strands, so order and strand do not matter.
        ppm = min(item.ppm, reverse_complement(item.ppm), key=ppm_bytes)
        digest = hashlib.sha256(ppm_bytes(ppm)).digest()
        rng = np.random.default_rng([seed, int.from_bytes(digest[:8], "little")])
        queries.extend(rng.permutation(ppm, axis=1) for _ in range(permutations))
    best = tomtom(queries, targets).p_value.min(axis=1)
    return int((best * len(targets) <= SIGNIFICANT_E).sum())


def _targets_found(e_values: np.ndarray, screened: Sequence[Motif], targets: Mapping[str, Sequence[str]]) -> np.ndarray:
    """Whether each gated filter matches each named family, shape=(n_gated, n_families)."""
    column = {motif.id: index for index, motif in enumerate(screened)}
    found = np.zeros((len(e_values), len(targets)), dtype=bool)
    for family, identifiers in enumerate(targets.values()):
        columns = [column[identifier] for identifier in identifiers]
        found[:, family] = (e_values[:, columns] <= TARGET_E).any(axis=1)
    return found


def _used(rows: Sequence[FilterMatch]) -> float:
    """Share of the summed ablation effects that belongs to significant filters; NaN and infinity count as 0."""
    effects = np.array([max(row.effect, 0.0) if np.isfinite(row.effect) else 0.0 for row in rows])
    total = effects.sum()
    if not total > 0:
        return 0.0
    return float(effects[[row.significant for row in rows]].sum() / total)
