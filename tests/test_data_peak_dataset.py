"""From peaks and a genome to a data set: yeast Reb1 base by base, every drop, several files, every wrong input."""

from __future__ import annotations

import gzip
import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyfaidx
import pytest
from command_line import Terminal
from genome_files import random_letters, write_bed, write_fasta
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

import tuner
from tuner.data.dataset import Dataset
from tuner.data.registry import load_dataset
from tuner.data.relatives import related
from tuner.data.spec import DataSpec
from tuner.errors import DataError
from tuner.genome.assemblies import ASSEMBLIES
from tuner.genome.genome import Genome
from tuner.genome.intervals import Axis, Regions
from tuner.genome.peaks import read_peaks
from tuner.genome.sequence import decode, gc_content
from tuner.genome.site_merging import merge_sites
from tuner.genome.sites import Sites, locate, make_sites

NOTHING = Regions(np.zeros(0, np.int64), np.zeros(0, np.int64))


@pytest.fixture
def yeast(data_dir: Path) -> Path:
    return data_dir / "yeast_reb1"


def reb1(folder: Path, cache: Path, **settings: Any) -> Dataset:
    spec = DataSpec(
        peaks=str(folder / "Reb1_VerifiedPromoter_Primary_SORT_250bp.bed"),
        genome=str(folder / "Saccharomyces_cerevisiae.R64-1-1.dna.toplevel.fa.gz"),
        **settings,
    )
    return load_dataset(spec, cache=cache)


# Yeast


def test_every_primary_site_of_reb1_reads_its_motif_where_its_name_says(yeast: Path, tmp_path: Path) -> None:
    """The names hold the exact motif, as chr3_137187_137194_+; BED says chr3, the FASTA III."""
    dataset = reb1(yeast, tmp_path)
    names = pd.read_csv(yeast / "Reb1_VerifiedPromoter_Primary_SORT_250bp.bed", sep="\t", header=None)[3]
    roman = dict(
        zip(map(str, range(1, 17)), "I II III IV V VI VII VIII IX X XI XII XIII XIV XV XVI".split(), strict=True)
    )
    motifs = {}
    for name in names:
        chrom, start, end, strand = name.split("_")
        motifs[roman[chrom.removeprefix("chr")], int(start), strand] = int(end)
    read = 0
    for split in dataset.splits.values():
        assert split.ids is not None
        for one, letters, label in zip(split.ids, decode(split.codes), split.labels[:, 0], strict=True):
            if not label:
                continue
            chrom, _, rest = one.partition(":")
            begin, stop = map(int, rest[:-3].split("-"))
            strand = rest[-2]
            at = 97 if strand == "+" else 96
            start = begin + at if strand == "+" else stop - at - 7
            assert motifs[chrom, start, strand] == start + 7
            assert letters[at : at + 7] in ("TTACCCG", "TTACCCT")
            read += 1
    assert read == 775


def test_every_motif_of_reb1_is_read_from_the_genome_at_its_own_coordinates(yeast: Path, tmp_path: Path) -> None:
    genome = Genome(yeast / "Saccharomyces_cerevisiae.R64-1-1.dna.toplevel.fa.gz", cache=tmp_path)
    roman = {f"chr{i}": name for i, name in enumerate(genome.sizes, start=1)}
    found = []
    for name in pd.read_csv(yeast / "Reb1_VerifiedPromoter_Primary_SORT_250bp.bed", sep="\t", header=None)[3]:
        chrom, start, end, strand = name.split("_")
        letters = genome.letters(roman[chrom], int(start), int(end)).tobytes().decode()
        found.append(letters if strand == "+" else letters[::-1].translate(str.maketrans("ACGT", "TGCA")))
    assert pd.Series(found).value_counts().to_dict() == {"TTACCCG": 456, "TTACCCT": 319}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_gc_does_not_tell_reb1_sites_from_their_negatives(yeast: Path, tmp_path: Path, seed: int) -> None:
    dataset = reb1(yeast, tmp_path, seed=seed, split="chromosome")
    assert [int(split.labels.sum()) for split in dataset.splits.values()] == [
        int((split.labels == 0).sum()) for split in dataset.splits.values()
    ]
    for split in dataset.splits.values():
        assert 0.47 <= roc_auc_score(split.labels[:, 0], gc_content(split.codes)) <= 0.53
    sizes = np.array([len(split) for split in dataset.splits.values()])
    assert np.abs(sizes / sizes.sum() - [0.7, 0.1, 0.2]).max() < 0.02


