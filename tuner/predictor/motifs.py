"""First-layer filters of a predictor's networks that match a known motif, as a MEME file and a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tuner.motifs.meme import Motif, write_meme
from tuner.results.leaderboard import FrozenTrial
from tuner.results.trial_files import MATCHES as STORED_MATCHES
from tuner.results.trial_files import read_filters, read_matches, table
from tuner.storage.artifacts import Artifacts


class Row(NamedTuple):
    """One filter that matches.

    Attributes
    ----------
    motif : str
        Its identifier in the MEME file: network and filter.
    model, filter : int
        Network, from 1, and channel of its first convolution.
    target, target_name, family : str or None
        Best target in the study's motif database.
    p_value, e_value : float
        Tomtom's p, and p times the number of targets.
    offset, overlap : int
        Of the alignment.
    strand : str
        Of the target.
    sites : int
        Training and validation sequences that the matrix is the mean of.
    information : float, bits
        Of the matrix.
    effect : float
        Ablation effect on the logit; NaN if not measured.
    """

    motif: str
    model: int
    filter: int
    target: str | None
    target_name: str | None
    family: str | None
    p_value: float
    e_value: float
    offset: int
    overlap: int
    strand: str
    sites: int
    information: float
    effect: float


def matched_filters(artifacts: Artifacts, runs: Sequence[FrozenTrial]) -> tuple[bytes, bytes] | None:
    """Collect the filters of all networks with a significant match, those with the largest effect first.

    Parameters
    ----------
    artifacts : Artifacts
        Files of the study.
    runs : sequence of FrozenTrial
        The trials of the networks, in their order.

    Returns
    -------
    tuple of (bytes, bytes) or None
        MEME file and table; None where a run has no stored matches.

    Raises
    ------
    StorageError
        A file is not what was stored.
    """
    if not all(artifacts.holds(run, STORED_MATCHES) for run in runs):
        return None
    rows: list[Row] = []
    motifs: dict[str, Motif] = {}
    for model, run in enumerate(runs, start=1):
        matrices = read_filters(artifacts, run)
        for m in read_matches(artifacts, run):
            if not m.significant or m.filter not in matrices:
                continue
            name = f"model{model}_filter{m.filter}"
            motifs[name] = Motif(name, m.name, matrices[m.filter], None, float(m.sites))
            rows.append(
                Row(name, model, m.filter, m.target, m.target_name, m.family, m.p_value, m.e_value, m.offset,
                    m.overlap, m.strand, m.sites, m.information, m.effect)
            )  # fmt: skip
    rows.sort(key=lambda row: (-row.effect if row.effect == row.effect else 0.0, row.model, row.filter))
    return write_meme(motifs[row.motif] for row in rows).encode(), table(Row, rows)
