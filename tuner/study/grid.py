"""Grids: every point of a search space in order, and parts of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tuner.errors import StudyError, unknown
from tuner.study.space import Parameter, Scalar, SearchSpace, active


@dataclass(frozen=True)
class Part:
    """Which slots of a grid are wanted.

    Attributes
    ----------
    only : mapping of str to sequence of str
        Parameter -> values, as text; points with another value are left out, and so are points without
        the parameter.
    replicates : int or None
        The first so many replicate seeds; None for all.
    """

    only: Mapping[str, Sequence[str]]
    replicates: int | None = None


WHOLE = Part({})


def grid_values(name: str, parameter: Parameter) -> tuple[Scalar, ...]:
    """List the values of one parameter.

    Raises
    ------
    StudyError
        A range without step has no list of values.
    """
    if parameter.values is not None:
        return parameter.values
    if parameter.low is None or parameter.high is None:
        raise AssertionError("a parameter without values has low and high")
    step = parameter.step or (1 if isinstance(parameter.low, int) and not parameter.log else None)
    if step is None:
        raise StudyError(f"[{name}]: a grid needs choices, or low, high and step.")
    count = int((parameter.high - parameter.low) / step + 1e-9) + 1
    return tuple(parameter.low + i * step for i in range(count))


def grid_points(space: SearchSpace) -> list[dict[str, Scalar]]:
    """List every point of a space; the parameter listed last varies fastest.

    Raises
    ------
    StudyError
        A parameter without a list of values.
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
        A parameter or value that the grid does not have, with the nearest that it has.
    """
    for name, wanted in only.items():
        if name not in space.parameters:
            raise StudyError(f"--only: {unknown('parameter', name, space.parameters)}")
        known = [_text(v) for v in grid_values(name, space.parameters[name])]
        for value in wanted:
            if value not in known:
                raise StudyError(f"--only {name}: {unknown('value', value, known)}")
    return [
        point
        for point in grid_points(space)
        if all(name in point and _text(point[name]) in wanted for name, wanted in only.items())
    ]


def slot_key(point: Mapping[str, Scalar], replicate: int) -> str:
    """Name of a slot, whatever part it was asked for with."""
    text = json.dumps(dict(sorted(point.items())))
    return f"grid-{hashlib.sha256(text.encode()).hexdigest()[:24]}-{replicate}"


def _text(value: Scalar) -> str:
    """A value as it is typed: true, 5, 0.1, relu."""
    return str(value).lower() if isinstance(value, bool) else str(value)
