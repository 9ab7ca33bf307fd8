"""One model of a report, assembled from the results of its stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tuner.models import metrics
from tuner.motifs.match import FilterMatch
from tuner.report.cache import Result
from tuner.report.collect import baseline_rows
from tuner.report.data import (
    CalibrationCurve,
    Completeness,
    Consensus,
    EngineAgreement,
    Estimate,
    MarginalRow,
    ModelReport,
    MotifMatched,
    Null,
    PatternRow,
    PrecisionRecall,
    Roc,
    SequenceLogo,
    TestScores,
)
from tuner.report.selection import Choice
from tuner.report.source import Source
from tuner.report.targets import compare_filters, compare_patterns, filter_chance
from tuner.results.confirmation import Confirmed
from tuner.results.leaderboard import watched
from tuner.results.nulls import exceeded
from tuner.results.predictor_scores import read_predictor
from tuner.results.trial_files import from_plain
from tuner.results.verdict import compare

LOGOS, LOGO_WIDTH = 5, 60  # strongest sequences shown, and bases of each
Fitted = Mapping[str, tuple[float, str]]


def model_report(
    source: Source, choice: Choice, trial: int, results: Mapping[str, Result], confirmed: Sequence[Confirmed],
    fitted: Fitted,
) -> ModelReport:  # fmt: skip
    """Assemble what is known of a trial; stages that were left out leave their parts empty."""
    stored = source.trial(trial)
    one = next((c for c in confirmed if c.candidate == trial and c.runs), None)
    parts: dict[str, Any] = {}
    if "examine" in results:
        parts |= _tested(source, results["examine"], fitted)
    if "filters" in results:
        parts |= _filters(results["filters"])
    if "contributions" in results:
        parts |= _contributions(source, results["contributions"])
    parts |= _patterns(source, results)
    if "filters" in results:
        parts |= _beside(source, trial, parts)
    if "marginalise" in results:
        parts["marginal"] = tuple(MarginalRow(**row) for row in results["marginalise"].values["rows"])
    return ModelReport(
        trial=trial,
        role=choice.roles[choice.trials.index(trial)],
        params=dict(stored.params),
        valid=watched(stored),
        confirmation={} if one is None else {
            k: Estimate(mean=one.mean[k], low=one.low[k], high=one.high[k], n=sum(k in r for r in one.runs.values()))
            for k in one.mean
        },
        collapsed=source.collapsed(trial),
        comparison=compare(confirmed, choice.primary, trial, source.bench.plan.study.objectives[0]),
        **parts,
    )  # fmt: skip


def _tested(source: Source, result: Result, fitted: Fitted) -> dict[str, Any]:
    v, task = result.values, source.task
    labels = source.dataset.test.labels
    predictor = read_predictor(v.get("predictor"))
    scores = TestScores(
        auroc=v["auroc"]["estimate"], low=v["auroc"]["low"], high=v["auroc"]["high"],
        average_precision=v["average_precision"]["estimate"],
        average_precision_low=v["average_precision"]["low"], average_precision_high=v["average_precision"]["high"],
        ensemble=v["ensemble"], matched=v["matched"], matched_gc=v["matched_gc"], matched_cpg=v["matched_cpg"],
        matched_sequences=v["matched_sequences"], per_model=tuple(v["per_model"]), per_task=dict(v["per_task"]),
        models=v["models"], sequences=len(labels), positives=int(labels[:, task].sum()),
        baselines=baseline_rows(fitted, v["baselines"], predictor), predictor=predictor,
    )  # fmt: skip
    one, mean = labels[:, task], result.arrays["logits"].mean(axis=0)[:, task].astype(np.float64)
    found: dict[str, Any] = {"test": scores}
    raw = metrics.calibration(one, 1 / (1 + np.exp(-np.clip(mean, -500, 500))))
    if predictor is None:
        found["calibration"] = CalibrationCurve(
            predicted=raw.predicted, observed=raw.observed, counts=raw.counts, error=raw.expected_error, brier=raw.brier
        )
    else:
        d = predictor.tasks[source.dataset.tasks[task]].decisions
        found["calibration"] = CalibrationCurve(
            predicted=d.predicted, observed=d.observed, counts=d.counts, error=d.expected_error,
            brier=d.brier.estimate, low=d.observed_low, high=d.observed_high,
            uncalibrated_error=raw.expected_error, uncalibrated_brier=raw.brier,
        )  # fmt: skip
    if 0 < one.sum() < len(one):
        true, false = _steps(one, mean)
        area, average = metrics.auroc(one, mean), metrics.average_precision(one, mean)
        found["roc"] = Roc(fpr=tuple((false / false[-1]).tolist()), tpr=tuple((true / true[-1]).tolist()), area=area)
        precision = np.append(1.0, true[1:] / (true[1:] + false[1:]))
        found["pr"] = PrecisionRecall(
            recall=tuple((true / true[-1]).tolist()), precision=tuple(precision.tolist()), area=average
        )
    return found


def _steps(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positives and negatives at or above each distinct score, from none to all."""
    ranked = metrics.rank(scores)
    true = np.cumsum(labels[ranked.order].astype(np.float64))[ranked.ends]
    return np.append(0.0, true), np.append(0.0, ranked.ends + 1 - true)


