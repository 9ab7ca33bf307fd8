"""A test set named beside the training data: real files, with pandas, h5py and plain Python as second readers."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

import tuner
from tuner.data.dataset import Dataset, Split
from tuner.data.registry import load_dataset
from tuner.data.spec import DataSpec
from tuner.errors import DataError, StudyError
from tuner.genome.sequence import decode
from tuner.study.file import StudyFile, check_study
from tuner.study.paths import expand_paths

REST = "encode/REST_GM12878_NRSF_HudsonAlpha_{}.seq.gz"
OTHER_STRAND = str.maketrans("ACGTN", "TGCAN")


def load(**data: Any) -> Dataset:
    """Read a [data] table as a study file would."""
    return load_dataset(check_study({"name": "s", "data": data}, "s.toml").data)


def sequences(split: Split) -> list[str]:
    return list(decode(split.codes))


def pairs(split: Split) -> list[tuple[str, ...]]:
    """Sequences with their labels, sorted."""
    return sorted((s, *map(str, row)) for s, row in zip(sequences(split), split.labels.tolist(), strict=True))


def first_strand(sequence: str) -> str:
    return min(sequence, sequence[::-1].translate(OTHER_STRAND))


def records(path: Path) -> list[str]:
    """Sequences of a FASTA file."""
    return ["".join(part.split("\n")[1:]) for part in path.read_text().split(">")[1:]]


def fitted(sequence: str, length: int) -> str:
    """Crop around the centre, or pad; an odd base comes off, or on, the right end."""
    surplus = len(sequence) - length
    if surplus >= 0:
        return sequence[surplus // 2 : surplus // 2 + length]
    return "N" * (-surplus // 2) + sequence + "N" * (-surplus - -surplus // 2)


# ------------------------------------------------------------------ the splits, by a second reader


@pytest.mark.parametrize("set_", [REST, "deepbind_2026/ARID3A_HepG2_ARID3A_(NB100-279)_Stanford_{}.seq.gz"])
def test_a_pair_of_deepbind_is_one_study(data_dir: Path, set_: str) -> None:
    training, test = (data_dir / set_.format(which) for which in ("AC", "B"))
    found = load(path=str(training), test={"path": str(test)})
    by_hand = pd.read_csv(test, sep="\t")
    assert sequences(found.test) == by_hand["seq"].tolist()
    assert found.test.labels[:, 0].tolist() == by_hand["Bound"].tolist()
    assert found.test.ids == tuple(by_hand["EventID"])
    positives = pd.read_csv(training, sep="\t")["seq"]
    read = [s for s, label in pairs(found.train) + pairs(found.valid) if label == "1"]
    assert sorted(read) == sorted(positives)
    assert len(found.train) + len(found.valid) == 2 * len(positives)
    assert abs(len(found.train) / (2 * len(positives)) - 0.9) < 0.001  # .7 and the .2 of test
    assert (found.tasks, found.length) == (("bound",), 101)
    apart = {first_strand(s) for s in sequences(found.train)} & {first_strand(s) for s in sequences(found.valid)}
    assert not apart


@pytest.mark.parametrize("task", ["tf_0", "tf_1", "tf_2", "mouse_0", "mouse_3"])
def test_the_tables_of_gue_keep_their_own_splits(data_dir: Path, task: str) -> None:
    path = data_dir / f"gue/gue_{task}.tsv.gz"
    found = load(path=str(path), split_column="split")
    rows = pd.read_csv(path, sep="\t")
    for name, split in found.splits.items():
        own = rows[rows["split"] == name]
        assert sequences(split) == own["sequence"].tolist()
        assert split.labels[:, 0].tolist() == own["label"].tolist()


def test_another_table_takes_the_place_of_a_test_split(data_dir: Path) -> None:
    training, test = data_dir / "gue/gue_mouse_3.tsv.gz", data_dir / "gue/gue_mouse_0.tsv.gz"
    found = load(path=str(training), split_column="split", test={"path": str(test), "split_column": "split"})
    rows, others = (pd.read_csv(path, sep="\t") for path in (training, test))
    assert sequences(found.train) == rows["sequence"][rows["split"] == "train"].tolist()
    assert sequences(found.valid) == rows["sequence"][rows["split"] == "valid"].tolist()
    assert pairs(found.test) == sorted(zip(others["sequence"], others["label"].astype(str), strict=True))
    counts = others["split"].value_counts()
    assert found.notes == (
        "gue_mouse_3.tsv.gz: its own test split (239 sequences) was left out, because the study names a test set.",
        f"gue_mouse_0.tsv.gz: all of its splits were taken together (train {counts['train']}, valid {counts['valid']}, "
        f"test {counts['test']}).",
    )


def test_one_hot_files_of_different_length(data_dir: Path) -> None:
    """IRF1 tests a network of ZBED2; by h5py, both have 400 bp, so a shorter copy is cropped from its centre."""
    training, test = data_dir / "koo/ZBED2_400_h3k27ac.h5", data_dir / "koo/IRF1_400_h3k27ac.h5"
    found = load(path=str(training), test={"path": str(test)})
    with h5py.File(test) as file:
        x = np.concatenate([file[f"X_{split}"][:] for split in ("train", "valid", "test")])
        y = np.concatenate([file[f"Y_{split}"][:] for split in ("train", "valid", "test")])
    assert np.array_equal(found.test.codes, np.where(x.sum(axis=1) == 0, 4, x.argmax(axis=1)))
    assert np.array_equal(found.test.labels, y)
    assert (len(found.train), len(found.valid)) == (3431, 490)
    assert "ZBED2_400_h3k27ac.h5: its own test split was left out, because the study names a test set." in found.notes


def test_a_one_hot_file_may_lack_the_splits_that_are_not_needed(data_dir: Path, tmp_path: Path) -> None:
    with h5py.File(data_dir / "koo/ZBED2_400_h3k27ac.h5") as file:
        arrays = {key: file[key][:] for key in file if key[:2] in ("X_", "Y_")}
    for name, splits in (("fit.h5", ("train", "valid")), ("score.h5", ("test",))):
        with h5py.File(tmp_path / name, "w") as file:
            for split in splits:
                file[f"X_{split}"] = arrays[f"X_{split}"][:, :, 100:300] if name == "score.h5" else arrays[f"X_{split}"]
                file[f"Y_{split}"] = arrays[f"Y_{split}"]
    found = load(path=str(tmp_path / "fit.h5"), test={"path": str(tmp_path / "score.h5")})
    assert {name: len(split) for name, split in found.splits.items()} == {"train": 3431, "valid": 490, "test": 981}
    inner = arrays["X_test"][:, :, 100:300]
    assert np.array_equal(found.test.codes[:, 100:300], np.where(inner.sum(axis=1) == 0, 4, inner.argmax(axis=1)))
    assert (found.test.codes[:, :100] == 4).all()
    assert (found.test.codes[:, 300:] == 4).all()
    positives = int(arrays["Y_test"].sum())
    assert found.notes == (
        f"score.h5: its sequences have 200 bases, those of training 400; {positives} of {positives} positives and "
        f"{981 - positives} of {981 - positives} negatives are shorter and were padded with N.",
    )
    with pytest.raises(DataError, match=r"fit\.h5: key 'X_test' is missing"):
        load(path=str(tmp_path / "fit.h5"))


def test_fasta_files_are_brought_to_the_length_of_training(data_dir: Path) -> None:
    folder = data_dir / "nfe2_gm12878"
    found = load(
        positives=str(folder / "tr.fa"), negatives=str(folder / "neg.tr.fa"), length="shortest", fractions=[0.8, 0.2],
        test={"positives": str(folder / "test.fa"), "negatives": str(folder / "neg.test.fa")},
    )  # fmt: skip
    training = records(folder / "tr.fa") + records(folder / "neg.tr.fa")
    length = min(map(len, training))
    own = {1: records(folder / "test.fa"), 0: records(folder / "neg.test.fa")}
    assert sequences(found.test) == [fitted(s.upper(), length) for label in (1, 0) for s in own[label]]
    assert found.test.labels[:, 0].tolist() == [1] * len(own[1]) + [0] * len(own[0])
    assert sorted(sequences(found.train) + sequences(found.valid)) == sorted(
        fitted(s.upper(), length) for s in training
    )
    assert len(found.valid) == pytest.approx(0.2 * len(training), abs=2)
    sizes = [len(s) for label in (1, 0) for s in own[label]]
    (note,) = found.notes
    assert note.startswith(
        f"test.fa + neg.test.fa: its sequences have {min(sizes)} to {max(sizes)} bases, those of training {length}; "
        f"{sum(size > length for size in sizes)} of {len(sizes)} sequences are longer and were cropped"
    )
    shorter = [sum(len(s) < length for s in own[label]) for label in (1, 0)]
    said = f"{shorter[0]} of {len(own[1])} positives and {shorter[1]} of {len(own[0])} negatives are shorter and were"
    assert (said in note) == (sum(shorter) > 0)


def test_shuffled_negatives_of_a_test_set(data_dir: Path) -> None:
    folder = data_dir / "nfe2_gm12878"
    found = load(
        positives=str(folder / "tr.fa"), negatives="shuffle", length=200,
        test={"positives": str(folder / "test.fa"), "negatives": "shuffle", "seed": 3},
    )  # fmt: skip
    tested = records(folder / "test.fa")
    assert len(found.test) == 2 * len(tested)
    real, shuffled = (sequences(found.test.take(found.test.labels[:, 0] == label)) for label in (1, 0))
    for one, other in zip(real, shuffled, strict=True):
        assert sorted(one[i : i + 2] for i in range(199)) == sorted(other[i : i + 2] for i in range(199))


def test_tasks_are_put_in_order_by_name(data_dir: Path, tmp_path: Path) -> None:
    table = pd.read_csv(data_dir / "usf1_multicell/usf1_multicell.tsv.gz", sep="\t")
    train, test = table.iloc[:3000], table.iloc[3000:4000][["K562", "peak", "sequence", "HepG2", "H1hESC"]]
    train.to_csv(tmp_path / "train.tsv", sep="\t", index=False)
    test.to_csv(tmp_path / "test.csv", index=False)
    found = load(path=str(tmp_path / "train.tsv"), test={"path": str(tmp_path / "test.csv")})
    assert found.tasks == ("HepG2", "H1hESC", "K562")
    assert np.array_equal(found.test.labels, test[list(found.tasks)])
    assert sequences(found.test) == test["sequence"].tolist()


def test_copies_stay_in_the_test_split_and_are_counted(data_dir: Path, tmp_path: Path) -> None:
    rows = pd.read_csv(data_dir / REST.format("B"), sep="\t").sample(frac=1, random_state=1)  # sorted by label
    training, test = rows.iloc[:600], rows.iloc[560:].copy()
    turned = [s[::-1].translate(OTHER_STRAND) for s in test["seq"].iloc[:40]]
    test["seq"] = turned + test["seq"].iloc[40:].tolist()
    for name, part in (("train.seq", training), ("test.seq", test)):
        part.to_csv(tmp_path / name, sep="\t", index=False)
    found = load(path=str(tmp_path / "train.seq"), test={"path": str(tmp_path / "test.seq")})
    assert len(found.test) == 440
    by_hand = {
        name: sum(first_strand(s) in {first_strand(t) for t in sequences(found.splits[name])} for s in test["seq"])
        for name in ("train", "valid")
    }
    assert sum(by_hand.values()) == 40
    said = [text for text in found.describe()["warnings"] if "of test also" in text]
    assert [text.split()[0] for text in said] == [str(n) for n in by_hand.values() if n]


def test_groups_of_the_test_set_are_none_of_training(data_dir: Path) -> None:
    found = load(path=str(data_dir / REST.format("AC")), test={"path": str(data_dir / REST.format("B"))})
    numbers = [set(np.asarray(split.groups).tolist()) for split in found.splits.values()]
    assert not (numbers[0] | numbers[1]) & numbers[2]
    assert not numbers[0] & numbers[1]


# ------------------------------------------------------------------ where it goes


def test_the_fingerprint_covers_the_test_set(data_dir: Path, tmp_path: Path) -> None:
    training, test = data_dir / REST.format("AC"), data_dir / REST.format("B")
    text = gzip.decompress(test.read_bytes()).decode()
    (tmp_path / "other.seq").write_text(text[:-5] + {"A": "C"}.get(text[-4], "A") + text[-4:])
    rows = text.rstrip("\n").split("\n")
    (tmp_path / "shorter.seq").write_text("\n".join(rows[:-1]) + "\n")
    whole = load(path=str(training), test={"path": str(test)})
    assert whole.fingerprint != load(path=str(training), test={"path": str(tmp_path / "shorter.seq")}).fingerprint
    assert whole.without_test().fingerprint == whole.fingerprint
    with pytest.raises(DataError, match="the test split is closed"):
        _ = whole.without_test().test


def test_files_are_named_found_and_stored() -> None:
    study = check_study(
        {"name": "s", "data": {"path": "a.tsv", "test": {"positives": "$D/p.fa", "negatives": "~/n.fa"}}}, "s.toml"
    )
    assert study.data.files == {"path": "a.tsv", "test.positives": "$D/p.fa", "test.negatives": "~/n.fa"}
    expanded = expand_paths(study, {"D": "/there"}, Path("/"), "s.toml").data
    assert expanded.files["test.positives"] == "/there/p.fa"
    assert expanded.files["test.negatives"] == f"{Path.home()}/n.fa"
    moved = study.data.at({"path": "/b.tsv", "test.negatives": "/m.fa"})
    assert moved.test == DataSpec(positives="$D/p.fa", negatives="/m.fa")
    stored = json.loads(json.dumps(study.model_dump(exclude_none=True)))
    assert check_study(stored, "stored").data == study.data
    assert StudyFile.model_validate(stored).data.test == study.data.test


def test_data_of_python_name_a_test_set(tmp_path: Path) -> None:
    test = tuner.Data.from_table(tmp_path / "t.tsv", label_columns=["bound"])
    data = tuner.Data.from_fasta(tmp_path / "p.fa", test=test, fractions=(0.9, 0.1))
    assert data.section() == {
        "positives": str(tmp_path / "p.fa"), "negatives": "shuffle", "fractions": [0.9, 0.1],
        "test": {"path": str(tmp_path / "t.tsv"), "label_columns": ["bound"]},
    }  # fmt: skip
    assert check_study({"name": "s", "data": data.section()}, "s").data == data.spec
    assert tuner.Data.from_hdf5(tmp_path / "a.h5", test=test).spec.test == test.spec
    with pytest.raises(DataError, match=r"\[data\.test\] has no key fractions"):
        tuner.Data.from_hdf5(tmp_path / "a.h5", test=data)
    assert tuner.Data.from_table(tmp_path / "a.tsv", test=test).spec.test == test.spec


@pytest.mark.parametrize(
    ("fractions", "test", "shares"),
    [
        (None, True, (0.9, 0.1)), ((0.6, 0.2, 0.2), True, (0.8, 0.2)), ((0.75, 0.25), True, (0.75, 0.25)),
        (None, False, (0.7, 0.1, 0.2)), ((0.6, 0.2, 0.2), False, (0.6, 0.2, 0.2)),
    ],
)  # fmt: skip
def test_train_takes_the_share_of_test(fractions: Any, test: bool, shares: tuple[float, ...]) -> None:
    spec = DataSpec(path="a.tsv", fractions=fractions, test=DataSpec(path="b.tsv") if test else None)
    assert spec.shares == pytest.approx(shares, abs=1e-12)


# ------------------------------------------------------------------ what is refused

WRONG_TABLE: list[tuple[dict[str, Any], str]] = [
    ({"pth": "b.tsv"}, r"s\.toml \[data\.test\]: unknown key 'pth'; did you mean 'path'\?"),
    ({"path": "b.tsv", "fractions": [0.5, 0.5]}, r"\[data\.test\] has no key fractions: all of its sequences"),
    ({"path": "b.tsv", "group_column": "chr"}, r"\[data\.test\] has no key group_column"),
    ({"path": "b.tsv", "test": {"path": "c.tsv"}}, r"\[data\.test\] has no key test"),
    ({"dataset": "zbed2"}, r"\[data\.test\] names files, by path or by positives and negatives; it gives dataset"),
    ({"folder": "there"}, r"\[data\.test\] names files, by path or by positives and negatives; it gives folder"),
    ({"positives": "b.fa"}, r"\[data\.test\] positives need negatives: name their FASTA file"),
    ({}, r"the \[data\.test\] table must say where the sequences are .* it gives none of them"),
    ({"path": 3}, r"\[data\.test\.path\]: Input should be a valid string; it is 3"),
    ({"path": "b.tsv", "length": 0}, r"the \[data\.test\] table's length is 0"),
]


@pytest.mark.parametrize(("test", "said"), WRONG_TABLE)
def test_a_wrong_table_is_one_error_that_names_it(test: dict[str, Any], said: str) -> None:
    with pytest.raises(StudyError, match=said) as found:
        load(path="a.tsv", test=test)
    assert "\n" not in str(found.value)
    assert found.value.exit_code == 2


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"dataset": "zbed2"}, "test means nothing beside dataset: zbed2 has a test split of its own"),
        ({"folder": "there"}, "test means nothing beside folder: a folder has a test split of its own"),
        ({"path": "a.tsv", "fractions": [0.9, 0.2]}, "expected two numbers above 0 for train and valid, or three"),
        ({"path": "a.tsv", "fractions": [1.0]}, "expected two numbers above 0 for train and valid, or three"),
    ],
)
def test_no_test_set_stands_beside_data_that_have_one(data: dict[str, Any], said: str) -> None:
    with pytest.raises(StudyError, match=said):
        load(**data, test={"path": "b.tsv"})
    with pytest.raises(StudyError, match="two, for train and valid, belong beside a test set"):
        load(path="a.tsv", fractions=[0.9, 0.1])


def test_wrong_files_are_one_error_each(data_dir: Path, tmp_path: Path) -> None:
    training, test = data_dir / REST.format("AC"), data_dir / REST.format("B")
    rows = pd.read_csv(test, sep="\t")
    table = rows.rename(columns={"seq": "sequence", "Bound": "bound"})[["sequence", "bound"]]
    table[table["bound"] == 1].to_csv(tmp_path / "positives.tsv", sep="\t", index=False)
    table[["sequence"]].to_csv(tmp_path / "no_task.tsv", sep="\t", index=False)
    table.to_csv(tmp_path / "bound.tsv", sep="\t", index=False)
    table.rename(columns={"bound": "open"}).to_csv(tmp_path / "open.tsv", sep="\t", index=False)
    table.to_csv(tmp_path / "again.csv", index=False)
    (tmp_path / "no_rows.tsv").write_text("sequence\tbound\n")
    (tmp_path / "link.seq.gz").symlink_to(training)
    for file, said in {
        "absent.tsv": r"absent\.tsv: no such file",
        "positives.tsv": r"positives\.tsv: task 'bound' has only positives \(500 sequences\) and no negatives",
        "no_task.tsv": r"no_task\.tsv: no label column among sequence",
        "no_rows.tsv": r"no_rows\.tsv: the table has a header but no rows",
    }.items():
        with pytest.raises(DataError, match=rf"^\[data\.test\] .*{said}") as found:
            load(path=str(training), test={"path": str(tmp_path / file)})
        assert found.value.exit_code == 1
    with pytest.raises(DataError, match=r"^\[data\.test\] .*AC\.seq\.gz is also a file of training"):
        load(path=str(training), test={"path": str(training)})
    with pytest.raises(DataError, match=r"^\[data\.test\] .*link\.seq\.gz is also a file of training"):
        load(path=str(training), test={"path": str(tmp_path / "link.seq.gz")})
    with pytest.raises(DataError, match=r"open\.tsv has the tasks open, but those of training are bound"):
        load(path=str(tmp_path / "bound.tsv"), test={"path": str(tmp_path / "open.tsv")})
    with pytest.raises(DataError, match=r"again\.csv: all 1000 sequences occur in training and validation"):
        load(path=str(tmp_path / "bound.tsv"), test={"path": str(tmp_path / "again.csv")})
    named_by_none = load(path=str(training), test={"path": str(tmp_path / "open.tsv")})  # DeepBind's files name no task
    assert named_by_none.tasks == ("bound",)
