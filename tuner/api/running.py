"""`run`: run or resume a study from Python."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from tuner.api.data import Data
from tuner.api.places import Folders, artifacts_of, folders_of, one_thread, prepare_matching, storage_of
from tuner.api.progress import Callback, Watch, display
from tuner.api.study import Study
from tuner.errors import NoResult, StorageError, StudyError, UsageError, unknown
from tuner.limits import parse_duration, parse_size
from tuner.models import compiled
from tuner.report.dashboard import write_notes
from tuner.results.barren import check_fertile
from tuner.results.quota import read_quota
from tuner.search.loaded import Bench
from tuner.search.log_fields import log_fields
from tuner.search.restore import restore_study
from tuner.search.run import (
    KERNELS,
    Places,
    Run,
    Wishes,
    choose_kernels,
    grid_part,
    new_or_stored,
    prepare_run,
)
from tuner.search.shutdown import Interrupted, LocalStopper
from tuner.storage.keys import CONFIRMATION, CONTROLS
from tuner.storage.storage import open_existing
from tuner.study.file import Sampler, check_study
from tuner.study.named import described_plan, find_plan
from tuner.study.plan import Plan

COMPILED = {"auto": "auto", "on": "1", "off": "0"}  # settings of the worker processes

What = str | Path | Study | Mapping[str, Any]


def run(
    study: What | None = None,
    *,
    data: Data | None = None,
    preset: str = "standard",
    name: str | None = None,
    trials: int | None = None,
    seed: int = 0,
    sampler: str | None = None,
    only: Mapping[str, Sequence[object]] | None = None,
    seeds: int | None = None,
    confirm: bool = True,
    workers: int | None = 1,
    device: str = "auto",
    time_limit: float | str | None = None,
    storage: str | Path | None = None,
    artifacts: str | Path | None = None,
    data_dir: str | Path | None = None,
    cache: str | Path | None = None,
    artifact_quota: str | None = None,
    max_memory: str | None = None,
    kernels: str = "auto",
    variables: Mapping[str, str] | None = None,
    progress: bool | Callback | None = None,
) -> Study:
    """Run a study, or resume it: what `tuner run` does.

    Parameters
    ----------
    study : str, Path, Study or mapping
        Name or path of a study file; name of a stored study; a `Study`; or the content of a study file.
    data : Data, optional
        Sequences of a study that no file describes; `study` is then its name, or the rest of its content.
    preset : str
        ``smoke``, ``fast``, ``standard`` or ``best``.
    name : str, optional
        Name in the storage, instead of the study's own.
    trials : int, optional
        Total budget; raise it to continue a study.
    seed : int
        Seed of the whole study.
    sampler : str, optional
        ``tpe`` or ``random``, instead of the study's own.
    only : mapping of str to sequence, optional
        For a grid: parameter -> the values to run.
    seeds : int, optional
        For a grid: how many of the replicate seeds to run, from the first.
    confirm : bool
        Retrain the best candidates at the end.
    workers : int or None
        1 works in this process; more are separate processes; None starts as many as the machine can run.
    device : str
        ``auto`` (every GPU, else the CPU), ``cpu``, ``mps``, or GPUs: ``cuda:0,cuda:1``.
    time_limit : float or str, optional
        Stop after this many seconds, or e.g. ``"30m"``; the study can be resumed later.
    storage : str or Path, optional
        SQLite file or database URL; by default ``runs/tuner.db``.
    artifacts : str or Path, optional
        Folder of the trials' files, or ``s3://BUCKET/PREFIX``, ``gs://``, ``az://``; by default ``runs/artifacts``.
    data_dir : str or Path, optional
        Folder of the published data sets, searched before anything is downloaded.
    cache : str or Path, optional
        Folder of downloads, screened motif databases and compiled kernels; by default ``~/.cache/tuner``.
    artifact_quota : str, optional
        Space that the study's files may take, e.g. ``"2 GB"``, or ``"none"``.
    max_memory : str, optional
        Memory that reading data may take, e.g. ``"8 GB"``; by default half of the available memory.
    kernels : str
        Compiled kernels: ``auto`` uses them if there is a C++ compiler; ``on``, ``off``. Their rounding differs.
    variables : mapping of str to str, optional
        Values of ``$NAME`` in the paths of a study file.
    progress : bool or callable, optional
        A callback that receives a `Progress`; True for a bar, False for none; by default a bar in a terminal or a
        notebook.

    Returns
    -------
    Study
        The study, finished, or unfinished if `time_limit` or `Study.stop` ended the run.

    Raises
    ------
    TunerError
        Says what is wrong, where, and what to do. Whatever can be checked before the first epoch is checked then.
    KeyboardInterrupt
        Raised after the running trials were handed back; the same call continues from there.
    """
    for what, value, least in (("trials", trials, 1), ("workers", workers, 1), ("seeds", seeds, 1), ("seed", seed, 0)):
        if value is not None and (not isinstance(value, int) or value < least):
            raise UsageError(f"{what} is {value!r}; expected a whole number from {least}.")
    if kernels not in KERNELS:
        raise UsageError(unknown("value of kernels", kernels, KERNELS))
    if artifact_quota is not None:
        read_quota(artifact_quota)
    if isinstance(study, Study):
        if data is not None:
            raise UsageError(f"{study.name} is stored with its data; leave data out, or give another name.")
        storage, artifacts = storage or study._storage.url, artifacts or study.artifacts
        data_dir, cache = data_dir or study._folders.data_dir, cache or _own(study._folders)
    folders, where = folders_of(data_dir, cache), storage_of(storage)
    plan = _plan(
        study, data, where, folders, variables or {},
        {"preset": preset, "seed": seed, "name": name, "trials": trials, "sampler": _sampler(sampler)},
    )  # fmt: skip
    wishes = Wishes(
        workers, device, confirm, _seconds(time_limit),
        part=grid_part(plan, {key: [str(v) for v in values] for key, values in (only or {}).items()}, seeds),
        quota=artifact_quota, max_memory=None if max_memory is None else parse_size(max_memory),
        settings=_settings(folders, kernels),
    )  # fmt: skip
    places = Places(where, artifacts_of(artifacts), folders.data_dir, folders.cache)
    stored = new_or_stored(plan.name, where)
    with log_fields(study=plan.name), display(progress) as tell:
        if workers == 1:
            prepared = _work_here(plan, places, wishes, stored, folders, kernels, tell)
        else:
            prepared = prepare_run(plan, places, wishes, stored=stored, choose=lambda bench: None)
            _supervise(prepared, tell)
    try:
        check_fertile(prepared.storage, plan.name, ("", CONFIRMATION, CONTROLS))
    except NoResult:
        prepared.storage.close()
        raise
    return Study(plan.name, prepared.storage, places.artifacts, folders)


def _work_here(
    plan: Plan, places: Places, wishes: Wishes, stored: Mapping[str, Any] | None, folders: Folders, kernels: str,
    tell: Callback,
) -> Run:  # fmt: skip
    """Work in this process, and restore its settings afterwards."""
    prepare_matching(folders)
    with one_thread(), _kernels(folders, kernels, tell, plan.name) as choose:
        prepared = prepare_run(plan, places, wishes, stored=stored, choose=choose)
        stopper = LocalStopper(None if wishes.time_limit is None else time.time() + wishes.time_limit)
        failures: list[BaseException] = []

        def work(watch: Watch) -> None:
            def look() -> None:
                try:
                    watch.look()
                except Interrupted:
                    raise
                except BaseException as e:  # raised by a callback: not a failure of the trial being trained
                    failures.append(e)
                    stopper.leave(at_once=True)

            with stopper.listening():
                prepared.work_here(stopper, look)
            if failures:
                raise failures[0]
            if stopper.interrupted:
                raise KeyboardInterrupt

        _watched(prepared, tell, work)
    return prepared


def _supervise(prepared: Run, tell: Callback) -> None:
    """Work in separate processes."""
    _watched(prepared, tell, lambda watch: prepared.supervise(watch.look, watch.note))


def _watched(prepared: Run, tell: Callback, work: Callable[[Watch], None]) -> None:
    """Write the notes of a study, run it, and remove leftovers of dead attempts."""
    storage, name = prepared.storage, prepared.plan.name
    watch = Watch(storage, name, prepared.plan.study.objectives, tell)
    try:
        for warning in (*prepared.bench.dataset.describe().get("warnings", []), *prepared.placement.notes):
            watch.note(f"warning: {warning}")
        write_notes(storage, prepared.bench)
        work(watch)
    except BaseException:
        storage.close()
        raise
    watch.look(now=True)
    write_notes(storage, prepared.bench)
    try:
        prepared.collect()
    except StorageError as e:
        watch.note(f"warning: leftovers were not collected: {e}")
    if not prepared.left:
        return
    if prepared.asked_to_leave:
        watch.note(f"{name} was asked to stop; run it again to continue")


@contextmanager
def _kernels(folders: Folders, wanted: str, tell: Callback, name: str) -> Iterator[Callable[[Bench], None]]:
    """Yield a function that chooses the kernels of a run; afterwards, restore those that were in use before."""
    from tuner.api.progress import NOTE, Progress

    before = compiled.enabled()
    compiled.disable()

    def choose(bench: Bench) -> None:
        if reason := choose_kernels(bench.device, wanted, lambda: folders.code / "kernels"):
            tell(Progress(name, "", NOTE, reason))

    try:
        yield choose
    finally:
        compiled.disable()
        if before:
            compiled.enable(folders.code / "kernels")


def _plan(
    study: What | None, data: Data | None, where: str, folders: Folders, variables: Mapping[str, str],
    options: dict[str, Any],
) -> Plan:  # fmt: skip
    """Make the plan of a study given in any of the accepted forms."""
    if isinstance(study, Study):
        return _stored_plan(study.name, where, folders, options["trials"])
    if data is not None or isinstance(study, Mapping):
        content: dict[str, object] = {"name": "study" if study is None else str(study)}
        if isinstance(study, Mapping):
            content = dict(study)
        if data is not None:
            content["data"] = data.section()
        return described_plan(check_study(content, str(content.get("name", "study"))), **options).plan
    if study is None:
        raise UsageError("which study? Give its name or file, or a name with data=.")
    try:
        return find_plan(str(study), variables, **options).plan
    except StudyError:
        if isinstance(study, Path) or not _is_stored(study, where):
            raise
    return _stored_plan(study, where, folders, options["trials"])


def _is_stored(name: str, where: str) -> bool:
    if "://" not in where and not Path(where).is_file():
        return False
    opened = open_existing(where, reading=True)
    try:
        return name in opened.catalog().searches
    finally:
        opened.close()


def _stored_plan(name: str, where: str, folders: Folders, trials: int | None) -> Plan:
    """Restore the plan of a stored study, with a budget no smaller than its present one."""
    opened = open_existing(where, reading=True)
    try:
        plan = restore_study(opened, name, data_dir=folders.data_dir).plan
        budget = opened.budget(opened.get_study_id_from_name(name))
    finally:
        opened.close()
    return plan if plan.sampler == "grid" else replace(plan, trials=trials or budget or plan.trials)


def _settings(folders: Folders, kernels: str) -> dict[str, str | None]:
    """Make the settings of the worker processes, whatever environment variables are set here."""
    return {
        "TUNER_DATA_DIR": None if folders.data_dir is None else str(folders.data_dir.absolute()),
        "TUNER_CACHE_DIR": str(folders.cache.absolute()) if folders.own_cache else None,
        "TUNER_COMPILED": COMPILED[kernels],
        "TUNER_LOG_FORMAT": "text",
    }


def _own(folders: Folders) -> Path | None:
    return folders.cache if folders.own_cache else None


def _sampler(sampler: str | None) -> Any:
    if sampler is not None and sampler not in get_args(Sampler):
        raise UsageError(unknown("sampler", sampler, get_args(Sampler)))
    return sampler


def _seconds(limit: float | str | None) -> float | None:
    if limit is None:
        return None
    return parse_duration(limit if isinstance(limit, str) else f"{limit:f}", "time_limit")


__all__ = ["run"]
