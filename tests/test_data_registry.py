"""Named data sets: where their files are looked for, what is checked, what happens without a network."""

from __future__ import annotations

import functools
import http.server
import shutil
import threading
from pathlib import Path

import pytest

from tuner.data.dataset import Dataset
from tuner.data.readers import READERS
from tuner.data.registry import DATASETS, DataSpec, fetch, load_dataset
from tuner.data.simulate import SIMULATORS
from tuner.errors import DataError

FILE = "ZBED2_400_h3k27ac.h5"


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Publish a folder on the loopback and point zbed2's address there."""
    served = tmp_path / "published"
    served.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=served))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/{FILE}"
    monkeypatch.setitem(DATASETS, "zbed2", DATASETS["zbed2"]._replace(url=url))
    yield served
    server.shutdown()
    server.server_close()


@pytest.fixture
def no_network(monkeypatch):
    # Port 9 (discard) of the loopback is closed wherever tests run.
    monkeypatch.setitem(DATASETS, "zbed2", DATASETS["zbed2"]._replace(url=f"http://127.0.0.1:9/{FILE}"))


@pytest.mark.parametrize("name", [name for name, row in DATASETS.items() if row.file])
def test_a_named_file_in_the_data_folder_is_the_published_one(data_dir, name):
    dataset = load_dataset(DataSpec(dataset=name), data_dir=data_dir, offline=True)
    assert isinstance(dataset, Dataset)
    assert dataset.name == name
    assert dataset.tasks == DATASETS[name].tasks
    assert DATASETS[name].url.split("/")[5] == "7e48054b64a565364439c45932338a09eb2eb4d3"  # pinned


@pytest.mark.parametrize("name", DATASETS)
def test_every_row_says_what_it_is_and_has_one_origin(name):
    row = DATASETS[name]
    assert all((row.note, row.source, row.licence))
    assert (row.simulator in SIMULATORS) != (row.file is not None)
    if row.file:
        assert row.url.startswith("https://")
        assert len(row.sha256) == 64


def test_a_download_is_checked_kept_and_used_again(data_dir, serve, tmp_path):
    shutil.copy(data_dir / "koo" / FILE, serve)
    cache = tmp_path / "cache"
    first = load_dataset(DataSpec(dataset="zbed2"), cache=cache)
    (serve / FILE).unlink()
    again = load_dataset(DataSpec(dataset="zbed2"), cache=cache, offline=True)
    assert len(first.train) == 3431
    assert again.fingerprint == first.fingerprint
    assert [p.name for p in cache.iterdir()] == [FILE]


def test_a_download_of_other_content_is_refused_and_not_kept(serve, tmp_path):
    (serve / FILE).write_text("captive portal: please log in")
    with pytest.raises(DataError, match=r"zbed2: .*could not be downloaded .*SHA256 hash"):
        fetch("zbed2", cache=tmp_path / "cache")
    assert not (tmp_path / "cache" / FILE).exists()


def test_no_network_and_no_file_names_file_address_and_folder(no_network, tmp_path):
    with pytest.raises(DataError) as error:
        load_dataset(DataSpec(dataset="zbed2"), data_dir=tmp_path, cache=tmp_path / "cache")
    text = str(error.value)
    assert text.startswith(f"zbed2: {FILE} is not here ({tmp_path / 'koo' / FILE}")
    for part in (
        "could not be downloaded",
        f"http://127.0.0.1:9/{FILE}",
        "onnection refused",
        "set TUNER_DATA_DIR",
    ):
        assert part in text
    assert "\n" not in text


def test_offline_never_downloads(tmp_path):
    with pytest.raises(DataError, match=r"TUNER_DATA_DIR is unset; .*downloads are off\. Download https://raw"):
        load_dataset(DataSpec(dataset="zbed2"), cache=tmp_path, offline=True)


