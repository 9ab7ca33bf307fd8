"""Whatever bytes a user's FASTA files and tables hold, and whatever [data] says: a data set, or one clear error.

TUNER_FUZZ_EXAMPLES=5000 runs each test with so many examples; the examples of a run here are always the same.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tuner.data.registry import load_dataset
from tuner.errors import DataError, TunerError
from tuner.study.file import check_study
from tuner.study.paths import expand_paths
from tuner.study.plan import make_plan
from tuner.study.space import read_space

EXAMPLES = int(os.environ.get("TUNER_FUZZ_EXAMPLES", "150"))
SPACE = read_space(Path(__file__).parents[1] / "search_spaces" / "default.toml")
MEMORY = 200_000_000
quick = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="TUNER_FUZZ_EXAMPLES" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
)

# What is found in files of sequences, broken ones and those of other formats.
SEQUENCE = st.text("ACGTN", min_size=0, max_size=12) | st.text("acgtuRYX*-. 5é\u2028", max_size=8)
NAME = st.sampled_from(["a", "", "b c", "chr1:5-9", "α", "é,\t", '"', "\ufeff", ";", ">", "#", "\x1c", "a" * 300])
END = st.sampled_from(["\n", "\r\n", "\r", "\r\r\n", "\n\n", "\u2028", "\x0b", " \n", ""])
PACK = st.sampled_from([bytes, bytes, bytes, gzip.compress, bz2.compress, lzma.compress])
CODEC = st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1"])


@st.composite
def _file(draw: st.DrawFn, text: st.SearchStrategy[str]) -> bytes:
    """Text in some coding, compressed, cut or with a few wrong bytes; or any bytes."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=60))
    content = draw(text).encode(draw(CODEC), "replace")
    for _ in range(draw(st.sampled_from([0, 0, 0, 0, 1, 2]))):
        at = draw(st.integers(0, len(content)))
        content = content[:at] + draw(st.binary(max_size=3)) + content[at + draw(st.integers(0, 3)) :]
    content = draw(PACK)(content)
    return content[: draw(st.integers(0, len(content)))] if draw(st.integers(0, 9)) == 0 else content


@st.composite
def _fasta(draw: st.DrawFn) -> str:
    end = draw(END)
    if draw(st.booleans()):  # a good one
        rows = draw(st.lists(st.text("ACGT", min_size=6, max_size=6), min_size=6, max_size=20))
        return "".join(f">s{i}{end or chr(10)}{row}{end or chr(10)}" for i, row in enumerate(rows))
    pieces = st.one_of(NAME.map(">{}".format), SEQUENCE, SEQUENCE, END, NAME)
    return end.join(draw(st.lists(pieces, max_size=20)))


CELL = st.one_of(
    SEQUENCE,
    NAME,
    st.sampled_from(["0", "1", "0.", "1.0", "True", "false", "1e0", "2", "nan", "train", "valid", "test", '"0"']),
    st.sampled_from(['"a', 'a"b', '"a""b"', '""', '"a"b', "\t", ";", ","]),
)
HEADER = st.sampled_from(["sequence", "seq", "label", "y", "id", "split", "fold", "strand", "", '"sequence"', "α"])


