"""Completeness check: contributions must add up to the difference of outputs; otherwise the layer at fault is named.

DeepLIFT silently treats layers without a rule as linear. The sum over bases then differs from the difference of
outputs, and following that sum through the network from layer to layer shows where it is lost.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tuner.errors import AttributionError
from tuner.genome.sequence import Codes
from tuner.interpret.attribution import ATTRIBUTIONS, Attribution, make_target
from tuner.interpret.deep_shap import tangermeme_rules
from tuner.interpret.gradients import COMPLETE_STEPS
from tuner.interpret.target import Target
from tuner.models.prediction import exact_kernels

# Differences of outputs below 1e-9, and residuals below 1e-6 of the summed sizes (float32 keeps 6e-8), are rounding.
_ROUNDING_OUTPUT, _ROUNDING_SUM = 1e-9, 1e-4
# Numbers of sequences and references used to find the layer.
_SEARCHED = (8, 3)


class Completeness(NamedTuple):
    """How well contributions add up.

    Attributes
    ----------
    errors : numpy.ndarray, shape=(n,), float64
        |sum of contributions - difference| / max(|difference|, median |difference|) of each sequence. Because of the
        median, a sequence that scores like its references does not have an infinite error.
    differences : numpy.ndarray, shape=(n,), float64
        Output of the sequence minus the mean output of its references, in units of the output.
    median, maximum : float
        Median and maximum of `errors`.
    """

    errors: NDArray[np.float64]
    differences: NDArray[np.float64]
    median: float
    maximum: float


def measure_completeness(
    network: nn.Module, codes: Codes, attribution: Attribution, *, device: str = "cpu"
) -> Completeness:
    """Compare the sum of contributions with the difference of outputs, computed in float64.

    Parameters
    ----------
    network : torch.nn.Module
        The network that was attributed: a :class:`~tuner.models.ensemble.MeanLogit` if that was explained.
    codes : numpy.ndarray, shape=(n, length), uint8
        The first of the attributed sequences, or all of them.
    attribution : Attribution
        Result of a complete method.
    device : str
        As for :func:`~tuner.interpret.attribution.attribute`.

    Returns
    -------
    Completeness

    Raises
    ------
    AttributionError
        If the method is not complete.
    """
    if not ATTRIBUTIONS[attribution.method].complete:
        have = ", ".join(name for name, row in ATTRIBUTIONS.items() if row.complete)
        raise AttributionError(
            f"{attribution.method} is not a complete method: its contributions need not add up. Check one of: {have}."
        )
    target = make_target(network, attribution.output, attribution.task, device, double=True)
    n = len(codes)
    references = attribution.references[:n]
    with exact_kernels(target.place):
        origin = target.values(references.reshape(-1, codes.shape[1])).reshape(references.shape[:2]).mean(axis=1)
        differences = target.values(codes) - origin
    contributions = attribution.contributions[:n].astype(np.float64)
    residual = np.abs(contributions.sum(axis=(1, 2)) - differences)
    size = np.maximum(np.abs(differences), np.median(np.abs(differences)))
    floor = _ROUNDING_OUTPUT + _ROUNDING_SUM * np.abs(contributions).sum(axis=(1, 2))
    errors = residual / np.maximum(size, floor)
    return Completeness(errors, differences, float(np.median(errors)), float(errors.max()))


def check_completeness(
    network: nn.Module, codes: Codes, attribution: Attribution, *, tolerance: float | None = None, device: str = "cpu"
) -> Completeness:
    """Refuse contributions that do not add up, and name the layer at fault.

    Parameters
    ----------
    network, codes, attribution, device
        As for :func:`measure_completeness`.
    tolerance : float, optional
        Largest accepted median of the relative error; by default that of the method.

    Returns
    -------
    Completeness

    Raises
    ------
    AttributionError
        If the median error exceeds the tolerance; the message names the layer that loses most of the sum.
    """
    found = measure_completeness(network, codes, attribution, device=device)
    tolerance = ATTRIBUTIONS[attribution.method].tolerance if tolerance is None else tolerance
    if found.median <= tolerance:
        return found
    text = (
        f"{attribution.method} does not add up: over {len(codes)} sequences the contributions miss the difference of "
        f"outputs by {found.median:.1%} (median; at most {tolerance:.1%} is accepted)"
    )
    if attribution.method != "deep_shap":
        raise AttributionError(f"{text}. {COMPLETE_STEPS} steps are too few for this network; use deep_shap.")
    n, k = min(len(codes), _SEARCHED[0]), _SEARCHED[1]
    target = make_target(network, attribution.output, attribution.task, device, double=True)
    lost = layer_errors(target, codes[:n], attribution.references[:n, :k])
    worst = max(lost, key=lambda name: lost[name])
    if lost[worst] <= tolerance:
        raise AttributionError(
            f"{text}, but no layer loses any of the sum. Either this is not the network that was attributed, or "
            f"references differ from their sequence where it is N."
        )
    raise AttributionError(f"{text}. {_describe(target, worst)}")


def _describe(target: Target, name: str) -> str:
    """Say which layer is at fault and what to do about it."""
    module = target.get_submodule(name)
    kind = type(module).__name__
    path = name.removeprefix("network").removeprefix(".")
    where = f"layer {path!r} ({kind})" if path else f"the network itself ({kind})"
    if list(module.children()):
        return (
            f"The sum is lost in the forward method of {where}, which calls a nonlinear function itself. "
            f"Make that function an nn.Module with a DeepLIFT rule (tuner.models.activations)."
        )
    if type(module) in tangermeme_rules(target):
        return f"The sum is lost in {where}, whose DeepLIFT rule does not fit what it computes."
    return (
        f"The sum is lost in {where}, which has no DeepLIFT rule and is treated as linear. "
        f"Add it to ACTIVATIONS in tuner.models.activations with deeplift = 'rescale', or use another layer."
    )


class _Call:
    """One call of a module: its inputs, its outputs, and the calls inside it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.inputs: list[Tensor] = []
        self.outputs: list[Tensor] = []
        self.inside: list[_Call] = []


