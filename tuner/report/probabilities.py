"""Sentences of a report about calibrated probabilities, and the calls that are made of them."""

from __future__ import annotations

from tuner.models.intervals import Interval
from tuner.report.data import ModelReport
from tuner.report.numbers import interval, number, percent


def probabilities(model: ModelReport, task: str) -> list[str]:
    """Say what the calibrated probabilities of one task are worth."""
    found = None if model.test is None else model.test.predictor
    if found is None:
        return []
    d = found.tasks[task].decisions
    of = f" of {task}" if len(found.tasks) > 1 else ""
    parts = [
        f"The calibrated probabilities{of} have Brier score {number(d.brier.estimate)} "
        f"({interval(*d.brier[1:3])}; the base rate alone {number(d.base_rate_brier)})"
    ]
    if d.recall is not None and d.precision is not None:
        parts.append(
            f"from probability {number(d.threshold, 2)} on, {share(d.recall)} of the positives are found and "
            f"{share(d.precision)} of the calls are right"
        )
        parts += [
            f"at 1 positive to {negatives} negatives {share(value)} would be right"
            for negatives, value in ((name.split(":")[1], v) for name, v in d.precision_at.items())
            if value is not None
        ]
    return [f"{'; '.join(parts)}."]


def share(value: Interval) -> str:
    """Write a proportion in percent with its interval."""
    digits = 1 if value.estimate < 0.1 else 0
    return f"{percent(value.estimate, digits)} ({percent(value.low, digits)} to {percent(value.high, digits)})"
