"""Motif databases: a JASPAR release or a motif file, with its promiscuous targets marked."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tuner.errors import MotifError, unknown
from tuner.motifs.formats import read_motif_file
from tuner.motifs.jaspar import JASPAR_NAMES, JASPAR_RELEASES, jaspar_motifs
from tuner.motifs.meme import Motif, check_ppm, motifs_digest, read_meme, write_meme
from tuner.motifs.screen import FEWEST_COUNTED, OWN_NUMBER, ScreenReport, screen_motifs, screen_of

__all__ = [
    "JASPAR_NAMES",
    "JASPAR_RELEASES",
    "Motif",
    "MotifDatabase",
    "check_ppm",
    "load_database",
    "read_meme",
    "screen_database",
    "write_meme",
]


@dataclass(frozen=True)
class MotifDatabase:
    """Motifs that filters are compared with.

    Attributes
    ----------
    name : str
        The JASPAR release and group, or the file's name without its ending.
    motifs : tuple of Motif
        Every motif, promiscuous ones included.
    promiscuous : frozenset of str
        Identifiers of motifs that column-permuted filters match; no objective counts them.
    broken : tuple of str
        One sentence for each matrix of the file that cannot be read and is therefore not among `motifs`.
    former : bool
        Whether `promiscuous` follows the former rule: E-values use the database's own number of motifs, however small.
    null_rate : float or None
        Fraction of column-permuted filters that match any of the screened motifs at E <= .01. The definition of E
        promises .01; a database of few motifs may exceed it. None if the database has not been screened.
    """

    name: str
    motifs: tuple[Motif, ...]
    promiscuous: frozenset[str] = frozenset()
    broken: tuple[str, ...] = ()
    former: bool = False
    null_rate: float | None = None

    @cached_property
    def screened(self) -> tuple[Motif, ...]:
        """Motifs that objectives count: all but the promiscuous ones, in order."""
        return tuple(motif for motif in self.motifs if motif.id not in self.promiscuous)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over identifiers, matrices (six decimals) and the promiscuous identifiers."""
        marked = ",".join(sorted(self.promiscuous))
        return hashlib.sha256(f"{motifs_digest(self.motifs)}\n{marked}".encode()).hexdigest()

    def find(self, motif_id: str) -> Motif:
        """Return the motif with this identifier, or raise a MotifError that names the nearest one."""
        for motif in self.motifs:
            if motif.id == motif_id:
                return motif
        for fault in self.broken:
            if f": motif {motif_id}:" in fault:
                raise MotifError(f"{self.name}: motif {motif_id} is left out: {fault}")
        known = [motif.id for motif in self.motifs]
        # The usual mistake is an old version of a matrix: name the version that this database has.
        stem = motif_id.rsplit(".", 1)[0] + "."
        versions = [name for name in known if name.startswith(stem)]
        near = versions or known
        message = unknown("motif", motif_id, near if len(near) <= 8 else _closest(motif_id, near))
        raise MotifError(f"{self.name}: {message}")


def _closest(name: str, known: list[str]) -> list[str]:
    """The five nearest names, so that no error lists a thousand identifiers."""
    import difflib

    return difflib.get_close_matches(name, known, n=5, cutoff=0.0)


def load_database(
    name_or_path: str, *, cache: Path | None = None, screen: bool = True, digest: str | None = None
) -> MotifDatabase:
    """Load a database by name or file.

    Parameters
    ----------
    name_or_path : str
        ``"JASPAR2014"`` to ``"JASPAR2026"`` (CORE vertebrates), one of these with ``-fungi``, ``-insects``,
        ``-nematodes``, ``-plants`` or ``-urochordates``, or the path of a motif file
        (`tuner.motifs.formats.FORMATS`).
    cache : Path, optional
        Folder in which the screen of a file is kept; without it the file is screened each time (seconds).
    screen : bool
        Whether to mark promiscuous targets.
    digest : str, optional
        Digest of the database that a study was stored with. If only the former screening rule gives this digest, that
        rule is used, so that the study counts the same targets until its end.

    Returns
    -------
    MotifDatabase

    Raises
    ------
    MotifError
        If this is neither a known release nor a file with a readable motif.
    """
    name, motifs, broken = _motifs(name_or_path)
    if not screen:
        return MotifDatabase(name, motifs, broken=broken)
    report = screen_of(name, motifs, cache=cache)
    found = MotifDatabase(name, motifs, report.promiscuous(), broken, null_rate=report.matched)
    if digest in (None, found.digest) or len(motifs) >= FEWEST_COUNTED:
        return found
    by_own = screen_of(name, motifs, cache=cache, fewest=OWN_NUMBER)
    former = MotifDatabase(name, motifs, by_own.promiscuous(), broken, former=True, null_rate=by_own.matched)
    return former if former.digest == digest else found


def screen_database(name_or_path: str, *, n: int = 1500, e_value: float = 0.1, seed: int = 0) -> ScreenReport:
    """Screen a database anew, even if a screen of it is shipped or cached, as ``tuner screen`` does.

    Parameters
    ----------
    name_or_path : str
        As in `load_database`.
    n, e_value, seed
        As in `tuner.motifs.screen.screen_motifs`.

    Returns
    -------
    ScreenReport
        Its `write` makes the files that are shipped in ``tuner/motifs/screens``.
    """
    name, motifs, _ = _motifs(name_or_path)
    return screen_motifs(name, motifs, n=n, e_value=e_value, seed=seed)


def _motifs(name_or_path: str) -> tuple[str, tuple[Motif, ...], tuple[str, ...]]:
    if name_or_path in JASPAR_NAMES:
        return name_or_path, jaspar_motifs(name_or_path), ()
    path = Path(name_or_path)
    if not path.exists() and path.suffix == "" and len(path.parts) == 1:
        message = unknown("motif database", name_or_path, JASPAR_NAMES)
        raise MotifError(f"{message} A motif file is given by its path.")
    found = read_motif_file(path)
    return path.stem, found.motifs, found.broken
