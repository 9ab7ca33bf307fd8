"""Promiscuous targets: database motifs that column-permuted filters hit.

Permuting a matrix's columns keeps its composition and information and destroys the motif, so a target
that many permuted filters hit says nothing about the filter. Under Euclidean distance these are targets
with flat inner columns, e.g. gapped motifs. A redundant database, with twenty variants of one GC box, is also
hit too often by each of them a little: there the threshold is halved until the targets left are matched by
few enough. Each database is screened once with the shipped filters of trained networks
(`reference_filters`), and what it says is kept with digests of both.

E is p times the number of targets. Of a small database E <= .1 is a lax condition, which any motif fulfils for .1 / n
of all matrices and, alone in its file, for a tenth of them. The screen therefore counts at least 205 targets: a motif
is judged by how often it is hit at p <= 4.9e-4 or less, whatever the size of its database.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tuner.errors import MotifError
from tuner.files import make_folder, replacing
from tuner.motifs.meme import Motif, motifs_digest, read_meme
from tuner.motifs.tomtom import tomtom

PERMUTED_PPMS = 1500  # a rate of 1 % has a standard error of .26 %
PROMISCUOUS_RATE = 0.01
PERMUTED_MATCHES = 0.017  # of permuted matrices, at most; untrained filters match up to 1.8 times as often: 3 %
SIGNIFICANT_E = 0.01  # filters of label-shuffled and untrained networks seldom reach it; at .1 some do
SCREEN_E_VALUE = 0.1
_DIGEST = "sha256 "  # begins the last line of a kept report: the digest of the text before it
FEWEST_COUNTED = 205  # targets of the smallest release, JASPAR2014
OWN_NUMBER = 0  # the former rule: E counts a database's own motifs, however few; studies stored by it still use it
_CHUNK = 250  # queries at a time: memory of the result stays below 20 MB


@dataclass(frozen=True)
class ScreenReport:
    """What one screen of one database found.

    Attributes
    ----------
    database : str
        Name of the database.
    n_motifs, n_references, n_permuted : int
        Targets, reference filters, and permuted matrices made of them.
    n_counted : int
        Targets that E counts in the screen: `n_motifs`, at least 205.
    e_value : float
        A permuted matrix hits a target at ``p * n_counted <= e_value``.
    seed : int
        Of the permutations.
    motifs_sha256, references_sha256 : str
        Digests (identifiers and matrices at six decimals) of what was screened with what.
    command : str
        What makes this report again.
    threshold : float
        Targets hit at a higher rate are promiscuous: 1 %, halved as `choose_threshold` says.
    matched : float
        Fraction of permuted matrices that match any of the targets left, at ``p * n_left <= .01``, as a study counts.
    rates : Mapping of str to float
        Fraction of permuted matrices that hit each target; targets never hit are left out.
    """

    database: str
    n_motifs: int
    n_counted: int
    n_references: int
    n_permuted: int
    e_value: float
    seed: int
    motifs_sha256: str
    references_sha256: str
    command: str
    threshold: float
    matched: float
    rates: Mapping[str, float]

    def promiscuous(self) -> frozenset[str]:
        """Identifiers of the targets hit by more than `threshold` of the permuted matrices."""
        return frozenset(name for name, rate in self.rates.items() if rate > self.threshold)

    def to_json(self) -> str:
        """The report as indented JSON text."""
        return json.dumps(asdict(self), indent=1) + "\n"

    def write(self, path: Path) -> None:
        """Write the JSON text, whole or not at all; MotifError if the folder cannot be written."""
        try:
            _write_atomically(path, self.to_json())
        except OSError as error:
            raise MotifError(f"{path}: cannot be written ({error}).") from None


def reference_filters() -> tuple[Motif, ...]:
    """Matrices of first-layer filters of trained networks, shipped with the package.

    Returns
    -------
    tuple of Motif
        Made by ``benchmarks/reference_filters.py``.
    """
    with as_file(files("tuner.motifs") / "reference_filters.meme") as path:
        return read_meme(path)


def permuted(ppms: Sequence[np.ndarray], n: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Make `n` matrices by permuting the columns of `ppms`, each in turn.

    Parameters
    ----------
    ppms : sequence of np.ndarray, shape=(4, width)
        Matrices of any widths.
    n : int
        Number to make.
    rng : np.random.Generator
        Source of the permutations.

    Returns
    -------
    list of np.ndarray, shape=(4, width)
    """
    return [rng.permutation(ppms[i % len(ppms)], axis=1) for i in range(n)]


