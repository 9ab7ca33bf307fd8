"""`tuner explain`: contributions of the bases to the logit of a model, or of the winner of a study."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli import context, explaining, options
from tuner.cli.model import Wanted

if TYPE_CHECKING:
    from pathlib import Path

    from tuner.predictor.explain import Explained
    from tuner.predictor.predictor import Predictor

EXAMPLE = "Example: tuner explain zbed2_model peaks.bed --genome hg38 --out zbed2_why"


def command(
    inputs: explaining.Inputs,
    out: explaining.Out,
    genome: explaining.Genome = None,
    aliases: options.Aliases = None,
    method: Annotated[
        str, typer.Option(help="deep_shap, integrated_gradients_complete, mutagenesis, saliency, ...")
    ] = "deep_shap",
    references: Annotated[int, typer.Option(min=1, help="Shuffles with which each sequence is compared.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Of the shuffles.")] = 0,
    bigwig: Annotated[bool, typer.Option("--bigwig", help="With --genome: contributions per base as bigWig.")] = False,
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
    """Share the model's logit out to the bases of sequences, and check that the shares add up.

    INPUT is FASTA, a table with a column of sequences, or, with --genome, BED or narrowPeak: the window around the
    summit or the middle of each interval. All networks are explained, on the strands from which they predict. Two of
    the files are what TF-MoDISco reads. The folder appears when the last sequence is done.
    """
    from tuner.errors import UsageError
    from tuner.predictor.base_track import check_package
    from tuner.predictor.explain import ARRAYS, method_named, single_task, write_explanations

    method = method_named(method)
    if bigwig:
        check_package()
        if genome is None:
            raise UsageError("--bigwig needs positions on a genome: give BED or narrowPeak, and --genome.")
    wanted = Wanted(study, preset, name, trial, storage, artifacts, data)
    predictor, source = explaining.open_both(
        inputs, wanted, out, ARRAYS, force=force, genome=genome, aliases=aliases, sequence_column=sequence_column,
        device=device, max_memory=max_memory,
    )  # fmt: skip
    named = predictor.tasks[single_task(predictor, task)]
    with explaining.bar(source.total, "explaining") as progress:
        told = write_explanations(
            predictor, source, out, method=method, task=task, references=references, seed=seed, track=bigwig,
            logos=logos, device=device, progress=progress,
        )  # fmt: skip
    if as_json:
        files = sorted(file.name for file in out.iterdir())
        context.emit({"out": str(out), **told._asdict(), "task": named, "files": files})
    else:
        _tell(predictor, out, told)


def _tell(predictor: Predictor, out: Path, told: Explained) -> None:
    """Say what was explained, and how well it adds up."""
    from tuner.data.sizes import counted
    from tuner.interpret.attribution import ATTRIBUTIONS
    from tuner.predictor.explain import HYPOTHETICAL, SEQUENCES, TABLE

    explaining.tell_lengths(predictor.length, told.padded, told.cut, done="explained")
    if told.missing is None:
        context.note(f"note: {told.method} gives no shares of the logit: its contributions need not add up")
    else:
        over = told.missing > ATTRIBUTIONS[told.method].tolerance
        context.note(
            f"{'warning' if over else 'note'}: the contributions miss the logit minus its references' mean by "
            f"{told.missing:.2%} (median), {told.worst:.2%} (worst)"
        )
    if told.consensus is not None:
        context.note(f"note: contributions of two of the networks correlate with r = {told.consensus:.2f} (median)")
    context.note(f"{counted(told.sequences, 'sequence')} explained by {told.method}; {out / TABLE} has a row for each")
    if told.missing is not None:
        context.note(
            f"try: modisco motifs -s {out / SEQUENCES} -a {out / HYPOTHETICAL} -n 2000 -w {predictor.length} "
            f"-o {out / 'modisco.h5'}"
        )
