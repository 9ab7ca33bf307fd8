"""`tuner rerun`: retrain one trial and compare every value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuner.cli import context, options
from tuner.cli.match import name_screen

if TYPE_CHECKING:
    from tuner.models.training import EpochRecord
    from tuner.results.leaderboard import FrozenTrial
    from tuner.search.loaded import Bench
    from tuner.search.rerun import Restored
    from tuner.search.trial import Outcome
    from tuner.storage.artifacts import Artifacts
    from tuner.storage.storage import FencedStorage

EXAMPLE = "Example: tuner rerun --study zbed2 --trial 3"

TIMES = ("seconds",)  # measured, never reproduced
STATES = {
    "restored": "restored, exactly as it was stored",
    "made anew": "made anew, and its new digest recorded: it contains measured seconds, is a drawing, or had no digest",
    "refused": "not written: the new file differs from the stored one, although all values are equal",
}


def command(
    trial: Annotated[int, typer.Option(min=0, help="Trial number in the search.", show_default=False)],
    study: options.SomeStudy = None,
    preset: options.SomePreset = None,
    name: options.Name = None,
    data: options.Data = None,
    max_memory: options.MaxMemory = None,
    device: options.Device = "auto",
    storage: options.Storage = None,
    stage: Annotated[str, typer.Option(help="search, confirmation or controls.")] = "search",
    artifacts: options.Artifacts = None,
    restore: Annotated[
        bool | None,
        typer.Option("--restore/--no-restore", help="Restore lost or damaged files [if the store is the study's]."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Retrain a trial with its stored seed and parameters; fails unless every value equals the stored one exactly.

    Missing or damaged files of the trial are then restored, if the new ones equal those that were stored.
    """
    import tuner
    from tuner.cli.worker import one_thread
    from tuner.errors import StudyError
    from tuner.results.overview import STAGES, find_trial
    from tuner.search.loaded import load_bench
    from tuner.search.rerun import restore_files
    from tuner.search.restore import restore_study
    from tuner.study.plan import check_identity

    limit = context.max_memory(max_memory)
    opened = context.open_existing(storage)
    found = context.stored_name(opened, study, preset, name)
    opened.join(found)
    one = find_trial(opened, found, trial, stage)
    reason = str(one.user_attrs.get("reason", ""))
    stopped = "stopped_at" in one.user_attrs
    diverged = one.state.name == "PRUNED" and not stopped and not reason.startswith("out of memory")
    if one.state.name != "COMPLETE" and not diverged and not stopped:
        raise StudyError(
            f"{found}: trial {trial} is {one.state.name.lower()}; "
            "only a completed, stopped or diverged trial can be rerun."
        )
    plan, identity, data_dir = restore_study(opened, found, data, data_dir=context.data_dir())
    bench = load_bench(
        plan, data_dir=data_dir, cache=context.cache_dir(), device=device, max_memory=limit, stored=identity
    )
    name_screen(bench.database)
    check_identity(found, identity, bench.identity)
    one_thread()
    use_kernels_of(one)
    wanted = look(opened, artifacts, found, one, restore)
    now = retrain(opened, bench, one)
    measured = {k: v for k, v in one.user_attrs.items() if k != "reason"}
    rows = compare(
        {"reason": reason} if diverged else measured, {"reason": now} if isinstance(now, str) else now.attributes
    )
    equal = all(r["equal"] for r in rows)
    files: list[Restored] = []
    if wanted is not None and equal and not isinstance(now, str):
        store, bad = wanted
        study_id = opened.get_study_id_from_name(found + STAGES[stage])
        names = list(bad) or list(now.files)  # an older version did not record which files it could not write
        files = restore_files(opened, store, study_id, one, names, now.files)
    refused = any(f.state == "refused" for f in files)
    document = {
        "study": found, "stage": stage, "trial": trial, "equal": equal, "device": bench.device, "values": rows,
        "files": [f._asdict() for f in files],
        "tuner_version": {"stored": one.user_attrs.get("tuner_version"), "now": tuner.__version__},
    }  # fmt: skip
    if as_json:
        context.emit(document)
    else:
        print_comparison(document)
    if not equal or refused:
        raise typer.Exit(1)


