"""`ReportData`: the content of a report as plain values, from which the page, report.json and the tables are made.

A value that was not measured is None, never NaN. Validation values are optimistic for trials that a search has chosen;
test values were measured after the choice.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tuner.data.chromosome_counts import ChromosomeCounts
from tuner.models.audit import Audit
from tuner.report.parts import (
    Completeness,
    Consensus,
    EngineAgreement,
    FilterChance,
    MarginalRow,
    Matrix,
    ModelReport,
    MotifMatched,
    Null,
    PatternRow,
    SequenceLogo,
    TargetRow,
)
from tuner.report.scores import BaselineRow, CalibrationCurve, Estimate, PrecisionRecall, Roc, TestScores
from tuner.results.confirmation import Verdict
from tuner.results.leaderboard import TrialRow
from tuner.results.predictor_scores import PredictorScores, predictor_values
from tuner.results.verdict import Composition

__all__ = [
    "BaselineRow",
    "CalibrationCurve",
    "Completeness",
    "Consensus",
    "DataInfo",
    "EngineAgreement",
    "Estimate",
    "FilterChance",
    "HistoryPoint",
    "MarginalRow",
    "ModelReport",
    "MotifInfo",
    "MotifMatched",
    "MotifName",
    "Null",
    "ObjectiveInfo",
    "PatternRow",
    "PrecisionRecall",
    "ReportData",
    "Roc",
    "Selection",
    "SequenceLogo",
    "Shuffled",
    "SplitInfo",
    "StudyInfo",
    "TargetRow",
    "TestScores",
    "TrialRow",
    "plain",
]


@dataclass(frozen=True, kw_only=True)
class ObjectiveInfo:
    """One objective of the study.

    Attributes
    ----------
    name, direction, note : str
        As in OBJECTIVES; direction is ``maximize`` or ``minimize``.
    """

    name: str
    direction: str
    note: str


@dataclass(frozen=True, kw_only=True)
class StudyInfo:
    """The question of the study, and its trials.

    Attributes
    ----------
    name, title : str
        Name in the storage; title of the study file (may be empty).
    objectives : tuple of ObjectiveInfo
        In order; the first one decides.
    preset, sampler : str
        Preset and sampler of the search.
    seed : int
        Seed of the whole study.
    trials_total : int
        Trials of the search, whatever their state.
    states : dict of str to int
        State -> trials, e.g. ``COMPLETE``.
    command : str
        Command that made this report.
    version : str
        Version of the package.
    created : str
        ISO 8601, UTC.
    """

    name: str
    title: str
    objectives: tuple[ObjectiveInfo, ...]
    preset: str
    sampler: str
    seed: int
    trials_total: int
    states: dict[str, int]
    command: str
    version: str
    created: str


@dataclass(frozen=True, kw_only=True)
class SplitInfo:
    """One split: counts and composition; the fields but `sequences` are None where they were not measured.

    Attributes
    ----------
    sequences, positives : int
        Positives of the task the report is about.
    gc_positive, gc_negative : float or None
        Mean GC content of the classes, in [0, 1].
    cpg_positive, cpg_negative : float or None
        Mean CpG observed/expected of the classes.
    """

    sequences: int
    positives: int | None = None
    gc_positive: float | None = None
    gc_negative: float | None = None
    cpg_positive: float | None = None
    cpg_negative: float | None = None


@dataclass(frozen=True, kw_only=True)
class DataInfo:
    """The sequences.

    Attributes
    ----------
    name, source : str
        Name of the data set, and its origin.
    length : int
        Bases.
    tasks : tuple of str
        Label columns.
    task : str
        The task of contributions and patterns.
    fingerprint : str
        SHA-256 of the data set.
    splits : dict of str to SplitInfo
        ``train``, ``valid`` and ``test``.
    warnings : tuple of str
        Problems found while reading the data, e.g. duplicates.
    audit : Audit or None
        What separates the classes in training and validation; its 6-mer regression is among the baselines.
    audit_lines : tuple of str
        The same in words.
    shuffled_negatives : bool or None
        Whether the negatives are shuffles of the positives; None where that is not known.
    recipe : tuple of str
        How the data were made from peaks and a genome.
    chromosomes : ChromosomeCounts or None
        Sequences of each split on each chromosome; None where coordinates are not known.
    """

    name: str
    source: str
    length: int
    tasks: tuple[str, ...]
    task: str
    fingerprint: str
    splits: dict[str, SplitInfo]
    warnings: tuple[str, ...]
    audit: Audit | None = None
    audit_lines: tuple[str, ...] = ()
    shuffled_negatives: bool | None = None
    recipe: tuple[str, ...] = ()
    chromosomes: ChromosomeCounts | None = None


@dataclass(frozen=True, kw_only=True)
class MotifName:
    """A motif of the database: identifier and name."""

    id: str
    name: str


@dataclass(frozen=True, kw_only=True)
class MotifInfo:
    """The motif database.

    Attributes
    ----------
    database : str
        The release, or the name of a MEME file.
    screened : int
        Motifs that count.
    left_out : tuple of MotifName
        Promiscuous motifs, which also match permuted filters.
    targets : dict of str to tuple of str
        Named family -> identifiers; may be empty.
    matrices : dict of str to numpy.ndarray, shape=(4, width)
        Identifier -> PPM of the motifs that the models are matched with, to be drawn beside what was found.
    """

    database: str
    screened: int
    left_out: tuple[MotifName, ...]
    targets: dict[str, tuple[str, ...]]
    matrices: dict[str, Matrix] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Shuffled:
    """Networks of the study that have nothing to find, scored on true validation labels.

    Attributes
    ----------
    match_fractions, aurocs : tuple of float
        Of label-shuffled networks, one value per network.
    composition_match_fractions, composition_aurocs : tuple of float
        Of composition-only networks.
    words : str
        The match_fraction of the primary trial less the stronger null.
    """

    match_fractions: tuple[float, ...] = ()
    aurocs: tuple[float, ...] = ()
    composition_match_fractions: tuple[float, ...] = ()
    composition_aurocs: tuple[float, ...] = ()
    words: str = ""


@dataclass(frozen=True, kw_only=True)
class HistoryPoint:
    """Best value of each objective among trials 0 .. `number`; empty before the first completed one."""

    number: int
    best: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which trials are reported, decided before the test split was opened for this report.

    Attributes
    ----------
    rule : str
        In words.
    trials : tuple of int
        In order of reporting.
    roles : tuple of str
        Why each of them, in words.
    primary : int or None
        The declared primary trial; None without a confirmation.
    verdict : Verdict or None
        How sure the primary is; None without a confirmation.
    verdict_words : str
        The same in words, or why there is none.
    decided : str
        ISO 8601, UTC.
    """

    rule: str
    trials: tuple[int, ...]
    roles: tuple[str, ...]
    primary: int | None
    verdict: Verdict | None
    verdict_words: str
    decided: str


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """The whole report.

    Attributes
    ----------
    study, data, motifs, baselines, shuffled
        The question, the data, and what the models are compared with.
    composition : Composition or None
        How much composition alone achieves, compared with the first model.
    composition_words : str or None
        The same in words.
    trials : tuple of TrialRow
        All of them, best first.
    importance : dict of str to dict
        Objective -> parameter -> importance, descending, in [0, 1]; empty where there are too few trials.
    importance_words : str
        How it was made, or why it was not.
    history : tuple of HistoryPoint
        By trial number.
    selection : Selection
        The reported trials, and why they were chosen.
    openings : int
        How often the test split of this study has been opened so far.
    models : tuple of ModelReport
        In the order of the selection.
    warnings : tuple of str
        Warnings that a reader must know before believing the numbers.
    rerun : tuple of str
        Commands that reproduce all of it.
    """

    study: StudyInfo
    data: DataInfo
    motifs: MotifInfo
    baselines: tuple[BaselineRow, ...]
    shuffled: Shuffled
    composition: Composition | None
    composition_words: str | None
    trials: tuple[TrialRow, ...]
    importance: dict[str, dict[str, float]]
    importance_words: str
    history: tuple[HistoryPoint, ...]
    selection: Selection
    openings: int
    models: tuple[ModelReport, ...]
    warnings: tuple[str, ...]
    rerun: tuple[str, ...]

    def to_json(self) -> str:
        """Write everything as JSON: arrays as lists, non-finite numbers as null."""
        return json.dumps(plain(self), indent=1, allow_nan=False, ensure_ascii=False)


def plain(value: Any) -> Any:
    """Convert dataclasses, named tuples, arrays, tuples and numpy scalars to JSON values."""
    if isinstance(value, PredictorScores):
        return predictor_values(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
