"""Delete a study: its stages, their artifacts and checkpoints.

Everybody is shut out first, so that nothing is added to what was counted; then files go, then rows. Who works on the
study learns it from its next call and leaves.
"""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import NamedTuple

from tuner.errors import StorageError, StudyError
from tuner.results.leaderboard import stage_trials
from tuner.results.leftovers import collect_buried, collect_leftovers, list_store
from tuner.results.overview import STAGES
from tuner.storage.artifacts import PREFIX, Artifacts, is_identifier
from tuner.storage.names import folder_name
from tuner.storage.storage import FencedStorage
from tuner.storage.workers import GRACE_SECONDS


class Doomed(NamedTuple):
    """What a deletion would remove.

    Attributes
    ----------
    name : str
        The study.
    stages : list of str
        Its Optuna studies.
    trials : int
        Their trials.
    artifacts : list of str
        Keys of their artifacts.
    """

    name: str
    stages: list[str]
    trials: int
    artifacts: list[str]


def doomed(storage: FencedStorage, name: str, *, force: bool = False) -> Doomed:
    """Find what belongs to a study, and refuse while somebody works on it.

    Parameters
    ----------
    storage : FencedStorage
        Where the study is.
    name : str
        The study.
    force : bool
        Do not refuse.

    Raises
    ------
    StudyError
        A trial is running and its worker is alive.
    """
    known = storage.catalog()
    present = {**known.searches, **known.stages}  # a study of that name by another program stays
    stages = [name + suffix for suffix in STAGES.values() if name + suffix in present]
    for stage in stages if not force else ():
        study_id = storage.get_study_id_from_name(stage)
        storage.reap(study_id, grace=GRACE_SECONDS)  # processes of this machine that have ended
        live = [r for r in storage.running(study_id) if r.beat_age < GRACE_SECONDS]
        if live:
            r = live[0]
            raise StudyError(
                f"{stage}: trial {r.number} is running on {r.host} (process {r.pid}, heartbeat "
                f"{r.beat_age:.0f} s ago). Stop its workers first, or delete with --force."
            )
    trials = [t for stage in stages for t in stage_trials(storage, stage)]
    attributes = [t.system_attrs for t in trials]
    attributes += [storage.get_study_system_attrs(storage.get_study_id_from_name(s)) for s in stages]
    keys = [key for attrs in attributes for key in attrs if key.startswith(PREFIX)]
    keys = [key for key in keys if is_identifier(key.removeprefix(PREFIX))]  # what another program stored is not ours
    return Doomed(name, stages, len(trials), keys)


def delete(storage: FencedStorage, what: Doomed, artifacts: Artifacts, beside: list[Path]) -> None:
    """Shut everybody out, delete leftovers, artifacts and folders, then the studies; it can be repeated.

    The store is listed once, which takes long where it holds many studies. What a worker that was shut out writes
    after that is collected by the next run or deletion.

    Parameters
    ----------
    storage : FencedStorage
        Where the studies are.
    what : Doomed
        From `doomed`.
    artifacts : Artifacts
        Store of the artifacts.
    beside : list of Path
        Folders that hold one folder a stage: checkpoints first, then logs.

    Raises
    ------
    StorageError
        A file cannot be removed; the studies are still there.
    """
    for stage in what.stages:
        storage.condemn(storage.get_study_id_from_name(stage))
    what = doomed(storage, what.name, force=True)  # with what was stored since it was counted
    try:
        listed = list_store(artifacts)  # nobody works on the study any more
        removed = collect_leftovers(
            storage, artifacts, what.name, older_than=-math.inf, condemned=True, listed=listed
        )  # of all its stages
        artifacts.remove(what.artifacts)
        for folder in beside:
            for stage in what.stages:
                if (folder / folder_name(stage)).is_dir():  # a stored name is no path
                    shutil.rmtree(folder / folder_name(stage))
    except OSError as e:
        raise StorageError(f"{e.filename}: cannot be removed ({e.strerror}); the study is still there.") from e
    for stage in reversed(what.stages):
        storage.delete_study(storage.get_study_id_from_name(stage))
    left = sorted(set(listed) - set(removed))
    collect_buried(storage, artifacts, beside[0] if beside else None, listed=left)
