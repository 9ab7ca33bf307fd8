"""Claim: on the same sequences, Keras and this package give the exercise's network the same scores and spread.

    pip install keras
    python benchmarks/keras_exercise.py --out runs/keras_exercise.jsonl

Trains the network of the DeepBind-style exercise as in its notebook (Conv1D of 16 filters, ReLU, global maximum, 32
hidden units) in Keras on torch: Adam at 1e-3, batches of 128, ten epochs, early stopping on the validation loss with
patience 3, and the best weights. For each kernel it prints the median, lowest and highest validation AUROC, those of
`hw4_kernel_size` in docs/runs.tsv, and the p-value of a Mann-Whitney test between the two. Each run is a line of JSON
in `--out`, so an interrupted run continues where it stopped. Keras is not a dependency of this package.
"""

from __future__ import annotations

import argparse
import os
import statistics
from pathlib import Path

import numpy as np
import torch
from rungs import append, read
from scipy.stats import mannwhitneyu
from sklearn.metrics import roc_auc_score

from tuner.data.dataset import Split
from tuner.data.simulate import SIMULATORS
from tuner.results.trial_table import read_tsv

RUNS = Path(__file__).parents[1] / "docs" / "runs.tsv"


def one_hot(split: Split) -> np.ndarray:
    """Encode as float32 one-hot, shape=(n, length, 4), as Keras expects."""
    return np.eye(4, dtype=np.float32)[split.codes]


def keras_auroc(kernel: int, seed: int, train: Split, valid: Split) -> float:
    """Train once and return the validation AUROC."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras  # chooses the backend at import

    keras.utils.set_random_seed(seed)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((train.codes.shape[1], 4)),
            layers.Conv1D(16, kernel, activation="relu"),
            layers.GlobalMaxPooling1D(),
            layers.Dense(32, activation="relu"),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss="binary_crossentropy")
    stop = keras.callbacks.EarlyStopping(monitor="val_loss", patience=3, restore_best_weights=True)
    x, y = one_hot(valid), valid.labels.astype(np.float32)
    model.fit(
        one_hot(train), train.labels.astype(np.float32), batch_size=128, epochs=10, validation_data=(x, y),
        callbacks=[stop], verbose=0,
    )  # fmt: skip
    return float(roc_auc_score(valid.labels, model.predict(x, verbose=0)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernels", type=int, nargs="+", default=[3, 5])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("runs/keras_exercise.jsonl"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = SIMULATORS["hw4_single"].simulate()
    known = {(row["kernel"], row["seed"]): float(row["auroc"]) for row in read(options.out)}
    runs = read_tsv(RUNS.read_text(encoding="utf-8"))
    for kernel in options.kernels:
        for seed in range(options.seeds):
            if (kernel, seed) not in known:
                known[kernel, seed] = keras_auroc(kernel, seed, data.train, data.valid)
                append(options.out, {"kernel": kernel, "seed": seed, "auroc": known[kernel, seed]})
        theirs = [known[kernel, seed] for seed in range(options.seeds)]
        ours = [float(r["auroc"]) for r in runs if (r["study"], r["kernel_size"]) == ("hw4_kernel_size", kernel)]
        p = mannwhitneyu(theirs, ours).pvalue
        print(f"kernel {kernel}: Keras {spread(theirs)}, ours {spread(ours)}, p {p:.2f}", flush=True)


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f}; {len(values)})"


if __name__ == "__main__":
    main()
