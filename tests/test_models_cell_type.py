"""Stage 2: what it is made of, what it is shown, and whether its score says when the cell type matters."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from tuner.data.dataset import Split
from tuner.data.table import table
from tuner.errors import DataError, ModelError, TrainingDiverged, UsageError
from tuner.genome.sequence import encode_one, one_hot
from tuner.models.architectures import build_model
from tuner.models.cell_type import (
    CellTypeLogits,
    CellTypeNetwork,
    CellTypeSettings,
    cell_type_gain,
    draw_round_robin,
    fit_cell_types,
    predict_cell_types,
)
from tuner.models.network import Network
from tuner.models.recipe import Recipe
from tuner.models.training import fit

WORDS = [encode_one(word) for word in ("TGACTCAG", "CACGTGAC", "GGGCGGGG")]
STAGE1 = {
    "architecture": "sigtfb", "kernel_size": 10, "filters": 16, "initializer": "glorot_uniform", "deep_sigma": 0.0,
}  # fmt: skip
RECIPE = Recipe(
    epochs=8, learning_rate=1e-2, batch_size=64, reverse_complement=False, average_strands=False, precision="float32"
)
QUICK = CellTypeSettings(epochs=10)


def simulated(n: int, seed: int, *, matters: bool) -> Split:
    """Three words in 60 bp; each is bound in one cell type, or the first in all of them with 10 % wrong labels."""
    generator = np.random.default_rng(seed)
    codes = generator.integers(0, 4, (n, 60)).astype(np.uint8)
    present = generator.random((n, 3)) < 0.4
    for row, word in zip(*np.nonzero(present), strict=True):
        start = int(generator.integers(0, 12)) + 20 * word
        codes[row, start : start + 8] = WORDS[word]
    labels = present if matters else np.repeat(present[:, :1], 3, axis=1) ^ (generator.random((n, 3)) < 0.1)
    return Split(codes, labels.astype(np.uint8))


def stage1_of(train: Split, valid: Split, seed: int = 0) -> Network:
    network = build_model(STAGE1, n_tasks=train.labels.shape[1], length=train.codes.shape[1], seed=seed)
    fit(network, train, valid, RECIPE, seed=seed)
    return network


@pytest.fixture(scope="module")
def trained() -> tuple[Network, Split, Split]:
    train, valid, test = (simulated(n, seed, matters=True) for n, seed in ((1000, 1), (200, 2), (600, 3)))
    return stage1_of(train, valid), train, test


def test_parameters_are_those_of_the_published_layers() -> None:
    # Cell branch 14 -> 16 -> 1, joint (64 + 1) -> 64 -> 2, two numbers a unit for batch norm, biases everywhere.
    stage2 = (14 * 16 + 16) + 2 * 16 + (16 + 1) + (65 * 64 + 64) + 2 * 64 + (64 * 2 + 2)
    convolution = 64 * 4 * 24 + 64
    stage1 = build_model({"architecture": "sigtfb"}, n_tasks=14, length=101, seed=0)
    for frozen, trainable in ((True, stage2), (False, stage2 + convolution)):
        network = CellTypeNetwork(stage1, 14, CellTypeSettings(frozen=frozen), seed=0)
        assert sum(p.numel() for p in network.parameters()) == stage2 + convolution
        assert sum(p.numel() for p in network.parameters() if p.requires_grad) == trainable
    assert (stage2, convolution) == (4771, 6208)


def test_features_are_each_filters_maximum_over_the_sequence() -> None:
    stage1 = build_model({"architecture": "sigtfb"}, n_tasks=3, length=101, seed=0).eval()
    x = one_hot(torch.from_numpy(np.random.default_rng(0).integers(0, 4, (5, 101)).astype(np.uint8)))
    features = CellTypeNetwork(stage1, 3, QUICK, seed=0).features(x)
    convolution = stage1.first_convolution
    direct = nn.functional.conv1d(x, convolution.weight, convolution.bias).relu().amax(dim=2)
    assert features.shape == (5, 64)
    assert torch.allclose(features, direct, atol=1e-5)


def test_log_odds_are_the_log_softmax_of_two_units() -> None:
    stage1 = build_model({"architecture": "sigtfb"}, n_tasks=3, length=101, seed=0)
    network = CellTypeNetwork(stage1, 3, QUICK, seed=0).eval()
    features, cells = torch.rand(6, 64), torch.eye(3).repeat(2, 1)
    units = network.joint(torch.cat([features, network.cell_branch(cells)], dim=1))
    negative, positive = nn.functional.log_softmax(units, dim=1).unbind(1)
    assert torch.allclose(network.from_features(features, cells), positive - negative, atol=1e-6)


def test_each_batch_is_balanced_in_every_cell_type_and_half_of_it_is_told() -> None:
    generator = np.random.default_rng(0)
    labels = (generator.random((200, 3)) < [0.5, 0.05, 0.9]).astype(np.uint8)
    draw = draw_round_robin(labels, 600, 60, seed=4)
    shown = labels[draw.rows, draw.cells]
    for first in range(0, 600, 60):
        batch = slice(first, first + 60)
        assert draw.told[batch].sum() == 30
        for cell in range(3):
            of_cell = shown[batch][draw.cells[batch] == cell]
            assert (of_cell.sum(), len(of_cell)) == (10, 20)
    # Told and untold pairs hold a positive and a negative each.
    assert shown[draw.told].mean() == shown[~draw.told].mean() == 0.5
    # The rare class is drawn with replacement.
    rare = draw.rows[(draw.cells == 1) & (shown == 1)]
    assert len(rare) == 100 > len(set(rare.tolist()))
    again, other = draw_round_robin(labels, 600, 60, seed=4), draw_round_robin(labels, 600, 60, seed=5)
    assert np.array_equal(draw.rows, again.rows)
    assert not np.array_equal(draw.rows, other.rows)


def test_a_cell_type_that_matters_scores_clearly_above_zero(trained: tuple[Network, Split, Split]) -> None:
    stage1, train, test = trained
    network, losses = fit_cell_types(stage1, train, QUICK, seed=1)
    assert losses[-1] < losses[0]
    gain = cell_type_gain(test.labels, predict_cell_types(network, test.codes))
    # Untold, the best is to add up the words: each cell type's own word among two others, AUROC about .8.
    assert gain.difference.low > 0.05
    assert gain.told > 0.9 > gain.untold
    assert gain.difference.estimate == pytest.approx(gain.told - gain.untold, abs=1e-12)


def test_a_cell_type_that_does_not_matter_scores_zero() -> None:
    train, valid, test = (simulated(n, seed, matters=False) for n, seed in ((1000, 1), (200, 2), (600, 3)))
    stage1, gains = stage1_of(train, valid), []
    for seed in (1, 2, 3):
        network, _ = fit_cell_types(stage1, train, replace(QUICK, epochs=5), seed=seed)
        gains.append(cell_type_gain(test.labels, predict_cell_types(network, test.codes)))
    assert min(gain.untold for gain in gains) > 0.8
    # The interval is over sequences. Training adds about as much, so now and then one of them misses 0.
    assert sum(gain.difference.low <= 0 <= gain.difference.high for gain in gains) >= 2
    assert np.mean([gain.difference.estimate for gain in gains]) == pytest.approx(0, abs=0.005)


def test_real_peaks_of_three_cell_lines_are_learned_from(data_dir: Path, tmp_path: Path) -> None:
    with gzip.open(data_dir / "usf1_multicell" / "usf1_multicell.tsv.gz", "rt") as file:
        lines = file.readlines()
    few = tmp_path / "few.tsv"
    few.write_text("".join([lines[0], *lines[1::16]]))  # 2781 of 44,492 peaks, from all over the file
    dataset = table(few, fractions=(0.5, 0.1, 0.4))
    assert dataset.tasks == ("HepG2", "H1hESC", "K562")
    network, losses = fit_cell_types(stage1_of(dataset.train, dataset.valid), dataset.train, QUICK, seed=1)
    logits = predict_cell_types(network, dataset.test.codes)
    assert logits.told.shape == (len(dataset.test), 3)
    gain = cell_type_gain(dataset.test.labels, logits)
    # The negatives of a cell line are the peaks of the others, and USF1's motif is in all of them.
    assert 0.4 < gain.untold < 0.65
    assert gain.told > gain.untold
    assert losses[-1] < losses[0]


def test_gain_equals_scikit_learns_aurocs_cell_type_by_cell_type() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, (300, 3))
    labels[:, 2] = 1
    logits = CellTypeLogits(generator.normal(size=(300, 3)) + labels, generator.normal(size=300))
    gain = cell_type_gain(labels, logits)
    expected = [
        roc_auc_score(labels[:, k], logits.told[:, k]) - roc_auc_score(labels[:, k], logits.untold) for k in (0, 1)
    ]
    assert gain.per_cell_type[:2] == pytest.approx(expected, abs=1e-12)
    assert gain.per_cell_type[2] is None
    assert gain.difference.estimate == pytest.approx(np.mean(expected), abs=1e-12)


@pytest.mark.parametrize("optimizer", ["adam", "nesterov"])
@pytest.mark.parametrize("frozen", [True, False])
def test_the_same_seed_gives_the_same_network_and_stage_1_stays(
    trained: tuple[Network, Split, Split], optimizer: str, frozen: bool
) -> None:
    stage1, train, test = trained
    before = {name: tensor.clone() for name, tensor in stage1.state_dict().items()}
    settings = replace(QUICK, optimizer=optimizer, frozen=frozen, epochs=2, dropout=0.1)
    few = train.take(np.arange(200))
    networks = [fit_cell_types(stage1, few, settings, seed=seed)[0] for seed in (1, 1, 2)]
    told = [predict_cell_types(network, test.codes[:50]).told for network in networks]
    assert np.array_equal(told[0], told[1])
    assert not np.array_equal(told[0], told[2])
    assert all(torch.equal(tensor, before[name]) for name, tensor in stage1.state_dict().items())
    moved = not torch.equal(networks[0].features.stage1.first_convolution.weight, stage1.first_convolution.weight)
    assert moved is not frozen


def test_what_cannot_be_trained_is_refused(trained: tuple[Network, Split, Split]) -> None:
    stage1, train, _ = trained
    silent = Split(train.codes, np.concatenate([train.labels[:, :2], np.zeros_like(train.labels[:, :1])], axis=1))
    with pytest.raises(DataError, match="cell type 2: all 1000 labels are 0; training needs both classes"):
        fit_cell_types(stage1, silent, QUICK, seed=0)
    with pytest.raises(TrainingDiverged, match="stage 2 diverged in epoch 1"):
        fit_cell_types(stage1, train, replace(QUICK, optimizer="nesterov", learning_rate=1e20), seed=0)
    with pytest.raises(ModelError, match="n_cell_types is 1"):
        CellTypeNetwork(stage1, 1, QUICK, seed=0)
    for settings, message in (
        ({"optimizer": "sgd"}, "unknown optimizer 'sgd'"),
        ({"batch_size": 9}, "batch_size = 9; expected an even number"),
        ({"units": 0}, "units = 0"),
        ({"sigma": 0.0}, "sigma = 0"),
        ({"dropout": 1.0}, "dropout = 1"),
    ):
        with pytest.raises(UsageError, match=message):
            CellTypeSettings(**settings)
