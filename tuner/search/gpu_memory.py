"""GPU memory of a training, measured in a child process by training at the largest point of the space."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from optuna.trial import FixedTrial

from tuner.data.dataset import Split
from tuner.errors import ModelError, TrainingDiverged
from tuner.models.architectures import build_model, count_parameters
from tuner.models.first_layer import scan_filters
from tuner.models.training import Recipe, fit
from tuner.search.loaded import Bench
from tuner.study.parameters import recipe_of, split_point
from tuner.study.space import Parameter, Scalar, SearchSpace

MARGIN = 1.1  # for what a step does not show: fragmentation, and the last, smaller batch
STEPS = 2  # the optimiser's state exists after the first step


class Load(NamedTuple):
    """A training to measure.

    Attributes
    ----------
    hyperparameters : mapping
        Of the network.
    recipe : Recipe
        Its batch size counts.
    n_tasks, length : int
        Of the data.
    resident : int
        Bytes of the data, which stay on the device during training.
    """

    hyperparameters: Mapping[str, Scalar]
    recipe: Recipe
    n_tasks: int
    length: int
    resident: int


class Measured(NamedTuple):
    """Memory in bytes: free when the device was opened, free after training, and torch's maximum."""

    opened: int
    left: int
    held: int


class Cuda:
    """Memory of CUDA devices, for the trainings of one study.

    Parameters
    ----------
    bench : Bench
        The study.
    """

    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    def free(self, name: str) -> int:
        """Free memory of a device in bytes, not counting what this process uses there."""
        return int(torch.cuda.mem_get_info(name)[0])

    def need(self, name: str) -> int:
        """Memory in bytes that one worker needs on a device: context, network, one step and the data.

        If the largest point does not fit, this is all free memory of the device; such trials end as infeasible.
        """
        load, before = largest_load(self.bench), self.free(name)
        try:
            measured = in_child(measure, load, name)
        except torch.OutOfMemoryError:
            return before
        context = max(0, before - measured.opened)
        taken = max(before - measured.left, context + measured.held)  # another program may have freed some meanwhile
        return int(MARGIN * (taken + load.resident))


def release(device: str) -> None:
    """Release the device memory that torch caches in this process; the workers need it."""
    if device.startswith("cuda"):
        torch.cuda.empty_cache()


def in_child(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a new process, whose device memory is free again when it ends."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def measure(load: Load, device: str) -> Measured:
    """Train on a CUDA device and measure its memory; call it in a separate process."""
    opened = int(torch.cuda.mem_get_info(device)[0])
    train_steps(load, device)
    torch.cuda.synchronize(device)
    return Measured(opened, int(torch.cuda.mem_get_info(device)[0]), int(torch.cuda.max_memory_reserved(device)))


def train_steps(load: Load, device: str) -> None:
    """Train a few steps on random sequences, predict, and scan the filters, as a trial does."""
    torch.set_num_threads(1)
    n = STEPS * load.recipe.batch_size
    codes = np.random.default_rng(0).integers(0, 4, (n, load.length), dtype=np.uint8)
    labels = np.tile((np.arange(n) % 2).astype(np.uint8)[:, None], (1, load.n_tasks))  # (n, n_tasks)
    split = Split(codes, labels)
    network = build_model(load.hyperparameters, n_tasks=load.n_tasks, length=load.length, seed=0)
    with contextlib.suppress(TrainingDiverged):  # its memory was used all the same
        fit(network, split, split, replace(load.recipe, epochs=1), seed=0, device=device)
    scan_filters(network, codes, device)


def largest_load(bench: Bench) -> Load:
    """The training of a study that should need the most memory."""
    data, recipe = bench.dataset, bench.plan.recipe
    point = largest_point(bench.plan.space, lambda point: footprint(point, recipe, data.n_tasks, data.length))
    hyperparameters, training = split_point(point)
    train = max((d.train for d in (data, *bench.variants.values())), key=len)
    resident = 2 * train.codes.nbytes + 4 * train.labels.size  # both strands; labels as float32
    return Load(hyperparameters, recipe_of(training, "trial parameters", recipe), data.n_tasks, data.length, resident)


def footprint(point: Mapping[str, Scalar], recipe: Recipe, n_tasks: int, length: int) -> int:
    """Count of the numbers that a training step keeps: outputs of all layers for a batch, and 4 per weight (Adam).

    Returns
    -------
    int
        0 for a point that cannot be built.
    """
    hyperparameters, training = split_point(point)
    batch = recipe_of(training, "trial parameters", recipe).batch_size
    try:
        network = build_model(hyperparameters, n_tasks=n_tasks, length=length, seed=0).eval()
    except ModelError:
        return 0
    outputs: list[int] = []
    for module in network.modules():
        if not list(module.children()):
            module.register_forward_hook(lambda _module, _given, output: outputs.append(output.numel()))
    with torch.no_grad():
        network(torch.zeros(1, 4, length))
    return batch * sum(outputs) + 4 * count_parameters(network)


def largest_point(space: SearchSpace, size: Callable[[Mapping[str, Scalar]], int]) -> dict[str, Scalar]:
    """Find the point of a space with the highest `size`.

    Starting at the high corner of each architecture, each parameter in turn takes the best of its choices or of its
    two ends; the warm starts compete, too. This is exact if no parameter's best value depends on another's.
    """
    found = [dict(start.parameters) for start in space.warm_starts]
    architectures: tuple[Scalar, ...] = ()
    if "architecture" in space.parameters:
        architectures = space.parameters["architecture"].values or ()
    for architecture in architectures or (None,):
        values = {name: _ends(parameter)[-1] for name, parameter in space.parameters.items()}
        if architecture is not None:
            values["architecture"] = architecture
        best = size(_point(space, values))
        for name, parameter in space.parameters.items():
            for value in _ends(parameter) if name != "architecture" else ():
                tried = {**values, name: value}
                if (reached := size(_point(space, tried))) > best:
                    values, best = tried, reached
        found.append(_point(space, values))
    return max(found, key=size)


def _point(space: SearchSpace, values: Mapping[str, Scalar]) -> dict[str, Scalar]:
    return space.suggest(FixedTrial(dict(values)))


def _ends(parameter: Parameter) -> tuple[Scalar, ...]:
    """The choices, or the lowest and highest value of a range."""
    if parameter.values is not None:
        return parameter.values
    low, high = parameter.low, parameter.high
    if low is None or high is None:
        raise AssertionError("a parameter without values has low and high")
    if parameter.step:
        high = low + int((high - low) / parameter.step + 1e-9) * parameter.step
    return (low, high)
