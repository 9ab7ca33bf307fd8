"""Stages that measure a model: test scores, filters, contributions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial

from tuner.errors import AttributionError
from tuner.interpret.attribution import attribute, engine_agreement
from tuner.interpret.completeness import check_completeness
from tuner.interpret.stability import stability
from tuner.models.training import predict
from tuner.report.cache import Result
from tuner.report.source import Source
from tuner.results.predictor_scores import predictor_values
from tuner.results.test_split import score_test
from tuner.results.trial_files import plain, read_filters, read_history, read_matches
from tuner.search.held_out import held_out
from tuner.storage.records import is_count
from tuner.study.plan import mix

LOW = 0.1  # quantile of the agreement between models that is shown beside the median
CHECKED, COMPARED = 100, 8  # sequences whose completeness, and whose agreement between engines, is measured
Inputs = Mapping[str, Result]


def now() -> str:
    """The current time in the format that reports store."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def examine(source: Source, trial: int, inputs: Inputs, out: Path) -> Result:
    """Open the test split, record this in the study, and score the trial's models and the baselines."""
    scored = score_test(
        source.storage, source.artifacts, source.dataset, source.name, trial, device=source.bench.device, when=now(),
        validation=held_out(source.bench.plan, source.dataset, source.identity),
    )  # fmt: skip
    found = scored.examination
    scores = found.tasks or {source.dataset.tasks[0]: {"auroc": found.auroc.estimate}}
    per_task = {task: row["auroc"] for task, row in scores.items()}
    plain = {**found._asdict(), "auroc": found.auroc._asdict(), "average_precision": found.average_precision._asdict()}
    plain["predictor"] = predictor_values(found.predictor)
    return Result({**plain, "per_task": per_task}, {"logits": scored.logits})


def filters(source: Source, trial: int, inputs: Inputs, out: Path) -> Result:
    """Read the first-layer filters and their matches as they were stored, and how stable their families are."""
    runs = source.models(trial)
    shown = source.shown(trial)
    history = read_history(source.artifacts, shown.run)
    tables = [read_matches(source.artifacts, run) for run in runs]
    return Result(
        {
            "rows": [plain(match) for match in tables[0]],
            "network": shown.words,
            "history": [plain(epoch) for epoch in history],
            "kept": kept_epoch(source, shown.run, len(history)),
            "stability": stability(tables),
            "stability_of": len(runs),
        },
        {f"ppm.{index}": ppm for index, ppm in read_filters(source.artifacts, shown.run).items()},
    )


def kept_epoch(source: Source, run: FrozenTrial, epochs: int) -> int | None:
    """Epoch of the weights that a run ended with: the best by its recipe's monitor, or the last."""
    weights = run.params.get("weights", source.bench.plan.recipe.weights)
    best = run.user_attrs.get("best_epoch")
    return epochs if weights == "last" else best if is_count(best) else None


def contributions(source: Source, trial: int, inputs: Inputs, out: Path) -> Result:
    """DeepSHAP of the trial's displayed logit; refused, in words, where contributions do not add up.

    The sequences are test positives, the references their own shuffles, and the logit is the mean over the trial's
    models and, where they predict so, over both strands.
    """
    test, task, options = source.dataset.test, source.task, source.options
    positives = np.flatnonzero(test.labels[:, task])
    if len(positives) > options.sequences:
        drawn = np.random.default_rng(mix(source.bench.plan.seed, "contributions")).permutation(positives)
        positives = np.sort(drawn[: options.sequences])
    codes = test.codes[positives]
    network, models, words = source.explained(trial)
    device = source.bench.device
    logits = predict(network, codes, device=device, average_strands=False)[:, task]  # it averages by itself
    arrays: dict[str, np.ndarray] = {"rows": positives, "codes": codes, "logits": logits}
    values: dict[str, Any] = {"network": words, "refused": "", "references": options.references}
    try:
        found = attribute(
            "deep_shap", network, codes, task=task, references=options.references,
            seed=mix(source.bench.plan.seed, "references"), device=device,
        )  # fmt: skip
        # Sequences may be sorted by signal strength, so those to check are drawn at random.
        order = np.random.default_rng(mix(source.bench.plan.seed, "checked")).permutation(len(codes))
        checked, compared = np.sort(order[:CHECKED]), np.sort(order[:COMPARED])
        error = check_completeness(network, codes[checked], found.part(checked), device=device)
    except AttributionError as e:
        return Result({**values, "refused": str(e)}, arrays)
    values["completeness"] = {"median": error.median, "max": error.maximum, "n": len(error.errors)}
    if found.consensus is not None:
        values["consensus"] = _consensus(found.consensus, models)
    values["agreement"] = _agreement(source, network, codes[compared], found.part(compared))
    arrays |= {"hypothetical": found.hypothetical, "references": found.references}
    return Result(values, arrays)


def _consensus(per_sequence: np.ndarray, models: int) -> dict[str, Any] | None:
    """Summarise how well the models agree over the sequences where each of them has contributions that vary."""
    known = per_sequence[np.isfinite(per_sequence)]
    if not len(known):
        return None
    return {"median": float(np.median(known)), "low": float(np.quantile(known, LOW)), "models": models, "n": len(known)}


def _agreement(source: Source, network: Any, codes: np.ndarray, found: Any) -> dict[str, Any]:
    try:
        one = engine_agreement(network, codes, found, device=source.bench.device)
    except AttributionError as e:
        return {"max_abs": None, "relative": None, "correlation": None, "n": len(codes), "words": str(e)}
    return {
        "max_abs": one.absolute, "relative": one.relative, "correlation": one.correlation, "n": one.n, "words": "",
    }  # fmt: skip
