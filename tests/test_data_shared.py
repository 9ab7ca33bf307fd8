"""Large splits are mapped from one file by all workers, and stay what they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tuner.data.dataset import Dataset, Split
from tuner.data.shared import share_codes


def dataset(seed: int = 0) -> Dataset:
    rng = np.random.default_rng(seed)

    def split(n: int) -> Split:
        return Split(rng.integers(0, 5, (n, 30), dtype=np.uint8), rng.integers(0, 2, (n, 1), dtype=np.uint8))

    return Dataset("d", ("t",), {"train": split(100), "valid": split(20), "test": split(20)}, "here").without_test()


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def test_large_splits_are_mapped_and_small_ones_are_not(tmp_path: Path) -> None:
    given = dataset()
    shared = share_codes(given, tmp_path, least=1000)
    assert isinstance(shared.train.codes, np.memmap)
    assert not isinstance(shared.valid.codes, np.memmap)
    np.testing.assert_array_equal(shared.train.codes, given.train.codes)
    assert shared.fingerprint == given.fingerprint
    assert shared.notes == ()
    assert [path.name for path in files(tmp_path)] == ["codes", f"{given.fingerprint[:32]}-train.npy"]


def test_a_second_worker_maps_the_same_file_and_cannot_change_it(tmp_path: Path) -> None:
    first, second = (share_codes(dataset(), tmp_path, least=1000) for _ in range(2))
    before = int(second.train.codes[0, 0])
    first.train.codes[0, 0] = (before + 1) % 4
    assert second.train.codes[0, 0] == before
    assert share_codes(dataset(), tmp_path, least=1000).train.codes[0, 0] == before


def test_without_a_cache_nothing_is_shared() -> None:
    given = dataset()
    assert share_codes(given, None, least=1) is given


@pytest.mark.parametrize("damage", [b"", b"no array", None], ids=["empty", "other", "other sequences"])
def test_a_damaged_file_is_left_aside_with_a_reason(tmp_path: Path, damage: bytes | None) -> None:
    given = dataset()
    share_codes(given, tmp_path, least=1000)
    path = files(tmp_path)[1]
    if damage is None:
        np.save(path, dataset(seed=1).train.codes)
    else:
        path.write_bytes(damage)
    found = share_codes(given, tmp_path, least=1000)
    np.testing.assert_array_equal(found.train.codes, given.train.codes)
    assert found.notes[0].startswith("train: the sequences are not shared between workers (")


def test_a_folder_that_cannot_be_made_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "codes").write_text("a file is in the way")
    found = share_codes(dataset(), tmp_path, least=1000)
    assert "not shared" in found.notes[0]
    assert not isinstance(found.train.codes, np.memmap)
