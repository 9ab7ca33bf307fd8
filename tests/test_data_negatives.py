"""Negatives of every kind: away from all peaks, inside the chromosomes of their split, as many as asked, seeded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from genome_files import random_letters, write_bed, write_fasta
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from tuner.data.dataset import Dataset
from tuner.data.matching import bins_of, free_starts
from tuner.data.peak_dataset import peak_dataset
from tuner.data.spec import DataSpec
from tuner.errors import DataError
from tuner.genome.genome import Genome
from tuner.genome.intervals import Axis, strongest, union
from tuner.genome.sequence import N_CODE, cpg, gc_content, reverse_complement
from tuner.genome.window_counts import count_windows
from tuner.models.audit import audit

LENGTH = 60
quick = settings(max_examples=25, deadline=None, derandomize=True, database=None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A soft-masked genome of 300 kb with N, peaks of 80 to 300 bp, and regions of other kinds."""
    folder = tmp_path_factory.mktemp("made")
    rng = np.random.default_rng(1)
    records = {}
    for i in range(1, 7):
        letters = bytearray(random_letters(50_000, i, repeats=True))
        letters[20_000:21_000] = b"N" * 1000
        records[f"chr{i}"] = bytes(letters)
    write_fasta(folder / "g.fa", records)
    for name, n in (("p.bed", 180), ("other.bed", 300), ("atac.bed", 900)):
        chrom, start, size = rng.integers(1, 7, n), rng.integers(0, 49_600, n), rng.integers(80, 300, n)
        rows = [
            (f"chr{c}", s, s + w, ".", 1000 - i, "+")
            for i, (c, s, w) in enumerate(zip(chrom, start, size, strict=True))
        ]
        write_bed(folder / name, rows)
    return folder


def made(folder: Path, negatives: Any = None, seed: int = 0, **settings: Any) -> Dataset:
    spec = DataSpec(
        peaks=str(folder / "p.bed"),
        genome=str(folder / "g.fa"),
        length=LENGTH,
        negatives=negatives,
        seed=seed,
        **settings,
    )
    return peak_dataset(spec, cache=folder / "cache")


def place(name: str) -> tuple[str, int, int]:
    chrom, _, rest = name.removesuffix("_shuffled").removesuffix("(+)").removesuffix("(-)").partition(":")
    start, _, end = rest.partition("-")
    return chrom, int(start), int(end)


