"""Confidence intervals of proportions."""

from __future__ import annotations

import numpy as np

_Z = 1.959963984540054  # 97.5th percentile of the standard normal


def wilson_interval(hits: float, trials: float) -> tuple[float, float]:
    """95 % Wilson score interval of a proportion (Wilson 1927)."""
    rate = hits / trials
    spread = _Z**2 / trials
    centre = (rate + spread / 2) / (1 + spread)
    half = _Z * np.sqrt(rate * (1 - rate) / trials + spread / (4 * trials)) / (1 + spread)
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def difference_interval(hits: float, trials: float, other_hits: float, other_trials: float) -> tuple[float, float]:
    """95 % confidence interval of the difference of two proportions (Newcombe 1998, method 10)."""
    low, high = wilson_interval(hits, trials)
    other_low, other_high = wilson_interval(other_hits, other_trials)
    rate, other = hits / trials, other_hits / other_trials
    difference = rate - other
    return (
        float(difference - np.hypot(rate - low, other_high - other)),
        float(difference + np.hypot(high - rate, other - other_low)),
    )
