"""How a page writes numbers: true minus signs, powers of ten, dashes for what was not measured."""

from __future__ import annotations

import math

MINUS, DASH = "−", "–"
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float | None, digits: int = 3, *, signed: bool = False) -> str:
    """Write a number with a true minus, or a dash for what was not measured."""
    if value is None or math.isnan(value):
        return DASH
    return f"{value:{'+' if signed else ''}.{digits}f}".replace("-", MINUS)


def interval(low: float | None, high: float | None, digits: int = 3, *, signed: bool = False) -> str:
    """Write both ends of an interval."""
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return DASH
    return f"{number(low, digits, signed=signed)} to {number(high, digits, signed=signed)}"


def percent(value: float, digits: int = 0) -> str:
    """Write a share in percent; a value that would round to zero is written as below one unit of the last digit."""
    least = 10.0**-digits
    if 0 < 100 * value < least / 2:
        return f"< {least:.{digits}f} %"
    return f"{100 * value:.{digits}f} %"


def scientific(value: float | None) -> str:
    """Write an E-value: two significant digits, powers of ten below .001 and above 1000."""
    if value is None or math.isnan(value):
        return DASH
    if value == 0:
        return "< 10⁻³⁰⁰"
    if 1e-3 <= value < 1000:
        return f"{value:.2g}" if value < 100 else f"{value:.0f}"
    mantissa, exponent = f"{value:.0e}".split("e")
    power = f"10{str(int(exponent)).translate(_RAISED)}"
    return power if mantissa == "1" else f"{mantissa} × {power}"


def e_words(value: float | None) -> str:
    """Write ``E = 2 × 10⁻⁵``, or ``E < 10⁻³⁰⁰`` where it vanishes."""
    text = scientific(value)
    return f"E {text}" if text.startswith("<") else f"E = {text}"


def count(n: int, noun: str, plural: str = "") -> str:
    """Count something: ``1 filter``, ``3,431 sequences``."""
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"
