"""FASTA: what is read, how it is split, and what is refused."""

from __future__ import annotations

import gzip
import tracemalloc
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tuner.data.fasta
import tuner.data.lengths
from tuner.data.dataset import SPLITS, check
from tuner.data.fasta import fasta, folder, read_fasta
from tuner.data.registry import load_dataset
from tuner.data.shuffle import dinucleotide_shuffle
from tuner.data.spec import DataSpec
from tuner.errors import DataError
from tuner.genome.sequence import decode, encode, reverse_complement


def random_sequences(n: int, length: int, seed: int) -> list[str]:
    return decode(np.random.default_rng(seed).integers(4, size=(n, length)).astype(np.uint8))


def write(path, sequences, name="s"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f">{name}{i} chr1:{i}\n{s}\n" for i, s in enumerate(sequences)))
    return path


@pytest.fixture
def files(tmp_path):
    """100 positives and 60 negatives of 40 bp."""
    return (
        write(tmp_path / "positives.fa", random_sequences(100, 40, 0), "p"),
        write(tmp_path / "negatives.fa", random_sequences(60, 40, 1), "n"),
    )


def test_case_wrapping_blank_lines_windows_ends_and_gzip_are_read(tmp_path):
    text = ">a first\r\nACGT\r\nacgt\r\n\r\n>b\r\nNNRYacgu\r\n"
    plain, packed = tmp_path / "x.fa", tmp_path / "y.fa.gz"
    plain.write_bytes(text.encode())
    packed.write_bytes(gzip.compress(text.encode()))
    for path in (plain, packed):
        records = read_fasta(path)
        assert [(r.id, r.ambiguous, *decode(r.codes[None])) for r in records] == [
            ("a", 0, "ACGTACGT"),
            ("b", 2, "NNNNACGT"),
        ]


def test_the_real_klf1_peaks_are_read(data_dir):
    records = read_fasta(data_dir / "klf1_mm9" / "Klf1.fna")  # 904 peaks, 662 of them with N, as published
    assert len(records) == 904
    assert {len(r.codes) for r in records} == {500}
    assert sum(bool((r.codes == 4).any()) for r in records) == 662


def test_splits_are_stratified_whole_and_seeded(files):
    dataset = fasta(*files)
    check(dataset)
    assert {name: len(dataset.splits[name]) for name in SPLITS} == {"train": 112, "valid": 16, "test": 32}
    # 100 : 60 in every split, to the nearest sequence
    assert [int(dataset.splits[name].labels.sum()) for name in SPLITS] == [70, 10, 20]
    ids = [name for split in SPLITS for name in dataset.splits[split].ids]
    assert sorted(ids) == sorted([f"p{i}" for i in range(100)] + [f"n{i}" for i in range(60)])
    assert all(
        (name[0] == "p") == bool(y) for s in dataset.splits.values() for name, y in zip(s.ids, s.labels, strict=True)
    )
    assert fasta(*files).fingerprint == dataset.fingerprint
    assert fasta(*files, seed=1).fingerprint != dataset.fingerprint


@pytest.mark.parametrize("base", [True, False])
def test_both_files_are_looked_for_below_the_same_folder(tmp_path, monkeypatch, base):
    (tmp_path / "a").mkdir()
    write(tmp_path / "a" / "p.fa", random_sequences(100, 40, 0), "p")
    write(tmp_path / "a" / "n.fa", random_sequences(100, 40, 1), "n")
    monkeypatch.chdir("/" if base else tmp_path)
    found = load_dataset(DataSpec(positives="a/p.fa", negatives="a/n.fa"), base=tmp_path if base else None)
    assert sum(len(split) for split in found.splits.values()) == 200


def test_copies_on_either_strand_stay_in_one_split(tmp_path, files):
    unique = random_sequences(100, 40, 0)
    other = decode(reverse_complement(encode(unique)))
    write(files[0], [s for pair in zip(unique, other, strict=True) for s in (*pair, pair[0])], "p")
    dataset = fasta(*files)
    assert not [w for w in dataset.describe()["warnings"] if "also occur in" in w]
    place = {name: split for split in SPLITS for name in dataset.splits[split].ids}
    assert all(place[f"p{3 * i}"] == place[f"p{3 * i + 1}"] == place[f"p{3 * i + 2}"] for i in range(100))


def test_shuffled_negatives_join_their_positives(files):
    dataset = fasta(files[0], "shuffle")
    check(dataset)
    for split in dataset.splits.values():
        of = {name: row for name, row in zip(split.ids, split.codes, strict=True)}
        assert {f"{name}_shuffled" for name in of if not name.endswith("_shuffled")} == {
            name for name in of if name.endswith("_shuffled")
        }
    assert dataset.shuffled
    assert sum("dinucleotide shuffles" in warning for warning in dataset.describe()["warnings"]) == 1


