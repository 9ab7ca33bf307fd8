"""Tables of sequences and labels, and DeepBind's files."""

from __future__ import annotations

import gzip
import tracemalloc

import numpy as np
import pytest

from tuner.data.dataset import SPLITS, check
from tuner.data.table import deepbind, table
from tuner.errors import DataError
from tuner.genome.sequence import decode


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
        (
            {5: ("r", "ACGT", 1, 0, "train", "c")},
            {},
            "line 7: the sequence has 4 bases, but 29 of 30 sequences have 20",
        ),
        ({5: ("r", "", 1, 0, "train", "c")}, {}, "line 7: the sequence is empty"),
        ({5: ("r", "ACGZ" * 5, 1, 0, "train", "c")}, {}, "line 7: 'Z' at position 3 is not a nucleotide"),
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
    with pytest.raises(DataError, match="the table has a header but no rows"):
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
    assert alone.shuffled
    assert both.shuffled  # and so are the published negatives, by their ids (_shuf) and their counts
    assert all(name.endswith("_shuf") for name, y in zip(both.train.ids, both.train.labels, strict=True) if not y[0])


def sequences(n: int, seed: int = 0) -> list[str]:
    return decode(np.random.default_rng(seed).integers(4, size=(n, 20)).astype(np.uint8))


def everything(dataset) -> list[tuple[str, int]]:
    """Every sequence of all splits with its label, sorted."""
    return sorted(
        (text, int(y)) for s in dataset.splits.values() for text, y in zip(decode(s.codes), s.labels[:, 0], strict=True)
    )


def test_thousands_of_sorted_rows_are_all_read_with_their_labels(tmp_path):
    texts = sequences(6000)
    labels = [1] * 3000 + [0] * 3000
    pairs = list(zip(texts, labels, strict=True))
    (tmp_path / "t.csv").write_text("sequence,label\n" + "".join(f"{s},{y}\n" for s, y in pairs))
    (tmp_path / "t.seq").write_text(
        "FoldID\tEventID\tseq\tBound\n" + "".join(f"A\te{i}\t{s}\t{y}\n" for i, (s, y) in enumerate(pairs))
    )
    for dataset in (table(tmp_path / "t.csv"), deepbind(tmp_path / "t.seq")):
        check(dataset)
        assert everything(dataset) == sorted(pairs)
        assert [int(dataset.splits[s].labels.sum()) for s in SPLITS] == [2100, 300, 600]


@pytest.mark.parametrize("place", [0, 1, 60, 119])
def test_a_quote_in_a_tab_separated_table_is_a_character(tmp_path, place):
    texts = sequences(120)
    sites = [f"site{i}" for i in range(120)]
    sites[place] = '"site, 5" UTR'
    path = tmp_path / "t.tsv"
    path.write_text(
        "sequence\tlabel\tname\n"
        + "".join(f"{s}\t{i % 2}\t{site}\n" for i, (s, site) in enumerate(zip(texts, sites, strict=True)))
    )
    dataset = table(path)
    assert everything(dataset) == sorted((s, i % 2) for i, s in enumerate(texts))
    assert '"site, 5" UTR' in [name for s in dataset.splits.values() for name in s.ids]


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ('"site', "line 62: the quote before 'site' is not closed on its line"),
        ('"site" 7', "line 62: '7' follows the closing quote of a cell"),
        ('"a\nb"', "line 62: the quote before 'a' is not closed on its line"),
    ],
)
@pytest.mark.parametrize("delimiter", [",", ";"])
def test_an_unbalanced_quote_in_a_csv_is_an_error_with_its_line(tmp_path, delimiter, cell, message):
    lines = [f"{s},{i % 2},{cell if i == 60 else i}" for i, s in enumerate(sequences(120))]
    (tmp_path / "t.csv").write_text("\n".join(["sequence,label,name", *lines]).replace(",", delimiter))
    with pytest.raises(DataError, match=message):
        table(tmp_path / "t.csv")


def test_two_stray_quotes_swallow_no_rows_between_them(tmp_path):
    lines = [f"{s},{i % 2},{i}" for i, s in enumerate(sequences(120))]
    lines[20] = lines[20].replace(",20", ',"20')
    lines[40] += '"'  # together they would be one cell of 21 lines
    (tmp_path / "t.csv").write_text("\n".join(["sequence,label,name", *lines]))
    with pytest.raises(DataError, match="line 22: the quote before '20' is not closed"):
        table(tmp_path / "t.csv")


def test_quoted_cells_are_read_as_r_and_spreadsheets_write_them(tmp_path):
    texts = sequences(40)
    expected = sorted((s, i % 2) for i, s in enumerate(texts))
    for name, delimiter in (("r.tsv", "\t"), ("x.csv", ","), ("x.txt", ";")):
        rows = [delimiter.join([f'"{s}"', str(i % 2), '"a ""b"", c"']) for i, s in enumerate(texts)]
        (tmp_path / name).write_text("\n".join([delimiter.join(['"sequence"', '"label"', '"name"']), *rows]))
        dataset = table(tmp_path / name)
        assert everything(dataset) == expected
        assert dataset.train.ids[0] == 'a "b", c'


def test_a_cell_may_be_longer_than_131072_characters(tmp_path):
    (tmp_path / "t.csv").write_text(
        "sequence,label,remark\n" + "".join(f"{s},{i % 2},{'x' * 200_000}\n" for i, s in enumerate(sequences(20)))
    )
    assert len(everything(table(tmp_path / "t.csv", label_columns=("label",)))) == 20


