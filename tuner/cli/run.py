"""`tuner run`: the whole study on this machine, from search to leaderboard."""

from __future__ import annotations

import os
import re
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli import context, logs, options
from tuner.cli.match import name_broken, name_screen

if TYPE_CHECKING:
    from tuner.search.loaded import Bench
    from tuner.search.placement import Placement
    from tuner.storage.artifacts import Artifacts
    from tuner.storage.storage import FencedStorage
    from tuner.study.grid import Part
    from tuner.study.plan import Plan

EXAMPLE = "Example: tuner run --study zbed2 --preset fast --workers 2"


def command(
    study: options.Study,
    preset: options.Preset = "standard",
    trials: options.Trials = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Worker processes, one CPU thread each [one a core, on GPUs as memory allows]."),
    ] = None,
    seed: options.Seed = 0,
    name: options.Name = None,
    sampler: options.Sampler = None,
    device: options.Devices = "auto",
    storage: options.Storage = None,
    artifacts: options.Artifacts = None,
    artifact_quota: Annotated[
        str | None,
        typer.Option(help="What the study's files may take, e.g. 2 GB, or none [as it was, first the study file's]."),
    ] = None,
    confirm: options.Confirm = True,
    only: Annotated[
        list[str] | None, typer.Option(help="Of a grid: PARAMETER=VALUE[,VALUE]; may be given several times.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Of a grid: the first so many replicate seeds.")] = None,
    time_limit: Annotated[
        str | None, typer.Option(help="Stop after this long, e.g. 90s, 30m, 2h; the rest can be resumed.")
    ] = None,
    max_memory: options.MaxMemory = None,
    log_format: options.LogFormat = None,
) -> None:
    """Run, or resume, a study; by default one worker a CPU core, or as many as the GPUs take."""
    logs.start(log_format)
    from tuner.motifs.tomtom import kernel_in_preparation
    from tuner.results.quota import read_quota

    limit = seconds(time_limit) if time_limit else None
    memory = context.max_memory(max_memory)
    if artifact_quota is not None:
        read_quota(artifact_quota)  # not a size: known before anything is made
    plan = context.plan_for(
        study, preset=preset, seed=seed, name=name, trials=trials, sampler=context.check_sampler(sampler)
    )
    stored = context.check_new_name(plan.name, storage)
    with kernel_in_preparation(context.numba_dir()):  # beside the imports and the first trainings
        from tuner.cli.best import print_best
        from tuner.cli.progress import Progress
        from tuner.cli.table import print_table
        from tuner.cli.worker import one_thread, use_kernels
        from tuner.report.dashboard import write_notes
        from tuner.results.barren import check_fertile
        from tuner.results.leaderboard import TrialState
        from tuner.results.quota import set_quota
        from tuner.search.gpu_memory import Cuda
        from tuner.search.grid_stage import Grid
        from tuner.search.loaded import load_bench
        from tuner.search.log_fields import add_log_fields
        from tuner.search.placement import device_names, place
        from tuner.search.stages import Search
        from tuner.search.supervisor import Supervisor
        from tuner.storage.keys import CONFIRMATION, CONTROLS
        from tuner.storage.names import folder_name
        from tuner.storage.storage import open_storage

        add_log_fields(study=plan.name)
        part = grid_part(plan, only, seeds)
        names = device_names(device)
        bench = load_bench(
            plan, data_dir=context.data_dir(), cache=context.cache_dir(), device=names[0], max_memory=memory,
            stored=stored,
        )  # fmt: skip
        url = context.storage_url(storage)
        opened = open_storage(url)
        folder = context.artifacts_folder(artifacts)
        store = context.open_artifacts(artifacts)  # an unwritable folder is known before the first epoch
        one_thread()  # a training is timed here as its worker will run it
        use_kernels(bench)
        check_points(bench)
        cores = len(os.sched_getaffinity(0))
        placement = place(names, workers, cores=cores, trials=plan.trials, memory=Cuda(bench))
        count = len(placement.devices)
        (Grid(plan, bench.identity, part) if part else Search(plan, bench.identity)).prepare(opened)
        identity = opened.join(plan.name, who="this run")
        set_quota(opened, plan.name, artifact_quota, default=plan.study.storage.quota)
        describe(bench, placement, opened.address)
        study_id = opened.get_study_id_from_name(plan.name)
        left = opened.open_slots(study_id)
        if left:
            announce(bench, left, count, part, confirm=confirm)
        write_notes(opened, bench)

        # A worker that replaces a dead one heeds what the dead one was asked since this run began.
        roster = opened.roster(study_id)
        since = roster.position()
        words = [
            "--study", plan.study.name, "--confirm" if confirm else "--no-confirm",
            "--artifacts", context.artifacts_address(artifacts), "--ahead", str(count),
            *([] if max_memory is None else ["--max-memory", max_memory]),
        ]  # fmt: skip
        supervisor = Supervisor(
            worker_command(plan, words, limit), count,
            worker_environment(url, since, logs.log_format(log_format), identity),
            folder.parent / "logs" / folder_name(plan.name), devices=placement.devices,
            count_crash=partial(opened.count_crash, max_failures=plan.max_failures), tell=context.note,
        )  # fmt: skip
        with Progress(opened, plan, count) as progress:
            progress.watch(supervisor)
        write_notes(opened, bench)
        collect(opened, store, plan.name, context.checkpoints(artifacts))
        if not progress.finished and roster.asked(since):
            context.note(
                f"the workers were asked to leave (tuner stop) and have left; {plan.name} goes on when run again"
            )
        check_fertile(opened, plan.name)
        completed = opened.counts(study_id)[TrialState.COMPLETE] > 0
        if part:
            print_table(opened, plan.name)
        else:
            print_best(opened, plan.name, plan.study.objectives)
        check_fertile(opened, plan.name, (CONFIRMATION, CONTROLS))
        suggest_next(
            plan.name, storage, finished=progress.finished, grid=part is not None, completed=completed
        )  # fmt: skip


