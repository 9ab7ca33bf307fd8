"""Folds of a confirmation keep together what belongs together."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tuner.data.registry import load_dataset
from tuner.data.spec import DataSpec
from tuner.data.splits import k_fold
from tuner.genome.sequence import decode
from tuner.search.trial import fold_dataset


def test_a_group_is_never_in_training_and_held_out(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    texts = decode(rng.integers(0, 4, (1600, 40)).astype(np.uint8))
    chromosomes = rng.integers(1, 17, 1600)
    lines = [f"{s}\t{i % 2}\tchr{c}" for i, (s, c) in enumerate(zip(texts, chromosomes, strict=True))]
    (tmp_path / "t.tsv").write_text("\n".join(["sequence\ty\tchromosome", *lines]))
    whole = load_dataset(DataSpec(path="t.tsv", group_column="chromosome"), base=tmp_path).without_test()
    held = []
    for fold in range(5):
        part = fold_dataset(whole, 5, fold, seed=3)
        assert part.train.groups is not None
        assert part.valid.groups is not None
        assert not set(part.train.groups) & set(part.valid.groups)
        assert len(part.train) + len(part.valid) == len(whole.train) + len(whole.valid)
        held += sorted(set(part.valid.groups))
    assert len(held) == len(set(held))  # each chromosome is held out once


def test_a_positive_and_its_shuffle_and_copies_stay_in_one_fold(tmp_path: Path) -> None:
    texts = decode(np.random.default_rng(0).integers(0, 4, (300, 40)).astype(np.uint8))
    (tmp_path / "p.fa").write_text("".join(f">s{i}\n{s}\n" for i, s in enumerate([*texts, *texts[:50]])))
    whole = load_dataset(DataSpec(positives="p.fa", negatives="shuffle"), base=tmp_path).without_test()
    for fold in range(4):
        part = fold_dataset(whole, 4, fold, seed=1)
        of = {tuple(row) for row in part.train.codes}
        assert not of & {tuple(row) for row in part.valid.codes}
        assert part.valid.labels.mean() == 0.5  # a positive brings its shuffle


def test_sequences_that_stand_alone_are_dealt_as_before(tmp_path: Path) -> None:
    texts = decode(np.random.default_rng(0).integers(0, 4, (200, 40)).astype(np.uint8))
    for name, part in (("p.fa", texts[:100]), ("n.fa", texts[100:])):
        (tmp_path / name).write_text("".join(f">{name}{i}\n{s}\n" for i, s in enumerate(part)))
    whole = load_dataset(DataSpec(positives="p.fa", negatives="n.fa"), base=tmp_path).without_test()
    labels = np.concatenate([whole.train.labels, whole.valid.labels])
    codes = np.concatenate([whole.train.codes, whole.valid.codes])
    held_out = k_fold(labels, 5, seed=7) == 2
    np.testing.assert_array_equal(fold_dataset(whole, 5, 2, seed=7).valid.codes, codes[held_out])
