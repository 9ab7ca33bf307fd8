"""First-layer filters of many small networks, each trained once and stored; shared by the motif benchmarks.

A network is a `Net`: data set, kind of labels, hyperparameters, epochs and seed. `filters` trains it with the package's
own `fit` and recipe, reads its filters from training and validation sequences, and writes them to a folder as
``NAME.npz``. The next call reads the file, so an interrupted run continues where it stopped. The test split stays
closed. Training uses one thread, and compiled kernels if there is a compiler. Run as a script, this trains all
networks, which takes about an hour.

    python benchmarks/filter_sets.py --out runs/filter_sets
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from tuner.data.dataset import Dataset, Split
from tuner.data.registry import load_dataset
from tuner.data.simulate import SIMULATORS
from tuner.data.spec import DataSpec
from tuner.genome.sequence import one_hot
from tuner.models import compiled
from tuner.models.architectures import build_model
from tuner.models.first_layer import scan_filters
from tuner.models.metrics import auroc
from tuner.models.network import Network
from tuner.models.training import Recipe, fit, predict
from tuner.motifs.filters import Filter, build_filters

FILTERS = 32  # in every first layer, so that match_fraction is the fraction of the layer
TASK1_SEQUENCES = 6000  # of 21,000 for training: enough for filters, a third of the time
REST = "encode/REST_GM12878_NRSF_HudsonAlpha_AC.seq.gz"


class Net(NamedTuple):
    """A network to be trained.

    Attributes
    ----------
    data : str
        ``"ZBED2"``, ``"IRF1"``, ``"TASK1"`` or ``"REST"``.
    labels : str
        ``"true"``, ``"shuffled"`` (training and validation labels permuted) or ``"untrained"``.
    settings : tuple of (name, value)
        Hyperparameters besides ``filters``.
    seed : int
        Seed of weights, batches, dropout and the permutation of labels.
    epochs : int
        Epochs of the recipe; its other settings are the defaults.
    """

    data: str
    labels: str
    settings: tuple[tuple[str, object], ...]
    seed: int
    epochs: int = 20

    @property
    def name(self) -> str:
        """Name of the file."""
        values = "-".join(str(value) for _, value in self.settings)
        return f"{self.data}-{self.labels}-{values}-e{self.epochs}-s{self.seed}"


def _nets(
    data: str,
    labels: str,
    names: Sequence[str],
    rows: Sequence[Sequence[object]],
    seeds: Sequence[int],
    epochs: int = 20,
) -> tuple[Net, ...]:
    """Make one network for each row of values and each seed, seed by seed."""
    return tuple(Net(data, labels, tuple(zip(names, row, strict=True)), seed, epochs) for seed in seeds for row in rows)


_SHAPE = ("architecture", "activation", "kernel_size", "pool_first")

# Networks that cannot have learned a motif. Every seed occurs once: the same initial weights would give the same
# untrained filters whatever the activation and the layers above. The fastest networks come first.
_SHUFFLED = (
    ("cnn", "exponential", 19, 4),
    ("cnn", "relu", 19, 25),
    ("cnn", "exponential", 19, 25),
    ("residualbind", "exponential", 19, 10),
    ("residualbind", "relu", 19, 10),
)
SHUFFLED_NETS = tuple(
    net
    for more in range(0, 80, 20)  # four of each, as one filter of 320 was within the noise of the limit of 3 %
    for place, row in enumerate(_SHUFFLED)
    for data, seed in (("ZBED2", more + place + 1), ("IRF1", more + place + 11))
    for net in _nets(data, "shuffled", _SHAPE, (row,), (seed,))
)
UNTRAINED_NETS = tuple(
    net
    # Seeds 100 to 123 were used to set the limit of the screen.
    for data, seeds in (("ZBED2", range(200, 212)), ("IRF1", range(212, 224)))
    for net in _nets(data, "untrained", _SHAPE, (_SHUFFLED[1],), seeds, 0)
)

# Filters of other data than those of the screen's reference filters.
_OTHER = {
    "REST": (
        ("residualbind", "exponential", 25, 10),
        ("residualbind", "relu", 19, 10),
        ("cnn", "relu", 25, 25),
        ("cnn", "exponential", 19, 4),
    ),
    "TASK1": (
        ("cnn_50", "exponential", 25, 50),
        ("cnn_50", "relu", 25, 50),
        ("cnn_50", "relu", 19, 50),
        ("cnn_2", "exponential", 19, 2),
    ),
}
OTHER_NETS = tuple(net for data, rows in _OTHER.items() for net in _nets(data, "true", _SHAPE, rows, (0,), 6))

# Six settings, four seeds each: does a difference between two networks come from hyperparameters or from seeds?
_COMPARED = (
    ("cnn", "exponential", 19, 4),
    ("cnn", "relu", 19, 4),
    ("cnn", "exponential", 19, 25),
    ("cnn", "relu", 19, 25),
    ("cnn", "exponential", 11, 10),
    ("residualbind", "exponential", 19, 10),
)
REPLICATES = _nets("ZBED2", "true", _SHAPE, _COMPARED, (0, 1, 2, 3), 10)


class FilterSet(NamedTuple):
    """Filters of one network, and its validation AUROC on the true labels."""

    net: Net
    filters: tuple[Filter, ...]
    auroc: float


def add_folder(parser: argparse.ArgumentParser) -> None:
    """Add the option for the folder in which the trained filters are kept."""
    parser.add_argument(
        "--out", type=Path, default=Path("runs/filter_sets"), help="folder in which trained filters are kept"
    )


def one_thread() -> None:
    """Train on one core and flush denormal numbers, which slow down networks with shuffled labels."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


