"""`tuner run`: run a whole study on this machine, from search to leaderboard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli import context, logs, options
from tuner.cli.match import name_broken, name_screen

if TYPE_CHECKING:
    from tuner.search.loaded import Bench
    from tuner.search.run import Run
    from tuner.study.grid import Part

EXAMPLE = "Example: tuner run --study zbed2 --preset fast --workers 2"


def command(
    study: options.Study,
    preset: options.Preset = "standard",
    trials: options.Trials = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Worker processes, one CPU thread each [one per core; on GPUs as memory allows]."),
    ] = None,
    seed: options.Seed = 0,
    name: options.Name = None,
    sampler: options.Sampler = None,
    device: options.Devices = "auto",
    storage: options.Storage = None,
    artifacts: options.Artifacts = None,
    artifact_quota: Annotated[
        str | None,
        typer.Option(help="Space for the study's files, e.g. 2 GB, or none [unchanged; initially the study file's]."),
    ] = None,
    confirm: options.Confirm = True,
    only: Annotated[
        list[str] | None, typer.Option(help="Part of a grid: PARAMETER=VALUE[,VALUE]; can be repeated.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Part of a grid: only this many replicate seeds.")] = None,
    time_limit: Annotated[
        str | None, typer.Option(help="Stop after this long, e.g. 90s, 30m, 2h; the rest can be resumed.")
    ] = None,
    max_memory: options.MaxMemory = None,
    log_format: options.LogFormat = None,
) -> None:
    """Run or resume a study; by default with one worker per CPU core, or as many as fit on the GPUs."""
    logs.start(log_format)
    from tuner.limits import parse_duration
    from tuner.motifs.tomtom import kernel_in_preparation
    from tuner.results.quota import read_quota

    limit = parse_duration(time_limit) if time_limit else None
    memory = context.max_memory(max_memory)
    if artifact_quota is not None:
        read_quota(artifact_quota)  # refuses a bad size before anything is created
    plan = context.plan_for(
        study, preset=preset, seed=seed, name=name, trials=trials, sampler=context.check_sampler(sampler)
    )
    stored = context.check_new_name(plan.name, storage)
    with kernel_in_preparation(context.numba_dir()):  # beside the imports and the first trainings
        from tuner.cli.progress import View
        from tuner.cli.worker import one_thread, use_kernels
        from tuner.report.dashboard import write_notes
        from tuner.search.log_fields import add_log_fields
        from tuner.search.run import Wishes, grid_part, prepare_run

        add_log_fields(study=plan.name)
        wishes = Wishes(
            workers, device, confirm, limit, part=grid_part(plan, chosen_values(only), seeds), quota=artifact_quota,
            max_memory=memory, settings={"TUNER_LOG_FORMAT": logs.log_format(log_format)},
        )  # fmt: skip
        one_thread()
        run = prepare_run(plan, context.places(storage, artifacts), wishes, stored=stored, choose=use_kernels)
        describe(run)
        if run.left:
            announce(run.bench, run.trainings(), len(run.placement.devices), wishes.part)
        write_notes(run.storage, run.bench)
        with View(run.storage, plan) as progress:
            run.supervise(progress.poll, context.note)
        write_notes(run.storage, run.bench)
        collect(run)
        if not progress.finished and run.asked_to_leave:
            context.note(
                f"the workers were asked to leave (tuner stop) and have left; run {plan.name} again to continue it"
            )
        print_found(run, storage, finished=progress.finished)


def print_found(run: Run, storage: str | None, *, finished: bool) -> None:
    """Print what the study has found so far, and the next commands to type.

    Raises
    ------
    NoResult
        Trials of one of its stages have ended, but none completed.
    """
    from tuner.cli.best import print_best
    from tuner.cli.table import print_table
    from tuner.results.barren import check_fertile
    from tuner.results.leaderboard import TrialState
    from tuner.storage.keys import CONFIRMATION, CONTROLS

    opened, name, grid = run.storage, run.plan.name, run.wishes.part is not None
    check_fertile(opened, name)
    completed = opened.counts(run.study_id)[TrialState.COMPLETE] > 0
    if grid:
        print_table(opened, name)
    else:
        print_best(opened, name, run.plan.study.objectives)
    check_fertile(opened, name, (CONFIRMATION, CONTROLS))
    suggest_next(name, storage, finished=finished, grid=grid, completed=completed)


def announce(bench: Bench, trainings: int, workers: int, part: Part | None) -> None:
    """Print how many trainings are left, and an estimate of their time on this machine."""
    from tuner.errors import reason_of
    from tuner.search.run import expected_minutes

    try:
        minutes = expected_minutes(bench, trainings, workers, part)
    except Exception as e:  # of any kind: trainings do not need the estimate, and report their own errors
        context.note(f"expected {trainings} trainings; how long they take could not be estimated ({reason_of(e)})")
    else:
        context.note(f"expected {trainings} trainings, about {max(1, round(minutes))} min on this machine")


def describe(run: Run) -> None:
    """Print what will be searched, and with which data, before anything is trained."""
    from tuner.data.sizes import counted
    from tuner.search.placement import gib

    bench, placement = run.bench, run.placement
    workers = len(placement.devices)
    plan, data = bench.plan, bench.dataset.describe()
    sizes = ", ".join(
        f"{name} {s['sequences']} ({sum(s['positives'].values())} positive)" for name, s in data["splits"].items()
    )
    context.note(f"data     {bench.dataset.source}: {sizes}")
    for warning in data.get("warnings", []):
        context.note(f"warning  {warning}")
    context.note(
        f"search   {plan.name}: {plan.trials} trials, {plan.sampler}, maximum {plan.recipe.epochs} epochs, "
        f"{' and '.join(plan.study.objectives)} on validation; {workers} worker{'s' * (workers > 1)} on {placement}"
    )
    if placement.free and not placement.notes:
        free = ", ".join(f"{name} {gib(n)} free" for name, n in placement.free.items())
        context.note(f"memory   one training takes {gib(placement.need)}; {free}")
    for text in placement.notes:
        context.note(f"warning  {text}")
    context.note(f"motifs   {bench.database.name}, {counted(len(bench.database.screened), 'screened target')}")
    name_screen(bench.database)
    if bench.database.broken:
        name_broken(bench.database.broken, prefix="warning  ")
    context.note(f"storage  {run.storage.address}")


def chosen_values(only: list[str] | None) -> dict[str, list[str]]:
    """Parse --only: parameter -> values.

    Raises
    ------
    UsageError
        It is not PARAMETER=VALUE.
    """
    from tuner.errors import UsageError

    chosen: dict[str, list[str]] = {}
    for text in only or []:
        name, equals, values = text.partition("=")
        if not (name and equals and values):
            raise UsageError(f"--only {text!r}: write PARAMETER=VALUE or PARAMETER=VALUE,VALUE.")
        chosen.setdefault(name.strip(), []).extend(v.strip() for v in values.split(","))
    return chosen


def suggest_next(name: str, storage: str | None, *, finished: bool, grid: bool, completed: bool) -> None:
    """Print the next commands to type; those that show results only if there are some."""
    where = f" --storage {storage}" if storage else ""
    if not finished:
        context.note("\nstopped before the end; run the same command again to continue.")
    if not completed:
        return
    if grid:
        context.note(f"\nnext:  tuner table --name {name}{where} --out {name}.tsv --figure {name}.png")
    else:
        context.note(f"\nnext:  tuner best --name {name}{where}\n       tuner evaluate --name {name}{where}")
    context.note(f"       tuner dashboard{where}")


def collect(run: Run) -> None:
    """Remove the leftovers of dead attempts from the artifact store; failing to do so is only a warning."""
    from tuner.errors import StorageError

    try:
        found = run.collect()
    except StorageError as e:
        context.note(f"warning: leftovers were not collected: {e}")
    else:
        if found:
            size, where = sum(one.size for one in found), run.artifacts.address
            context.note(f"{len(found)} files of dead attempts were removed from {where} ({size} bytes)")
