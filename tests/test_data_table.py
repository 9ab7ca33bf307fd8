"""Tables of sequences and labels, and DeepBind's files."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from tuner.data.dataset import SPLITS, check
from tuner.data.sequence import decode
from tuner.data.table import deepbind, table
from tuner.errors import DataError


def rows(n: int) -> list[tuple[str, str, int, int, str, str]]:
    rng = np.random.default_rng(0)
    texts = decode(rng.integers(4, size=(n, 20)).astype(np.uint8))
    splits = ["train", "val", "Test"]
    return [(f"r{i}", s, i % 2, int(i % 5 == 0), splits[i // 2 % 3], f"chr{i // 2 % 7}") for i, s in enumerate(texts)]


@pytest.fixture
def write(tmp_path):
    def _write(lines, header="peak,sequence,K562,HepG2,split,chrom", name="toy.csv"):
        path = tmp_path / name
        text = "\n".join([header, *(",".join(map(str, line)) for line in lines)]) + "\n"
        if ".tsv" in name:
            text = text.replace(",", "\t")
        path.write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
        return path

    return _write


def test_the_real_multicell_table_is_read(data_dir):
    # 44,492 peaks in three cell lines, as published
    dataset = table(data_dir / "usf1_multicell" / "usf1_multicell.tsv.gz")
    check(dataset)
    assert dataset.tasks == ("HepG2", "H1hESC", "K562")
    assert sum(len(dataset.splits[s]) for s in SPLITS) == 44_492
    assert dataset.length == 101
    assert [len(dataset.splits[s]) / 44_492 for s in SPLITS] == pytest.approx([0.7, 0.1, 0.2], abs=1e-3)
    assert dataset.train.ids[0].startswith("peak_")
    shares = [dataset.splits[s].labels.mean(axis=0) for s in SPLITS]
    assert shares[0] == pytest.approx(shares[1], abs=2e-3)
    assert not [w for w in dataset.describe()["warnings"] if "also occur in" in w]


@pytest.mark.parametrize("name", ["toy.csv", "toy.tsv", "toy.tsv.gz"])
def test_columns_labels_and_splits_are_taken_as_named(write, name):
    path = write(rows(60), name=name)
    dataset = table(path, label_columns=("HepG2", "K562"), split_column="split")
    check(dataset)
    assert dataset.tasks == ("HepG2", "K562")
    assert [len(dataset.splits[s]) for s in SPLITS] == [20, 20, 20]
    assert dataset.valid.ids[:2] == ("r2", "r3")
    assert dataset.valid.labels[:2].tolist() == [[0, 0], [0, 1]]


def test_groups_stay_together(write):
    dataset = table(write(rows(140)), label_columns=("K562",), group_column="chrom", fractions=(0.4, 0.3, 0.3))
    chromosome = {name: chrom for name, *_, chrom in rows(140)}
    owners = [{chromosome[i] for i in dataset.splits[s].ids} for s in SPLITS]
    assert sum(map(len, owners)) == len(set.union(*owners)) == 7


@pytest.mark.parametrize(
    ("changes", "arguments", "message"),
    [
        ({}, {"label_columns": ("K563",)}, r"toy\.csv: unknown column 'K563'; did you mean 'K562'"),
        ({}, {"split_column": "fold"}, "unknown column 'fold'"),
        ({}, {"split_column": "chrom", "label_columns": ("K562",)}, "line 2: unknown split 'chr0'"),
        ({}, {}, r"is the column 'split' a label\? .* label_columns = .\"K562\", \"HepG2\""),
        ({"split_column": "split"}, {"split_column": "split", "group_column": "chrom"}, "not both"),
        ({5: ("r", "ACGT" * 5, 2, 0, "train", "c")}, {}, "line 7: column 'K562' is '2'; labels are 0 or 1"),
        ({5: ("r", "ACGT" * 5, "nan", 0, "train", "c")}, {}, "line 7: column 'K562' is 'nan'"),
        ({5: ("r", "ACGT", 1, 0, "train", "c")}, {}, "line 7: the sequence has 4 bases, 29 of 30 sequences have 20"),
        ({5: ("r", "", 1, 0, "train", "c")}, {}, "line 7: the sequence is empty"),
        ({5: ("r", "ACGZ" * 5, 1, 0, "train", "c")}, {}, "line 7: 'Z' at position 3 is no nucleotide"),
        ({5: ("r", "ACGT" * 5, 1)}, {}, "line 7: 3 fields; the header has 6"),
    ],
)
def test_broken_tables_are_refused_with_line_and_column(write, changes, arguments, message):
    lines = rows(30)
    for at, line in changes.items():
        if isinstance(at, int):
            lines[at] = line
    with pytest.raises(DataError, match=message):
        table(write(lines), **({"label_columns": ("K562", "HepG2")} if not arguments and changes else arguments))


def test_tables_without_sequence_labels_or_rows_are_refused(write):
    with pytest.raises(DataError, match=r"no column is called sequence or seq or seqs; set sequence_column to one of"):
        table(write([("ACGT", 1)], header="dna,y"))
    with pytest.raises(DataError, match="no label column among id, seq"):
        table(write([("a", "ACGT")], header="id,seq"))
    with pytest.raises(DataError, match="a header and no rows"):
        table(write([]), label_columns=("K562",))
    with pytest.raises(DataError, match="column names repeat in the header seq, y, y"):
        table(write([("ACGT", 1, 0)], header="seq,y,y"))


def test_another_sequence_column_and_length_are_taken(write):
    lines = [("ACGTACGT"[i % 3 :], i % 2) for i in range(40)]
    dataset = table(write(lines, header="dna,y"), sequence_column="dna", length=6)
    assert (dataset.length, dataset.tasks) == (6, ("y",))


def test_deepbind_files_are_read_and_positives_get_shuffled_negatives(data_dir):
    both = deepbind(data_dir / "encode" / "USF1_HepG2_USF-1_HudsonAlpha_B.seq.gz")
    check(both)
    assert sum(len(s) for s in both.splits.values()) == 1000  # 500 + 500, as published
    assert sum(int(s.labels.sum()) for s in both.splits.values()) == 500
    alone = deepbind(data_dir / "encode" / "REST_GM12878_NRSF_HudsonAlpha_AC.seq.gz")
    check(alone)
    for split in alone.splits.values():
        assert split.labels.mean() == 0.5
    assert "dinucleotide shuffles" in alone.notes[0]
