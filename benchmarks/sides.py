"""Shared by the benchmarks of single parts: alternates sides in one process and prints the ratio of their CPU times."""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch


def alternate(sides: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Measure the CPU seconds of each side in each round, after one uncounted run of every side."""
    for side in sides.values():
        side()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            started = time.process_time()
            side()
            seconds[name].append(time.process_time() - started)
    return seconds


def ratio(slow: list[float], fast: list[float]) -> tuple[float, float, float]:
    """Return the ratio of the medians, and the quartiles of the ratios per round."""
    low, _, high = statistics.quantiles([a / b for a, b in zip(slow, fast, strict=True)], n=4)
    return statistics.median(slow) / statistics.median(fast), low, high


def compare(seconds: Mapping[str, list[float]], product: str) -> list[dict[str, Any]]:
    """Print for each side its median milliseconds, and how many times faster the product is."""
    rows = []
    for name, values in seconds.items():
        times, low, high = ratio(values, seconds[product])
        line = f"{name:34} {statistics.median(values) * 1e3:10.1f} ms"
        print(line if name == product else f"{line}   {times:6.2f} ({low:.2f} to {high:.2f})", flush=True)
        rows.append({"side": name, "seconds": values, "ratio": times, "quartiles": [low, high]})
    return rows


def begin(
    doc: str, script: str, rounds: int, clock: str = "CPU time"
) -> tuple[argparse.ArgumentParser, dict[str, Any]]:
    """Make a parser with the common options and the head of the JSON, and limit torch to one thread."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds, help="number of rounds of each side")
    parser.add_argument("--json", type=Path)
    head = {
        "file": hashlib.sha256(Path(script).read_bytes()).hexdigest()[:12],
        "machine": platform.machine(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
    print(", ".join(f"{key} {value}" for key, value in head.items()) + f"; one thread, {clock}, medians")
    return parser, head


def finish(path: Path | None, head: Mapping[str, Any], **found: object) -> None:
    """Write the JSON if a path is given."""
    if path is not None:
        path.write_text(json.dumps({**head, **found}, indent=1))
