"""Networks that have nothing to find, trained with the primary trial's settings: what is chance in what others show.

Two kinds, both with the study's own sequences in mind. *Label-shuffled* networks see real sequences and labels that
mean nothing. *Composition-only* networks see the true labels and sequences whose bases were shuffled with their
dinucleotide counts kept: they learn what composition alone tells, GC-rich and poly-A detectors included, and no motif.
The filters of both are read from the real sequences, as those of every other network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from tuner.results.confirmation import Confirmed
from tuner.results.leaderboard import FrozenTrial, TrialState, stage_trials
from tuner.storage.keys import CONTROLS
from tuner.storage.storage import FencedStorage

SHUFFLED, COMPOSITION = "label-shuffled", "composition-only"
NULLS = (SHUFFLED, COMPOSITION)
PERMUTED = "permuted columns"
TIE = 1e-9  # from an AUROC of exactly one half


class NullMatches(NamedTuple):
    """How often filters match where there is no motif, beside the primary trial.

    Attributes
    ----------
    fraction : float or None
        match_fraction of the primary trial, mean over its retrained models; None without one.
    networks : dict of str to tuple of float
        Kind of null network -> match_fraction of each; kinds without a network are left out.
    permuted : float or None
        match_null of the primary trial: its own filters with their columns permuted.
    paired : bool
        Whether the negatives are dinucleotide shuffles of the positives, so that both classes have one composition and
        a composition-only network has nothing to learn.
    """

    fraction: float | None
    networks: dict[str, tuple[float, ...]]
    permuted: float | None
    paired: bool

    @property
    def means(self) -> dict[str, float]:
        """Kind of null -> its mean match_fraction."""
        found = {kind: fmean(values) for kind, values in self.networks.items() if values}
        return found if self.permuted is None else {**found, PERMUTED: self.permuted}

    @property
    def stronger(self) -> str | None:
        """The kind of null that matches most; None without any."""
        return max(self.means, key=lambda kind: self.means[kind], default=None)

    @property
    def excess(self) -> float | None:
        """match_fraction of the primary trial less the stronger null."""
        kind = self.stronger
        return None if kind is None or self.fraction is None else self.fraction - self.means[kind]


def is_null(trial: FrozenTrial) -> bool:
    """Whether a control is a network that has nothing to find, and not a baseline."""
    return trial.params.get("control") in NULLS


def null_networks(storage: FencedStorage, name: str, kind: str) -> list[FrozenTrial]:
    """The completed null networks of a kind, by replicate."""
    found = [
        t for t in stage_trials(storage, name + CONTROLS)
        if t.state == TrialState.COMPLETE and t.params.get("control") == kind
    ]  # fmt: skip
    return sorted(found, key=lambda t: (int(t.user_attrs.get("replicate", 0)), t.number))


def null_matches(storage: FencedStorage, name: str, primary: Confirmed | None) -> NullMatches:
    """Read how often filters match by chance in a study."""
    networks = {}
    for kind in NULLS:
        known = [t.user_attrs.get("match_fraction") for t in null_networks(storage, name, kind)]
        if values := tuple(float(value) for value in known if value is not None):
            networks[kind] = values
    means: Mapping[str, float] = {} if primary is None else primary.mean
    controls = [
        t.values[0] for t in stage_trials(storage, name + CONTROLS)
        if t.state == TrialState.COMPLETE and t.params.get("control") == "2-mer"
    ]  # fmt: skip
    return NullMatches(means.get("match_fraction"), networks, means.get("match_null"), paired(controls))


def paired(two_mer: Sequence[float]) -> bool:
    """Whether a 2-mer regression is at exactly one half: each negative has the dinucleotides of a positive."""
    return any(abs(auroc - 0.5) < TIE for auroc in two_mer)


def exceeded(networks: int) -> float:
    """How often the largest pattern of one more null network exceeds those of so many: 1 / (networks + 1)."""
    return 1 / (networks + 1)
