"""Stages that measure a model: test scores, filters, contributions."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from tuner.errors import AttributionError
from tuner.interpret.attribution import attribute, engine_agreement
from tuner.interpret.completeness import check_completeness
from tuner.interpret.stability import stability
from tuner.models.training import predict
from tuner.motifs.match import FilterMatch
from tuner.motifs.meme import read_meme
from tuner.report.cache import Result
from tuner.report.source import Source
from tuner.search.examination import score_test
from tuner.search.results import FrozenTrial
from tuner.search.study import mix
from tuner.search.tidy import stored_table

CHECKED, COMPARED = 100, 8  # sequences whose completeness, and whose agreement between engines, is measured
Inputs = Mapping[str, Result]


def now() -> str:
    """The time as reports store it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def examine(source: Source, trial: int, inputs: Inputs, out: Path) -> Result:
    """Open the test split, on record, and score the trial's models and the baselines."""
    scored = score_test(
        source.storage, source.artifacts, source.dataset, source.name, trial, device=source.bench.device, when=now()
    )
    found = scored.examination
    scores = found.tasks or {source.dataset.tasks[0]: {"auroc": found.auroc.estimate}}
    per_task = {task: row["auroc"] for task, row in scores.items()}
    plain = {**found._asdict(), "auroc": found.auroc._asdict(), "average_precision": found.average_precision._asdict()}
    return Result({**plain, "per_task": per_task}, {"logits": scored.logits})


def filters(source: Source, trial: int, inputs: Inputs, out: Path) -> Result:
    """Read the first-layer filters and their matches as they were stored, and how stable their families are."""
    runs = source.models(trial)
    shown = source.shown(trial)
    tables = [stored_table(source.artifacts, run, "matches.tsv") for run in runs]
    return Result(
        {
            "rows": tables[0],
            "network": shown.words,
            "history": stored_table(source.artifacts, shown.run, "history.tsv"),
            "stability": stability([[_match(row) for row in table] for table in tables]),
            "stability_of": len(runs),
        },
        _matrices(source, shown.run),
    )


def _match(row: Mapping[str, Any]) -> FilterMatch:
    return FilterMatch(**{name: row[name] for name in FilterMatch._fields})


def _matrices(source: Source, run: FrozenTrial) -> dict[str, np.ndarray]:
    text = source.artifacts.text(run, "filters.meme")
    if "letter-probability" not in text:  # no filter has a column
        return {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "filters.meme"
        path.write_text(text, encoding="utf-8")
        return {f"ppm.{motif.id.removeprefix('filter')}": motif.ppm for motif in read_meme(path)}


def contributions(source: Source, trial: int, inputs: Inputs, out: Path) -> Result:
    """DeepSHAP of test positives against their own shuffles; refused, in words, where they do not add up."""
    test, task, options = source.dataset.test, source.task, source.options
    positives = np.flatnonzero(test.labels[:, task])
    if len(positives) > options.sequences:
        drawn = np.random.default_rng(mix(source.bench.plan.seed, "contributions")).permutation(positives)
        positives = np.sort(drawn[: options.sequences])
    codes = test.codes[positives]
    run, words = source.shown(trial)
    network, average = source.network(run)
    device = source.bench.device
    logits = predict(network, codes, device=device, average_strands=average)[:, task]
    arrays: dict[str, np.ndarray] = {"rows": positives, "codes": codes, "logits": logits}
    values: dict[str, Any] = {"network": words, "refused": "", "references": options.references}
    try:
        found = attribute(
            "deep_shap", network, codes, task=task, references=options.references,
            seed=mix(source.bench.plan.seed, "references"), device=device,
        )  # fmt: skip
        # Sequences may lie in the order of their strength, so those that are checked are drawn.
        order = np.random.default_rng(mix(source.bench.plan.seed, "checked")).permutation(len(codes))
        checked, compared = np.sort(order[:CHECKED]), np.sort(order[:COMPARED])
        error = check_completeness(network, codes[checked], found.part(checked), device=device)
    except AttributionError as e:
        return Result({**values, "refused": str(e)}, arrays)
    values["completeness"] = {"median": error.median, "max": error.maximum, "n": len(error.errors)}
    values["agreement"] = _agreement(source, network, codes[compared], found.part(compared))
    arrays |= {"hypothetical": found.hypothetical, "references": found.references}
    return Result(values, arrays)


def _agreement(source: Source, network: Any, codes: np.ndarray, found: Any) -> dict[str, Any]:
    try:
        one = engine_agreement(network, codes, found, device=source.bench.device)
    except AttributionError as e:
        return {"max_abs": None, "relative": None, "correlation": None, "n": len(codes), "words": str(e)}
    return {
        "max_abs": one.absolute, "relative": one.relative, "correlation": one.correlation, "n": one.n, "words": "",
    }  # fmt: skip
