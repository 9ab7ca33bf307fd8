"""Tables of trials: what is written is what is read back."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import FrozenTrial, TrialState, create_trial

from tuner.errors import StorageError
from tuner.results.trial_files import TaskScores, read_table, read_tasks, table
from tuner.results.trial_table import harmless, read_tsv, to_tsv, unquoted
from tuner.storage.artifacts import Artifacts

# No surrogates, which UTF-8 cannot hold; tabs and line ends become spaces and are tested by themselves.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t\r\n\v\f"))
SHORT = st.floats(allow_nan=False, allow_infinity=False).map(lambda v: float(f"{v:.6g}"))


class Line(NamedTuple):
    """Every type that a field of a stored table has."""

    name: str
    family: str | None
    count: int
    flag: bool
    value: float
    score: float | None


LINES = st.builds(Line, TEXT, st.none() | TEXT.filter(bool), st.integers(), st.booleans(), SHORT, st.none() | SHORT)


class Shelf(Artifacts):
    """Holds one text, whatever trial is asked for."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def text(self, trial: FrozenTrial, name: str) -> str:
        return self.content.decode()


TRIAL = create_trial(state=TrialState.COMPLETE, value=0.5)


@given(st.lists(LINES))
def test_a_file_of_a_trial_is_read_back_typed(lines: list[Line]) -> None:
    assert read_table(Shelf(table(Line, lines)), TRIAL, "lines.tsv", Line) == tuple(lines)


@pytest.mark.parametrize("name", ["1e5", "007", "1_000", "nan", "True", "'=x", "=x", "a\u2028b", "a\x85b", "\u0661"])
def test_a_name_that_looks_like_something_else_stays_a_name(name: str) -> None:
    written = table(TaskScores, [TaskScores(name, 3, 0.5, None)])
    assert read_tasks(Shelf(written), TRIAL) == (TaskScores(name, 3, 0.5, None),)


def test_tabs_and_line_ends_of_a_name_are_spaces() -> None:
    (read,) = read_tasks(Shelf(table(TaskScores, [TaskScores("a\tb\r\nc", 3, None, None)])), TRIAL)
    assert read.task == "a b  c"


def test_numbers_that_are_none_are_read_as_nan() -> None:
    lines = [Line("a", None, 1, True, v, None) for v in (math.nan, math.inf, -math.inf)]
    assert all(math.isnan(row.value) for row in read_table(Shelf(table(Line, lines)), TRIAL, "lines.tsv", Line))


@pytest.mark.parametrize(
    "content",
    [b"name\tfamily\na\n", b"name\tfamily\tcount\tflag\tvalue\tscore\na\tb\tx\tTrue\t1\t1\n",
     b"name\tfamily\tcount\tflag\tvalue\tscore\na\tb\t1\tyes\t1\t1\n", b"name\nb\n"],
)  # fmt: skip
def test_what_is_no_such_table_is_named(content: bytes) -> None:
    with pytest.raises(StorageError, match=r"lines\.tsv"):
        read_table(Shelf(content + b"z"), TRIAL, "lines.tsv", Line)


VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
COLUMNS = ["trial", "state", "learning_rate"]


@given(st.lists(st.fixed_dictionaries(dict.fromkeys(COLUMNS, VALUES)), min_size=1))
def test_a_study_as_a_table_is_read_back_exactly(rows: list[dict[str, Any]]) -> None:
    back = read_tsv(to_tsv(rows))
    assert back == rows
    assert [{k: type(v) for k, v in row.items()} for row in back] == [{k: type(v) for k, v in r.items()} for r in rows]


@given(TEXT)
def test_a_text_is_read_back_unless_it_says_a_value(text: str) -> None:
    ((_, back),) = read_tsv(to_tsv([{"name": text}]))[0].items()
    assert back == text or (isinstance(back, bool | int | float | None) and text.isascii())


@given(TEXT)
def test_a_quoted_text_is_harmless_and_unquoted(text: str) -> None:
    cell = harmless(text)
    assert unquoted(cell) == text
    assert cell[:1] not in ("=", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def test_an_empty_table_has_no_rows(tmp_path: Path) -> None:
    assert read_tsv("") == read_tsv("\n") == []
    assert read_tsv(to_tsv([])) == []
