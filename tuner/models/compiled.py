"""Optional compiled kernels for one CPU thread: the first layer, and all layers between convolutions.

`enable` builds them once with the machine's C++ compiler, into a cache folder, and tests them. From then on, training
uses them wherever they apply: float32 or bfloat16 in channels-last memory on a CPU, with one thread. Evaluation uses
one of them, which finds the first layer's best positions (`highest`). They draw other random bits and round differently
than the layers in Python; apart from that they compute the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, cast, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tuner.models import fused, layers
from tuner.models.activations import Exponential
from tuner.models.fused import ADD_RELU, EXPONENTIAL, MOST_POOLED, NOTHING, RELU, Steps
from tuner.models.kernels import Library, call, find_compiler, load
from tuner.models.layers import BatchNorm1d, Conv1d, Dropout, MaxPool1d, channels_last

_AFTER: dict[type[nn.Module], int] = {nn.ReLU: RELU, Exponential: EXPONENTIAL}

_draw = fused.random_bits


@runtime_checkable
class Pooling(Protocol):
    """A module that can also compute the pool that follows it."""

    def forward_pooled(self, x: Tensor, pool: MaxPool1d) -> Tensor:
        """Return the pooled output for x : (n, channels, length)."""
        ...


def enable(folder: Path) -> str:
    """Build the kernels if `folder` lacks them, test them, and use them in this process from now on.

    Parameters
    ----------
    folder : Path
        Cache folder of built kernels.

    Returns
    -------
    str
        Empty if the kernels are in use, otherwise the reason why not; training then uses the layers in Python.
    """
    if reason := load(folder):
        return f"compiled kernels are off: {reason}"
    if not _agrees():
        disable()
        return f"compiled kernels are off: built by {find_compiler()}, they do not compute the same values as torch"
    return ""


# Largest allowed relative L2 difference from torch. In bfloat16, rounding can change what pools and ReLUs select.
_TOLERANCES = {torch.float32: 1e-3, torch.bfloat16: 0.3}


def _agrees() -> bool:
    """Compare outputs and gradients of a small network with and without the kernels, given the same random bits."""
    global _draw
    kernels, threads, draw = Library.loaded, torch.get_num_threads(), _draw
    try:
        _draw = layers.random_bits
        torch.set_num_threads(1)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            first: list[nn.Module] = [
                Conv1d(4, 12, 7, pad=(3, 3), bias=False),
                BatchNorm1d(12),
                Exponential(),
                Dropout(0.2),
            ]
            branch = nn.Sequential(Conv1d(12, 12, 5, pad=(2, 2)), nn.ReLU(), BatchNorm1d(12))
            weights = list(nn.ModuleList([*first, branch]).parameters())
            x = channels_last(F.one_hot(torch.randint(0, 4, (8, 40)), 4).float().transpose(1, 2))
            for dtype, tolerance in _TOLERANCES.items():
                found = []
                for library in (kernels, None):
                    Library.loaded = library
                    torch.manual_seed(1)
                    with torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16):
                        y = run([MaxPool1d(4)], run_residual(branch, run(first, x), nn.ReLU())).float()
                    found.append([y.detach(), *torch.autograd.grad(y.square().mean(), weights)])
                if any(bool((a - b).norm() > tolerance * b.norm()) for a, b in zip(*found, strict=True)):
                    return False
    finally:
        torch.set_num_threads(threads)
        Library.loaded, _draw = kernels, draw
    return True


def disable() -> None:
    """Use the layers in Python again."""
    Library.loaded = None


def enabled() -> bool:
    """Return whether this process trains with the kernels wherever they apply."""
    return Library.loaded is not None


def in_use(module: nn.Module) -> bool:
    """Return whether a module is trained with the kernels, if `usable` accepts its inputs."""
    return (
        Library.loaded is not None
        and module.training
        and torch.is_grad_enabled()
        and (not torch.is_autocast_enabled("cpu") or torch.get_autocast_dtype("cpu") is torch.bfloat16)
    )


def usable(x: Tensor) -> bool:
    """Return whether the kernels are loaded and can process this (n, channels, length) tensor."""
    return (
        Library.loaded is not None
        and (x.dtype is torch.float32 or (x.dtype is torch.bfloat16 and torch.is_autocast_enabled("cpu")))
        and x.device.type == "cpu"
        and x.dim() == 3
        and torch.get_num_threads() == 1
        and x.transpose(1, 2).is_contiguous()
    )


def run_residual(branch: nn.Sequential, x: Tensor, relu: nn.Module, pool: MaxPool1d | None = None) -> Tensor:
    """Compute relu(x + branch(x)); in training, the branch's last kernel computes the sum as well.

    Parameters
    ----------
    branch : torch.nn.Sequential
        Maps x to its own shape.
    x : torch.Tensor, shape=(n, channels, length)
        Input of the block.
    relu : torch.nn.Module
        The ReLU that is called if no kernel can compute the sum.
    pool : MaxPool1d, optional
        Pool that follows the block, and is applied to the result.
    """
    modules = list(branch)
    rest: list[nn.Module] = [] if pool is None else [pool]
    last = modules[-1]
    if not (in_use(branch) and isinstance(last, BatchNorm1d) and last.training and usable(x)):
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))  # once, for the branch and for the sum
        return run([relu, *rest], x + run(branch, x))
    x = x.to(_map_type())
    before = isinstance(modules[-2], nn.ReLU)
    split = -2 if before else -1
    h = _fused(modules[:split], x)
    if not (usable(h) and h.dtype is x.dtype):
        return _fused([relu, *rest], x + _fused(modules[split:], h))
    taken = pool if _fits(pool, h) else None
    out = _norm(last, h, Steps(before, ADD_RELU), None, other=x, pool=taken)
    return out if taken is pool else _fused(rest, out)


def highest(
    layer: Conv1d, norm: BatchNorm1d | None, codes: Tensor, first: int, stop: int
) -> tuple[Tensor, Tensor, Tensor] | None:
    """Find where each filter of the first layer is highest, after batch norm with its running statistics.

    Parameters
    ----------
    layer : Conv1d
        The first convolution, of 4 input channels.
    norm : BatchNorm1d or None
        Batch norm that follows it, if any.
    codes : torch.Tensor, shape=(n, length), uint8
        A, C, G, T = 0..3, N = 4.
    first, stop : int
        Range of output positions that are searched, from `first` to before `stop`.

    Returns
    -------
    tuple of torch.Tensor, or None
        As returned by `fused.highest`; None if the kernel cannot be used.
    """
    if not enabled() or codes.device.type != "cpu" or torch.get_num_threads() != 1:
        return None
    if layer.in_channels != 4 or layer.stride[0] != 1 or layer.dilation[0] != 1 or layer.weight.dtype != torch.float32:
        return None
    weight = layer.weight
    bias = torch.zeros(len(weight)) if layer.bias is None else layer.bias
    if norm is not None:
        assert norm.running_mean is not None  # our norms always have running statistics
        assert norm.running_var is not None
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        weight, bias = weight * scale[:, None, None], (bias - norm.running_mean) * scale + norm.bias
    return fused.highest(codes, weight, bias, layer.pad[0], first, stop)


def _fits(pool: nn.Module | None, x: Tensor) -> bool:
    """Return whether a kernel can apply this pool to x : (n, channels, length)."""
    return isinstance(pool, MaxPool1d) and pool.window[1] <= min(MOST_POOLED, x.shape[2])


def _windows(pool: MaxPool1d, length: int) -> tuple[int, int]:
    """Return the window in positions and the number of windows."""
    window = pool.window[1]
    return window, -(-length // window) if pool.ceil_mode else length // window


def _map_type() -> torch.dtype:
    """Type of the activation maps after the first activation: bfloat16 if the network trains in it."""
    return torch.bfloat16 if torch.is_autocast_enabled("cpu") else torch.float32


def _convolve(layer: Conv1d, x: Tensor) -> Tensor:
    """Convolve x; an input without gradient is taken for sequences, which use a table of bases if they are one-hot."""
    n, inputs, length = x.shape
    sequences = not x.requires_grad
    if sequences and inputs == 4 and layer.stride[0] == layer.dilation[0] == 1:
        codes = torch.empty(n, length, dtype=torch.uint8)
        if call("encode", x, codes, n * length):
            return fused.look_up(codes, layer, length + sum(layer.pad) - layer.kernel_size[0] + 1)
    if torch.is_autocast_enabled("cpu") and not sequences:
        # In bfloat16 oneDNN has fast paths for all three products of a convolution.
        out: Tensor = layer(x.to(torch.bfloat16))
        return out
    with torch.autocast("cpu", enabled=False):
        return fused.convolve(x, layer)


def _norm(
    norm: BatchNorm1d,
    x: Tensor,
    steps: Steps,
    dropout: Dropout | None,
    *,
    other: Tensor | None = None,
    pool: MaxPool1d | None = None,
) -> Tensor:
    bits = None
    if dropout is not None:
        bits = _draw(x.numel())
        steps = steps._replace(drop=True, threshold=dropout.threshold - 32768, scale=dropout.scale)
    # The input of an activation that the kernel does not compute stays in float32.
    dtype = x.dtype if steps.after == NOTHING and not steps.drop else _map_type()
    windows = None if pool is None else _windows(pool, x.shape[2])
    return fused.normalize(x, norm, steps, dtype, bits=bits, other=other, pool=windows)


def _fused(modules: list[nn.Module], x: Tensor) -> Tensor:
    """Run layers in training mode; adjacent layers run in one kernel if there is one for them."""
    i = 0
    while i < len(modules):
        layer = modules[i]
        if not usable(x):
            x = layer(x)
            i += 1
            continue
        end = i
        before = isinstance(layer, nn.ReLU) and end + 1 < len(modules)
        end += before
        norm = modules[end]
        if isinstance(norm, BatchNorm1d) and norm.training:
            end += 1
            after = _AFTER.get(type(modules[end]), NOTHING) if end < len(modules) else NOTHING
            factor = float(getattr(modules[end], "scale", 1.0)) if after else 1.0
            end += after > 0
            last = modules[end] if end < len(modules) else None
            drop = last if isinstance(last, Dropout) and last.threshold > 0 else None
            end += drop is not None
            pool = modules[end] if end < len(modules) and _fits(modules[end], x) else None
            end += pool is not None
            x = _norm(norm, x, Steps(before, after, factor=factor), drop, pool=cast("MaxPool1d | None", pool))
            i = end
            continue
        if isinstance(layer, Pooling) and i + 1 < len(modules) and isinstance(pool := modules[i + 1], MaxPool1d):
            x = layer.forward_pooled(x, pool)
            i += 2
            continue
        if isinstance(layer, Conv1d):
            x = _convolve(layer, x)
        elif isinstance(layer, Dropout) and layer.training and layer.threshold:
            x = fused.drop(x, _draw(x.numel()), layer.threshold - 32768, layer.scale, _map_type())
        elif isinstance(layer, MaxPool1d) and _fits(layer, x):
            x = fused.pool(x, *_windows(layer, x.shape[2]))
        else:
            x = layer(x)
        i += 1
    return x


def run(modules: Iterable[nn.Module], x: Tensor) -> Tensor:
    """Run layers one after the other; in training, through the kernels if they are in use.

    Forward hooks of layers that run in a kernel are not called.

    Parameters
    ----------
    modules : iterable of torch.nn.Module
        The layers.
    x : torch.Tensor, shape=(n, channels, length)
        Input of the first layer.
    """
    chain = list(modules)
    if in_use(chain[0]):
        return _fused(chain, x)
    if isinstance(modules, nn.Sequential):
        out: Tensor = modules(x)
        return out
    for layer in chain:
        x = layer(x)
    return x
