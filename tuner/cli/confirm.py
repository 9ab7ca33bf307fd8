"""`tuner confirm`: retrain the candidates of a finished search, and train the controls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli import context, options
from tuner.cli.match import name_screen

if TYPE_CHECKING:
    from tuner.search.loaded import Bench

EXAMPLE = "Example: tuner confirm --study zbed2 --workers 2"


def command(
    study: options.SomeStudy = None,
    preset: options.SomePreset = None,
    name: options.Name = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Worker processes, one CPU thread each [one a core].")
    ] = None,
    data: options.Data = None,
    max_memory: options.MaxMemory = None,
    device: options.Devices = "auto",
    storage: options.Storage = None,
    artifacts: options.Artifacts = None,
    as_json: options.Json = False,
) -> None:
    """Retrain the best candidates with new seeds and declare the primary trial; the same command resumes.

    The numbers of candidates and seeds are part of the study's identity and are read from the storage.
    """
    from tuner.cli.best import as_document, print_best
    from tuner.cli.progress import View
    from tuner.motifs.tomtom import prepare_kernel
    from tuner.report.dashboard import write_notes
    from tuner.results.barren import check_fertile
    from tuner.results.test_split import openings
    from tuner.search.run import Wishes, prepare_confirmation
    from tuner.storage.keys import CONFIRMATION, CONTROLS

    limit = context.max_memory(max_memory)
    opened = context.open_existing(storage)
    found = context.stored_name(opened, study, preset, name)

    def ready(bench: Bench) -> None:
        name_screen(bench.database)
        if openings(opened, found):
            context.note("warning: the test split was opened before this confirmation; tuner status lists when.")
        prepare_kernel(context.numba_dir())

    wishes = Wishes(workers, device, max_memory=limit, data=data)
    run = prepare_confirmation(opened, found, context.places(storage, artifacts), wishes, ready=ready)
    objectives = run.plan.study.objectives
    with View(opened, run.plan) as progress:
        run.supervise(progress.poll, context.note)
    write_notes(opened, run.bench)
    if as_json:
        context.emit(as_document(opened, found, objectives))
    else:
        print_best(opened, found, objectives)
    check_fertile(opened, found, (CONFIRMATION, CONTROLS))
