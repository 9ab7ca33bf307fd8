"""Parts of a report about one model: filters, contributions, patterns, and scores.

Matrices are arrays, shape=(4, width), rows A, C, G, T. What was not measured is None, never NaN.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner.motifs.match import FilterMatch
from tuner.report.scores import CalibrationCurve, Estimate, PrecisionRecall, Roc, TestScores
from tuner.results.verdict import Comparison

Matrix = NDArray[np.floating[Any]]


@dataclass(frozen=True, kw_only=True)
class Completeness:
    """Relative error of the sum of contributions: median and maximum over n sequences."""

    median: float
    max: float
    n: int


@dataclass(frozen=True, kw_only=True)
class EngineAgreement:
    """Comparison of our DeepSHAP with shap.DeepExplainer on n sequences.

    Attributes
    ----------
    max_abs, relative, correlation : float or None
        Largest difference, the same divided by the largest score, Pearson correlation; None if the second engine
        refused.
    n : int
        Sequences compared.
    words : str
        Why the second engine refused, else empty.
    """

    max_abs: float | None
    relative: float | None
    correlation: float | None
    n: int
    words: str = ""


@dataclass(frozen=True, kw_only=True)
class Consensus:
    """Agreement of the contributions that each of several models gives by itself.

    Attributes
    ----------
    median, low : float
        Median and 10 % quantile, over sequences, of the Pearson correlation between two models (mean over pairs).
    models, n : int
        Models, and sequences.
    """

    median: float
    low: float
    models: int
    n: int


@dataclass(frozen=True, kw_only=True)
class SequenceLogo:
    """The part of a sequence with the largest contributions.

    Attributes
    ----------
    name : str
        Identifier of the sequence in the data.
    label : int
        Label of the sequence for the report's task.
    logit : float
        Logit that the network predicts.
    start : int
        First base shown, 0-based; `heights` begin there.
    heights : numpy.ndarray, shape=(4, width)
        Contributions to the logit, forward strand; the reverse complement is ``heights[::-1, ::-1]``.
    truth : numpy.ndarray, shape=(4, width), or None
        Base probabilities that the sequence was simulated from, if the data contain them.
    """

    name: str
    label: int
    logit: float
    start: int
    heights: Matrix
    truth: Matrix | None = None


@dataclass(frozen=True, kw_only=True)
class TargetRow:
    """A pattern or filter beside the motifs that the study names for one family: a comparison planned in advance.

    Attributes
    ----------
    family : str
        As the study names it.
    source : str
        ``pattern`` or ``filter``.
    label : str
        Name of the pattern, or channel of the filter.
    id, name : str
        The named motif with the smallest p.
    motif_family : str or None
        Its family in the database.
    p_value : float
        Tomtom's, of this pair.
    corrected : float
        p times `compared`, at most 1.
    compared : int
        Named motifs of all families x patterns (or filters) tested: what was planned.
    e_value : float
        p times the number of screened motifs: the search through the whole database.
    level : float
        Largest corrected p that counts: .01, or less where permuted filters match the named motifs too often.
    matched : bool
        Whether the corrected p is at most `level`.
    """

    family: str
    source: str
    label: str
    id: str
    name: str
    motif_family: str | None
    p_value: float
    corrected: float
    compared: int
    e_value: float
    level: float
    matched: bool


@dataclass(frozen=True, kw_only=True)
class FilterChance:
    """How often filters without a motif match.

    Attributes
    ----------
    tested : int
        Filters that pass the gates.
    rate : float
        Chance of one of them, from permutations of their columns.
    one, as_many : float
        Probability that at least one of them matches by chance, and that at least as many do as were seen.
    """

    tested: int
    rate: float
    one: float
    as_many: float


@dataclass(frozen=True, kw_only=True)
class MotifMatched:
    """The best motif of the database for a pattern.

    Attributes
    ----------
    id, name, family : str, or None
        Of the motif.
    e_value : float
        p times the number of screened motifs: the search through the whole database.
    """

    id: str
    name: str
    family: str | None
    e_value: float


@dataclass(frozen=True, kw_only=True)
class PatternRow:
    """One TF-MoDISco pattern.

    Attributes
    ----------
    name : str
        ``pos.0``, ``neg.1``, ...
    positive : bool
        Whether the pattern raises the logit.
    seqlets : int
        Number of seqlets.
    cwm : numpy.ndarray, shape=(4, width)
        Contribution weight matrix.
    ppm : numpy.ndarray, shape=(4, width)
        Base frequencies.
    match : MotifMatched or None
        Best screened motif, whatever its E-value; None where the matrix has no informative column.
    above_null : bool or None
        Whether it has more seqlets than the largest pattern of either sign of all null networks; None without a null.
    contribution : float
        Mean contribution of a seqlet.
    target : TargetRow or None
        The named motif that resembles it most, where the study names any and the pattern was compared with them.
    """

    name: str
    positive: bool
    seqlets: int
    cwm: Matrix
    ppm: Matrix
    match: MotifMatched | None
    above_null: bool | None
    contribution: float = 0.0
    target: TargetRow | None = None


@dataclass(frozen=True, kw_only=True)
class Null:
    """Patterns of networks trained on shuffled labels with the same settings.

    Attributes
    ----------
    seqlets : tuple of int
        Number of seqlets of each pattern; empty if there was no pattern.
    words : str
        Which networks were trained, or why there is no null.
    networks : int
        How many; 0 if there is no null.
    chance : float or None
        How often the largest pattern of one more such network exceeds theirs: 1 / (networks + 1).
    """

    seqlets: tuple[int, ...] = ()
    words: str = ""
    networks: int = 1
    chance: float | None = 0.5


@dataclass(frozen=True, kw_only=True)
class MarginalRow:
    """Mean change of the logit when a matched motif is inserted into shuffled sequences, with its 95 % interval."""

    id: str
    name: str
    family: str | None
    effect: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class ModelReport:
    """One reported trial; parts whose stage was left out are None or empty.

    Attributes
    ----------
    trial : int
        Number in the search.
    role : str
        Why it is reported, in words.
    params : dict
        Hyperparameters.
    valid : dict of str to float
        Validation values of the selected run: one seed, the best of many, so optimistic.
    confirmation : dict of str to Estimate
        Validation means over its retrained models; empty without confirmation.
    collapsed : int
        Retrained models that diverged or failed.
    comparison : Comparison or None
        Comparison with the primary trial; None for that trial itself, and if none is declared.
    test : TestScores or None
        Test scores, measured after the selection.
    history : tuple of dict
        One row per epoch of the network shown.
    kept : int or None
        Epoch of the weights of the network shown; None where a report of an earlier version did not say.
    network : str
        Which network is shown, in words.
    roc, pr, calibration : Roc, PrecisionRecall, CalibrationCurve or None
        On test.
    filters : tuple of FilterMatch
        All first-layer filters, largest ablation effect first, dead ones last.
    ppms : dict of int to numpy.ndarray, shape=(4, width)
        Filter -> its trimmed matrix; width 0 where no column is above half a bit.
    candidates : tuple of int
        Channels that are gated and match nothing at E <= .01: candidates for novel motifs.
    dead : int
        Filters that never respond.
    stability : dict of str to int
        Family -> number of the `stability_of` confirmation models in which a significant filter shows it.
    completeness, agreement : Completeness, EngineAgreement or None
        Checks of the contributions.
    explained : str
        Which logit the contributions, patterns and inserted motifs are about, in words.
    consensus : Consensus or None
        How well the contributions of the single models agree; None for one model.
    refused : str
        Why the contributions were refused (they do not add up), else empty; patterns and logos are empty then.
    references, sequences_used : int
        Number of shuffled references per sequence; number of sequences attributed.
    contributions : tuple of SequenceLogo
        The strongest sequences.
    patterns : tuple of PatternRow
        Patterns found by TF-MoDISco.
    pattern_words : str
        How TF-MoDISco was run, or why there are no patterns.
    null : Null or None
        The null that the patterns are compared with.
    targets : tuple of TargetRow
        For each family that the study names, its best pattern and its best filter, matched or not.
    filter_chance : FilterChance or None
        How often so many filters match by chance; None where that was not measured.
    marginal : tuple of MarginalRow
        Effect of inserting each matched motif.
    """

    trial: int
    role: str
    params: dict[str, Any]
    valid: dict[str, float]
    confirmation: dict[str, Estimate] = field(default_factory=dict)
    collapsed: int = 0
    comparison: Comparison | None = None
    test: TestScores | None = None
    history: tuple[dict[str, Any], ...] = ()
    kept: int | None = None
    network: str = ""
    roc: Roc | None = None
    pr: PrecisionRecall | None = None
    calibration: CalibrationCurve | None = None
    filters: tuple[FilterMatch, ...] = ()
    ppms: dict[int, Matrix] = field(default_factory=dict)
    candidates: tuple[int, ...] = ()
    dead: int = 0
    stability: dict[str, int] = field(default_factory=dict)
    stability_of: int = 0
    completeness: Completeness | None = None
    agreement: EngineAgreement | None = None
    explained: str = ""
    consensus: Consensus | None = None
    refused: str = ""
    references: int = 0
    sequences_used: int = 0
    contributions: tuple[SequenceLogo, ...] = ()
    patterns: tuple[PatternRow, ...] = ()
    pattern_words: str = ""
    null: Null | None = None
    targets: tuple[TargetRow, ...] = ()
    filter_chance: FilterChance | None = None
    marginal: tuple[MarginalRow, ...] = ()
