"""Writes a study file for peaks and a genome, with every default stated and explained."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from tuner.data.peak_keys import LENGTH, NEGATIVE_KINDS
from tuner.motifs.database import MotifDatabase
from tuner.motifs.jaspar import JASPAR_RELEASES

NEWEST: Final = JASPAR_RELEASES[-1]
_GROUPS: Final = {
    "sacCer": "fungi",
    "tair": "plants",
    "TAIR": "plants",
    "dm": "insects",
    "ce": "nematodes",
}


class Template(NamedTuple):
    """What a study file for peaks states.

    Attributes
    ----------
    name : str
        Of the study.
    peaks, genome : str
        As the study file names them.
    negatives : str
    length : int, bp
    ratio : float
    seed : int
    top : int, optional
    blacklist : str, optional
    database : str
        Motif database.
    target : str, optional
        Name of the factor.
    motifs : sequence of str
        Identifiers of its motifs; empty if there are none.
    """

    name: str
    peaks: str
    genome: str
    negatives: str = NEGATIVE_KINDS[0]
    length: int = LENGTH
    ratio: float = 1.0
    seed: int = 0
    top: int | None = None
    blacklist: str | None = None
    database: str = NEWEST
    target: str | None = None
    motifs: Sequence[str] = ()


def database_of(assembly: str | None) -> str:
    """Name the newest JASPAR of the organism of an assembly; vertebrates if it is unknown."""
    group = next((g for start, g in _GROUPS.items() if assembly is not None and assembly.startswith(start)), None)
    return NEWEST if group is None else f"{NEWEST}-{group}"


def motifs_of(target: str, database: MotifDatabase) -> tuple[str, ...]:
    """Find the motifs of a factor: those that bear its name, in any case; without them, those of its dimers."""
    named = [m.id for m in database.motifs if m.name.lower() == target.lower()]
    if named:
        return tuple(named)
    parts = [m.id for m in database.motifs if target.lower() in re.split(r"::|-", m.name.lower())]
    return tuple(parts)


def study_text(study: Template) -> str:
    """Write the study file, in TOML with comments."""
    others = ", ".join(f'"{kind}"' for kind in NEGATIVE_KINDS if kind != study.negatives)
    optional = [
        _line("top", study.top, "only so many of the strongest peaks")
        if study.top is not None
        else "# top = 10000            # only so many of the strongest peaks",
        _line("blacklist", study.blacklist, "no window touches these regions")
        if study.blacklist is not None
        else '# blacklist = "encode"   # or a BED file; no window touches these regions',
    ]
    if study.target is not None and study.motifs:
        target = f"targets = {{ {_key(study.target)} = {json.dumps(list(study.motifs))} }}"
    else:
        target = '# targets = { CTCF = ["MA0139.2"] }  # the motifs of your factor, if they are known'
    return "\n".join(
        [
            f"name = {json.dumps(study.name)}",
            'objectives = ["auroc", "match_fraction"]  # the first one decides; see tuner list objectives',
            "",
            "[data]",
            "# BED, narrowPeak, broadPeak or summits; several files, one for each task: peaks = { HepG2 = FILE, ... }",
            f"peaks = {json.dumps(study.peaks, ensure_ascii=False)}",
            "# a name such as hg38, or a FASTA or 2bit file",
            f"genome = {json.dumps(study.genome, ensure_ascii=False)}",
            *([] if study.target is None else [f"tasks = {json.dumps([study.target])}"]),
            _line("length", study.length, "bp, around the summit or the middle of each peak"),
            _line("negatives", study.negatives, f"unbound windows of equal composition; or {others},"),
            '                         # or { accessible = "atac.bed" }: accessible and unbound, the best choice',
            _line("ratio", study.ratio, "negatives per positive"),
            _line("seed", study.seed, "of negatives and splits"),
            _line("split", "chromosome+homology", "whole chromosomes, and no relatives of training sequences"),
            *optional,
            "",
            "[motifs]",
            f"database = {json.dumps(study.database, ensure_ascii=False)}  # filters and patterns are matched with it",
            target,
            "",
        ]
    )


def _line(key: str, value: object, comment: str) -> str:
    return f"{f'{key} = {json.dumps(value, ensure_ascii=False)}':<24} # {comment}"


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)
