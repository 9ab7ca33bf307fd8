"""Objectives and watched metrics, which say how good a trained network is.

`OBJECTIVES` is the table that a study file chooses from; every row is also recorded for every trial, so that a study
can be read along an axis that it did not optimise. All of them use the training and validation splits only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np

from tuner.data.dataset import Dataset, Split
from tuner.data.splits import sample_rows
from tuner.errors import DataError
from tuner.models import metrics
from tuner.models.architectures import count_parameters
from tuner.models.first_layer import ablation_effects, scan_filters
from tuner.models.groups import Metric, without_each
from tuner.models.matched import matched_part
from tuner.models.network import Network
from tuner.models.training import Trained, predict
from tuner.motifs.database import MotifDatabase
from tuner.motifs.filters import Filter, build_filters
from tuner.motifs.match import PERMUTATIONS, Matches, match_filters


class Evaluation(NamedTuple):
    """Everything measured on one trained network.

    Attributes
    ----------
    logits : np.ndarray, shape=(n_valid, n_tasks), float32
        Validation predictions.
    labels : np.ndarray, shape=(n_valid, n_tasks), uint8
        Validation labels.
    filters : tuple of Filter
        First-layer filters as trimmed PPMs.
    matches : Matches
        Their Tomtom matches and the match metrics.
    trained : Trained
        The training run.
    parameters : int
        Trainable parameters.
    extras : mapping of str to float
        Metrics that are not defined for every study: ``matched_auroc`` where the matched part can be scored, and those
        that the tables [koo] and [attribution] of the study request.
    """

    logits: np.ndarray
    labels: np.ndarray
    filters: tuple[Filter, ...]
    matches: Matches
    trained: Trained
    parameters: int
    extras: Mapping[str, float] = MappingProxyType({})


class Objective(NamedTuple):
    """One row of OBJECTIVES.

    Attributes
    ----------
    direction : {"maximize", "minimize"}
        Whether larger or smaller values are better.
    low, high : float
        Range; `high` may be infinite.
    chance : float or None
        Value of a model that has learned nothing, where that is a fixed number.
    note : str
        One sentence for the study note and `tuner list`.
    measured : callable or None
        Evaluation -> float.
    needs : str or None
        Table of the study file that is required to measure it.
    late : bool
        Too expensive to measure at an early-stopping check unless the study optimises it.
    predicted : callable or None
        Labels and logits -> float, for objectives that depend on validation predictions alone. Leaving out some of the
        sequences then shows how certain the value is.
    """

    direction: Literal["maximize", "minimize"]
    low: float
    high: float
    chance: float | None
    note: str
    measured: Callable[[Evaluation], float] | None = None
    needs: Literal["koo", "attribution"] | None = None
    late: bool = False
    predicted: Metric | None = None

    def measure(self, evaluation: Evaluation) -> float:
        """Measure one network."""
        if self.predicted is not None:
            return self.predicted(evaluation.labels, evaluation.logits)
        assert self.measured is not None  # each row has exactly one of the two
        return self.measured(evaluation)


def _matched(key: str) -> Callable[[Evaluation], float]:
    return lambda e: float(e.matches.metrics[key])


def _extra(key: str) -> Callable[[Evaluation], float]:
    return lambda e: float(e.extras[key])


INFINITY = float("inf")
ABLATED = 50  # validation sequences; over random choices of them the share of matched filters varies by .01 (sd)

OBJECTIVES: Mapping[str, Objective] = {
    "auroc": Objective(
        "maximize",
        0,
        1,
        0.5,
        "Area under the ROC curve on validation, macro over tasks.",
        predicted=metrics.auroc,
    ),
    "average_precision": Objective(
        "maximize",
        0,
        1,
        None,
        "Average precision on validation, macro over tasks; chance is the positive rate.",
        predicted=metrics.average_precision,
    ),
    "trapezoid_aupr": Objective(
        "maximize",
        0,
        1,
        None,
        "Trapezoid area under the precision-recall curve on validation, macro over tasks; as published.",
        predicted=metrics.trapezoid_aupr,
    ),
    "micro_aupr": Objective(
        "maximize",
        0,
        1,
        None,
        "Trapezoid area under the precision-recall curve on validation, all tasks as one.",
        predicted=partial(metrics.micro, "trapezoid_aupr"),
    ),
    "accuracy": Objective(
        "maximize",
        0,
        1,
        None,
        "Share of validation labels on the right side of probability .5; chance is the share of the larger class.",
        predicted=metrics.accuracy,
    ),
    "loss": Objective(
        "minimize",
        0,
        INFINITY,
        None,
        "Binary cross-entropy on validation.",
        predicted=metrics.cross_entropy,
    ),
    "match_fraction": Objective(
        "maximize",
        0,
        1,
        0,
        "Gated filters whose best screened target has E <= .01, over max(filters, 32).",
        _matched("match_fraction"),
    ),
    "match_excess": Objective(
        "maximize",
        -1,
        1,
        0,
        "match_fraction less the match rate of the same filters with permuted columns.",
        _matched("match_excess"),
        late=True,
    ),
    "match_score": Objective(
        "maximize",
        0,
        1,
        0,
        "Graded match: clip((-1 - log10 E) / 3, 0, 1) summed over gated filters, over max(filters, 32).",
        _matched("match_score"),
    ),
    "target_fraction": Objective(
        "maximize",
        0,
        1,
        0,
        "Gated filters that hit a named target family at E <= .1, over max(filters, 32).",
        _matched("target_fraction"),
    ),
    "coverage": Objective("maximize", 0, 1, 0, "Named target families found, over those named.", _matched("coverage")),
    "distinct": Objective(
        "maximize",
        0,
        INFINITY,
        0,
        "Matched filters after merging by motif family and strand.",
        _matched("distinct"),
    ),
    "used_match_fraction": Objective(
        "maximize",
        0,
        1,
        0,
        "Share of all filters' ablation effect that matched filters carry.",
        _matched("used_match_fraction"),
        late=True,
    ),
    "match_null": Objective(
        "minimize",
        0,
        1,
        0,
        "match_fraction of the gated filters with their columns permuted.",
        _matched("match_null"),
        late=True,
    ),
    "filters_alive": Objective(
        "maximize",
        0,
        INFINITY,
        None,
        "First-layer filters whose activation varies over the data.",
        _matched("filters_alive"),
    ),
    "filters_gated": Objective(
        "maximize",
        0,
        INFINITY,
        None,
        "Filters with >= 20 sites and >= 6 bits of corrected information.",
        _matched("filters_gated"),
    ),
    "parameters": Objective("minimize", 0, INFINITY, None, "Trainable parameters.", lambda e: float(e.parameters)),
    "seconds": Objective(
        "minimize",
        0,
        INFINITY,
        None,
        "Seconds of training; not reproducible: another run of the study gives other values.",
        lambda e: e.trained.seconds,
    ),
    "match_fraction_koo": Objective(
        "maximize", 0, 1, None,
        "Filters that match anything as Koo & Ploenzke 2021 count it; for comparison with their numbers only.",
        _extra("match_fraction_koo"), needs="koo",
    ),
    "target_fraction_koo": Objective(
        "maximize", 0, 1, 0,
        "Filters that match a named target as Koo & Ploenzke 2021 count it; for comparison only.",
        _extra("target_fraction_koo"), needs="koo",
    ),
    "attribution_auroc": Objective(
        "maximize", 0, 1, 0.5,
        "Positions of planted motifs, as the study's first attribution method finds them; mean AUROC per sequence.",
        _extra("attribution_auroc"), needs="attribution",
    ),
    "attribution_aupr": Objective(
        "maximize", 0, 1, None,
        "The same as the trapezoid area under the precision-recall curve; chance is the share of such positions.",
        _extra("attribution_aupr"), needs="attribution",
    ),
}  # fmt: skip


def evaluate_network(
    network: Network,
    trained: Trained,
    dataset: Dataset,
    database: MotifDatabase,
    targets: Mapping[str, list[str]],
    *,
    average_strands: bool,
    device: str,
    seed: int,
    rung: Collection[str] | None = None,
) -> Evaluation:
    """Measure a trained network on the training and validation splits.

    Filters are read from training and validation sequences; predictions are made for validation only. The test split is
    never passed to anything here.

    Parameters
    ----------
    network : Network
        The network, with the weights to measure.
    trained : Trained
        Its training run, on this validation split; predictions that it contains are not computed again.
    dataset : Dataset
        Only `.train` and `.valid` are used.
    database : MotifDatabase
        Screened Tomtom targets.
    targets : mapping of str to list of str
        Named families and their motif IDs.
    average_strands : bool
        Whether predictions are the mean logit of both strands.
    device : str
        Torch device.
    seed : int
        Seeds the column permutations of the null.
    rung : collection of str or None
        At a rung, the study's objectives; rows that are `late` and not among them are left out. None at the end.
    """
    late = {name for name, row in OBJECTIVES.items() if row.late and rung is not None and name not in rung}
    logits = trained.logits
    if logits is None:
        logits = predict(network, dataset.valid.codes, device=device, average_strands=average_strands)
    codes = np.concatenate([dataset.train.codes, dataset.valid.codes])
    scan = scan_filters(network, codes, device=device)
    width = int(network.first_convolution.kernel_size[0])
    filters = build_filters(codes, scan, width, network.offset)
    effects = None
    if "used_match_fraction" not in late:
        few = sample_rows(dataset.valid.labels, ABLATED)  # the same in all trials of a study, to keep them comparable
        effects = ablation_effects(network, dataset.valid.codes[few], device=device)
    matches = match_filters(
        filters, database, targets, n_filters=len(filters), effects=effects, seed=seed,
        permutations=0 if late >= {"match_null", "match_excess"} else PERMUTATIONS,
    )  # fmt: skip
    return Evaluation(
        logits, dataset.valid.labels, filters, matches, trained, count_parameters(network),
        extras=matched_auroc(dataset.valid, logits),
    )  # fmt: skip


def matched_auroc(split: Split, logits: np.ndarray) -> dict[str, float]:
    """Compute the AUROC on the part of a split where GC and CpG content cannot tell the classes apart.

    Returns
    -------
    dict of str to float
        ``matched_auroc``; empty if that part is too small to score (under 20 sequences, or one class).
    """
    found = matched_part(split.codes, split.labels, {"models": logits}, jackknife=False)
    return {} if found is None else {"matched_auroc": found.values["models"]}


def without_groups(evaluation: Evaluation, objectives: Collection[str]) -> dict[str, list[float]]:
    """Compute the objectives that need predictions alone, without each group of validation sequences in turn."""
    rows = ((name, OBJECTIVES[name].predicted) for name in objectives)
    found = {name: without_each(row, evaluation.labels, evaluation.logits) for name, row in rows if row is not None}
    return {name: values for name, values in found.items() if values is not None}


def measure_all(evaluation: Evaluation) -> dict[str, float]:
    """Return every row of OBJECTIVES that was measured, the interval of match_excess, and all extras.

    Raises
    ------
    DataError
        A metric is not finite; names it.
    """
    values = {
        name: float(row.measure(evaluation))
        for name, row in OBJECTIVES.items()
        if (row.needs is None or name in evaluation.extras) and (not row.late or name in evaluation.matches.metrics)
    }
    values |= evaluation.extras
    for name in {"match_excess_low", "match_excess_high", "filters_effective"} & evaluation.matches.metrics.keys():
        values[name] = float(evaluation.matches.metrics[name])
    for name, value in values.items():
        if not np.isfinite(value):
            raise DataError(f"{name} is {value} on validation; each task needs both classes there.")
    return values
