"""`tuner worker`: one process that claims slots until none is left."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from tuner.cli import context, logs, options

EXAMPLE = "Example: tuner worker --study zbed2 --storage postgresql://user@host/tuner"


def command(
    study: options.Study,
    preset: options.Preset = "standard",
    trials: options.Trials = None,
    seed: options.Seed = 0,
    name: options.Name = None,
    sampler: options.Sampler = None,
    device: options.Device = "auto",
    storage: options.Storage = None,
    artifacts: options.Artifacts = None,
    confirm: options.Confirm = True,
    ahead: Annotated[int, typer.Option(min=1, help="Slots to keep ready: about the number of workers.")] = 2,
    deadline: Annotated[float | None, typer.Option(help="Unix time at which to stop.", hidden=True)] = None,
    log_format: options.LogFormat = None,
    worker_name: Annotated[str, typer.Option(help="Name shown in status and logs.")] = "worker",
    stored: Annotated[
        bool, typer.Option("--stored", help="Take the plan of --name from the storage.", hidden=True)
    ] = False,
) -> None:
    """Join a study; the budget is the study's own, --trials only counts for the first to come."""
    logs.start(log_format, worker=worker_name)
    from tuner.search.stopper import Stopper

    parent = os.environ.get("TUNER_PARENT")
    stopper = Stopper(deadline, int(parent) if parent else None)  # before the slow imports
    from tuner.cli.run import check_sampler, checkpoints
    from tuner.cli.stored import stored_plan
    from tuner.search.bench import load_bench
    from tuner.search.grid_stage import Grid
    from tuner.search.log_fields import add_log_fields
    from tuner.search.roster import Membership
    from tuner.search.stages import Confirmation, Controls, Search, Stage
    from tuner.search.storage import open_storage
    from tuner.search.worker import Worker

    url = context.storage_url(storage)
    if stored and name is not None:
        plan, _ = stored_plan(open_storage(url), name)
    else:
        plan = context.plan_for(
            study, preset=preset, seed=seed, name=name, trials=trials, sampler=check_sampler(sampler)
        )
    bench = load_bench(plan, data_dir=context.data_dir(), cache=context.cache_dir(), device=device)
    one_thread()
    if os.environ.get("TUNER_COMPILED"):
        compile_kernels()
    search: Stage = Search(plan, bench.identity, sets_budget=False)
    if plan.sampler == "grid":
        search = Grid(plan, bench.identity, part=None)
    stages: list[Stage] = [search]
    if confirm and plan.confirmation.candidates:
        stages.append(Confirmation(plan))
    stages.append(Controls(plan))
    opened = open_storage(url)
    worker = Worker(
        bench, opened, context.open_artifacts(artifacts), checkpoints(artifacts),
        stopper, name=worker_name, ahead=ahead,
    )  # fmt: skip
    add_log_fields(study=plan.name)
    search.prepare(opened)
    roster = opened.roster(opened.get_study_id_from_name(plan.name))
    since = os.environ.get("TUNER_SINCE")  # of the run that this worker belongs to
    stopper.install()
    with Membership(roster, worker_name, stopper.leave, since=float(since) if since else None):
        ended = worker.work(stages)
    if not ended and not stopper.leaving:
        stopper.resign()


def one_thread() -> None:
    """One thread a process: two oversubscribed workers run at half the speed of one."""
    import torch

    torch.set_num_threads(1)


def compile_kernels() -> None:
    """Train through the compiled kernels if this machine can build them."""
    from tuner.models.compiled import enable

    if reason := enable(context.cache_dir() / "kernels"):
        context.note(reason)
