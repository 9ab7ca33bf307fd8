"""Splits by rule: what stays together, shares, chromosomes, what is refused, and splits of earlier versions."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.data.dataset import SPLITS, Dataset
from tuner.data.fasta import fasta
from tuner.data.partition import SplitRule, partition
from tuner.data.registry import load_dataset
from tuner.data.relatives import related, relatives
from tuner.data.spec import DataSpec
from tuner.data.splits import balanced, stratified
from tuner.errors import DataError
from tuner.genome.coordinates import Interval
from tuner.genome.sequence import decode, reverse_complement
from tuner.search.trial import fold_dataset

RULES = ("random", "homology", "chromosome", "chromosome+homology")


def genome_windows(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[Interval]]:
    """Windows of 60 bp from eight chromosomes of 3 kb, so that many overlap, half of them from the other strand."""
    rng = np.random.default_rng(seed)
    genome = rng.integers(0, 4, (8, 3000)).astype(np.uint8)
    chrom, start = rng.integers(0, 8, n), rng.integers(0, 2940, n)
    codes = np.stack([genome[c, s : s + 60] for c, s in zip(chrom, start, strict=True)])
    codes[::2] = reverse_complement(codes[::2])
    intervals = [Interval(f"chr{c}", int(s), int(s) + 60) for c, s in zip(chrom, start, strict=True)]
    return codes, (rng.random(n) < 0.4).astype(np.uint8), intervals


def write(folder: Path, n: int, *, named: bool = True, seed: int = 0) -> None:
    codes, labels, intervals = genome_windows(n, seed)
    for name, side in (("p.fa", 1), ("n.fa", 0)):
        lines = [
            f">s{i}{f'::{v.chrom}:{v.start}-{v.end}(+)' if named else ''}\n{text}\n"
            for i, (text, v, y) in enumerate(zip(decode(codes), intervals, labels, strict=True))
            if y == side
        ]
        (folder / name).write_text("".join(lines))


def separate(dataset: Dataset) -> bool:
    """Whether no two splits share a group."""
    owners = [set(split.groups.tolist()) for split in dataset.splits.values() if split.groups is not None]
    assert len(owners) == len(dataset.splits)
    return not any(a & b for i, a in enumerate(owners) for b in owners[i + 1 :])


@pytest.mark.parametrize("by", RULES)
@pytest.mark.parametrize("seed", [0, 5])
def test_no_split_shares_what_the_rule_keeps_together(by, seed):
    codes, labels, intervals = genome_windows(400)
    found = partition(codes, labels, SplitRule(by, seed=seed), source="x", intervals=intervals)
    again = partition(codes, labels, SplitRule(by, seed=seed), source="x", intervals=intervals)
    assert all(np.array_equal(found.rows[name], again.rows[name]) for name in SPLITS)
    rows = np.concatenate(list(found.rows.values()))
    assert len(set(rows.tolist())) == len(rows)
    assert len(rows) == 400  # the chromosomes of this genome have no common words, so nothing is dropped
    groups = [set(found.groups[part].tolist()) for part in found.rows.values()]
    assert not groups[0] & groups[1]
    assert not groups[2] & (groups[0] | groups[1])
    shared = related(codes[found.rows["train"]], codes[found.rows["test"]]).sum()
    assert (shared == 0) == (by != "random")
    chromosomes = [{intervals[i].chrom for i in part} for part in found.rows.values()]
    assert (not chromosomes[0] & chromosomes[2]) == by.startswith("chromosome")


def test_shares_and_both_classes_are_kept_when_relatives_stay_together():
    codes, labels, intervals = genome_windows(1500)  # chains of overlaps span hundreds of windows
    codes = np.concatenate([codes[:300], np.random.default_rng(9).integers(0, 4, (1200, 60)).astype(np.uint8)])
    found = partition(codes, labels, SplitRule(), source="x", intervals=[*intervals[:300], *[None] * 1200])
    for name, share in zip(SPLITS, (0.7, 0.1, 0.2), strict=True):
        assert len(found.rows[name]) == pytest.approx(1500 * share, abs=3)
        assert labels[found.rows[name]].sum() == pytest.approx(labels.sum() * share, abs=3)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 5), st.integers(2, 40))
def test_balanced_splits_hold_every_row_once_and_tear_no_group(seed, tasks, n_groups):
    rng = np.random.default_rng(seed)
    labels, groups = rng.integers(0, 2, (300, tasks)), rng.integers(0, n_groups, 300)
    parts = balanced(labels, (0.7, 0.1, 0.2), seed=seed, groups=groups)
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(300))
    assert sum(len(set(groups[part])) for part in parts.values()) == len(set(groups))


def test_the_split_of_a_seed_never_changes():
    codes, labels, intervals = genome_windows(200)
    first = {
        by: partition(codes, labels, SplitRule(by), source="x", intervals=intervals).rows["valid"][:6].tolist()
        for by in RULES
    }
    assert first == FIRST


FIRST = {
    "random": [0, 36, 44, 61, 62, 66],
    "homology": [3, 11, 18, 31, 39, 41],
    "chromosome": [5, 12, 16, 33, 41, 42],
    "chromosome+homology": [5, 12, 16, 33, 41, 42],
}


def test_where_nothing_is_related_the_split_is_that_of_copies_alone(tmp_path):
    codes = np.random.default_rng(0).integers(0, 4, (300, 50)).astype(np.uint8)
    codes[7] = codes[3]
    labels = np.arange(300) % 2
    default, copies = (partition(codes, labels, SplitRule(by), source="x") for by in ("homology", "random"))
    assert all(np.array_equal(default.rows[name], copies.rows[name]) for name in SPLITS)
    np.testing.assert_array_equal(default.groups, copies.groups)
    by_hand = stratified(labels, groups=copies.groups)
    assert all(np.array_equal(default.rows[name], by_hand[name]) for name in SPLITS)


@pytest.mark.parametrize("by", RULES)
def test_a_shuffle_stays_with_its_positive_under_every_rule(tmp_path, by):
    write(tmp_path, 500)
    data = load_dataset(DataSpec(positives="p.fa", negatives="shuffle", split=by), base=tmp_path)
    assert separate(data)
    for split in data.splits.values():
        names = set(split.ids)
        assert {f"{name}_shuffled" for name in names if not name.endswith("_shuffled")} == {
            name for name in names if name.endswith("_shuffled")
        }


def test_folds_of_a_confirmation_keep_relatives_together(tmp_path):
    write(tmp_path, 400, named=False)
    data = load_dataset(DataSpec(positives="p.fa", negatives="n.fa"), base=tmp_path).without_test()
    assert separate(data)
    for fold in range(3):
        part = fold_dataset(data, 3, fold, seed=1)
        assert not related(part.train.codes, part.valid.codes).any()


def test_relatives_across_chromosomes_are_dropped_and_counted():
    codes, labels, intervals = genome_windows(400)
    plain = partition(codes, labels, SplitRule("chromosome"), source="x", intervals=intervals)
    codes[plain.rows["test"][:9]] = codes[plain.rows["train"][:9]]
    codes[plain.rows["valid"][0]] = codes[plain.rows["train"][20]]
    found = partition(codes, labels, SplitRule("chromosome+homology"), source="x", intervals=intervals)
    assert not related(codes[found.rows["train"]], codes[found.rows["test"]]).any()
    assert not related(codes[found.rows["train"]], codes[found.rows["valid"]]).any()
    np.testing.assert_array_equal(found.rows["train"], plain.rows["train"])
    gone = {name: len(plain.rows[name]) - len(found.rows[name]) for name in ("valid", "test")}
    assert gone["test"] >= 9
    assert gone["valid"] >= 1
    told = "\n".join(found.notes)
    assert f"x: {gone['test']} of {len(plain.rows['test'])} sequences of test have relatives in training or" in told
    assert f"x: {gone['valid']} of {len(plain.rows['valid'])} sequences of valid have relatives in training and" in told


def test_chromosomes_are_chosen_to_hold_the_wished_share_of_positives():
    rng = np.random.default_rng(1)
    sizes = rng.integers(50, 400, 20)  # of each chromosome
    chrom = np.repeat(np.arange(20), sizes)
    labels = (rng.random(len(chrom)) < rng.random(20)[chrom]).astype(np.uint8)
    codes = rng.integers(0, 4, (len(chrom), 40)).astype(np.uint8)
    places = [Interval(f"chr{c}", 100 * i, 100 * i + 40) for i, c in enumerate(chrom)]
    tests = []
    for seed in range(4):
        found = partition(codes, labels, SplitRule("chromosome", seed=seed), source="x", intervals=places)
        for name, share in zip(SPLITS, (0.7, 0.1, 0.2), strict=True):
            assert labels[found.rows[name]].sum() / labels.sum() == pytest.approx(share, abs=0.02)
        tests.append(tuple(sorted({places[i].chrom for i in found.rows["test"]})))
    assert len(set(tests)) > 1  # the seed chooses


def test_named_chromosomes_are_taken(tmp_path):
    write(tmp_path, 400)
    spec = DataSpec(
        positives="p.fa", negatives="n.fa", split="chromosome", valid_chromosomes=("chr1",),
        test_chromosomes=("chr2", "chr5"),
    )  # fmt: skip
    data = load_dataset(spec, base=tmp_path)
    held = {name: {i.split("::")[1].split(":")[0] for i in split.ids or ()} for name, split in data.splits.items()}
    assert held == {"train": {"chr0", "chr3", "chr4", "chr6", "chr7"}, "valid": {"chr1"}, "test": {"chr2", "chr5"}}
    assert any("split by chromosomes: train has chr0, chr3, chr4, chr6, chr7 (" in note for note in data.notes)
    partly = load_dataset(replace(spec, valid_chromosomes=None), base=tmp_path)
    assert {i.split("::")[1].split(":")[0] for i in partly.test.ids or ()} == {"chr2", "chr5"}
    with pytest.raises(DataError, match=r"p.fa \+ n.fa: unknown chromosome 'chr11'.*chr1"):
        load_dataset(replace(spec, test_chromosomes=("chr11",)), base=tmp_path)
    with pytest.raises(DataError, match="the chromosome chr1 is named twice"):
        load_dataset(replace(spec, test_chromosomes=("chr1",)), base=tmp_path)
    with pytest.raises(DataError, match=r"name every chromosome\. Leave one for training"):
        load_dataset(replace(spec, test_chromosomes=tuple(f"chr{i}" for i in (0, 2, 3, 4, 5, 6, 7))), base=tmp_path)


def test_what_cannot_be_split_by_chromosomes_is_refused_with_what_to_do(tmp_path):
    write(tmp_path, 300, named=False)
    spec = DataSpec(positives="p.fa", negatives="n.fa", split="chromosome")
    with pytest.raises(DataError, match=r'the sequences have no coordinates in the name\..*split = "homology"'):
        load_dataset(spec, base=tmp_path)
    write(tmp_path, 300)
    text = (tmp_path / "n.fa").read_text().split(">")
    text[3] = "plain\n" + text[3].split("\n", 1)[1]
    (tmp_path / "n.fa").write_text(">".join(text))
    with pytest.raises(DataError, match=r"1 sequence of 300 \(the first is number \d+\) has no coordinates"):
        load_dataset(spec, base=tmp_path)
    for name in ("p.fa", "n.fa"):
        (tmp_path / name).write_text("".join(f">chr1:{100 * i}-{100 * i + 8}\n{'ACGTACGT'}\n" for i in range(20)))
    with pytest.raises(DataError, match=r'at least 3 of them.*lie on chr1\. Set split = "homology"'):
        load_dataset(spec, base=tmp_path)


def test_keys_that_contradict_each_other_are_refused():
    with pytest.raises(DataError, match="split_column ask for two different splits"):
        DataSpec(path="t.tsv", split="homology", split_column="set")
    with pytest.raises(DataError, match='test_chromosomes belongs to split = "chromosome"'):
        DataSpec(path="t.tsv", test_chromosomes=("chr1",))
    with pytest.raises(DataError, match="split means nothing beside folder"):
        DataSpec(folder="x", split="random")
    codes, labels, intervals = genome_windows(60)
    with pytest.raises(DataError, match="group_column ask for two different splits"):
        partition(codes, labels, SplitRule("chromosome"), source="x", intervals=intervals, groups=labels)


def test_overlapping_intervals_are_relatives_even_if_their_words_are_masked():
    codes = np.full((40, 60), 4, np.uint8)
    codes[:, :2] = np.random.default_rng(0).integers(0, 4, (40, 2))
    places = [Interval("chr1", 40 * i, 40 * i + 60) if i < 10 else None for i in range(40)]
    found = partition(codes, np.arange(40) % 2, SplitRule(), source="x", intervals=places)
    assert len(set(found.groups[:10].tolist())) == 1


def test_data_that_are_one_cluster_are_refused_with_what_to_do(tmp_path):
    genome = decode(np.random.default_rng(0).integers(0, 4, (1, 1100)).astype(np.uint8))[0]
    for name, first in (("p.fa", 0), ("n.fa", 5)):  # windows of 60 bp every 10 bp
        rows = [f">w{i}\n{genome[i : i + 60]}\n" for i in range(first, 1000, 10)]
        (tmp_path / name).write_text("".join(rows))
    spec = DataSpec(positives="p.fa", negatives="n.fa")
    with pytest.raises(DataError, match=r'The 200 sequences form 1 group of copies, .* split = "random" in \[data\]'):
        load_dataset(spec, base=tmp_path)
    assert len(load_dataset(replace(spec, split="random"), base=tmp_path).test) == 40


def test_a_large_cluster_is_named():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, (200, 80)).astype(np.uint8)
    codes[:30, 20:70] = codes[0, 20:70]
    found = partition(codes, np.arange(200) % 2, SplitRule(), source="x")
    assert found.notes[0].startswith("x: 30 of 200 sequences form one cluster of relatives")
    assert partition(codes, np.arange(200) % 2, SplitRule("random"), source="x").notes == ()


def test_data_of_a_stored_study_are_split_as_its_version_split_them(tmp_path):
    write(tmp_path, 300, named=False)
    spec = DataSpec(positives="p.fa", negatives="n.fa")
    now, former = (load_dataset(s, base=tmp_path) for s in (spec, replace(spec, split="random")))
    assert now.fingerprint != former.fingerprint
    for asked, expected in ((None, now), (now.fingerprint, now), (former.fingerprint, former), ("0" * 64, now)):
        assert load_dataset(spec, base=tmp_path, fingerprint=asked).fingerprint == expected.fingerprint
    told = replace(spec, split="homology")
    assert load_dataset(told, base=tmp_path, fingerprint=former.fingerprint).fingerprint == now.fingerprint


def test_yeast_windows_of_one_chromosome_stay_together(data_dir: Path, tmp_path: Path) -> None:
    windows = [line.split()[:3] for line in (data_dir / "yeast_reb1" / "Reb1_Rhee.bed").read_text().splitlines()]
    middle = sorted((c, (int(s) + int(e)) // 2) for c, s, e in windows)
    rng = np.random.default_rng(0)
    texts = decode(rng.integers(0, 4, (len(middle), 40)).astype(np.uint8))  # only the coordinates are real
    for name in ("p.fa", "n.fa"):
        lines = [f">{c}:{m - 200}-{m + 200}\n{t}\n" for (c, m), t in zip(middle, texts, strict=True) if m >= 200]
        (tmp_path / name).write_text("".join(lines))
    data = fasta(tmp_path / "p.fa", tmp_path / "n.fa")
    place = {name: split for split, part in data.splits.items() for name in part.ids or ()}
    near = [
        place[f"{a[0]}:{a[1] - 200}-{a[1] + 200}"] == place[f"{b[0]}:{b[1] - 200}-{b[1] + 200}"]
        for a, b in pairwise(m for m in middle if m[1] >= 200)
        if a[0] == b[0] and b[1] - a[1] < 400
    ]
    assert len(near) > 500
    assert all(near)
    assert len(set(relatives(data.train.codes))) < len(data.train)  # positives and negatives hold the same sequences
