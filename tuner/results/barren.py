"""Why a stage of a study has no result: the reasons of its trials, the most frequent first, with their numbers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState

from tuner.errors import NoResult
from tuner.storage.keys import CONFIRMATION, CONTROLS
from tuner.storage.storage import FencedStorage

SHOWN = 3  # reasons
LONGEST = 300  # characters of one
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
    trials = [t for t in storage.light_trials(study_id, ["reason"]) if t.state in ends]
    kind, stage = _WHAT[suffix]
    ended = pruned + failed
    counted = " and ".join(f"{n} {word}" for n, word in ((failed, "failed"), (pruned, "pruned")) if n)
    none = f"none of {ended} {kind}s" if ended > 1 else f"the only {kind}"
    none += " that have ended" if left and ended > 1 else " that has ended" if left else ""
    completed = "completed" if ended > 1 else "did not complete"
    text = f"{name}: {stage}{none} {completed} ({counted}): {'; '.join(frequent_reasons(trials))}."
    if left:
        return f"{text} {left} more {'have' if left > 1 else 'has'} not ended; the same tuner run goes on with them."
    stage_option = f" --stage {suffix.lstrip('.')}" if suffix else ""
    return (
        f"{text} tuner show --name {name}{stage_option} --trial {trials[0].number} shows one. Mend the cause, then use "
        "a new study name (--name), or remove this study first (tuner delete)."
    )


def frequent_reasons(trials: Sequence[FrozenTrial]) -> list[str]:
    """The most frequent reasons, each with its count and its first trial; numbers do not make two reasons of one."""
    first: dict[str, tuple[str, int]] = {}
    counts: Counter[str] = Counter()
    for trial in trials:
        reason = " ".join(str(trial.user_attrs.get("reason", "no reason is stored")).split())
        key = re.sub(r"\d+(\.\d+)?(e[+-]?\d+)?", "#", reason)
        counts[key] += 1
        first.setdefault(key, (reason, trial.number))
    shown = []
    for key, n in counts.most_common(SHOWN):
        reason, number = first[key]
        cut = reason if len(reason) <= LONGEST else reason[: LONGEST - 3] + "..."
        shown.append(f"{n} x {cut.rstrip('.')} (first: trial {number})")
    others = sum(counts.values()) - sum(n for _, n in counts.most_common(SHOWN))
    return [*shown, f"{others} with other reasons"] if others else shown


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