@settings(max_examples=50)
@given(st.text("ACGTN", min_size=1, max_size=80), st.integers(0, 5))
def test_a_shuffle_keeps_every_dinucleotide_count(text, seed):
    (shuffled,) = decode(dinucleotide_shuffle(encode([text]), seed=seed))
    assert Counter(pairwise(shuffled)) == Counter(pairwise(text))


def test_every_shuffle_is_equally_likely():
    # AACAGA has the dinucleotides AA AC CA AG GA: three loops at A in any order, 3! = 6 sequences.
    shuffled = decode(dinucleotide_shuffle(np.repeat(encode(["AACAGA"]), 6000, axis=0), seed=0))
    counts = Counter(shuffled)
    assert len(counts) == 6
    assert all(abs(n - 1000) < 5 * (6000 / 6 * 5 / 6) ** 0.5 for n in counts.values())  # 5 binomial SD


def test_length_crops_around_the_centre_and_pads_with_n(tmp_path):
    p = write(tmp_path / "p.fa", ["AACGTT", "ACG", "CCCCCCC"])
    n = write(tmp_path / "n.fa", ["ACGT"] * 3)
    dataset = fasta(p, n, length=4, fractions=(0.4, 0.3, 0.3))
    whole = sorted(text for s in dataset.splits.values() for text in decode(s.codes))
    assert whole == sorted(["ACGT", "ACGN", "CCCC", *["ACGT"] * 3])  # AACGTT less one each side


def test_another_length_names_the_record_and_offers_to_crop(files):
    write(files[1], [*random_sequences(3, 40, 2), "ACGT"], "n")
    with pytest.raises(
        DataError,
        match=r"negatives\.fa record 4 \(n3\) has 4 bases, but 103 of 104 sequences have 40\. "
        r"Set length = \"shortest\"",
    ):
        fasta(*files)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"bad\.fa: the file is empty"),
        ("\n\n", r"bad\.fa: the file is empty"),
        ("ACGT\n>a\nACGT\n", r"bad\.fa line 1: 'ACGT' comes before the first record"),
        (">a\nACGT\n>b\n>c\nACGT\n", r"bad\.fa record 2 \(b\) has no sequence"),
        (">a\nACGT\n>b x\nAC\nG5T\n", r"bad\.fa record 2 \(b\): '5' at position 3 is not a nucleotide"),
        (">a\nAC-GT\n", r"bad\.fa record 1 \(a\): '-' at position 2 is not a nucleotide"),
        (">a\nMKVLQF\n", r"bad\.fa record 1 \(a\): 'L' at position 3 is not a nucleotide"),
        (">\n\n", r"bad\.fa record 1 \(record_1\) has no sequence"),
    ],
)
def test_broken_files_are_refused_with_file_and_record(tmp_path, text, message):
    path = tmp_path / "bad.fa"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_fasta(path)


def test_missing_cut_and_binary_files_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"absent\.fa: no such file"):
        read_fasta(tmp_path / "absent.fa")
    cut = tmp_path / "cut.fa.gz"
    cut.write_bytes(gzip.compress(b">a\n" + b"ACGT" * 1000)[:-12])
    with pytest.raises(DataError, match=r"cut\.fa\.gz: its gzip data are damaged or cut .* Copy or download it again"):
        read_fasta(cut)
    binary = tmp_path / "x.2bit"
    binary.write_bytes(b"\x43\x27\x41\x1a\xff\xfe")
    with pytest.raises(DataError, match="line 1: the byte 0xff is not UTF-8 text"):
        read_fasta(binary)


def test_ambiguity_letters_are_counted_in_the_notes(files):
    write(files[0], ["R" + s[1:] for s in random_sequences(100, 40, 0)], "p")
    assert fasta(*files).describe()["warnings"][0].startswith("positives.fa: 100 IUPAC ambiguity letters")


@pytest.mark.parametrize("fractions", [(0.5, 0.4), (0.9, 0.1, 0.1), (1.0, 0.0, 0.0), (1.2, -0.1, -0.1)])
def test_fractions_that_are_none_are_refused(files, fractions):
    with pytest.raises(DataError, match="expected three numbers above 0 for train, valid and test that sum to 1"):
        fasta(*files, fractions=fractions)


def test_too_few_sequences_to_split_are_refused(tmp_path):
    p = write(tmp_path / "p.fa", random_sequences(2, 40, 0))
    n = write(tmp_path / "n.fa", random_sequences(20, 40, 1))
    with pytest.raises(DataError, match=r"task 'bound' has only negatives .* choose other split fractions"):
        check(fasta(p, n))


