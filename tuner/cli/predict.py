"""`tuner predict`: score sequences with a model, or with the winner of a study."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli import context, options

if TYPE_CHECKING:
    from tuner.predictor.predictor import Predictor

EXAMPLE = "Example: tuner predict zbed2_model peaks.fa.gz --out scores.tsv"


def command(
    inputs: Annotated[list[Path], typer.Argument(metavar="MODEL INPUT", help="INPUT alone with --study.")],
    out: Annotated[Path, typer.Option(help="Table of scores, tab-separated.", show_default=False)],
    study: options.SomeStudy = None,
    trial: Annotated[int | None, typer.Option(min=0, help="With --study: trial number [the primary trial].")] = None,
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
    as_json: options.Json = False,
) -> None:
    """Predict binding for FASTA, or a table with a column of sequences; plain, gzip, bzip2 or xz.

    Sequences may have any length: shorter ones are padded with N, longer ones are read in windows, of which the best
    counts. The table appears when the last sequence has been predicted.
    """
    from tuner.errors import UsageError

    by_study = study is not None or name is not None
    if len(inputs) != 2 - by_study:
        expected = "INPUT alone with --study" if by_study else "MODEL and INPUT, or --study and INPUT"
        raise UsageError(f"{len(inputs)} arguments: {' '.join(map(str, inputs))}; expected {expected}.")
    if trial is not None and not by_study:
        raise UsageError("--trial needs --study; a model is of one trial.")
    source = inputs[-1]
    _check_paths(source, out)
    limit = context.max_memory(max_memory)
    from tuner.predictor.folder import load_model
    from tuner.predictor.scores import write_scores

    if by_study:
        from tuner.predictor.stored import study_predictor

        opened = context.open_existing(storage, reading=True)
        found = context.stored_name(opened, study, preset, name)
        opened.join(found, adopt_it=False)
        predictor = study_predictor(
            opened, context.open_artifacts(artifacts, reading=True), found, trial, data=data,
            data_dir=context.data_dir(), cache=context.cache_dir(), device=device, max_memory=limit,
        )  # fmt: skip
    else:
        predictor = load_model(inputs[0])
    with _bar(source) as progress:
        written = write_scores(
            predictor, source, out, sequence_column=sequence_column, device=device, stride=stride, max_memory=limit,
            progress=progress,
        )  # fmt: skip
    if as_json:
        context.emit({"out": str(out), **written._asdict(), "columns": predictor.columns})
    else:
        _tell(predictor, out, *written)


def _check_paths(source: Path, out: Path) -> None:
    """Refuse what would be found out only after the last sequence."""
    from tuner.errors import DataError, UsageError

    if not source.exists():
        raise DataError(f"{source}: no such file.")
    if out.is_dir():
        raise UsageError(f"--out {out}: it is a folder; name a file.")
    if not out.absolute().parent.is_dir():
        raise UsageError(f"--out {out}: there is no folder {out.parent}.")
    if out.exists() and out.samefile(source):
        raise UsageError(f"--out {out}: that is the input.")


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
