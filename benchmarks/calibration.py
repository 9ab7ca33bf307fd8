"""Claim: Platt's line gives probabilities as good as any other method's, with small and large validation sets.

    python benchmarks/calibration.py
    python benchmarks/calibration.py --only gue_mouse_3,simulated

Trains quick networks (CNN of the paper's distributed kind, 3 seeds, at most 8 epochs) on sets of TUNER_DATA_DIR, and
draws logits of a simulated ensemble (a shared part, over-confident networks, 1 positive to 10 negatives). Calibrates
each network and the ensemble (mean logit) on validation, and on parts of it of 50 and 200 sequences (several draws),
by each method, and scores the test split: Brier score, log-loss, expected error of ten bins, and the Matthews
correlation at probability .5, at the threshold that is best on validation by its labels (observed), and at the one that
the calibrated probabilities of validation expect to be the best (the product). Prints means over draws, networks and
sets, for every size of validation.
"""

from __future__ import annotations

import argparse
import gzip
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import matthews_corrcoef

from tuner.cli import context
from tuner.data.dataset import Dataset
from tuner.data.registry import load_dataset
from tuner.data.spec import DataSpec
from tuner.models import metrics
from tuner.models.architectures import build_model
from tuner.models.calibration import best_threshold, fit_calibration
from tuner.models.recipe import Recipe
from tuner.models.training import fit, predict

SEEDS, DRAWS, SIZES, MOST = 3, 20, (50, 200), 3000
Array = np.ndarray
Map = Callable[[Array], Array]


class Logits(NamedTuple):
    """Labels and logits, shape=(n,) and (models, n), of validation and test."""

    valid_labels: Array
    valid: Array
    test_labels: Array
    test: Array


def sets(folder: Path) -> dict[str, Callable[[], Logits]]:
    """Every set by name."""
    table = {"sequence_column": "sequence", "label_columns": ("label",), "split_column": "split"}

    def gue(name: str) -> DataSpec:
        return DataSpec(path=str(folder / "gue" / f"{name}.tsv.gz"), **table)  # type: ignore[arg-type]

    def encode(name: str) -> Dataset:
        """Positives of _AC beside their shuffles for training and validation; _B is the test split."""
        with gzip.open(folder / "encode" / f"{name}_AC.seq.gz", "rt") as file:
            rows = [line.split("\t")[2] for line in file][1 : MOST + 1]
        fasta = Path("runs") / f"calibration_{name}.fa"
        fasta.parent.mkdir(exist_ok=True)
        fasta.write_text("".join(f">{i}\n{row}\n" for i, row in enumerate(rows)))
        made = load_dataset(DataSpec(positives=str(fasta), negatives="shuffle", fractions=(0.8, 0.15, 0.05)))
        test = load_dataset(
            DataSpec(path=str(folder / "encode" / f"{name}_B.seq.gz"), fractions=(0.01, 0.01, 0.98))
        ).test
        return Dataset(name, made.tasks, {**made.splits, "test": test}, "encode")

    klf1 = DataSpec(positives=str(folder / "klf1_mm9" / "Klf1.fna"), negatives="shuffle")
    return {
        "simulated": simulated,
        "gue_mouse_3": lambda: trained(load_dataset(gue("gue_mouse_3"))),
        "gue_tf_0": lambda: trained(load_dataset(gue("gue_tf_0"))),
        "REST": lambda: trained(encode("REST_GM12878_NRSF_HudsonAlpha")),
        "SP1": lambda: trained(encode("SP1_GM12878_SP1_HudsonAlpha")),
        "klf1": lambda: trained(load_dataset(klf1)),
        "zbed2": lambda: trained(load_dataset(DataSpec(dataset="zbed2"), data_dir=folder), epochs=4),
    }


def trained(data: Dataset, epochs: int = 8) -> Logits:
    """Train networks on at most MOST sequences."""
    rows = np.sort(np.random.default_rng(0).permutation(len(data.train))[:MOST])
    train = data.train.take(rows)
    found = []
    for seed in range(SEEDS):
        network = build_model({"architecture": "cnn_local"}, n_tasks=1, length=data.length, seed=seed)
        # A seed each has its own learning rate: networks of a search differ in how sure they are.
        fit(network, train, data.valid, Recipe(epochs=epochs, learning_rate=(1e-3, 3e-3, 5e-4)[seed]), seed=seed)
        found.append([predict(network, split.codes)[:, 0] for split in (data.valid, data.test)])
    valid, test = (np.stack(part).astype(np.float64) for part in zip(*found, strict=True))
    return Logits(data.valid.labels[:, 0], valid, data.test.labels[:, 0], test)


def simulated() -> Logits:
    """Networks that are twice to four times too sure, and shifted; 1 positive to 10 negatives."""
    rng = np.random.default_rng(0)

    def draw(n: int) -> tuple[Array, Array]:
        labels = (rng.random(n) < 1 / 11).astype(np.uint8)
        shared = rng.standard_normal(n) + 2.0 * labels
        return labels, np.stack([k * (shared + 0.6 * rng.standard_normal(n) - 1.0) + k - 3 for k in (2.0, 3.0, 4.0)])

    return Logits(*draw(2000), *draw(20000))


def identity(labels: Array, logits: Array) -> Map:
    """The network's own probabilities."""
    return lambda z: 1 / (1 + np.exp(-np.clip(z, -500, 500)))