def _filters(result: Result) -> dict[str, Any]:
    v = result.values
    rows = [from_plain(FilterMatch, row) for row in v["rows"]]
    rows.sort(key=lambda r: (not r.alive, -r.influence, r.filter))
    return {
        "filters": tuple(rows),
        "ppms": {r.filter: result.arrays.get(f"ppm.{r.filter}", np.zeros((4, 0))) for r in rows},
        "candidates": tuple(r.filter for r in rows if r.gated and not r.significant),
        "dead": sum(not r.alive for r in rows),
        "stability": dict(v["stability"]),
        "stability_of": v["stability_of"],
        "history": tuple(v["history"]),
        "kept": v.get("kept"),
        "network": v["network"],
    }


def _beside(source: Source, trial: int, parts: Mapping[str, Any]) -> dict[str, Any]:
    """Filters beside the motifs that the study names, and beside chance."""
    bench, run = source.bench, source.shown(trial).run
    targets = compare_filters(parts["filters"], parts["ppms"], bench.database, bench.plan.study.motifs.targets)
    null = run.user_attrs.get("match_null")
    return {
        "targets": (*parts.get("targets", ()), *targets),
        "filter_chance": filter_chance(parts["filters"], None if null is None else float(null)),
    }


def _contributions(source: Source, result: Result) -> dict[str, Any]:
    v = result.values
    found: dict[str, Any] = {
        "sequences_used": len(result.arrays["rows"]), "references": v["references"], "explained": v["network"],
    }  # fmt: skip
    if v["refused"]:
        return found | {"refused": v["refused"]}
    return found | {
        "completeness": Completeness(**v["completeness"]),
        "agreement": EngineAgreement(**v["agreement"]),
        "consensus": Consensus(**v["consensus"]) if v.get("consensus") else None,
        "contributions": strongest(source, result),
    }


def strongest(source: Source, result: Result) -> tuple[SequenceLogo, ...]:
    """The sequences of the highest logits, each where the sum of absolute contributions is largest."""
    test, codes, logits = source.dataset.test, result.arrays["codes"], result.arrays["logits"]
    logos = []
    for i in np.argsort(-logits, kind="stable")[:LOGOS]:
        row, hypothetical = int(result.arrays["rows"][i]), result.arrays["hypothetical"][i]
        heights = hypothetical * (codes[i] == np.arange(4)[:, None])
        width = min(LOGO_WIDTH, heights.shape[1])
        mass = np.convolve(np.abs(heights).sum(axis=0), np.ones(width), mode="valid")
        start = int(mass.argmax())
        logos.append(
            SequenceLogo(
                name=test.ids[row] if test.ids is not None else f"test sequence {row}",
                label=int(test.labels[row, source.task]), logit=float(logits[i]), start=start,
                heights=heights[:, start : start + width],
                truth=None if test.truth is None else test.truth[row][:, start : start + width],
            )
        )  # fmt: skip
    return tuple(logos)


def _patterns(source: Source, results: Mapping[str, Result]) -> dict[str, Any]:
    if source.options.modisco == "none":
        return {"pattern_words": "TF-MoDISco was not run (--modisco none)."}
    if "patterns" not in results:
        return {"pattern_words": "TF-MoDISco was not run."}
    null = results.get("null_patterns")
    made = null is not None and null.values["made"]
    networks = int(null.values.get("networks", 1)) if null is not None and made else 0
    seqlets = [p["seqlets"] for p in null.values["patterns"]] if null is not None else []
    rows = tuple(
        PatternRow(
            name=p["name"], positive=p["positive"], seqlets=p["seqlets"], contribution=p["contribution"],
            cwm=results["patterns"].arrays[f"cwm.{p['name']}"], ppm=results["patterns"].arrays[f"ppm.{p['name']}"],
            match=MotifMatched(**p["match"]) if p["match"] else None,
            above_null=p["seqlets"] > max(seqlets, default=0) if made else None,
        )
        for p in results["patterns"].values["patterns"]
    )  # fmt: skip
    words = "No null was made." if null is None else str(null.values["words"])
    bench = source.bench
    rows, targets = compare_patterns(rows, bench.database, bench.plan.study.motifs.targets)
    return {
        "patterns": rows,
        "targets": targets,
        "pattern_words": results["patterns"].values["words"],
        "null": Null(
            seqlets=tuple(seqlets), words=words, networks=networks, chance=exceeded(networks) if networks else None
        ),
    }
