"""The model that a command uses: a folder that was exported, or the winner of a study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tuner.cli import context

if TYPE_CHECKING:
    from tuner.genome.named import NamedGenome
    from tuner.predictor.predictor import Predictor


class Wanted(NamedTuple):
    """Which model: a trial of a study in a storage, or, without study and name, a folder.

    Attributes
    ----------
    study, preset, name, storage, artifacts, data : see `tuner.cli.options`
    trial : int, optional
        By default the primary one.
    """

    study: str | None
    preset: str | None
    name: str | None
    trial: int | None
    storage: str | None
    artifacts: str | None
    data: Path | None

    @property
    def of_study(self) -> bool:
        """Whether the model is that of a study."""
        return self.study is not None or self.name is not None


def split_arguments(paths: list[Path], wanted: Wanted, what: str) -> tuple[Path | None, list[Path]]:
    """Tell the folder of the model from the inputs.

    Parameters
    ----------
    paths : list of Path
        Arguments of the command.
    wanted : Wanted
        Its options.
    what : str
        How the command calls its input, in capitals; empty if it takes none.

    Returns
    -------
    folder : Path, optional
        None where a study gives the model.
    inputs : list of Path
        One, or none where `what` is empty.

    Raises
    ------
    UsageError
        The number of arguments is wrong, or there is a trial without a study.
    """
    from tuner.errors import UsageError

    if len(paths) != bool(what) + (not wanted.of_study):
        alone, both = (f"{what} alone", f"MODEL and {what}") if what else ("no argument", "MODEL")
        expected = f"{alone} with --study" if wanted.of_study else f"{both}, or --study{f' and {what}' if what else ''}"
        noun = "argument" if len(paths) == 1 else "arguments"
        given = f": {' '.join(map(str, paths))}" if paths else ""
        raise UsageError(f"{len(paths)} {noun}{given}; expected {expected}.")
    if wanted.trial is not None and not wanted.of_study:
        raise UsageError("--trial needs --study; a model is of one trial.")
    return (None, paths) if wanted.of_study else (paths[0], paths[1:])


def open_model(folder: Path | None, wanted: Wanted, *, device: str, max_memory: int | None) -> Predictor:
    """Load the model of a folder, or make that of a study.

    Parameters
    ----------
    folder : Path, optional
        As `split_arguments` returns it.
    wanted : Wanted
        Options of the command.
    device : str
        As for `tuner.models.prediction.resolve_device`.
    max_memory : int, optional, bytes
        For the study's data.
    """
    if folder is not None:
        from tuner.predictor.folder import load_model

        return load_model(folder)
    from tuner.predictor.stored import study_predictor

    opened = context.open_existing(wanted.storage, reading=True)
    found = context.stored_name(opened, wanted.study, wanted.preset, wanted.name)
    opened.join(found, adopt_it=False)
    return study_predictor(
        opened, context.open_artifacts(wanted.artifacts, reading=True), found, wanted.trial, data=wanted.data,
        data_dir=context.data_dir(), cache=context.cache_dir(), device=device, max_memory=max_memory,
    )  # fmt: skip


def check_output(out: Path, *inputs: Path, option: str = "--out") -> None:
    """Refuse what would be found out only at the end: an input that is missing, or an output that cannot be written.

    Parameters
    ----------
    out : Path
        File that will be written.
    inputs : Path
        Files that will be read.
    option : str
        That names `out`.

    Raises
    ------
    DataError, UsageError
        An input is missing; or `out` is a folder, in no folder, or an input.
    """
    from tuner.errors import DataError, UsageError

    for source in inputs:
        if not source.exists():
            raise DataError(f"{source}: no such file.")
    if out.is_dir():
        raise UsageError(f"{option} {out}: it is a folder; name a file.")
    if not out.absolute().parent.is_dir():
        raise UsageError(f"{option} {out}: there is no folder {out.parent}.")
    if out.exists() and any(out.samefile(source) for source in inputs):
        raise UsageError(f"{option} {out}: that is the input.")


def named_genome(genome: str, aliases: Path | None) -> NamedGenome:
    """Open a genome by its name or file, with the user's names of its chromosomes."""
    from tuner.genome.genomes import open_genome
    from tuner.genome.named import NamedGenome

    opened = open_genome(genome, data_dir=context.data_dir(), cache=context.cache_dir(), progress=True)
    for line in opened.notes:
        context.note(f"note: {line}")
    return NamedGenome(opened, aliases)