def announce(bench: Bench, slots: int, workers: int, part: Part | None, *, confirm: bool) -> None:
    """Say how many trainings are left and about how long they take here, from a few steps of one."""
    from tuner.errors import reason_of
    from tuner.search.checks import expected_seconds
    from tuner.search.gpu_memory import release
    from tuner.study.grid import select_points

    plan, points = bench.plan, None
    if part:
        points = select_points(plan.space, part.only)
    elif confirm:
        stage = plan.confirmation
        slots += stage.candidates * stage.seeds * max(1, stage.folds) + stage.shuffled
    try:
        try:
            minutes = slots * expected_seconds(bench, points) / workers / 60
        finally:
            release(bench.device)
    except (
        Exception
    ) as e:  # whatever it is: the trainings do not need the estimate, and fail by themselves if they must
        context.note(f"expected {slots} trainings; how long they take could not be estimated ({reason_of(e)})")
    else:
        context.note(f"expected {slots} trainings, about {max(1, round(minutes))} min on this machine")


def worker_command(plan: Plan, words: list[str], limit: float | None) -> list[str]:
    """Command line of every worker of this run; the supervisor fills in device and index."""
    from tuner.search.supervisor import DEVICE, INDEX

    line = [
        sys.executable, "-m", "tuner.cli", "worker", *words, "--name", plan.name, "--device", DEVICE,
        "--worker-name", f"worker-{INDEX}",
    ]  # fmt: skip
    return [*line, "--deadline", str(time.time() + limit)] if limit else line


def worker_environment(url: str, since: float, log_format: str, identity: str) -> dict[str, str]:
    """Environment of every worker: this one, and what is no argument because ps would show the password of a URL."""
    return {
        **os.environ, "TUNER_STORAGE": url, "TUNER_SINCE": repr(since), "TUNER_LOG_FORMAT": log_format,
        "TUNER_IDENTITY": identity,
    }  # fmt: skip


def check_points(bench: Bench) -> None:
    """Build a few points of the space for this data: its warm starts and the corners of each architecture.

    Raises
    ------
    SearchSpaceError
        A point that cannot be built.
    """
    from tuner.errors import SearchSpaceError
    from tuner.search.checks import build_points, sample_points

    points = sample_points(bench.plan.space, 0, bench.plan.seed)
    built = build_points(points, n_tasks=bench.dataset.n_tasks, length=bench.dataset.length)
    if built.problems:
        raise SearchSpaceError(f"{bench.plan.space.name}: {built.problems[0]}")


def describe(bench: Bench, placement: Placement, address: str) -> None:
    """Say what will be searched, on what, before it costs anything."""
    from tuner.data.sizes import counted
    from tuner.search.placement import gib

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
    context.note(f"storage  {address}")


def grid_part(plan: Plan, only: list[str] | None, seeds: int | None) -> Part | None:
    """Which part of a grid is wanted; None for a study that is none.

    Raises
    ------
    UsageError
        Not a PARAMETER=VALUE, or a study that is no grid.
    """
    from tuner.errors import UsageError
    from tuner.study.grid import Part

    if plan.sampler != "grid":
        if only or seeds:
            raise UsageError(f"--only and --seeds choose a part of a grid; {plan.name} is a search ({plan.sampler}).")
        return None
    chosen: dict[str, list[str]] = {}
    for text in only or []:
        name, equals, values = text.partition("=")
        if not (name and equals and values):
            raise UsageError(f"--only {text!r}: write PARAMETER=VALUE or PARAMETER=VALUE,VALUE.")
        chosen.setdefault(name.strip(), []).extend(v.strip() for v in values.split(","))
    return Part(chosen, seeds)


def suggest_next(name: str, storage: str | None, *, finished: bool, grid: bool, completed: bool) -> None:
    """Print the commands a user would type next; none that shows results where there are none."""
    where = f" --storage {storage}" if storage else ""
    if not finished:
        context.note("\nstopped before the end; the same command goes on from here.")
    if not completed:
        return
    if grid:
        context.note(f"\nnext:  tuner table --name {name}{where} --out {name}.tsv --figure {name}.png")
    else:
        context.note(f"\nnext:  tuner best --name {name}{where}\n       tuner evaluate --name {name}{where}")
    context.note(f"       tuner dashboard{where}")


def seconds(text: str) -> float:
    """Parse a duration such as 90s, 30m, 2h.

    Raises
    ------
    UsageError
        Not a duration.
    """
    from tuner.errors import UsageError

    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    if not found or float(found[1]) <= 0:
        raise UsageError(f"--time-limit {text!r} is no duration; write 90s, 30m or 2h.")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


def collect(storage: FencedStorage, store: Artifacts, name: str, checkpoints: Path) -> None:
    """Remove what attempts that died have left in the artifact store; that it cannot be is no failure of the study."""
    from tuner.errors import StorageError
    from tuner.results.leftovers import collect_buried, collect_leftovers

    try:
        found = collect_leftovers(storage, store, name) + collect_buried(storage, store, checkpoints)
    except StorageError as e:
        context.note(f"warning: leftovers were not collected: {e}")
    else:
        if found:
            size = sum(one.size for one in found)
            context.note(f"{len(found)} files of attempts that died were removed from {store.address} ({size} bytes)")
