"""`tuner evaluate`: score a trial on the test split, after all decisions have been made."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli import context, options

if TYPE_CHECKING:
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
    as_json: options.Json = False,
) -> None:
    """Score a trial's models and the baselines on the test split; the opening is recorded in the study."""
    from tuner.search.evaluation import evaluate_study

    limit = context.max_memory(max_memory)
    opened = context.open_existing(storage)
    found = context.stored_name(opened, study, preset, name)
    opened.join(found)
    result, variant = evaluate_study(
        opened, context.open_artifacts(artifacts), found, trial, when=datetime.now(UTC).isoformat(timespec="seconds"),
        data=data, data_dir=context.data_dir(), cache=context.cache_dir(), device=device, max_memory=limit,
    )  # fmt: skip
    if variant:
        context.note(f"trial {result.trial} was trained on {variant}; the baselines were not, so they are left out")
    if as_json:
        context.emit({"study": found, **result._asdict()})
    else:
        print_examination(found, result)


def print_examination(name: str, result: Examination) -> None:
    """Print the test results in words and one table."""
    from rich.table import Table

    from tuner.results.confirmation import Standing

    console = context.console()
    kind = "confirmation models" if result.models > 1 else "model"
    mean, low, high = result.auroc[:3]
    console.print(f"\n{name} trial {result.trial}, {result.models} {kind}, test split")
    console.print(f"  AUROC               {mean:.4f} (95 % {low:.3f} to {high:.3f})   per model "
                  + " ".join(f"{v:.3f}" for v in result.per_model))  # fmt: skip
    console.print("  average precision   {:.4f} (95 % {:.3f} to {:.3f})".format(*result.average_precision[:3]))
    if result.models > 1:
        console.print(f"  AUROC of the models' mean prediction   {result.ensemble:.4f}")
    if result.matched is not None:
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
    if result.memoriser is not None:
        console.print(
            f"  AUROC of what remembers similar training sequences   {result.memoriser:.4f} "
            f"({result.related or 'no'} test sequences have relatives in training)"
        )
    if result.tasks:
        table = Table(title="each task", title_justify="left", title_style="bold")
        for column in ("task", "positives", "AUROC (95 %)", "average precision (95 %)"):
            table.add_column(column, justify="left" if column == "task" else "right")
        for task, row in result.tasks.items():
            cells = [
                f"{row[score]:.4f} ({row[f'{score}_low']:.3f} to {row[f'{score}_high']:.3f})"
                for score in ("auroc", "average_precision")
            ]
            table.add_row(task, f"{row['positives']:.0f}", *cells)
        console.print(table)
    if result.baselines:
        table = Table(title="baselines on the same sequences", title_justify="left", title_style="bold")
        for column in ("baseline", "AUROC", "matched part", "models' lead (paired 95 %)", ""):
            table.add_column(column, justify="left" if column == "baseline" else "right")
        for label, b in sorted(result.baselines.items(), key=lambda item: -item[1]["auroc"]):
            matched = f"{b['matched']:.4f}" if "matched" in b else ""
            table.add_row(
                label,
                f"{b['auroc']:.4f}",
                matched,
                f"{b['lead']:+.4f} ({b['low']:+.3f} to {b['high']:+.3f})",
                Standing.of(b["low"], b["high"]),
            )
        console.print(table)
    times = "first opening" if result.openings == 1 else f"opening {result.openings}"
    console.print(f"This was the {times} of the study's test split; it is recorded in the study.")
