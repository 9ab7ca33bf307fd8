"""`tuner variants`: what each allele of a VCF changes in the score of a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli import context, options
from tuner.cli.bars import counting
from tuner.cli.model import Wanted, check_output, named_genome, open_model, split_arguments

if TYPE_CHECKING:
    from tuner.predictor.variant_files import Written

EXAMPLE = "Example: tuner variants reb1 --vcf v.vcf --genome sacCer3 --out v.tsv"


def command(
    vcf: Annotated[Path, typer.Option(help="VCF or BCF, plain or compressed.", show_default=False)],
    genome: options.Genome,
    out: Annotated[Path, typer.Option(help="Table, one row per allele.", show_default=False)],
    model: Annotated[list[Path] | None, typer.Argument(metavar="[MODEL]", help="Folder; none with --study.")] = None,
    vcf_out: Annotated[Path | None, typer.Option(help="The VCF with INFO fields: .vcf, .vcf.gz or .bcf.")] = None,
    aliases: options.Aliases = None,
    null: Annotated[int, typer.Option(min=0, help="Shuffled contexts of each class, for p; 0 leaves p out.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the shuffles.")] = 0,
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
    """Score every alternative allele of a VCF: change of the logit, its spread over the networks, chance, and motifs.

    SNVs, MNVs, insertions and deletions are scored in windows of the model's length. What cannot be scored keeps its
    row and says why. The outputs appear when the last allele has been scored.
    """
    from tuner.errors import UsageError
    from tuner.predictor.vcf import check_package

    wanted = Wanted(study, preset, name, trial, storage, artifacts, data)
    folder, _ = split_arguments(model or [], wanted, "")
    check_package()
    check_output(out, vcf)
    if vcf_out is not None:
        from tuner.predictor.variant_files import ENDINGS

        check_output(vcf_out, vcf, option="--vcf-out")
        if not vcf_out.name.endswith(ENDINGS):
            raise UsageError(f"--vcf-out {vcf_out}: its name must end with {', '.join(ENDINGS)}.")
        if vcf_out.absolute() == out.absolute():
            raise UsageError(f"--vcf-out {vcf_out}: that is --out.")
    from tuner.predictor.variant_files import write_variants

    limit = context.max_memory(max_memory)
    predictor = open_model(folder, wanted, device=device, max_memory=limit)
    named = named_genome(genome, aliases)
    with counting("scoring") as progress:
        written = write_variants(
            predictor, vcf, named, out, vcf_out=vcf_out, null=null, seed=seed, device=device, progress=progress
        )
    if as_json:
        context.emit({
            "out": str(out), "alleles": written.alleles, "scored": written.scored,
            "statuses": dict(written.survey.statuses), "chromosomes": written.survey.chromosomes,
        })  # fmt: skip
    else:
        _tell(written, out, vcf_out)


def _tell(written: Written, out: Path, vcf_out: Path | None) -> None:
    from tuner.data.sizes import counted
    from tuner.predictor.alleles import SCORED

    for status, count in written.survey.statuses.most_common():
        if status != SCORED:
            context.note(f"note: {counted(count, 'allele')} not scored: {status}")
    if written.survey.missing:
        context.note(f"note: not in the genome: {', '.join(written.survey.missing[:5])}")
    also = f" and {vcf_out}" if vcf_out is not None else ""
    context.note(f"{counted(written.alleles, 'allele')}, {written.scored} scored; written to {out}{also}")
