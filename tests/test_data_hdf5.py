"""Koo's HDF5 layout: the real files, the round trip, and every broken file that people will have."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from tuner.data.dataset import Dataset, Split
from tuner.data.hdf5 import koo_hdf5, write_koo_hdf5
from tuner.errors import DataError
from tuner.genome.sequence import one_hot

SIZES = {"train": 12, "valid": 4, "test": 6}


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    """What a sound file holds."""
    rng = np.random.default_rng(0)
    content = {}
    for split, n in SIZES.items():
        codes = rng.integers(4, size=(n, 20)).astype(np.uint8)
        content[f"X_{split}"] = one_hot(codes).numpy().copy()
        content[f"Y_{split}"] = np.arange(n)[:, None] % 2
    return content


@pytest.fixture
def write(tmp_path, arrays):
    """Write `arrays`, some of them replaced (None: left out), and return the path."""

    def _write(**changes: np.ndarray | None):
        path = tmp_path / "toy.h5"
        with h5py.File(path, "w") as file:
            for key, value in {**arrays, **changes}.items():
                if value is not None:
                    file[key] = value
        return path

    return _write


@pytest.mark.parametrize(
    ("file", "sizes", "positives", "gc"),
    [  # counts and GC as published with the files; GC of training positives and negatives
        ("ZBED2", (3431, 490, 981), (1729, 255, 467), (0.595, 0.502)),
        ("IRF1", (2724, 389, 779), (1372, 200, 374), (0.442, 0.504)),
    ],
)
def test_the_published_files_have_their_published_counts(data_dir, file, sizes, positives, gc):
    path = data_dir / "koo" / f"{file}_400_h3k27ac.h5"
    dataset = koo_hdf5(path, tasks=(file,))
    splits = (dataset.train, dataset.valid, dataset.test)
    assert tuple(map(len, splits)) == sizes
    assert tuple(int(s.labels.sum()) for s in splits) == positives
    assert (dataset.length, dataset.tasks) == (400, (file,))
    train = dataset.describe()["splits"]["train"]
    assert (train["gc_positives"], train["gc_negatives"]) == pytest.approx(gc, abs=5e-4)
    with h5py.File(path) as raw:
        assert np.array_equal(one_hot(dataset.valid.codes).numpy(), raw["X_valid"][()])


def test_integer_one_hot_flat_labels_and_a_trailing_axis_are_read(write, arrays):
    plain = koo_hdf5(write())
    other = koo_hdf5(
        write(
            X_train=arrays["X_train"].astype(np.int8)[..., None],
            Y_train=arrays["Y_train"][:, 0].astype(bool),
        )
    )
    assert other.fingerprint == plain.fingerprint
    assert plain.tasks == ("task_0",)


def test_a_column_of_zeros_is_n(write, arrays):
    arrays["X_valid"][1, :, 5] = 0
    codes = koo_hdf5(write()).valid.codes
    assert codes[1, 5] == 4
    assert (codes == 4).sum() == 1


def test_the_other_layout_is_read_when_asked_for(write, arrays):
    plain = koo_hdf5(write()).fingerprint
    flipped = {key: value.transpose(0, 2, 1) for key, value in arrays.items() if key.startswith("X")}
    assert koo_hdf5(write(**flipped), layout="nlc").fingerprint == plain


def test_writing_and_reading_keeps_fingerprint_tasks_and_ground_truth(tmp_path):
    rng = np.random.default_rng(1)
    splits = {
        name: Split(
            rng.integers(5, size=(n, 9)).astype(np.uint8),
            rng.integers(2, size=(n, 3)).astype(np.uint8),
            truth=rng.random((n, 4, 9)).astype(np.float32),
        )
        for name, n in SIZES.items()
    }
    dataset = Dataset("made", ("a", "b", "c"), splits, "here")
    path = write_koo_hdf5(dataset, tmp_path / "made.h5")
    back = koo_hdf5(path)
    assert back.fingerprint == dataset.fingerprint
    assert back.tasks == ("a", "b", "c")
    assert np.array_equal(back.test.truth, dataset.test.truth)
    assert [p.name for p in tmp_path.iterdir()] == ["made.h5"]


def test_a_failed_write_leaves_the_old_file_and_no_debris(tmp_path, monkeypatch):
    target = tmp_path / "made.h5"
    target.write_text("old")
    codes = np.zeros((2, 9), np.uint8)
    dataset = Dataset("made", ("a",), dict.fromkeys(SIZES, Split(codes, codes[:, :1])), "here")

    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tuner.data.hdf5._write_split", full_disk)
    with pytest.raises(DataError, match=r"made\.h5: cannot be written .*No space left on device"):
        write_koo_hdf5(dataset, target)
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["made.h5"]
    with pytest.raises(DataError, match="cannot be written"):
        write_koo_hdf5(dataset, tmp_path / "no_such_folder" / "made.h5")


def test_missing_file(tmp_path):
    with pytest.raises(DataError, match=r"absent\.h5: no such file"):
        koo_hdf5(tmp_path / "absent.h5")


@pytest.mark.parametrize("keep", [0.02, 0.5, 0.98])
def test_truncated_file(write, keep):
    path = write()
    raw = path.read_bytes()
    path.write_bytes(raw[: int(keep * len(raw))])
    with pytest.raises(DataError, match=r"toy\.h5: not a complete HDF5 file .* It is truncated or damaged"):
        koo_hdf5(path)


def test_truncated_real_file(data_dir, tmp_path):
    path = tmp_path / "zbed2.h5"
    path.write_bytes((data_dir / "koo" / "ZBED2_400_h3k27ac.h5").read_bytes()[:1_000_000])
    with pytest.raises(DataError, match="truncated or damaged: copy or download it again"):
        koo_hdf5(path)


def test_damaged_chunk(tmp_path, arrays):
    path = tmp_path / "toy.h5"
    with h5py.File(path, "w") as file:
        for key, value in arrays.items():
            file.create_dataset(key, data=value, compression="gzip")
        offset, size = (lambda c: (c.byte_offset, c.size))(file["X_train"].id.get_chunk_info(0))
    raw = bytearray(path.read_bytes())
    raw[offset : offset + size] = bytes(size)
    path.write_bytes(raw)
    with pytest.raises(DataError, match="truncated or damaged"):
        koo_hdf5(path)


def test_text_in_place_of_hdf5(tmp_path):
    path = tmp_path / "toy.h5"
    path.write_text("<html>404</html>")
    with pytest.raises(DataError, match="not a complete HDF5 file"):
        koo_hdf5(path)


def test_missing_key(write):
    with pytest.raises(
        DataError, match=r"toy\.h5: key 'Y_valid' is missing; .* found X_test \(6, 4, 20\), X_train .*, Y_test"
    ):
        koo_hdf5(write(Y_valid=None))


def test_transposed_layout_names_the_axes(write, arrays):
    flipped = arrays["X_train"].transpose(0, 2, 1)
    with pytest.raises(
        DataError,
        match=r"X_train has shape \(12, 20, 4\); expected \(n, 4, length\)\. "
        r'Transpose axes 1 and 2, or set layout = "nlc"',
    ):
        koo_hdf5(write(X_train=flipped))
    with pytest.raises(DataError, match=r'expected \(n, length, 4\)\. .* set layout = "ncl"'):
        koo_hdf5(write(), layout="nlc")
    with pytest.raises(DataError, match="Axis 0 holds the bases: transpose it to axis 1"):
        koo_hdf5(write(X_train=arrays["X_train"].transpose(1, 0, 2)))
    with pytest.raises(DataError, match="No axis holds the 4 bases"):
        koo_hdf5(write(X_train=np.zeros((12, 20))))
    with pytest.raises(DataError, match="unknown layout 'nlx'; did you mean 'nlc'"):
        koo_hdf5(write(), layout="nlx")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ((1, 1, 0, 0), r"\(1, 1, 0, 0\)"),
        ((0.5, 0.5, 0, 0), r"\(0.5, 0.5, 0, 0\)"),
        ((-1, 1, 1, 0), r"\(-1, 1, 1, 0\)"),
        ((255, 0, 0, 0), r"\(255, 0, 0, 0\)"),
        ((np.nan, 0, 0, 0), r"\(nan, 0, 0, 0\)"),
        ((np.inf, 0, 0, 0), r"\(inf, 0, 0, 0\)"),
    ],
)
def test_rows_that_are_no_one_hot(write, arrays, value, shown):
    arrays["X_valid"][2, :, 7] = value
    with pytest.raises(DataError, match=rf"X_valid row 2, position 7 is {shown}; expected one-hot"):
        koo_hdf5(write())


@pytest.mark.parametrize(("value", "shown"), [(np.nan, "nan"), (2.0, r"2\.0"), (-1.0, r"-1\.0"), (0.5, r"0\.5")])
def test_labels_that_are_not_0_or_1(write, arrays, value, shown):
    labels = arrays["Y_test"].astype(float)
    labels[3] = value
    with pytest.raises(DataError, match=rf"Y_test row 3, column 0 is {shown}; expected 0 or 1. 1 of 6 rows"):
        koo_hdf5(write(Y_test=labels))


def test_labels_that_are_text(write):
    with pytest.raises(DataError, match=r"Y_test holds object \(text\); expected numbers"):
        koo_hdf5(write(Y_test=np.array([b"bound"] * 6, dtype=object)))


def test_x_and_y_of_different_length(write, arrays):
    with pytest.raises(DataError, match=r"X_train has 12 sequences but Y_train has shape \(11, 1\)"):
        koo_hdf5(write(Y_train=arrays["Y_train"][1:]))


def test_empty_split(write):
    with pytest.raises(DataError, match=r"X_valid is empty \(shape \(0, 4, 20\)\)"):
        koo_hdf5(write(X_valid=np.zeros((0, 4, 20)), Y_valid=np.zeros((0, 1))))


def test_splits_that_differ_in_length_or_tasks(write, arrays):
    with pytest.raises(DataError, match="differ in bases per sequence: train 20, valid 19, test 20"):
        koo_hdf5(write(X_valid=arrays["X_valid"][:, :, 1:]))
    with pytest.raises(DataError, match="differ in label columns: train 1, valid 2, test 1"):
        koo_hdf5(write(Y_valid=np.zeros((4, 2))))


def test_task_names_and_ground_truth_that_do_not_fit(write, arrays):
    with pytest.raises(DataError, match=r"2 task names \(a, b\) for 1 label columns"):
        koo_hdf5(write(), tasks=("a", "b"))
    with pytest.raises(DataError, match=r"model_test has shape \(5, 4, 20\), X_test \(6, 4, 20\)"):
        koo_hdf5(write(model_test=arrays["X_test"][1:]))
