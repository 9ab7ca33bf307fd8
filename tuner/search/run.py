"""Running a study on this machine: preparation, workers and cleaning up.

`prepare_run` checks everything before anything is trained and stores the study; then its `Run` trains, either in worker
processes or in this one. The command line and the Python interface both use this module.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tuner.errors import SearchSpaceError, StorageError, StudyError, UsageError
from tuner.models import compiled, recording
from tuner.models.kernels import find_compiler
from tuner.results.barren import check_fertile
from tuner.results.leftovers import collect_buried, collect_leftovers
from tuner.results.overview import overview
from tuner.results.quota import set_quota
from tuner.search.checks import build_points, expected_seconds, sample_points
from tuner.search.gpu_memory import Cuda, release
from tuner.search.grid_stage import Grid
from tuner.search.loaded import Bench, load_bench
from tuner.search.placement import Placement, device_names, place
from tuner.search.restore import files_here, restore_study
from tuner.search.shutdown import LocalStopper
from tuner.search.stages import Confirmation, Controls, Search, Stage, check_name_of, stored_identity
from tuner.search.supervisor import DEVICE, INDEX, Supervisor
from tuner.search.worker import Pace, Worker
from tuner.storage.artifacts import Artifacts
from tuner.storage.names import check_name, folder_name
from tuner.storage.storage import FencedStorage, open_existing, open_storage
from tuner.storage.store import Stored
from tuner.storage.stores import local_folder
from tuner.storage.workers import Membership, Request
from tuner.study.grid import Part, select_points
from tuner.study.plan import Plan, check_identity

KERNELS = ("auto", "on", "off")


@dataclass(frozen=True)
class Places:
    """Where a run reads and stores things.

    Parameters
    ----------
    storage : str
        SQLite file or database URL.
    artifacts : str
        A folder, or ``s3://BUCKET/PREFIX``, ``gs://``, ``az://``. Logs and checkpoints are kept beside the folder.
    data_dir : Path or None
        Folder of reference data.
    cache : Path or None
        Folder of downloads and screened motif databases.
    """

    storage: str
    artifacts: str
    data_dir: Path | None
    cache: Path | None

    @property
    def checkpoints(self) -> Path:
        """Folder beside the artifacts, where every worker that uses these artifacts finds the checkpoints."""
        return local_folder(self.artifacts).parent / "checkpoints"

    @property
    def logs(self) -> Path:
        """Folder of the logs of all studies."""
        return local_folder(self.artifacts).parent / "logs"


@dataclass(frozen=True)
class Wishes:
    """Options of a run that are not part of its study.

    Parameters
    ----------
    workers : int or None
        Number of workers; None for as many as the machine can run.
    device : str
        As for `device_names`.
    confirm : bool
        Whether to retrain the best candidates at the end.
    time_limit : float or None, seconds
        Stop after this long.
    part : Part or None
        Part of a grid to run; None for a search.
    quota : str or None
        Space that the study's files may take; None keeps the present quota.
    max_memory : int or None, bytes
        Memory that reading the data may take.
    data : Path or None
        Place of a stored study's data on this machine.
    settings : mapping of str to str or None
        Environment variables that worker processes set (None: remove), besides those that every run sets.
    """

    workers: int | None = None
    device: str = "auto"
    confirm: bool = True
    time_limit: float | None = None
    part: Part | None = None
    quota: str | None = None
    max_memory: int | None = None
    data: Path | None = None
    settings: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """A stored study that is ready to be run.

    Attributes
    ----------
    bench : Bench
        Its plan, data and motif database.
    storage, artifacts : FencedStorage, Artifacts
        Storage of the study, and store of its files.
    places, wishes : Places, Wishes
        As given.
    placement : Placement
        Where the workers run.
    identity : str
        Identity of the stored study; another study of the same name has another one.
    since : float
        Position of this run among the requests to leave.
    """

    bench: Bench
    storage: FencedStorage
    artifacts: Artifacts
    places: Places
    wishes: Wishes
    placement: Placement
    identity: str
    since: float

    @property
    def plan(self) -> Plan:
        """The study."""
        return self.bench.plan

    @property
    def study_id(self) -> int:
        """Id of its search or grid."""
        return self.storage.get_study_id_from_name(self.plan.name)

    @property
    def left(self) -> int:
        """Slots of the search that have not ended."""
        return self.storage.open_slots(self.study_id)

    @property
    def asked_to_leave(self) -> Request | None:
        """What `tuner stop` has requested from the workers since this run began."""
        return self.storage.roster(self.study_id).asked(self.since)

    def trainings(self) -> int:
        """Number of networks to train: open slots, and those of the confirmation and controls."""
        stage = self.plan.confirmation
        more = stage.candidates * stage.seeds * max(1, stage.folds) + stage.shuffled
        more += self.bench.plan.composition_networks(paired=self.bench.dataset.shuffled)
        return self.left + (more if self.wishes.confirm and self.wishes.part is None else 0)

    def supervise(self, poll: Callable[[], object], tell: Callable[[str], None]) -> None:
        """Work in as many processes as were placed, until no slot is left; `poll` is called meanwhile.

        Parameters
        ----------
        poll : callable
            Called twice a second; an exception that it raises ends the run.
        tell : callable
            Called with each line that the user should see now.

        Raises
        ------
        StorageError
            A worker failed or kept crashing; its last log line is quoted.
        StudyGone
            The study was deleted meanwhile.
        KeyboardInterrupt
            After all workers have handed their slots back.
        """
        plan, count = self.plan, len(self.placement.devices)
        settings = {
            "TUNER_STORAGE": self.places.storage, "TUNER_SINCE": repr(self.since), "TUNER_IDENTITY": self.identity,
            "TUNER_FILES": json.dumps(files_here(plan)),
            **self.wishes.settings,
        }  # fmt: skip
        supervisor = Supervisor(
            worker_command(plan, self.places, self.wishes, count), count, None,
            self.places.logs / folder_name(plan.name), devices=self.placement.devices,
            count_crash=partial(self.storage.count_crash, max_failures=plan.max_failures), tell=tell,
            settings=settings,
        )  # fmt: skip
        try:
            supervisor.run(poll)
        except StorageError:
            self.storage.check_joined()  # this reason comes before what the workers reported
            raise

    def work_here(self, stopper: LocalStopper, look: Callable[[], None]) -> bool:
        """Run the study in this process, one slot after the other, with the values of a run with one worker process.

        Parameters
        ----------
        stopper : LocalStopper
            Says when to stop.
        look : callable
            Called between slots and after each epoch.

        Returns
        -------
        bool
            False if it was stopped before the end.
        """
        bench = self.bench._replace(device=self.placement.devices[0])
        # Only ending its process ends a hung call, and this process is not ours to end.
        worker = Worker(
            bench, self.storage, self.artifacts, self.places.checkpoints, stopper, name="worker-0",
            pace=Pace(stall_after=math.inf), look=look,
        )  # fmt: skip
        roster = self.storage.roster(self.study_id)
        with Membership(roster, "worker-0", stopper.leave, since=self.since, age=0.0):
            return worker.work(stages_of(bench, confirm=self.wishes.confirm))

    def collect(self) -> list[Stored]:
        """Remove the leftovers of dead attempts from the artifact store, and return them.

        Raises
        ------
        StorageError
            They cannot be removed, which is not a failure of the study.
        """
        found = collect_leftovers(self.storage, self.artifacts, self.plan.name)
        return found + collect_buried(self.storage, self.artifacts, self.places.checkpoints)


def prepare_run(
    plan: Plan,
    places: Places,
    wishes: Wishes,
    *,
    stored: Mapping[str, Any] | None = None,
    choose: Callable[[Bench], None],
) -> Run:
    """Load and check what a study needs, place its workers, and store the study if it is new.

    Parameters
    ----------
    plan : Plan
        The study.
    places, wishes : Places, Wishes
        Where things are, and options of the run.
    stored : mapping of str to any, optional
        From `new_or_stored`.
    choose : callable
        Chooses the kernels of this process (`choose_kernels`), so that trainings are timed as workers will run them.

    Raises
    ------
    TunerError
        Any error that can be found before the first epoch, with its remedy.
    """
    names = device_names(wishes.device)
    bench = load_bench(
        plan, data_dir=places.data_dir, cache=places.cache, device=names[0], max_memory=wishes.max_memory,
        stored=stored,
    )  # fmt: skip
    storage = open_storage(places.storage)
    artifacts = Artifacts(places.artifacts)  # finds an unwritable folder before the first epoch
    choose(bench)
    check_points(bench)
    placement = place_workers(bench, names, wishes.workers, plan.trials)
    part = wishes.part
    told = bench.dataset.shuffled
    first: Stage = (
        Search(plan, bench.identity, shuffled=told) if part is None else Grid(plan, bench.identity, part, told)
    )
    first.prepare(storage)
    identity = storage.join(plan.name, who="this run")
    set_quota(storage, plan.name, wishes.quota, default=plan.study.storage.quota)
    return _run(bench, storage, artifacts, places, wishes, placement, identity)


def prepare_confirmation(
    storage: FencedStorage, name: str, places: Places, wishes: Wishes, *, ready: Callable[[Bench], None]
) -> Run:
    """Prepare the confirmation of a finished search.

    Parameters
    ----------
    storage : FencedStorage
        Where the study is.
    name : str
        The study.
    places, wishes : Places, Wishes
        Where things are, and options of the run.
    ready : callable
        Called once everything is loaded, before the devices are measured.

    Raises
    ------
    StudyError
        The search has not ended or retrains no candidate, or the data or motif database has changed since.
    """
    identity = storage.join(name)
    plan, stored, data_dir = restore_study(storage, name, wishes.data, data_dir=places.data_dir)
    check_finished(storage, plan)
    names = device_names(wishes.device)
    bench = load_bench(
        plan, data_dir=data_dir, cache=places.cache, device=names[0], max_memory=wishes.max_memory, stored=stored
    )
    check_identity(name, stored, bench.identity)
    artifacts = Artifacts(places.artifacts)  # finds an unwritable folder before the first epoch
    ready(bench)
    trials = plan.confirmation.candidates * plan.confirmation.seeds * max(1, plan.confirmation.folds)
    placement = place_workers(bench, names, wishes.workers, trials)
    return _run(bench, storage, artifacts, places, wishes, placement, identity)


def _run(
    bench: Bench, storage: FencedStorage, artifacts: Artifacts, places: Places, wishes: Wishes, placement: Placement,
    identity: str,
) -> Run:  # fmt: skip
    # A worker that replaces a dead one follows the requests that the dead one got since this run began.
    since = storage.roster(storage.get_study_id_from_name(bench.plan.name)).position()
    return Run(bench, storage, artifacts, places, wishes, placement, identity, since)


def place_workers(bench: Bench, names: Sequence[str], workers: int | None, trials: int) -> Placement:
    """Place the workers of a study on the devices of this machine."""
    return place(names, workers, cores=len(os.sched_getaffinity(0)), trials=trials, memory=Cuda(bench))


def check_finished(storage: FencedStorage, plan: Plan) -> None:
    """Refuse a search that has not ended, because its best trials are not known yet.

    Raises
    ------
    StudyError
        Some slots have not ended, or the study retrains no candidate.
    NoResult
        No trial completed.
    """
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


def new_or_stored(name: str, where: str) -> dict[str, Any] | None:
    """Refuse a bad name for a new study before anything is loaded; a stored study may have any name.

    Parameters
    ----------
    name : str
        The study.
    where : str
        SQLite file or database URL.

    Returns
    -------
    dict of str to any, or None
        Identity of the study of that name, if it is stored already.

    Raises
    ------
    StudyError
        The name breaks the rule; the message states both.
    ForeignStudy
        Another program has taken the name.
    """
    if "://" in where or Path(where).is_file():
        opened = open_existing(where)
        try:
            check_name_of(opened, name)
            return stored_identity(opened, name)
        finally:
            opened.close()
    check_name(name)
    return None


def stages_of(bench: Bench, *, confirm: bool) -> list[Stage]:
    """The stages of a study that a worker runs, in order."""
    plan = bench.plan
    search: Stage = Search(plan, bench.identity, sets_budget=False)
    if plan.sampler == "grid":
        search = Grid(plan, bench.identity, part=None)
    retrain = [Confirmation(plan)] if confirm and plan.confirmation.candidates else []
    return [search, *retrain, Controls(plan, paired=bench.dataset.shuffled)]


def worker_command(plan: Plan, places: Places, wishes: Wishes, count: int) -> list[str]:
    """Command line of every worker of a run; the supervisor fills in device and index."""
    line = [
        sys.executable, "-m", "tuner.cli.child", "worker", "--study", plan.study.name, "--name", plan.name,
        "--confirm" if wishes.confirm else "--no-confirm", "--artifacts", places.artifacts, "--ahead", str(count),
        "--device", DEVICE, "--worker-name", f"worker-{INDEX}",
    ]  # fmt: skip
    line += [] if wishes.data is None else ["--data", str(wishes.data)]
    line += [] if wishes.max_memory is None else ["--max-memory", str(wishes.max_memory)]
    return line + ([] if wishes.time_limit is None else ["--deadline", str(time.time() + wishes.time_limit)])


def choose_kernels(device: str, wanted: str, folder: Callable[[], Path], *, graphs: bool = True) -> str:
    """Choose how this process trains on a device: with compiled kernels on a CPU, with CUDA graphs on a GPU.

    Parameters
    ----------
    device : str
        Torch device.
    wanted : str
        One of `KERNELS`; ``auto`` uses them if there is a C++ compiler.
    folder : callable
        Returns the folder for built kernels, to which only this user can write.
    graphs : bool
        Whether steps on a GPU may be recorded as CUDA graphs.

    Returns
    -------
    str
        Why wanted kernels are not available; empty otherwise.
    """
    recording.allow(graphs)
    if wanted == "off" or device.partition(":")[0] != "cpu" or (wanted == "auto" and find_compiler() is None):
        return ""
    return compiled.enable(folder())


def check_points(bench: Bench) -> None:
    """Build a few points of the space for this data: its warm starts and the corners of each architecture.

    Raises
    ------
    SearchSpaceError
        A point cannot be built.
    """
    points = sample_points(bench.plan.space, 0, bench.plan.seed)
    built = build_points(points, n_tasks=bench.dataset.n_tasks, length=bench.dataset.length)
    if built.problems:
        raise SearchSpaceError(f"{bench.plan.space.name}: {built.problems[0]}")


def expected_minutes(bench: Bench, trainings: int, workers: int, part: Part | None) -> float:
    """Estimated minutes for this number of trainings on this machine, from a few steps of one training."""
    points = None if part is None else select_points(bench.plan.space, part.only)
    try:
        return trainings * expected_seconds(bench, points) / workers / 60
    finally:
        release(bench.device)


def grid_part(plan: Plan, only: Mapping[str, list[str]] | None, seeds: int | None) -> Part | None:
    """The part of a grid to run; None for a study that is not a grid.

    Raises
    ------
    UsageError
        A part was given for a study that is not a grid.
    """
    if plan.sampler == "grid":
        return Part(dict(only or {}), seeds)
    if only or seeds:
        raise UsageError(f"--only and --seeds choose a part of a grid; {plan.name} is a search ({plan.sampler}).")
    return None
