"""Claim: a training step takes less CPU time than in a straightforward PyTorch program, with equal gradients.

    python benchmarks/training_step.py --json step.json

The straightforward side is in this file: the network of the same plan in nn.Conv1d, nn.BatchNorm1d, nn.ReLU,
nn.Dropout and nn.MaxPool1d on contiguous float32 tensors, a DataLoader over one-hot sequences, Adam as torch builds
it, and L2 as a term of the loss. The other sides are the package's own training epoch, in Python alone and with the
compiled kernels if there is a C++ compiler, in bfloat16 where the processor multiplies it. Gradient errors are those in
float32 on every side. Each side is a process with one thread; they take turns, an epoch of a few steps each, and report
their CPU time per step.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import multiprocessing
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import DataLoader, TensorDataset

from tuner.data.dataset import Split
from tuner.models import compiled, layers
from tuner.models.architectures import ARCHITECTURES, Network, build_model
from tuner.models.memory import keep_freed_memory
from tuner.models.network import Residual
from tuner.models.recipe import Recipe
from tuner.models.training import _Run, resolve_precision

BATCH, STEPS = 100, 4
L2 = 1e-6


class PlainResidual(nn.Module):
    """x + branch, then ReLU."""

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch, self.activation = branch, nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, channels, length) to the same shape."""
        return self.activation(x + self.branch(x))


def plain(module: nn.Module) -> nn.Module:
    """The same layer, with the same weights, as torch.nn has it."""
    if isinstance(module, Residual):
        return PlainResidual(plain(module.branch))
    if isinstance(module, layers.Conv1d):
        left, right = module.pad
        conv = nn.Conv1d(
            module.in_channels, module.out_channels, module.kernel_size, module.stride, left if left == right else 0,
            module.dilation, bias=module.bias is not None,
        )  # fmt: skip
        conv.load_state_dict(module.state_dict())
        return conv if left == right else nn.Sequential(nn.ConstantPad1d((left, right), 0.0), conv)
    if isinstance(module, layers.BatchNorm1d):
        norm = nn.BatchNorm1d(module.num_features, eps=module.eps, momentum=module.momentum)
        norm.load_state_dict(module.state_dict())
        return norm
    if isinstance(module, layers.MaxPool1d):
        return nn.MaxPool1d(module.kernel_size, ceil_mode=module.ceil_mode)
    if isinstance(module, layers.AvgPool1d):
        return nn.AvgPool1d(module.kernel_size)
    if isinstance(module, layers.Dropout):
        return nn.Dropout(module.p)
    if isinstance(module, nn.Sequential):
        return nn.Sequential(*(plain(child) for child in module))
    return copy.deepcopy(module)


def plain_network(network: Network) -> nn.Sequential:
    first = [network.first_convolution, network.first_batch_norm, network.first_activation]
    return nn.Sequential(*(plain(m) for m in (*first, network.body, network.output) if m is not None))


def data(architecture: str) -> Split:
    """A few batches of random sequences and labels, of the published size."""
    row = ARCHITECTURES[architecture]
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, (BATCH * STEPS, row.length), dtype=np.uint8)
    return Split(codes, rng.integers(0, 2, (BATCH * STEPS, row.tasks), dtype=np.uint8))


def network(architecture: str) -> Network:
    row = ARCHITECTURES[architecture]
    settings = {"architecture": architecture, "activation": "exponential"}
    return build_model(settings, n_tasks=row.tasks, length=row.length, seed=0)


def plain_epochs(architecture: str, _: str) -> Callable[[int], None]:
    model = plain_network(network(architecture)).train()
    penalised = [p for p in model.parameters() if p.ndim >= 2][:-1]  # kernels of all layers but the output layer
    split = data(architecture)
    x = torch.nn.functional.one_hot(torch.from_numpy(split.codes).long(), 4).float().transpose(1, 2).contiguous()
    loader = DataLoader(TensorDataset(x, torch.from_numpy(split.labels).float()), batch_size=BATCH, shuffle=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-7)

    def epoch(_: int) -> None:
        total = 0.0
        for sequences, labels in loader:
            optimizer.zero_grad()
            loss = binary_cross_entropy_with_logits(model(sequences), labels)
            (loss + L2 * sum(w.square().sum() for w in penalised)).backward()
            optimizer.step()
            total += loss.item()

    return epoch


def package_epochs(architecture: str, precision: str) -> Callable[[int], None]:
    keep_freed_memory()  # as `fit` does
    split = data(architecture)
    recipe = Recipe(batch_size=BATCH, l2=L2, reverse_complement=False, precision=precision)
    run = _Run(network(architecture), split, split, recipe, torch.device("cpu"))
    return lambda number: void(run.train_epoch(number))


def compiled_epochs(architecture: str, precision: str) -> Callable[[int], None]:
    reason = compiled.enable(Path(tempfile.gettempdir()) / f"tuner-kernels-{os.getuid()}")
    if reason:
        raise SystemExit(reason)
    return package_epochs(architecture, precision)


def void(_: object) -> None:
    """Drop a result."""


SIDES = {"plain": plain_epochs, "package": package_epochs, "compiled": compiled_epochs}


