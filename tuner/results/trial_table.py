"""A study as a tidy table: one row a trial, one column a variable; and medians of its groups."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tuner.errors import StudyError, unknown
from tuner.results.leaderboard import FrozenTrial, TrialState

Row = dict[str, Any]

FORMULA = "=+-@\uff1d\uff0b\uff0d\uff20"  # what begins a formula, also in full width
CONTROL = ("\t", "\r", "\n")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|nan)", re.ASCII)


class Group(NamedTuple):
    """Trials that agree in some parameters.

    Attributes
    ----------
    key : tuple
        Their values of the grouping columns.
    values : tuple of float
        The measured value of each completed trial, in order of trial number.
    unfinished : int
        Trials without a value: not run yet, pruned or failed.
    """

    key: tuple[Any, ...]
    values: tuple[float, ...]
    unfinished: int

    @property
    def median(self) -> float:
        """NaN without a value."""
        return float(np.median(self.values)) if self.values else float("nan")

    @property
    def mean(self) -> float:
        """NaN without a value."""
        return float(np.mean(self.values)) if self.values else float("nan")

    @property
    def deviation(self) -> float:
        """Sample standard deviation; NaN below two values."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else float("nan")


def tidy(trials: Sequence[FrozenTrial], objectives: Sequence[str]) -> list[Row]:
    """One row a trial: number, state, parameters, objectives, everything recorded beside them."""
    rows = []
    for t in trials:
        values = dict(zip(objectives, t.values, strict=True)) if t.values else {}
        # A slot that waits or runs has its parameters already, if they were fixed when it was made.
        fixed = t.system_attrs.get("fixed_params", {})
        cells = {k: v for k, v in t.user_attrs.items() if not isinstance(v, dict | list)}
        rows.append({"trial": t.number, "state": t.state.name, **fixed, **t.params, **cells, **values})
    return rows


def columns(rows: Sequence[Row]) -> list[str]:
    """Every column, in order of first appearance."""
    return list(dict.fromkeys(name for row in rows for name in row))


def to_tsv(rows: Sequence[Row]) -> str:
    """Write rows as tab-separated text; a value a row lacks is empty, floats are exact, no cell is a formula."""
    names = columns(rows)
    lines = ["\t".join(_cell(name) for name in names)]
    lines += ["\t".join(_cell(row.get(name)) for name in names) for row in rows]
    return "\n".join(lines) + "\n"


def read_tsv(text: str) -> list[dict[str, Any]]:
    """Read a TSV with typed cells: numbers, True, False, None for empty and NaN; texts are as before `harmless`."""
    return [{name: _value(cell) for name, cell in row.items()} for row in read_cells(text)]


def read_cells(text: str) -> list[dict[str, str]]:
    """Read a TSV with its cells as they are written; only a line feed ends a line."""
    head, *rows = [line.split("\t") for line in text.removesuffix("\n").split("\n")]
    return [dict(zip(head, row, strict=True)) for row in rows]


def _value(text: str) -> Any:
    named = {"": None, "True": True, "False": False, "nan": None, "inf": None, "-inf": None}
    if text in named:
        return named[text]
    if _NUMBER.fullmatch(text):
        return float(text) if set(text) & set(".eEn") else int(text)
    return unquoted(text)


def varied(trials: Sequence[FrozenTrial]) -> list[str]:
    """Parameters that differ between trials, in the order of the space."""
    seen: dict[str, list[Any]] = {}
    for t in trials:
        for name, value in {**t.system_attrs.get("fixed_params", {}), **t.params}.items():
            known = seen.setdefault(name, [])
            if len(known) < 2 and value not in known:  # two are enough: thousands would be compared with each other
                known.append(value)
    return [name for name, values in seen.items() if len(values) > 1]


def grouped(rows: Sequence[Row], by: Sequence[str], value: str) -> list[Group]:
    """Group rows by columns and collect one measured value, in order of first appearance.

    Raises
    ------
    StudyError
        A column that no row has.
    """
    known = columns(rows)
    for name in (*by, value):
        if name not in known:
            raise StudyError(f"the table has no such column: {unknown('column', name, known)}")
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.get(name) for name in by), []).append(row)
    found = []
    for key, members in groups.items():
        done = [r for r in members if r["state"] == TrialState.COMPLETE.name and r.get(value) is not None]
        found.append(Group(key, tuple(float(r[value]) for r in done), len(members) - len(done)))
    return found


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool | int | float | np.number):
        return repr(float(value)) if isinstance(value, float) else str(value)
    return text_cell(str(value))


def text_cell(text: str) -> str:
    """A text as a cell: tabs and line ends are spaces, and it is `harmless`."""
    return harmless(" ".join(re.split(r"[\t\r\n\v\f]", text)))


def harmless(text: str) -> str:
    """A cell that no spreadsheet takes for a formula: a quote goes before = + - @, tab and CR, unless it is a number.

    (OWASP, "CSV injection".)
    """
    if text[:1] == "'" and harmless(text[1:]) == text:
        return f"'{text}"  # or it would be read as a text that was quoted here
    start = text.lstrip(" \u00a0\ufeff")[:1]
    if (start and start in FORMULA) or text[:1] in CONTROL:
        return text if _NUMBER.fullmatch(text) else f"'{text}"
    return text


def unquoted(cell: str) -> str:
    """The text that `harmless` made a cell of."""
    return cell[1:] if cell[:1] == "'" and harmless(cell[1:]) == cell else cell
