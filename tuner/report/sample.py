"""Choose the trials that a page shows if there are thousands: the best, the front, and a sample of the others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tuner.report.data import HistoryPoint, ReportData

SHOWN = 500  # trials on the page and in its figures; tables and report.json hold all
BEST = 200  # of them the best by the first objective, and as many of the front at most


def sample_trials(data: ReportData) -> tuple[ReportData, str]:
    """Keep at most `SHOWN` trials and points of the history, and say which.

    Parameters
    ----------
    data : ReportData
        The whole report.

    Returns
    -------
    tuple of (ReportData, str)
        The same report with fewer trials, in the same order, and a sentence that says so; the report itself and an
        empty text if it has no more than that.
    """
    rows = data.trials
    if len(rows) <= SHOWN:
        return data, ""
    reported = {m.trial for m in data.models}
    best, fronted = set(range(BEST)), [i for i, t in enumerate(rows) if t.pareto][:BEST]
    kept = best | set(fronted) | {i for i, t in enumerate(rows) if t.number in reported}
    others = np.array([i for i in range(len(rows)) if i not in kept])
    drawn = np.random.default_rng(0).permutation(others)[: max(0, SHOWN - len(kept))]
    kept |= {int(i) for i in drawn}
    first = data.study.objectives[0].name
    words = (
        f"Shown here and in the figures are {len(kept)} of {len(rows):,} trials: the best {BEST} by {first}, the "
        f"front, and {len(drawn)} of the others, drawn at random. trials.tsv and report.json hold all of them."
    )
    shown = tuple(rows[i] for i in sorted(kept))
    return replace(data, trials=shown, history=_steps(data.history)), words


def _steps(history: tuple[HistoryPoint, ...]) -> tuple[HistoryPoint, ...]:
    """Every point at which a best value changes, with the one before it, and some at even distances."""
    kept = {0, len(history) - 1, *np.linspace(0, len(history) - 1, SHOWN).astype(int).tolist()}
    changes = [i for i in range(1, len(history)) if history[i].best != history[i - 1].best]
    kept |= {i + step for i in changes[-BEST:] for step in (-1, 0)}
    return tuple(history[i] for i in sorted(kept))
