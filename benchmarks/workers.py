"""Claim: two workers are never slower than one, however short the study.

    python benchmarks/workers.py --studies synthetic zbed2 --presets smoke fast --rounds 3

Runs each whole study (search, confirmation, declaration) from an empty storage with one worker and with two,
alternating, and prints the wall seconds of the command, including its start, and their ratio. The machine must have two
cores and be otherwise idle. A first run, which is not counted, fills the cache with the compiled kernels and the
screens.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WORKERS = (1, 2)


def run(study: str, preset: str, workers: int, more: list[str]) -> float:
    """Measure the wall seconds of one study from an empty storage."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "-m", "tuner", "run", "--study", study, "--preset", preset, "--workers", str(workers),
            "--storage", str(Path(folder) / "tuner.db"), *more,
        ]  # fmt: skip
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", nargs="+", default=["synthetic", "zbed2"])
    parser.add_argument("--presets", nargs="+", default=["smoke", "fast"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    run(options.studies[0], "smoke", 2, ["--no-confirm"])
    rows = []
    for study in options.studies:
        for preset in options.presets:
            seconds: dict[int, list[float]] = {workers: [] for workers in WORKERS}
            for _ in range(options.rounds):
                for workers in WORKERS:
                    seconds[workers].append(run(study, preset, workers, []))
            ratios = [one / two for one, two in zip(seconds[1], seconds[2], strict=True)]
            rows.append({"study": study, "preset": preset, "seconds": seconds, "ratios": ratios})
            one, two = (statistics.median(seconds[workers]) for workers in WORKERS)
            print(
                f"{study}, {preset}: {one:.0f} s with one worker, {two:.0f} s with two, {one / two:.2f} times faster "
                f"({min(ratios):.2f} to {max(ratios):.2f}, {options.rounds} rounds)",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
