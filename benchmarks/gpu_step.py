"""Claim: on a GPU a recorded step takes a fraction of the time of the same step launched kernel by kernel.

    python benchmarks/gpu_step.py --json gpu.json

The straightforward side is that of `training_step.py` on a GPU: float32, and a DataLoader whose batches are copied to
the device one by one. The other sides are the package's training epoch, launched step by step and replayed from a CUDA
graph (`tuner/models/recording.py`). The sides alternate, with an epoch of 20 steps each, and report wall time per step;
the one-time cost of recording is printed too. With `--device cpu` the first two sides run, to test the program.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from sides import begin, finish
from torch.nn.functional import binary_cross_entropy_with_logits, one_hot
from torch.utils.data import DataLoader, TensorDataset
from training_step import BATCH, L2, network, plain_network

from tuner.data.dataset import Split
from tuner.models import recording
from tuner.models.architectures import ARCHITECTURES
from tuner.models.recipe import Recipe
from tuner.models.training import _Run

STEPS = 20


def data(architecture: str) -> Split:
    row = ARCHITECTURES[architecture]
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, (BATCH * STEPS, row.length), dtype=np.uint8)
    return Split(codes, rng.integers(0, 2, (BATCH * STEPS, row.tasks), dtype=np.uint8))


def plain(architecture: str, device: torch.device) -> Callable[[], None]:
    model = plain_network(network(architecture)).train().to(device)
    penalised = [p for p in model.parameters() if p.ndim >= 2][:-1]
    split = data(architecture)
    x = one_hot(torch.from_numpy(split.codes).long(), 4).float().transpose(1, 2).contiguous()
    loader = DataLoader(TensorDataset(x, torch.from_numpy(split.labels).float()), batch_size=BATCH, shuffle=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-7)

    def epoch() -> None:
        for sequences, labels in loader:
            optimizer.zero_grad()
            loss = binary_cross_entropy_with_logits(model(sequences.to(device)), labels.to(device))
            (loss + L2 * sum(w.square().sum() for w in penalised)).backward()
            optimizer.step()
            loss.item()

    return epoch


def package(architecture: str, device: torch.device, recorded: bool) -> Callable[[], None]:
    split = data(architecture)
    recording.allow(recorded)
    try:
        run = _Run(network(architecture), split, split, Recipe(batch_size=BATCH, l2=L2), device)
    finally:
        recording.allow(True)

    def epoch() -> None:
        run.train_epoch(1)
        if run.step.note:
            raise SystemExit(run.step.note)

    return epoch


def timed(epoch: Callable[[], None], device: torch.device) -> float:
    """Measure the wall seconds of an epoch until the device has finished."""
    started = time.perf_counter()
    epoch()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def main() -> None:
    parser, head = begin(__doc__ or "", __file__, rounds=9, clock="wall time")
    parser.add_argument("--architectures", nargs="+", default=["residualbind", "cnn_deep", "cnn_2"])
    parser.add_argument("--device", default="cuda:0")
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit("no GPU here; --device cpu runs what needs none.")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"{name}; batch {BATCH}\n\narchitecture   side             ms a step   times faster (quartiles)")
    rows = []
    for architecture in options.architectures:
        sides = {
            "plain": partial(plain, architecture, device),
            "step by step": partial(package, architecture, device, False),
            "recorded": partial(package, architecture, device, True),
        }
        if device.type != "cuda":
            del sides["recorded"]
        epochs = {side: build() for side, build in sides.items()}
        opened = {
            side: timed(epoch, device) for side, epoch in epochs.items()
        }  # allocates memory, loads kernels, records
        seconds: dict[str, list[float]] = {side: [] for side in epochs}
        for _ in range(options.rounds):
            for side, epoch in epochs.items():
                seconds[side].append(timed(epoch, device))
        for side, values in seconds.items():
            median = statistics.median(values)
            low, middle, high = statistics.quantiles(
                [a / b for a, b in zip(seconds["plain"], values, strict=True)], n=4
            )
            print(
                f"{architecture:14} {side:13} {median / STEPS * 1e3:11.2f}   {middle:.2f} ({low:.2f} to {high:.2f})   "
                f"first epoch {opened[side] - median:+.2f} s",
                flush=True,
            )
            rows.append(
                {"architecture": architecture, "side": side, "seconds": values, "ratio": [low, middle, high],
                 "first": opened[side]}
            )  # fmt: skip
    finish(options.json, {**head, "device": name}, rows=rows)


if __name__ == "__main__":
    main()
