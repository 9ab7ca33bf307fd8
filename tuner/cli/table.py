"""`tuner table`: write a study as tidy TSV, and show medians of its groups and box plots."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli import context, options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.results.leaderboard import FrozenTrial
    from tuner.storage.storage import FencedStorage

EXAMPLE = "Example: tuner table --study koo_task1 --figure task1.png"

PRINTED = 200  # groups


def command(
    study: options.SomeStudy = None,
    preset: options.SomePreset = None,
    name: options.Name = None,
    storage: options.Storage = None,
    by: Annotated[
        list[str] | None, typer.Option(help="Column to group by; panels by the first [all parameters that vary].")
    ] = None,
    value: Annotated[list[str] | None, typer.Option(help="Measured column to summarise [the objectives].")] = None,
    out: Annotated[Path | None, typer.Option(help="Write every trial, tab-separated.")] = None,
    history: Annotated[Path | None, typer.Option(help="Write every epoch of every trial, tab-separated.")] = None,
    figure: Annotated[Path | None, typer.Option(help="Draw box plots (PNG, SVG or PDF).")] = None,
    artifacts: options.Artifacts = None,
    as_json: options.Json = False,
) -> None:
    """Show medians over the trials of each group; write the whole table and box plots."""
    from tuner.errors import NoResult, StorageError
    from tuner.files import write_atomically
    from tuner.results.barren import why_barren
    from tuner.results.leaderboard import objective_names, stage_trials
    from tuner.results.trial_files import histories
    from tuner.results.trial_table import grouped, tidy, to_tsv, varied

    opened = context.open_existing(storage, reading=True)
    found = context.stored_name(opened, study, preset, name)
    objectives = objective_names(opened, found)
    trials = stage_trials(opened, found)
    rows = tidy(trials, objectives)
    columns, values = by or varied(trials), value or objectives
    barren = why_barren(opened, found)
    try:
        if out is not None:
            write_atomically(out, to_tsv(rows).encode())
        if history is not None:
            read = context.open_artifacts(artifacts, reading=True)
            write_atomically(history, to_tsv(histories(trials, read)).encode())
        if figure is not None and barren:
            raise NoResult(barren)
        if figure is not None:
            from tuner.plots.boxes import box_plots  # slow to import

            drawn = {v: [(g.key, g.values) for g in grouped(rows, columns, v)] for v in values}
            drawing = box_plots(drawn, title=found, file_format=figure.suffix.lstrip(".") or "png")
            write_atomically(figure, drawing)
    except OSError as e:
        raise StorageError(f"{e.filename}: cannot be written ({e.strerror}).") from e
    if as_json:
        groups = {
            v: [
                {**dict(zip(columns, g.key, strict=True)), "n": len(g.values), "unfinished": g.unfinished,
                 "median": g.median, "mean": g.mean, "sd": g.deviation, "values": g.values}
                for g in grouped(rows, columns, v)
            ]
            for v in values
        }  # fmt: skip
        context.emit({"study": found, "by": columns, "groups": groups, "no_result": barren})
    else:
        print_table(opened, found, by=columns, values=values, trials=trials)


def print_table(
    storage: FencedStorage,
    name: str,
    *,
    by: Sequence[str] | None = None,
    values: Sequence[str] | None = None,
    trials: Sequence[FrozenTrial] | None = None,
) -> None:
    """Print one row per group: number of runs, and the median and mean +- standard deviation of each value.

    Only the first `PRINTED` groups are printed: with a continuous parameter, every trial is a group. `trials` are those
    of the study, if they were read before.
    """
    from rich.table import Table

    from tuner.results.barren import why_barren
    from tuner.results.leaderboard import objective_names, stage_trials
    from tuner.results.trial_table import grouped, tidy, varied

    objectives = objective_names(storage, name)
    trials = stage_trials(storage, name) if trials is None else trials
    rows, chosen = tidy(trials, objectives), values or objectives
    columns = by if by is not None else varied(trials)
    table = Table(title=f"{name}: median (mean +- SD) over seeds", title_justify="left", title_style="bold")
    for column in (*columns, "runs"):
        table.add_column(column)
    for column in chosen:
        table.add_column(column, justify="right")
    summaries = [grouped(rows, columns, v) for v in chosen] if any(t.values for t in trials) else []
    count = len(summaries[0]) if summaries else 0
    for groups in islice(zip(*summaries, strict=True), PRINTED):
        first = groups[0]
        runs = str(len(first.values)) + (f" of {len(first.values) + first.unfinished}" if first.unfinished else "")
        cells = [f"{g.median:.3f} ({g.mean:.3f} +- {g.deviation:.3f})" if g.values else "not run" for g in groups]
        table.add_row(*(str(k) for k in first.key), runs, *cells)
    console = context.console()
    console.print()
    if summaries:
        console.print(table)
        if count > PRINTED:
            context.note(
                f"{count - PRINTED} more groups of {count}; --by groups by fewer columns, --out and --json have all"
            )
    else:
        console.print(why_barren(storage, name) or f"{name}: no trial has ended yet.", markup=False)
