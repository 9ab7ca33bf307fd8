"""What a study has found, in one look: leaderboard, retrained candidates, verdict, controls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tuner.results.confirmation import Confirmed, Verdict, confirmed, declare
from tuner.results.leaderboard import TrialRow, TrialState, leaderboard, light_trials, stage_trials, watched
from tuner.storage.keys import CONFIRMATION, CONTROLS, WITHOUT_GROUPS
from tuner.storage.storage import FencedStorage

BESIDE = ("average_precision", "target_fraction", "parameters")  # shown beside the objectives
SHOWN = (*BESIDE, "reason", "warm_start")


class Findings(NamedTuple):
    """What a study has found.

    Attributes
    ----------
    rows : list of TrialRow
        The leaderboard.
    candidates : list of Confirmed
        Candidates as far as they were retrained.
    verdict : Verdict or None
        The primary trial; None before the first retraining.
    controls : dict of str to list of float
        Control -> its validation AUROCs.
    """

    rows: list[TrialRow]
    candidates: list[Confirmed]
    verdict: Verdict | None
    controls: dict[str, list[float]]


def findings(
    storage: FencedStorage,
    name: str,
    objectives: Sequence[str],
    attributes: Sequence[str] | None = SHOWN,
    params: Sequence[str] | None = ("architecture", "activation"),
    top: int | None = None,
) -> Findings:
    """Read what a study has found.

    Parameters
    ----------
    storage : FencedStorage
        Where the study is.
    name : str
        The study.
    objectives : sequence of str
        Of the study.
    attributes, params : sequence of str, optional
        What rows of the leaderboard have (None: all): those of 5,000 trials take seconds to read.
    top : int, optional
        Only so many of the best rows have them, others their reason.
    """
    if top is None:
        rows = leaderboard(light_trials(storage, name, attributes, params), objectives)
    else:
        rows = leaderboard(light_trials(storage, name, ["reason"]), objectives)
        best = {r.number for r in rows[:top]}
        whole = {t.number: t for t in light_trials(storage, name, attributes, params, best)}
        rows[:top] = [
            r._replace(watched=watched(t), params=dict(t.params)) for r in rows[:top] for t in [whole[r.number]]
        ]
    candidates = confirmed(stage_trials(storage, name + CONFIRMATION))
    controls: dict[str, list[float]] = {}
    for trial in stage_trials(storage, name + CONTROLS):
        if trial.state == TrialState.COMPLETE:
            controls.setdefault(str(trial.params["control"]), []).append(trial.values[0])
    return Findings(rows, candidates, verdict_of(storage, name, objectives[0], candidates), controls)


def primary_trial(storage: FencedStorage, name: str, objectives: Sequence[str]) -> Verdict | None:
    """The verdict alone, from the confirmation."""
    return verdict_of(storage, name, objectives[0], confirmed(stage_trials(storage, name + CONFIRMATION)))


def verdict_of(storage: FencedStorage, name: str, objective: str, candidates: Sequence[Confirmed]) -> Verdict | None:
    """The verdict on candidates, corrected for the choice among all trials of the search."""
    search = light_trials(storage, name, [WITHOUT_GROUPS]) if candidates else []
    return declare(candidates, objective, search)
