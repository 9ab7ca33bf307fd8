"""Claim: the published read-out of Task 1 gives the same counts on its own sequences as the study on others.

    tuner run --study koo_task1 --only activation=relu --only architecture=cnn_50
    python benchmarks/koo_readout.py --storage runs/tuner.db
    python docs/make_reproduction.py --storage runs/tuner.db --readouts runs/koo_readout.jsonl > docs/reproduction.md

Koo & Ploenzke (2021) read filters on their 6,000 test sequences. The study keeps the test split closed and uses the
same number of validation and training sequences. This benchmark reads the stored networks on both, and prints for each
cell the median over seeds of the filters that match the ground truth at E <= .1; on the test sequences also at stricter
limits, which shows how many matches are close decisions of Tomtom. No test label is used and nothing is selected; the
sequences are simulated. It then names the task with the lowest average precision on validation for each network: its
filters have missed a planted motif. Each network is a line of JSON in `--out`, so an interrupted run continues where it
stopped.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from optuna.trial import TrialState
from rungs import append, read

from tuner.data.simulate import SIMULATORS
from tuner.genome.sequence import Codes
from tuner.models.half_maximum import half_maximum_windows
from tuner.models.metrics import per_task
from tuner.models.network import Network
from tuner.models.prediction import predict
from tuner.motifs.database import MotifDatabase, load_database
from tuner.motifs.koo import koo_ppm, koo_targets
from tuner.motifs.tomtom import tomtom
from tuner.resources import find_resource
from tuner.results.leaderboard import stage_trials
from tuner.results.trial_files import DESCRIPTION, WEIGHTS, load_network
from tuner.storage.artifacts import Artifacts
from tuner.storage.storage import open_storage
from tuner.study.file import read_study
from tuner.study.grid import slot_key

LIMITS = (0.1, 0.05, 0.03, 0.01)


def best_e_values(network: Network, codes: Codes, database: MotifDatabase, named: set[str]) -> np.ndarray:
    """Return the lowest E-value of each filter among the named motifs, shape=(n_filters,)."""
    windows = half_maximum_windows(network, codes)
    ppms = [koo_ppm(counts, int(n)) for counts, n in zip(windows.counts[0], windows.sites[0], strict=True)]
    known = koo_targets(database)
    e_values = tomtom(ppms, [motif.ppm for motif in known]).p_value * len(known)
    return np.asarray(e_values[:, [motif.id in named for motif in known]].min(axis=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storage", default="runs/tuner.db")
    parser.add_argument("--out", type=Path, default=Path("runs/koo_readout.jsonl"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    storage, artifacts = open_storage(options.storage), Artifacts(Path(options.storage).parent / "artifacts")
    study = read_study(find_resource("studies", "koo_task1", Path.cwd()))
    assert study.motifs.database is not None
    database = load_database(study.motifs.database)
    named = {identifier for family in study.motifs.targets.values() for identifier in family}
    data = SIMULATORS["task1"].simulate()
    sequences = {
        "validation and training": np.concatenate([data.valid.codes, data.train.codes[: len(data.valid)]]),
        "test": data.test.codes,
    }
    known = {row["slot"]: row for row in read(options.out)}
    found: dict[tuple[str, str], list[list[float]]] = defaultdict(list)
    for trial in stage_trials(storage, study.name):
        if trial.state != TrialState.COMPLETE:
            continue
        slot = slot_key(trial.params, int(trial.user_attrs["replicate"]))
        if slot not in known:
            network, both = load_network(artifacts.get(trial, WEIGHTS), artifacts.get(trial, DESCRIPTION))
            own, test = (best_e_values(network, codes, database, named) for codes in sequences.values())
            logits = predict(network, data.valid.codes, device="cpu", average_strands=both)
            scores = per_task("average_precision", data.valid.labels, logits).values
            lowest, name = min(zip(scores, data.tasks, strict=True))
            row = {"slot": slot, "study": study.name, "own": float((own <= LIMITS[0]).mean())}
            row |= {"lowest": lowest, "task": name}
            known[slot] = row | {"test": [float((test <= limit).mean()) for limit in LIMITS]}
            append(options.out, known[slot])
        row = known[slot]
        cell = str(trial.params["activation"]), str(trial.params["architecture"])
        found[cell].append([row["own"], *row["test"]])
        seed = trial.user_attrs["replicate"]
        print(f"{cell[1]}, {cell[0]}, seed {seed}: lowest is {row['task']}, {row['lowest']:.2f}", flush=True)
    heads = ["validation and training, E <= 0.1", *(f"test, E <= {limit:g}" for limit in LIMITS)]
    print("| activation | architecture | runs | " + " | ".join(heads) + " |\n|" + "---|" * (3 + len(heads)))
    for (activation, architecture), rows in sorted(found.items()):
        medians = " | ".join(f"{m:.3f}" for m in np.median(rows, axis=0))
        print(f"| {activation} | {architecture} | {len(rows)} | {medians} |", flush=True)


if __name__ == "__main__":
    main()
