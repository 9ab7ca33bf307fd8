"""The motif that an allele takes away or adds, by the model's own filters."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from tuner.genome.sequence import Codes
from tuner.models.pwm import log_odds, threshold
from tuner.motifs.formats import parse_motifs
from tuner.results.trial_table import unquoted

HIT: Final = 1e-3
"""Probability with which a window of random bases reaches the score that counts as a hit."""
CHANGE: Final = 1.0
"""Smallest change of a score that counts, bits."""

Kernels = npt.NDArray[np.float64]


class Change(NamedTuple):
    """The motif that an allele changes most: name of the known motif, and change of its best score in bits."""

    name: str = ""
    bits: float = math.nan


class MotifChanges:
    """Finds motifs lost and gained.

    Parameters
    ----------
    files : mapping of str to bytes
        Of a predictor: ``motifs.meme`` and ``matches.tsv``; without them nothing is found.
    targets : mapping of str to list of str
        Families that the study names, with their motifs: a change of one of these comes before all others.
    """

    def __init__(self, files: Mapping[str, bytes], targets: Mapping[str, list[str]]) -> None:
        named = {identifier for members in targets.values() for identifier in members}
        self._groups: list[tuple[Kernels, npt.NDArray[np.float64], list[str], npt.NDArray[np.bool_]]] = []
        if not files.get("motifs.meme") or not files.get("matches.tsv"):
            return
        header, *lines = io.StringIO(files["matches.tsv"].decode()).read().splitlines()
        columns = header.split("\t")
        rows = {}
        for line in lines:
            row = dict(zip(columns, map(unquoted, line.split("\t")), strict=True))
            rows[row["motif"]] = row
        by_width: dict[int, list[tuple[npt.NDArray[np.float64], float, str, bool]]] = {}
        for motif in parse_motifs(files["motifs.meme"].decode(), "motifs.meme").motifs:
            found = rows.get(motif.id)
            least = threshold(motif.ppm, HIT)
            if found is not None and math.isfinite(least):
                name = found["target_name"] or found["target"]
                one = (log_odds(motif.ppm), least, name, found["target"] in named)
                by_width.setdefault(motif.ppm.shape[1], []).append(one)
        for width, members in by_width.items():
            kernels = np.zeros((2, len(members), 5, width))  # the fifth row is N, which adds nothing
            for i, (bits, _, _, _) in enumerate(members):
                kernels[0, i, :4], kernels[1, i, :4] = bits, bits[::-1, ::-1]
            self._groups.append((
                kernels, np.array([m[1] for m in members]), [m[2] for m in members], np.array([m[3] for m in members]),
            ))  # fmt: skip

    def of(self, left: Codes, ref: Codes, alt: Codes, right: Codes) -> tuple[Change, Change]:
        """Return the motif lost and the motif gained; windows that overlap the allele or touch it are scored.

        Parameters
        ----------
        left, right : numpy.ndarray, uint8
            Bases on either side, next to the allele.
        ref, alt : numpy.ndarray, uint8
        """
        lost, gained = [], []
        for kernels, least, names, named in self._groups:
            reach = kernels.shape[3]
            before, after = _best(kernels, left, ref, right, reach), _best(kernels, left, alt, right, reach)
            for i in range(len(names)):
                change = float(after[i] - before[i])
                if change <= -CHANGE and before[i] >= least[i]:
                    lost.append((not named[i], change, names[i]))
                elif change >= CHANGE and after[i] >= least[i]:
                    gained.append((not named[i], -change, names[i]))
        first, second = min(lost, default=None), min(gained, default=None)
        return (
            Change() if first is None else Change(first[2], first[1]),
            Change() if second is None else Change(second[2], -second[1]),
        )


def _best(kernels: Kernels, left: Codes, allele: Codes, right: Codes, reach: int) -> npt.NDArray[np.float64]:
    """Best score of each motif, on either strand, near an allele; shape=(n_motifs,), bits."""
    codes = np.concatenate([left[max(len(left) - reach, 0) :], allele, right[:reach]])
    starts = np.arange(len(codes) - reach + 1)
    if not len(starts):
        return np.full(kernels.shape[1], -np.inf)
    windows = codes[starts[:, None] + np.arange(reach)]  # (positions, width)
    scores = kernels[:, :, windows, np.arange(reach)].sum(axis=-1)  # (2, motifs, positions)
    return np.asarray(scores.max(axis=(0, 2)))
