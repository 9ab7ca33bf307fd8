"""`tuner verify`: check a study's database and files together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from tuner.cli import context, options

if TYPE_CHECKING:
    from tuner.results.verification import Problem, Verified

EXAMPLE = "Example: tuner verify --study zbed2"


def command(
    study: options.SomeStudy = None,
    preset: options.SomePreset = None,
    name: options.Name = None,
    storage: options.Storage = None,
    artifacts: options.Artifacts = None,
    as_json: options.Json = False,
) -> None:
    """Check that all files of a study are as stored and its trials are consistent; fails if anything is wrong."""
    from tuner.results.verification import verify

    opened = context.open_existing(storage)
    found = context.stored_name(opened, study, preset, name)
    result = verify(opened, context.open_artifacts(artifacts), found)
    if as_json:
        context.emit({**result._asdict(), "problems": [p._asdict() for p in result.problems]})
    else:
        print_result(result)
    if result.problems:
        raise typer.Exit(1)


def print_result(result: Verified) -> None:
    """Print one line per problem, and what was checked."""
    for problem in result.problems:
        context.note(line(result.study, problem))
    counted = f"{result.study}: {result.trials} trials and {result.files} files checked"
    if result.undigested:
        counted += f", {result.undigested} of them by size alone: an older version stored them without digests"
    context.note(f"{counted}; {len(result.problems) or 'nothing'} wrong")
    if result.leftovers:
        context.note(
            f"{result.leftovers} leftovers of {result.leftover_bytes} bytes; tuner run removes them when it ends"
        )


def line(name: str, problem: Problem) -> str:
    """One greppable line."""
    where = name if problem.stage == "search" else f"{name} {problem.stage}"
    message = problem.message.rstrip(". ")
    message += "" if message.endswith("?") else "."
    # The message about a file already names trial and file.
    trial = "" if problem.trial is None or problem.file is not None else f" trial {problem.trial}"
    return f"{where}{trial}: {message} Remedy: {problem.remedy}."
