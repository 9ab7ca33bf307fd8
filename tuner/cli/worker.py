"""`tuner worker`: one process that claims slots until none is left."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli import context, logs, options
from tuner.cli.match import name_screen
from tuner.cli.redaction import secrets_of

if TYPE_CHECKING:
    from tuner.search.loaded import Bench
    from tuner.search.worker import Stopper
    from tuner.storage.storage import FencedStorage

KERNELS = {"auto": "auto", "0": "off", "1": "on"}  # values of TUNER_COMPILED

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
    data: options.Data = None,
    max_memory: options.MaxMemory = None,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for a study that does not exist yet.")] = 300,
    ahead: Annotated[int, typer.Option(min=1, help="Slots to keep waiting: about the number of workers.")] = 2,
    deadline: Annotated[float | None, typer.Option(help="Unix time at which to stop.", hidden=True)] = None,
    log_format: options.LogFormat = None,
    worker_name: Annotated[str, typer.Option(help="Name shown in status and logs.")] = "worker",
) -> None:
    """Join a study, from any machine: its description comes from the database.

    If the study does not exist yet and its file is here, it is created with --preset, --trials, --seed and --sampler;
    an existing study ignores them.
    """
    from tuner.storage.names import check_worker_name

    check_worker_name(worker_name)
    logs.start(log_format, worker=worker_name)
    from tuner.search.shutdown import Stopper

    limit = context.max_memory(max_memory)
    parent = os.environ.get("TUNER_PARENT")
    stopper = Stopper(deadline, int(parent) if parent else None)  # before the slow imports
    from tuner.limits import load_blas
    from tuner.results.quota import set_quota
    from tuner.search.loaded import load_bench
    from tuner.search.log_fields import add_log_fields
    from tuner.search.restore import restore_study
    from tuner.search.run import stages_of
    from tuner.search.stages import stored_identity
    from tuner.search.worker import WHO, Worker
    from tuner.storage.storage import PATIENCE_SECONDS, open_storage
    from tuner.storage.workers import Membership

    url = context.storage_url(storage)
    # The run has opened it before, so the address is right; a restarted worker waits, so that the run does not end.
    opened, store = open_storage(url, wait=PATIENCE_SECONDS if parent else 0.0), context.open_artifacts(artifacts)
    folder = context.data_dir()
    opened.secrets |= secrets_of(os.environ, sys.argv)  # masked in stored reasons
    given = os.environ.get("TUNER_IDENTITY")  # of this worker's run; a deleted study must not be created again
    if given and name is not None:
        opened.join(name, given, who=WHO)
    if parent and name is not None:  # its run has created the study, on this machine
        files = os.environ.get("TUNER_FILES")
        plan, _, folder = restore_study(
            opened, name, data, data_dir=folder, files=None if files is None else json.loads(files)
        )
    elif found := stored_study(opened, study, preset, seed, name, wait, stopper):
        plan, _, folder = restore_study(opened, found, data, data_dir=folder, folders=[Path.cwd()])
        context.note(f"study {found} of {opened.address}")
    else:
        if name is not None:
            context.check_new_name(name, url)
        plan = context.plan_for(
            study, preset=preset, seed=seed, name=name, trials=trials, sampler=context.check_sampler(sampler)
        )
    known = stored_identity(opened, plan.name)
    bench = load_bench(plan, data_dir=folder, cache=context.cache_dir(), device=device, max_memory=limit, stored=known)
    if not parent:  # otherwise the run has reported it
        name_screen(bench.database)
    one_thread()
    load_blas()
    use_kernels(bench)
    stages = stages_of(bench, confirm=confirm)
    stages[0].prepare(opened)  # the first worker creates the study if it does not exist
    if not given:
        opened.join(plan.name, who=WHO)
    set_quota(opened, plan.name, None, default=plan.study.storage.quota)
    worker = Worker(
        bench, opened, store, context.checkpoints(artifacts), stopper, name=worker_name, ahead=ahead,
    )  # fmt: skip
    add_log_fields(study=plan.name)
    roster = opened.roster(opened.get_study_id_from_name(plan.name))
    since = os.environ.get("TUNER_SINCE")  # position of this worker's run
    stopper.install()
    with Membership(roster, worker_name, stopper.leave, since=float(since) if since else None):
        ended = worker.work(stages)
    if not ended and not stopper.leaving:
        stopper.resign()


def stored_study(
    storage: FencedStorage, study: str, preset: str, seed: int, name: str | None, wait: float, stopper: Stopper
) -> str | None:
    """Name of the requested stored study; None if there is none, but a file here describes it.

    Raises
    ------
    StudyError
        There is neither, and nobody created the study within `wait` seconds.
    KeyboardInterrupt
        The worker was told to stop while it waited.
    """
    from tuner.errors import StudyError
    from tuner.resources import find_resource
    from tuner.search.restore import is_stored, wait_for_study
    from tuner.study.plan import default_name

    def check() -> None:
        if stopper.requested or stopper.late:
            raise KeyboardInterrupt

    if "/" in study or study.endswith(".toml"):
        return None
    wanted = name or default_name(study, preset, seed)
    storage.catalog().check(wanted)
    if is_stored(storage, wanted):
        return wanted
    try:
        find_resource("studies", study, folder=Path.cwd())
    except StudyError as e:
        context.note(str(e))  # shows a mistyped name before the wait
        wait_for_study(storage, wanted, wait, context.note, check)
        return wanted
    return None


def one_thread() -> None:
    """Use one thread per process: two workers that oversubscribe the cores run at half the speed of one."""
    import torch

    torch.set_num_threads(1)


def use_kernels(bench: Bench) -> None:
    """Enable compiled kernels as TUNER_COMPILED says, and CUDA graphs as TUNER_CUDA_GRAPHS says.

    Raises
    ------
    UsageError
        A variable has an unknown value.
    """
    from tuner.search.run import choose_kernels

    wanted, graphs = _switch("TUNER_COMPILED", *KERNELS), _switch("TUNER_CUDA_GRAPHS", "auto", "0")

    def folder() -> Path:
        return context.code_dir() / "kernels"

    if reason := choose_kernels(bench.device, KERNELS[wanted], folder, graphs=graphs != "0"):
        context.note(reason)


def _switch(variable: str, *values: str) -> str:
    """Read an environment variable that must be one of `values`; the first is the default."""
    from tuner.errors import UsageError, unknown

    value = os.environ.get(variable) or values[0]
    if value not in values:
        raise UsageError(unknown(f"value of {variable}", value, values))
    return value
