"""`tuner rerun`: retrain one trial and compare every value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuner.cli import context, options

if TYPE_CHECKING:
    from tuner.models.training import EpochRecord
    from tuner.search.bench import Bench
    from tuner.search.results import FrozenTrial

EXAMPLE = "Example: tuner rerun --study zbed2 --trial 3"

TIMES = ("seconds",)  # measured, never reproduced


def command(
    trial: Annotated[int, typer.Option(min=0, help="Trial number in the search.", show_default=False)],
    study: options.SomeStudy = None,
    preset: options.SomePreset = None,
    name: options.Name = None,
    data: options.Data = None,
    max_memory: options.MaxMemory = None,
    device: options.Device = "auto",
    storage: options.Storage = None,
    as_json: options.Json = False,
) -> None:
    """Retrain a trial with its stored seed and parameters; fails unless every value is exactly the stored."""
    import tuner
    from tuner.cli.stored import stored_plan
    from tuner.cli.worker import one_thread
    from tuner.errors import StudyError
    from tuner.search.bench import load_bench
    from tuner.search.overview import find_trial
    from tuner.search.study import check_identity

    limit = context.max_memory(max_memory)
    opened = context.open_existing(storage)
    found = context.stored_name(opened, study, preset, name)
    one = find_trial(opened, found, trial)
    reason = str(one.user_attrs.get("reason", ""))
    stopped = "stopped_at" in one.user_attrs
    diverged = one.state.name == "PRUNED" and not stopped and not reason.startswith("out of memory")
    if one.state.name != "COMPLETE" and not diverged and not stopped:
        raise StudyError(
            f"{found}: trial {trial} is {one.state.name.lower()}; "
            "only a completed, stopped or diverged trial can be rerun."
        )
    plan, identity, data_dir = stored_plan(opened, found, data)
    bench = load_bench(plan, data_dir=data_dir, cache=context.cache_dir(), device=device, max_memory=limit)
    check_identity(found, identity, bench.identity)
    one_thread()
    use_kernels_of(one)
    now = retrain(bench, one)
    measured = {k: v for k, v in one.user_attrs.items() if k != "reason"}
    rows = compare({"reason": reason} if diverged else measured, now)
    equal = all(r["equal"] for r in rows)
    document = {
        "study": found, "trial": trial, "equal": equal, "device": bench.device, "values": rows,
        "tuner_version": {"stored": one.user_attrs.get("tuner_version"), "now": tuner.__version__},
    }  # fmt: skip
    if as_json:
        context.emit(document)
    else:
        print_comparison(document)
    if not equal:
        raise typer.Exit(1)


def use_kernels_of(trial: FrozenTrial) -> None:
    """Train through the compiled kernels if the trial was; they round differently.

    Raises
    ------
    StudyError
        They cannot be had here.
    """
    from tuner.errors import StudyError
    from tuner.models import compiled

    if trial.user_attrs.get("kernels") == "compiled":
        reason = compiled.enable(context.cache_dir() / "kernels")
        if reason:
            raise StudyError(f"trial {trial.number} was trained through compiled kernels, and here {reason}.")


def retrain(bench: Bench, trial: FrozenTrial) -> dict[str, Any]:
    """Train as the trial's worker did, as far as it did; what it would store, or the reason it diverged for."""
    from tuner.errors import TrainingDiverged
    from tuner.search.gate import EndsAt
    from tuner.search.job import run_network
    from tuner.search.study import mix

    seed = int(trial.user_attrs.get("seed", mix(bench.plan.seed, trial.number)))
    rung = trial.user_attrs.get("stopped_at")
    gate = None if rung is None else EndsAt(int(rung))

    def on_epoch(r: EpochRecord) -> None:
        context.note(f"epoch {r.epoch}: loss {r.loss:.4f}, validation AUROC {r.auroc:.4f}")

    try:
        outcome = run_network(bench, trial.params, seed=seed, on_epoch=on_epoch, gate=gate)
    except TrainingDiverged as e:
        return {"reason": str(e)}
    return dict(outcome.attributes)


def compare(stored: Mapping[str, Any], now: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Compare what was measured then and now, exactly; times, versions and provenance are left out."""
    left_out = {*TIMES, "tuner_version", "kernels", "warm_start", "artifacts_error", "failures"}
    left_out |= {"precision"} - stored.keys()  # older trials do not say
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
        table.add_column(column, justify="left" if column == "value" else "right", overflow="fold")
    for r in document["values"]:
        table.add_row(r["name"], str(r["stored"]), str(r["now"]), "" if r["equal"] else "differs")
    context.console().print(table)
    different = [r["name"] for r in document["values"] if not r["equal"]]
    if not different:
        context.note("every value is exactly the stored one (seconds are not compared)")
        return
    versions = document["tuner_version"]
    because = (
        f"; it was made by tuner {versions['stored']}" if versions["stored"] not in (None, versions["now"]) else ""
    )
    context.note(
        f"{len(different)} of {len(document['values'])} values differ: {', '.join(different)}{because}. "
        "Exact equality needs the same machine type, device and library versions."
    )
