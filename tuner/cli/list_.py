"""`tuner list`: names that can be used in a study, a space or a command."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from tuner.cli import context, options

EXAMPLE = "Example: tuner list architectures --json"

Rows = list[dict[str, Any]]


def command(
    kind: Annotated[
        str,
        typer.Argument(
            help=(
                "studies, spaces, architectures, hyperparameters, activations, initializers, objectives, datasets, "
                "presets."
            ),
            metavar="KIND",
        ),
    ],
    as_json: options.Json = False,
) -> None:
    """List the rows of one table."""
    from tuner.errors import UsageError, unknown

    if kind not in KINDS:
        raise UsageError(unknown("kind", kind, KINDS))
    rows = KINDS[kind]()
    if as_json:
        context.emit(rows)
    else:
        print_rows(rows)


def _studies() -> Rows:
    from tuner.errors import StudyError
    from tuner.resources import list_resources
    from tuner.study.toml import read_toml

    return _files(list_resources("studies", Path.cwd()), lambda path: read_toml(path, StudyError))


def _spaces() -> Rows:
    from tuner.errors import SearchSpaceError
    from tuner.resources import list_resources
    from tuner.study.toml import read_toml

    return _files(list_resources("search_spaces", Path.cwd()), lambda path: read_toml(path, SearchSpaceError))


def _files(found: Mapping[str, Path], read: Callable[[Path], Mapping[str, object]]) -> Rows:
    """One row per file; a broken file is listed with its error, so that it does not hide the others."""
    from tuner.errors import TunerError

    rows: Rows = []
    for name, path in found.items():
        try:
            title = str(read(path).get("title", ""))
        except TunerError as e:
            title = f"broken: {e}"
        rows.append({"name": name, "title": title, "file": str(path)})
    return rows


def _architectures() -> Rows:
    from tuner.models.architectures import ARCHITECTURES, build_model, count_parameters

    return [
        {
            "name": name,
            "parameters": row.parameters
            or count_parameters(build_model({"architecture": name}, n_tasks=row.tasks, length=row.length, seed=0)),
            "length": row.length,
            "tasks": row.tasks,
            "source": row.source,
        }
        for name, row in ARCHITECTURES.items()
    ]


def _activations() -> Rows:
    from tuner.models.activations import ACTIVATIONS

    return [{"name": name, "note": row.note, "deeplift": row.deeplift} for name, row in ACTIVATIONS.items()]


def _hyperparameters() -> Rows:
    from tuner.models.hyperparameters import HYPERPARAMETERS, value_words

    return [{"name": name, "value": value_words(row), "note": row.note} for name, row in HYPERPARAMETERS.items()]


def _initializers() -> Rows:
    from tuner.models.initializers import INITIALIZERS

    return [{"name": name, "note": row.note, "needs_sigma": row.needs_sigma} for name, row in INITIALIZERS.items()]


def _objectives() -> Rows:
    from tuner.study.objectives import OBJECTIVES

    return [
        {
            "name": name,
            "direction": row.direction,
            "low": row.low,
            "high": row.high,
            "chance": row.chance,
            "note": row.note,
        }
        for name, row in OBJECTIVES.items()
    ]


def _datasets() -> Rows:
    from tuner.data.registry import DATASETS

    return [
        {"name": name, "note": row.note, "source": row.source, "licence": row.licence, "url": row.url}
        for name, row in DATASETS.items()
    ]


def _presets() -> Rows:
    from tuner.study.file import PRESETS

    return [{"name": name, **row.model_dump(exclude_none=True)} for name, row in PRESETS.items()]


KINDS: Mapping[str, Callable[[], Rows]] = {
    "studies": _studies,
    "spaces": _spaces,
    "architectures": _architectures,
    "hyperparameters": _hyperparameters,
    "activations": _activations,
    "initializers": _initializers,
    "objectives": _objectives,
    "datasets": _datasets,
    "presets": _presets,
}


MACHINES_ONLY = ("url",)


def print_rows(rows: Rows) -> None:
    """Print rows as a table without lines, wide or narrow."""
    from rich.table import Table

    columns = list({column: None for row in rows for column in row if column not in MACHINES_ONLY})
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column.replace("_", " "), no_wrap=column == "name", overflow="fold")
    for row in rows:
        table.add_row(*("" if row.get(c) is None else str(row[c]) for c in columns))
    context.console().print(table, markup=False)