def serve(side: str, precision: str, pipe: Connection) -> None:
    """Run one epoch for each request; answer with the CPU seconds of a step."""
    torch.set_num_threads(1)
    epochs: dict[str, Callable[[int], None]] = {}
    while True:
        architecture = pipe.recv()
        if architecture is None:
            return
        if architecture not in epochs:
            epochs.clear()
            epochs[architecture] = SIDES[side](architecture, precision)
            epochs[architecture](0)  # the first epoch finds no memory and no kernels ready
        started = time.process_time()
        epochs[architecture](1)
        pipe.send((time.process_time() - started) / STEPS)


def gradient_errors(architecture: str, sides: list[str]) -> dict[str, float]:
    """Largest difference from the gradients in float64, over the largest gradient, without dropout, by side."""
    split = data(architecture)
    x = torch.nn.functional.one_hot(torch.from_numpy(split.codes[:BATCH]).long(), 4).transpose(1, 2).contiguous()
    labels = torch.from_numpy(split.labels[:BATCH])
    grads: dict[str, list[Tensor]] = {}
    for side in ("exact", *sides):
        model: nn.Module = network(architecture)
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        compiled.disable()
        if side in ("exact", "plain"):
            assert isinstance(model, Network)
            model = plain_network(model)
        if side == "compiled":
            compiled.enable(Path(tempfile.gettempdir()) / f"tuner-kernels-{os.getuid()}")
        kind = torch.float64 if side == "exact" else torch.float32
        model.to(kind).train()
        binary_cross_entropy_with_logits(model(x.to(kind)), labels.to(kind)).backward()
        grads[side] = [p.grad.double() for p in model.parameters() if p.grad is not None]
    scale = max(float(g.abs().max()) for g in grads["exact"])
    return {
        side: max(float((a - b).abs().max()) for a, b in zip(grads[side], grads["exact"], strict=True)) / scale
        for side in sides
    }


def flops(architecture: str) -> float:
    """Multiplications and additions of convolutions and dense layers in one step, forward and backward."""
    model, total = network(architecture), 0.0
    times: dict[nn.Module, int] = {m: 3 for m in model.modules() if isinstance(m, nn.Conv1d | nn.Linear)}
    times[model.first_convolution] = 2  # sequences need no gradient

    def count(module: nn.Module, _: Any, out: Tensor) -> None:
        nonlocal total
        assert isinstance(module, nn.Conv1d | nn.Linear)
        total += times[module] * 2 * out.numel() * module.weight[0].numel()

    for module in times:
        module.register_forward_hook(count)
    with torch.no_grad():
        model.eval()(torch.zeros(BATCH, 4, model.length))
    return total


def peak(size: int = 1536, repeats: int = 7) -> float:
    """FLOP/s of the best of a few large single-precision matrix products on one thread."""
    a = torch.randn(size, size)
    seconds = []
    for _ in range(repeats):
        started = time.process_time()
        a @ a
        seconds.append(time.process_time() - started)
    return 2 * size**3 / min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architectures", nargs="+", default=["residualbind", "cnn_deep", "cnn_2"])
    parser.add_argument("--rounds", type=int, default=9, help="epochs of each side")
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto", help="of the package")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    digest = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    print(f"torch {torch.__version__}, {platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, file {digest}")
    top = peak()
    kind = str(resolve_precision(options.precision, torch.device("cpu"))).removeprefix("torch.")
    print(f"one thread, batch {BATCH}; the package in {kind}; largest float32 matrix product {top / 1e9:.0f} GFLOP/s\n")
    print("architecture   side         ms a step   times faster (quartiles)   of the peak   gradient error")
    context = multiprocessing.get_context("spawn")
    sides = [side for side in SIDES if side != "compiled" or any(map(shutil.which, ("c++", "g++", "clang++")))]
    pipes: dict[str, Connection] = {}
    processes = []
    for side in sides:
        pipes[side], other = context.Pipe()
        processes.append(context.Process(target=serve, args=(side, options.precision, other), daemon=True))
        processes[-1].start()
        other.close()  # so that the pipe ends with the process
    rows: list[dict[str, Any]] = []
    for architecture in options.architectures:
        seconds: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(options.rounds):
            for side, pipe in pipes.items():
                pipe.send(architecture)
                try:
                    seconds[side].append(pipe.recv())
                except EOFError:
                    raise SystemExit(f"the {side} side has ended; its error is above") from None
        base = statistics.median(seconds["plain"])
        errors = gradient_errors(architecture, sides)
        for side in sides:
            median = statistics.median(seconds[side])
            pairs = [a / b for a, b in zip(seconds["plain"], seconds[side], strict=True)]
            low, _, high = statistics.quantiles(pairs, n=4)
            share = flops(architecture) / median / top
            print(
                f"{architecture:14} {side:10} {median * 1e3:11.1f}   {base / median:.2f} ({low:.2f} to {high:.2f}) "
                f"{share:20.0%} {errors[side]:16.0e}",
                flush=True,
            )
            rows.append(
                {"architecture": architecture, "side": side, "seconds": seconds[side], "ratio": base / median,
                 "quartiles": [low, high], "flops": flops(architecture), "share_of_peak": share,
                 "gradient_error": errors[side]}
            )  # fmt: skip
    for pipe in pipes.values():
        pipe.send(None)
    for process in processes:
        process.join()
    if options.json:
        document = {
            "file": digest,
            "torch": torch.__version__,
            "precision": kind,
            "peak_flops": top,
            "batch": BATCH,
            "rows": rows,
        }
        options.json.write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
