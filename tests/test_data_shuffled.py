"""Shuffled negatives are found in the data, whoever made them, and everything that is said of them says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tuner.data.dataset import Dataset, Split
from tuner.data.registry import load_dataset
from tuner.data.shuffle import dinucleotide_shuffle, shuffled_share
from tuner.data.spec import DataSpec
from tuner.genome.sequence import decode
from tuner.models.baselines import fit_baseline
from tuner.models.metrics import auroc
from tuner.results import words
from tuner.results.verdict import Finding, composition


def write(path: Path, codes: np.ndarray) -> None:
    path.write_text("".join(f">s{i}\n{text}\n" for i, text in enumerate(decode(codes))))


def test_shuffles_that_a_user_brings_as_a_file_are_found(tmp_path: Path) -> None:
    positives = np.random.default_rng(0).integers(0, 4, (400, 101)).astype(np.uint8)
    write(tmp_path / "p.fa", positives)
    write(tmp_path / "n.fa", dinucleotide_shuffle(positives, seed=1)[np.random.default_rng(2).permutation(400)])
    dataset = load_dataset(DataSpec(positives="p.fa", negatives="n.fa"), base=tmp_path)
    assert dataset.shuffled  # pairs lie in different splits, so the share is that of the training split
    assert any("dinucleotide shuffles" in warning for warning in dataset.describe()["warnings"])
    write(tmp_path / "n.fa", np.random.default_rng(3).integers(0, 4, (400, 101)).astype(np.uint8))
    assert not load_dataset(DataSpec(positives="p.fa", negatives="n.fa"), base=tmp_path).shuffled


def test_short_sequences_share_counts_by_chance_and_are_not_judged() -> None:
    codes = np.random.default_rng(0).integers(0, 4, (2000, 8)).astype(np.uint8)
    assert shuffled_share(codes, np.arange(2000) < 1000) == 0.0


def test_genomic_negatives_are_not_called_shuffles(data_dir: Path) -> None:
    assert not load_dataset(DataSpec(dataset="zbed2"), data_dir=data_dir).shuffled


@pytest.mark.slow
def test_sequences_without_any_factor_against_their_shuffles_are_told_apart_and_said_to_be(data_dir: Path) -> None:
    """The negatives of ZBED2, which it does not bind, against their own shuffles: a 6-mer regression reaches .94."""
    whole = load_dataset(DataSpec(dataset="zbed2"), data_dir=data_dir)
    splits = {}
    for name in ("train", "valid", "test"):
        split = whole.splits[name]
        real = split.codes[split.labels[:, 0] == 0]
        labels = np.repeat([1, 0], len(real)).astype(np.uint8)[:, None]
        splits[name] = Split(np.concatenate([real, dinucleotide_shuffle(real, seed=0)]), labels)
    dataset = Dataset("unbound", ("bound",), splits, "here")
    assert dataset.shuffled
    reached = {
        name: [auroc(dataset.valid.labels, fit_baseline(name, dataset, (), seed=0).score(dataset.valid.codes))]
        for name in ("gc", "cpg", "2-mer", "6-mer")
    }
    assert reached["6-mer"][0] > 0.9
    found = composition(reached, 0.95, 0.95, (len(dataset.valid) // 2,) * 2)
    assert found is not None
    assert found.finding is Finding.SHUFFLED
    assert "without any factor" in str(words.composition(found))
