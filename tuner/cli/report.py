"""`tuner report`: write a page about the best trials, with all data behind it."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuner.cli import context, options
from tuner.cli.match import name_screen
from tuner.cli.redaction import redact, secrets_of

if TYPE_CHECKING:
    from tuner.report.build import Built
    from tuner.report.stages import Event

EXAMPLE = "Example: tuner report --study zbed2 --trials 3,17"


def command(
    study: options.SomeStudy = None,
    preset: options.SomePreset = None,
    name: options.Name = None,
    trials: Annotated[str | None, typer.Option(help="Trials to report, e.g. 3,17 [chosen by rule].")] = None,
    most: Annotated[int, typer.Option(min=1, help="Largest number of trials that the rule chooses.")] = 3,
    stages: Annotated[str | None, typer.Option(help="Compute only these again, e.g. patterns,page.")] = None,
    sequences: Annotated[int, typer.Option(min=1, help="Largest number of test positives to attribute.")] = 500,
    references: Annotated[int, typer.Option(min=1, help="Shuffled references per sequence.")] = 20,
    modisco: Annotated[str, typer.Option(help="fast, default, thorough or none.")] = "default",
    task: Annotated[str | None, typer.Option(help="Task of curves, contributions and patterns [the first].")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the report [runs/reports/NAME].")] = None,
    storage: options.Storage = None,
    artifacts: options.Artifacts = None,
    data: options.Data = None,
    max_memory: options.MaxMemory = None,
    device: options.Device = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads [all].")] = None,
    as_json: options.Json = False,
) -> None:
    """Report the best trials: contributions, motifs and their uncertainty; opens the test split, on record.

    Results stay in the folder: an interrupted report continues, and nothing is computed twice.
    """
    from tuner.report.folder import default_folder, rerun_commands
    from tuner.report.source import Options, open_source
    from tuner.report.stages import parse_stages
    from tuner.results.barren import check_fertile
    from tuner.search.restore import restore_study

    given, wanted = parse_trials(trials), parse_stages(stages)
    from tuner.cli.worker import use_kernels

    chosen = Options(sequences=sequences, references=references, modisco=modisco, task=task)
    limit = context.max_memory(max_memory)
    opened = context.open_existing(storage, reading=True)
    found = context.stored_name(opened, study, preset, name)
    opened.join(found, adopt_it=False)  # must also work for a read-only database
    check_fertile(opened, found)
    folder = out or default_folder(found)
    plan, identity, data_dir = restore_study(opened, found, data, data_dir=context.data_dir())
    source = open_source(
        opened, context.open_artifacts(artifacts, reading=True), found, plan, identity, chosen,
        data_dir=data_dir, cache=context.cache_dir(), device=device, max_memory=limit,
    )  # fmt: skip
    name_screen(source.bench.database)
    use_kernels(source.bench)  # for the null network, which is trained for the report

    import torch

    from tuner.report.build import build_report

    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
    typed = typed_command(["tuner", *sys.argv[1:]])
    events: list[Event] = []

    def on_event(event: Event) -> None:
        events.append(event)
        context.note(line(event))

    built = build_report(
        source, folder, given=given, most=most, stages=wanted, command=typed, rerun=rerun_commands(plan, typed),
        on_event=on_event,
    )  # fmt: skip
    if as_json:
        context.emit(as_document(built, events))
    else:
        print_report(built)


def typed_command(words: list[str]) -> str:
    """The command line for the page, without secrets."""
    known = secrets_of(os.environ, words)
    return shlex.join(redact(word, known) for word in words)


def parse_trials(text: str | None) -> tuple[int, ...]:
    """Parse trial numbers such as ``3,17``.

    Raises
    ------
    UsageError
        The text contains something else.
    """
    from tuner.errors import UsageError

    parts = [part.strip() for part in (text or "").split(",") if part.strip()]
    if (text is not None and not parts) or not all(part.isascii() and part.isdigit() for part in parts):
        raise UsageError(f"--trials {text!r}: expected trial numbers separated by commas, e.g. 3,17.")
    return tuple(int(part) for part in parts)


def line(event: Event) -> str:
    """One greppable line of progress."""
    what = event.stage + (f" trial {event.trial}" if event.trial is not None else "")
    left = ""
    if event.seconds_left is not None and event.state in ("start", "done"):
        left = f", about {duration(event.seconds_left)} left"
    state = {"start": "", "done": "done: ", "cached": "as before: ", "left out": "left out: "}[event.state]
    return f"report {event.position}/{event.total} {what}: {state}{event.words}{left}"


def duration(seconds: float) -> str:
    """A rounded time as text: ``40 s``, ``12 min``."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def as_document(built: Built, events: list[Event]) -> dict[str, Any]:
    """Summary of the report, for programs; all numbers are in report.json."""
    from tuner.report.data import plain
    from tuner.report.words import pattern_sentence, target_sentences

    data = built.data
    return {
        "study": data.study.name,
        "folder": str(built.out),
        "files": list(built.files),
        "rule": data.selection.rule,
        "primary": data.selection.primary,
        "verdict": data.selection.verdict_words,
        "models": [
            {
                "trial": m.trial, "role": m.role, "validation": m.valid.get("auroc"),
                "confirmation": m.confirmation["auroc"].__dict__ if "auroc" in m.confirmation else None,
                "test": None if m.test is None else
                {
                    "of": m.test.used_name or "model", "auroc": m.test.used.estimate, "low": m.test.used.low,
                    "high": m.test.used.high, "matched": m.test.used_matched, "mean_of_models": m.test.auroc,
                },
                "patterns": len(m.patterns), "pattern_words": m.pattern_words, "motif": pattern_sentence(m),
                "null": plain(m.null), "targets": plain(m.targets), "target_words": target_sentences(m),
                "filter_chance": plain(m.filter_chance),
            }
            for m in data.models
        ],
        "filters_by_chance": plain(data.shuffled),
        "stages": [{"stage": e.stage, "trial": e.trial, "state": e.state} for e in events if e.state != "start"],
        "warnings": list(data.warnings),
        "notes": list(built.notes),
        "test_openings": data.openings,
    }  # fmt: skip


