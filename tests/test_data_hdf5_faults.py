"""What people's HDF5 files have: other layouts and spellings are read, and every fault is told from the others."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from tuner.data.hdf5 import koo_hdf5
from tuner.errors import DataError
from tuner.genome.sequence import one_hot

SIZES = {"train": 2000, "valid": 300, "test": 400}
LENGTH = 50


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    """What a sound file holds: three tasks."""
    rng = np.random.default_rng(7)
    content = {}
    for split, n in SIZES.items():
        content[f"X_{split}"] = one_hot(rng.integers(4, size=(n, LENGTH)).astype(np.uint8)).numpy().astype(np.int8)
        content[f"Y_{split}"] = rng.integers(2, size=(n, 3)).astype(np.int8)
    return content


def save(path: Path, arrays: dict[str, np.ndarray], tasks: object = None) -> Path:
    with h5py.File(path, "w") as file:
        for key, value in arrays.items():
            file[key] = value
        if tasks is not None:
            file.attrs["tasks"] = tasks
    return path


@pytest.fixture
def path(tmp_path, arrays) -> Path:
    return save(tmp_path / "mine.h5", arrays)


NAMES = ("CTCF", "a b", "Zürich")


@pytest.mark.parametrize(
    "stored",
    [
        json.dumps(NAMES),
        json.dumps(NAMES).encode(),
        np.bytes_(json.dumps(NAMES)),
        list(NAMES),
        [name.encode() for name in NAMES],
        np.array([name.encode() for name in NAMES], dtype="S20"),
        np.array([[name.encode() for name in NAMES]], dtype="S20"),
        np.array(NAMES, dtype=h5py.string_dtype()),
        np.array([name.encode() for name in NAMES], dtype=h5py.string_dtype("utf-8", 12)),
        ", ".join(NAMES),
        ",".join(NAMES).encode(),
        [json.dumps(NAMES)],
    ],
    ids=lambda stored: f"{type(stored).__name__}-{getattr(stored, 'dtype', '')}-{np.size(stored)}",
)
def test_tasks_are_read_in_every_spelling(tmp_path, arrays, stored):
    assert koo_hdf5(save(tmp_path / "mine.h5", arrays, stored)).tasks == NAMES


def test_one_task_may_have_a_comma_in_its_name_and_an_array_of_names_counts_too(tmp_path, arrays):
    one = {key: value[:, :1] if key.startswith("Y") else value for key, value in arrays.items()}
    assert koo_hdf5(save(tmp_path / "one.h5", one, "CTCF, K562")).tasks == ("CTCF, K562",)
    assert koo_hdf5(save(tmp_path / "two.h5", one, np.bytes_("CTCF"))).tasks == ("CTCF",)
    assert koo_hdf5(save(tmp_path / "three.h5", {**arrays, "tasks": np.array([b"x", b"y", b"z"])})).tasks == tuple(
        "xyz"
    )


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        (12, r"tasks holds 12 \(int\); expected text"),
        ([1.5, 2.5, 3.5], r"tasks holds 1.5 \(float\); expected text"),
        ('{"a": 1}', "tasks is a JSON object; expected a list of names"),
        ('["a", "b"', "tasks begins like a JSON list, but is not valid JSON"),
        ('["a", 2, "c"]', r"tasks holds 2 \(int\); expected text"),
        ("[" * 60_000, "tasks is JSON nested too deeply|tasks begins like a JSON list, but is not valid JSON"),
        (np.bytes_(b"\xff\xfe"), "tasks is not UTF-8 text"),
        ("a,,c", "tasks holds an empty name"),
        (["a", "b\nc", "d"], "has characters that cannot be shown"),
        (["a", "b"], r"2 task names \(a, b\) for 3 label columns"),
    ],
)
def test_tasks_that_are_no_names_are_refused_with_the_way_to_name_them(tmp_path, arrays, stored, words):
    broken = save(tmp_path / "mine.h5", arrays, stored)
    with pytest.raises(DataError, match=words):
        koo_hdf5(broken)
    assert koo_hdf5(broken, tasks=NAMES).tasks == NAMES  # what the study says goes first


@pytest.mark.parametrize(
    "turn",
    [
        lambda x: x[:, :, None, :],  # Basset
        lambda x: x[:, :, :, None],  # DeepSEA
        lambda x: x[:, None, :, :],
        lambda x: x.transpose(0, 2, 1),  # Keras
        lambda x: x.transpose(0, 2, 1)[:, None],
        lambda x: x.transpose(0, 2, 1)[..., None],
        lambda x: x.astype(bool),
        lambda x: x.astype(">f2"),
        lambda x: x.astype(np.uint64),
    ],
    ids=["n41L", "n4L1", "n14L", "nL4", "n1L4", "nL41", "bool", "big-endian-half", "uint64"],
)
def test_axes_and_types_that_leave_one_reading_are_read(tmp_path, arrays, path, turn):
    turned = {key: turn(value) if key.startswith("X") else value for key, value in arrays.items()}
    assert koo_hdf5(save(tmp_path / "other.h5", turned)).fingerprint == koo_hdf5(path).fingerprint


@pytest.mark.parametrize("x", ["{}_in", "x_{}"])
def test_names_of_other_programs_are_read(tmp_path, arrays, path, x):
    y = x.replace("in", "out").replace("x", "y")
    renamed = {(x if key[0] == "X" else y).format(key[2:]): value for key, value in arrays.items()}
    other = koo_hdf5(save(tmp_path / "er.h5", {**renamed, "target_labels": np.array([b"A", b"B", b"C"])}))
    assert other.tasks == ("A", "B", "C")
    assert np.array_equal(other.valid.codes, koo_hdf5(path).valid.codes)


def test_sequences_that_lie_bases_last_are_noted(tmp_path, arrays):
    turned = {key: value.transpose(0, 2, 1) if key.startswith("X") else value for key, value in arrays.items()}
    assert 'layout = "nlc"' in koo_hdf5(save(tmp_path / "other.h5", turned)).notes[0]
    with pytest.raises(DataError, match=r'expected \(n, 4, length\)\. Transpose axes 1 and 2, or set layout = "nlc"'):
        koo_hdf5(tmp_path / "other.h5", layout="ncl")


def test_layouts_that_cannot_be_read_are_named(tmp_path, arrays):
    deepsea = {"trainxdata": np.zeros((100, 4, 20), np.int8), "traindata": np.zeros((9, 20), np.int8)}
    with pytest.raises(DataError, match=r"is DeepSEA's train.mat: .* Write trainxdata.transpose\(2, 1, 0\)"):
        koo_hdf5(save(tmp_path / "train.mat", deepsea))
    flat = {key: value.reshape(len(value), -1) if key[0] == "X" else value for key, value in arrays.items()}
    with pytest.raises(DataError, match=r"X_train has shape \(2000, 200\).* No axis holds the 4 bases"):
        koo_hdf5(save(tmp_path / "flat.h5", flat))
    with pytest.raises(DataError, match=r"key 'X_train' is missing; .* found data \(7, 3\)"):
        koo_hdf5(save(tmp_path / "any.h5", {"data": np.zeros((7, 3))}))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.zeros((2000, 3), complex), r"Y_train holds complex128 \(complex numbers\); expected numbers 0 and 1"),
        (np.zeros(2000, [("a", "i4")]), r"Y_train holds .* \(records\)"),
        (np.array(["bound"] * 2000, dtype=h5py.string_dtype()), r"Y_train holds object \(text\)"),
        (np.zeros((), np.int8), "Y_train holds one value; expected an array"),
        (h5py.Empty("f4"), "Y_train holds nothing; expected an array"),
        (h5py.SoftLink("/gone"), "Y_train is a link to /gone, where there is no array"),
        (h5py.ExternalLink("gone.h5", "/Y"), "Y_train is a link to gone.h5:/Y, where there is no array"),
        (np.full((2000, 3), np.inf), r"Y_train row 0, column 0 is inf; expected 0 or 1. 2000 of 2000 rows"),
        (np.zeros((2000, 0)), r"X_train has 2000 sequences but Y_train has shape \(2000, 0\)"),
    ],
)
def test_labels_of_another_kind_are_refused(tmp_path, arrays, value, words):
    with pytest.raises(DataError, match=words):
        koo_hdf5(save(tmp_path / "mine.h5", {**arrays, "Y_train": value}))


def test_sequences_as_text_and_sequences_of_zeros_are_refused(tmp_path, arrays):
    text = np.array([b"ACGT"] * 2000)
    with pytest.raises(DataError, match=r"X_train holds \|S4 \(text\).* read from a table or FASTA"):
        koo_hdf5(save(tmp_path / "text.h5", {**arrays, "X_train": text}))
    with pytest.raises(DataError, match=r"X_test holds only zeros: no base of any sequence is known"):
        koo_hdf5(save(tmp_path / "zero.h5", {**arrays, "X_test": np.zeros_like(arrays["X_test"])}))
    twice = arrays["X_valid"].astype(bool)
    twice[3, :, 9] = True
    with pytest.raises(DataError, match=r"X_valid row 3, position 9 is \(1, 1, 1, 1\)"):
        koo_hdf5(save(tmp_path / "twice.h5", {**arrays, "X_valid": twice}))


def _npz() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, X=np.zeros(3))
    return stream.getvalue()


def _zip() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.txt", "a")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (gzip.compress(b"anything", mtime=0), "it is gzip: unpack it with gunzip"),
        (b"MATLAB 5.0 MAT-file, Platform: GLNXA64" + bytes(200), "it is a MATLAB 5 file: load it in Python"),
        (_npz(), "it is NumPy's npz: load it with numpy.load"),
        (_zip(), "it is a zip archive"),
        (b"\x80\x04\x95" + bytes(40), "it is a Python pickle, which is not opened"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "it is a Git LFS pointer"),
        (b">p1\nACGT\n", "it is text that begins like FASTA"),
        (b"<html>404</html>", "it is a web page"),
        ("sequence\tä\nACGT\t1\n".encode(), "it is text, perhaps a table"),
        (bytes(range(128, 256)), "it is in none of the known formats"),
        (b"", "the file is empty"),
    ],
)
def test_what_is_no_hdf5_is_named(tmp_path, content, words):
    (tmp_path / "mine.h5").write_bytes(content)
    with pytest.raises(DataError, match=words):
        koo_hdf5(tmp_path / "mine.h5")


def test_a_folder_is_named(tmp_path):
    with pytest.raises(DataError, match="is a folder; expected an HDF5 file"):
        koo_hdf5(tmp_path)


def test_a_matlab_73_header_before_the_signature_is_passed_over(tmp_path, arrays):
    with h5py.File(tmp_path / "mine.mat", "w", userblock_size=512) as file:
        for key, value in arrays.items():
            file[key] = value
    with (tmp_path / "mine.mat").open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64")
    assert koo_hdf5(tmp_path / "mine.mat").n_tasks == 3


WRITER = """
import sys, h5py
file = h5py.File(sys.argv[1], "r+", libver="latest")
file.attrs["x"] = 1
file.flush()
print("open", flush=True)
sys.stdin.read()
"""


def test_a_file_that_is_written_elsewhere_and_one_never_closed_are_told_apart(tmp_path, arrays):
    path = tmp_path / "mine.h5"
    with h5py.File(path, "w", libver="latest") as file:
        for key, value in arrays.items():
            file[key] = value
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
        with pytest.raises(DataError, match=r"another program has this file open for writing. Close it there"):
            koo_hdf5(path)
        writer.kill()
    with pytest.raises(DataError, match=r"marked as open for writing: .* clear the mark with h5clear -s mine.h5"):
        koo_hdf5(path)


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
@pytest.mark.parametrize("closed", ["file", "folder"])
def test_permission_is_told_from_damage(tmp_path, arrays, closed):
    folder = tmp_path / "of somebody"
    folder.mkdir()
    path = save(folder / "mine.h5", arrays)
    what = {"file": path, "folder": folder}[closed]
    what.chmod(0)
    if os.geteuid():
        with pytest.raises(DataError, match=r"cannot be read \(Permission denied\)\. Ask its owner"):
            koo_hdf5(path)
    else:
        for above in (tmp_path, *tmp_path.parents[:2]):
            above.chmod(0o755)
        os.seteuid(65534)  # root may read everything
        try:
            with pytest.raises(DataError, match=r"cannot be read \(Permission denied\)\. Ask its owner"):
                koo_hdf5(path)
        finally:
            os.seteuid(0)
    what.chmod(0o700)


FILTERED = """
import sys
sys.modules["hdf5plugin"] = None  # as if it were not installed
from tuner.data.hdf5 import koo_hdf5
from tuner.errors import DataError
for path in sys.argv[1:]:
    try:
        koo_hdf5(path)
    except DataError as e:
        print(e)