@pytest.mark.parametrize(
    "pattern", ["{split}/{kind}.fa", "{split}/{kind}.fasta", "{split}_{kind}.fna", "{split}/{kind}.fa.gz"]
)
def test_a_folder_that_is_split_already_keeps_its_splits(tmp_path, pattern):
    root = tmp_path / "mine"
    for s, split in enumerate(SPLITS):
        for k, kind in enumerate(("positives", "negatives")):
            path = write(
                root / pattern.format(split=split, kind=kind),
                random_sequences(3 + s + k, 20, 2 * s + k),
                kind,
            )
            if path.suffix == ".gz":
                path.write_bytes(gzip.compress(path.read_bytes()))
    dataset = folder(root)
    check(dataset)
    assert [(len(dataset.splits[s]), int(dataset.splits[s].labels.sum())) for s in SPLITS] == [
        (7, 3),
        (9, 4),
        (11, 5),
    ]


def test_a_folder_names_what_it_lacks(tmp_path):
    with pytest.raises(DataError, match="mine: no such folder"):
        folder(tmp_path / "mine")
    write(tmp_path / "mine" / "train" / "positives.fa", ["ACGT"])
    with pytest.raises(DataError, match=r"no train/negatives\.fa and no train_negatives\.fa\. Expected positives and"):
        folder(tmp_path / "mine")
    write(tmp_path / "mine" / "train_positives.fa", ["ACGT"])
    with pytest.raises(DataError, match=r"both positives\.fa and train_positives\.fa hold the train positives"):
        folder(tmp_path / "mine")


def test_thousands_of_sorted_sequences_are_all_read_on_their_side(tmp_path):
    positives, negatives = random_sequences(3000, 40, 0), random_sequences(3000, 40, 1)
    dataset = fasta(write(tmp_path / "p.fa", positives, "p"), write(tmp_path / "n.fa", negatives, "n"))
    check(dataset)
    found = sorted(
        (text, int(y)) for s in dataset.splits.values() for text, y in zip(decode(s.codes), s.labels[:, 0], strict=True)
    )
    assert found == sorted([(s, 1) for s in positives] + [(s, 0) for s in negatives])
    assert [int(dataset.splits[s].labels.sum()) for s in SPLITS] == [2100, 300, 600]


def test_comments_unicode_ids_and_soft_masked_bases_are_read(tmp_path):
    path = tmp_path / "x.fa"
    path.write_text("; a comment before\n>é,1 x\n; another\nACgtn\n>é,1\nTTTTT\n", encoding="utf-8")
    assert [(r.id, *decode(r.codes[None])) for r in read_fasta(path)] == [("é,1", "ACGTN"), ("é,1", "TTTTT")]
    other = write(tmp_path / "n.fa", random_sequences(20, 5, 0))
    assert fasta(path, other, fractions=(0.4, 0.3, 0.3)).notes == (
        "x.fa: 1 of 2 records have the id of an earlier one.",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (";only a comment\n", "the file has no records; a FASTA file begins with"),
        (">a\nACGT\n>b\nMK*\n", r"record 2 \(b\): '\*' at position 2 is not a nucleotide"),
        (">a\nACGT\n>b\nA.CG\n", r"record 2 \(b\): '\.' at position 1 is not a nucleotide"),
        (">a\nACGT\n>é\nAéGT\n", r"record 2 \(é\): 'é' at position 1 is not a nucleotide"),
        (">a\nACGT\n>b\nA\u2028GT\n", r"record 2 \(b\): '.u2028' at position 1 is not a nucleotide"),
        ("@read\nACGT\n+\nIIII\n", "line 1: '@read' comes before the first record"),
    ],
)
def test_what_is_no_dna_is_named_by_its_record(tmp_path, text, message):
    path = tmp_path / "bad.fa"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_fasta(path)


@pytest.mark.parametrize(("n", "length", "wrap"), [(2000, 8, None), (300, 500, 2), (20, 20_000, None)])
@pytest.mark.parametrize("negatives", ["n.fa", "shuffle"])
def test_reading_takes_no_more_memory_than_it_asks_for(tmp_path, monkeypatch, n, length, wrap, negatives):
    asked = []
    for module in (tuner.data.fasta, tuner.data.lengths):
        monkeypatch.setattr(module, "require", lambda _, n_bytes, *rest: asked.append(n_bytes))
    for name, seed in (("p.fa", 0), ("n.fa", 1)):
        texts = random_sequences(n, length, seed)
        step = wrap or length
        write(tmp_path / name, ["\n".join(s[i : i + step] for i in range(0, length, step)) for s in texts])
    other = negatives if negatives == "shuffle" else tmp_path / negatives
    tracemalloc.start()
    try:
        dataset = fasta(tmp_path / "p.fa", other)
        dataset.describe()
        assert tracemalloc.get_traced_memory()[1] <= max(asked)
    finally:
        tracemalloc.stop()
