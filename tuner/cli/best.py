"""`tuner best`: leaderboard, confirmed candidates, primary trial, baselines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuner.cli import context, options

if TYPE_CHECKING:
    from rich.table import Table

    from tuner.results.confirmation import Confirmed, Verdict
    from tuner.results.leaderboard import TrialRow
    from tuner.results.nulls import NullMatches
    from tuner.storage.storage import FencedStorage

EXAMPLE = "Example: tuner best --study zbed2 --json"

MOST = 400  # trials queried by number, as SQLite allows 999 variables; for more, everything is read


def command(
    study: options.SomeStudy = None,
    preset: options.SomePreset = None,
    name: options.Name = None,
    storage: options.Storage = None,
    top: Annotated[int, typer.Option(min=1, help="Number of trials shown.")] = 10,
    figure: Annotated[
        Path | None, typer.Option(help="Also draw the front with the confirmed candidates (PNG).")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Show what a study has found; nothing here uses the test split."""
    from tuner.results.barren import check_fertile
    from tuner.results.leaderboard import objective_names

    opened = context.open_existing(storage, reading=True)
    found = context.stored_name(opened, study, preset, name)
    objectives = objective_names(opened, found)
    check_fertile(opened, found)
    if figure is not None:
        draw(opened, found, objectives, figure)
    if as_json:
        context.emit(as_document(opened, found, objectives))
    else:
        print_best(opened, found, objectives, top=top)


def as_document(storage: FencedStorage, name: str, objectives: Sequence[str]) -> dict[str, Any]:
    """The whole result of `best`, for programs."""
    from tuner.results import words
    from tuner.results.barren import why_barren
    from tuner.results.findings import findings
    from tuner.results.nulls import SHUFFLED
    from tuner.results.test_split import openings, other_openings
    from tuner.results.trial_files import plain
    from tuner.storage.keys import CONFIRMATION, CONTROLS
    from tuner.study.directions import maximized

    rows, candidates, verdict, controls = findings(storage, name, objectives, attributes=None, params=None)
    sizes, shuffled = valid_sizes(storage, name), shuffled_negatives(storage, name)
    nulls = nulls_beside(storage, name, candidates, verdict)
    return {
        "study": name,
        "objectives": [{"name": o, "direction": "maximize" if maximized(o) else "minimize"} for o in objectives],
        "trials": [r._asdict() for r in rows],
        "confirmation": [
            {"trial": c.candidate, "runs": len(c.runs), "collapsed": c.collapsed,
             "metrics": {o: {"mean": c.mean[o], "low": _known(c.low[o]), "high": _known(c.high[o])} for o in c.mean}}
            for c in candidates
        ],
        "primary": {**plain(verdict), "standing": verdict.standing, "distinguishable": verdict.distinguishable}
        if verdict
        else None,
        "controls": controls,
        "composition": about_composition(candidates, verdict, controls, sizes, shuffled=shuffled),
        "sizes": size_words(sizes),
        "label_shuffled_match_fraction": list(nulls.networks.get(SHUFFLED, ())),
        "nulls": {
            "match_fraction": nulls.fraction, "networks": nulls.networks, "means": nulls.means,
            "stronger": nulls.stronger, "excess": nulls.excess,
            "words": words.nulls(nulls, verdict.primary if verdict else None),
        },
        "no_result": [text for stage in (CONFIRMATION, CONTROLS) if (text := why_barren(storage, name, stage))],
        "test_openings": openings(storage, name),
        "other_openings": other_openings(storage, name),
    }  # fmt: skip


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def draw(storage: FencedStorage, name: str, objectives: Sequence[str], path: Path) -> None:
    """Write the Pareto front as PNG.

    Raises
    ------
    StorageError
        The file cannot be written.
    """
    from tuner.errors import StorageError
    from tuner.files import write_atomically
    from tuner.plots.fronts import pareto_front
    from tuner.results.findings import findings
    from tuner.study.directions import maximized

    rows, candidates, verdict, controls = findings(storage, name, objectives)
    baselines = {k: max(v) for k, v in controls.items() if k in ("6-mer", "best PWM", "gc")}
    image = pareto_front(
        [{"name": o, "direction": "maximize" if maximized(o) else "minimize"} for o in objectives],
        [
            {"number": r.number, "values": r.values, "pareto": r.pareto, "warm_start": r.warm_start}
            for r in rows
            if r.values
        ],
        confirmed=[
            {
                "number": c.candidate,
                "means": c.mean,
                "low": {o: c.mean[o] if math.isnan(c.low[o]) else c.low[o] for o in c.mean},
                "high": {o: c.mean[o] if math.isnan(c.high[o]) else c.high[o] for o in c.mean},
                "primary": verdict is not None and verdict.primary == c.candidate,
            }
            for c in candidates
            if c.runs
        ],
        baselines={"auroc": baselines} if "auroc" in objectives else None,
        title=f"{name}: validation values of {sum(bool(r.values) for r in rows)} trials",
    )
    try:
        write_atomically(path, image)
    except OSError as e:
        raise StorageError(f"{path}: cannot write the figure ({e.strerror}).") from e


