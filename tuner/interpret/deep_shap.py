"""DeepSHAP: DeepLIFT's rescale rule, averaged over references, in three implementations.

Networks that consist of this package's layers use `tuner.interpret.folded`, all others use tangermeme; shap's
DeepExplainer computes position scores for comparison. The libraries replace the derivative of every nonlinearity they
know by a difference quotient and treat all others as linear, so the rules of this package's modules are registered
here. Both libraries run in float64: an activation that is nearly saturated (tanh(x - 6) before training) leaves
differences of 1e-6 between numbers near 1, of which float32 keeps one or two digits.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from tuner.errors import AttributionError
from tuner.genome.sequence import Codes, one_hot
from tuner.interpret.folded import folded_deep_shap, missing_rule
from tuner.interpret.target import FloatArray, Target
from tuner.models import layers
from tuner.models.activations import ACTIVATIONS

Rules = dict[type[nn.Module], Callable[..., Any]]


def nonlinear_types() -> set[type[nn.Module]]:
    """Return the classes of the activations that need the rescale rule."""
    return {type(row.module()) for row in ACTIVATIONS.values() if row.deeplift == "rescale"}


def tangermeme_rules(network: nn.Module) -> Rules:
    """Return the DeepLIFT rule of every module class of a network that has one.

    tangermeme looks up rules by the exact class and fails on a subclass, which therefore gets its nearest base's rule.
    """
    from tangermeme._deep_lift_utils import _build_nonlinear_ops  # importing it takes seconds
    from tangermeme.deep_lift_shap import _maxpool, _nonlinear

    rules: Rules = _build_nonlinear_ops({**dict.fromkeys(nonlinear_types(), _nonlinear), layers.MaxPool1d: _maxpool})
    for kind in {type(module) for module in network.modules()} - set(rules):
        base = next((base for base in kind.__mro__ if base in rules), None)
        if base is not None:
            rules[kind] = rules[base]
    return rules


def deep_shap_engine(target: Target) -> str:
    """Name the implementation used for a network, and say why if it is not the folded one."""
    layer = missing_rule(target.network)
    return f"tangermeme, as no folded rule is known for {layer}" if layer else "folded"


def deep_shap(target: Target, codes: Codes, references: Codes, batch: int) -> FloatArray:
    """Compute hypothetical contributions (Shrikumar et al. 2017; Lundberg & Lee 2017).

    Parameters
    ----------
    target : Target
        In float64, unless the device does not support it.
    codes : numpy.ndarray, shape=(n, length), uint8
    references : numpy.ndarray, shape=(n, n_references, length), uint8
    batch : int
        Pairs of a sequence and a reference at a time.

    Returns
    -------
    numpy.ndarray, shape=(n, 4, length), float32
        Mean over references. Multiplied by the one-hot sequence, they add up to the output minus the mean output of
        the references.
    """
    compute = tangermeme_deep_shap if missing_rule(target.network) else folded_deep_shap
    return compute(target, codes, references, batch)


def tangermeme_deep_shap(target: Target, codes: Codes, references: Codes, batch: int) -> FloatArray:
    """Compute hypothetical contributions of any network with tangermeme; signature as in :func:`deep_shap`."""
    from tangermeme.deep_lift_shap import deep_lift_shap

    n, n_references, length = references.shape
    x = one_hot(codes, torch.int8)
    origin = one_hot(references.reshape(-1, length), torch.int8).reshape(n, n_references, 4, length)
    with warnings.catch_warnings():
        # It warns above an absolute error, which means nothing for outputs of another size, and about N, which is
        # harmless if the reference has N there too. `check_completeness` checks the relative error.
        warnings.simplefilter("ignore")
        found = deep_lift_shap(
            target,
            x,
            references=origin,
            hypothetical=True,
            batch_size=batch,
            additional_nonlinear_ops=tangermeme_rules(target),
            only_warn=True,
            dtype=target.dtype,
            device=target.place,
        )
    return np.asarray(found.float().numpy())


@contextmanager
def _shap_explainer() -> Iterator[Callable[..., Any]]:
    """Yield shap's DeepExplainer with this package's activations in its table, which is global to the process."""
    with warnings.catch_warnings():
        # On import it sets up plots with a call that matplotlib has deprecated.
        warnings.simplefilter("ignore")
        from shap import DeepExplainer
        from shap.explainers._deep import deep_pytorch

        names = {kind.__name__ for kind in nonlinear_types()} - set(deep_pytorch.op_handler)
        deep_pytorch.op_handler.update(dict.fromkeys(names, deep_pytorch.nonlinear_1d))
        try:
            yield DeepExplainer
        finally:
            for name in names:
                del deep_pytorch.op_handler[name]


def check_for_shap(target: Target, codes: Codes) -> None:
    """Refuse a network that shap's DeepExplainer would compute wrongly, mostly without a warning.

    Parameters
    ----------
    target : Target
    codes : numpy.ndarray, shape=(n, length), uint8
        One sequence is enough.

    Raises
    ------
    AttributionError
        If a module has no rule, the windows of a max pool overlap, or a nonlinear module is used more than once; the
        message names the layer.
    """
    with _shap_explainer():
        from shap.explainers._deep.deep_pytorch import linear_1d, op_handler, passthrough

        rules = dict(op_handler)
    leaves = {name: m for name, m in target.network.named_modules() if not list(m.children())}
    calls: Counter[str] = Counter()
    handles = [m.register_forward_hook(lambda *_, name=name: calls.update([name])) for name, m in leaves.items()]
    try:
        target.values(codes[:1])
    finally:
        for handle in handles:
            handle.remove()
    for name, module in leaves.items():
        where = f"shap.DeepExplainer: layer {name!r} ({type(module).__name__})"
        if not calls[name]:
            continue
        rule = rules.get(type(module).__name__)
        if rule is None:
            raise AttributionError(f"{where} has no DeepLIFT rule in shap. Use tangermeme's scores.")
        if isinstance(module, nn.MaxPool1d) and module.stride != module.kernel_size:
            raise AttributionError(
                f"{where} has windows of {module.kernel_size} every {module.stride} positions; its rule is wrong "
                f"where windows overlap. Set stride = kernel_size, or use tangermeme's scores."
            )
        if calls[name] > 1 and rule not in (linear_1d, passthrough):
            raise AttributionError(
                f"{where} is used {calls[name]} times; shap remembers only the last input of a module. "
                f"Use a separate module for each call, or use tangermeme's scores."
            )


def shap_scores(target: Target, codes: Codes, references: Codes) -> npt.NDArray[np.float64]:
    """Compute position scores with shap.DeepExplainer, one explainer per sequence.

    Parameters
    ----------
    target : Target
    codes : numpy.ndarray, shape=(n, length), uint8
    references : numpy.ndarray, shape=(n, n_references, length), uint8

    Returns
    -------
    numpy.ndarray, shape=(n, length), float64
        Sum over the four channels, because shap also gives the replaced base a share.

    Raises
    ------
    AttributionError
        As for :func:`check_for_shap`.
    """
    check_for_shap(target, codes)
    found = []
    with _shap_explainer() as explainer:
        for row, own in zip(codes, references, strict=True):
            values = explainer(target, target.encode(own)).shap_values(target.encode(row[None]), check_additivity=False)
            found.append(np.asarray(values, dtype=np.float64).reshape(4, -1).sum(axis=0))
    return np.stack(found)


class Agreement(NamedTuple):
    """How well two implementations agree on position scores.

    Attributes
    ----------
    absolute : float
        Largest difference of two position scores, in units of the output.
    relative : float
        Largest difference within a sequence divided by its largest score; the maximum over sequences.
    correlation : float
        Pearson correlation over all positions of all sequences.
    n : int
        Number of sequences compared.
    """

    absolute: float
    relative: float
    correlation: float
    n: int


def compare_scores(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> Agreement:
    """Compare two arrays of position scores, both of shape=(n, length)."""
    first, second = first.astype(np.float64), second.astype(np.float64)
    difference = np.abs(first - second).max(axis=1)
    size = np.maximum(np.abs(first).max(axis=1), np.finfo(np.float64).tiny)
    correlation = float(np.corrcoef(first.ravel(), second.ravel())[0, 1])
    return Agreement(float(difference.max()), float((difference / size).max()), correlation, len(first))
