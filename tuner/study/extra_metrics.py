"""Expensive measurements that a study file requests with tables of their own: [koo] and [attribution]."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator

from tuner.data.dataset import Dataset
from tuner.errors import unknown
from tuner.interpret.attribution import ATTRIBUTIONS
from tuner.interpret.scoring import attribution_scores, background_scores
from tuner.models.ensemble import predicted
from tuner.models.half_maximum import half_maximum_windows
from tuner.models.network import Network
from tuner.motifs.database import MotifDatabase
from tuner.motifs.koo import koo_ppm, match_koo
from tuner.study.toml import Table


class KooSection(Table):
    """Read the filters as Koo & Ploenzke (2021) do, in addition to our own definition.

    The first threshold, a share of each filter's maximum, gives ``match_fraction_koo`` and
    ``target_fraction_koo``; further ones are recorded with the threshold appended to the name.
    """

    thresholds: list[float] = Field(default=[0.5], min_length=1)

    @field_validator("thresholds")
    @classmethod
    def _shares(cls, thresholds: list[float]) -> list[float]:
        if not all(0 < t < 1 for t in thresholds):
            raise ValueError("thresholds are shares of the maximum, between 0 and 1")
        return thresholds


class AttributionSection(Table):
    """Score attributions against the ground truth of simulated validation sequences.

    The first method gives ``attribution_auroc`` and ``attribution_aupr``; every method is recorded under its
    own name. `background_counts` repeats the methods that use references with the first k of them.
    """

    methods: list[str] = Field(default=["deep_shap"], min_length=1)
    sequences: int = Field(default=500, ge=1)
    output: Literal["logit", "probability"] = "logit"
    references: int = Field(default=10, ge=1)
    shuffle: Literal["dinucleotide", "mononucleotide"] = "dinucleotide"
    background_counts: list[int] = Field(default_factory=list)

    @field_validator("methods")
    @classmethod
    def _known_methods(cls, methods: list[str]) -> list[str]:
        for name in methods:
            if name not in ATTRIBUTIONS:
                raise ValueError(unknown("method", name, ATTRIBUTIONS))
            if methods.count(name) > 1:
                raise ValueError(f"the method {name!r} is listed twice")
        return methods


def measure_koo(
    network: Network,
    dataset: Dataset,
    database: MotifDatabase,
    targets: Mapping[str, Sequence[str]],
    section: KooSection,
    device: str,
) -> dict[str, float]:
    """Count matches as published, on as many sequences as a published test split holds.

    The papers read filters on their test split, twice the size of validation; here the validation sequences
    and as many training sequences take its place, so that the test split stays closed.

    Parameters
    ----------
    network : Network
        The trained network.
    dataset : Dataset
        Only `.train` and `.valid` are used.
    database : MotifDatabase
        Every motif counts except MA0615.1.
    targets : mapping of str to sequence of str
        Named families.
    section : KooSection
        Thresholds.
    device : str
        Torch device.

    Returns
    -------
    dict of str to float
        ``match_fraction_koo``, ``target_fraction_koo``, ``coverage_koo``, the same with a suffix such as ``_0.3`` for
        every further threshold, and ``sites_koo``, the median number of windows per filter.
    """
    codes = np.concatenate([dataset.valid.codes, dataset.train.codes[: len(dataset.valid)]])
    windows = half_maximum_windows(network, codes, section.thresholds, device)
    values: dict[str, float] = {"sites_koo": float(np.median(windows.sites[0]))}
    for i, threshold in enumerate(section.thresholds):
        ppms = [koo_ppm(c, int(n)) for c, n in zip(windows.counts[i], windows.sites[i], strict=True)]
        found = match_koo(ppms, database, targets)._asdict()
        values |= {f"{name}_koo" + (f"_{threshold:g}" if i else ""): value for name, value in found.items()}
    return values


def measure_attribution(
    network: Network, dataset: Dataset, section: AttributionSection, *, average_strands: bool, seed: int, device: str
) -> dict[str, float]:
    """Score the study's attribution methods on the first positives of validation.

    Parameters
    ----------
    network : Network
        The trained network.
    dataset : Dataset
        Its `.valid` contains the ground truth.
    section : AttributionSection
        Methods and their settings.
    average_strands : bool
        Whether predictions, and so what is attributed, are the mean logit of both strands.
    seed : int
        Seed of the references.
    device : str
        Torch device.

    Returns
    -------
    dict of str to float
        ``{method}_auroc``, ``{method}_aupr``, ``{method}_average_precision``, those of the first method also as
        ``attribution_auroc`` and ``attribution_aupr``; with background counts, ``{method}_auroc_r{k}`` ...

    Raises
    ------
    DataError
        There is no ground truth, or no positive.
    AttributionError
        Contributions do not add up; names the layer.
    """
    common: dict[str, Any] = {
        "n_sequences": section.sequences,
        "output": section.output,
        "shuffle": section.shuffle,
        "seed": seed,
        "device": device,
    }
    explained = predicted([network], average_strands)
    values = attribution_scores(
        explained, dataset.valid, methods=section.methods, n_references=section.references, **common
    )
    for area in ("auroc", "aupr"):
        values[f"attribution_{area}"] = values[f"{section.methods[0]}_{area}"]
    if section.background_counts:
        methods = [name for name in section.methods if ATTRIBUTIONS[name].needs_references]
        values |= background_scores(
            explained, dataset.valid, counts=section.background_counts, methods=methods, **common
        )
    return values
