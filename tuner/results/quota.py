"""A study's disk quota: whose files go when it is exceeded.

Values are never touched, nor the study's own files, nor those of confirmation and controls. Of the search keep all
their files: the Pareto front, the candidates, and the latest trials. The others lose their weights first, the oldest
trial before the younger, and then the rest but for the history of their epochs. What is protected may exceed the
quota: that is said.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from optuna.trial import FrozenTrial, TrialState

from tuner.errors import StorageError
from tuner.results.leaderboard import choose_candidates, objective_names, pareto_numbers, stage_trials
from tuner.results.overview import STAGES
from tuner.results.trial_files import WEIGHTS
from tuner.storage.artifacts import PREFIX, Artifacts
from tuner.storage.keys import QUOTA
from tuner.storage.records import REMEDY, file_name, is_count
from tuner.storage.storage import FencedStorage
from tuner.study.file import read_bytes

log = logging.getLogger("tuner.worker")

RECENT = 10
KEPT = "history.tsv"  # small, and a table of all epochs needs it


class Use(NamedTuple):
    """What a study's files take, and what of it may go.

    Attributes
    ----------
    bytes : int
        Of all files of all its trials.
    protected : set of int
        Trials of the search that keep their files.
    """

    bytes: int
    protected: set[int]


def set_quota(storage: FencedStorage, name: str, given: str | None, *, default: str | None = None) -> None:
    """Give a study its quota.

    Parameters
    ----------
    storage : FencedStorage
        Where the study is.
    name : str
        The study.
    given : str or None
        A size such as ``2 GB``, or ``none`` to take the quota away; None changes nothing.
    default : str, optional
        The quota of a study that was never given one.

    Raises
    ------
    StudyError
        Not a size.
    """
    study_id = storage.get_study_id_from_name(name)
    first, asked = read_quota(given or default), read_quota(given)  # before anything is locked

    def choose(attrs: Mapping[str, Any]) -> tuple[dict[str, Any], None]:
        wanted = asked if QUOTA in attrs else first
        return ({QUOTA: wanted} if given is not None or wanted is not None else {}), None

    if given is not None or first is not None:
        storage.update_attrs(study_id, choose)


def read_quota(text: str | None) -> int | None:
    """Bytes of a size such as ``2 GB``; None for ``none`` or nothing.

    Raises
    ------
    StudyError
        Not a size.
    """
    return None if text in (None, "none") else read_bytes(str(text))


def measure_use(storage: FencedStorage, name: str, candidates: int) -> Use:
    """Add up a study's files, and find the trials that keep theirs."""
    known = storage.catalog()
    there = {**known.searches, **known.stages}
    stages = [there[name + suffix] for suffix in STAGES.values() if name + suffix in there]
    total = sum(n for study_id in stages for of_trial in storage.sizes(study_id).values() for n in of_trial.values())
    trials, objectives = stage_trials(storage, name), objective_names(storage, name)
    return Use(total, pareto_numbers(trials, objectives) | set(choose_candidates(trials, objectives, candidates))
               | _recent(trials) | _confirmed(storage, name))  # fmt: skip


def _recent(trials: list[FrozenTrial]) -> set[int]:
    ended = [t for t in trials if t.state == TrialState.COMPLETE and t.datetime_complete is not None]
    ended.sort(key=lambda t: (t.datetime_complete, t.number))
    return {t.number for t in ended[-RECENT:]}


def _confirmed(storage: FencedStorage, name: str) -> set[int]:
    runs = stage_trials(storage, name + STAGES["confirmation"])
    return {int(t.user_attrs["candidate"]) for t in runs if "candidate" in t.user_attrs}


def enforce_quota(storage: FencedStorage, artifacts: Artifacts, name: str, candidates: int) -> int:
    """Remove files until the study is within its quota, or only protected ones are left.

    The entries go first and the bytes after them: files whose removal was interrupted are leftovers.

    Parameters
    ----------
    storage, artifacts : FencedStorage, Artifacts
        Where the study and its files are.
    name : str
        The study.
    candidates : int
        How many trials its confirmation retrains.

    Returns
    -------
    int
        Bytes that were removed.

    Raises
    ------
    StorageError
        A file cannot be removed, or what is stored of quota and files is not what tuner writes.
    """
    study_id = storage.get_study_id_from_name(name)
    quota = storage.get_study_system_attrs(study_id).get(QUOTA)
    if quota is None:
        return 0
    if not is_count(quota):
        raise StorageError(f"{name}: the attribute {QUOTA} {REMEDY} Or set it with tuner run --artifact-quota SIZE.")
    use = measure_use(storage, name, candidates)
    removed = 0
    for number, identifiers, size in _removable(storage.files(study_id), storage.sizes(study_id), use.protected):
        if use.bytes - removed <= quota:
            break
        storage.drop_files(study_id, number, identifiers)
        artifacts.remove(PREFIX + i for i in identifiers)
        removed += size
    if removed:
        log.info("%s: %d bytes of files removed to keep its quota of %d", name, removed, quota)
    if use.bytes - removed > quota:
        log.warning("%s: %d bytes above its quota; what is left is protected", name, use.bytes - removed - quota)
    return removed


def _removable(
    files: Mapping[int, Mapping[str, str]], sizes: Mapping[int, Mapping[str, int]], protected: set[int]
) -> Iterator[tuple[int, list[str], int]]:
    """Trial, ids and bytes, in the order in which they go."""
    for weights in (True, False):
        for number in sorted(files.keys() & sizes.keys() - protected):
            named = ((key.removeprefix(PREFIX), file_name(value)) for key, value in files[number].items())
            names = {i: n for i, n in named if n is not None and i in sizes[number]}
            chosen = [i for i, n in names.items() if n != KEPT and (n == WEIGHTS) is weights]
            if chosen:
                yield number, chosen, sum(sizes[number][i] for i in chosen)
