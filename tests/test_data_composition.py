"""k-mer counts, and the part of a split on which GC and CpG tell nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from tuner.data.composition import kmer_counts, kmers, matched_subset
from tuner.data.hdf5 import koo_hdf5
from tuner.data.sequence import cpg, decode, encode, gc_content, reverse_complement
from tuner.errors import DataError


def counted(text: str, k: int) -> dict[str, int]:
    """Count k-mers of both strands together, in plain Python."""
    counts: dict[str, int] = {}
    for i in range(len(text) - k + 1):
        word = text[i : i + k]
        if "N" not in word:
            key = min(word, decode(reverse_complement(encode([word])))[0])
            counts[key] = counts.get(key, 0) + 1
    return counts


@settings(max_examples=40)
@given(st.text("ACGTN", min_size=6, max_size=60), st.integers(1, 4))
def test_counts_equal_those_of_plain_python(text, k):
    row = kmer_counts(encode([text]), k)[0]
    assert {name: int(n) for name, n in zip(kmers(k), row, strict=True) if n} == counted(text, k)


@pytest.mark.parametrize(("k", "collapsed"), [(1, 2), (2, 10), (3, 32), (6, 2080)])
def test_collapsed_kmers_have_the_known_number(k, collapsed):
    # (4^k + palindromes) / 2; only even k have palindromes, 4^(k/2) of them.
    assert len(kmers(k)) == collapsed
    assert len(kmers(k, collapse=False)) == 4**k
    assert kmer_counts(encode(["ACGTACGTAC"]), k).shape == (1, collapsed)


def test_collapsed_counts_do_not_depend_on_the_strand():
    codes = np.random.default_rng(0).integers(5, size=(30, 50)).astype(np.uint8)
    assert np.array_equal(kmer_counts(codes, 6), kmer_counts(reverse_complement(codes), 6))
    assert not np.array_equal(kmer_counts(codes, 2, False), kmer_counts(reverse_complement(codes), 2, False))


def test_blocks_do_not_change_the_counts(monkeypatch):
    codes = np.random.default_rng(0).integers(5, size=(25, 50)).astype(np.uint8)
    whole = kmer_counts(codes, 3)
    monkeypatch.setattr("tuner.data.composition._BLOCK", 7)
    assert np.array_equal(kmer_counts(codes, 3), whole)


def test_impossible_k_is_refused():
    with pytest.raises(DataError, match="k = 9; k-mers are counted for k from 1 to 8"):
        kmer_counts(np.zeros((1, 20), np.uint8), 9)
    with pytest.raises(DataError, match="sequences of 3 bases have no 6-mers"):
        kmer_counts(np.zeros((1, 3), np.uint8), 6)


@pytest.mark.parametrize("name", ["ZBED2", "IRF1"])
def test_composition_cannot_tell_the_matched_part_apart(data_dir, name):
    dataset = koo_hdf5(data_dir / "koo" / f"{name}_400_h3k27ac.h5")
    codes = np.concatenate([dataset.train.codes, dataset.valid.codes])
    labels = np.concatenate([dataset.train.labels, dataset.valid.labels])
    kept = matched_subset(codes, labels, seed=0)
    assert kept.sum() > 0.4 * len(codes)
    assert labels[kept].mean() == 0.5
    for measure in (gc_content, cpg):
        assert abs(roc_auc_score(labels, measure(codes)) - 0.5) > 0.05
        assert roc_auc_score(labels[kept], measure(codes[kept])) == pytest.approx(0.5, abs=0.01)


def test_the_match_is_seeded_and_empty_where_classes_do_not_meet():
    rng = np.random.default_rng(0)
    codes = rng.integers(4, size=(400, 50)).astype(np.uint8)
    labels = (rng.random((400, 1)) < 0.3).astype(np.uint8)
    one, same, other = (matched_subset(codes, labels, seed=s) for s in (0, 0, 1))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    assert one.sum() == other.sum() > 100
    apart = np.repeat(np.array([[0], [1]], np.uint8), 50, axis=1)  # all A against all C
    assert not matched_subset(apart, np.array([0, 1]), seed=0).any()


@pytest.mark.parametrize("by", ["gc", "cpg"])
def test_matching_by_one_axis_levels_that_axis(data_dir: Path, by: str) -> None:
    split = koo_hdf5(data_dir / "koo" / "ZBED2_400_h3k27ac.h5").train
    content = {"gc": gc_content, "cpg": cpg}[by](split.codes)
    kept = matched_subset(split.codes, split.labels, seed=0, by=[by])
    assert abs(roc_auc_score(split.labels[:, 0], content) - 0.5) > 0.2
    assert abs(roc_auc_score(split.labels[kept, 0], content[kept]) - 0.5) < 0.02


def test_an_unknown_axis_is_named() -> None:
    with pytest.raises(DataError, match="unknown composition to match 'gcc'; did you mean 'gc'"):
        matched_subset(np.zeros((2, 9), dtype=np.uint8), np.array([0, 1]), seed=0, by=["gcc"])
