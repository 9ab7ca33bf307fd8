"""Splits: proportions, groups, folds, determinism."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.data.splits import duplicate_groups, k_fold, merge_groups, sample_rows, stratified
from tuner.errors import DataError
from tuner.genome.sequence import reverse_complement

labellings = st.integers(20, 200).flatmap(
    lambda n: st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=n, max_size=n)
)


@settings(max_examples=40, deadline=None)
@given(labellings, st.integers(0, 3))
def test_every_row_is_in_one_split_and_strata_keep_their_share(labels, seed):
    y = np.array(labels)
    parts = stratified(y, seed=seed)
    assert sorted(np.concatenate(list(parts.values()))) == list(range(len(y)))
    for pattern in np.unique(y, axis=0):
        rows = (y == pattern).all(axis=1)
        for name, share in zip(("train", "valid", "test"), (0.7, 0.1, 0.2), strict=True):
            # a stratum begins and ends within two rows of its exact share
            assert abs(rows[parts[name]].sum() - share * rows.sum()) <= 2


def test_a_split_depends_on_the_seed_and_on_nothing_else():
    y = np.arange(300) % 3 == 0
    first, again = stratified(y, seed=4), stratified(y, seed=4)
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(stratified(y, seed=4)["test"], stratified(y, seed=5)["test"])
    # The split of seed 0 may never change: studies are resumed with it.
    assert stratified(y, seed=0)["valid"][:8].tolist() == [5, 15, 20, 28, 33, 47, 50, 54]


def test_groups_are_never_torn_apart():
    rng = np.random.default_rng(0)
    groups = rng.integers(40, size=500)
    y = rng.integers(2, size=500)
    parts = stratified(y, seed=1, groups=groups)
    owners = [set(groups[part]) for part in parts.values()]
    assert not owners[0] & owners[1]
    assert not owners[0] & owners[2]
    assert not owners[1] & owners[2]
    # groups have 12.5 rows on average, so shares are met to about one group
    assert [len(p) for p in parts.values()] == pytest.approx([350, 50, 100], abs=20)


def test_folds_hold_every_row_out_once_and_stratify():
    y = np.repeat([0, 1], [130, 70])
    fold = k_fold(y, 5, seed=3)
    assert np.bincount(fold).tolist() == [40] * 5
    assert np.bincount(fold[y == 1]).tolist() == [14] * 5
    assert np.array_equal(fold, k_fold(y, 5, seed=3))
    groups = np.arange(200) // 4
    assert len({(g, f) for g, f in zip(groups, k_fold(y, 5, seed=3, groups=groups), strict=True)}) == 50


@pytest.mark.parametrize("k", [1, 0, 11])
def test_impossible_folds_are_refused(k):
    with pytest.raises(DataError, match=f"{k} folds of 10 sequences: expected between 2 and 10"):
        k_fold(np.arange(10) % 2, k)


def test_copies_on_either_strand_share_a_group():
    codes = np.random.default_rng(0).integers(5, size=(50, 30)).astype(np.uint8)
    groups = duplicate_groups(np.concatenate([codes, reverse_complement(codes), codes]))
    assert np.array_equal(groups[:50], groups[50:100])
    assert np.array_equal(groups[:50], groups[100:])
    assert len(set(groups)) == 50


def test_groupings_merge_through_chains():
    merged = merge_groups(np.array(["x", "x", "y", "z", "w"]), np.array([1, 2, 2, 3, 4]))
    assert merged[0] == merged[1] == merged[2]  # x joins 1 and 2, 2 joins y
    assert len(set(merged)) == 3


@pytest.mark.parametrize("positives", [500, 20, 1])
def test_a_drawn_sample_of_sorted_rows_has_both_classes_in_proportion(positives: int) -> None:
    labels = (np.arange(1000) < positives).astype(np.uint8)  # sorted: the first rows are all positive
    drawn = sample_rows(labels, 100, seed=3)
    assert len(drawn) == len(set(drawn.tolist())) == 100
    assert abs(labels[drawn].sum() - max(1, positives / 10)) <= 1
    positive = drawn[labels[drawn] == 1]
    if positives == 500:  # from the whole of a class, which may be sorted by strength
        assert positive.min() < 60
        assert positive.max() > 440
    assert drawn.tolist() == sample_rows(labels, 100, seed=3).tolist()
    assert drawn.tolist() != sample_rows(labels, 100, seed=4).tolist()


def test_a_sample_of_all_rows_or_more_is_all_of_them() -> None:
    labels = np.array([[1, 0], [1, 0], [0, 0]])
    assert sample_rows(labels, 3).tolist() == sample_rows(labels, 99).tolist() == [0, 1, 2]
