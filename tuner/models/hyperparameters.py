"""What every hyperparameter of a network means; the same name means the same in each architecture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tuner.errors import ModelError, unknown

Value = bool | int | float | str


@dataclass(frozen=True)
class Hyperparameter:
    """A row of the table of hyperparameters.

    Parameters
    ----------
    kind : type
        bool, int, float or str; an int may stand for a float.
    low, high : float
        Range of a number, both ends included.
    note : str
        What it does.
    """

    kind: type
    note: str
    low: float = float("-inf")
    high: float = float("inf")


HYPERPARAMETERS: Mapping[str, Hyperparameter] = MappingProxyType(
    {
        "architecture": Hyperparameter(str, "which network"),
        "activation": Hyperparameter(str, "activation of the first layer; deeper layers are ReLU"),
        "activation_scale": Hyperparameter(float, "s of exp(s x), for the activation exponential only", 1e-6, 100),
        "filters": Hyperparameter(int, "filters of the first layer", 1, 4096),
        "kernel_size": Hyperparameter(int, "width of the first layer's filters in bp", 1, 1000),
        "initializer": Hyperparameter(str, "initial weights of the first layer"),
        "initializer_sigma": Hyperparameter(
            float, "their standard deviation, for the initializers normal and truncated_normal only", 0, 100
        ),
        "batch_norm_first": Hyperparameter(bool, "batch norm in the first layer"),
        "batch_norm": Hyperparameter(bool, "batch norm in all deeper layers"),
        "dropout_first": Hyperparameter(float, "dropout rate of the first layer", 0, 0.95),
        "dropout_scale": Hyperparameter(float, "factor of the published dropout rates of deeper convolutions", 0, 10),
        "dropout_dense": Hyperparameter(float, "dropout rate of the (first) dense layer", 0, 0.95),
        "pool_first": Hyperparameter(int, "window of the first layer's max pool; 1 is none", 1, 10_000),
        "residual_blocks": Hyperparameter(int, "residual blocks between first layer and its pool", 0, 8),
        "dilated": Hyperparameter(bool, "whether residual block i (from 0) has dilation 2^i"),
        "width": Hyperparameter(float, "factor of the published filters of deeper convolutions", 1e-3, 100),
        "global_pool": Hyperparameter(
            str, "flatten; or max, average, max_average over the whole length in place of the last pool"
        ),
        "dense_units": Hyperparameter(int, "units of the (first) dense layer; 0 leaves dense layers out", 0, 100_000),
        "l2_first": Hyperparameter(float, "weight of the first layer within the L2 penalty", 0, 1e9),
        "deep_sigma": Hyperparameter(
            float,
            "standard deviation of normal initial weights of deeper layers; 0 is Glorot uniform",
            0,
            100,
        ),
        "n_blocks": Hyperparameter(int, "convolutional blocks, the first layer included (cnn)", 1, 4),
        "kernel_size_deep": Hyperparameter(int, "kernel of all deeper convolutions (cnn)", 1, 1000),
        "pool_size": Hyperparameter(int, "window of deeper max pools; 1 is none (cnn)", 1, 10_000),
    }
)
"""Name -> hyperparameter."""


def check(name: str, value: object) -> None:
    """Refuse a hyperparameter that no architecture has, or a value it cannot take.

    Parameters
    ----------
    name : str
        Of the hyperparameter.
    value : object
        To be checked.

    Raises
    ------
    ModelError
        Naming the hyperparameter, the value and what it may be.
    """
    row = HYPERPARAMETERS.get(name)
    if row is None:
        raise ModelError(unknown("hyperparameter", name, HYPERPARAMETERS))
    kinds = (int, float) if row.kind is float else (row.kind,)
    # bool is an int to Python, and True filters is no number of filters.
    if not isinstance(value, kinds) or (row.kind is not bool and isinstance(value, bool)):
        raise ModelError(f"hyperparameter {name!r} is {value!r}; must be {_words(row)}.")
    if isinstance(value, int | float) and not row.low <= value <= row.high:
        raise ModelError(f"hyperparameter {name!r} is {value!r}; must be {_words(row)}.")


def _words(row: Hyperparameter) -> str:
    if row.kind is bool:
        return "true or false"
    if row.kind is str:
        return "a text"
    noun = "an integer" if row.kind is int else "a number"
    return f"{noun} from {row.low:g} to {row.high:g}"
