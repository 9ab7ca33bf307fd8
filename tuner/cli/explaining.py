"""What `tuner ism` and `tuner explain` share: their input, their output folder and their progress bar."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli import context
from tuner.cli.model import Wanted, named_genome, open_model, split_arguments

if TYPE_CHECKING:
    from tuner.predictor.explained import Input
    from tuner.predictor.predictor import Predictor

Inputs = Annotated[list[Path], typer.Argument(metavar="MODEL INPUT", help="INPUT alone with --study.")]
Out = Annotated[Path, typer.Option(help="Folder of results.", show_default=False)]
Force = Annotated[bool, typer.Option("--force", help="Replace results that are there already.")]
Genome = Annotated[
    str | None, typer.Option("--genome", help="INPUT is BED or narrowPeak of this FASTA, 2bit, or name such as hg38.")
]
Task = Annotated[str | None, typer.Option(help="Of a model with several.")]
Logos = Annotated[int, typer.Option(min=0, max=200, help="Draw so many of the first sequences.")]
SequenceColumn = Annotated[str | None, typer.Option(help="Column of a table [sequence, seq or seqs].")]


def open_both(
    inputs: list[Path],
    wanted: Wanted,
    out: Path,
    sign: str,
    *,
    force: bool,
    genome: str | None,
    aliases: Path | None,
    sequence_column: str | None,
    device: str,
    max_memory: str | None,
) -> tuple[Predictor, Input]:
    """Check the folder of results, and open the model and the input; what is wrong with them is known afterwards.

    Parameters
    ----------
    inputs, wanted
        As for `tuner.cli.model.split_arguments`.
    out : Path
        Folder of results.
    sign : str
        As for `tuner.predictor.outputs.check_folder`.
    force, genome, aliases, sequence_column, device, max_memory
        Options of the command.
    """
    from tuner.errors import DataError, UsageError

    folder, (source,) = split_arguments(inputs, wanted, "INPUT")
    if not source.exists():
        raise DataError(f"{source}: no such file.")
    if aliases is not None and genome is None:
        raise UsageError("--aliases is a table of chromosome names; it needs --genome.")
    limit = context.max_memory(max_memory)
    from tuner.predictor.explained import Input
    from tuner.predictor.outputs import check_folder

    check_folder(out, sign, force=force)
    predictor = open_model(folder, wanted, device=device, max_memory=limit)
    opened = None if genome is None else named_genome(genome, aliases)
    found = Input(source, predictor.length, opened, sequence_column=sequence_column, max_memory=limit)
    for line in found.notes:
        context.note(f"note: {line}")
    return predictor, found


@contextmanager
def bar(total: int | None, what: str) -> Iterator[Callable[[int], None] | None]:
    """Show on a terminal how many sequences are done."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=context.console(), transient=True) as shown:
        task = shown.add_task(what, total=total)
        yield lambda done: shown.update(task, completed=done)


def tell_lengths(length: int, padded: int, cut: int, *, done: str) -> None:
    """Say which sequences did not have the model's length."""
    from tuner.data.sizes import counted

    if padded:
        context.note(f"note: {counted(padded, 'sequence')} shorter than {length} bp, padded with N on both sides")
    if cut:
        context.note(
            f"note: {counted(cut, 'sequence')} longer than {length} bp: the window with the highest logit was {done}"
        )
