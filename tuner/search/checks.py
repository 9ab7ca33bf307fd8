"""Building networks at some points of a search space before a study trains anything, and timing them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from optuna.trial import FixedTrial

from tuner.data.splits import sample_rows
from tuner.errors import ModelError
from tuner.models.architectures import build_model, count_parameters
from tuner.models.first_layer import scan_filters
from tuner.models.training import fit
from tuner.search.loaded import Bench
from tuner.study.parameters import recipe_of, split_point
from tuner.study.space import Parameter, Scalar, SearchSpace


class BuiltPoints(NamedTuple):
    """Result of building points of a space.

    Attributes
    ----------
    points : int
        Points tried.
    fewest, most : int or None
        Trainable parameters of the smallest and largest network; None if none could be built.
    problems : list of str
        One line for each distinct error, with the number of points and one of them.
    """

    points: int
    fewest: int | None
    most: int | None
    problems: list[str]


def sample_points(space: SearchSpace, n: int, seed: int) -> list[dict[str, Scalar]]:
    """Choose points of a space: its warm starts, the low and high corner of each architecture, and random ones.

    Parameters
    ----------
    space : SearchSpace
        The space.
    n : int
        Number of points besides the warm starts.
    seed : int
        Seeds the draws.
    """
    rng = np.random.default_rng(seed)
    points = [dict(start.parameters) for start in space.warm_starts]
    architectures = space.parameters["architecture"].values or () if "architecture" in space.parameters else ()
    corners = [(end, architecture) for architecture in architectures for end in (0.0, 1.0)]
    for i in range(max(n, len(corners))):
        end, architecture = corners[i] if i < len(corners) else (None, None)
        values = {name: _draw(parameter, rng, end) for name, parameter in space.parameters.items()}
        if architecture is not None:
            values["architecture"] = architecture
        points.append(space.suggest(FixedTrial(values)))
    return points


def expected_seconds(bench: Bench, points: Sequence[dict[str, Scalar]] | None = None) -> float:
    """Estimate how long a trial takes, on average over the architectures.

    Times one epoch on a few random batches of both classes on this machine, and scales it to all data and epochs. Early
    stopping, other points and other machines can change it by a factor of two or three.

    Parameters
    ----------
    bench : Bench
        The study.
    points : sequence of dict, optional
        What will be trained; the first point of each architecture is timed. By default the first warm start
        (or a random point) represents all.

    Returns
    -------
    float
        Seconds of training.
    """
    chosen = points or sample_points(bench.plan.space, 1, bench.plan.seed)[:1]
    first = {point["architecture"]: point for point in reversed(chosen)}
    shares = Counter(point["architecture"] for point in chosen)
    return sum(_seconds(bench, point) * shares[name] for name, point in first.items()) / len(chosen)


def _seconds(bench: Bench, point: dict[str, Scalar]) -> float:
    plan = bench.plan
    hyperparameters, training = split_point(point)
    recipe = recipe_of(training, "trial parameters", plan.recipe)
    train = bench.dataset_of(point).train
    few = train.take(sample_rows(train.labels, 4 * recipe.batch_size, plan.seed))
    network = build_model(hyperparameters, n_tasks=bench.dataset.n_tasks, length=bench.dataset.length, seed=0)
    # The second epoch, because the first includes the costs of the allocator and of choosing kernels.
    second = fit(network, few, few, replace(recipe, epochs=2), seed=0, device=bench.device).history[-1].seconds
    return second * len(train) / len(few) * recipe.epochs


def build_points(points: Sequence[dict[str, Scalar]], *, n_tasks: int, length: int) -> BuiltPoints:
    """Build the network of every point for data of this shape and read its filters; collect the errors."""
    one = np.zeros((1, length), dtype=np.uint8)
    sizes: list[int] = []
    errors: dict[str, list[dict[str, Scalar]]] = {}
    for point in points:
        try:
            network = build_model(split_point(point)[0], n_tasks=n_tasks, length=length, seed=0)
            scan_filters(network, one)
            sizes.append(count_parameters(network))
        except ModelError as e:
            errors.setdefault(str(e), []).append(point)
    problems = [
        f"{len(at)} of {len(points)} points of the space cannot be built for {length} bp: {error} "
        f"(e.g. {', '.join(f'{k} = {v}' for k, v in at[0].items())})"
        for error, at in errors.items()
    ]
    return BuiltPoints(len(points), min(sizes, default=None), max(sizes, default=None), problems)


def _draw(parameter: Parameter, rng: np.random.Generator, end: float | None) -> Scalar:
    """Draw a value at random, or take the low (0) or high (1) end of a range."""
    if parameter.values is not None:
        return parameter.values[int(rng.integers(len(parameter.values)))]
    low, high = parameter.low, parameter.high
    if low is None or high is None:
        raise AssertionError("a parameter without values has low and high")
    share = float(rng.random()) if end is None else end
    value = low * (high / low) ** share if parameter.log else low + (high - low) * share
    if isinstance(low, int) or parameter.step:
        step = parameter.step or 1
        steps = min(round((value - low) / step), int((high - low) / step + 1e-9))
        value = low + steps * step
    return int(value) if isinstance(low, int) else min(max(float(value), float(low)), float(high))
