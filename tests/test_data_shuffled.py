"""Shuffled negatives are found in the data, whoever made them, and everything that is said of them says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny import load_tiny

from tuner.cli.best import shuffled_negatives
from tuner.data.dataset import Dataset, Split
from tuner.data.registry import load_dataset
from tuner.data.shuffle import dinucleotide_shuffle, shuffled_share
from tuner.data.spec import DataSpec
from tuner.genome.sequence import decode
from tuner.models.baselines import fit_baseline
from tuner.models.metrics import auroc
from tuner.results import words
from tuner.results.verdict import Finding, composition
from tuner.search.stages import Search
from tuner.storage.storage import open_storage


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


def test_shuffles_whose_positives_lie_in_another_split_are_never_called_explained_by_composition(
    data_dir: Path,
) -> None:
    """GUE's mouse sets: shuffles in training; in validation few have their positive beside them, so 2-mers tell."""
    bases = load_dataset(DataSpec(dataset="zbed2"), data_dir=data_dir).train.codes[:900]
    chosen = np.random.default_rng(0).permutation(len(bases))
    positives = bases[chosen]
    shuffles = dinucleotide_shuffle(positives, seed=0)
    rows = {
        "train": (np.arange(500), np.r_[0:400, 800:900]),  # four of five shuffles have their positive beside them
        "valid": (np.arange(500, 700), np.r_[500:530, 630:800]),
        "test": (np.arange(700, 900), np.r_[530:630, 700:800]),
    }
    splits = {}
    for name, (ours, theirs) in rows.items():
        labels = np.repeat([1, 0], [len(ours), len(theirs)]).astype(np.uint8)[:, None]
        splits[name] = Split(np.concatenate([positives[ours], shuffles[theirs]]), labels)
    dataset = Dataset("crossed", ("bound",), splits, "here")
    assert dataset.shuffled
    reached = {
        name: [auroc(dataset.valid.labels, fit_baseline(name, dataset, (), seed=0).score(dataset.valid.codes))]
        for name in ("gc", "cpg", "2-mer")
    }
    assert abs(reached["2-mer"][0] - 0.5) > 1e-3  # the AUROC of the split does not show that they are shuffles
    without = composition(reached, 0.95, 0.95, (200, 200))
    told = composition(reached, 0.95, 0.95, (200, 200), shuffled=dataset.shuffled)
    assert without is not None
    assert without.finding is not Finding.SHUFFLED
    assert told is not None
    assert told.finding is Finding.SHUFFLED
    assert "composition cannot be compared" in str(words.composition(told))


@pytest.mark.parametrize("told", [True, False, None])  # None: as an earlier version created it
def test_a_study_keeps_what_it_was_told_of_its_negatives(tmp_path: Path, told: bool | None) -> None:
    bench = load_tiny(tmp_path)
    storage = open_storage(tmp_path / "tuner.db")
    Search(bench.plan, bench.identity, shuffled=told).prepare(storage)
    Search(bench.plan, bench.identity).prepare(storage)  # a worker that joins changes nothing
    assert shuffled_negatives(storage, bench.plan.name) is told
    storage.close()


def test_a_2_mer_baseline_at_one_half_is_no_shuffle_where_the_study_says_so() -> None:
    """A regression that learned nothing has AUROC .5 too."""
    found = composition({"2-mer": [0.5]}, 0.9, 0.9, (1000, 1000), shuffled=False)
    assert found is not None
    assert found.finding is Finding.LITTLE
