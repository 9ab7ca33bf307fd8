"""What is said of a predictor on test beside chance and every baseline, for one task and for several.

"Better than every baseline" is tested against every one of them, chance included: each interval has to lie above
(intersection-union), so no baseline is chosen by its score. Of several tasks each is judged by intervals that are
adjusted for their number (Bonferroni), so that in at most .05 of studies any task is called better wrongly.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from tuner.results.confirmation import Standing
from tuner.results.predictor_scores import VALIDATION, PredictorScores
from tuner.results.words import baseline_name

Ends = tuple[float, float]


class Beside(StrEnum):
    """Where a predictor stands beside chance and every baseline."""

    BETTER = "better than every baseline"
    OPEN = "not distinguishable"
    WORSE = "worse"
    ALONE = "no baseline"
    CHANCE = "not better than chance"


class Statement(NamedTuple):
    """Where a predictor stands, and the baselines that it is not ahead of: the best supported first.

    Attributes
    ----------
    beside : Beside
    baselines : tuple of str
        For ``worse`` those that are ahead, for ``not distinguishable`` those that it is not ahead of.
    """

    beside: Beside
    baselines: tuple[str, ...] = ()


def stand(low: float, leads: Mapping[str, Ends]) -> Statement:
    """Judge a predictor.

    Parameters
    ----------
    low : float
        Lower end of the interval of its AUROC.
    leads : mapping of str to (float, float)
        Baseline -> both ends of the interval of the lead over it.
    """
    if not low > 0.5:
        return Statement(Beside.CHANCE)
    if not leads:
        return Statement(Beside.ALONE)
    ordered = sorted(leads, key=lambda name: leads[name][0])
    for beside, standing in ((Beside.WORSE, Standing.BEHIND), (Beside.OPEN, Standing.OPEN)):
        found = tuple(name for name in ordered if Standing.of(*leads[name]) is standing)
        if found:
            return Statement(beside, found)
    return Statement(Beside.BETTER)


def said(statement: Statement) -> str:
    """Word a statement of one task: ``not distinguishable from GC content and 6-mer logistic regression``."""
    names = listed([baseline_name(name) for name in statement.baselines])
    return {
        Beside.BETTER: "better than chance and every baseline",
        Beside.OPEN: f"not distinguishable from {names}",
        Beside.WORSE: f"worse than {names}",
        Beside.ALONE: "better than chance, without a baseline to compare it with",
        Beside.CHANCE: "not better than chance",
    }[statement.beside]


def of_task(predictor: PredictorScores, task: str) -> Statement | None:
    """Judge one task by its adjusted intervals; None where test holds one class of it."""
    row = predictor.tasks[task]
    if row.auroc_adjusted is None:
        return None
    return stand(row.auroc_adjusted.low, {name: (v.low, v.high) for name, v in row.leads_adjusted.items()})


def family(predictor: PredictorScores) -> str:
    """Say on how many of several tasks a predictor is better than chance and every baseline."""
    tasks = predictor.tested
    n = len(tasks)
    stands = {name: of_task(predictor, name) for name in tasks}
    compared = any(row.leads for row in tasks.values())
    wanted = Beside.BETTER if compared else Beside.ALONE
    than = "chance and every baseline" if compared else "chance"
    good = [name for name, s in stands.items() if s is not None and s.beside is wanted]
    rest = [name for name in tasks if name not in good]
    head = f"Better than {than} on {len(good)} of {n} tasks, adjusted for {n} tasks"
    named = [f": {listed(good)}" if good and rest and n <= _NAMED else ""]
    named += [f"; not on {listed(rest)}" if good and rest and n <= _NAMED else ""]
    left = len(predictor.tasks) - n
    more = f" {left} more {'has' if left == 1 else 'have'} one class on test." if left else ""
    return f"{head}{''.join(named)}.{more}"


def conclusion(predictor: PredictorScores) -> str:
    """Say in one sentence where what one would use stands on test."""
    if len(predictor.tasks) > 1:
        return family(predictor)
    found = of_task(predictor, next(iter(predictor.tasks)))
    return "" if found is None else f"The {predictor.name} is {said(found)}."


def basis(predictor: PredictorScores) -> str:
    """Say what the probabilities rest on."""
    on = "validation" if predictor.calibrated_on == VALIDATION else "the fold that each model was validated on"
    left = [name for name, known in zip(predictor.tasks, predictor.calibration.fitted, strict=True) if not known]
    raw = f" Not calibrated, because there is one class of them: {listed(left)}." if left else ""
    return (
        f"Probabilities are calibrated on {on}, which also selected the models: they are slightly optimistic. "
        f"Test is only scored.{raw}"
    )


_NAMED = 20  # tasks; of more only the number is said


def listed(names: list[str]) -> str:
    """Join names: ``a``, ``a and b``, ``a, b and c``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""