@pytest.mark.parametrize("pair", ["0 1", "False True", "false TRUE", "0. 1.", "0.0 1.00", "0e+00 1.000e+00", "00 01"])
def test_labels_are_read_as_programs_write_them(write, pair):
    words = pair.split()
    lines = [(s, words[i % 2]) for i, s in enumerate(sequences(40))]
    dataset = table(write(lines, header="sequence,y"))
    assert everything(dataset) == sorted((s, i % 2) for i, s in enumerate(sequences(40)))


@pytest.mark.parametrize("label", ["", "-1", "2", "10", "nan", "yes", "1_0", "0.5", "1e1", "١"])
def test_what_is_no_label_is_refused_with_its_line(write, label):
    lines = [(s, label if i == 7 else i % 2) for i, s in enumerate(sequences(20))]
    with pytest.raises(DataError, match=r"toy\.csv line 9: column 'y' is '.*'; labels are 0 or 1"):
        table(write(lines, header="sequence,y"))


@pytest.mark.parametrize(
    "name",
    "split fold folds fold1 cv_fold kfold is_test is_train test train valid test_set Set subset strand cv batch "
    "replicate partition isTest in_train holdout group cluster index Strand".split(),
)
def test_a_column_of_0_and_1_that_splits_is_never_a_task_unasked(write, name):
    lines = [(s, i % 2, i // 2 % 2) for i, s in enumerate(sequences(40))]
    path = write(lines, header=f"sequence,bound,{name}")
    with pytest.raises(DataError, match=rf"is the column '{name}' a label\? .* label_columns = \[\"bound\"\]"):
        table(path)
    assert table(path, label_columns=("bound",)).tasks == ("bound",)
    assert table(path, label_columns=("bound", name)).tasks == ("bound", name)  # whoever wants it can have it


@pytest.mark.parametrize("name", ["K562", "HepG2", "CTCF", "bound", "label", "y", "target", "SETDB1", "BATF", "TEAD4"])
def test_names_of_cells_and_factors_are_tasks(write, name):
    lines = [(s, i % 2) for i, s in enumerate(sequences(40))]
    assert table(write(lines, header=f"sequence,{name}")).tasks == (name,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sequence,label\nACGT,1\n,,\nACGT,0\n", "line 3: the sequence is empty"),
        ("sequence,label\nACGT,1\n,\nACGT,0\n", "line 3: the sequence is empty"),
        ("sequence,label\nACGT,1\n\nACGT\n", r"line 4: 1 fields; the header has 2 \(separated by comma\)"),
        ("sequence,label\nACGT,1\nAC\rGT,0\n", "line 3: a carriage return inside the line"),
        ("sequence,label\n1,ACGT,1\n", "line 2: 3 fields; .* row name, as R writes it"),
        ("sequence label\nACGT 1\n", "no column is called sequence"),
        (",\n1,2\n", "no column is called sequence"),
        ("sequence,label\n", "the table has a header but no rows"),
    ],
)
def test_rows_that_are_none_are_named_by_the_line_of_the_file(tmp_path, text, message):
    (tmp_path / "t.csv").write_bytes(text.encode())
    with pytest.raises(DataError, match=message):
        table(tmp_path / "t.csv")


def test_blank_lines_between_rows_are_told_and_the_count_of_rows_is_right(tmp_path):
    lines = [f"{s},{i % 2}" for i, s in enumerate(sequences(40))]
    lines.insert(10, "")
    lines.insert(20, "  ")
    (tmp_path / "t.csv").write_text("\n".join(["sequence,label", *lines]) + "\n\n\n")
    dataset = table(tmp_path / "t.csv")
    assert len(everything(dataset)) == 40
    assert dataset.notes == ("t.csv: 2 blank lines between the rows were skipped (first: 12).",)


def test_spaces_around_names_trailing_delimiters_and_unicode_ids_are_read(tmp_path):
    texts = sequences(40)
    for end, tail in (("\n", ""), ("\r\n", ","), ("\r", ",")):
        lines = [f" {s} , {i % 2} , é\u2028{i}{tail}" for i, s in enumerate(texts)]
        (tmp_path / "t.csv").write_bytes(end.join([f" sequence, label, name {tail}", *lines]).encode("utf-8-sig"))
        dataset = table(tmp_path / "t.csv")
        assert everything(dataset) == sorted((s, i % 2) for i, s in enumerate(texts))
        assert dataset.tasks == ("label",)
        assert dataset.train.ids[0].startswith("é\u2028")


def test_ids_that_repeat_are_told(write):
    lines = [(f"r{i // 2}", s, i % 2) for i, s in enumerate(sequences(40))]
    assert table(write(lines, header="id,sequence,y")).notes == (
        "toy.csv: 20 of 40 rows have the id of an earlier one.",
    )


def test_one_group_of_a_long_name_takes_no_memory_for_every_row(write):
    # NumPy keeps text in cells of one width: 2000 x 100,000 x 4 bytes would be 800 MB
    lines = [(s, i % 2, "g" * 100_000 if i == 0 else f"c{i % 7}") for i, s in enumerate(sequences(2000))]
    path = write(lines, header="sequence,y,chrom")
    tracemalloc.start()
    try:
        table(path, label_columns=("y",), group_column="chrom")
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()


def test_a_table_is_refused_if_its_cells_or_its_length_do_not_fit(write):
    lines = [(s, i % 2) for i, s in enumerate(sequences(2000))]
    path = write(lines, header="sequence,y")
    with pytest.raises(DataError, match=r"reading it takes about 2\.\d MB of memory; 1\.0 MB are allowed"):
        table(path, max_memory=1_000_000)
    with pytest.raises(DataError, match=r"2000 sequences of 1000000000000 bases takes about 32000000\.0 GB"):
        table(path, length=10**12)