def test_windows_are_those_of_pyfaidx(yeast: Path, tmp_path: Path) -> None:
    dataset = reb1(yeast, tmp_path, length=101)
    plain = tmp_path / "yeast.fa"
    plain.write_bytes(gzip.decompress((yeast / "Saccharomyces_cerevisiae.R64-1-1.dna.toplevel.fa.gz").read_bytes()))
    other = pyfaidx.Fasta(str(plain))
    for split in dataset.splits.values():
        assert split.ids is not None
        for one, letters in zip(split.ids, decode(split.codes), strict=True):
            chrom, _, rest = one.partition(":")
            start, end = map(int, rest[:-3].split("-"))
            window = other[chrom][start:end]
            assert str(window if rest[-2] != "-" else window.reverse.complement) == letters
    other.close()


def test_what_was_dropped_of_the_raw_reb1_sites_is_told(yeast: Path, tmp_path: Path) -> None:
    spec = DataSpec(
        peaks=str(yeast / "Reb1_Rhee.bed"), genome=str(yeast / "Saccharomyces_cerevisiae.R64-1-1.dna.toplevel.fa.gz"),
        negatives="shuffle",
    )  # fmt: skip
    told = load_dataset(spec, cache=tmp_path).describe()
    table = pd.read_csv(yeast / "Reb1_Rhee.bed", sep="\t", header=None)
    middle = (table[1] + table[2]) // 2
    genome = Genome(yeast / "Saccharomyces_cerevisiae.R64-1-1.dna.toplevel.fa.gz", cache=tmp_path)
    size = table[0].map({f"chr{i}": n for i, n in enumerate(genome.sizes.values(), start=1)})
    off = int(((middle < 100) | (middle + 100 > size)).sum())
    assert off == 16
    (drops,) = [text for text in told["recipe"] if "gave" in text]
    assert "1776 peaks gave 1151 sites" in drops
    assert "16 have a window that runs off its chromosome, 609 are nearer than 100 bp to a stronger one" in drops
    assert any("the middle of each peak is used" in text for text in told["recipe"])


