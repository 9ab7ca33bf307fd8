"""`tuner show`: show everything about one trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuner.cli import context, options

if TYPE_CHECKING:
    from rich.table import Table

    from tuner.results.leaderboard import FrozenTrial
    from tuner.storage.artifacts import Artifacts
    from tuner.storage.storage import FencedStorage

EXAMPLE = "Example: tuner show --study zbed2 --trial 3 --save trial-3"


def command(
    trial: Annotated[int, typer.Option(min=0, help="Trial number.", show_default=False)],
    study: options.SomeStudy = None,
    stage: Annotated[str, typer.Option(help="search, confirmation or controls.")] = "search",
    preset: options.SomePreset = None,
    name: options.Name = None,
    storage: options.Storage = None,
    artifacts: options.Artifacts = None,
    save: Annotated[Path | None, typer.Option(help="Write the trial's files into this folder.")] = None,
    as_json: options.Json = False,
) -> None:
    """Show parameters, values, watched metrics, history, and the filters with their matches."""
    from tuner.results.overview import find_trial

    opened = context.open_existing(storage, reading=True)
    found = context.stored_name(opened, study, preset, name)
    one = find_trial(opened, found, trial, stage)
    store = context.open_artifacts(artifacts, reading=True)
    document = as_document(opened, store, found, stage, one)
    if save is not None:
        save_files(store, one, save)
    if as_json:
        context.emit(document)
    else:
        print_trial(document)
        if save is not None:
            context.note(f"\nsaved to {save}")


def as_document(
    storage: FencedStorage, artifacts: Artifacts, name: str, stage: str, trial: FrozenTrial
) -> dict[str, Any]:
    """The whole result of `show`, for programs; `history` and `matches` are None if there is no such file."""
    from tuner.errors import StorageError
    from tuner.results.barren import why_barren
    from tuner.results.leaderboard import objective_names, watched
    from tuner.results.overview import STAGES
    from tuner.results.trial_files import HISTORY, MATCHES, plain, read_history, read_matches
    from tuner.storage.digests import missing_names
    from tuner.storage.trials import trial_id

    objectives, barren = objective_names(storage, name + STAGES[stage]), why_barren(storage, name, STAGES[stage])
    numbers = watched(trial)
    tables: dict[str, list[dict[str, Any]] | None] = {}
    missing = [f"{name} could not be written when the trial ended" for name in missing_names(trial.system_attrs)]
    held = artifacts.held(trial)
    for table, file, read in (("history", HISTORY, read_history), ("matches", MATCHES, read_matches)):
        tables[table] = None
        if file in held:
            try:
                tables[table] = [plain(row) for row in read(artifacts, trial)]
            except StorageError as e:
                missing.append(str(e))
    return {
        "study": name,
        "stage": stage,
        "number": trial.number,
        "state": trial.state.name,
        "reason": str(trial.user_attrs.get("reason", "")),
        "values": dict(zip(objectives, trial.values, strict=True)) if trial.values else {},
        "watched": numbers,
        "params": dict(trial.params),
        "attributes": {k: v for k, v in trial.user_attrs.items() if k not in numbers},
        "seconds": trial.duration.total_seconds() if trial.duration else None,
        "attempts": [a._asdict() for a in storage.attempts(trial_id(trial))],
        **tables,
        "artifacts": [{"name": n, "path": h.place, "present": h.present} for n, h in sorted(held.items())],
        "warnings": missing + ([barren] if barren else []),
    }


def save_files(artifacts: Artifacts, trial: FrozenTrial, folder: Path) -> None:
    """Write every file of a trial into a folder.

    Raises
    ------
    StorageError
        The trial has no files, one is missing or damaged, or the folder cannot be written.
    """
    from tuner.errors import StorageError
    from tuner.files import make_folder, write_atomically
    from tuner.storage.digests import missing_names

    names = [*artifacts.names(trial), *missing_names(trial.system_attrs)]
    if not names:
        raise StorageError(f"trial {trial.number} has no files to save; it is {trial.state.name.lower()}.")
    contents = {n: artifacts.get(trial, n) for n in names}
    try:
        make_folder(folder)
        for n, content in contents.items():
            write_atomically(folder / Path(n).name, content)
    except OSError as e:
        raise StorageError(f"{folder}: cannot be written ({e.strerror}). Choose another folder with --save.") from e


def print_trial(document: Mapping[str, Any]) -> None:
    """Print one trial."""
    console = context.console()
    reason = f": {document['reason']}" if document["reason"] else ""
    took = f", {document['seconds']:.0f} s" if document["seconds"] is not None else ""
    stage = "" if document["stage"] == "search" else f" {document['stage']}"
    console.print(
        f"\n{document['study']}{stage} trial {document['number']}: {document['state']}{reason}{took}",
        markup=False,
    )
    for label in ("params", "values", "watched", "attributes"):
        if document[label]:
            console.print(_pairs(label, document[label]))
    if len(document["attempts"]) > 1:
        for a in document["attempts"]:
            outcome = f"{a['outcome'] or 'running'}{': ' + a['reason'] if a['reason'] else ''}"
            console.print(f"  attempt {a['attempt']} by {a['worker']} on {a['host']}: {outcome}", markup=False)
    if document["history"]:
        console.print(_table("history (validation)", document["history"]))
    if document["matches"]:
        matched = sorted(document["matches"], key=lambda m: (not m["significant"], not m["gated"], m["e_value"]))
        console.print(_table("filters and their best matches", matched, leave=("family", "offset", "overlap")))
    if document["artifacts"]:
        console.print("files")
        for a in document["artifacts"]:
            console.print(f"  {a['name']:<20} {a['path']}{'' if a['present'] else '  (missing)'}", soft_wrap=True)
    for warning in document["warnings"]:
        context.note(f"warning: {warning}")


def _pairs(label: str, values: Mapping[str, Any]) -> Table:
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.title, table.title_justify, table.title_style = label, "left", "bold"
    for key, value in values.items():
        table.add_row("", key, f"{value:.6g}" if isinstance(value, float) else str(value))
    return table


def _table(title: str, rows: Sequence[Mapping[str, Any]], leave: Sequence[str] = ()) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold")
    columns = [c for c in rows[0] if c not in leave]
    for column in columns:
        table.add_column(column.replace("_", " "), justify="right")
    for row in rows:
        table.add_row(*(_shown(row[c]) for c in columns))
    return table


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
