"""Grids: every point of a search space in order, and parts of a grid."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from tuner.errors import StudyError, unknown
from tuner.study.space import Parameter, Scalar, SearchSpace, active, same


@dataclass(frozen=True)
class Part:
    """Part of a grid: the slots to run.

    Attributes
    ----------
    only : mapping of str to sequence of str
        Parameter -> values, as text; points with another value or without the parameter are left out.
    replicates : int or None
        How many of the replicate seeds to run, from the first; None for all.
    """

    only: Mapping[str, Sequence[str]]
    replicates: int | None = None


WHOLE = Part({})


def grid_values(name: str, parameter: Parameter) -> tuple[Scalar, ...]:
    """List the values of one parameter; a range gives the decimal numbers low, low + step, and so on.

    Raises
    ------
    StudyError
        The parameter is a range without a step.
    """
    if parameter.values is not None:
        return parameter.values
    if parameter.low is None or parameter.high is None:
        raise AssertionError("a parameter without values has low and high")
    step = parameter.step or (1 if isinstance(parameter.low, int) and not parameter.log else None)
    if step is None:
        raise StudyError(f"[{name}]: a grid needs choices, or low, high and step.")
    low, each = Decimal(repr(parameter.low)), Decimal(repr(step))  # 0.1 + 2 * 0.1 is 0.30000000000000004 in floats
    number = type(parameter.low)
    return tuple(number(low + i * each) for i in range(int((Decimal(repr(parameter.high)) - low) / each) + 1))


def grid_points(space: SearchSpace) -> list[dict[str, Scalar]]:
    """List every point of a space; the parameter listed last varies fastest.

    Raises
    ------
    StudyError
        A parameter is a range without a step.
    """
    points: list[dict[str, Scalar]] = [{}]
    for name, parameter in space.parameters.items():
        values = grid_values(name, parameter)
        points = [
            {**point, **choice}
            for point in points
            for choice in ([{name: value} for value in values] if active(parameter, point) else [{}])
        ]
    return points


def select_points(space: SearchSpace, only: Mapping[str, Sequence[str]]) -> list[dict[str, Scalar]]:
    """List the points of a part of the grid.

    Raises
    ------
    StudyError
        The grid does not have a parameter or value; names the nearest one.
    """
    for name, wanted in only.items():
        if name not in space.parameters:
            raise StudyError(f"--only: {unknown('parameter', name, space.parameters)}")
        known = grid_values(name, space.parameters[name])
        for value in wanted:
            if not any(_means(value, v) for v in known):
                raise StudyError(f"--only {name}: {unknown('value', value, [_text(v) for v in known])}")
    return [
        point
        for point in grid_points(space)
        if all(name in point and any(_means(w, point[name]) for w in wanted) for name, wanted in only.items())
    ]


def as_stored(
    points: Iterable[Mapping[str, Scalar]], stored: Iterable[Mapping[str, Scalar]]
) -> list[dict[str, Scalar]]:
    """Give points the numbers stored in a study already: 0.3 may be stored as 0.30000000000000004, low + 2 * step.

    Parameters
    ----------
    points : iterable of mapping
        Points of the grid.
    stored : iterable of mapping
        Points of the study's slots.
    """
    known: dict[str, set[float]] = {}
    for point in stored:
        for name, value in point.items():
            if isinstance(value, float):
                known.setdefault(name, set()).add(value)

    def find(name: str, value: Scalar) -> Scalar:
        there = known.get(name, set())
        return value if value in there else next((v for v in there if same(v, value)), value)

    return [{name: find(name, value) for name, value in point.items()} for point in points]


def slot_key(point: Mapping[str, Scalar], replicate: int) -> str:
    """Name of a slot, which is the same whatever part of the grid is run."""
    text = json.dumps(dict(sorted(point.items())))
    return f"grid-{hashlib.sha256(text.encode()).hexdigest()[:24]}-{replicate}"


def _means(text: str, value: Scalar) -> bool:
    """Return whether a typed text means a value: 0.30 and 3e-1 are 0.3."""
    if isinstance(value, bool | str):
        return text == _text(value)
    try:
        return same(float(text), float(value))
    except ValueError:
        return False


def _text(value: Scalar) -> str:
    """Write a value as a user types it: true, 5, 0.1, relu."""
    return str(value).lower() if isinstance(value, bool) else str(value)