def test_another_file_under_the_name_is_refused(tmp_path):
    (tmp_path / "koo").mkdir()
    (tmp_path / "koo" / FILE).write_bytes(b"other")
    with pytest.raises(
        DataError, match=r"is not the published file: SHA-256 d9298a10d1b07358.*expected 4ab4ebf246097571"
    ):
        load_dataset(DataSpec(dataset="zbed2"), data_dir=tmp_path)


def test_an_explicit_path_is_taken_and_checked(data_dir, tmp_path):
    shutil.copy(data_dir / "koo" / FILE, tmp_path / "mine.h5")
    assert load_dataset(DataSpec(dataset="zbed2", path="mine.h5"), base=tmp_path).name == "zbed2"
    with pytest.raises(DataError, match=r"zbed2: .*absent\.h5: no such file"):
        load_dataset(DataSpec(dataset="zbed2", path="absent.h5"), base=tmp_path)


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(DataError, match="unknown data set 'zbed'; did you mean 'zbed2'"):
        load_dataset(DataSpec(dataset="zbed"))
    with pytest.raises(DataError, match="task1 is simulated and has no file"):
        fetch("task1")


def test_a_simulated_set_needs_neither_file_nor_network(tmp_path):
    dataset = load_dataset(DataSpec(dataset="hw4_single"), data_dir=tmp_path, cache=tmp_path, offline=True)
    assert dataset.name == "hw4_single"


def test_a_file_is_read_by_its_ending_or_by_the_named_reader(tmp_path):
    path = tmp_path / "mine.csv"
    lines = [f"{'ACGT'[i % 4]}{'ACGT'[i // 4 % 4]}{'ACGT'[i // 16]}A,{i % 2}" for i in range(64)]
    path.write_text("\n".join(["seq,y", *lines]))
    dataset = load_dataset(DataSpec(path="mine.csv"), base=tmp_path)
    assert dataset.tasks == ("y",)
    shutil.move(path, tmp_path / "mine.dat")
    assert load_dataset(DataSpec(path="mine.dat", reader="table"), base=tmp_path).fingerprint == dataset.fingerprint
    with pytest.raises(DataError, match=r"mine\.dat: no reader for this ending .* Set reader = koo_hdf5 or table"):
        load_dataset(DataSpec(path="mine.dat"), base=tmp_path)
    with pytest.raises(DataError, match="unknown reader of a path 'tabel'; did you mean 'table'"):
        load_dataset(DataSpec(path="mine.dat", reader="tabel"), base=tmp_path)


def test_loading_checks_what_was_read(tmp_path):
    (tmp_path / "mine.csv").write_text("seq,y\nACGTACGT,1\nAAAAAAAA,0\n")
    with pytest.raises(DataError, match=r"mine\.csv, split 'train': task 'y' has only|split 'valid' is empty"):
        load_dataset(DataSpec(path="mine.csv"), base=tmp_path)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "one of dataset, path, positives .with negatives., folder or peaks .with genome.; it gives none of them"),
        ({"path": "a", "folder": "b"}, "it gives path, folder"),
        ({"dataset": "zbed2", "folder": "b"}, "it gives dataset, folder"),
        ({"positives": "a"}, r'positives need negatives: .* negatives = "shuffle"'),
        ({"folder": "a", "negatives": "b"}, "negatives means nothing beside folder; it belongs to positives"),
        ({"dataset": "zbed2", "length": 100}, "length means nothing beside dataset"),
        ({"positives": "a", "negatives": "b", "layout": "nlc"}, "layout means nothing beside positives"),
    ],
)
def test_a_contradicting_data_section_is_refused(given, message):
    with pytest.raises(DataError, match=message):
        DataSpec(**given)


@pytest.mark.parametrize("name", READERS)
def test_every_reader_refuses_a_missing_source(name, tmp_path):
    spec = {
        "fasta": {"positives": "absent", "negatives": "absent"},
        "folder": {"folder": "absent"},
    }.get(name, {"path": "absent", "reader": name})
    with pytest.raises(DataError, match="absent: no such"):
        load_dataset(DataSpec(**spec), base=Path(tmp_path))
