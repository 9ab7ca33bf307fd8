"""ATTRIBUTIONS, the table of attribution methods, and `attribute`, which runs one of them.

Codes are uint8, shape=(n, length). Effects, hypothetical contributions and contributions are float32,
shape=(n, 4, length), with channels A, C, G, T.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tuner.errors import AttributionError, unknown
from tuner.genome.sequence import Codes, one_hot
from tuner.interpret.averaged import mean_effects, readings, references_for
from tuner.interpret.deep_shap import Agreement, compare_scores, deep_shap, deep_shap_engine, shap_scores
from tuner.interpret.gradients import complete_integrated_gradients, integrated_gradients, saliency
from tuner.interpret.mutagenesis import mutagenesis, mutagenesis_engine
from tuner.interpret.target import FloatArray, Target, check_codes, precise
from tuner.models.prediction import exact_kernels, resolve_device

KOO = "Koo & Ploenzke 2021, Nat Mach Intell 3:258-266"


def _observed(effects: FloatArray, x: FloatArray) -> FloatArray:
    """Keep the effect of the observed base."""
    return effects * x


def _norm(effects: FloatArray, x: FloatArray) -> FloatArray:
    """Give the observed base the L2 norm of the effects of the other three bases."""
    return np.asarray(np.sqrt(np.square(effects).sum(axis=1, keepdims=True)) * x, dtype=np.float32)


def _one_engine(target: Target) -> str:
    return ""


@dataclass(frozen=True)
class Method:
    """A row of the table of attribution methods.

    Parameters
    ----------
    compute : callable
        (target, codes, references, batch) -> effects, shape=(n, 4, length). A method without references receives an
        array of shape=(n, 0, length).
    note : str
        Formula of the effects or contributions.
    source : str
        What to cite.
    complete : bool
        Whether contributions add up to the output minus the mean output of the references.
    needs_references : bool
        Whether it compares a sequence with shuffled versions of it.
    contribute : callable
        (effects, one-hot) -> contributions.
    double : bool
        Whether it runs in float64.
    tolerance : float
        Largest accepted median of the relative completeness error, for methods that are complete.
    engine : callable
        target -> name of the implementation used for its network, for methods that have several.
    """

    compute: Callable[[Target, Codes, Codes, int], FloatArray]
    note: str
    source: str
    complete: bool
    needs_references: bool
    contribute: Callable[[FloatArray, FloatArray], FloatArray] = _observed
    double: bool = False
    tolerance: float = 0.01
    engine: Callable[[Target], str] = _one_engine


ATTRIBUTIONS: Mapping[str, Method] = MappingProxyType(
    {
        "saliency": Method(saliency, "gradient x one-hot", f"Simonyan et al. 2013, as in {KOO}", False, False),
        "mutagenesis": Method(
            mutagenesis,
            "L2 norm of f(mutant) - f(sequence) over the other three bases",
            f"Alipanahi et al. 2015, as in {KOO}",
            False,
            False,
            _norm,
            engine=mutagenesis_engine,
        ),
        "integrated_gradients": Method(
            integrated_gradients,
            "mean gradient at 0, .05, ... .95 of the way from references x one-hot",
            f"Sundararajan et al. 2017, without the factor (x - reference) as in {KOO}",
            False,
            True,
        ),
        "integrated_gradients_complete": Method(
            complete_integrated_gradients,
            "mean gradient at 100 midpoints x (x - reference)",
            "Sundararajan et al. 2017",
            True,
            True,
            tolerance=0.05,  # the error of the quadrature is 1 to 3 % at 100 steps
        ),
        "deep_shap": Method(
            deep_shap,
            "DeepLIFT multipliers (rescale rule) x (x - reference)",
            "Shrikumar et al. 2017; Lundberg & Lee 2017",
            True,
            True,
            double=True,
            engine=deep_shap_engine,
        ),
    }
)
"""Name -> method."""


@dataclass(frozen=True, eq=False)
class Attribution:
    """Contribution of each base of some sequences to one output.

    Parameters
    ----------
    method : str
        A key of :data:`ATTRIBUTIONS`.
    output : str
        "logit" (natural log-odds) or "probability"; effects and contributions are in its units.
    task : int
        Index of the task.
    effects : numpy.ndarray, shape=(n, 4, length), float32
        For every base at every position: the gradient (saliency, integrated gradients), the change of the output
        when it replaces the observed base (mutagenesis), or the hypothetical contribution (complete methods).
    contributions : numpy.ndarray, shape=(n, 4, length), float32
        Effect of the observed base, and 0 for the other bases and at N. For mutagenesis, the L2 norm of the effects
        of the other three bases.
    references : numpy.ndarray, shape=(n, n_references, length), uint8
        Shuffled sequences; n_references is 0 if the method uses none.
    engine : str
        Implementation used, if the method has several, and why the fast one was not used.
    consensus : numpy.ndarray, shape=(n,), float64, or None
        For the mean logit of several networks, how well the networks' own position scores agree
        (:func:`~tuner.interpret.averaged.agreement`); else None.
    """

    method: str
    output: str
    task: int
    effects: FloatArray
    contributions: FloatArray
    references: NDArray[np.uint8]
    engine: str = ""
    consensus: NDArray[np.float64] | None = None

    def part(self, rows: NDArray[np.int64]) -> Attribution:
        """Return the attribution of some of the sequences, in the order of `rows`."""
        return replace(
            self, effects=self.effects[rows], contributions=self.contributions[rows], references=self.references[rows],
            consensus=None if self.consensus is None else self.consensus[rows],
        )  # fmt: skip

    @property
    def scores(self) -> FloatArray:
        """Signed contribution of each position, shape=(n, length)."""
        return np.asarray(self.contributions.sum(axis=1), dtype=np.float32)

    @property
    def hypothetical(self) -> FloatArray:
        """Hypothetical contributions, shape=(n, 4, length), as TF-MoDISco reads them.

        Raises
        ------
        AttributionError
            If the method does not give them.
        """
        if not ATTRIBUTIONS[self.method].complete:
            have = ", ".join(name for name, row in ATTRIBUTIONS.items() if row.complete)
            raise AttributionError(f"{self.method} has no hypothetical contributions. Use one of: {have}.")
        return self.effects


def make_target(network: nn.Module, output: str, task: int, device: str, *, double: bool) -> Target:
    """Copy a network to the device for attribution, in float64 if requested and supported there."""
    place = resolve_device(device)
    dtype = precise(place) if double else torch.float32
    return Target(network, output=output, task=task, device=place, dtype=dtype)


def attribute(
    method: str,
    network: nn.Module,
    codes: Codes,
    *,
    output: str = "logit",
    task: int = 0,
    references: int | NDArray[np.uint8] = 10,
    shuffle: str = "dinucleotide",
    seed: int = 0,
    device: str = "cpu",
    batch: int = 256,
) -> Attribution:
    """Attribute one output of a network to the bases of sequences.

    Parameters
    ----------
    method : str
        A key of :data:`ATTRIBUTIONS`.
    network : torch.nn.Module
        Maps (n, 4, length) one-hot to (n, n_tasks) logits. It is copied and not changed. To explain what is predicted
        from both strands, or by several networks, pass a :class:`~tuner.models.ensemble.MeanLogit`.
    codes : numpy.ndarray, shape=(n, length), uint8
        A, C, G, T = 0..3, N = 4. A network is read on the given strand only, unless it is a mean over both.
    output : str
        "logit" or "probability".
    task : int
        Which of the network's outputs.
    references : int or numpy.ndarray, shape=(n, n_references, length), uint8
        How many references to make, or the references to use. Ignored if the method needs none.
    shuffle, seed
        As for :func:`~tuner.interpret.averaged.references_for`.
    device : str
        As for :func:`~tuner.models.prediction.resolve_device`.
    batch : int
        Sequences per pass through the network.

    Returns
    -------
    Attribution

    Raises
    ------
    AttributionError
        If a name is unknown, sequences, task or references do not fit, or an effect is not finite.
    DeviceError
        If the device does not exist.
    """
    if method not in ATTRIBUTIONS:
        raise AttributionError(unknown("attribution method", method, ATTRIBUTIONS))
    row = ATTRIBUTIONS[method]
    check_codes(network, codes, task)
    origin = _references(network, codes, references, shuffle, seed) if row.needs_references else codes[:, None][:, :0]
    with exact_kernels(resolve_device(device)):
        effects, consensus, engine = mean_effects(
            readings(network, output), codes, origin,
            target=lambda one: make_target(one, output, task, device, double=row.double),
            compute=lambda target, x, r: row.compute(target, x, r, batch),
            contribute=row.contribute, engine=row.engine,
        )  # fmt: skip
    if not np.isfinite(effects).all():
        raise AttributionError(f"{method}: {int((~np.isfinite(effects)).sum())} effects are not finite.")
    contributions = row.contribute(effects, one_hot(codes).numpy())
    return Attribution(method, output, task, effects, contributions, origin, engine, consensus)


def engine_agreement(network: nn.Module, codes: Codes, attribution: Attribution, *, device: str = "cpu") -> Agreement:
    """Compare DeepSHAP position scores with those of shap.DeepExplainer for the same references.

    Parameters
    ----------
    network : torch.nn.Module
        The network that was attributed.
    codes : numpy.ndarray, shape=(n, length), uint8
        The first of the attributed sequences; a few are enough.
    attribution : Attribution
        Result of "deep_shap".
    device : str
        As for :func:`attribute`.

    Returns
    -------
    Agreement

    Raises
    ------
    AttributionError
        If the method is not "deep_shap", or shap.DeepExplainer computes a layer of the network wrongly; the message
        names the layer.
    """
    if attribution.method != "deep_shap":
        raise AttributionError(f"shap.DeepExplainer computes deep_shap, not {attribution.method}.")
    target = make_target(network, attribution.output, attribution.task, device, double=True)
    with exact_kernels(target.place):
        other = shap_scores(target, codes, attribution.references[: len(codes)])
    return compare_scores(attribution.scores[: len(codes)], other)


def _references(
    network: nn.Module, codes: Codes, given: int | NDArray[np.uint8], shuffle: str, seed: int
) -> NDArray[np.uint8]:
    if not isinstance(given, np.ndarray):
        return references_for(network, codes, given, shuffle=shuffle, seed=seed)
    n, length = codes.shape
    if given.ndim != 3 or given.shape[::2] != (n, length) or not given.shape[1] or given.dtype != np.uint8:
        raise AttributionError(
            f"references have shape {given.shape} and type {given.dtype}; expected ({n}, n_references, {length}) uint8."
        )
    return given
