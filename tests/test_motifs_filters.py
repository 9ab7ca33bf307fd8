"""Sites and matrices of first-layer filters."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.errors import MotifError
from tuner.motifs.filters import Filter, FilterScan, build_filters
from tuner.motifs.meme import column_information, corrected_information

KERNEL, OFFSET = 7, 3
MOTIF = np.array([2, 0, 3, 3, 0, 1, 0])  # GATTACA


def planted(n: int = 400, length: int = 60, n_filters: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Random sequences, half of them with GATTACA at a random place, and kernels; the first is its own."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 4, size=(n, length)).astype(np.uint8)
    for row in range(n // 2):
        at = rng.integers(2, length - KERNEL - 2)
        codes[row, at : at + KERNEL] = MOTIF
    kernels = rng.normal(0, 0.4, size=(n_filters, 4, KERNEL))
    kernels[0] = np.eye(4)[:, MOTIF] * 2 - 0.6
    return codes, kernels


def scan_of(codes: np.ndarray, kernels: np.ndarray, activation) -> FilterScan:
    """A first layer in plain numpy, padded by 3, its best position where a window of 8 fits."""
    one_hot = np.eye(5)[codes][:, :, :4].transpose(0, 2, 1)  # (n, 4, length)
    padded = np.pad(one_hot, ((0, 0), (0, 0), (OFFSET, KERNEL - 1 - OFFSET)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, KERNEL, axis=2)  # (n, 4, length, k)
    before = np.einsum("ncpk,fck->nfp", windows, kernels)
    after = activation(before)
    low, high = OFFSET + 1, codes.shape[1] - KERNEL + OFFSET + 1
    position = before[:, :, low:high].argmax(axis=2) + low
    take = [np.take_along_axis(a, position[:, :, None], axis=2)[:, :, 0] for a in (after, before)]
    return FilterScan(take[0], take[1], position, after.min(axis=(0, 2)))


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def test_a_planted_motif_is_read_back_where_it_lies() -> None:
    codes, kernels = planted()
    item = build_filters(codes, scan_of(codes, kernels, relu), KERNEL, OFFSET)[0]
    assert item.alive
    assert item.gated
    assert item.sites == 100  # a quarter of 400 sequences
    assert item.start == 1  # the window of 8 starts one base before the receptive field
    np.testing.assert_array_equal(item.ppm, np.eye(4)[:, MOTIF])
    assert item.information == pytest.approx(corrected_information(item.ppm, 100))
    assert item.information == pytest.approx(14 - 7 * 0.0216404256)


def test_a_column_before_the_receptive_field_can_be_seen() -> None:
    codes, kernels = planted()
    at = scan_of(codes, kernels, relu).position[:, 0] - OFFSET
    codes[np.arange(len(codes)), at - 1] = 2
    item = build_filters(codes, scan_of(codes, kernels, relu), KERNEL, OFFSET)[0]
    assert item.start == 0
    np.testing.assert_array_equal(item.ppm, np.eye(4)[:, [2, *MOTIF]])


def test_at_most_five_hundred_sites() -> None:
    codes, kernels = planted(n=2400)
    assert {f.sites for f in build_filters(codes, scan_of(codes, kernels, np.exp), KERNEL, OFFSET)} == {500}


STRICTLY_MONOTONE = {
    "exponential": np.exp,
    "linear": lambda x: x,
    "softplus": lambda x: np.log1p(np.exp(x)),
    "tanh": np.tanh,
    "cubic": lambda x: x**3,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
}


@pytest.mark.parametrize("name", STRICTLY_MONOTONE)
@settings(deadline=None, max_examples=8)
@given(seed=st.integers(0, 1000), n=st.sampled_from([40, 90, 240]))
def test_a_strictly_monotone_activation_on_frozen_weights_changes_nothing(name: str, seed: int, n: int) -> None:
    codes, kernels = planted(n=n, seed=seed)
    linear = build_filters(codes, scan_of(codes, kernels, lambda x: x), KERNEL, OFFSET)
    other = build_filters(codes, scan_of(codes, kernels, STRICTLY_MONOTONE[name]), KERNEL, OFFSET)
    assert_same(linear, other)


def test_saturated_activations_are_ranked_by_the_pre_activation() -> None:
    codes, kernels = planted()
    clipped = scan_of(codes, kernels, lambda x: np.minimum(x, 2.0))  # not strictly monotone: many ties
    assert_same(
        build_filters(codes, scan_of(codes, kernels, lambda x: x), KERNEL, OFFSET),
        build_filters(codes, clipped, KERNEL, OFFSET),
    )


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 1000))
def test_filter_order_changes_nothing(seed: int) -> None:
    codes, kernels = planted(n_filters=5, seed=seed)
    codes[200:] = codes[200]  # ties at the cut-off
    order = np.random.default_rng(seed).permutation(5)
    straight = build_filters(codes, scan_of(codes, kernels, relu), KERNEL, OFFSET)
    shuffled = build_filters(codes, scan_of(codes, kernels[order], relu), KERNEL, OFFSET)
    assert_same([straight[i] for i in order], shuffled)


def test_only_sequences_above_the_floor_are_sites() -> None:
    codes, kernels = planted()
    codes[50:200] = np.random.default_rng(1).integers(0, 4, size=(150, 60))
    scan = scan_of(codes, kernels, lambda x: relu(x - 8))  # GATTACA scores 9.8, one mismatch 7.8
    assert build_filters(codes, scan, KERNEL, OFFSET)[0].sites == (scan.activation[:, 0] > 0).sum()
    assert 50 <= (scan.activation[:, 0] > 0).sum() < 60


def test_a_dead_or_broken_filter_is_not_alive_and_has_no_matrix() -> None:
    codes, kernels = planted()
    for value in (0.0, 1.0, np.nan):
        scan = scan_of(codes, kernels, lambda x, value=value: np.full_like(x, value))
        for item in build_filters(codes, scan, KERNEL, OFFSET):
            assert (item.alive, item.gated, item.sites, item.ppm.shape, item.information) == (
                False,
                False,
                0,
                (4, 0),
                0,
            )


def test_copies_of_a_sequence_are_one_site() -> None:
    codes, kernels = planted(n=80)
    copies = np.repeat(codes, 5, axis=0)
    once = build_filters(codes, scan_of(codes, kernels, relu), KERNEL, OFFSET)
    assert_same(once, build_filters(copies, scan_of(copies, kernels, relu), KERNEL, OFFSET))


def test_unknown_bases_count_for_nothing() -> None:
    codes, kernels = planted()
    at = scan_of(codes, kernels, relu).position[:, 0] - OFFSET
    masked = codes.copy()
    masked[::2, :][np.arange(200), at[::2] + 2] = 4
    scan = scan_of(codes, kernels, relu)._replace(position=scan_of(codes, kernels, relu).position)
    item = build_filters(masked, scan, KERNEL, OFFSET)[0]
    np.testing.assert_array_equal(item.ppm, np.eye(4)[:, MOTIF])
    all_masked = build_filters(np.full_like(codes, 4), scan, KERNEL, OFFSET)[0]
    assert all_masked.ppm.shape == (4, 0)


def test_positions_at_the_ends_read_nothing_beyond_the_sequence() -> None:
    codes, kernels = planted()
    scan = scan_of(codes, kernels, relu)
    ends = scan._replace(position=np.where(np.arange(400)[:, None] % 2, 0, 59) + np.zeros_like(scan.position))
    for item in build_filters(codes, ends, KERNEL, OFFSET):
        np.testing.assert_allclose(item.ppm.sum(axis=0), 1)


def test_gates_are_twenty_sites_and_six_bits() -> None:
    ppm = np.eye(4)[:, MOTIF]
    assert Filter(0, ppm, 20, 6.0, True, 0).gated
    assert not Filter(0, ppm, 19, 6.0, True, 0).gated
    assert not Filter(0, ppm, 20, 5.99, True, 0).gated
    assert not Filter(0, ppm, 20, 6.0, False, 0).gated


def test_trimming_keeps_what_lies_between_strong_columns() -> None:
    codes, kernels = planted()
    ppm = build_filters(codes, scan_of(codes, kernels, relu), KERNEL, OFFSET)[1].ppm
    if ppm.shape[1]:
        information = column_information(ppm)
        assert information[0] > 0.5
        assert information[-1] > 0.5


def test_a_scan_of_other_sequences_is_refused() -> None:
    codes, kernels = planted()
    scan = scan_of(codes, kernels, relu)
    with pytest.raises(MotifError, match="which does not fit sequences of shape"):
        build_filters(codes[:-1], scan, KERNEL, OFFSET)
    with pytest.raises(MotifError, match="do not fit together"):
        build_filters(codes, scan._replace(floor=scan.floor[:1]), KERNEL, OFFSET)
    with pytest.raises(MotifError, match="kernel_size is 0"):
        build_filters(codes, scan, 0, OFFSET)


def assert_same(left, right) -> None:
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        assert (one.sites, one.alive, one.start) == (other.sites, other.alive, other.start)
        np.testing.assert_array_equal(one.ppm, other.ppm)
