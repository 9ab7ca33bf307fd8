"""Sequences by chromosome and split, for the picture of a report."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tuner.data.chromosome_counts import MOST, OTHERS, chromosome_counts
from tuner.data.dataset import Dataset, Split
from tuner.data.leakage import memoriser, random_memoriser
from tuner.data.registry import load_dataset
from tuner.data.spec import DataSpec
from tuner.genome.chromosomes import ordered_names
from tuner.plots.audit import draw_chromosomes
from tuner.plots.figures import svg

GENOME = "Saccharomyces_cerevisiae.R64-1-1.dna.toplevel.fa.gz"


def made(ids: dict[str, list[str]]) -> Dataset:
    splits = {
        name: Split(np.zeros((len(row), 4), np.uint8), np.zeros((len(row), 1), np.uint8), tuple(row))
        for name, row in ids.items()
    }
    return Dataset("made", ("bound",), splits, "made")


@pytest.mark.parametrize("negatives", ["gc", "shuffle"])
def test_counts_are_those_of_the_names(data_dir: Path, tmp_path: Path, negatives: str) -> None:
    folder = data_dir / "yeast_reb1"
    peaks, genome = str(folder / "Reb1_VerifiedPromoter_Primary_SORT_250bp.bed"), str(folder / GENOME)
    dataset = load_dataset(DataSpec(peaks=peaks, genome=genome, negatives=negatives), cache=tmp_path)
    found = chromosome_counts(dataset)
    assert found is not None
    assert found.names == tuple("I II III IV V VI VII VIII IX X XI XII XIII XIV XV XVI".split())
    for name, split in dataset.splits.items():
        by_hand = Counter(one.partition(":")[0] for one in split.ids or ())
        assert found.counts[name] == tuple(by_hand[chrom] for chrom in found.names)
    shared = [sum(counts[i] > 0 for counts in found.counts.values()) for i in range(len(found.names))]
    assert max(shared) == 1  # whole chromosomes
    assert chromosome_counts(dataset.without_test()) is not None


def test_without_coordinates_there_is_nothing_to_count() -> None:
    assert chromosome_counts(made({"train": ["chr1:1-5(+)", "peak7"], "valid": ["chr1:9-13(+)"]})) is None
    assert chromosome_counts(made({"train": [], "valid": []})) is None


def test_contigs_beyond_the_largest_are_one() -> None:
    rows = [f"contig{i}:{10 * j}-{10 * j + 4}(.)" for i in range(60) for j in range(2 + (i >= 20))]
    found = chromosome_counts(made({"train": rows, "valid": ["contig0:900-904(.)"]}))
    assert found is not None
    assert len(found.names) == MOST + 1
    assert found.names[-1] == OTHERS
    assert sum(found.counts["train"]) == len(rows)
    assert "contig0" in found.names  # three of them, with that of validation
    assert found.counts["train"][-1] == 2 * 20 - 2 + 3  # contigs 1 to 19, and one that has three


def test_chromosomes_are_in_the_order_of_their_numbers() -> None:
    names = ["chrX", "chr10", "chr2", "chrM", "chr1"]
    assert ordered_names(names) == ("chr1", "chr2", "chr10", "chrM", "chrX")
    assert ordered_names(["IX", "X", "IV", "III", "Mito"]) == ("III", "IV", "IX", "X", "Mito")
    assert ordered_names(["2R", "X", "2L", "4"]) == ("4", "2L", "2R", "X")


def test_the_picture_has_a_bar_for_each_chromosome_and_split() -> None:
    figure = draw_chromosomes(("chr1", "chr2", "chr3"), {"train": (5, 2, 0), "valid": (0, 1, 0), "test": (0, 0, 4)})
    [axes] = figure.axes
    assert [text.get_text() for text in axes.get_xticklabels()] == ["chr1", "chr2", "chr3"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["train", "valid", "test"]
    tops = [bar.get_y() + bar.get_height() for bar in axes.patches]
    assert tops == [5, 2, 0, 5, 3, 0, 5, 3, 4]
    assert re.search(r">\s*chr2\s*<", svg(figure))


def test_a_random_split_of_repeats_is_remembered() -> None:
    """Each family of four relatives lies on one side as it is, and on both sides if it is dealt at random."""
    rng = np.random.default_rng(0)
    family = rng.integers(0, 4, (60, 100)).astype(np.uint8)
    codes = np.repeat(family, 4, axis=0)
    changed = rng.random(codes.shape) < 0.02
    codes[changed] = rng.integers(0, 4, int(changed.sum()))
    labels = np.repeat(np.arange(60) % 2, 4).astype(np.uint8)[:, None]
    ends = {"train": slice(0, 192), "valid": slice(192, 240)}
    dataset = Dataset("made", ("bound",), {name: Split(codes[s], labels[s]) for name, s in ends.items()}, "made")
    apart = memoriser(dataset.train, dataset.valid)
    together = random_memoriser(dataset)
    assert apart is not None
    assert apart == pytest.approx(0.5, abs=0.1)
    assert together is not None
    assert together > 0.9