def check_negatives(folder: Path, dataset: Dataset) -> None:
    """Everything that holds for negatives from the genome, recounted from ids and sequences alone."""
    rows = [line.split("\t") for line in (folder / "p.bed").read_text().splitlines()]
    peaks = [(row[0], int(row[1]), int(row[2])) for row in rows]
    genome = Genome(folder / "g.fa", cache=folder / "cache")
    chromosomes: dict[str, set[str]] = {}
    seen: set[str] = set()
    for name, split in dataset.splits.items():
        assert split.ids is not None
        positive = split.labels[:, 0] == 1
        chromosomes[name] = {place(one)[0] for one, is_peak in zip(split.ids, positive, strict=True) if is_peak}
        for one, codes, is_peak in zip(split.ids, split.codes, positive, strict=True):
            chrom, start, end = place(one)
            assert end - start == LENGTH
            forward = genome.codes(chrom, start, end)
            assert np.array_equal(codes, forward if one.endswith("(+)") else reverse_complement(forward))
            if not is_peak:
                assert chrom in chromosomes[name]
                assert (codes == N_CODE).mean() <= 0.1
                for peak_chrom, low, high in peaks:
                    middle = (low + high) // 2
                    near = min(low, middle - LENGTH // 2) - LENGTH, max(high, middle + LENGTH // 2) + LENGTH
                    assert chrom != peak_chrom or end <= near[0] or start >= near[1]
        assert not seen & chromosomes[name]
        seen |= chromosomes[name]


@settings(quick, max_examples=10)
@given(st.integers(0, 10**6), st.sampled_from([None, "gc+cpg", "flanks"]), st.sampled_from([0.5, 1.0, 1.7]))
def test_negatives_are_away_from_peaks_and_inside_their_split(
    folder: Path, seed: int, negatives: str | None, ratio: float
) -> None:
    dataset = made(folder, negatives, seed, ratio=ratio)
    check_negatives(folder, dataset)
    for split in dataset.splits.values():
        wanted = round(ratio * int(split.labels.sum()))
        found = int((split.labels == 0).sum())
        assert found == wanted or (found < wanted and any("negatives (" in note for note in dataset.notes))
    if negatives is None and ratio <= 1:
        assert not any("negatives (" in note for note in dataset.notes)  # there is enough of every GC content


def test_gc_negatives_have_the_same_counts_in_bins_of_two_percent(folder: Path) -> None:
    for split in made(folder).splits.values():
        assert (split.codes[split.labels[:, 0] == 0] != N_CODE).all()
        bins = np.floor(gc_content(split.codes) / 0.02 + 1e-9).astype(int)
        positive = split.labels[:, 0] == 1
        assert np.array_equal(np.bincount(bins[positive], minlength=51), np.bincount(bins[~positive], minlength=51))


def test_repeats_are_matched_where_the_genome_is_soft_masked(folder: Path) -> None:
    genome = Genome(folder / "g.fa", cache=folder / "cache")
    dataset = made(folder)
    shares, labels = [], []
    kept = made(folder)  # from the cache
    for name, split in dataset.splits.items():
        assert split.ids is not None
        assert split.repeats is not None
        assert np.array_equal(split.repeats, np.asarray(kept.splits[name].repeats))
        for one, label in zip(split.ids, split.labels[:, 0], strict=True):
            chrom, start, end = place(one)
            shares.append((genome.letters(chrom, start, end) >= ord("a")).mean())
            labels.append(label)
    told = np.concatenate([np.asarray(split.repeats) for split in dataset.splits.values()])
    assert told == pytest.approx(shares, abs=1e-6)
    assert abs(roc_auc_score(labels, shares) - 0.5) < 0.04
    seen = [f for f in audit(dataset.without_test()).features if f.name == "repeats"]
    sealed = dataset.train, dataset.valid
    by_hand = roc_auc_score(
        np.concatenate([s.labels[:, 0] for s in sealed]), np.concatenate([np.asarray(s.repeats) for s in sealed])
    )
    assert [f.auroc.estimate for f in seen] == [pytest.approx(by_hand)]
    assert all(split.repeats is None for split in made(folder, "shuffle").splits.values())
    free = random_shares(folder, genome)
    assert 0.3 < np.mean(free) < 0.5  # a genome of which two fifths are repeats


def random_shares(folder: Path, genome: Genome) -> list[float]:
    rng = np.random.default_rng(0)
    return [
        float((genome.letters("chr1", s, s + LENGTH) >= ord("a")).mean()) for s in rng.integers(0, 49_000, 300).tolist()
    ]


def test_gc_and_cpg_negatives_match_both(folder: Path) -> None:
    dataset = made(folder, "gc+cpg")
    codes = np.concatenate([split.codes for split in dataset.splits.values()])
    labels = np.concatenate([split.labels[:, 0] for split in dataset.splits.values()])
    assert abs(roc_auc_score(labels, gc_content(codes)) - 0.5) < 0.03
    assert abs(roc_auc_score(labels, cpg(codes)) - 0.5) < 0.03


@pytest.mark.parametrize("negatives", [None, "gc+cpg", "flanks", "shuffle", "atac", "other"])
def test_the_same_seed_gives_the_same_bytes_and_another_one_others(folder: Path, negatives: str | None) -> None:
    kind: Any = {
        "atac": {"accessible": str(folder / "atac.bed")},
        "other": {"other_peaks": [str(folder / "other.bed")]},
    }
    kind = kind.get(negatives, negatives)
    first = made(folder, kind, 3)
    for kept in (folder / "cache" / "peaks").glob("*.npz"):
        kept.unlink()
    again, other = made(folder, kind, 3), made(folder, kind, 4)
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert [split.ids for split in first.splits.values()] == [split.ids for split in again.splits.values()]


def test_flanks_are_the_nearest_free_windows(folder: Path) -> None:
    dataset = made(folder, "flanks")
    for split in dataset.splits.values():
        assert split.ids is not None
        sites = [place(one) for one, label in zip(split.ids, split.labels[:, 0], strict=True) if label]
        for one, label in zip(split.ids, split.labels[:, 0], strict=True):
            chrom, start, _ = place(one)
            if not label:
                assert min(abs(start - s) for c, s, _ in sites if c == chrom) <= 22 * LENGTH


@pytest.mark.parametrize("kind", ["accessible", "other_peaks"])
def test_regions_of_another_file_lie_around_their_centres(folder: Path, kind: str) -> None:
    file = "atac.bed" if kind == "accessible" else "other.bed"
    value: Any = str(folder / file) if kind == "accessible" else [str(folder / file)]
    dataset = made(folder, {kind: value}, ratio=0.5)
    check_negatives(folder, dataset)
    rows = [line.split("\t") for line in (folder / file).read_text().splitlines()]
    centres = {(row[0], (int(row[1]) + int(row[2])) // 2 - LENGTH // 2) for row in rows}
    for split in dataset.splits.values():
        assert split.ids is not None
        negatives = [place(one)[:2] for one, label in zip(split.ids, split.labels[:, 0], strict=True) if not label]
        assert negatives
        assert set(negatives) <= centres
    assert any(file in note and "gave" in note for note in dataset.notes)


def test_too_few_regions_are_a_shortfall_that_is_named(folder: Path) -> None:
    dataset = made(folder, {"other_peaks": [str(folder / "other.bed")]}, ratio=3)
    (note,) = [note for note in dataset.notes if note.startswith("negatives (other_peaks other.bed)")]
    for name, split in dataset.splits.items():
        assert f"{name} has {int((split.labels == 0).sum())} of {3 * int(split.labels.sum())}" in note


def test_a_bed_file_of_negatives_is_used_whole_but_for_what_is_near_peaks(folder: Path) -> None:
    dataset = made(folder, str(folder / "atac.bed"))
    check_negatives(folder, dataset)
    assert sum(int((split.labels == 0).sum()) for split in dataset.splits.values()) > 150
    few = made(folder, str(folder / "atac.bed"), ratio=0.2)
    for split in few.splits.values():
        assert int((split.labels == 0).sum()) == max(1, round(0.2 * int(split.labels.sum())))


def test_a_fasta_file_of_negatives_is_cropped_and_split_at_random(folder: Path) -> None:
    path = write_fasta(folder / "n.fa", {f"n{i}": random_letters(LENGTH + 5, 100 + i) for i in range(200)})
    dataset = made(folder, str(path))
    assert [int((split.labels == 0).sum()) for split in dataset.splits.values()] == [140, 20, 40]
    assert any("200 negatives are split at random" in note for note in dataset.notes)
    write_fasta(path, {"short": random_letters(LENGTH - 1)})
    with pytest.raises(DataError, match=r"n\.fa record 1 \(short\) has 59 bases, fewer than the windows of 60"):
        made(folder, str(path))


def test_shuffles_have_the_dinucleotides_of_their_positive_and_share_its_group(folder: Path) -> None:
    dataset = made(folder, "shuffle", ratio=1.5)
    for split in dataset.splits.values():
        assert split.ids is not None
        assert split.groups is not None
        positive = split.labels[:, 0] == 1
        assert int((~positive).sum()) == round(1.5 * int(positive.sum()))
        of = {one: (group, row) for one, group, row in zip(split.ids, split.groups, split.codes, strict=True)}
        for one, group, row in zip(split.ids, split.groups, split.codes, strict=True):
            if one.endswith("_shuffled"):
                mother_group, mother = of[one.removesuffix("_shuffled")]
                assert group == mother_group
                assert np.array_equal(np.sort(row[:-1] * 5 + row[1:]), np.sort(mother[:-1] * 5 + mother[1:]))


# The parts


@quick
@given(st.integers(0, 2**32 - 1), st.integers(1, 400), st.booleans())
def test_counts_of_windows_are_those_of_the_sequences(folder: Path, seed: int, n: int, dense: bool) -> None:
    genome = Genome(folder / "g.fa", cache=folder / "cache")
    axis = Axis(genome.sizes, 1000)
    rng = np.random.default_rng(seed)
    high = 2000 if dense else 50_000 - LENGTH
    start = axis.offset[rng.integers(0, 6, n)] + rng.integers(0, high, n)
    found = count_windows(genome, axis, start, LENGTH)
    for i in range(0, n, 7):
        number = int(axis.chromosome(start[i : i + 1])[0])
        at = int(start[i] - axis.offset[number])
        letters = genome.letters(axis.names[number], at, at + LENGTH).tobytes()
        upper = letters.upper()
        assert [row[i] for row in found] == [
            upper.count(b"C"), upper.count(b"G"), upper.count(b"CG"), LENGTH - upper.count(b"N"),
            sum(letter >= ord("a") for letter in letters),
        ]  # fmt: skip
        codes = genome.codes(axis.names[number], at, at + LENGTH)[None]
        assert found.gc_content[i] == gc_content(codes)[0]
        assert found.cpg[i] == cpg(codes)[0]
    assert np.array_equal(bins_of(found, LENGTH, by_cpg=False).known, found.known == LENGTH)


@quick
@given(st.lists(st.tuples(st.integers(0, 300), st.integers(1, 60)), max_size=12), st.integers(1, 40))
def test_free_starts_are_those_of_a_count_position_by_position(taken: list[tuple[int, int]], length: int) -> None:
    axis = Axis({"a": 200, "b": 90}, 100)
    start = np.array([s for s, _ in taken], dtype=np.int64) + 100
    regions = union(start, start + np.array([w for _, w in taken], dtype=np.int64))
    covered = np.zeros(1000, dtype=bool)
    for s, w in taken:
        covered[100 + s : 100 + s + w] = True
    for chromosomes in ([0], [1], [0, 1], []):
        by_hand = [
            p
            for c in chromosomes
            for p in range(axis.offset[c], axis.offset[c] + axis.sizes[c] - length + 1)
            if not covered[p : p + length].any()
        ]
        free = free_starts(axis, np.array(chromosomes, dtype=np.int64), regions, length)
        assert free.total == len(by_hand)
        assert free.positions(np.arange(free.total)).tolist() == by_hand


@quick
@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 5)), max_size=30), st.integers(1, 50))
def test_the_strongest_are_kept_as_one_by_one(sites: list[tuple[int, int]], distance: int) -> None:
    position = np.array([p for p, _ in sites], dtype=np.int64)
    signal = np.array([float(s) if s else np.nan for _, s in sites])
    kept: list[int] = []
    for i in sorted(range(len(sites)), key=lambda i: -sites[i][1]):
        if all(abs(sites[i][0] - sites[j][0]) >= distance for j in kept):
            kept.append(i)
    assert np.flatnonzero(strongest(position, signal, distance)).tolist() == sorted(kept)
