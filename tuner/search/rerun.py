"""Running a trial again as its worker did, and writing its lost or damaged files back."""

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
from tuner.search.early_stopping import EndsAt
from tuner.search.loaded import Bench
from tuner.search.stages import Confirmation, OnEpoch
from tuner.search.trial import Outcome, run_baseline, run_label_shuffled, run_network
from tuner.storage.artifacts import PREFIX, Artifacts, entries_of
from tuner.storage.digests import digest_of, recorded_digests, stage_of
from tuner.storage.storage import FencedStorage
from tuner.storage.trials import trial_id
from tuner.study.plan import mix

# What holds measured seconds, or was drawn by a library that may draw otherwise by now.
DERIVED = (".svg", ".png", "history.tsv")


class Restored(NamedTuple):
    """What became of a file that was lost or damaged.

    Attributes
    ----------
    name : str
        The file.
    state : str
        ``restored``: to the digest that was recorded; ``made anew``: it holds seconds or is a drawing, or nobody
        recorded its digest, and the new one was recorded; ``refused``: the new one differs from what was stored, and
        nothing was written.
    """

    name: str
    state: str


def run_again(storage: FencedStorage, bench: Bench, trial: FrozenTrial, on_epoch: OnEpoch) -> Outcome:
    """Do a trial's work as its worker did, as far as it did.

    Raises
    ------
    TrainingDiverged
        As it may have then.
    """
    stage = stage_of(trial)
    if stage == "controls":
        control = str(trial.params["control"])
        if control != "label-shuffled":
            return run_baseline(bench, control)
        candidate = stage_trials(storage, bench.plan.name)[int(trial.user_attrs["candidate"])]
        replicate = int(trial.user_attrs["replicate"])
        return run_label_shuffled(bench, candidate.params, replicate=replicate, on_epoch=on_epoch)
    if stage == "confirmation":
        with TemporaryDirectory() as folder:
            return Confirmation(bench.plan).execute(
                bench, cast(optuna.Trial, trial), trial.params, Path(folder) / "checkpoint", on_epoch
            )
    rung = trial.user_attrs.get("stopped_at")
    seed = int(trial.user_attrs.get("seed", mix(bench.plan.seed, trial.number)))
    gate = None if rung is None else EndsAt(int(rung))
    return run_network(bench, trial.params, seed=seed, on_epoch=on_epoch, gate=gate)


def restore_files(
    storage: FencedStorage, artifacts: Artifacts, study_id: int, trial: FrozenTrial, names: list[str],
    made: Mapping[str, bytes],
) -> list[Restored]:  # fmt: skip
    """Write files of a trial back that were made again with it.

    Parameters
    ----------
    storage, artifacts : FencedStorage, Artifacts
        Where the trial and its files are.
    study_id : int
        The Optuna study of the trial.
    trial : FrozenTrial
        As it is stored.
    names : list of str
        Which files.
    made : mapping of str to bytes
        What a run gave that reached exactly the stored values.

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
        raise StorageError(f"trial {trial.number} was never run by tuner; it takes no files.")
    entries = artifacts.put(files, max(tokens, key=lambda t: tokens[t]), late=True)
    if not storage.add_files(study_id, trial.number, entries):
        artifacts.discard(entries)  # another process wrote them meanwhile
        return
    for key, entry in entries.items():  # a collection of leftovers may have taken a slow upload for one
        identifier = key.removeprefix(PREFIX)
        if key.startswith(PREFIX) and not any(s.key == identifier for s in artifacts.store.find(identifier)):
            artifacts.restore(identifier, files[json.loads(entry)["filename"]])