def test_the_second_load_comes_from_the_cache_and_is_equal(
    yeast: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = reb1(yeast, tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr("tuner.data.peak_dataset._made", lambda *_: pytest.fail("it was made again"))
        second = reb1(yeast, tmp_path)
    assert first.fingerprint == second.fingerprint
    assert (first.notes, first.recipe, first.source) == (second.notes, second.recipe, second.source)
    for name, split in first.splits.items():
        assert split.ids == second.splits[name].ids
        assert np.array_equal(split.groups, second.splits[name].groups)
    (kept,) = (tmp_path / "peaks").iterdir()
    kept.write_bytes(kept.read_bytes()[:-500])
    assert reb1(yeast, tmp_path).fingerprint == first.fingerprint


# CTCF on a genome of chr22's size


def test_windows_of_real_narrow_peaks_are_around_their_summits(data_dir: Path, tmp_path: Path) -> None:
    path = data_dir / "ctcf_peaks" / "macs3_CTCF_chr22_run_callpeak_narrow0_peaks.narrowPeak"
    size = ASSEMBLIES["hg19"]["chr22"]
    genome = Genome(write_fasta(tmp_path / "chr22.fa", {"22": random_letters(size)}, width=100), cache=tmp_path)
    assert genome.assembly is not None
    assert genome.assembly.assembly == "hg19"
    axis = Axis(genome.sizes, 10_000)
    sites = make_sites(locate(read_peaks(path), genome, axis), genome, axis, 200, blacklist=NOTHING)
    table = pd.read_csv(path, sep="\t", header=None)
    left = table.sort_values(6, ascending=False, kind="stable")
    kept: list[int] = []
    for summit in (left[1] + left[9]).tolist():
        if all(abs(summit - other) >= 100 for other in kept):
            kept.append(summit)
    assert sorted((sites.start - axis.offset[0] + 100).tolist()) == sorted(kept)
    assert sum(sites.drops.values()) == len(table) - len(sites)


# Every drop, once


@pytest.fixture
def small(tmp_path: Path) -> Callable[..., Dataset]:
    """A genome of four chromosomes, a contig and mitochondria, and sites on it; rows are added to them."""
    letters = {f"chr{i}": bytearray(random_letters(40_000, i)) for i in range(1, 5)}
    letters["chr1"][10_000:10_100] = b"N" * 100
    records = {name: bytes(text) for name, text in letters.items()}
    records |= {"chrUn_1": random_letters(5000, 8), "chrM": random_letters(5000, 9)}
    write_fasta(tmp_path / "g.fa", records)
    rows = [(f"chr{1 + i % 4}", 300 + 600 * (i // 4), 400 + 600 * (i // 4), ".", 5, "+") for i in range(160)]

    def make(extra: list[tuple[object, ...]] = [], *, only: bool = False, **settings: Any) -> Dataset:  # noqa: B006
        filled = [(*row, ".", 1, "+") if len(row) == 3 else row for row in extra]
        write_bed(tmp_path / "p.bed", [*([] if only else rows), *filled])
        settings = {"genome": str(tmp_path / "g.fa"), "length": 100} | settings
        return load_dataset(DataSpec(peaks=str(tmp_path / "p.bed"), **settings), cache=tmp_path / "cache")

    return make


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (("chr2", 30_050, 30_050), "1 have no length"),
        (("chrUn_1", 100, 300), "1 are on alternative contigs or organelles"),
        (("chrM", 100, 300), "1 are on alternative contigs or organelles"),
        (("chr1_KI270706v1_random", 100, 300), "1 are on alternative contigs or organelles"),
        (("chr9", 100, 300), "1 are on chromosomes that the genome lacks"),
        (("chr2", 0, 60), "1 have a window that runs off its chromosome"),
        (("chr2", 39_950, 40_000), "1 have a window that runs off its chromosome"),
        (("chr1", 10_040, 10_050), "1 have more than 10% N in their window"),
        (("chr2", 340, 440), "1 are nearer than 50 bp to a stronger one"),
        (("chr3", 35_000, 35_020), "1 have a window on the blacklist"),
    ],
)
def test_each_reason_is_counted(
    small: Callable[..., Dataset], tmp_path: Path, row: tuple[object, ...], reason: str
) -> None:
    write_bed(tmp_path / "black.bed", [("chr3", 35_040, 35_050)])
    blacklist = str(tmp_path / "black.bed")
    whole = small(blacklist=blacklist).recipe
    assert any("160 peaks gave 160 sites; none was dropped" in text for text in whole)
    told = small([row], blacklist=blacklist).describe()["recipe"]
    assert any(f"161 peaks gave 160 sites; of the others, {reason}." in text for text in told)


def test_the_stronger_of_two_near_sites_is_kept(small: Callable[..., Dataset]) -> None:
    ids = [one for split in small([("chr2", 320, 420, ".", 9, "+")]).splits.values() for one in split.ids or ()]
    assert "chr2:320-420(+)" in ids
    assert "chr2:300-400(+)" not in ids


def test_top_keeps_the_strongest_and_says_so(small: Callable[..., Dataset]) -> None:
    strong = [(f"chr{c}", 25_000 + 400 * i, 25_100 + 400 * i, ".", 50, "+") for c in range(1, 5) for i in range(20)]
    dataset = small(strong, top=80)
    positive = [one for s in dataset.splits.values() for one, y in zip(s.ids or (), s.labels[:, 0], strict=True) if y]
    assert len(positive) == 80
    assert {int(one.split(":")[1].split("-")[0]) for one in positive} <= {row[1] for row in strong}
    assert any("160 are weaker than the top 80" in text for text in dataset.recipe)


def test_few_sites_are_a_warning(small: Callable[..., Dataset]) -> None:
    rows = [(f"chr{1 + i % 4}", 300 + 600 * i, 400 + 600 * i) for i in range(40)]
    assert any("40 sites are too few" in note for note in small(rows, only=True).notes)


def test_overlapping_sites_share_a_group(small: Callable[..., Dataset]) -> None:
    dataset = small([("chr2", 360, 460, ".", 5, "+")])
    groups = {
        one: group
        for split in dataset.splits.values()
        for one, group in zip(split.ids or (), np.asarray(split.groups).tolist(), strict=True)
    }
    assert groups["chr2:300-400(+)"] == groups["chr2:360-460(+)"] != groups["chr2:900-1000(+)"]


# Wrong input


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"genome": None}, r"peaks need a genome: name one \(hg38, hg19"),
        ({"length": "shortest"}, 'length = "shortest" means nothing beside peaks'),
        ({"length": 5}, "windows around peaks need at least 20 bases"),
        ({"ratio": 0}, "ratio = 0: expected a number of negatives per positive"),
        ({"ratio": "1"}, "ratio = '1': expected"),
        ({"top": 0}, "top = 0: expected a whole number from 1"),
        ({"min_overlap": 10}, "min_overlap is for several files"),
        ({"tasks": ("a", "b")}, "one file of peaks holds one task; tasks names 2"),
        ({"negatives": {"acessible": "x.bed"}}, "unknown kind of negatives 'acessible'; did you mean 'accessible'"),
        ({"negatives": {"accessible": ""}}, "negatives as a table name one kind and its file"),
        ({"negatives": "none.bed"}, "none.bed: no such file"),
        ({"genome": "hg83"}, "unknown genome 'hg83'; did you mean 'hg38'"),
        ({"genome": "none.fa"}, "none.fa: no such file"),
        ({"blacklist": "none.bed"}, "none.bed: no such file"),
        ({"aliases": "none.tsv"}, "none.tsv: no such file"),
        ({"group_column": "x"}, "group_column means nothing beside peaks"),
    ],
)
def test_settings_that_mean_nothing_are_one_error(
    small: Callable[..., Dataset], settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        small(**settings)


def test_keys_of_peaks_belong_to_peaks(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="genome means nothing beside path; it belongs to peaks"):
        DataSpec(path="x.tsv", genome="hg38")
    with pytest.raises(DataError, match="negatives as a table belong to peaks"):
        DataSpec(positives="x.fa", negatives={"accessible": "a.bed"})


def test_names_that_the_genome_lacks_are_an_error_with_names_of_both_sides(small: Callable[..., Dataset]) -> None:
    rows = [(f"contig{i}", 100, 200) for i in range(20)]
    with pytest.raises(DataError, match=r"only 160 of 180 peaks lie on chromosomes of g.fa. The peaks are on contig0, "
                                        r"contig1, contig10, ...; the genome has chr1, chr2, chr3, ..."):  # fmt: skip
        small(rows)


def test_a_table_of_aliases_resolves_the_names(small: Callable[..., Dataset], tmp_path: Path) -> None:
    rows = [(f"NC_{i % 4}.1", 300 + 400 * i, 400 + 400 * i) for i in range(80)]
    (tmp_path / "aliases.tsv").write_text("".join(f"NC_{i}.1\tchr{i + 1}\n" for i in range(4)))
    dataset = small(rows, only=True, aliases=str(tmp_path / "aliases.tsv"))
    assert sum(int(split.labels.sum()) for split in dataset.splits.values()) == 80


def test_peaks_of_another_assembly_are_an_error_that_names_it(tmp_path: Path) -> None:
    """A genome with the sizes of sacCer3, and peaks that reach to the ends of worm chromosomes."""
    sizes = ASSEMBLIES["sacCer3"]
    write_fasta(tmp_path / "g.fa", {name: random_letters(size, 1) for name, size in sizes.items()}, width=100)
    worm = {name: size for name, size in ASSEMBLIES["ce11"].items() if name in sizes}
    write_bed(tmp_path / "p.bed", [(name, size - 500, size - 300) for name, size in worm.items()])
    spec = DataSpec(peaks=str(tmp_path / "p.bed"), genome=str(tmp_path / "g.fa"))
    with pytest.raises(DataError, match=r"p.bed line 1: chrI:15071934-15072134 is past the end of chrI in g.fa "
                                        r"\(sacCer3\), which has 230,218 bp, and so are 5 others of 6. "
                                        r"The peaks fit ce10 or ce11|fit ce11 or ce10"):  # fmt: skip
        load_dataset(spec, cache=tmp_path / "cache")


def test_a_genome_that_was_cut_short_is_told_by_its_sizes(yeast: Path, tmp_path: Path) -> None:
    whole = gzip.decompress((yeast / "Saccharomyces_cerevisiae.R64-1-1.dna.toplevel.fa.gz").read_bytes())
    (tmp_path / "cut.fa").write_bytes(whole[:12_100_000])
    words = r"1 of its 16 chromosomes differ from sacCer3 in size \(XVI has 777,475 bp and not 948,066\)"
    primary = yeast / "Reb1_VerifiedPromoter_Primary_SORT_250bp.bed"
    spec = DataSpec(peaks=str(primary), genome=str(tmp_path / "cut.fa"), negatives="shuffle")
    with pytest.raises(DataError, match=f"is past the end of XVI in .* In cut.fa, {words}"):
        load_dataset(spec, cache=tmp_path / "cache")
    rows = [line for line in primary.read_text().splitlines(keepends=True) if not line.startswith("chr16\t")]
    (tmp_path / "p.bed").write_text("".join(rows))
    notes = load_dataset(replace(spec, peaks=str(tmp_path / "p.bed")), cache=tmp_path / "cache").notes
    assert any(re.search(f"cut.fa: {words}", note) for note in notes)


def test_a_blacklist_of_another_assembly_is_an_error(small: Callable[..., Dataset], tmp_path: Path) -> None:
    write_bed(tmp_path / "black.bed", [("chr1", 100, 200), ("chr2", 90_000, 95_000)])
    with pytest.raises(DataError, match=r"black.bed line 2: chr2:90000-95000 is past the end of chr2"):
        small(blacklist=str(tmp_path / "black.bed"))


def test_all_peaks_dropped_is_an_error_that_says_by_what(small: Callable[..., Dataset]) -> None:
    rows = [("chr1", 10_040, 10_050), ("chr2", 0, 20), ("chr3", 0, 20)]
    with pytest.raises(DataError, match="3 peaks gave 0 sites; of the others, 2 have a window that runs off "
                                        "its chromosome, 1 have more than 10% N"):  # fmt: skip
        small(rows, only=True)


@pytest.mark.parametrize("n", [1, 2])
def test_too_few_chromosomes_for_a_split_are_an_error(small: Callable[..., Dataset], n: int) -> None:
    rows = [(f"chr{1 + i % n}", 300 + 400 * i, 400 + 400 * i) for i in range(60)]
    with pytest.raises(DataError, match="split by chromosomes needs at least 3 of them"):
        small(rows, only=True)


def test_more_windows_than_memory_are_refused(small: Callable[..., Dataset], tmp_path: Path) -> None:
    small()
    spec = DataSpec(peaks=str(tmp_path / "p.bed"), genome=str(tmp_path / "g.fa"), length=100, ratio=1000)
    with pytest.raises(DataError, match="160160 windows of 100 bases takes about"):
        load_dataset(spec, cache=tmp_path / "cache", max_memory=100_000_000)


# Several files


def basset(windows: list[tuple[int, set[int]]], length: int, least: int) -> list[tuple[int, set[int]]]:
    """Merge as preprocess_features.py of Basset describes it: the largest overlap first, over and over."""
    peaks = sorted(windows, key=lambda peak: peak[0])
    while True:
        overlaps = [peaks[i][0] + length - peaks[i + 1][0] for i in range(len(peaks) - 1)]
        if not overlaps or max(overlaps) < least:
            return peaks
        i = overlaps.index(max(overlaps))
        (a, of_a), (b, of_b) = peaks[i], peaks[i + 1]
        middle = np.average([a + (length - 1) / 2, b + (length - 1) / 2], weights=[1 + len(of_a), 1 + len(of_b)])
        peaks[i : i + 2] = [(int(0.5 + middle) - length // 2, of_a | of_b)]


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(
    st.lists(st.lists(st.integers(100, 900), min_size=1, max_size=12), min_size=2, max_size=3),
    st.sampled_from([20, 31]),
    st.integers(1, 20),
)
def test_sites_of_several_files_are_merged_as_in_basset(files: list[list[int]], length: int, least: int) -> None:
    sites = [
        Sites(np.array(starts, dtype=np.int64), np.full(len(starts), "+"), np.full(len(starts), 1.0))
        for starts in files
    ]
    merged, labels = merge_sites(sites, length, least)
    expected = basset([(s, {i}) for i, starts in enumerate(files) for s in starts], length, least)
    assert merged.start.tolist() == [start for start, _ in expected]
    assert [set(np.flatnonzero(row).tolist()) for row in labels] == [active for _, active in expected]


def test_two_files_are_two_tasks(small: Callable[..., Dataset], tmp_path: Path) -> None:
    rows = {
        "a": [(f"chr{1 + i % 4}", 300 + 600 * i, 400 + 600 * i, ".", 1, "-") for i in range(60)],
        "b": [(f"chr{1 + i % 4}", 310 + 600 * i, 410 + 600 * i, ".", 1, "-") for i in range(40)]
        + [(f"chr{1 + i % 4}", 600 + 1200 * i, 700 + 1200 * i, ".", 1, "+") for i in range(30)],
    }
    for name, lines in rows.items():
        write_bed(tmp_path / f"{name}.bed", lines)
    small()
    spec = DataSpec(
        peaks={name: str(tmp_path / f"{name}.bed") for name in rows}, genome=str(tmp_path / "g.fa"), length=100
    )
    dataset = load_dataset(spec, cache=tmp_path / "cache")
    assert dataset.tasks == ("a", "b")
    labels = np.concatenate([split.labels for split in dataset.splits.values()])
    patterns, counts = np.unique(labels, axis=0, return_counts=True)
    assert dict(zip(map(tuple, patterns.tolist()), counts.tolist(), strict=True)) == {
        (0, 0): 90, (0, 1): 30, (1, 0): 20, (1, 1): 40,
    }  # fmt: skip
    (told,) = [text for text in dataset.recipe if "were merged" in text]
    assert "130 sites of 2 files were merged to 90" in told
    assert "positives: a 60, b 70; of several: 40" in told
    ids = {one for split in dataset.splits.values() for one in split.ids or ()}
    assert "chr1:305-405(-)" in ids  # between 300 and 310
    with pytest.raises(DataError, match="peaks names its tasks"):
        replace(spec, tasks=("x",))


# Splits


@pytest.mark.parametrize("by", ["chromosome", "chromosome+homology", "homology", "random"])
def test_every_split_rule_keeps_what_it_promises(by: str, yeast: Path, tmp_path: Path) -> None:
    dataset = reb1(yeast, tmp_path, split=by)
    where = {name: {i.partition(":")[0] for i in split.ids or ()} for name, split in dataset.splits.items()}
    shares = {name: int(split.labels.sum()) for name, split in dataset.splits.items()}
    total = sum(shares.values())
    for name, share in zip(("train", "valid", "test"), (0.7, 0.1, 0.2), strict=True):
        assert abs(shares[name] / total - share) < 0.05
    assert (not any(a & b for a, b in itertools.combinations(where.values(), 2))) == by.startswith("chromosome")
    kin_in_test = int(related(dataset.train.codes, dataset.test.codes).sum())
    assert (kin_in_test == 0) == by.endswith("homology")
    groups = [set(np.asarray(split.groups).tolist()) for split in dataset.splits.values()]
    assert not any(a & b for a, b in itertools.combinations(groups, 2))


# A study file, the command line and Python


STUDY = """
name = "mine"
[data]
peaks = "p.bed"
genome = "g.fa"
length = 100
ratio = 1
"""


def test_tuner_check_tells_how_the_data_were_made(
    small: Callable[..., Dataset], tmp_path: Path, terminal: Terminal
) -> None:
    small([("chrM", 100, 300, ".", 1, "+")])
    (tmp_path / "mine.toml").write_text(STUDY)
    answer = terminal("check", "--study", str(tmp_path / "mine.toml"), "--points", "1")
    assert answer.code == 0, answer.err
    flat = " ".join(answer.err.split())
    assert "161 peaks gave 160 sites; of the others, 1 are on alternative contigs or organelles." in flat
    assert "negatives gc, 1 per positive, split by chromosome+homology, seed 0. p.bed: split by chrom" in flat
    assert "warning: p.bed" not in flat
    assert re.search(r"relatives in training; a memoriser reaches AUROC 0\.\d\d \(0\.\d\d if training and valid", flat)
    told = terminal("check", "--study", str(tmp_path / "mine.toml"), "--points", "1", "--json").json["data"]
    assert told["splits"]["train"]["positives"] == {"bound": told["splits"]["train"]["sequences"] // 2}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('genome = "g.fa"', "", "peaks need a genome"),
        ("ratio = 1", "ratoi = 1", "did you mean 'ratio'"),
        ("ratio = 1", 'negatives = { accesible = "a.bed" }', "did you mean 'accessible'"),
        ('peaks = "p.bed"', "peaks = 3", "peaks"),
        ('peaks = "p.bed"', 'peaks = "none.bed"', "none.bed: no such file"),
        ("ratio = 1", 'top = "many"', "top"),
    ],
)
def test_a_wrong_study_file_is_one_error(
    small: Callable[..., Dataset], tmp_path: Path, terminal: Terminal, old: str, new: str, words: str
) -> None:
    small()
    (tmp_path / "mine.toml").write_text(STUDY.replace(old, new))
    answer = terminal("check", "--study", str(tmp_path / "mine.toml"), "--points", "1")
    assert answer.code == (1 if "none.bed" in new else 2), answer.err
    assert words in " ".join(answer.err.split())
    assert "Traceback" not in answer.err


def test_python_makes_the_same_data_as_the_study_file(small: Callable[..., Dataset], tmp_path: Path) -> None:
    dataset = small()
    data = tuner.Data.from_peaks(tmp_path / "p.bed", tmp_path / "g.fa", length=100)
    assert data.load(cache=tmp_path / "cache").fingerprint == dataset.fingerprint
    check = data.check(cache=tmp_path / "cache")
    assert check.splits["positives"].tolist()[:2] == [int(s.labels.sum()) for s in list(dataset.splits.values())[:2]]
    assert any("160 peaks gave 160 sites" in text for text in check.recipe)
    assert "160 peaks gave 160 sites" in check._repr_html_()
    assert {"peaks", "genome", "length"} <= set(data.section())
    many = tuner.Data.from_peaks(
        {"a": tmp_path / "p.bed"}, "hg38", negatives={"other_peaks": ["x.bed", "y.bed"]}, ratio=2
    ).section()
    assert many["peaks"] == {"a": str(tmp_path / "p.bed")}
    assert many["genome"] == "hg38"
    assert [Path(path).name for path in many["negatives"]["other_peaks"]] == ["x.bed", "y.bed"]


def test_files_within_tables_are_found_beside_the_study_and_elsewhere(tmp_path: Path) -> None:
    spec = DataSpec(
        peaks={"a": "a.bed", "b": "b.bed"}, genome="hg38", negatives={"other_peaks": ["x.bed", "y.bed"]},
        blacklist="black.bed",
    )  # fmt: skip
    assert spec.files == {
        "peaks.a": "a.bed", "peaks.b": "b.bed", "negatives.other_peaks.0": "x.bed", "negatives.other_peaks.1": "y.bed",
        "blacklist": "black.bed",
    }  # fmt: skip
    moved = spec.at({key: f"/there/{path}" for key, path in spec.files.items()})
    assert moved.peaks == {"a": "/there/a.bed", "b": "/there/b.bed"}
    assert moved.negatives == {"other_peaks": ["/there/x.bed", "/there/y.bed"]}
    assert (moved.blacklist, moved.genome) == ("/there/black.bed", "hg38")
