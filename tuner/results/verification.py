"""Database and files of a study checked as one unit: what is missing, damaged or contradicts itself, and the remedy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from optuna.trial import FrozenTrial, TrialState

from tuner.results.leaderboard import stage_trials
from tuner.results.leftovers import find_leftovers
from tuner.results.overview import STAGES
from tuner.storage.artifacts import PREFIX, Artifacts, entries_of, is_identifier, undigested
from tuner.storage.digests import BadFile, Digest, figures_of, missing_names, recorded_digests
from tuner.storage.ownership import Slot
from tuner.storage.records import file_name
from tuner.storage.storage import FencedStorage

FOREIGN = "another program changed it; take the database from a backup, or delete the study and run it again"
TERMINAL = {"complete", "pruned", "fail"}


class Problem(NamedTuple):
    """One thing that is wrong.

    Attributes
    ----------
    stage : str
        ``search``, ``confirmation`` or ``controls``.
    trial : int or None
        None: of the stage as a whole.
    file : str or None
        None: of the database.
    message : str
        What, and where.
    remedy : str
        What to do.
    """

    stage: str
    trial: int | None
    file: str | None
    message: str
    remedy: str


class Verified(NamedTuple):
    """What a check found.

    Attributes
    ----------
    study : str
        The study.
    trials, files : int
        How many were checked.
    undigested : int
        Files of an older version, whose digest nobody recorded: only their sizes were compared.
    leftovers, leftover_bytes : int
        Files of attempts that died; they do no harm, and ``tuner run`` removes them at its end.
    problems : list of Problem
        Empty where all is well.
    """

    study: str
    trials: int
    files: int
    undigested: int
    leftovers: int
    leftover_bytes: int
    problems: list[Problem]


def verify(storage: FencedStorage, artifacts: Artifacts, name: str) -> Verified:
    """Check a study: every file of its trials and its own, its trials against their attempts, slots against budget.

    Parameters
    ----------
    storage, artifacts : FencedStorage, Artifacts
        Where the study and its files are; both may be in use.
    name : str
        The study; its stages are checked too.

    Raises
    ------
    StorageError
        Database or store stayed away.
    """
    known = storage.catalog()
    there = {**known.searches, **known.stages}  # what other programs have in the database is not read
    problems: list[Problem] = []
    trials = files = without = 0
    for stage, suffix in STAGES.items():
        study_id = there.get(name + suffix)
        if study_id is None:
            continue
        slots = storage.slots_of(study_id)
        directions = len(storage.get_study_directions(study_id))
        problems += _slots(stage, slots, directions, storage.budget(study_id))
        trials += len(slots)
        for trial in storage.get_all_trials(study_id, deepcopy=False):  # whatever is wrong with them is named here
            files += len(artifacts.names(trial))
            without += len(undigested(trial))
            problems += _trial_files(storage, artifacts, name, stage, study_id, trial)
        attributes = storage.get_study_system_attrs(study_id)
        own = _study_files(name, attributes)
        files += len(own)
        without += sum(digest is None for digest in own.values())
        problems += _study_problems(artifacts, name, stage, attributes, own)
    left = find_leftovers(storage, artifacts, name)
    return Verified(name, trials, files, without, len(left), sum(s.size for s in left), problems)


def _slots(stage: str, slots: list[Slot], objectives: int, budget: int | None) -> Iterator[Problem]:
    for slot in slots:
        wrong = _contradiction(slot, objectives)
        if wrong:
            yield Problem(stage, slot.number, None, f"is {slot.state.name}, and {wrong}", FOREIGN)
    numbers = [slot.number for slot in slots]
    if numbers != list(range(len(numbers))):
        yield Problem(stage, None, None, f"{len(numbers)} trials are not numbered 0 to {len(numbers) - 1}", FOREIGN)
    if budget is None and numbers:
        yield Problem(stage, None, None, f"{len(numbers)} trials, and no budget is stored", FOREIGN)
    if budget is not None and len(numbers) > budget:
        yield Problem(stage, None, None, f"{len(numbers)} trials, and the budget is {budget}", FOREIGN)


def _contradiction(slot: Slot, objectives: int) -> str:
    """How the state of a trial contradicts its attempts; empty where it does not."""
    live, ended = slot.outcomes.count("live"), [o for o in slot.outcomes if o in TERMINAL]
    if slot.state == TrialState.RUNNING:
        return "" if live == 1 and not ended else "no attempt is live" if not live else f"attempts ended as {ended}"
    if live:
        return "an attempt is live"
    if slot.state == TrialState.WAITING:
        return f"an attempt ended as {ended[0]}" if ended else ""
    failed = "failed" in slot.outcomes and not ended  # after so many errors or crashes
    expected = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "fail"}[slot.state]
    if ended != [expected] and not (failed and slot.state != TrialState.COMPLETE):
        return f"its attempts ended as {', '.join(slot.outcomes) or 'nothing: there are none'}"
    if slot.state == TrialState.COMPLETE and slot.values != objectives:
        return f"it has {slot.values} values for {objectives} objectives"
    return ""


def _trial_files(
    storage: FencedStorage, artifacts: Artifacts, name: str, stage: str, study_id: int, trial: FrozenTrial
) -> Iterator[Problem]:
    option = "" if stage == "search" else f" --stage {stage}"
    remedy = f"tuner rerun --name {name}{option} --trial {trial.number}"
    if never_written(trial):
        reason = trial.user_attrs["artifacts_error"]
        yield Problem(stage, trial.number, None, f"its files could not be written: {reason}", remedy)
    bad = bad_files(artifacts, trial)
    if not bad:
        return
    identifiers = dict(entries_of(trial))
    now = storage.files(study_id).get(trial.number, {})  # a quota may have taken files away since
    for file, message in bad.items():
        if file not in identifiers or PREFIX + identifiers[file] in now:
            yield Problem(stage, trial.number, file, message.partition(" tuner rerun")[0], remedy)


def _study_files(name: str, attributes: Mapping[str, Any]) -> dict[str, str | None]:
    """Id of each file of a study -> its SHA-256, if that was recorded."""
    found: dict[str, str | None] = {
        key.removeprefix(PREFIX): None
        for key, value in attributes.items()
        # optuna-dashboard leaves null of an entry that a person deleted there.
        if key.startswith(PREFIX) and value != "null" and is_identifier(key.removeprefix(PREFIX))
    }
    for key, sha256 in figures_of(attributes, name).values():
        found[key.removeprefix(PREFIX)] = sha256
    return found


def _study_problems(
    artifacts: Artifacts, name: str, stage: str, attributes: Mapping[str, Any], files: Mapping[str, str | None]
) -> Iterator[Problem]:
    for identifier, sha256 in files.items():
        file = file_name(attributes.get(PREFIX + identifier)) or identifier
        remedy = f"tuner report --name {name} draws it again"
        try:
            artifacts.read(identifier, file, expected=Digest(sha256, None))
        except BadFile as e:
            yield Problem(stage, None, file, str(e), remedy)


def bad_files(artifacts: Artifacts, trial: FrozenTrial) -> dict[str, str]:
    """What is wrong with each file of a trial that is not as it was stored, by name; empty where all is well.

    Raises
    ------
    StorageError
        The store stayed away.
    """
    found: dict[str, str] = {}
    there = artifacts.names(trial)
    for name in [*there, *(n for n in missing_names(trial.system_attrs) if n not in there)]:
        try:
            artifacts.get(trial, name)
        except BadFile as e:
            found[name] = str(e)
    return found


def never_written(trial: FrozenTrial) -> bool:
    """Whether an older version stored a trial without its files, and without their names."""
    return "artifacts_error" in trial.user_attrs and not recorded_digests(trial.system_attrs) and not any(
        key.startswith(PREFIX) for key in trial.system_attrs
    )  # fmt: skip


def is_other_store(storage: FencedStorage, artifacts: Artifacts, name: str) -> bool:
    """Whether a store holds none of a study's files: it is probably not the one that the study was made with."""
    known = storage.catalog()
    there = {**known.searches, **known.stages}
    ids: list[str] = []
    for stage in (name + suffix for suffix in STAGES.values() if name + suffix in there):
        attributes = storage.get_study_system_attrs(storage.get_study_id_from_name(stage))
        ids += [key.removeprefix(PREFIX) for key in attributes if key.startswith(PREFIX)]
        ids += [i for trial in stage_trials(storage, stage) for _, i in entries_of(trial)]
    kept = {s.key for s in artifacts.store.find()}
    return bool(ids) and kept.isdisjoint(ids)