def nulls_beside(
    storage: FencedStorage, name: str, candidates: Sequence[Confirmed], verdict: Verdict | None
) -> NullMatches:
    """How often filters match by chance, beside the primary trial."""
    from tuner.results.nulls import null_matches

    return null_matches(
        storage, name, next((c for c in candidates if verdict and c.candidate == verdict.primary), None)
    )


def print_best(storage: FencedStorage, name: str, objectives: Sequence[str], top: int = 10) -> None:
    """Print the leaderboard, the confirmation and the controls."""
    from tuner.results import words
    from tuner.results.barren import why_barren
    from tuner.results.findings import findings
    from tuner.storage.keys import CONFIRMATION, CONTROLS
    from tuner.study.directions import MOTIF_OBJECTIVES

    rows, candidates, verdict, controls = findings(storage, name, objectives, top=top if top <= MOST else None)
    sizes, shuffled = valid_sizes(storage, name), shuffled_negatives(storage, name)
    console = context.console()
    console.print()
    console.print(_leaderboard(name, rows, objectives, top))
    pruned = [r for r in rows if r.state == "PRUNED"]
    failed = [r for r in rows if r.state == "FAIL"]
    for label, group in (("pruned", pruned), ("failed for good", failed)):
        if group:
            console.print(f"{len(group)} {label}: " + "; ".join(f"trial {r.number} ({r.reason})" for r in group[:4]))
    if candidates:
        console.print()
        console.print(_confirmation(candidates, objectives, verdict))
        console.print(why_barren(storage, name, CONFIRMATION) or words.primary(verdict, objectives[0]), markup=False)
    if controls:
        console.print()
        console.print(_controls(controls))
        primary = next((c for c in candidates if verdict and c.candidate == verdict.primary), None)
        if said := words.outdone(controls, primary):
            console.print(said, markup=False)
        if said := about_composition(candidates, verdict, controls, sizes, shuffled=shuffled):
            console.print(said)
    elif barren := why_barren(storage, name, CONTROLS):
        console.print(barren, markup=False)
    if caution := size_words(sizes):
        console.print(caution)
    if controls and MOTIF_OBJECTIVES & set(objectives):
        chance = nulls_beside(storage, name, candidates, verdict)
        if said := words.nulls(chance, verdict.primary if verdict else None):
            console.print(said, markup=False)