def use_kernels_of(trial: FrozenTrial) -> None:
    """Use compiled kernels if, and only if, the trial did, because they round differently.

    Raises
    ------
    StudyError
        They are not available here.
    """
    from tuner.errors import StudyError
    from tuner.models import compiled

    if trial.user_attrs.get("kernels") != "compiled":
        compiled.disable()
        return
    reason = compiled.enable(context.code_dir() / "kernels")
    if reason:
        raise StudyError(f"trial {trial.number} was trained with compiled kernels, but here {reason}.")


def retrain(opened: FencedStorage, bench: Bench, trial: FrozenTrial) -> Outcome | str:
    """Repeat the trial; returns the outcome, or the reason for which training diverged."""
    from tuner.errors import TrainingDiverged
    from tuner.search.rerun import run_again

    def on_epoch(r: EpochRecord) -> None:
        context.note(f"epoch {r.epoch}: loss {r.loss:.4f}, validation AUROC {r.auroc:.4f}")

    try:
        return run_again(opened, bench, trial, on_epoch)
    except TrainingDiverged as e:
        return str(e)


def look(
    opened: FencedStorage, artifacts: str | None, name: str, trial: FrozenTrial, restore: bool | None
) -> tuple[Artifacts, dict[str, str]] | None:
    """The store and the files of the trial that are to be restored; None if no file is to be restored."""
    from tuner.results.verification import bad_files, is_other_store, never_written

    if restore is False:
        return None
    store = context.open_artifacts(artifacts)
    bad = bad_files(store, trial)
    if not bad and not never_written(trial):
        return None
    if restore is None and is_other_store(opened, store, name):
        context.note(
            f"warning: {store.address} has no file of {name}, so none is restored. Name its store with "
            "--artifacts, or give --restore if all of them are lost."
        )
        return None
    for message in bad.values():
        context.note(message.partition(" tuner rerun")[0])
    return store, bad


def compare(stored: Mapping[str, Any], now: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Compare stored and new values exactly; times, versions and provenance are left out."""
    left_out = {*TIMES, "tuner_version", "kernels", "warm_start", "artifacts_error", "failures"}
    left_out |= {"candidate", "replicate", "training_notes"}  # settings of the trial, and events of its process
    left_out |= {"precision", "filters_effective"} - stored.keys()  # older trials do not record them
    if "filters_effective" not in stored:  # the interval then counted every filter, copies of a motif included
        left_out |= {"match_excess_low", "match_excess_high"}
    names = [n for n in {**stored, **now} if n not in left_out]
    return [
        {
            "name": n,
            "stored": stored.get(n),
            "now": now.get(n),
            "equal": n in stored and n in now and stored[n] == now[n],
        }
        for n in names
    ]


def print_comparison(document: Mapping[str, Any]) -> None:
    """Print the table and the verdict."""
    from rich.table import Table

    table = Table(
        title=f"{document['study']} trial {document['trial']}, trained again on {document['device']}",
        title_justify="left", title_style="bold",
    )  # fmt: skip
    for column in ("value", "stored", "now", ""):
        table.add_column(column, justify="left" if column == "value" else "right")
    for r in document["values"]:
        table.add_row(r["name"], str(r["stored"]), str(r["now"]), "" if r["equal"] else "differs")
    context.console().print(table)
    different = [r["name"] for r in document["values"] if not r["equal"]]
    if not different:
        context.note("every value is exactly the stored one (seconds are not compared)")
        for f in document["files"]:
            context.note(f"{f['name']}: {STATES[f['state']]}")
        return
    versions = document["tuner_version"]
    because = (
        f"; it was made by tuner {versions['stored']}" if versions["stored"] not in (None, versions["now"]) else ""
    )
    context.note(
        f"{len(different)} of {len(document['values'])} values differ: {', '.join(different)}{because}. "
        "Exact equality needs the same machine type, device and library versions."
    )
