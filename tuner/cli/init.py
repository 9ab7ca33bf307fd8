"""`tuner init`: write a study file for peaks and a genome, and say what the data are like."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli import context, options

if TYPE_CHECKING:
    from tuner.genome.genome import Genome

EXAMPLE = "Example: tuner init ctcf.narrowPeak --genome hg38 --target CTCF"


def command(
    peaks: Annotated[Path, typer.Argument(help="BED, narrowPeak, broadPeak or summits.", metavar="PEAKS")],
    genome: Annotated[str, typer.Option(help="A name such as hg38, or a FASTA or 2bit file.", show_default=False)],
    target: Annotated[str | None, typer.Option(help="Name of the factor, such as CTCF.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the study [the target or the file].")] = None,
    negatives: Annotated[str, typer.Option(help="gc, gc+cpg, flanks or shuffle.")] = "gc",
    length: Annotated[int | None, typer.Option(min=20, help="Length of the windows in bp [200].")] = None,
    top: Annotated[int | None, typer.Option(min=1, help="Use only so many of the strongest peaks.")] = None,
    blacklist: Annotated[
        str | None, typer.Option(help="BED of regions to avoid, encode, or none [encode, if it lists the assembly].")
    ] = None,
    database: Annotated[str | None, typer.Option(help="Motif database [JASPAR of the organism].")] = None,
    out: Annotated[Path | None, typer.Option(help="Study file to write [NAME.toml].")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file if it exists.")] = False,
    max_memory: options.MaxMemory = None,
    as_json: options.Json = False,
) -> None:
    """Write a commented study file, check its data, and print the next command; nothing is trained."""
    import tomllib

    from tuner.cli.check import examine, print_check
    from tuner.data.peak_keys import LENGTH
    from tuner.errors import UsageError
    from tuner.genome.genomes import open_genome
    from tuner.motifs.database import load_database
    from tuner.storage.names import check_name
    from tuner.study.file import check_study
    from tuner.study.named import described_plan
    from tuner.study.template import Template, database_of, motifs_of, study_text

    chosen = name or re.sub(r"[^A-Za-z0-9_-]+", "_", target or peaks.name.partition(".")[0]).strip("_").lower()
    check_name(chosen)
    path = out if out is not None else Path(f"{chosen}.toml")
    if path.exists() and not force:
        raise UsageError(f"{path} exists. Choose another file with --out, or overwrite it with --force.")
    if not path.parent.is_dir():
        raise UsageError(f"--out {path}: there is no folder {path.parent}.")
    found = _locate(peaks, None)
    reference = str(_locate(Path(genome), found.parent)) if _is_file(genome, found.parent) else genome
    opened = open_genome(reference, data_dir=context.data_dir(), cache=context.cache_dir(), progress=True)
    assembly = None if opened.assembly is None else opened.assembly.assembly
    motifs = database or database_of(assembly)
    known = motifs_of(target, load_database(motifs, screen=False)) if target else ()
    folder = path.absolute().parent
    text = study_text(
        Template(
            chosen, _named_from(found, folder),
            _named_from(Path(reference), folder) if Path(reference).exists() else reference,
            negatives, length or LENGTH, top=top,
            blacklist=_blacklist(blacklist, opened, folder), database=motifs, target=target,
            motifs=known,
        )
    )  # fmt: skip
    if target and not known:
        context.note(
            f"warning: {motifs} has no motif named {target}, so the study names no target. Add targets to [motifs] "
            "if you know the motif by another name."
        )
    plan = described_plan(check_study(tomllib.loads(text), path.name), folder=folder).plan
    document, problems = examine(plan, 50, context.max_memory(max_memory))
    for problem, _ in problems:
        context.note(f"error: {problem}")
    if problems:
        raise typer.Exit(max(code for _, code in problems))
    _write(path, text)
    if as_json:
        context.emit({"file": str(path), **document})
        return
    print_check(document)
    context.note(f"\nwrote {path}")
    context.note(f"next: tuner run --study {path if '/' in str(path) else f'./{path}'} --preset fast")


def _blacklist(asked: str | None, genome: Genome, folder: Path) -> str | None:
    """The blacklist as the study file names it: a file, that of ENCODE where there is one, or none."""
    from tuner.errors import DataError
    from tuner.genome.blacklists import BLACKLISTS, encode_blacklist
    from tuner.genome.genome_names import ENCODE

    if asked is not None:
        return {"none": None, ENCODE: ENCODE}.get(asked, _named_from(Path(asked), folder))
    if genome.assembly is None or genome.assembly.assembly not in BLACKLISTS:
        return None
    try:
        encode_blacklist(genome, data_dir=context.data_dir(), cache=context.cache_dir(), progress=True)
    except DataError as error:
        context.note(f"warning: {error} The study has no blacklist.")
        return None
    return ENCODE


def _is_file(named: str, beside: Path) -> bool:
    return Path(named).exists() or (beside / named).exists() or _in_data_dir(Path(named)) is not None


def _in_data_dir(path: Path) -> Path | None:
    folder = context.data_dir()
    return folder / path if folder is not None and not path.is_absolute() and (folder / path).is_file() else None


def _locate(path: Path, beside: Path | None) -> Path:
    """A file as given, beside the peaks, or in the folder of reference data."""
    from tuner.errors import DataError

    for place in (path, None if beside is None else beside / path, _in_data_dir(path)):
        if place is not None and place.is_file():
            return place.absolute()
    raise DataError(f"{path}: no such file.")


def _named_from(path: Path, folder: Path) -> str:
    """The path as a study file in `folder` names it: relative if it lies below, else absolute."""
    whole = path.absolute()
    return str(whole.relative_to(folder)) if whole.is_relative_to(folder) else str(whole)


def _write(path: Path, text: str) -> None:
    from tuner.errors import DataError
    from tuner.files import replacing

    try:
        with replacing(path) as part:
            part.write_text(text, encoding="utf-8")
            part.chmod(0o644)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror}). Choose another file with --out.") from error
