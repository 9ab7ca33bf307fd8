"""The hyperparameters of networks; a name means the same in each architecture.

A row has everything about a hyperparameter: its type and range, the value that leaves a published network unchanged,
and how it changes the plan of a network or the network itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tuner.errors import ModelError, unknown
from tuner.models.plan import Dense, Plan, Stage
from tuner.models.published import DENSE_DROPOUT

if TYPE_CHECKING:
    import torch

    from tuner.models.network import Network

Value = bool | int | float | str
Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Hyperparameter:
    """A row of the table of hyperparameters.

    Parameters
    ----------
    kind : type
        Type of its values: bool, int, float or str; an int is also accepted for a float.
    note : str
        Description in tables, without a final full stop.
    low, high : float
        Range of a number, including both ends.
    read : callable, optional
        Maps a plan to the value that leaves the plan unchanged. If None, only the architectures that list the
        hyperparameter as their own have it.
    write : callable, optional
        Maps a plan and all settings to the plan with this setting.
    tune : callable, optional
        Changes a network whose weights have just been drawn; called with network, value and generator. The plan stores
        the value.
    """

    kind: type
    note: str
    low: float = float("-inf")
    high: float = float("inf")
    read: Callable[[Plan], Value] | None = None
    write: Callable[[Plan, Settings], Plan] | None = None
    tune: Callable[[Network, Any, torch.Generator], None] | None = None


def of_plan(name: str, kind: type, note: str, low: float = float("-inf"), high: float = float("inf")) -> Hyperparameter:
    """Make the row of a hyperparameter that is a field of `Plan` of the same name."""
    return Hyperparameter(
        kind, note, low, high, lambda plan: getattr(plan, name), lambda plan, s: replace(plan, **{name: s[name]})
    )


def of_first(
    name: str, field: str, kind: type, note: str, low: float = float("-inf"), high: float = float("inf")
) -> Hyperparameter:
    """Make the row of a hyperparameter that is a field of the first convolutional block."""

    def write(plan: Plan, settings: Settings) -> Plan:
        first, *deeper = plan.stages
        return replace(plan, stages=(replace(first, **{field: settings[name]}), *deeper))

    return Hyperparameter(kind, note, low, high, lambda plan: getattr(plan.stages[0], field), write)


def of_network(
    name: str,
    kind: type,
    note: str,
    low: float = float("-inf"),
    high: float = float("inf"),
    *,
    default: Value,
    tune: Callable[[Network, Any, torch.Generator], None],
) -> Hyperparameter:
    """Make the row of a hyperparameter that changes the network after its weights are drawn, unless it is `default`."""

    def write(plan: Plan, settings: Settings) -> Plan:
        others = tuple(pair for pair in plan.tuned if pair[0] != name)
        return replace(plan, tuned=others if settings[name] == default else (*others, (name, settings[name])))

    return Hyperparameter(kind, note, low, high, lambda plan: dict(plan.tuned).get(name, default), write, tune)


def _deeper(change: Callable[[Stage, Settings], Stage]) -> Callable[[Plan, Settings], Plan]:
    return lambda plan, s: replace(plan, stages=(plan.stages[0], *(change(stage, s) for stage in plan.stages[1:])))


def _dense(plan: Plan, settings: Settings) -> Plan:
    """Set units and dropout rate of the first dense layer; those of further dense layers keep their ratio to it."""
    units, rate = settings["dense_units"], settings["dropout_dense"]
    base = plan.dense or (Dense(1),)
    dense = tuple(
        Dense(
            max(1, round(units * block.units / base[0].units)),
            rate * block.dropout / base[0].dropout if base[0].dropout else rate,
        )
        for block in base
    )
    return replace(plan, dense=dense if units else ())


HYPERPARAMETERS: Mapping[str, Hyperparameter] = {
    "architecture": Hyperparameter(str, "architecture of the network"),
    "activation": of_plan("activation", str, "activation of the first layer; deeper layers use ReLU"),
    "activation_scale": of_plan(
        "activation_scale", float, "s of exp(s x), for the activation exponential only", 1e-6, 100
    ),
    "filters": of_first("filters", "filters", int, "filters of the first layer", 1, 4096),
    "kernel_size": of_first("kernel_size", "kernel_size", int, "width of the first layer's filters in bp", 1, 1000),
    "initializer": of_plan("initializer", str, "initial weights of the first layer"),
    "initializer_sigma": of_plan(
        "initializer_sigma",
        float,
        "standard deviation of these weights, for the initializers normal and truncated_normal only",
        0,
        100,
    ),
    "batch_norm_first": of_plan("batch_norm_first", bool, "batch norm in the first layer"),
    "batch_norm": of_plan("batch_norm", bool, "batch norm in all deeper layers"),
    "dropout_first": of_first("dropout_first", "dropout", float, "dropout rate of the first layer", 0, 0.95),
    "dropout_scale": Hyperparameter(
        float,
        "factor that multiplies the published dropout rates of deeper convolutions",
        0,
        10,
        lambda plan: 1.0,
        _deeper(lambda stage, s: replace(stage, dropout=min(stage.dropout * s["dropout_scale"], 0.95))),
    ),
    "dropout_dense": Hyperparameter(
        float,
        "dropout rate of the (first) dense layer",
        0,
        0.95,
        lambda plan: plan.dense[0].dropout if plan.dense else DENSE_DROPOUT,
    ),
    "pool_first": of_first(
        "pool_first", "pool", int, "window of the first layer's max pool; 1 means no pool", 1, 10_000
    ),
    "residual_blocks": of_plan(
        "residual_blocks", int, "number of residual blocks between the first layer and its pool", 0, 8
    ),
    "dilated": of_plan("dilated", bool, "whether residual block i (from 0) has dilation 2^i"),
    "width": Hyperparameter(
        float,
        "factor that multiplies the published numbers of filters of deeper convolutions",
        1e-3,
        100,
        lambda plan: 1.0,
        _deeper(lambda stage, s: replace(stage, filters=max(1, round(stage.filters * s["width"])))),
    ),
    "global_pool": of_plan(
        "global_pool", str, "flatten; or max, average, max_average over the whole length in place of the last pool"
    ),
    "dense_units": Hyperparameter(
        int,
        "units of the (first) dense layer; 0 leaves dense layers out",
        0,
        100_000,
        lambda plan: plan.dense[0].units if plan.dense else 0,
        _dense,
    ),
    "l2_first": of_plan("l2_first", float, "weight of the first layer within the L2 penalty", 0, 1e9),
    "deep_sigma": of_plan(
        "deep_sigma",
        float,
        "standard deviation of normal initial weights of deeper layers; 0 means Glorot uniform weights",
        0,
        100,
    ),
    "n_blocks": Hyperparameter(int, "number of convolutional blocks, including the first layer (cnn)", 1, 4),
    "kernel_size_deep": Hyperparameter(int, "kernel size of all deeper convolutions (cnn)", 1, 1000),
    "pool_size": Hyperparameter(int, "window of deeper max pools; 1 means no pool (cnn)", 1, 10_000),
}
"""Name -> hyperparameter."""


def check(name: str, value: object) -> None:
    """Refuse a hyperparameter that no architecture has, or a value that it cannot have.

    Parameters
    ----------
    name : str
        Name of the hyperparameter.
    value : object
        Value to check.

    Raises
    ------
    ModelError
        The name is unknown, or the value is not allowed; names the hyperparameter, the value and what it may be.
    """
    row = HYPERPARAMETERS.get(name)
    if row is None:
        raise ModelError(unknown("hyperparameter", name, HYPERPARAMETERS))
    kinds = (int, float) if row.kind is float else (row.kind,)
    # In Python a bool is an int, but True is not a number of filters.
    if not isinstance(value, kinds) or (row.kind is not bool and isinstance(value, bool)):
        raise ModelError(f"hyperparameter {name!r} is {value!r}; must be {value_words(row)}.")
    if isinstance(value, int | float) and not row.low <= value <= row.high:
        raise ModelError(f"hyperparameter {name!r} is {value!r}; must be {value_words(row)}.")


def value_words(row: Hyperparameter) -> str:
    """Describe the values that a hyperparameter may have."""
    if row.kind is bool:
        return "true or false"
    if row.kind is str:
        return "a text"
    noun = "an integer" if row.kind is int else "a number"
    return f"{noun} from {row.low:g} to {row.high:g}"
