"""`tuner confirm`: retrain the candidates of a finished search, and train the controls."""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli import context, options
from tuner.cli.match import name_screen

if TYPE_CHECKING:
    from tuner.storage.storage import FencedStorage
    from tuner.study.plan import Plan

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

    How many candidates and seeds is part of the study's identity and is read from the storage.
    """
    from tuner.cli.best import as_document, print_best
    from tuner.cli.progress import Progress
    from tuner.motifs.tomtom import prepare_kernel
    from tuner.report.dashboard import write_notes
    from tuner.results.barren import check_fertile
    from tuner.results.test_split import openings
    from tuner.search.gpu_memory import Cuda
    from tuner.search.loaded import load_bench
    from tuner.search.placement import device_names, place
    from tuner.search.restore import restore_study
    from tuner.search.supervisor import DEVICE, INDEX, Supervisor
    from tuner.storage.keys import CONFIRMATION, CONTROLS
    from tuner.storage.names import folder_name
    from tuner.study.plan import check_identity

    limit = context.max_memory(max_memory)
    opened = context.open_existing(storage)
    found = context.stored_name(opened, study, preset, name)
    joined = opened.join(found)
    plan, identity, data_dir = restore_study(opened, found, data, data_dir=context.data_dir())
    check_finished(opened, plan)
    names = device_names(device)
    bench = load_bench(
        plan, data_dir=data_dir, cache=context.cache_dir(), device=names[0], max_memory=limit, stored=identity
    )
    name_screen(bench.database)
    check_identity(found, identity, bench.identity)
    folder = context.artifacts_folder(artifacts)
    context.open_artifacts(artifacts)  # an unwritable folder is known before the first epoch
    if openings(opened, found):
        context.note("warning: the test split was opened before this confirmation; tuner status lists when.")
    prepare_kernel(context.numba_dir())
    trials = plan.confirmation.candidates * plan.confirmation.seeds * max(1, plan.confirmation.folds)
    cores = len(os.sched_getaffinity(0))
    placement = place(names, workers, cores=cores, trials=trials, memory=Cuda(bench))
    count = len(placement.devices)
    command_line = [
        sys.executable, "-m", "tuner.cli", "worker", "--study", plan.study.name, "--name", found,
        "--device", DEVICE, "--artifacts", context.artifacts_address(artifacts), "--ahead", str(count),
        "--worker-name", f"worker-{INDEX}", *([] if data is None else ["--data", str(data)]),
        *([] if max_memory is None else ["--max-memory", max_memory]),
    ]  # fmt: skip
    # The URL may hold a password, and a command line is for everyone on the machine to read.
    since = opened.roster(opened.get_study_id_from_name(found)).position()
    environment = {**os.environ, "TUNER_STORAGE": context.storage_url(storage), "TUNER_SINCE": repr(since)}
    environment["TUNER_IDENTITY"] = joined
    logs = folder.parent / "logs" / folder_name(found)
    supervisor = Supervisor(
        command_line, count, environment, logs,
        devices=placement.devices, count_crash=partial(opened.count_crash, max_failures=plan.max_failures),
        tell=context.note,
    )  # fmt: skip
    with Progress(opened, plan, count) as progress:
        progress.watch(supervisor)
    write_notes(opened, bench)
    if as_json:
        context.emit(as_document(opened, found, plan.study.objectives))
    else:
        print_best(opened, found, plan.study.objectives)
    check_fertile(opened, found, (CONFIRMATION, CONTROLS))


def check_finished(storage: FencedStorage, plan: Plan) -> None:
    """Refuse a search that goes on: its best trials are not known yet.

    Raises
    ------
    StudyError
        Slots that have not ended, or a study that retrains none.
    NoResult
        No completed trial.
    """
    from tuner.errors import StudyError
    from tuner.results.barren import check_fertile
    from tuner.results.overview import overview

    if not plan.confirmation.candidates:
        raise StudyError(
            f"{plan.name} retrains no candidate: its [confirmation] candidates (or its preset's) is 0. "
            "Set it and use a new study name."
        )
    search = overview(storage, plan.name).stages[0]
    if search.ended < search.total:
        raise StudyError(
            f"{plan.name}: {search.ended} of {search.total} trials have ended; candidates are chosen when "
            "all have. Finish it with tuner run."
        )
    check_fertile(storage, plan.name)