"""


def test_a_filter_that_is_not_installed_is_named_with_the_package_that_brings_it(tmp_path, arrays):
    words = {
        32001: "filter 32001 (Blosc), which is not installed. Install it: pip install hdf5plugin",
        32008: "filter 32008 (bitshuffle), which is not installed. Install it: pip install hdf5plugin",
        32015: "filter 32015 (Zstandard), which is not installed. Install it: pip install hdf5plugin",
        32020: "filter 32020 (VBZ), which is not installed. HDF5's list of registered filters names its maintainer",
        31999: "filter 31999 (not a common one), which is not installed",
    }
    for code in words:
        with h5py.File(tmp_path / f"{code}.h5", "w") as file:
            for key, value in arrays.items():
                plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
                plist.set_chunk(value.shape)
                plist.set_filter(code, h5py.h5z.FLAG_OPTIONAL, ())
                space = h5py.h5s.create_simple(value.shape)
                made = h5py.h5d.create(file.id, key.encode(), h5py.h5t.NATIVE_INT8, space, plist)
                made.write_direct_chunk((0,) * value.ndim, value.tobytes())
    paths = [tmp_path / f"{code}.h5" for code in words]
    done = subprocess.run(
        [sys.executable, "-c", FILTERED, *paths], capture_output=True, text=True, check=True, timeout=120
    )
    lines = done.stdout.splitlines()
    assert len(lines) == len(words)
    assert [line for line, found in zip(lines, words.values(), strict=True) if found not in line] == []
    assert "truncated" not in done.stdout


def test_a_file_compressed_by_a_filter_of_hdf5plugin_is_read_where_that_is_installed(tmp_path, arrays, path):
    pytest.importorskip("hdf5plugin")
    make = (
        "import sys, h5py, hdf5plugin\n"
        "with h5py.File(sys.argv[1]) as old, h5py.File(sys.argv[2], 'w') as new:\n"
        "    for k in old: new.create_dataset(k, data=old[k][()], **hdf5plugin.Blosc())\n"
    )
    subprocess.run([sys.executable, "-c", make, path, tmp_path / "blosc.h5"], check=True, timeout=120)
    show = "import sys; from tuner.data.hdf5 import koo_hdf5; print(koo_hdf5(sys.argv[1]).fingerprint)"
    done = subprocess.run(
        [sys.executable, "-c", show, tmp_path / "blosc.h5"], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == koo_hdf5(path).fingerprint


@pytest.mark.parametrize("chunks", [None, (256, 4, 1000)])
def test_a_size_that_is_declared_and_not_written_is_refused(tmp_path, chunks):
    with h5py.File(tmp_path / "mine.h5", "w") as file:
        for split in SIZES:
            file.create_dataset(f"X_{split}", (2_000_000, 4, 1000), np.float32, chunks=chunks)
            file[f"Y_{split}"] = np.zeros(2_000_000, np.int8)
    assert (tmp_path / "mine.h5").stat().st_size < 7_000_000  # for 96 GB
    with pytest.raises(DataError, match=r"X_train has shape \(2000000, 4, 1000\), but it was never written"):
        koo_hdf5(tmp_path / "mine.h5")


def test_an_array_of_which_a_part_was_never_written_is_refused(tmp_path, arrays):
    with h5py.File(tmp_path / "mine.h5", "w") as file:
        for key, value in arrays.items():
            made = file.create_dataset(key, value.shape, value.dtype, chunks=(100, *value.shape[1:]))
            made[: len(value) if key != "X_train" else 1500] = value[: len(value) if key != "X_train" else 1500]
    with pytest.raises(DataError, match=r"X_train has shape .*, but 5 of its 20 chunks were never written"):
        koo_hdf5(tmp_path / "mine.h5")


def test_values_that_lie_in_a_file_that_is_gone_are_refused(tmp_path, arrays, path):
    with h5py.File(tmp_path / "views.h5", "w") as file:
        for key, value in arrays.items():
            layout = h5py.VirtualLayout(value.shape, value.dtype)
            layout[:] = h5py.VirtualSource(path.name, key, value.shape)
            file.create_virtual_dataset(key, layout)
    assert koo_hdf5(tmp_path / "views.h5").fingerprint == koo_hdf5(path).fingerprint
    path.unlink()
    with pytest.raises(DataError, match=r"takes its values from mine\.h5, which is not there"):
        koo_hdf5(tmp_path / "views.h5")


def bomb(path: Path, dtype: str, n: int, rows: int, *, base: bool = False) -> Path:
    """A file whose sequences are one compressed chunk of zeros, or of As, written again and again."""
    chunk = np.zeros((rows, 4, 1000), dtype)
    chunk[:, 0] = base
    packed = zlib.compress(chunk, 6)
    with h5py.File(path, "w") as file:
        for split in SIZES:
            x = file.create_dataset(f"X_{split}", (n, 4, 1000), dtype, chunks=chunk.shape, compression="gzip")
            for start in range(0, n, rows):
                x.id.write_direct_chunk((start, 0, 0), packed)
            file[f"Y_{split}"] = np.arange(n, dtype=np.int64) % 2
    return path


def test_a_compressed_file_that_needs_more_than_the_memory_is_refused_before_it_is_read(tmp_path):
    path = bomb(tmp_path / "mine.h5", "i1", 4_000_000, 8000)
    assert path.stat().st_size < 250_000_000  # holds 48 GB
    tracemalloc.start()
    with pytest.raises(
        DataError, match=r"mine\.h5: reading X_train \(4000000, 4, 1000\), .* takes about 12\.\d GB .*--max-memory"
    ):
        koo_hdf5(path, max_memory=4_000_000_000)
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


def test_a_chunk_larger_than_the_memory_is_refused(tmp_path):
    path = bomb(tmp_path / "mine.h5", "f8", 6000, 6000)  # one chunk of 192 MB a split
    with pytest.raises(DataError, match=r"takes about [78]\d\d\.\d MB of memory; 400\.0 MB are allowed"):
        koo_hdf5(path, max_memory=400_000_000)


def test_what_is_read_takes_the_memory_of_codes_and_a_block(tmp_path):
    path = bomb(tmp_path / "mine.h5", "f8", 6000, 500, base=True)  # 192 MB a split as float64, 6 MB as codes
    tracemalloc.start()
    dataset = koo_hdf5(path, max_memory=150_000_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(dataset.train) == 6000
    assert peak < 150_000_000
