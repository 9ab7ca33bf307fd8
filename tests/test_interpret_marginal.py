"""Inserting motifs, against networks whose answer is known without one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from scipy.stats import ttest_1samp
from torch import nn

from tuner.data.simulate_synthetic import SYNTHETIC_RELEASE, synthetic
from tuner.errors import AttributionError, MotifError
from tuner.genome.sequence import encode, reverse_complement
from tuner.interpret.marginal import Marginal, marginalise
from tuner.interpret.references import make_references
from tuner.models.pwm import log_odds
from tuner.motifs.database import load_database

N = 60


class Scanner(nn.Module):
    """A matrix as a network: its highest log-odds at any position of either strand."""

    def __init__(self, weights: np.ndarray) -> None:
        super().__init__()
        both = np.stack([weights, weights[::-1, ::-1]]).astype(np.float32)
        self.scan = nn.Conv1d(4, 2, both.shape[2], bias=False)
        self.scan.weight.data = torch.from_numpy(both)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scan(x).amax(dim=(1, 2)).unsqueeze(1)


class Weigher(nn.Module):
    """A linear network: one weight for every base at every position."""

    def __init__(self, weights: np.ndarray) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.from_numpy(weights.astype(np.float32)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x * self.weights).sum(dim=(1, 2)).unsqueeze(1)


@pytest.fixture(scope="module")
def codes() -> np.ndarray:
    return synthetic(seed=0, sizes=(N, 2, 2)).train.codes


@pytest.fixture(scope="module")
def ctcf() -> np.ndarray:
    return load_database(SYNTHETIC_RELEASE, screen=False).find("MA0139.2").ppm


def best(codes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Highest sum of weights over the windows of both strands, one look-up a base."""
    width = weights.shape[1]
    strands = [sliding_window_view(strand, width, axis=1) for strand in (codes, reverse_complement(codes))]
    return np.max([weights[windows, np.arange(width)].sum(axis=2).max(axis=1) for windows in strands], axis=0)


def test_effect_of_a_motif_is_what_its_own_scanner_gains(codes: np.ndarray, ctcf: np.ndarray) -> None:
    weights = log_odds(ctcf)
    other = ctcf[:, np.random.default_rng(0).permutation(ctcf.shape[1])]
    own, shuffled = marginalise(Scanner(weights), [ctcf, other], codes, n=N, seed=3)
    # The likeliest bases have the highest log-odds, so with them inserted the scanner gives its maximum.
    changes = weights.max(axis=0).sum() - best(make_references(codes, 1, seed=3)[:, 0], weights)
    expected = ttest_1samp(changes, 0.0).confidence_interval(0.95)
    assert own.effect == pytest.approx(changes.mean(), abs=1e-4)
    assert (own.low, own.high) == pytest.approx((expected.low, expected.high), abs=1e-4)
    assert own.n == N
    assert shuffled.high < own.low


def test_strand_on_which_a_matrix_is_written_changes_nothing(codes: np.ndarray, ctcf: np.ndarray) -> None:
    length = codes.shape[1]
    network = Weigher(np.random.default_rng(1).normal(size=(4, length)))
    forward, backward = marginalise(network, [ctcf, ctcf[::-1, ::-1]], codes, n=N)
    assert forward == pytest.approx(backward, abs=1e-5)


def test_both_strands_are_inserted_in_the_centre_and_averaged(codes: np.ndarray) -> None:
    length = codes.shape[1]
    ppm = np.full((4, 5), 0.01)
    word = encode(["GATTA"])[0]
    ppm[word, np.arange(5)] = 0.97
    weights = np.zeros((4, length))
    start = (length - 5) // 2
    weights[:, start : start + 5] = np.random.default_rng(2).normal(size=(4, 5))
    (found,) = marginalise(Weigher(weights), [ppm], codes, n=N, seed=1)
    centre = weights[:, start : start + 5]
    inserted = np.mean([centre[strand, np.arange(5)].sum() for strand in (word, reverse_complement(word))])
    background = make_references(codes, 1, seed=1)[:, 0]
    before = np.take_along_axis(centre[:, None], background[None, :, start : start + 5].astype(int), 0)
    assert found.effect == pytest.approx(inserted - before.sum(axis=2).mean(), abs=1e-5)


def test_samples_have_the_frequencies_of_the_matrix(codes: np.ndarray) -> None:
    length, n = codes.shape[1], 3000
    ppm = np.array([[0.7, 0.1], [0.1, 0.2], [0.15, 0.3], [0.05, 0.4]])
    weights = np.zeros((4, length))
    start = (length - 2) // 2
    weights[:, start : start + 2] = [[1.0, -2.0], [3.0, 0.5], [-1.0, 2.0], [0.0, 4.0]]
    centre = weights[:, start : start + 2]
    sampled, likeliest = (
        marginalise(Weigher(weights), [ppm], codes, n=n, insert=i)[0] for i in ("sample", "consensus")
    )
    # Their backgrounds are the same and cancel: what is left is the expectation minus the consensus (A, T).
    expected = np.mean([(centre * strand).sum() for strand in (ppm, ppm[::-1, ::-1])])
    consensus = np.mean([centre[[0, 3], [0, 1]].sum(), centre[[0, 3], [0, 1]].sum()])  # AT is its own complement
    assert sampled.effect - likeliest.effect == pytest.approx(expected - consensus, abs=0.15)  # 4 standard errors


def test_a_network_that_ignores_the_motif_gives_exactly_nothing(codes: np.ndarray, ctcf: np.ndarray) -> None:
    network = Weigher(np.zeros((4, codes.shape[1])))
    assert marginalise(network, [ctcf], codes[:5], n=12) == (Marginal(0.0, 0.0, 0.0, 12),)


def test_same_seed_same_effect_whatever_else_is_asked(codes: np.ndarray, ctcf: np.ndarray) -> None:
    network = Scanner(log_odds(ctcf))
    one = marginalise(network, [ctcf], codes, n=20, insert="sample")
    two = marginalise(network, [ctcf, ctcf[:, :6]], codes, n=20, insert="sample")
    assert one[0] == two[0]
    assert marginalise(network, [ctcf], codes, n=20, insert="sample", seed=1)[0] != one[0]
    assert marginalise(network, [], codes, n=20) == ()


def test_impossible_questions_are_refused(codes: np.ndarray, ctcf: np.ndarray) -> None:
    network = Scanner(log_odds(ctcf))
    with pytest.raises(AttributionError, match="n is 1; an interval needs at least 2"):
        marginalise(network, [ctcf], codes, n=1)
    with pytest.raises(AttributionError, match="unknown kind of insert 'consensu'; did you mean 'consensus'"):
        marginalise(network, [ctcf], codes, insert="consensu")
    with pytest.raises(AttributionError, match="motif 1 has 250 columns and does not fit into sequences of 200 bp"):
        marginalise(network, [ctcf, np.full((4, 250), 0.25)], codes)
    with pytest.raises(MotifError, match="motif 0: column 0 sums to 4"):
        marginalise(network, [np.ones((4, 5))], codes)
