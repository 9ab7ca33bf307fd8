"""`tuner predict`: score sequences with a model, or with the winner of a study."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli import context, options
from tuner.cli.model import Wanted, check_output, open_model, split_arguments

if TYPE_CHECKING:
    from tuner.predictor.predictor import Predictor

EXAMPLE = "Example: tuner predict zbed2_model peaks.fa.gz --out scores.tsv"


def command(
    inputs: Annotated[list[Path], typer.Argument(metavar="MODEL INPUT", help="INPUT alone with --study.")],
    out: Annotated[Path, typer.Option(help="Table of scores, tab-separated.", show_default=False)],
    study: options.SomeStudy = None,
    trial: options.OfTrial = None,
    sequence_column: Annotated[str | None, typer.Option(help="Column of a table [sequence, seq or seqs].")] = None,
    stride: Annotated[
        int | None, typer.Option(min=1, help="From one window of a longer sequence to the next [length / 4].")
    ] = None,
    preset: options.SomePreset = None,
    name: options.Name = None,
    storage: options.Storage = None,
    artifacts: options.Artifacts = None,
    data: options.Data = None,
    max_memory: options.MaxMemory = None,
    device: options.Device = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads [all cores of this process].")] = None,
    as_json: options.Json = False,
) -> None:
    """Predict binding for FASTA, or a table with a column of sequences; plain, gzip, bzip2 or xz.

    Sequences may have any length: shorter ones are padded with N, longer ones are read in windows, of which the best
    counts. The table appears when the last sequence has been predicted.
    """
    wanted = Wanted(study, preset, name, trial, storage, artifacts, data)
    folder, (source,) = split_arguments(inputs, wanted, "INPUT")
    check_output(out, source)
    limit = context.max_memory(max_memory)
    from tuner.predictor.scores import write_scores

    predictor = open_model(folder, wanted, device=device, max_memory=limit)
    with context.use_threads(threads), _bar(source) as progress:
        written = write_scores(
            predictor, source, out, sequence_column=sequence_column, device=device, stride=stride, max_memory=limit,
            progress=progress,
        )  # fmt: skip
    if as_json:
        context.emit({"out": str(out), **written._asdict(), "columns": predictor.columns})
    else:
        _tell(predictor, out, *written)


@contextmanager
def _bar(source: Path) -> Iterator[Callable[[int], None] | None]:
    """Show on a terminal how much of a file has been read."""
    if not (sys.stderr.isatty() and source.is_file()):
        yield None
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=context.console(), transient=True) as bar:
        task = bar.add_task("predicting", total=source.stat().st_size)
        yield lambda done: bar.update(task, completed=done)


def _tell(predictor: Predictor, out: Path, sequences: int, padded: int, tiled: int) -> None:
    """Say what was predicted, and what to know about the scores."""
    from tuner.data.sizes import counted

    if padded:
        context.note(
            f"note: {counted(padded, 'sequence')} shorter than {predictor.length} bp, padded with N on both sides"
        )
    if tiled:
        context.note(
            f"note: {counted(tiled, 'sequence')} longer than {predictor.length} bp, read in windows: logit is the "
            "highest of them, mean_logit their mean, start where the highest one begins (from 0)"
        )
    context.note(f"{counted(sequences, 'sequence')} predicted; written to {out}")