def screen_motifs(
    name: str,
    motifs: Sequence[Motif],
    *,
    references: Sequence[Motif] | None = None,
    n: int = PERMUTED_PPMS,
    e_value: float = SCREEN_E_VALUE,
    seed: int = 0,
    fewest: int = FEWEST_COUNTED,
) -> ScreenReport:
    """Find the motifs that column-permuted filters of trained networks hit.

    Parameters
    ----------
    name : str
        Of the database.
    motifs : sequence of Motif
        The database.
    references : sequence of Motif, optional
        Filters of trained networks; without them those shipped with the package.
    n : int
        Number of permuted matrices.
    e_value : float
        Hit at ``p * max(len(motifs), fewest) <= e_value``.
    seed : int
        Of the permutations.
    fewest : int
        Targets that E counts at least; `OWN_NUMBER` is the former rule.

    Returns
    -------
    ScreenReport
    """
    references = reference_filters() if references is None else references
    queries = permuted([motif.ppm for motif in references], n, np.random.default_rng(seed))
    targets = [motif.ppm for motif in motifs]
    p_values = np.concatenate(
        [tomtom(queries[start : start + _CHUNK], targets).p_value for start in range(0, n, _CHUNK)]
    )  # (n, n_motifs)
    counted = max(len(motifs), fewest)
    hits = (p_values * counted <= e_value).sum(axis=0)
    threshold, _ = choose_threshold(p_values, hits / n, absent=counted - len(motifs))
    rates = {motif.id: float(hit) / n for motif, hit in zip(motifs, hits, strict=True) if hit}
    return ScreenReport(
        database=name,
        n_motifs=len(motifs),
        n_counted=counted,
        n_references=len(references),
        n_permuted=n,
        e_value=e_value,
        seed=seed,
        motifs_sha256=motifs_digest(motifs),
        references_sha256=motifs_digest(references),
        command=f"tuner screen {name} --out {name}.json",
        threshold=threshold,
        matched=_matched(p_values[:, hits / n <= threshold], 0),
        rates=dict(sorted(rates.items(), key=lambda item: (-item[1], item[0]))),
    )


def choose_threshold(p_values: np.ndarray, rates: np.ndarray, *, absent: int = 0) -> tuple[float, float]:
    """Halve the threshold of 1 % until the targets left are matched by at most 1.7 % of the permuted matrices.

    Parameters
    ----------
    p_values : np.ndarray, shape=(n_permuted, n_targets)
        Of permuted matrices against every target.
    rates : np.ndarray, shape=(n_targets,)
        Fraction of them that hit each target.
    absent : int
        Targets that E counts beside these, so that a small database is judged as one of 205.

    Returns
    -------
    threshold, matched : float, float
        The threshold, and the fraction of matrices that match any target of a rate up to it at E <= .01,
        E being p times the number of those targets and the absent ones.
    """
    threshold = PROMISCUOUS_RATE
    while True:
        matched = _matched(p_values[:, rates <= threshold], absent)
        # Below one hit of all there is nothing left to leave out.
        if matched <= PERMUTED_MATCHES or threshold * len(p_values) < 1:
            return threshold, matched
        threshold /= 2


def _matched(p_values: np.ndarray, absent: int) -> float:
    """Fraction of matrices that match any of these targets at E <= .01; 0 if there is none."""
    if not p_values.size:
        return 0.0
    return float((p_values.min(axis=1) * (p_values.shape[1] + absent) <= SIGNIFICANT_E).mean())


def screen_of(
    name: str, motifs: Sequence[Motif], *, cache: Path | None = None, fewest: int = FEWEST_COUNTED
) -> ScreenReport:
    """The screen of a database: the shipped one, else the cache's, else a new one.

    Parameters
    ----------
    name : str
        Name of the database; JASPAR releases ship with a list.
    motifs : sequence of Motif
        Its motifs. A stored list of other matrices or other reference filters is not used.
    cache : Path, optional
        Folder that keeps new screens; one that cannot be written is passed over.
    fewest : int
        As in `screen_motifs`. What is stored by another rule is not used.

    Returns
    -------
    ScreenReport
    """
    key = _Key(motifs_digest(motifs), motifs_digest(reference_filters()), max(len(motifs), fewest))
    shipped = _stored(files("tuner.motifs") / "screens" / f"{name}.json", key, sealed=False)
    if shipped is not None:
        return shipped
    if cache is None:
        return screen_motifs(name, motifs, fewest=fewest)
    former = "" if key.counted >= FEWEST_COUNTED else f"-{key.counted}"
    path = cache / "screens" / f"{key.motifs[:24]}-{key.references[:8]}{former}.json"
    kept = _stored(path, key)
    if kept is not None:
        return kept
    report = screen_motifs(name, motifs, fewest=fewest)
    try:
        text = report.to_json()
        _write_atomically(path, f"{text.rstrip()}\n{_DIGEST}{_sha256(text)}\n")
    except OSError:
        pass  # a cache spares seconds; a read-only one must not stop a study
    return report


class _Key(NamedTuple):
    """What a stored report must have been made with: digests of motifs and references, and what E counted."""

    motifs: str
    references: str
    counted: int


def _stored(path: Any, key: _Key, *, sealed: bool = True) -> ScreenReport | None:
    """The report in a file, if there is one that was made with this; a sealed one only if nothing in it was changed."""
    try:
        text, _, digest = path.read_text(encoding="utf-8").partition(f"\n{_DIGEST}")
        if sealed and digest.strip() != _sha256(text):
            return None
        report = ScreenReport(**json.loads(text))
    except (OSError, ValueError, TypeError):
        return None
    return report if _Key(report.motifs_sha256, report.references_sha256, report.n_counted) == key else None


def _sha256(text: str) -> str:
    return hashlib.sha256(text.strip().encode()).hexdigest()


def _write_atomically(path: Path, text: str) -> None:
    make_folder(path.parent)
    with replacing(path, durable=False) as part:
        part.write_text(text, encoding="utf-8")
        part.chmod(0o644)  # a shared cache is for all
