"""What a study is doing now: trials by state, who runs what, how fast, and what went wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from optuna.trial import FrozenTrial, TrialState

from tuner.errors import StudyError, unknown
from tuner.results.barren import why_barren
from tuner.results.leaderboard import TERMINAL, objective_names, stage_trials
from tuner.results.test_split import openings, other_openings
from tuner.storage.keys import CONFIRMATION, CONTROLS
from tuner.storage.storage import FencedStorage
from tuner.storage.trials import BROKEN
from tuner.study.directions import maximized

STAGES: Mapping[str, str] = {"search": "", "confirmation": CONFIRMATION, "controls": CONTROLS}
RECENT = 20  # trials whose pace is the throughput: a study resumed after a week has not slowed down


class StageOverview(NamedTuple):
    """One stage of a study.

    Attributes
    ----------
    stage : str
        ``search``, ``confirmation`` or ``controls``.
    total : int
        Slots that the stage is to end with.
    ended : int
        Slots with a terminal result.
    states : dict of str to int
        ``complete``, ``pruned``, ``failed``, ``running``, ``waiting``: slots that exist, by state.
    running : list of dict
        A slot under execution: ``trial, attempt, worker, host, pid, epoch, epochs, auroc,
        heartbeat_seconds``; what the first epoch has not yet told is None.
    pruned, failed, without_files : list of dict
        ``trial`` and ``reason``: diverged or out of memory; failed for good; complete, but its artifacts
        could not be written.
    trials_per_hour : float or None
        Over the latest trials; None before two have ended.
    """

    stage: str
    total: int
    ended: int
    states: dict[str, int]
    running: list[dict[str, Any]]
    pruned: list[dict[str, Any]]
    failed: list[dict[str, Any]]
    without_files: list[dict[str, Any]]
    trials_per_hour: float | None

    @property
    def seconds_left(self) -> float | None:
        """Until the last slot ends at the present pace; None before there is a pace."""
        if not self.trials_per_hour:
            return None
        return 3600 * (self.total - self.ended) / self.trials_per_hour


class Overview(NamedTuple):
    """A whole study.

    Attributes
    ----------
    study : str
        Name in the storage.
    stages : list of StageOverview
        Those that exist.
    best : dict of str to dict
        Objective -> ``value`` and ``trial`` of the best completed trial; validation, one seed each.
    test_openings : list of dict
        The record of test openings, oldest first.
    no_result : list of str
        Why a stage whose trials have ended has none that completed.
    other_openings : list of dict
        The record of scorings on data that are not the study's own, oldest first.
    """

    study: str
    stages: list[StageOverview]
    best: dict[str, dict[str, float]]
    test_openings: list[dict[str, Any]]
    no_result: list[str]
    other_openings: list[dict[str, Any]]

    @property
    def finished(self) -> bool:
        """Whether every slot of every stage that exists has ended."""
        return all(s.ended >= s.total for s in self.stages)

    def as_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold."""
        return {**self._asdict(), "finished": self.finished, "stages": [s._asdict() for s in self.stages]}


def overview(storage: FencedStorage, name: str) -> Overview:
    """Look at every stage of a study."""
    known = storage.catalog()
    there = {**known.searches, **known.stages}  # a study of that name by another program is no stage
    looked = {
        label: _look(storage, storage.get_study_id_from_name(name + suffix), label)
        for label, suffix in STAGES.items()
        if name + suffix in there
    }
    trials = looked["search"][1] if "search" in looked else []
    barren = [
        text for suffix in STAGES.values() if name + suffix in there and (text := why_barren(storage, name, suffix))
    ]
    stages = [stage for stage, _ in looked.values()]
    best = _best(trials, objective_names(storage, name))
    return Overview(name, stages, best, openings(storage, name), barren, other_openings(storage, name))


def find_trial(storage: FencedStorage, name: str, number: int, stage: str = "search") -> FrozenTrial:
    """Find one trial of one stage.

    Raises
    ------
    StudyError
        Unknown stage, or no such trial; says which numbers there are.
    """
    if stage not in STAGES:
        raise StudyError(unknown("stage", stage, STAGES))
    known = storage.catalog()
    study_id = {**known.searches, **known.stages}.get(name + STAGES[stage])
    trials = 0
    if study_id is not None:
        try:
            return storage.get_trial(storage.get_trial_id_from_study_id_trial_number(study_id, number))
        except KeyError:
            trials = sum(storage.counts(study_id).values())
        except BROKEN:
            stage_trials(storage, name + STAGES[stage])  # says which study somebody has written over
            raise
    there = f"trials 0 to {trials - 1}" if trials else "no trial yet"
    raise StudyError(f"{name}: no trial {number} in the {stage}; it has {there}.")


def _look(storage: FencedStorage, study_id: int, label: str) -> tuple[StageOverview, list[FrozenTrial]]:
    """One stage, and its trials: thousands are read once."""
    trials = storage.light_trials(study_id, ["reason", "artifacts_error"])
    words = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed",
             TrialState.RUNNING: "running", TrialState.WAITING: "waiting"}  # fmt: skip
    seen = StageOverview(
        stage=label,
        total=storage.budget(study_id) or len(trials),
        ended=sum(t.state in TERMINAL for t in trials),
        states={word: sum(t.state == state for t in trials) for state, word in words.items()},
        running=[
            {
                "trial": r.number, "attempt": r.attempt, "worker": r.worker, "host": r.host, "pid": r.pid,
                **{key: (r.progress or {}).get(key) for key in ("epoch", "epochs", "auroc")},
                "heartbeat_seconds": round(r.beat_age, 1),
            }
            for r in storage.running(study_id)
        ],
        pruned=_reasons(trials, TrialState.PRUNED, "reason"),
        failed=_reasons(trials, TrialState.FAIL, "reason"),
        without_files=_reasons(trials, TrialState.COMPLETE, "artifacts_error"),
        trials_per_hour=_pace(trials),
    )  # fmt: skip
    return seen, trials


def _reasons(trials: Sequence[FrozenTrial], state: TrialState, key: str) -> list[dict[str, Any]]:
    return [
        {"trial": t.number, "reason": str(t.user_attrs.get(key, "no reason stored"))}
        for t in trials
        if t.state == state and (state != TrialState.COMPLETE or key in t.user_attrs)
    ]


def _pace(trials: Sequence[FrozenTrial]) -> float | None:
    times = [(t.datetime_start, t.datetime_complete) for t in trials if t.state in TERMINAL]
    ended = sorted((end, start) for start, end in times if start is not None and end is not None)[-RECENT:]
    if len(ended) < 2:
        return None
    seconds = (ended[-1][0] - min(start for _, start in ended)).total_seconds()
    return round(3600 * len(ended) / seconds, 1) if seconds > 0 else None


def _best(trials: Sequence[FrozenTrial], objectives: Sequence[str]) -> dict[str, dict[str, float]]:
    complete = [t for t in trials if t.state == TrialState.COMPLETE]
    found: dict[str, dict[str, float]] = {}
    for i, name in enumerate(objectives if complete else ()):
        sign = 1 if maximized(name) else -1
        best = max(complete, key=lambda t: (sign * t.values[i], -t.number))
        found[name] = {"value": best.values[i], "trial": best.number}
    return found
