"""Claim: everything but training is a twentieth of a trial.

    python benchmarks/trial.py --study zbed2 --points 6

Trains the warm starts of a study and random points of its space as a worker does, on one thread. Prints for each the
CPU seconds of training (with validation after every epoch) and of everything after it, part by part: the scan of the
first layer, ablation, matches with their null, figures and other files. Sampling and storage, which `storage.py`
measures, add about 55 ms per trial. The cost of measuring at a rung is that of the scan and the matches without their
null, given in epochs of the same training.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from whole_search import open_bench, points_of

from tuner.cli.worker import one_thread, use_kernels
from tuner.motifs import match
from tuner.search import trial as work
from tuner.study import objectives

PARTS = {
    "scan": (objectives, "scan_filters"),
    "ablation": (objectives, "ablation_effects"),
    "matches": (objectives, "match_filters"),
    "their null": (match, "_null_hits"),
    "files": (work, "_files"),
}


def timed(seconds: dict[str, float], name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function so that its CPU time is summed."""

    def run(*arguments: Any, **options: Any) -> Any:
        started = time.process_time()
        try:
            return call(*arguments, **options)
        finally:
            seconds[name] = seconds.get(name, 0.0) + time.process_time() - started

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", default="zbed2")
    parser.add_argument("--points", type=int, default=6, help="number of random points besides the warm starts")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    bench = open_bench(options.study)
    one_thread()
    use_kernels(bench)
    seconds: dict[str, float] = {}
    for name, (module, attribute) in {"training": (work, "train"), **PARTS}.items():
        setattr(module, attribute, timed(seconds, name, getattr(module, attribute)))
    points = [dict(start.parameters) for start in bench.plan.space.warm_starts]
    rows = []
    for number, point in enumerate([points[0], *points, *points_of(bench, options.points)]):
        seconds.clear()
        started, epochs = time.process_time(), []
        work.run_network(bench, point, seed=number, on_epoch=epochs.append)
        row = {"total": time.process_time() - started, **seconds, "epochs": len(epochs)}
        if not number:
            continue  # the first one in a process includes imports
        row["share"] = 1 - row["training"] / row["total"]
        at_rung = row["scan"] + row["matches"] - row.get("their null", 0.0)
        row["rung"] = at_rung / (row["training"] / len(epochs))
        rows.append(row)
        parts = ", ".join(f"{name} {row.get(name, 0.0):.2f}" for name in PARTS)
        print(
            f"{point['architecture']}, {point['filters']} filters of {point['kernel_size']}: {row['total']:.1f} s, "
            f"beside training {row['share']:.3f} ({parts} s); a rung {row['rung']:.2f} epochs",
            flush=True,
        )
    shares, rungs = ([row[key] for row in rows] for key in ("share", "rung"))
    print(
        f"median share {statistics.median(shares):.3f} ({min(shares):.3f} to {max(shares):.3f}), "
        f"a rung {statistics.median(rungs):.2f} epochs ({min(rungs):.2f} to {max(rungs):.2f})"
    )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
