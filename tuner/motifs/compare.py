"""Compares the motifs of a file with those of a database, pair by pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tuner.motifs.database import MotifDatabase
from tuner.motifs.filters import passes_gates
from tuner.motifs.meme import DEFAULT_SITES, Motif, check_ppm, corrected_information
from tuner.motifs.screen import SIGNIFICANT_E
from tuner.motifs.tomtom import MAXIMUM_WIDTH, tomtom

REPORTED_E = 10.0
_CHUNK = 250  # queries at a time: five arrays of queries x targets are held at once


class MotifMatch(NamedTuple):
    """Comparison of one query motif with one target; ``e_value`` is p times the number of all targets."""

    query: str
    target: str
    target_name: str
    p_value: float
    e_value: float
    offset: int
    overlap: int
    strand: str
    promiscuous: bool
    significant: bool


def matchable(queries: Sequence[Motif]) -> tuple[tuple[Motif, ...], tuple[str, ...]]:
    """Return the motifs that can be compared, and one sentence for each that has too many columns."""
    fitting = tuple(query for query in queries if query.ppm.shape[1] <= MAXIMUM_WIDTH)
    wide = tuple(
        f"motif {query.id}: {query.ppm.shape[1]} columns; at most {MAXIMUM_WIDTH} can be compared. Cut its flat flanks."
        for query in queries
        if query.ppm.shape[1] > MAXIMUM_WIDTH
    )
    return fitting, wide


def match_motifs(queries: Sequence[Motif], database: MotifDatabase) -> list[MotifMatch]:
    """Compare the motifs of a file with a whole database, as ``tuner match`` does.

    Parameters
    ----------
    queries : sequence of Motif
        Compared as they are, untrimmed. ``n_sites`` defaults to 20, as in the MEME format.
    database : MotifDatabase
        All its motifs are targets; the promiscuous ones are marked.

    Returns
    -------
    list of MotifMatch
        Every pair with E <= 10 and the best pair of each query, ordered by query, then by p-value. A match is
        significant if the query has at least 20 sites and 6 bits (corrected), the target is not promiscuous, and
        E <= .01.

    Raises
    ------
    MotifError
        If a matrix is invalid or the database is empty.
    """
    for query in queries:
        check_ppm(query.ppm, f"motif {query.id}")
    matches: list[MotifMatch] = []
    for start in range(0, len(queries), _CHUNK):
        matches += _match(queries[start : start + _CHUNK], database)
    return matches


def _match(queries: Sequence[Motif], database: MotifDatabase) -> list[MotifMatch]:
    result = tomtom([query.ppm for query in queries], [motif.ppm for motif in database.motifs])
    matches = []
    for row, query in enumerate(queries):
        sites = DEFAULT_SITES if query.n_sites is None else query.n_sites
        gated = passes_gates(sites, corrected_information(query.ppm, sites))
        e_values = result.p_value[row] * len(database.motifs)
        order = np.lexsort((-result.score[row], result.p_value[row]))
        for rank, column in enumerate(order):
            if rank and e_values[column] > REPORTED_E:
                break
            target = database.motifs[column]
            promiscuous = target.id in database.promiscuous
            matches.append(
                MotifMatch(
                    query.id,
                    target.id,
                    target.name,
                    float(result.p_value[row, column]),
                    float(e_values[column]),
                    int(result.offset[row, column]),
                    int(result.overlap[row, column]),
                    str(result.strand[row, column]),
                    promiscuous,
                    gated and not promiscuous and bool(e_values[column] <= SIGNIFICANT_E),
                )
            )
    return matches
