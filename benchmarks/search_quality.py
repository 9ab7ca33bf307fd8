"""Claim: the TPE search of a study ends with more hypervolume than its warm starts and than random search.

    python benchmarks/search_quality.py --study zbed2 --seeds 3 --storage runs/tuner.db

For each search seed, runs (or resumes) the study with TPE and with random sampling at the same budget. Prints the
hypervolume above the reference point (AUROC .5, match 0) of the warm starts alone, of random search and of TPE. One run
proves little: one filter of 32 more or less moves the hypervolume by several percent.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from tuner.results.leaderboard import hypervolume, objective_names, stage_trials
from tuner.storage.storage import open_storage

REFERENCE = {"auroc": 0.5}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", default="zbed2")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--storage", default="runs/tuner.db")
    parser.add_argument("--workers", default="2")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    for seed in range(options.seeds):
        row: dict[str, float] = {"seed": seed}
        for sampler in ("tpe", "random"):
            name = options.study + ("-random" if sampler == "random" else "") + (f"-seed{seed}" if seed else "")
            command = [
                sys.executable, "-m", "tuner", "run", "--study", options.study, "--sampler", sampler,
                "--seed", str(seed), "--name", name, "--storage", options.storage, "--workers", options.workers,
                "--no-confirm",
            ]  # fmt: skip
            subprocess.run(command, check=True)
            storage = open_storage(options.storage)
            trials, names = stage_trials(storage, name), objective_names(storage, name)
            point = [REFERENCE.get(n, 0.0) for n in names]
            row[sampler] = hypervolume(trials, names, point)
            row["warm starts"] = hypervolume([t for t in trials if "warm_start" in t.user_attrs], names, point)
        rows.append(row)
        print(" ".join(f"{k} {v:.4f}" if k != "seed" else f"seed {v}" for k, v in row.items()), flush=True)
    median = statistics.median(r["random"] for r in rows)
    wins = sum(r["tpe"] > max(median, r["warm starts"]) for r in rows)
    print(f"median of random {median:.4f}; TPE above it and above the warm starts in {wins} of {len(rows)} seeds")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
