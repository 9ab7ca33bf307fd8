"""Why a stage of a study has no result: the reasons of its trials, the most frequent first, with their numbers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from optuna.trial import FrozenTrial, TrialState

from tuner.errors import NoResult
from tuner.storage.keys import CONFIRMATION, CONTROLS
from tuner.storage.storage import FencedStorage
from tuner.storage.trials import trial_id

SHOWN = 3  # reasons
LONGEST = 300  # characters of one
# What to do, as the beginning of a sentence.
MEMORY = (
    "Lower what takes memory (batch_size, filters and other sizes in the search space, length in [data], --workers), "
    "or allow more of it"
)
DIVERGED = "Lower learning_rate in the search space"
STOPPED = "Give the trials more epochs before the first rung of [search] stopping"
ERROR = "Correct what the error names; the logs of the workers have more"
_WHAT = {"": ("trial", ""), CONFIRMATION: ("retraining", "its confirmation: "), CONTROLS: ("control", "its controls: ")}


def why_barren(storage: FencedStorage, name: str, suffix: str = "") -> str | None:
    """Say why no trial of a stage has completed.

    Parameters
    ----------
    storage : FencedStorage
        Where the study is.
    name : str
        The study.
    suffix : str
        Of the stage: none for the search or grid, ``CONFIRMATION``, ``CONTROLS``.

    Returns
    -------
    str or None
        One line; None where a trial has completed, where none has ended, or where there is no such stage.
    """
    try:
        study_id = storage.get_study_id_from_name(name + suffix)
    except KeyError:
        return None
    counts = storage.counts(study_id)
    pruned, failed = counts[TrialState.PRUNED], counts[TrialState.FAIL]
    if counts[TrialState.COMPLETE] or not pruned + failed:
        return None
    left = storage.open_slots(study_id)
    ends = (TrialState.PRUNED, TrialState.FAIL)
    trials = [t for t in storage.light_trials(study_id, ["reason", "stopped_at"]) if t.state in ends]
    kind, stage = _WHAT[suffix]
    ended = pruned + failed
    counted = " and ".join(f"{n} {word}" for n, word in ((failed, "failed"), (pruned, "pruned")) if n)
    none = f"none of {ended} {kind}s" if ended > 1 else f"the only {kind}"
    none += " that have ended" if left and ended > 1 else " that has ended" if left else ""
    completed = "completed" if ended > 1 else "did not complete"
    reasons = frequent_reasons(trials)
    shown = [f"{r.trials} x {r.words} (first: trial {r.first.number})" for r in reasons]
    if others := len(trials) - sum(r.trials for r in reasons):
        shown.append(f"{others} with other reasons")
    text = f"{name}: {stage}{none} {completed} ({counted}): {'; '.join(shown)}."
    if left:
        return f"{text} {left} more {'have' if left > 1 else 'has'} not ended; the same tuner run goes on with them."
    stage_option = f" --stage {suffix.lstrip('.')}" if suffix else ""
    remedies = dict.fromkeys(_remedy(storage, r.first) for r in reasons)  # in order, each once
    return (
        f"{text} tuner show --name {name}{stage_option} --trial {trials[0].number} shows one. "
        f"{'. '.join(remedies)}. Then use a new study name (--name), or remove this study first (tuner delete)."
    )


class Reason(NamedTuple):
    """Why trials ended, without their numbers.

    Attributes
    ----------
    words : str
        As the first of them has it, cut where it is long.
    trials : int
        How many.
    first : optuna.trial.FrozenTrial
        The first of them.
    """

    words: str
    trials: int
    first: FrozenTrial


def frequent_reasons(trials: Sequence[FrozenTrial]) -> list[Reason]:
    """The most frequent reasons; numbers in them do not make two of one."""
    first: dict[str, tuple[str, FrozenTrial]] = {}
    counts: Counter[str] = Counter()
    for trial in trials:
        reason = " ".join(str(trial.user_attrs.get("reason", "no reason is stored")).split())
        key = re.sub(r"\d+(\.\d+)?(e[+-]?\d+)?", "#", reason)
        counts[key] += 1
        first.setdefault(key, (reason, trial))
    shown = []
    for key, n in counts.most_common(SHOWN):
        reason, trial = first[key]
        cut = reason if len(reason) <= LONGEST else reason[: LONGEST - 3] + "..."
        shown.append(Reason(cut.rstrip("."), n, trial))
    return shown


def _remedy(storage: FencedStorage, trial: FrozenTrial) -> str:
    """What to do about trials that ended as this one, by what is stored of it; its words are for people only."""
    if storage.get_trial(trial_id(trial)).system_attrs.get("constraints:memory"):
        return MEMORY
    if trial.state == TrialState.FAIL:
        return ERROR
    return STOPPED if "stopped_at" in trial.user_attrs else DIVERGED


def check_fertile(storage: FencedStorage, name: str, suffixes: Sequence[str] = ("",)) -> None:
    """Refuse to go on from a study that has nothing to show.

    Raises
    ------
    NoResult
        Trials of one of these stages have ended, and none completed; says why.
    """
    for suffix in suffixes:
        if reason := why_barren(storage, name, suffix):
            raise NoResult(reason)