@contextmanager
def _recorded(model: nn.Module) -> Iterator[list[_Call]]:
    """Record every call of every module, in the order in which they end."""
    stack: list[_Call] = []
    done: list[_Call] = []

    def enter(name: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
        call = _Call(name)
        if stack:
            stack[-1].inside.append(call)
        stack.append(call)
        # A separate view, so that its gradient contains only what flows through this module.
        args = tuple(a.view_as(a) if isinstance(a, Tensor) else a for a in args)
        call.inputs = [a for a in args if isinstance(a, Tensor)]
        return args

    def leave(output: Any) -> None:
        call = stack.pop()
        call.outputs = [o for o in (output if isinstance(output, tuple) else (output,)) if isinstance(o, Tensor)]
        done.append(call)

    handles = []
    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(lambda _, args, name=name: enter(name, args)))
        handles.append(module.register_forward_hook(lambda _, __, output: leave(output)))
    try:
        yield done
    finally:
        for handle in handles:
            handle.remove()


def layer_errors(target: Target, codes: Codes, references: Codes) -> dict[str, float]:
    """Measure how much of the sum of contributions each layer loses.

    The sum that enters a layer is taken over its inputs, of multiplier x (value - value at the reference); the sum that
    leaves it is the same over its outputs. For a layer that contains others, only what these do not lose counts.

    Parameters
    ----------
    target : Target
    codes : numpy.ndarray, shape=(n, length), uint8
    references : numpy.ndarray, shape=(n, n_references, length), uint8

    Returns
    -------
    dict of str to float
        Name of a module of `target` -> mean |loss| over pairs, relative to the mean |difference| of outputs.
        The signed losses add up to the completeness error.
    """
    from tangermeme.deep_lift_shap import _attributing

    n, n_references, length = references.shape
    pairs = n * n_references
    x = target.encode(np.concatenate([np.repeat(codes, n_references, axis=0), references.reshape(-1, length)]))
    x.requires_grad_()
    rules = tangermeme_rules(target)
    with exact_kernels(target.place), _attributing(target, target.place, rules), _recorded(target) as calls:
        y = target(x)[:, 0]
        tensors = [t for call in calls for t in (*call.inputs, *call.outputs)]
        # Several rows of a pair stand next to each other where a network is read on both strands.
        flowing = [t for t in tensors if t.requires_grad and len(t) and len(t) % (2 * pairs) == 0]
        gradients = torch.autograd.grad(y.sum(), flowing, allow_unused=True)
    through: dict[int, NDArray[np.float64]] = {}
    for tensor, gradient in zip(flowing, gradients, strict=True):
        if gradient is not None:
            half = len(tensor) // 2
            change = gradient[:half] * (tensor[:half] - tensor[half:])
            through[id(tensor)] = change.detach().reshape(pairs, -1).sum(dim=1).double().cpu().numpy()
    nothing = np.zeros(pairs)

    def loss(call: _Call) -> NDArray[np.float64]:
        entering = sum((through.get(id(t), nothing) for t in call.inputs), nothing)
        return entering - sum((through.get(id(t), nothing) for t in call.outputs), nothing)

    own: dict[str, NDArray[np.float64]] = defaultdict(lambda: np.zeros(pairs))
    for call in calls:
        own[call.name] = own[call.name] + loss(call) - sum((loss(inner) for inner in call.inside), nothing)
    values = y.detach().double().cpu().numpy()
    size = max(float(np.abs(values[:pairs] - values[pairs:]).mean()), _ROUNDING_OUTPUT)
    return {name: float(np.abs(lost).mean()) / size for name, lost in own.items()}
