"""k-mer counts, and the part of a split on which GC and CpG tell nothing."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from tuner.data.composition import kmer_counts, kmers, matching_weights
from tuner.data.hdf5 import koo_hdf5
from tuner.errors import DataError
from tuner.genome.sequence import cpg, decode, encode, gc_content, reverse_complement
from tuner.models.intervals import weighted_auroc


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
    labels = np.concatenate([dataset.train.labels, dataset.valid.labels])[:, 0]
    weights = matching_weights(codes, labels)
    assert weights.sum() > 0.4 * len(codes)
    assert weights[labels == 1].sum() == pytest.approx(weights[labels == 0].sum(), rel=1e-12)
    for measure in (gc_content, cpg):
        content = measure(codes)
        assert abs(roc_auc_score(labels, content) - 0.5) > 0.05
        assert roc_auc_score(labels, content, sample_weight=weights) == pytest.approx(0.5, abs=0.01)


def test_weights_give_the_mean_over_every_matched_part():
    # Two cells: all A (GC 0) and all C (GC 1), without CpG; 3 positives and 2 negatives, 1 positive and 3 negatives.
    codes = np.repeat(np.array([[0]] * 5 + [[1]] * 4, np.uint8), 50, axis=1)
    labels = np.array([1, 1, 1, 0, 0, 1, 0, 0, 0])
    scores = np.array([0.3, 0.9, 0.5, 0.4, 0.5, 0.1, 0.2, 0.1, 0.7])
    weights = matching_weights(codes, labels)
    assert weights == pytest.approx([2 / 3] * 3 + [1, 1] + [1] + [1 / 3] * 3)
    parts = [[*positives, 3, 4, 5, negative] for positives in combinations(range(3), 2) for negative in (6, 7, 8)]
    aurocs = [roc_auc_score(labels[part], scores[part]) for part in parts]
    assert np.std(aurocs) > 0.05
    assert weighted_auroc(labels, scores, weights) == pytest.approx(np.mean(aurocs), abs=1e-12)


def test_nothing_has_weight_where_classes_do_not_meet():
    apart = np.repeat(np.array([[0], [1]], np.uint8), 50, axis=1)  # all A against all C
    assert not matching_weights(apart, np.array([0, 1])).any()


@pytest.mark.parametrize("by", ["gc", "cpg"])
def test_matching_by_one_axis_levels_that_axis(data_dir: Path, by: str) -> None:
    split = koo_hdf5(data_dir / "koo" / "ZBED2_400_h3k27ac.h5").train
    content = {"gc": gc_content, "cpg": cpg}[by](split.codes)
    weights = matching_weights(split.codes, split.labels, by=[by])
    assert abs(roc_auc_score(split.labels[:, 0], content) - 0.5) > 0.2
    assert abs(roc_auc_score(split.labels[:, 0], content, sample_weight=weights) - 0.5) < 0.02


def test_an_unknown_axis_is_named() -> None:
    with pytest.raises(DataError, match="unknown composition to match 'gcc'; did you mean 'gc'"):
        matching_weights(np.zeros((2, 9), dtype=np.uint8), np.array([0, 1]), by=["gcc"])
