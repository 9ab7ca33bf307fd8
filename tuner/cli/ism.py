"""`tuner ism`: saturation mutagenesis of sequences with a model, or with the winner of a study."""

from __future__ import annotations

from typing import Annotated

import typer

from tuner.cli import context, explaining, options
from tuner.cli.model import Wanted

EXAMPLE = "Example: tuner ism zbed2_model peaks.fa.gz --out zbed2_ism"


def command(
    inputs: explaining.Inputs,
    out: explaining.Out,
    genome: explaining.Genome = None,
    aliases: options.Aliases = None,
    positions: Annotated[
        str | None, typer.Option(help="START-END: mutate these bases of each sequence, from 0, without END.")
    ] = None,
    task: explaining.Task = None,
    logos: explaining.Logos = 10,
    force: explaining.Force = False,
    sequence_column: explaining.SequenceColumn = None,
    study: options.SomeStudy = None,
    trial: options.OfTrial = None,
    preset: options.SomePreset = None,
    name: options.Name = None,
    storage: options.Storage = None,
    artifacts: options.Artifacts = None,
    data: options.Data = None,
    max_memory: options.MaxMemory = None,
    device: options.Device = "auto",
    as_json: options.Json = False,
) -> None:
    """Replace every base by every other one, and measure by how much the model's logit changes.

    INPUT is FASTA, a table with a column of sequences, or, with --genome, BED or narrowPeak: the window around the
    summit or the middle of each interval. Of longer sequences the best window is mutated. The folder appears when the
    last sequence is done.
    """
    from tuner.predictor.explained import Positions, tasks_of
    from tuner.predictor.ism import ARRAYS, TABLE, columns_of, write_ism

    wanted = Wanted(study, preset, name, trial, storage, artifacts, data)
    predictor, source = explaining.open_both(
        inputs, wanted, out, ARRAYS, force=force, genome=genome, aliases=aliases, sequence_column=sequence_column,
        device=device, max_memory=max_memory,
    )  # fmt: skip
    tasks = [predictor.tasks[i] for i in tasks_of(predictor, task)]
    asked = None if positions is None else Positions.parse(positions, predictor.length)
    with explaining.bar(source.total, "mutating") as progress:
        written = write_ism(
            predictor, source, out, task=task, positions=asked, logos=logos, device=device, progress=progress
        )
    if as_json:
        columns = columns_of(predictor, task, intervals=source.genome is not None)
        context.emit({"out": str(out), **written._asdict(), "tasks": tasks, "columns": columns})
        return
    from tuner.data.sizes import counted

    explaining.tell_lengths(predictor.length, written.padded, written.cut, done="mutated")
    context.note(
        f"{counted(written.sequences, 'sequence')}, {counted(written.mutants, 'mutant')}; effects on the logit are in "
        f"{out / TABLE}, arrays in {out / ARRAYS}"
    )
