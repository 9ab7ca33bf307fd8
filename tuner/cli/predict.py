"""`tuner predict`: score sequences with a model, or with the winner of a study."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli import context, options
from tuner.cli.bars import counting
from tuner.cli.model import Wanted, check_output, named_genome, open_model, split_arguments

if TYPE_CHECKING:
    from tuner.genome.named import NamedGenome
    from tuner.predictor.intervals import WrittenIntervals
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
    genome: options.SomeGenome = None,
    aliases: options.Aliases = None,
    around: Annotated[
        str | None, typer.Option(help="Of intervals: summit or interval [summit, if the file has summits].")
    ] = None,
    bigwig: Annotated[Path | None, typer.Option(help="Of intervals: logits, as bigWig.")] = None,
    bed: Annotated[Path | None, typer.Option(help="Of intervals: scores, as BED.")] = None,
    task: Annotated[str | None, typer.Option(help="Of --bigwig and --bed, if the model has several.")] = None,
    preset: options.SomePreset = None,
    name: options.Name = None,
    storage: options.Storage = None,
    artifacts: options.Artifacts = None,
    data: options.Data = None,
    max_memory: options.MaxMemory = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> None:
    """Predict binding for FASTA, a table with a column of sequences, or BED and narrowPeak with --genome.

    Sequences may have any length: shorter ones are padded with N, longer ones are read in windows, of which the best
    counts. Files may be compressed. The outputs appear when the last sequence has been predicted.
    """
    from tuner.errors import UsageError

    wanted = Wanted(study, preset, name, trial, storage, artifacts, data)
    folder, (source,) = split_arguments(inputs, wanted, "INPUT")
    check_output(out, source)
    limit = context.max_memory(max_memory)
    if genome is not None:
        _check_tracks(source, out, bigwig, bed, sequence_column)
        predictor = open_model(folder, wanted, device=device, max_memory=limit)
        from tuner.predictor.intervals import columns_of

        with context.use_threads(threads), counting("predicting") as progress:
            found = _predict_intervals(
                predictor, source, named_genome(genome, aliases), out, around=around, bigwig=bigwig, bed=bed, task=task,
                device=device, stride=stride, limit=limit, progress=progress,
            )  # fmt: skip
        if as_json:
            context.emit({"out": str(out), **found._asdict(), "columns": columns_of(predictor)})
        else:
            _tell_intervals(found, [out, *(track for track in (bigwig, bed) if track is not None)])
        return
    for option, value in (("--around", around), ("--bigwig", bigwig), ("--bed", bed), ("--aliases", aliases)):
        if value is not None:
            raise UsageError(f"{option} is for intervals; name their genome with --genome.")
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


def _check_tracks(source: Path, out: Path, bigwig: Path | None, bed: Path | None, column: str | None) -> None:
    """Refuse outputs and options that do not fit intervals, before anything is loaded."""
    from tuner.errors import UsageError

    if column is not None:
        raise UsageError("--sequence-column is for a table; with --genome, INPUT holds intervals.")
    names = [out.absolute()]
    for option, track in (("--bigwig", bigwig), ("--bed", bed)):
        if track is not None:
            check_output(track, source, option=option)
            if track.absolute() in names:
                raise UsageError(f"{option} {track}: that is another output.")
            names.append(track.absolute())


def _predict_intervals(
    predictor: Predictor, source: Path, genome: NamedGenome, out: Path, *, around: str | None, bigwig: Path | None,
    bed: Path | None, task: str | None, device: str, stride: int | None, limit: int | None,
    progress: Callable[[int, int], None] | None,
) -> WrittenIntervals:  # fmt: skip
    from tuner.predictor.intervals import write_intervals

    return write_intervals(
        predictor, source, genome, out, around=around, bigwig=bigwig, bed=bed, task=task, device=device, stride=stride,
        max_memory=limit, progress=progress,
    )  # fmt: skip


def _tell_intervals(found: WrittenIntervals, outputs: list[Path]) -> None:
    """Say what was read of the intervals, and which have no score."""
    from tuner.data.sizes import counted

    for line in found.notes:
        context.note(f"note: {line}")
    read = "one window around each summit" if found.around == "summit" else "each interval whole"
    for status, count in found.unscored.items():
        context.note(f"note: {counted(count, 'interval')} without a score: {status}")
    names = [str(out) for out in outputs]
    written = " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
    context.note(f"{counted(found.intervals, 'interval')} predicted, {read}; written to {written}")


@contextmanager
def _bar(source: Path) -> Iterator[Callable[[int], None] | None]:
    """Show how much of a file has been read; nothing for a pipe, whose size is not known."""
    if not source.is_file():
        yield None
        return
    with counting("predicting") as show:
        total = source.stat().st_size
        yield None if show is None else lambda done: show(done, total)


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