def print_report(built: Built) -> None:
    """Print the AUROCs of each model, the warnings, and the path of the report."""
    from rich.table import Table

    from tuner.report.notes import head_of_test
    from tuner.report.words import filter_sentence, pattern_sentence, target_sentences

    console, data = context.console(), built.data
    table = Table(title=f"{data.study.name}: AUROC of the reported trials", title_justify="left", title_style="bold")
    test = head_of_test(data)
    for column in ("trial", "why", "validation, selected run (optimistic)", "confirmation mean", test, "patterns"):
        table.add_column(column, justify="left" if column == "why" else "right")
    for m in data.models:
        e, t = m.confirmation.get("auroc"), m.test
        table.add_row(
            str(m.trial), m.role, f"{m.valid['auroc']:.4f}" if "auroc" in m.valid else "",
            "" if e is None else f"{e.mean:.4f}" + (f" ({e.low:.3f} to {e.high:.3f})" if e.n > 2 else ""),
            "" if t is None else f"{t.used.estimate:.4f} ({t.used.low:.3f} to {t.used.high:.3f})",
            str(len(m.patterns)),
        )  # fmt: skip
    console.print()
    console.print(table)
    context.note(data.selection.verdict_words)
    for m in data.models:
        said = [pattern_sentence(m), *target_sentences(m), filter_sentence(m, data.shuffled)]
        context.note(f"trial {m.trial}: {' '.join(said)}")
    if data.shuffled.words:
        context.note(data.shuffled.words)
    for warning in data.warnings:
        context.note(f"warning: {warning}")
    where = "report.html" if "report.html" in built.files else "report.json"
    context.note(f"report: {built.out / where}" if built.files else f"report: {built.out} (no page, see --stages)")
