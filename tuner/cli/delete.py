"""`tuner delete`: remove a study and everything that belongs to it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from tuner.cli import context, options

EXAMPLE = "Example: tuner delete --name zbed2-smoke --yes"


def command(
    study: options.SomeStudy = None,
    preset: options.SomePreset = None,
    name: options.Name = None,
    storage: options.Storage = None,
    artifacts: options.Artifacts = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Delete even while a trial is running.")] = False,
    as_json: options.Json = False,
) -> None:
    """Delete search, confirmation and controls with their artifacts, checkpoints and logs."""
    from tuner.errors import UsageError
    from tuner.results.deletion import delete, doomed

    if study is None and name is None:
        raise UsageError("which study? Give --study or --name; delete has no default.")
    opened = context.open_existing(storage)
    found = context.stored_name(opened, study, preset, name)
    what = doomed(opened, found, force=force)
    counted = f"{found}: {what.trials} trials and {len(what.artifacts)} files"
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError(f"{counted} would be deleted; give --yes where nobody can be asked.")
        typer.confirm(f"Delete {counted} for good?", abort=True, err=True)
    store = context.open_artifacts(artifacts)
    checkpoints = context.checkpoints(artifacts)
    beside = [checkpoints, checkpoints.parent / "logs"]
    delete(opened, what, store, beside)
    if as_json:
        context.emit({"deleted": what.stages, "trials": what.trials, "artifacts": len(what.artifacts)})
    else:
        context.note(f"{counted} deleted")
