"""Repeating a trial as its worker ran it, and restoring its lost or damaged files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, cast

import optuna
from optuna.trial import FrozenTrial

from tuner.errors import StorageError
from tuner.results.leaderboard import stage_trials
from tuner.results.nulls import NULLS
from tuner.search.early_stopping import StopsAt
from tuner.search.loaded import Bench
from tuner.search.null_networks import run_null
from tuner.search.stages import Confirmation, OnEpoch
from tuner.search.trial import Outcome, run_baseline, run_network
from tuner.storage.artifacts import PREFIX, Artifacts, entries_of
from tuner.storage.digests import digest_of, recorded_digests, stage_of
from tuner.storage.storage import FencedStorage
from tuner.storage.trials import trial_id
from tuner.study.plan import mix

# Files that contain measured seconds, or were drawn by a library whose drawings may differ by now.
DERIVED = (".svg", ".png", "history.tsv")


class Restored(NamedTuple):
    """Result for a file that was lost or damaged.

    Attributes
    ----------
    name : str
        The file.
    state : str
        ``restored``: it has the recorded digest; ``made anew``: it contains seconds or is a drawing, or no digest was
        recorded, and the new digest was recorded; ``refused``: the new file differs from the stored one, and nothing
        was written.
    """

    name: str
    state: str


def run_again(storage: FencedStorage, bench: Bench, trial: FrozenTrial, on_epoch: OnEpoch) -> Outcome:
    """Repeat a trial as its worker ran it, up to the same epoch.

    Raises
    ------
    TrainingDiverged
        The training diverged, as it may have done before.
    """
    stage = stage_of(trial)
    if stage == "controls":
        control = str(trial.params["control"])
        if control not in NULLS:
            return run_baseline(bench, control)
        candidate = stage_trials(storage, bench.plan.name)[int(trial.user_attrs["candidate"])]
        replicate = int(trial.user_attrs["replicate"])
        return run_null(bench, candidate.params, control, replicate=replicate, on_epoch=on_epoch)
    if stage == "confirmation":
        with TemporaryDirectory() as folder:
            return Confirmation(bench.plan).execute(
                bench, cast(optuna.Trial, trial), trial.params, Path(folder) / "checkpoint", on_epoch
            )
    rung = trial.user_attrs.get("stopped_at")
    seed = int(trial.user_attrs.get("seed", mix(bench.plan.seed, trial.number)))
    stopping = None if rung is None else StopsAt(int(rung))
    return run_network(bench, trial.params, seed=seed, on_epoch=on_epoch, stopping=stopping)


def restore_files(
    storage: FencedStorage, artifacts: Artifacts, study_id: int, trial: FrozenTrial, names: list[str],
    made: Mapping[str, bytes],
) -> list[Restored]:  # fmt: skip
    """Restore files of a trial from its repetition.

    Parameters
    ----------
    storage, artifacts : FencedStorage, Artifacts
        Where the trial and its files are.
    study_id : int
        The Optuna study of the trial.
    trial : FrozenTrial
        As it is stored.
    names : list of str
        Files to restore.
    made : mapping of str to bytes
        Files of a repetition that reached exactly the stored values.

    Raises
    ------
    StorageError
        The store cannot be written.
    """
    known, identifiers = recorded_digests(trial.system_attrs), dict(entries_of(trial))
    done, late = [], dict[str, bytes]()
    for name in names:
        expected = known.get(name)
        same = name in made and digest_of(made[name]) == expected
        if name not in made or not (same or expected is None or name.endswith(DERIVED)):
            done.append(Restored(name, "refused"))
            continue
        if name in identifiers:
            artifacts.restore(identifiers[name], made[name])
            if not same:
                storage.record_digest(study_id, trial.number, name, identifiers[name], digest_of(made[name]))
        else:
            late[name] = made[name]
        done.append(Restored(name, "restored" if same else "made anew"))
    if late:
        _add(storage, artifacts, study_id, trial, late)
    return done


def _add(
    storage: FencedStorage, artifacts: Artifacts, study_id: int, trial: FrozenTrial, files: Mapping[str, bytes]
) -> None:
    tokens = storage.slot_tokens(trial_id(trial))
    if not tokens:
        raise StorageError(f"trial {trial.number} was never run by tuner, so files cannot be added to it.")
    entries = artifacts.put(files, max(tokens, key=lambda t: tokens[t]), late=True)
    if not storage.add_files(study_id, trial.number, entries):
        artifacts.discard(entries)  # another process wrote them meanwhile
        return
    for key, entry in entries.items():  # meanwhile a slow upload may have been removed as a leftover
        identifier = key.removeprefix(PREFIX)
        if key.startswith(PREFIX) and not any(s.key == identifier for s in artifacts.store.find(identifier)):
            artifacts.restore(identifier, files[json.loads(entry)["filename"]])
