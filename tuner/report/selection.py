"""Selection of the trials to report, by a rule that uses validation only; stored before the test split is opened."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tuner.errors import StudyError
from tuner.results import words
from tuner.results.barren import why_barren
from tuner.results.confirmation import Confirmed, Verdict, confirmed
from tuner.results.findings import verdict_of
from tuner.results.leaderboard import TrialState, pareto_numbers, stage_trials
from tuner.results.overview import find_trial
from tuner.storage.keys import CONFIRMATION, REPORTS
from tuner.storage.records import kept_record
from tuner.storage.storage import FencedStorage
from tuner.study.objectives import OBJECTIVES

MOST = 3


class Choice(NamedTuple):
    """The trials of a report.

    Attributes
    ----------
    rule : str
        In words.
    trials, roles : tuple
        Trial numbers in order of reporting, and why each.
    primary : int or None
        The declared primary trial of the study.
    verdict : Verdict or None
        How sure the primary is.
    words : str
        The same in words, or why there is none.
    """

    rule: str
    trials: tuple[int, ...]
    roles: tuple[str, ...]
    primary: int | None
    verdict: Verdict | None
    words: str


def choose(
    storage: FencedStorage, name: str, objectives: Sequence[str], *, most: int = MOST, given: Sequence[int] = ()
) -> Choice:
    """Choose the trials of a report.

    Parameters
    ----------
    storage : FencedStorage
        Where the study is.
    name : str
        The study.
    objectives : sequence of str
        Its objectives.
    most : int
        How many trials at most.
    given : sequence of int
        Trials that the user names; the rule is then not used.

    Returns
    -------
    Choice
        Trials on the front of the confirmation means (without a confirmation, of the search's own values): the best by
        each objective in turn, the knee, then the others by the first objective.

    Raises
    ------
    StudyError
        No completed trial, or a given one that is not completed.
    """
    candidates = [c for c in confirmed(stage_trials(storage, name + CONFIRMATION)) if c.runs]
    verdict = verdict_of(storage, name, objectives[0], candidates)
    primary = verdict.primary if verdict else None
    said = why_barren(storage, name, CONFIRMATION) or words.primary(verdict, objectives[0])
    if given:
        numbers = tuple(dict.fromkeys(given))
        for number in numbers:
            trial = find_trial(storage, name, number)
            if trial.state != TrialState.COMPLETE:
                raise StudyError(
                    f"{name}: trial {number} is {trial.state.name.lower()}; only completed trials can be reported."
                )
        roles = tuple("named by --trials" + (", the primary trial" if n == primary else "") for n in numbers)
        return Choice("The trials that --trials names.", numbers, roles, primary, verdict, said)
    trials = stage_trials(storage, name)
    points = _confirmed_points(candidates, objectives) if candidates else _search_points(trials, objectives)
    if not points:
        raise StudyError(f"{name} has no completed trial yet, so there is nothing to report. Let tuner run finish.")
    ranked = rank(points, objectives, primary)
    rule = (
        ("The Pareto front of the confirmation means (validation)" if candidates else
         "The Pareto front of the search (validation, one seed each: optimistic), as no retraining has completed")
        + f": best {', best '.join(objectives)}{', knee' if len(objectives) > 1 else ''}, then the rest of the front "
        f"by {objectives[0]}; at most {most}."
    )  # fmt: skip
    kept = list(ranked)[:most]
    return Choice(rule, tuple(kept), tuple(ranked[n] for n in kept), primary, verdict, said)


def rank(points: Mapping[int, Sequence[float]], objectives: Sequence[str], primary: int | None) -> dict[int, str]:
    """Order the front of some points, and give each one's role.

    Parameters
    ----------
    points : mapping of int to sequence of float
        Trial -> values, larger is better.
    objectives : sequence of str
        Their names.
    primary : int or None
        The declared primary trial.

    Returns
    -------
    dict of int to str
        Trial -> role, in order of reporting.
    """
    front = {
        n: p for n, p in points.items()
        if not any(tuple(q) != tuple(p) and all(b >= a for a, b in zip(p, q, strict=True)) for q in points.values())
    }  # fmt: skip
    roles: dict[int, list[str]] = {}
    for axis, objective in enumerate(objectives):
        best = max(front, key=lambda n: (front[n][axis], front[n][0], -n))
        if axis == 0 and primary in front and front[primary][0] == front[best][0]:
            best = primary
        roles.setdefault(best, []).append(f"best {objective}")
    if len(objectives) > 1 and len(front) > 1:
        roles.setdefault(knee(front), []).append("knee of the front")
    for number in sorted(front, key=lambda n: (-front[n][0], n)):
        roles.setdefault(number, ["on the front"])
    if primary in roles:
        roles[primary].insert(0, "primary trial")
    return {number: ", ".join(said) for number, said in roles.items()}


def knee(front: Mapping[int, Sequence[float]]) -> int:
    """The point nearest to the best of every objective at once, each objective scaled to [0, 1] over the front."""
    columns = list(zip(*front.values(), strict=True))
    low, high = [min(c) for c in columns], [max(c) for c in columns]

    def distance(number: int) -> tuple[float, int]:
        gaps = [(h - v) / (h - m) if h > m else 0.0 for v, m, h in zip(front[number], low, high, strict=True)]
        return sum(g * g for g in gaps), number

    return min(front, key=distance)


def store_choice(storage: FencedStorage, name: str, choice: Choice, when: str) -> str:
    """Store the choice with its study, unless the latest record is the same.

    Parameters
    ----------
    when : str
        ISO 8601 time, recorded with a new entry.

    Returns
    -------
    str
        When this choice was stored.
    """
    plain = json.loads(json.dumps({**choice._asdict(), "verdict": choice.words}))
    del plain["words"]

    def add(attrs: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
        record = kept_record(attrs, REPORTS, name)
        if record and {k: v for k, v in record[-1].items() if k != "when"} == plain:
            return {}, str(record[-1].get("when", when))
        return {REPORTS: json.dumps([*record, {"when": when, **plain}])}, when

    study_id = storage.get_study_id_from_name(name)
    changes, stored = add(storage.get_study_system_attrs(study_id))
    if not changes:  # a role that only reads may make the page of a report again
        return stored
    return storage.update_attrs(study_id, add)


def stored_choices(storage: FencedStorage, name: str) -> list[dict[str, Any]]:
    """Every choice stored with a study, oldest first."""
    return kept_record(storage.get_study_system_attrs(storage.get_study_id_from_name(name)), REPORTS, name)


def _confirmed_points(candidates: Sequence[Confirmed], objectives: Sequence[str]) -> dict[int, tuple[float, ...]]:
    return {
        c.candidate: tuple(_signed(c.mean[o], o) for o in objectives)
        for c in candidates
        if all(o in c.mean for o in objectives)
    }


def _search_points(trials: Sequence[Any], objectives: Sequence[str]) -> dict[int, tuple[float, ...]]:
    front = pareto_numbers(trials, objectives)
    return {
        t.number: tuple(_signed(v, o) for v, o in zip(t.values, objectives, strict=True))
        for t in trials
        if t.number in front
    }


def _signed(value: float, objective: str) -> float:
    return value if OBJECTIVES[objective].direction == "maximize" else -value
