"""`tuner evaluate`: score a trial on the test split, after all decisions have been made."""

from __future__ import annotations

import math
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli import context, options
from tuner.cli.model import check_output

if TYPE_CHECKING:
    from tuner.models.intervals import Interval
    from tuner.results.predictor_scores import PredictorScores
    from tuner.results.test_split import Examination

EXAMPLE = "Example: tuner evaluate --study zbed2"


def command(
    study: options.SomeStudy = None,
    trial: Annotated[int | None, typer.Option(min=0, help="Trial number [the primary trial].")] = None,
    preset: options.SomePreset = None,
    name: options.Name = None,
    storage: options.Storage = None,
    artifacts: options.Artifacts = None,
    data: options.Data = None,
    max_memory: options.MaxMemory = None,
    device: options.Device = "auto",
    on: Annotated[
        str | None, typer.Option(help="Score other data instead: a study, or a file with a [data] table.")
    ] = None,
    split: Annotated[str, typer.Option(help="With --on: all of its sequences, or those of its test split.")] = "all",
    predictions: Annotated[
        Path | None, typer.Option(help="Also write what is predicted for every sequence: .tsv, or .bed with positions.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Score a trial's models and the baselines on the test split; the opening is recorded in the study."""
    from tuner.errors import UsageError, unknown
    from tuner.results.test_predictions import check_predictions, write_predictions
    from tuner.search.evaluation import evaluate_study
    from tuner.search.other_data import PARTS
    from tuner.study.other_data import find_other_data

    if split not in PARTS:
        raise UsageError(unknown("value of --split", split, PARTS))
    if on is None and split != "all":
        raise UsageError("--split chooses from the data of --on; without it, the study's own test split is scored.")
    if predictions is not None:
        check_predictions(predictions)
        check_output(predictions, option="--predictions")
    other = None if on is None else find_other_data(on, os.environ)
    limit = context.max_memory(max_memory)
    opened = context.open_existing(storage)
    found = context.stored_name(opened, study, preset, name)
    opened.join(found)
    result, variant, predicted = evaluate_study(
        opened, context.open_artifacts(artifacts), found, trial, when=datetime.now(UTC).isoformat(timespec="seconds"),
        data=data, data_dir=context.data_dir(), cache=context.cache_dir(), device=device, max_memory=limit,
        on=other, part=split,
    )  # fmt: skip
    for text in result.on["notes"] if result.on else ():
        context.note(f"warning: {text}")
    if variant:
        context.note(f"trial {result.trial} was trained on {variant}; the baselines were not, so they are left out")
    if as_json:
        from tuner.results.predictor_scores import predictor_values

        context.emit({"study": found, **result._asdict(), "predictor": predictor_values(result.predictor)})
    else:
        print_examination(found, result)
    if predictions is not None:
        write_predictions(predictions, predicted)
        context.note(f"predictions of {len(predicted.ids)} sequences written to {predictions}")


def print_examination(name: str, result: Examination) -> None:
    """Print the test results: what one would use first, then the mean of the single models, tasks and baselines."""
    console = context.console()
    kind = "confirmation models" if result.models > 1 else "model"
    scored = "test split"
    if result.on is not None:
        part = "its test split" if result.on["split"] == "test" else "all of it"
        scored = f"{result.on['sequences']} sequences of {result.on['name']} ({part})"
    console.print(f"\n{name} trial {result.trial}, {result.models} {kind}, {scored}")
    if result.predictor is not None:
        _print_predictor(result.predictor, result.matched_sequences)
    if result.models > 1 or result.predictor is None:
        _print_means(result)
    if result.memoriser is not None:
        console.print(
            f"AUROC of what remembers similar training sequences   {result.memoriser:.4f} "
            f"({result.related or 'no'} of these sequences have relatives in training)"
        )
    if result.predictor is not None:
        _print_tasks(result.predictor)
    _print_baselines(result)
    if result.predictor is not None:
        from tuner.results.statement import basis, conclusion

        console.print(f"{conclusion(result.predictor)} {basis(result.predictor)}")
    if result.on is not None:
        times = "for the first time" if result.openings == 1 else f"{result.openings} times"
        console.print(
            f"These sequences have been scored {times}; it is recorded in the study. Its own test split was not scored."
        )
        return
    times = "first opening" if result.openings == 1 else f"opening {result.openings}"
    console.print(f"This was the {times} of the study's test split; it is recorded in the study.")


def _print_predictor(found: PredictorScores, matched_sequences: int) -> None:
    """Print what one would use: its scores, and of one task its probabilities."""
    console = context.console()
    if found.models > 1:
        console.print(f"Ensemble of the {found.models} models (mean logit), what one would use:")
    console.print(f"  AUROC               {_scored(found.auroc)}")
    console.print(f"  average precision   {_scored(found.average_precision)}")
    if found.matched is not None:
        ends = "" if math.isnan(found.matched.low) else f"95 % {found.matched.low:.3f} to {found.matched.high:.3f}, "
        console.print(
            f"  AUROC on the GC x CpG-matched part   {found.matched.estimate:.4f} ({ends}{matched_sequences} sequences)"
        )
    if len(found.tasks) > 1:
        return
    d = next(iter(found.tasks.values())).decisions
    console.print(f"  Brier score         {_scored(d.brier)}   base rate {d.base_rate_brier:.4f}")
    console.print(f"  reliability         expected error {d.expected_error:.4f}, mean over ten bins (--json has each)")
    console.print(f"  calls at probability {d.threshold:.3f} and above, calibrated:")
    rows = [("Matthews correlation", d.mcc), ("recall", d.recall), ("false-positive rate", d.false_positive_rate)]
    rows += [(f"precision, {d.positives} : {d.sequences - d.positives}", d.precision)]
    rows += [(f"precision, {name.replace(':', ' : ')}", value) for name, value in d.precision_at.items()]
    for label, value in rows:
        console.print(f"    {label:22} {'undefined' if value is None else _scored(value)}")


def _scored(value: Interval) -> str:
    return f"{value.estimate:.4f} (95 % {value.low:.3f} to {value.high:.3f})"


def _print_means(result: Examination) -> None:
    """Print the mean of the single models."""
    console = context.console()
    if result.predictor is not None:
        console.print(f"Mean of the {result.models} single models:")
    console.print(f"  AUROC               {_scored(result.auroc)}   per model "
                  + " ".join(f"{v:.3f}" for v in result.per_model))  # fmt: skip
    console.print(f"  average precision   {_scored(result.average_precision)}")
    if result.matched is not None and (result.predictor is None or result.models > 1):
        ends = ""
        if result.matched_low is not None and result.matched_high is not None:
            ends = f"95 % {result.matched_low:.3f} to {result.matched_high:.3f}, "
        console.print(
            f"  AUROC on the GC x CpG-matched part   {result.matched:.4f} ({ends}{result.matched_sequences} sequences)"
        )
        alone = [
            f"{axis} alone {value:.4f}"
            for axis, value in (("GC", result.matched_gc), ("CpG", result.matched_cpg))
            if value is not None
        ]
        console.print(f"  matched by {', by '.join(alone)}")
    if result.predictor is not None and len(result.predictor.tasks) == 1:
        single = next(iter(result.predictor.tasks.values())).single
        names = {"brier": "Brier score", "mcc": "Matthews correlation", "recall": "recall", "precision": "precision"}
        shown = [f"{label} {single[key]:.4f}" for key, label in names.items() if key in single]
        console.print(f"  each calibrated by itself: {', '.join(shown)}")


def _print_tasks(found: PredictorScores) -> None:
    """Print each of several tasks."""
    from rich.table import Table

    from tuner.results.statement import of_task, said

    if len(found.tasks) < 2:
        return
    scores = Table(title="each task", title_justify="left", title_style="bold")
    calls = Table(title="calls of each task, calibrated", title_justify="left", title_style="bold")
    for table, columns in (
        (
            scores,
            ("task", "positives", "AUROC (95 %)", "average precision (95 %)", f"adjusted for {len(found.tested)}"),
        ),
        (calls, ("task", "from", "Brier (base rate)", "MCC", "recall", "precision", "1:10", "1:100")),
    ):
        for column in columns:
            table.add_column(column, justify="left" if column in ("task", columns[4]) and table is scores else "right")
    for task, row in found.tasks.items():
        d, where = row.decisions, of_task(found, task)
        both = ["undefined" if v is None else _scored(v).replace("95 % ", "") for v in row[:2]]
        scores.add_row(task, f"{d.positives}", *both, "one class on test" if where is None else said(where))
        shown = [
            "undefined" if v is None else f"{v.estimate:.3f}"
            for v in (d.mcc, d.recall, d.precision, *d.precision_at.values())
        ]
        calls.add_row(task, f"{d.threshold:.3f}", f"{d.brier.estimate:.4f} ({d.base_rate_brier:.4f})", *shown)
    context.console().print(scores)
    context.console().print(calls)


def _print_baselines(result: Examination) -> None:
    """Print the baselines, and the leads over them of what one would use."""
    from rich.table import Table

    from tuner.results.confirmation import Standing

    if not result.baselines:
        return
    found = result.predictor
    whose = "models'" if found is None else "ensemble's" if found.models > 1 else "model's"
    table = Table(title="baselines on the same sequences", title_justify="left", title_style="bold")
    for column in ("baseline", "AUROC", "matched part", f"{whose} lead (paired 95 %)", ""):
        table.add_column(column, justify="left" if column == "baseline" else "right")
    for label, b in sorted(result.baselines.items(), key=lambda item: -item[1]["auroc"]):
        matched = f"{b['matched']:.4f}" if "matched" in b else ""
        lead, low, high = (b["lead"], b["low"], b["high"]) if found is None else found.leads[label][:3]
        table.add_row(
            label, f"{b['auroc']:.4f}", matched, f"{lead:+.4f} ({low:+.3f} to {high:+.3f})", Standing.of(low, high)
        )
    context.console().print(table)
