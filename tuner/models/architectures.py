"""The table of architectures, and `build_model`, which turns hyperparameters into a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch

from tuner.errors import ModelError, unknown
from tuner.models import published
from tuner.models.activations import ACTIVATIONS
from tuner.models.hyperparameters import HYPERPARAMETERS, Value, check
from tuner.models.initializers import INITIALIZERS
from tuner.models.network import Network
from tuner.models.plan import GLOBAL_POOLS, Plan

KOO = "Koo & Ploenzke 2021"


@dataclass(frozen=True)
class Architecture:
    """A row of the table of architectures.

    Parameters
    ----------
    plan : callable
        Values of its own hyperparameters -> Plan as published.
    length, tasks : int
        Published length of the sequences and number of tasks.
    parameters : int
        Trainable parameters at that length and number of tasks.
    source : str
        Where it was published.
    own : mapping
        Hyperparameters that no other architecture has, with their published values.
    """

    plan: Callable[[Mapping[str, Value]], Plan]
    length: int
    tasks: int
    parameters: int
    source: str
    own: Mapping[str, Value] = field(default_factory=dict)

    @property
    def defaults(self) -> dict[str, Value]:
        """Every hyperparameter this architecture has, with its published value."""
        plan = self.plan(self.own)
        shared = {name: row.read(plan) for name, row in HYPERPARAMETERS.items() if row.read is not None}
        return {**shared, **self.own}

    def build(self, settings: Mapping[str, Value]) -> Plan:
        """Apply complete settings to the published plan."""
        plan = self.plan(settings)
        for row in HYPERPARAMETERS.values():
            plan = plan if row.write is None else row.write(plan, settings)
        return plan


def _row(plan: Plan, length: int, tasks: int, parameters: int, source: str) -> Architecture:
    return Architecture(lambda _: plan, length, tasks, parameters, source)


def _family(settings: Mapping[str, Any]) -> Plan:
    return published.family(*(settings[key] for key in _FAMILY))


_FAMILY: Mapping[str, Value] = {"n_blocks": 3, "kernel_size_deep": 7, "pool_size": 4}
_HOMEWORK = "DeepBind-style exercise on planted motifs"
_FOXO1_SOURCE = "FOXO1 exercise on planted motifs"

ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
        "residualbind": _row(published.RESIDUALBIND, 400, 1, 31_665, KOO),
        "cnn_deep": _row(published.CNN_DEEP, 200, 12, 286_700, KOO),
        "cnn_deep_log": _row(published.CNN_DEEP_LOG, 200, 12, 286_700, KOO),
        "cnn_2": _row(published.CNN_2, 200, 12, 156_740, KOO),
        "cnn_50": _row(published.CNN_50, 200, 12, 156_740, KOO),
        "cnn_dist": _row(published.CNN_DIST, 200, 1, 46_225, KOO),
        "cnn_dist_log": _row(published.CNN_DIST_LOG, 200, 1, 46_225, KOO),
        "cnn_local": _row(published.CNN_LOCAL, 200, 1, 14_929, KOO),
        "basset": _row(published.BASSET, 600, 164, 4_132_364, f"Kelley et al. 2016, as in {KOO}"),
        "hw4": _row(published.HW4, 101, 1, 913, _HOMEWORK),
        "hw4_interaction": _row(published.HW4_INTERACTION, 101, 1, 4_241, _HOMEWORK),
        "deepdife": _row(published.DEEPDIFE, 600, 1, 97_953, "DeepDifE"),
        "foxo1_v1": _row(published.FOXO1_V1, 100, 1, 1_665, _FOXO1_SOURCE),
        "foxo1_v2": _row(published.foxo1(1), 100, 1, 3_201, _FOXO1_SOURCE),
        "foxo1_v3": _row(published.foxo1(2), 100, 1, 15_489, _FOXO1_SOURCE),
        "foxo1_v4": _row(published.foxo1(3), 100, 1, 17_025, _FOXO1_SOURCE),
        "foxo1_v5": _row(published.foxo1(4), 100, 1, 17_281, _FOXO1_SOURCE),
        "sigtfb": _row(published.SIGTFB, 101, 14, 8_750, "SigTFB stage 1, BMC Genomics 2024"),
        "cnn": Architecture(_family, 400, 1, 47_553, "parametric family of this package", _FAMILY),
    }
)
"""Name -> architecture."""


def complete(hyperparameters: Mapping[str, Value]) -> dict[str, Value]:
    """Check hyperparameters and fill the missing ones with the architecture's own values.

    Parameters
    ----------
    hyperparameters : mapping
        "architecture" and any others of :data:`HYPERPARAMETERS`. Hyperparameters of other architectures that this one
        lacks are ignored, so that architectures can share a search space.

    Returns
    -------
    dict
        "architecture" and a value for each hyperparameter it has.

    Raises
    ------
    ModelError
        If a name is unknown, or a value has the wrong type or range.
    """
    name = hyperparameters.get("architecture")
    if name is None:
        raise ModelError(f"no architecture given. Set architecture to one of: {', '.join(ARCHITECTURES)}.")
    row = ARCHITECTURES.get(str(name))
    if row is None:
        raise ModelError(unknown("architecture", name, ARCHITECTURES))
    settings: dict[str, Value] = {"architecture": str(name), **row.defaults}
    for key, value in hyperparameters.items():
        check(key, value)
        if key in settings:
            settings[key] = value
    tables = (("activation", ACTIVATIONS), ("initializer", INITIALIZERS), ("global_pool", GLOBAL_POOLS))
    for key, table in tables:
        if settings[key] not in table:
            raise ModelError(unknown(key, settings[key], table))
    return settings


def build_model(
    hyperparameters: Mapping[str, Value], *, n_tasks: int, length: int, seed: int, device: str = "cpu"
) -> Network:
    """Build a network with fresh weights.

    Parameters
    ----------
    hyperparameters : mapping
        As for :func:`complete`.
    n_tasks : int
        Number of logits per sequence.
    length : int
        Length of the sequences in bp.
    seed : int
        Seed of the initial weights; the same seed gives the same weights. The global random state is not changed.
    device : str
        Device of the weights; they are drawn on the CPU, so they are the same everywhere.

    Returns
    -------
    Network
        Maps (n, 4, length) float32 one-hot to (n, n_tasks) float32 logits.

    Raises
    ------
    ModelError
        If a hyperparameter is unknown, or no such network exists for this length.
    """
    for what, number in (("n_tasks", n_tasks), ("length", length)):
        if number < 1:
            raise ModelError(f"{what} is {number}; must be at least 1.")
    settings = complete(hyperparameters)
    plan = ARCHITECTURES[str(settings["architecture"])].build(settings)
    # torch draws weights while it builds; keep those draws out of the caller's random state.
    with torch.random.fork_rng(devices=[]):
        network = Network(plan, n_tasks=n_tasks, length=length)
    network.initialize(torch.Generator().manual_seed(seed))
    return network.to(device)


def count_parameters(network: Network) -> int:
    """Count the trainable parameters; running statistics of batch norm do not count."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


__all__ = [
    "ARCHITECTURES",
    "HYPERPARAMETERS",
    "Architecture",
    "Network",
    "Value",
    "build_model",
    "complete",
    "count_parameters",
]