@st.composite
def _table(draw: st.DrawFn) -> str:
    delimiter, end = draw(st.sampled_from("\t,;")), draw(END) or "\n"
    if draw(st.booleans()):  # nearly a good one
        header = ["id", "sequence", "label", draw(HEADER)]
        n = draw(st.integers(10, 40))
        rows = [[f"r{i}", draw(st.text("ACGT", min_size=8, max_size=8)), str(i % 2), str(i // 2 % 2)] for i in range(n)]
        for _ in range(draw(st.integers(0, 2))):
            rows[draw(st.integers(0, n - 1))][draw(st.integers(0, 3))] = draw(CELL)
    else:
        header = draw(st.lists(HEADER, max_size=5))
        rows = draw(st.lists(st.lists(CELL, max_size=5), max_size=12))
    return end.join(delimiter.join(row) for row in (header, *rows)) + draw(st.sampled_from(["", end, end + end]))


VALUE: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from([None, 0, 1, -1, 8, 10**9, 10**30, 0.5, float("nan"), True, "", "shortest", "sequence", "label"]),
    st.sampled_from(["split", "id", "~", "$NOWHERE/x", "${HOME}/absent", "a\0b", "x" * 5000, "..", "/", "shuffle"]),
    st.lists(st.sampled_from([0.7, 0.1, 0.2, float("inf"), float("nan"), -1.0, 1]), max_size=4),
    st.lists(st.sampled_from(["label", "y", "", "sequence", "id", "α"]), max_size=3),
)
KEYS = [
    "path", "reader", "positives", "negatives", "folder", "layout", "sequence_column", "label_columns", "split_column",
    "group_column", "tasks", "length", "fractions", "seed", "dataset", "test",
]  # fmt: skip
OPTIONS = st.one_of(
    st.just({}),
    st.dictionaries(st.sampled_from(["length", "fractions", "seed", "tasks", "label_columns"]), VALUE, max_size=2),
    st.dictionaries(st.sampled_from(KEYS), VALUE, max_size=3),
    st.fixed_dictionaries({"label_columns": st.just(["label"])}, optional={"split_column": st.just("split")}),
    st.fixed_dictionaries({"length": st.sampled_from([4, 9, "shortest", 10**12])}),
)


def _load(data: dict[str, Any], folder: Path) -> None:
    """Read as `tuner check` does; nothing but a data set or an error of this package may come of it."""
    try:
        study = check_study({"name": "s", "data": {k: v for k, v in data.items() if v is not None}}, "s.toml")
        study = expand_paths(study, {"HOME": str(folder)}, folder, "s.toml")
        plan = make_plan(study, SPACE, folder=folder)
        if plan.data_spec.dataset is not None:
            return  # a registered one is none of the user's bytes
        dataset = load_dataset(plan.data_spec, max_memory=MEMORY)
    except TunerError as error:
        text = str(error)
        assert text
        assert "\n" not in text.rstrip("\n") or any("\n" in str(value) for value in data.values())
        if isinstance(error, DataError):
            assert len(text) < 12_000
        return
    assert dataset.describe()["length"] >= 2


@quick
@given(_file(_fasta()), _file(_fasta()), st.sampled_from(["p.fa", "p.fa.gz", "α b.fa"]), OPTIONS)
def test_any_bytes_of_fasta_give_a_data_set_or_one_clear_error(positives, negatives, name, options):
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        (folder / name).write_bytes(positives)
        (folder / "n.fa").write_bytes(negatives)
        _load({"positives": name, "negatives": "n.fa"} | options, folder)


@quick
@given(_file(_table()), st.sampled_from(["t.tsv", "t.csv", "t.txt.xz", "t.seq"]), OPTIONS)
@example(b"sequence,label\n" + b"A" * 200_000 + b",0\n", "t.csv", {})
@example(b"\xc2\xa0\n", "t.csv", {})
@example(b"EventID\tseq\tBound\na\tACGTACGT\t1\n", "t.seq", {})
def test_any_bytes_of_a_table_give_a_data_set_or_one_clear_error(content, name, options):
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        (folder / name).write_bytes(content)
        _load({"path": name} | options, folder)


@pytest.mark.parametrize("value", [-1, 10**30, float("nan"), "many", True, [], 0])
@pytest.mark.parametrize("key", ["length", "seed", "fractions", "tasks", "label_columns", "path", "test"])
def test_no_value_of_a_data_key_is_a_bug(tmp_path, key, value):
    (tmp_path / "t.csv").write_text(
        "sequence,label\n" + "".join(f"{s}ACG,{i % 2}\n" for i, s in enumerate("ACGT" * 10))
    )
    _load({"path": "t.csv", key: value}, tmp_path)
