"""Search spaces: TOML -> SearchSpace -> one suggested set of hyperparameters.

A space file has one table per hyperparameter::

    [kernel_size]
    low = 7
    high = 25
    step = 2
    when = { architecture = ["cnn", "residualbind"] }

Every parameter has exactly one of ``choices``, ``low``/``high`` (with ``step`` or ``log``) or ``fixed``; a parameter
with ``when`` exists only where each named parameter has one of the listed values. Settings that should be tried first
are listed in ``[[warm_starts]]``, each with its ``source``.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from pydantic import Field, model_validator

from tuner.errors import SearchSpaceError, unknown
from tuner.study.toml import Table, parse_table, read_toml, short

Scalar = bool | int | float | str
MOST_PARAMETERS = 200  # there are about forty hyperparameters


class Parameter(Table):
    """One hyperparameter of the space, given by exactly one of choices, low/high, fixed."""

    choices: list[Scalar] | None = Field(default=None, min_length=1)
    low: int | float | None = None
    high: int | float | None = None
    step: int | float | None = None
    log: bool = False
    fixed: Scalar | None = None
    when: dict[str, list[Scalar]] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Parameter:
        ranged = self.low is not None or self.high is not None
        if sum([self.choices is not None, ranged, self.fixed is not None]) != 1:
            raise ValueError("give exactly one of choices, low and high, or fixed")
        if self.choices is not None and len({(type(c), c) for c in self.choices}) < len(self.choices):
            raise ValueError(f"a choice is listed twice in {self.choices}")
        if not ranged:
            if self.step is not None or self.log:
                raise ValueError("step and log belong to a parameter with low and high")
            return self
        if self.low is None or self.high is None:
            raise ValueError("low and high belong together; one is missing")
        if isinstance(self.low, bool) or isinstance(self.high, bool):
            raise ValueError("low and high must be numbers; use choices = [true, false]")
        if self.low >= self.high:
            raise ValueError(f"low {self.low} must be below high {self.high}; use fixed for a single value")
        if isinstance(self.low, int) != isinstance(self.high, int):
            raise ValueError(f"low {self.low!r} and high {self.high!r} must both be integers or both be floats")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log = true needs low above 0 and no step")
        if self.step is not None and self.step <= 0:
            raise ValueError(f"step {self.step} must be above 0")
        if isinstance(self.low, int) and isinstance(self.step, float):
            raise ValueError(f"an integer parameter needs an integer step; it is {self.step}")
        return self

    @property
    def values(self) -> tuple[Scalar, ...] | None:
        """The listed values, or None for a range."""
        if self.fixed is not None:
            return (self.fixed,)
        return tuple(self.choices) if self.choices is not None else None

    def holds(self, value: Scalar) -> bool:
        """Return whether this parameter can have the value."""
        if self.values is not None:
            return any(type(v) is type(value) and v == value for v in self.values)
        assert self.low is not None  # _one_kind ensures that a parameter without values has low and high
        assert self.high is not None
        if isinstance(value, bool | str) or (isinstance(self.low, int) and not isinstance(value, int)):
            return False
        if not self.low <= value <= self.high:
            return False
        steps = (value - self.low) / self.step if self.step else 0.0
        return abs(steps - round(steps)) < 1e-6

    def suggest(self, trial: optuna.trial.BaseTrial, name: str) -> Scalar:
        """Ask `trial` to suggest a value; fixed values are recorded in the trial as well."""
        if self.values is not None:
            value: Scalar | None = trial.suggest_categorical(name, list(self.values))
            assert value is not None  # None is not a choice that a space file can list
            return value
        assert self.low is not None
        assert self.high is not None
        if isinstance(self.low, int):
            step = int(self.step) if self.step is not None else 1
            return trial.suggest_int(name, int(self.low), int(self.high), step=step, log=self.log)
        return trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log)


class WarmStart(Table):
    """A setting that is tried before the sampler proposes anything."""

    source: str
    parameters: dict[str, Scalar]


@dataclass(frozen=True)
class SearchSpace:
    """Parameters in an order in which each `when` refers to earlier ones only.

    Attributes
    ----------
    name : str
        File name without suffix.
    parameters : mapping of str to Parameter
        The parameters, in the order of suggestion.
    warm_starts : tuple of WarmStart
        Settings to enqueue first; each is a point of the space.
    """

    name: str
    parameters: Mapping[str, Parameter]
    warm_starts: tuple[WarmStart, ...]

    def suggest(self, trial: optuna.trial.BaseTrial) -> dict[str, Scalar]:
        """Draw one point, without the parameters whose `when` is not fulfilled."""
        point: dict[str, Scalar] = {}
        for name, parameter in self.parameters.items():
            if active(parameter, point):
                point[name] = parameter.suggest(trial, name)
        return point

    def complete(self, given: Mapping[str, Scalar], where: str) -> dict[str, Scalar]:
        """Check that `given` is a complete point, and fill in fixed parameters.

        Raises
        ------
        SearchSpaceError
            A name is unknown, a value is outside its range, or a parameter is inactive or missing.
        """
        for name in given:
            if name not in self.parameters:
                raise SearchSpaceError(f"{where}: {unknown('parameter', name, self.parameters)}")
        point: dict[str, Scalar] = {}
        for name, parameter in self.parameters.items():
            if not active(parameter, point):
                if name in given:
                    raise SearchSpaceError(f"{where}: {name} does not exist here; its when is {parameter.when}.")
                continue
            value = given.get(name, parameter.fixed)
            if value is None:
                raise SearchSpaceError(f"{where}: no value for {name}; give one of its {_domain(parameter)}.")
            if isinstance(value, int) and not isinstance(value, bool) and isinstance(parameter.low, float):
                value = float(value)
            if not parameter.holds(value):
                raise SearchSpaceError(f"{where}: {name} = {value!r} is outside its {_domain(parameter)}.")
            point[name] = value
        return point

    def canonical(self) -> dict[str, Any]:
        """Return a plain form with every default written out, for comparison and storage."""
        return {n: p.model_dump(exclude_none=True) for n, p in self.parameters.items()}

    @property
    def dataset_names(self) -> tuple[str, ...]:
        """Data sets that the parameter ``dataset`` of a grid chooses from; empty without this parameter."""
        return tuple(str(v) for v in self.parameters["dataset"].values or ()) if "dataset" in self.parameters else ()

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical form."""
        text = json.dumps(self.canonical(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def active(parameter: Parameter, point: Mapping[str, Scalar]) -> bool:
    """Return whether `parameter` exists where the earlier ones have the values of `point`."""
    return all(any(same(point.get(k), one) for one in v) for k, v in (parameter.when or {}).items())


def same(a: Scalar | None, b: Scalar | None) -> bool:
    """Return whether two values are equal except for the last digits of a float: 0.1 + 2 * 0.1 is 0.3."""
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-12, abs_tol=1e-15)
    return a == b


def _domain(p: Parameter) -> str:
    if p.values is not None:
        return f"choices {list(p.values)}"
    return f"range {p.low}..{p.high}" + (f" in steps of {p.step}" if p.step else "")


def read_space(path: Path) -> SearchSpace:
    """Read a space file and check its form (`check_names` checks the names of models).

    Raises
    ------
    SearchSpaceError
        Naming file, table, key and the nearest known name.
    """
    return check_space(read_toml(path, SearchSpaceError), path.stem, path.name)


def check_space(document: dict[str, object], name: str, file: str) -> SearchSpace:
    """Check a parsed space file; `file` names it in an error.

    Raises
    ------
    SearchSpaceError
        Naming file, table, key and the nearest known name.
    """
    document.pop("title", None)
    starts = document.pop("warm_starts", [])
    if not isinstance(starts, list):
        raise SearchSpaceError(f"{file} [warm_starts]: write each as its own [[warm_starts]] table.")
    if not document:
        raise SearchSpaceError(f"{file}: there are no parameters; add a table such as [kernel_size].")
    if len(document) > MOST_PARAMETERS:
        raise SearchSpaceError(f"{file}: {len(document)} parameters; a space has at most {MOST_PARAMETERS}.")
    parameters: dict[str, Parameter] = {}
    for key, table in document.items():
        if not isinstance(table, dict):
            raise SearchSpaceError(
                f"{file}: {short(key)} must be a table: write [{short(key)}] and fixed = {short(repr(table))}."
            )
        parameters[key] = parse_table(Parameter, table, f"{file} [{short(key)}]", SearchSpaceError)
    space = SearchSpace(name, _ordered(parameters, file), ())
    warm = []
    for i, table in enumerate(starts):
        where = f"{file} [[warm_starts]] {i + 1}"
        start = parse_table(WarmStart, table, where, SearchSpaceError)
        warm.append(WarmStart(source=start.source, parameters=space.complete(start.parameters, where)))
    return SearchSpace(name, space.parameters, tuple(warm))


def listed_space(name: str, parameters: Mapping[str, Parameter], where: str) -> SearchSpace:
    """Make a space from the parameters that a study file lists itself.

    Raises
    ------
    SearchSpaceError
        A `when` condition can never be fulfilled.
    """
    return SearchSpace(name, _ordered(dict(parameters), where), ())


def _ordered(parameters: dict[str, Parameter], file: str) -> dict[str, Parameter]:
    """Sort so that parameters come after those that their conditions name; refuse cycles and impossible conditions."""
    for name, parameter in parameters.items():
        for other, values in (parameter.when or {}).items():
            if other not in parameters or other == name:
                known = [p for p in parameters if p != name]
                raise SearchSpaceError(f"{file} [{short(name)}].when: {unknown('parameter', other, known)}")
            for value in values:
                if not parameters[other].holds(value):
                    close = unknown("value", value, parameters[other].values or ()).partition("; ")[2]
                    raise SearchSpaceError(
                        f"{file} [{short(name)}].when: {short(other)} never takes {short(repr(value))}; {close}"
                    )
    done: dict[str, Parameter] = {}
    left = dict(parameters)
    while left:
        ready = [n for n, p in left.items() if all(o in done for o in (p.when or {}))]
        if not ready:
            raise SearchSpaceError(f"{file}: the when conditions of {short(', '.join(left))} form a circle.")
        done |= {n: left.pop(n) for n in ready}
    return done
