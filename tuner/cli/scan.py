"""`tuner scan`: score a genome in windows, and name the hits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli import context, options
from tuner.cli.bars import counting
from tuner.cli.model import Wanted, check_output, named_genome, open_model, split_arguments

if TYPE_CHECKING:
    from tuner.predictor.hits import Scan

EXAMPLE = "Example: tuner scan reb1 --genome sacCer3 --bigwig s.bw --bed hits.bed"


def command(
    genome: options.Genome,
    model: Annotated[list[Path] | None, typer.Argument(metavar="[MODEL]", help="Folder; none with --study.")] = None,
    regions: Annotated[Path | None, typer.Option(help="BED file of what to scan [everything].")] = None,
    stride: Annotated[int, typer.Option(min=1, help="From one window to the next, bp.")] = 25,
    bigwig: Annotated[Path | None, typer.Option(help="Logits of all windows, as bigWig.")] = None,
    bed: Annotated[Path | None, typer.Option(help="Hits, as BED.")] = None,
    fpr: Annotated[float, typer.Option(help="Share of shuffled windows that reach the threshold of hits.")] = 1e-3,
    task: Annotated[str | None, typer.Option(help="Which one, if the model has several.")] = None,
    aliases: options.Aliases = None,
    study: options.SomeStudy = None,
    trial: options.OfTrial = None,
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
    """Score windows along a genome, or along regions of it, and merge those above a threshold to hits.

    The outputs appear when everything has been scanned. An interrupted scan goes on with the chromosome at which it
    stopped when the same command is given again.
    """
    from tuner.errors import DataError, UsageError
    from tuner.predictor.base_track import check_package

    wanted = Wanted(study, preset, name, trial, storage, artifacts, data)
    folder, _ = split_arguments(model or [], wanted, "")
    if bigwig is None and bed is None:
        raise UsageError("nothing to write: name --bigwig, --bed or both.")
    if regions is not None and not regions.exists():
        raise DataError(f"{regions}: no such file.")
    inputs = [] if regions is None else [regions]
    if bigwig is not None:
        check_package()
        check_output(bigwig, *inputs, option="--bigwig")
    if bed is not None:
        check_output(bed, *inputs, option="--bed")
        if bigwig is not None and bigwig.absolute() == bed.absolute():
            raise UsageError(f"--bed {bed}: that is --bigwig.")
    from tuner.predictor.hits import scan

    limit = context.max_memory(max_memory)
    predictor = open_model(folder, wanted, device=device, max_memory=limit)
    named = named_genome(genome, aliases)
    with context.use_threads(threads), counting("scanning") as progress:
        found = scan(
            predictor, named, regions=regions, stride=stride, rate=fpr, task=task, bigwig=bigwig, bed=bed,
            device=device, progress=progress,
        )  # fmt: skip
    if as_json:
        context.emit({
            "hits": len(found.hits), "windows": found.windows, "threshold": found.threshold.logit,
            "rate": found.threshold.rate, "shuffled": len(found.threshold.null),
            "bigwig": None if bigwig is None else str(bigwig), "bed": None if bed is None else str(bed),
        })  # fmt: skip
    else:
        _tell(found, [str(out) for out in (bigwig, bed) if out is not None])


def _tell(found: Scan, outputs: list[str]) -> None:
    """Say what was found and what a hit means."""
    from tuner.data.sizes import counted

    if found.resumed:
        context.note(f"note: {found.resumed} of {found.spans} chromosomes or regions had been scanned before")
    if found.anew:
        context.note("note: an interrupted scan of another model, genome, stride, task or regions was discarded")
    limit = found.threshold
    context.note(
        f"{found.windows:,} windows; threshold {limit.logit:.3f}, which {limit.rate:.3g} of {len(limit.null):,} "
        f"dinucleotide-shuffled windows of this genome reach"
    )
    context.note(f"{counted(len(found.hits), 'hit')}; written to {' and '.join(outputs)}")
