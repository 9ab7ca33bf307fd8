"""Adam with the recipe's L2 penalty, which the network declares, with decoupled weight decay, and with simple state."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn


def penalty_factors(model: nn.Module) -> dict[str, float]:
    """Find out which weights `model.l2_penalty()` squares, and with which factors.

    The penalty must be the sum of c * sum(w^2) over some parameters w. Its gradient, 2 c w, can then be added
    inside the optimiser instead of going through autograd at every step.

    Returns
    -------
    dict of str to float
        Name of every penalised parameter -> c; empty if the network declares no penalty.
    """
    penalty = getattr(model, "l2_penalty", None)
    if penalty is None:
        return {}
    named = dict(model.named_parameters())
    value = penalty()
    if not value.requires_grad:
        return {}
    gradients = torch.autograd.grad(value, list(named.values()), allow_unused=True)
    factors: dict[str, float] = {}
    for (name, weight), gradient in zip(named.items(), gradients, strict=True):
        if gradient is not None:
            square = weight.detach().double().square().sum()
            product = (gradient.double() * weight.detach().double()).sum()
            # Rounding to six digits removes float32 errors; the factors in the code have fewer digits.
            factors[name] = float(f"{(product / (2 * square)).item():.6g}") if square > 0 else 1.0
    return factors


class KernelAdam:
    """Adam (Kingma & Ba 2015), with the decay of AdamW (Loshchilov & Hutter 2019) if `weight_decay` > 0.

    Parameters
    ----------
    model : torch.nn.Module
        Network whose parameters are updated.
    l2 : float
        Factor of the penalty: l2 * model.l2_penalty() is added to the loss; see `penalty_factors`.
    weight_decay : float
        Each step multiplies every parameter with two or more axes by 1 - learning rate * weight_decay.
    epsilon : float
        Number added to the root of the second moment.
    recordable : bool
        Whether everything that changes from step to step is kept in tensors, as a CUDA graph of a step requires.

    Attributes
    ----------
    learning_rate : float
        Learning rate of the next steps.
    """

    def __init__(
        self, model: nn.Module, *, l2: float, weight_decay: float, epsilon: float, recordable: bool = False
    ) -> None:
        named = {name: p for name, p in model.named_parameters() if p.requires_grad}
        factors = penalty_factors(model) if l2 > 0 else {}
        groups: dict[float, list[nn.Parameter]] = {}
        for name, parameter in named.items():
            groups.setdefault(2.0 * l2 * factors.get(name, 0.0), []).append(parameter)
        # Adam's own (coupled) weight_decay adds wd * w to the gradient, which is the gradient of the L2 penalty.
        # lr is set before each epoch.
        devices = {p.device for p in named.values()}
        self._adam = torch.optim.Adam(
            [{"params": parameters, "weight_decay": decay} for decay, parameters in groups.items()],
            lr=1e-3,
            eps=epsilon,
            fused={device.type for device in devices} <= {"cpu", "cuda"},
            capturable=recordable and all(device.type == "cuda" for device in devices),
        )
        self._named = named
        self._decayed: list[torch.Tensor] = [p for p in named.values() if p.ndim >= 2] if weight_decay > 0 else []
        self._weight_decay = weight_decay
        self._rate: float | torch.Tensor = 1e-3
        self._kept: float | torch.Tensor = 1.0  # factor of a decayed parameter per step
        if recordable:
            place = next(iter(devices))
            self._rate, self._kept = torch.zeros((), device=place), torch.zeros((), device=place)
        self.learning_rate = 1e-3

    @property
    def learning_rate(self) -> float:
        """Learning rate of the next steps."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._learning_rate, kept = value, 1.0 - value * self._weight_decay
        if isinstance(self._rate, torch.Tensor) and isinstance(self._kept, torch.Tensor):
            self._rate.fill_(value)
            self._kept.fill_(kept)
        else:
            self._rate, self._kept = value, kept
        for group in self._adam.param_groups:
            group["lr"] = self._rate

    def zero_grad(self) -> None:
        """Delete the gradients."""
        self._adam.zero_grad(set_to_none=True)

    def step(self) -> None:
        """Update the parameters from their gradients."""
        if self._decayed:
            with torch.no_grad():
                torch._foreach_mul_(self._decayed, self._kept)
        self._adam.step()

    def reset(self) -> None:
        """Forget moments and step counts, as a new optimizer would have none."""
        for tensor in self.tensors().values():
            tensor.zero_()

    def tensors(self) -> dict[str, torch.Tensor]:
        """Moments and step counts, by ``parameter/moment``."""
        return {
            f"{name}/{key}": value
            for name, parameter in self._named.items()
            for key, value in self._adam.state.get(parameter, {}).items()
        }

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Restore the state from the result of `tensors`, each tensor in the memory layout of its parameter."""
        for key, value in tensors.items():
            name, moment = key.rsplit("/", 1)
            parameter = self._named[name]
            like = parameter if value.shape == parameter.shape else value.to(parameter.device)
            self._adam.state[parameter][moment] = torch.empty_like(like.detach()).copy_(value)
