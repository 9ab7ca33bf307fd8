"""`tuner export`: write the winner of a study as a model that needs no study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli import context, options

if TYPE_CHECKING:
    from tuner.predictor.predictor import Predictor

EXAMPLE = "Example: tuner export --study zbed2 --out zbed2_model --onnx"


def command(
    study: options.SomeStudy = None,
    trial: Annotated[int | None, typer.Option(min=0, help="Trial number [the primary trial].")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the model [NAME_model].")] = None,
    onnx: Annotated[bool, typer.Option("--onnx", help="Also as ONNX, with a script that needs no torch.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a model that is there already.")] = False,
    preset: options.SomePreset = None,
    name: options.Name = None,
    storage: options.Storage = None,
    artifacts: options.Artifacts = None,
    data: options.Data = None,
    max_memory: options.MaxMemory = None,
    device: options.Device = "auto",
    as_json: options.Json = False,
) -> None:
    """Write a trial's models as one predictor: weights, calibration, thresholds, motifs and a card.

    The models are the confirmation runs of the trial, else its own. Reads training and validation sequences; the test
    split stays closed.
    """
    from tuner.predictor.folder import check_target
    from tuner.storage.names import folder_name

    limit = context.max_memory(max_memory)
    opened = context.open_existing(storage, reading=True)
    found = context.stored_name(opened, study, preset, name)
    folder = out or Path(f"{folder_name(found)}_model")
    check_target(folder, force=force)
    if onnx:
        from tuner.predictor.onnx_graph import check_packages

        check_packages()
    from tuner.predictor.stored import study_predictor

    opened.join(found, adopt_it=False)
    predictor = study_predictor(
        opened, context.open_artifacts(artifacts, reading=True), found, trial, data=data, data_dir=context.data_dir(),
        cache=context.cache_dir(), device=device, max_memory=limit,
    )  # fmt: skip
    predictor.save(folder, onnx=onnx, force=force)
    if as_json:
        context.emit(summary(predictor, found, folder))
    else:
        print_model(predictor, folder)


def summary(predictor: Predictor, name: str, folder: Path) -> dict[str, object]:
    """What was exported, as plain values."""
    from tuner.predictor.predictor import threshold_rows

    return {
        "study": name, "trial": predictor.about["study"]["trial"], "models": len(predictor.members),
        "folder": str(folder), "files": sorted(file.name for file in folder.iterdir()), "tasks": list(predictor.tasks),
        "length": predictor.length, "thresholds": threshold_rows(predictor),
    }  # fmt: skip


def print_model(predictor: Predictor, folder: Path) -> None:
    """Print what the model is and its thresholds."""
    from rich.table import Table

    from tuner.predictor.predictor import threshold_rows

    table = Table(title="thresholds on validation", title_justify="left", title_style="bold")
    several = len(predictor.tasks) > 1
    for column in (*(["task"] if several else []), "false positives", "logit", "probability", "recall"):
        table.add_column(column, justify="left" if column == "task" else "right")
    for row in threshold_rows(predictor):
        numbers = ["too few negatives", "", ""]
        if row["logit"] is not None:
            numbers = [f"{row['logit']:.4g}", f"{row['probability']:.3f}", f"{row['recall']:.3f}"]
        table.add_row(*([row["task"]] if several else []), f"{100 * row['false_positive_rate']:g} %", *numbers)
    context.note(f"{predictor!r}")
    context.console().print(table)
    if predictor.about["outdone"]:
        context.note(f"warning: {predictor.about['outdone']}")
    context.note(f"model written to {folder}; {folder / 'card.md'} says what to know about it")
    context.note(f"try: tuner predict {folder} {folder / 'example.fa'} --out scores.tsv")
