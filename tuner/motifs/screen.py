"""Finds promiscuous targets: database motifs that column-permuted filters match.

Permuting the columns of a matrix keeps its composition and information content and destroys the motif, so a match with
a target that many permuted filters match says nothing about the filter. Under Euclidean distance these are targets with
flat inner columns, e.g. gapped motifs. In a redundant database, with twenty variants of one GC box, each variant is
matched rarely but all of them together too often; there the threshold is halved until the remaining targets are matched
rarely enough. Each database is screened once with the shipped filters of trained networks (`reference_filters`), and
the result is kept with the digests of both.

E is p times the number of targets. In a small database of n targets E <= .1 is a weak condition: any motif fulfils it
for a share of .1 / n of all matrices, and a motif alone in its file for a tenth of them. The screen therefore counts at
least 205 targets: a motif is judged by how often it is matched at p <= 4.9e-4 or less, whatever the size of its
database.
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
PERMUTED_MATCHES = 0.017  # largest share of permuted matrices; untrained filters match up to 1.8 times as often: 3 %
SIGNIFICANT_E = 0.01  # filters of label-shuffled and untrained networks seldom reach it; at .1 some do
SCREEN_E_VALUE = 0.1
_DIGEST = "sha256 "  # the last line of a cached report begins with it and holds the digest of the text before it
FEWEST_COUNTED = 205  # number of targets of the smallest release, JASPAR2014
OWN_NUMBER = 0  # the former rule: E counts the database's own motifs, however few; used for studies stored with it
_CHUNK = 250  # queries at a time, so that a result stays below 20 MB


@dataclass(frozen=True)
class ScreenReport:
    """Result of one screen of one database.

    Attributes
    ----------
    database : str
        Name of the database.
    n_motifs, n_references, n_permuted : int
        Numbers of targets, of reference filters, and of permuted matrices made from these.
    n_counted : int
        Number of targets in the definition of E: `n_motifs`, but at least 205.
    e_value : float
        A permuted matrix matches a target if ``p * n_counted <= e_value``.
    seed : int
        Seed of the permutations.
    motifs_sha256, references_sha256 : str
        Digests of the database and of the reference filters (identifiers, and matrices at six decimals).
    command : str
        Command that makes this report again.
    threshold : float
        Targets matched at a higher rate are promiscuous: 1 %, or less as `choose_threshold` decides.
    matched : float
        Fraction of permuted matrices that match any remaining target, at ``p * n_left <= .01`` as in a study.
    rates : Mapping of str to float
        Fraction of permuted matrices that match each target; targets that are never matched are left out.
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
        """Identifiers of the targets that more than `threshold` of the permuted matrices match."""
        return frozenset(name for name, rate in self.rates.items() if rate > self.threshold)

    def to_json(self) -> str:
        """Return the report as indented JSON text."""
        return json.dumps(asdict(self), indent=1) + "\n"

    def write(self, path: Path) -> None:
        """Write the JSON text atomically; raise a MotifError if the folder cannot be written."""
        try:
            _write_atomically(path, self.to_json())
        except OSError as error:
            raise MotifError(f"{path}: cannot be written ({error}).") from None


def reference_filters() -> tuple[Motif, ...]:
    """Read the matrices of first-layer filters of trained networks that are shipped with the package.

    Returns
    -------
    tuple of Motif
        Made by ``benchmarks/reference_filters.py``.
    """
    with as_file(files("tuner.motifs") / "reference_filters.meme") as path:
        return read_meme(path)


def permuted(ppms: Sequence[np.ndarray], n: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Make `n` matrices by permuting the columns of each of `ppms` in turn.

    Parameters
    ----------
    ppms : sequence of np.ndarray, shape=(4, width)
        Matrices of any width.
    n : int
        Number of matrices to make.
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
    """Find the motifs that column-permuted filters of trained networks match.

    Parameters
    ----------
    name : str
        Name of the database.
    motifs : sequence of Motif
        Its motifs.
    references : sequence of Motif, optional
        Filters of trained networks; by default those shipped with the package.
    n : int
        Number of permuted matrices.
    e_value : float
        A target is matched if ``p * max(len(motifs), fewest) <= e_value``.
    seed : int
        Seed of the permutations.
    fewest : int
        Smallest number of targets in the definition of E; `OWN_NUMBER` gives the former rule.

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
    """Halve the threshold of 1 % until at most 1.7 % of the permuted matrices match any remaining target.

    Parameters
    ----------
    p_values : np.ndarray, shape=(n_permuted, n_targets)
        p-values of permuted matrices against every target.
    rates : np.ndarray, shape=(n_targets,)
        Fraction of the permuted matrices that match each target.
    absent : int
        Number of further targets in the definition of E, so that a small database is judged like one of 205.

    Returns
    -------
    threshold, matched : float, float
        The threshold, and the fraction of matrices that match any target with a rate up to it at E <= .01,
        where E is p times the number of those targets and the absent ones.
    """
    threshold = PROMISCUOUS_RATE
    while True:
        matched = _matched(p_values[:, rates <= threshold], absent)
        # Below a rate of one match in all matrices there is no target left to remove.
        if matched <= PERMUTED_MATCHES or threshold * len(p_values) < 1:
            return threshold, matched
        threshold /= 2


def _matched(p_values: np.ndarray, absent: int) -> float:
    """Fraction of matrices that match any of these targets at E <= .01; 0 if there are no targets."""
    if not p_values.size:
        return 0.0
    return float((p_values.min(axis=1) * (p_values.shape[1] + absent) <= SIGNIFICANT_E).mean())


def screen_of(
    name: str, motifs: Sequence[Motif], *, cache: Path | None = None, fewest: int = FEWEST_COUNTED
) -> ScreenReport:
    """Return the screen of a database: the shipped one, else the cached one, else a new one.

    Parameters
    ----------
    name : str
        Name of the database; the screens of JASPAR releases are shipped.
    motifs : sequence of Motif
        Its motifs. A stored screen of other matrices or with other reference filters is not used.
    cache : Path, optional
        Folder in which new screens are kept; a folder that cannot be written is ignored.
    fewest : int
        As in `screen_motifs`. A screen stored by another rule is not used.

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
        pass  # the cache only saves seconds, so a read-only folder must not stop a study
    return report


class _Key(NamedTuple):
    """Inputs that a stored report must agree with: digests of motifs and references, and the number that E counts."""

    motifs: str
    references: str
    counted: int


def _stored(path: Any, key: _Key, *, sealed: bool = True) -> ScreenReport | None:
    """Read a report from a file; None if there is none, its inputs differ, or a sealed one has been changed."""
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
        part.chmod(0o644)  # all users of a shared cache may read it
