"""What comes from a hostile store takes no more memory than its size justifies."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from tuner.errors import DataError, ModelError, StorageError
from tuner.models.architectures import ARCHITECTURES, build_model
from tuner.models.baselines import Baseline
from tuner.models.budget import budget_for
from tuner.results.trial_files import load_network
from tuner.storage.store import read
from tuner.storage.stores import FolderStore

POINT = {"architecture": "cnn", "filters": 8, "dense_units": 8}


def stored(**lies: Any) -> tuple[bytes, bytes]:
    """Weights of a small network, and a description of it."""
    network = build_model(POINT, n_tasks=1, length=60, seed=0)
    told = {"hyperparameters": POINT, "n_tasks": 1, "length": 60, "average_strands": False, **lies}
    return save({k: v.contiguous() for k, v in network.state_dict().items()}), json.dumps(told).encode()


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_every_architecture_is_within_the_budget_of_its_weights(name: str) -> None:
    network = build_model({"architecture": name}, n_tasks=2, length=200, seed=0)
    weights = list(network.state_dict().values())
    with budget_for(weights) as budget:
        again = build_model({"architecture": name}, n_tasks=2, length=200, seed=0)
    assert budget.made >= sum(p.numel() for p in again.parameters()), "it counts what is made"
    for key, value in again.state_dict().items():
        assert torch.equal(value, network.state_dict()[key])


@pytest.mark.parametrize(
    "lies",
    [
        {"n_tasks": 10**12},
        {"length": 10**12, "hyperparameters": {**POINT, "global_pool": "flatten"}},
        {"length": 10_000, "hyperparameters": {**POINT, "filters": 4096, "dense_units": 100_000}},
    ],
)
def test_a_description_that_is_larger_than_its_weights_takes_no_memory(lies: dict[str, Any]) -> None:
    load_network(*stored())
    weights, description = stored(**lies)
    with pytest.raises(ModelError, match="elements or more; the stored weights have far fewer"):
        load_network(weights, description)


def test_a_safetensors_header_that_lies_is_refused() -> None:
    good, description = stored()
    length = struct.unpack("<Q", good[:8])[0]
    header = json.loads(good[8 : 8 + length])
    first = next(name for name in header if name != "__metadata__")
    for change in ({"shape": [10**12]}, {"data_offsets": [0, 10**12]}):
        text = json.dumps({**header, first: {**header[first], **change}}).encode()
        lie = struct.pack("<Q", len(text)) + text + good[8 + length :]
        with pytest.raises(SafetensorError):
            load_network(lie, description)
    for content in (struct.pack("<Q", 2**62) + good[8:], struct.pack("<Q", 10**9) + good[8:], good[:7], b""):
        with pytest.raises(SafetensorError):
            load(content)


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def array(shape: tuple[int, ...], content: bytes = b"") -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return stream.getvalue() + content


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (array((10**10,)), "declares an array of shape .10000000000,., more than it contains"),
        (array((300 << 17,), bytes(300 << 20)), "unpacks to 314572.* bytes, which is too much"),
    ],
)
def test_an_archive_of_baselines_that_lies_takes_no_memory(tmp_path: Path, content: bytes, expected: str) -> None:
    content = archive(tmp_path / "b.npz", {"header.npy": content}).read_bytes()
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=expected):
            Baseline.from_bytes(content, "b.npz")
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_a_file_of_a_store_takes_the_memory_of_its_size_whatever_was_declared(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    (tmp_path / "small").write_bytes(b"x" * 1000)
    with (tmp_path / "large").open("wb") as file:
        file.truncate(1 << 40)  # a hole: it takes no disk
    tracemalloc.start()
    try:
        assert read(store, "small", 10**15) == b"x" * 1000
        with pytest.raises(StorageError, match="large is larger than 5000000 bytes; it was not read"):
            read(store, "large", 5_000_000)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()
