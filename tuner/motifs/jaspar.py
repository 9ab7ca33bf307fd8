"""Reads JASPAR CORE, in every release that pyjaspar ships, without network access.

A release by its own name (``JASPAR2026``) is its vertebrates; ``JASPAR2026-fungi`` and so on are its other groups.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import lru_cache

import numpy as np

from tuner.errors import MotifError, unknown
from tuner.motifs.meme import Motif, check_ppm

JASPAR_RELEASES = (
    "JASPAR2014",
    "JASPAR2016",
    "JASPAR2018",
    "JASPAR2020",
    "JASPAR2022",
    "JASPAR2024",
    "JASPAR2026",
)
JASPAR_GROUPS = ("fungi", "insects", "nematodes", "plants", "urochordates")
"""Taxonomic groups besides vertebrates."""
JASPAR_NAMES = JASPAR_RELEASES + tuple(f"{release}-{group}" for release in JASPAR_RELEASES for group in JASPAR_GROUPS)


@lru_cache(maxsize=2)
def jaspar_motifs(name: str) -> tuple[Motif, ...]:
    """Read the CORE motifs of one release and taxonomic group, sorted by matrix identifier.

    Parameters
    ----------
    name : str
        One of `JASPAR_NAMES`.

    Returns
    -------
    tuple of Motif
        Counts divided by their column sums, without pseudocount; `n_sites` is the largest column sum. The
        family of a heterodimer joins the families of its parts, e.g. ``"Fos-related::Jun-related"``.

    Raises
    ------
    MotifError
        If the name is unknown.

    Notes
    -----
    JASPAR2016 in this order is the list of matrices that Koo & Ploenzke (2021) simulate from.
    """
    if name not in JASPAR_NAMES:
        raise MotifError(unknown("JASPAR release", name, JASPAR_NAMES))
    release, _, group = name.partition("-")
    from pyjaspar import jaspardb  # importing Biopython takes a third of a second

    database = jaspardb(release=release)
    # pyjaspar makes ten queries per motif to tables without an index: 2.3 s for JASPAR2026, .3 s in an indexed copy.
    with closing(database.conn) as shipped, closing(sqlite3.connect(":memory:")) as copy:
        shipped.backup(copy)
        for table in ("MATRIX_ANNOTATION", "MATRIX_PROTEIN", "MATRIX_SPECIES"):
            copy.execute(f"CREATE INDEX {table}_BY_ID ON {table} (ID)")
        copy.execute("CREATE INDEX MATRIX_BY_BASE_ID ON MATRIX (BASE_ID)")
        database.conn = copy
        records = database.fetch_motifs(collection="CORE", tax_group=[group or "vertebrates"])
    motifs = []
    for record in records:
        counts = np.array([record.counts[base] for base in "ACGT"], dtype=np.float64)  # (4, width)
        sums = counts.sum(axis=0)
        ppm = check_ppm(counts / np.where(sums > 0, sums, 1.0), f"{name} {record.matrix_id}")
        families = list(dict.fromkeys(record.tf_family or []))
        motifs.append(Motif(record.matrix_id, record.name, ppm, "::".join(families) or None, float(sums.max())))
    return tuple(sorted(motifs, key=lambda motif: motif.id))
