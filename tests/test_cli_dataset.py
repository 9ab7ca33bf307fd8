"""`tuner dataset`: the data of a study as one file, which trains on the same data."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

import tuner
from tuner.cli.app import app
from tuner.data.dataset import SPLITS
from tuner.data.registry import load_dataset
from tuner.data.spec import DataSpec
from tuner.errors import DataError, UsageError

run = CliRunner().invoke


def study(folder: Path, data: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(f'name = "mine"\nspace = "default"\n\n[data]\n{data}\n')
    return path


@pytest.fixture
def klf1(data_dir: Path, tmp_path: Path) -> Path:
    return study(tmp_path, f'positives = "{data_dir / "klf1_mm9" / "Klf1.fna"}"\nnegatives = "shuffle"')


def test_the_file_holds_what_the_study_uses(klf1: Path, data_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.h5"
    done = run(app, ["dataset", "--study", str(klf1), "--out", str(out), "--json"])
    assert done.exit_code == 0, done.output
    source = data_dir / "klf1_mm9" / "Klf1.fna"
    expected = load_dataset(DataSpec(positives=str(source), negatives="shuffle"))
    found = load_dataset(DataSpec(path=str(out)))
    assert json.loads(done.stdout)["fingerprint"] == found.fingerprint == expected.fingerprint
    texts = source.read_text().replace("\r", "").split(">")[1:]
    sequences = {text.split()[0]: "".join(text.split("\n")[1:]).upper() for text in texts}  # by hand
    named = 0
    for name in SPLITS:
        split, same = found.splits[name], expected.splits[name]
        assert split.ids == same.ids
        np.testing.assert_array_equal(split.groups, same.groups)
        for label, text, codes in zip(split.labels[:, 0], split.ids or (), split.codes, strict=True):
            if label and text in sequences:
                assert "".join("ACGTN"[c] for c in codes) == sequences[text]
                named += 1
    assert named == 904
    with h5py.File(out) as file:
        kept = json.loads(file.attrs["recipe"])
    assert kept["data"] == {"positives": "Klf1.fna", "negatives": "shuffle"}
    assert kept["fingerprint"] == expected.fingerprint


def test_the_same_study_gives_the_same_bytes(klf1: Path, data_dir: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "a.h5", tmp_path / "b.h5"
    assert run(app, ["dataset", "--study", str(klf1), "--out", str(first)]).exit_code == 0
    tuner.Data.from_fasta(data_dir / "klf1_mm9" / "Klf1.fna").to_hdf5(second)
    assert first.read_bytes() == second.read_bytes()


def test_an_existing_file_is_kept(klf1: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.h5"
    out.write_text("mine")
    refused = run(app, ["dataset", "--study", str(klf1), "--out", str(out)])
    assert isinstance(refused.exception, UsageError)  # whose exit code is 2
    assert "exists" in str(refused.exception)
    assert out.read_text() == "mine"
    assert run(app, ["dataset", "--study", str(klf1), "--out", str(out), "--force"]).exit_code == 0
    assert h5py.is_hdf5(out)


@pytest.mark.parametrize(
    ("key", "values", "words"),
    [
        ("ids_train", np.array([b"only one"]), "ids_train has 1 entries for"),
        ("groups_valid", np.arange(3), "groups_valid has 3 entries for"),
    ],
)
def test_names_and_groups_must_be_as_many_as_sequences(
    key: str, values: np.ndarray, words: str, klf1: Path, tmp_path: Path
) -> None:
    out = tmp_path / "mine.h5"
    assert run(app, ["dataset", "--study", str(klf1), "--out", str(out)]).exit_code == 0
    with h5py.File(out, "a") as file:
        del file[key]
        file[key] = values
    with pytest.raises(DataError, match=words):
        load_dataset(DataSpec(path=str(out)))


def test_names_in_another_form_are_left_alone(klf1: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.h5"
    assert run(app, ["dataset", "--study", str(klf1), "--out", str(out)]).exit_code == 0
    with h5py.File(out, "a") as file:
        n = len(file["X_train"])
        del file["ids_train"], file["groups_train"]
        file.create_dataset("ids_train", data=["x"] * n, dtype=h5py.string_dtype())  # of any size: not read
        file["groups_train"] = np.full(n, 0.5)
    found = load_dataset(DataSpec(path=str(out)))
    assert found.train.ids is None
    assert found.train.groups is None
