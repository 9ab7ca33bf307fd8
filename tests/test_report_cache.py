"""Stage files: whole or not there, named by what they were made from; and which stages need which."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from tuner.errors import StorageError, UsageError
from tuner.report.cache import Cache, Result, digest
from tuner.report.notes import escape
from tuner.report.source import Options
from tuner.report.stages import STAGES, Runner, needed, parse_stages


@pytest.mark.parametrize("arrays", [{}, {"cwm.pos.0": np.arange(8.0).reshape(4, 2)}])
def test_a_result_comes_back_as_it_was_written(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    cache = Cache(tmp_path)
    (tmp_path / "note.txt").write_text("x")
    cache.write("filters", "ab", Result({"e": 0.1, "none": None, "text": "é\t<b>"}, arrays, ("note.txt",)))
    found = cache.read("filters", "ab")
    assert found is not None
    assert (found.values, found.files) == ({"e": 0.1, "none": None, "text": "é\t<b>"}, ("note.txt",))
    assert set(found.arrays) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array)
    assert [p.name for p in cache.folder.iterdir()] == [f"filters-ab.{'npz' if arrays else 'json'}"]


def test_what_is_damaged_or_has_lost_a_file_is_not_there(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    assert cache.read("filters", "ab") is None
    cache.write("filters", "ab", Result({}, {}, ("gone.h5",)))
    assert cache.read("filters", "ab") is None
    cache.write("examine", "ab", Result({"a": 1}, {"x": np.zeros(1000)}))
    path = cache.folder / "examine-ab.npz"
    path.write_bytes(path.read_bytes()[:-40])
    assert cache.read("examine", "ab") is None
    (cache.folder / "select-ab.json").write_text('{"values": {')
    assert cache.read("select", "ab") is None


def test_a_pickle_in_a_stage_file_is_not_loaded(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    with (cache.folder / "examine-ab.npz").open("wb") as stream:
        np.savez(stream, **{"values.json": np.array([{"values": {}, "files": []}], dtype=object)})
    assert cache.read("examine", "ab") is None


def test_digests_tell_inputs_apart() -> None:
    made = {
        digest("filters", {"a": 1}, [1, 2]),
        digest("filters", {"a": 1}, [2, 1]),
        digest("examine", {"a": 1}, [1, 2]),
    }
    assert len(made) == 3
    assert digest("filters", {"a": 1, "b": 2}) == digest("filters", {"b": 2, "a": 1})


def test_a_folder_that_cannot_be_made_names_the_option(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="Choose another folder with --out"):
        Cache(tmp_path / "file" / "below")


def test_a_stage_stands_below_what_it_needs() -> None:
    names = list(STAGES)
    assert all(names.index(need) < names.index(name) for name, row in STAGES.items() for need in row.needs)
    assert needed(["null_patterns"]) == {"null_patterns", "null_model", "contributions", "examine"}
    assert needed(["marginalise", "page"]) == {"marginalise", "filters", "patterns", "contributions", "examine"}
    assert needed(["filters"]) == {"filters"}


def test_lists_of_stages_are_read_or_refused() -> None:
    assert parse_stages(None) is None
    assert parse_stages("page, filters") == {"page", "filters"}
    with pytest.raises(UsageError, match="did you mean 'patterns'"):
        parse_stages("pattern")
    with pytest.raises(UsageError, match="names none"):
        parse_stages(" ,")


def test_text_from_elsewhere_is_no_markdown_and_no_html() -> None:
    assert escape("<img src=x>|`a`\n[b](c)") == "&lt;img src=x&gt;\\|\\`a\\` \\[b\\](c)"


def test_a_changed_digit_of_a_result_or_of_its_files_is_noticed(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    (tmp_path / "patterns.meme").write_text("whole")
    cache.write("patterns", "ab", Result({"auroc": 0.75}, {}, ("patterns.meme",)))
    path = cache.folder / "patterns-ab.json"
    kept = path.read_bytes()
    assert cache.read("patterns", "ab") == Result({"auroc": 0.75}, {}, ("patterns.meme",))
    for old, new in ((b"0.75", b"0.55"), (b"sha256", b"sha257"), (b"digests", b"digestz"), (b"auroc", b"aurok")):
        path.write_bytes(kept.replace(old, new, 1))
        assert cache.read("patterns", "ab") is None
    path.write_bytes(kept)
    (tmp_path / "patterns.meme").write_text("whola")
    assert cache.read("patterns", "ab") is None
    # What a version without digests kept is still read: the test split is not opened again for it.
    path.write_text('{"values": {"auroc": 0.75}, "files": ["patterns.meme"]}')
    assert cache.read("patterns", "ab") == Result({"auroc": 0.75}, {}, ("patterns.meme",))


def test_what_explained_one_strand_is_computed_again_and_the_test_split_is_not(tmp_path: Path) -> None:
    run = SimpleNamespace(params={"filters": 8}, duration=None)
    source: Any = SimpleNamespace(
        options=Options(), identity={"seed": 1}, baselines=["gc"], models=lambda trial: [run],
        weights=lambda runs: ["w"] * len(runs), shuffled=lambda trial: [], trial=lambda trial: run,
    )  # fmt: skip
    keys = Runner(cast(Any, source), Cache(tmp_path), [3], None, print).keys[3]

    def former(name: str, own: Any, before: list[str]) -> str:
        options = [getattr(source.options, option) for option in STAGES[name].options]
        return digest(name, source.identity, 3, ["w"], own, options, before)

    assert keys["examine"] == former("examine", ["gc"], [])  # what a former version stored is still found
    assert keys["filters"] == former("filters", None, [])
    null_model = former("null_model", [{"filters": 8}], [])
    assert keys["null_model"] == null_model
    contributions = former("contributions", None, [keys["examine"]])
    patterns = former("patterns", None, [contributions])
    assert keys["contributions"] != contributions
    assert keys["patterns"] != patterns
    assert keys["null_patterns"] != former("null_patterns", None, [contributions, null_model])
    assert keys["marginalise"] != former("marginalise", None, [keys["filters"], patterns])
    source.options = Options(modisco="none")  # without patterns a motif is inserted all the same
    keys = Runner(cast(Any, source), Cache(tmp_path), [3], None, print).keys[3]
    assert keys["marginalise"] != former("marginalise", None, [keys["filters"]])