def platt(labels: Array, logits: Array) -> Map:
    """The product."""
    return fit_calibration(labels, logits).probability


def logistic(labels: Array, logits: Array) -> Map:
    """Temperature and bias: the same line without smoothed labels."""
    model = LogisticRegression(C=1e10, max_iter=10_000).fit(logits[:, None], labels)
    return lambda z: model.predict_proba(z[:, None])[:, 1]


def temperature(labels: Array, logits: Array) -> Map:
    """A slope alone (Guo et al. 2017)."""
    model = LogisticRegression(C=1e10, fit_intercept=False, max_iter=10_000).fit(logits[:, None], labels)
    return lambda z: model.predict_proba(z[:, None])[:, 1]


def isotonic(labels: Array, logits: Array) -> Map:
    """Isotonic regression (Zadrozny & Elkan 2002)."""
    model = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(logits, labels)
    return lambda z: model.predict(z)


def beta(labels: Array, logits: Array) -> Map:
    """Beta calibration (Kull et al. 2017): logistic regression on log p and -log (1 - p)."""

    def features(z: Array) -> Array:
        return np.stack([-np.logaddexp(0, -z), np.logaddexp(0, z)], axis=1)

    model = LogisticRegression(C=1e10, max_iter=10_000).fit(features(logits), labels)
    return lambda z: model.predict_proba(features(z))[:, 1]


METHODS = {
    "none": identity, "Platt (product)": platt, "temperature + bias": logistic, "temperature": temperature,
    "isotonic": isotonic, "beta": beta,
}  # fmt: skip
COLUMNS = ("Brier", "log-loss", "ECE", "MCC at .5", "observed", "expected")


def scores(labels: Array, p: Array, *thresholds: float) -> tuple[float, ...]:
    """What a method reaches on test."""
    safe = np.clip(p, 1e-6, 1 - 1e-6)
    found = metrics.calibration(labels, p)
    loss = float(-np.mean(np.where(labels == 1, np.log(safe), np.log(1 - safe))))
    at = [float(matthews_corrcoef(labels, p >= t)) for t in (0.5, *thresholds)]
    return found.brier, loss, found.expected_error, *at


def parts(logits: Logits) -> Iterator[tuple[int, Array]]:
    """Sizes of validation, and rows: draws of the small ones, and the whole."""
    n, rng = len(logits.valid_labels), np.random.default_rng(1)
    for size in SIZES:
        for _ in range(DRAWS if size < n else 0):
            rows = rng.permutation(n)[:size]
            if 0 < logits.valid_labels[rows].sum() < size:
                yield size, rows
    yield n, np.arange(n)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="names of sets, separated by commas")
    parser.add_argument("--keep", type=Path, help="folder that keeps the logits of trained networks")
    args = parser.parse_args()
    torch.set_num_threads(1)
    folder = context.data_dir()
    if folder is None:
        raise SystemExit("Set TUNER_DATA_DIR to the folder of reference data.")
    known = sets(folder)
    whole: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    for name in args.only.split(",") if args.only else known:
        started, kept = time.time(), None if args.keep is None else args.keep / f"{name}.npz"
        if kept is not None and kept.exists():
            with np.load(kept) as file:
                logits = Logits(*(file[field] for field in Logits._fields))
        else:
            logits = known[name]()
            if kept is not None:
                kept.parent.mkdir(parents=True, exist_ok=True)
                np.savez(kept, **logits._asdict())
        every = [*zip(logits.valid, logits.test, strict=True), (logits.valid.mean(axis=0), logits.test.mean(axis=0))]
        aurocs = " ".join(f"{metrics.auroc(logits.test_labels, test):.3f}" for _, test in every)
        print(f"\n{name}: {len(logits.valid_labels)} validation and {len(logits.test_labels)} test sequences, test "
              f"AUROC {aurocs} (the last: ensemble)  [{time.time() - started:.0f} s]", flush=True)  # fmt: skip
        print(f"{'validation':>10}  {'method':20}" + "".join(f"{c:>12}" for c in COLUMNS) + "   MCC, ensemble alone")
        rows: dict[tuple[int, str], list[tuple[float, ...]]] = {}
        last: dict[tuple[int, str], list[tuple[float, ...]]] = {}
        for size, chosen in parts(logits):
            y = logits.valid_labels[chosen]
            for method, fitter in METHODS.items():
                for k, (valid, test) in enumerate(every):
                    found = fitter(y, valid[chosen])
                    p = found(valid[chosen])
                    one = scores(logits.test_labels, found(test), best_threshold(y, p), best_threshold(p, p))
                    rows.setdefault((size, method), []).append(one)
                    if k == len(every) - 1:
                        last.setdefault((size, method), []).append(one)
                    label = str(size) if size in SIZES else "whole"
                    whole.setdefault((label, method), []).append(one)
        for (size, method), values in rows.items():
            own = np.mean(last[size, method], axis=0)
            print(f"{size:>10}  {method:20}" + "".join(f"{v:12.4f}" for v in np.mean(values, axis=0))
                  + f"   {own[3]:.3f} / {own[4]:.3f} / {own[5]:.3f}", flush=True)  # fmt: skip
    print("\nmean over sets")
    for (label, method), values in sorted(whole.items(), key=lambda item: item[0][0]):
        print(f"{label:>10}  {method:20}" + "".join(f"{v:12.4f}" for v in np.mean(values, axis=0)))


if __name__ == "__main__":
    main()
