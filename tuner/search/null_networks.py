"""Networks that have nothing to find: trained on shuffled labels, or on sequences of which only composition is left."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from tuner.data.dataset import Dataset, Split
from tuner.data.shuffle import dinucleotide_shuffle
from tuner.models.network import Network
from tuner.models.training import EpochRecord, Recipe, Trained
from tuner.motifs.match import FilterMatch
from tuner.results.nulls import COMPOSITION, SHUFFLED
from tuner.results.trial_files import MATCHES, network_files, table
from tuner.search.loaded import Bench
from tuner.search.trial import Outcome, evaluate, train
from tuner.study.objectives import measure_all
from tuner.study.parameters import split_point
from tuner.study.plan import mix
from tuner.study.space import Scalar

OnEpoch = Callable[[EpochRecord], None]


def run_null(bench: Bench, point: Mapping[str, Scalar], kind: str, *, replicate: int, on_epoch: OnEpoch) -> Outcome:
    """Train a null network; measure it on the real validation sequences, and its filters on the real sequences.

    Its training stops early on validation sequences that were shuffled in the same way, as that of a network without
    signal would.
    """
    data, seed = bench.dataset, null_seed(bench.plan.seed, kind, replicate)
    network, recipe, trained = train_null(bench, point, kind, replicate=replicate, on_epoch=on_epoch)
    if kind == COMPOSITION:
        trained = trained._replace(logits=None)  # they are those of shuffled sequences
    evaluation = evaluate(bench, network, recipe, trained, data, seed)
    measured = measure_all(evaluation)
    files = {
        **network_files(network, split_point(point)[0], data, average_strands=recipe.average_strands),
        MATCHES: table(FilterMatch, evaluation.matches.rows),
    }
    return Outcome(measured, {**measured, "seed": seed}, files)


def train_null(
    bench: Bench, point: Mapping[str, Scalar], kind: str, *, replicate: int, on_epoch: OnEpoch
) -> tuple[Network, Recipe, Trained]:
    """Train a network on data from which the motif, or what it means, was removed.

    Parameters
    ----------
    bench : Bench
        The study's data; the test split is not touched.
    point : mapping of str to scalar
        Hyperparameters and training settings.
    kind : str
        ``label-shuffled``: the labels of training and of validation are permuted. ``composition-only``: each sequence
        is shuffled with its dinucleotide counts kept, and labels are true.
    replicate : int
        Number of the network; another one is shuffled and trained with another seed.
    on_epoch : callable
        Called after each epoch; may raise to stop.
    """
    seed = null_seed(bench.plan.seed, kind, replicate)
    data = _shuffled_labels(bench.dataset, seed) if kind == SHUFFLED else _composition_only(bench.dataset, seed)
    return train(bench, point, data, seed=seed, checkpoint=None, on_epoch=on_epoch)


def train_shuffled(
    bench: Bench, point: Mapping[str, Scalar], *, replicate: int, on_epoch: OnEpoch
) -> tuple[Network, Recipe, Trained]:
    """Train with permuted training and validation labels: the null of everything that is found."""
    return train_null(bench, point, SHUFFLED, replicate=replicate, on_epoch=on_epoch)


def null_seed(seed: int, kind: str, replicate: int) -> int:
    """Seed of a null network of a study."""
    return mix(seed, kind, replicate)


def _shuffled_labels(data: Dataset, seed: int) -> Dataset:
    rng = np.random.default_rng(seed)
    shuffled = {
        name: replace(split, labels=split.labels[rng.permutation(len(split))])
        for name, split in data.splits.items()
        if name != "test"
    }
    return replace(data, splits={**data.splits, **shuffled})


def _composition_only(data: Dataset, seed: int) -> Dataset:
    shuffled = {
        name: Split(dinucleotide_shuffle(split.codes, seed=mix(seed, name)), split.labels, groups=split.groups)
        for name, split in data.splits.items()
        if name != "test"
    }
    return replace(data, splits={**data.splits, **shuffled})