def valid_sizes(storage: FencedStorage, name: str) -> tuple[int, int] | None:
    """Positives and negatives of the validation split, assumed to be equal: the study stores only their sum."""
    from tuner.storage.keys import IDENTITY
    from tuner.storage.records import is_count, kept_table

    found: Any = kept_table(storage.get_study_system_attrs(storage.get_study_id_from_name(name)), IDENTITY, name)
    for key in ("data set", "sequences", "valid"):
        found = found.get(key) if isinstance(found, dict) else None
    return (found // 2, found - found // 2) if is_count(found) else None


def shuffled_negatives(storage: FencedStorage, name: str) -> bool | None:
    """Whether the study's negatives are shuffles of its positives; None in a study older than this attribute."""
    from tuner.storage.keys import SHUFFLED_NEGATIVES

    found = storage.get_study_system_attrs(storage.get_study_id_from_name(name)).get(SHUFFLED_NEGATIVES)
    return {"true": True, "false": False}.get(found) if isinstance(found, str) else None


def size_words(sizes: tuple[int, int] | None) -> str | None:
    """A caution if the validation split is too small to choose trials by."""
    from tuner.data.sizes import FEWEST, counted, interval_words

    if sizes is None or min(sizes) >= FEWEST:
        return None
    return (
        f"Validation has only {counted(sum(sizes), 'sequence')}, too few to tell trials apart: even if half of them "
        f"are positives, {interval_words(*sizes)}."
    )


def about_composition(
    candidates: Sequence[Confirmed],
    verdict: Verdict | None,
    controls: dict[str, list[float]],
    sizes: tuple[int, int] | None,
    *,
    shuffled: bool | None = None,
) -> str | None:
    """Compare what composition alone achieves with the primary trial's confirmation models."""
    from tuner.results import words
    from tuner.results.verdict import composition

    primary = next((c for c in candidates if verdict and c.candidate == verdict.primary), None)
    if primary is None or "auroc" not in primary.mean:
        return None
    means = primary.mean
    return words.composition(
        composition(controls, means["auroc"], means.get("matched_auroc"), sizes, shuffled=shuffled)
    )


def _leaderboard(name: str, rows: Sequence[TrialRow], objectives: Sequence[str], top: int) -> Table:
    from rich.table import Table

    from tuner.results.findings import BESIDE

    complete = [r for r in rows if r.values]
    table = Table(
        title=f"{name}: best {min(top, len(complete))} of {len(rows)} trials by validation {objectives[0]}"
        " (one seed each: optimistic)",
        title_justify="left", title_style="bold",
    )  # fmt: skip
    extra = [o for o in BESIDE if o not in objectives]
    for column in ("trial", *objectives, *extra, "architecture", "activation", "front"):
        table.add_column(column, justify="left" if column in ("architecture", "activation") else "right")
    for r in complete[:top]:
        table.add_row(
            str(r.number), *(f"{r.values[o]:.4f}" for o in objectives),
            *(f"{r.watched[o]:,.0f}" if o == "parameters" else f"{r.watched[o]:.3f}" for o in extra),
            str(r.params.get("architecture", "")), str(r.params.get("activation", "")), "*" if r.pareto else "",
        )  # fmt: skip
    return table


def _confirmation(candidates: Sequence[Confirmed], objectives: Sequence[str], verdict: Verdict | None) -> Table:
    from rich.table import Table

    from tuner.results import words
    from tuner.results.confirmation import rank_confirmed
    from tuner.results.leads import FEWEST

    table = Table(
        title="confirmation: mean over retrained models"
        + (" with 95 % interval" if any(len(c.runs) >= FEWEST for c in candidates) else "")
        + ", validation",
        title_justify="left", title_style="bold",
    )  # fmt: skip
    for column in ("trial", "runs", *objectives, ""):
        table.add_column(column, justify="right")
    for c in rank_confirmed(candidates, objectives[0]):
        cells = [words.mean(c, o) for o in objectives]
        mark = "primary" if verdict and verdict.primary == c.candidate else ""
        runs = str(len(c.runs)) + (f" + {c.collapsed} collapsed" if c.collapsed else "")
        table.add_row(str(c.candidate), runs, *cells, mark)
    return table


def _controls(controls: dict[str, list[float]]) -> Table:
    from rich.table import Table

    table = Table(title="controls: validation AUROC", title_justify="left", title_style="bold")
    table.add_column("control")
    table.add_column("AUROC", justify="right")
    for name, values in sorted(controls.items(), key=lambda item: -max(item[1])):
        table.add_row(name, ", ".join(f"{v:.4f}" for v in values))
    return table