@lru_cache(maxsize=2)
def dataset(name: str) -> Dataset:
    """Load the data set of a `Net`, with the test split closed."""
    folder = Path(os.environ["TUNER_DATA_DIR"])
    if name == "TASK1":
        whole = SIMULATORS["task1"].simulate().without_test()
        parts = {key: split.take(np.arange(min(len(split), TASK1_SEQUENCES))) for key, split in whole.splits.items()}
        return replace(whole, splits=parts)
    spec = DataSpec(path=str(folder / REST), reader="deepbind") if name == "REST" else DataSpec(dataset=name.lower())
    return load_dataset(spec, data_dir=folder).without_test()


def filters(net: Net, folder: Path) -> FilterSet:
    """Read the filters of a network from its file, or train it and write the file."""
    path = folder / f"{net.name}.npz"
    if not path.is_file():
        if not compiled.enabled():
            compiled.enable(folder / "kernels")
        began = time.process_time()
        found, score = train(net)
        folder.mkdir(parents=True, exist_ok=True)
        write(path, found, score)
        gated = sum(item.gated for item in found)
        print(
            f"{net.name}: validation AUROC {score:.3f}, {gated} of {len(found)} filters pass the gates, "
            f"{time.process_time() - began:.0f} s CPU",
            file=sys.stderr,
            flush=True,
        )
    return FilterSet(net, *read(path))


def train(net: Net) -> tuple[tuple[Filter, ...], float]:
    """Train one network; return its filters and its validation AUROC on the true labels."""
    data = dataset(net.data)
    hyperparameters: dict[str, object] = {**dict(net.settings), "filters": FILTERS}
    model = build_model(hyperparameters, n_tasks=data.n_tasks, length=data.length, seed=net.seed)  # type: ignore[arg-type]
    if net.labels == "untrained":
        set_statistics(model, data.train)
    else:
        splits = {key: data.splits[key] for key in ("train", "valid")}
        if net.labels == "shuffled":
            rng = np.random.default_rng(net.seed)
            splits = {key: replace(s, labels=s.labels[rng.permutation(len(s))]) for key, s in splits.items()}
        fit(model, splits["train"], splits["valid"], Recipe(epochs=net.epochs), seed=net.seed)
    codes = np.concatenate([data.train.codes, data.valid.codes])
    kernel_size = int(model.first_convolution.kernel_size[0])
    found = build_filters(codes, scan_filters(model, codes), kernel_size, model.offset)
    return found, auroc(data.valid.labels, predict(model, data.valid.codes, average_strands=True))


def set_statistics(model: Network, split: Split) -> None:
    """Set the batch norm statistics of an untrained network from 1000 sequences."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model.train()(one_hot(torch.from_numpy(split.codes[:1000])))
    model.eval()


def write(path: Path, found: Sequence[Filter], score: float) -> None:
    """Write filters exactly and atomically: concatenated matrices, and JSON for the other fields."""
    rest = [item._replace(ppm=item.ppm.shape[1])._asdict() for item in found]  # type: ignore[arg-type]
    half = path.with_suffix(".half.npz")
    np.savez_compressed(
        half, ppms=np.concatenate([f.ppm for f in found], axis=1), rest=json.dumps(rest), auroc=np.float64(score)
    )
    half.replace(path)


def read(path: Path) -> tuple[tuple[Filter, ...], float]:
    """Read what `write` has written."""
    with np.load(path) as stored:
        rest: list[Mapping[str, object]] = json.loads(str(stored["rest"]))
        ends = np.cumsum([int(str(row["ppm"])) for row in rest])
        ppms = np.split(stored["ppms"], ends[:-1], axis=1)
        score = float(stored["auroc"])
    return tuple(Filter(**{**row, "ppm": ppm}) for row, ppm in zip(rest, ppms, strict=True)), score  # type: ignore[arg-type]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_folder(parser)
    folder = parser.parse_args().out
    one_thread()
    for net in (*SHUFFLED_NETS[:6], *UNTRAINED_NETS, *OTHER_NETS, *REPLICATES, *SHUFFLED_NETS):
        filters(net, folder)


if __name__ == "__main__":
    main()
