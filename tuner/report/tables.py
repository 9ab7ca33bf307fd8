"""A report's numbers as tab-separated tables, one row a thing; floats are exact."""

from __future__ import annotations

from typing import Any

from tuner.report.data import ReportData, plain
from tuner.results.trial_table import Row, to_tsv

MATRICES = ("ppm", "cwm")
NESTED = ("match", "target")


def tables(report: ReportData) -> dict[str, str]:
    """Name of file -> content; a table without a row is left out."""
    rows: dict[str, list[Row]] = {
        "trials.tsv": [_trial(t) for t in plain(report.trials)],
        "history.tsv": [{"trial": p.number, **p.best} for p in report.history],
        "importance.tsv": [
            {"objective": objective, "parameter": parameter, "importance": value}
            for objective, values in report.importance.items()
            for parameter, value in values.items()
        ],
        "splits.tsv": [{"split": name, **plain(split)} for name, split in report.data.splits.items()],
        "baselines.tsv": plain(report.baselines),
        "scores.tsv": [],
    }
    for m in report.models:
        model = plain(m)
        for metric, value in m.valid.items():
            _add(rows, "scores.tsv", m.trial, {"source": "validation, selected run", "metric": metric, "value": value})
        for metric, e in m.confirmation.items():
            cells = {
                "source": "confirmation",
                "metric": metric,
                "value": e.mean,
                "low": e.low,
                "high": e.high,
                "n": e.n,
            }
            _add(rows, "scores.tsv", m.trial, cells)
        if m.test is not None:
            for cells in _test(model["test"]):
                _add(rows, "scores.tsv", m.trial, {"source": "test", **cells})
            for b in model["test"]["baselines"]:
                _add(rows, "leads.tsv", m.trial, b)
        for name, part in (("roc", m.roc), ("pr", m.pr), ("calibration", m.calibration)):
            if part is not None:
                columns = {k: v for k, v in model[name].items() if isinstance(v, list) and v}
                for values in zip(*columns.values(), strict=True):
                    _add(rows, f"{name}.tsv", m.trial, dict(zip(columns, values, strict=True)))
        for name in ("history", "filters", "patterns", "targets", "marginal"):
            for cells in model[name]:
                kept: Row = {}
                for key, value in cells.items():
                    if isinstance(value, dict):  # the match of a pattern, and the study's target beside it
                        kept |= {f"{key}_{k}": v for k, v in value.items()}
                    elif key not in (*MATRICES, *NESTED) or isinstance(value, str):
                        kept[key] = value
                _add(rows, "epochs.tsv" if name == "history" else f"{name}.tsv", m.trial, kept)
        for family, count in m.stability.items():
            _add(rows, "stability.tsv", m.trial, {"family": family, "models": count, "of": m.stability_of})
    return {name: to_tsv(table) for name, table in rows.items() if table}


def _add(rows: dict[str, list[Row]], name: str, trial: int, cells: Row) -> None:
    rows.setdefault(name, []).append({"trial": trial, **cells})


def _trial(trial: dict[str, Any]) -> Row:
    own = {k: trial[k] for k in ("number", "state", "pareto", "warm_start", "reason")}
    return {**own, **trial["params"], **trial["watched"], **trial["values"]}


def _test(test: dict[str, Any]) -> list[Row]:
    interval = {"auroc": ("low", "high"), "average_precision": ("average_precision_low", "average_precision_high")}
    found: list[Row] = []
    for metric in ("auroc", "average_precision", "ensemble", "matched", "matched_gc", "matched_cpg"):
        low, high = interval.get(metric, ("", ""))
        found.append(
            {"metric": metric, "value": test[metric], "low": test.get(low), "high": test.get(high), "n": test["models"]}
        )
    found += _predictor(test["predictor"]) if test["predictor"] is not None else []
    found += [{"metric": f"auroc of model {i}", "value": v} for i, v in enumerate(test["per_model"])]
    return found + [{"metric": f"auroc of {task}", "value": v} for task, v in test["per_task"].items()]


def _predictor(found: dict[str, Any]) -> list[Row]:
    """Scores of what one would use, over all tasks and of each; without those that are undefined."""
    n = found["models"]
    rows: list[Row] = []

    def add(metric: str, value: dict[str, Any] | None) -> None:
        if value is not None:
            rows.append(
                {"metric": metric, "value": value["estimate"], "low": value["low"], "high": value["high"], "n": n}
            )

    for metric in ("auroc", "average_precision", "matched"):
        add(f"ensemble {metric}" if n > 1 else f"model {metric}", found[metric])
    for task, row in found["tasks"].items():
        d = row["decisions"]
        for metric in ("auroc", "average_precision", "auroc_adjusted"):
            add(f"{metric} of {task}, predictor", row[metric])
        for metric in ("brier", "mcc", "recall", "false_positive_rate", "precision"):
            add(f"{metric} of {task}, predictor", d[metric])
        for prevalence, value in d["precision_at"].items():
            add(f"precision at {prevalence} of {task}, predictor", value)
        for name, value in row["leads_adjusted"].items():
            add(f"lead over {name} of {task}, predictor, adjusted", value)
    return rows
