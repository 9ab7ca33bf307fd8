"""`tuner status`: what a study is doing now."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuner.cli import context, options

if TYPE_CHECKING:
    from tuner.search.overview import Overview, StageOverview

EXAMPLE = "Example: tuner status --study zbed2 --watch"

WATCH_SECONDS = 2.0
LISTED = 5  # reasons shown of each sort; --json has all


def command(
    study: options.SomeStudy = None,
    preset: options.SomePreset = None,
    name: options.Name = None,
    storage: options.Storage = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until every trial has ended.")] = False,
    as_json: options.Json = False,
) -> None:
    """Show the trials by state, the running ones, throughput, failures and test openings."""
    from tuner.errors import UsageError
    from tuner.search.overview import overview

    if watch and as_json:
        raise UsageError("--watch and --json exclude each other; call tuner status --json again instead.")
    opened = context.open_existing(storage)
    found = context.stored_name(opened, study, preset, name)
    if as_json:
        context.emit(overview(opened, found).as_dict())
    elif not watch:
        context.note("\n".join(lines(overview(opened, found))))
    else:
        _watch(lambda: overview(opened, found))


def _watch(look: Any) -> None:
    """Redraw on a terminal; elsewhere print what changed."""
    from rich.live import Live
    from rich.text import Text

    console = context.console()
    live = Live(console=console, auto_refresh=False) if console.is_terminal else None
    before = ""
    if live:
        live.start()
    try:
        while True:
            seen = look()
            text = "\n".join(lines(seen))
            if live:
                live.update(Text(text), refresh=True)
            elif text != before:
                context.note(text)
            before = text
            if seen.finished:
                return
            time.sleep(WATCH_SECONDS)
    finally:
        if live:
            live.stop()


def lines(seen: Overview) -> list[str]:
    """Word an overview."""
    text = [seen.study]
    for stage in seen.stages:
        text += _stage(stage)
    for objective, best in seen.best.items():
        text.append(f"  best {objective} {best['value']:.4f} (trial {best['trial']}, validation, one seed)")
    if seen.test_openings:
        last = seen.test_openings[-1]
        times = len(seen.test_openings)
        text.append(
            f"  test split opened {times} time{'s' * (times > 1)}; last {last['when']} for trial {last['trial']}"
        )
    else:
        text.append("  test split never opened")
    return text


def _stage(stage: StageOverview) -> list[str]:
    counts = ", ".join(f"{n} {word}" for word, n in stage.states.items() if n)
    pace = f"; {stage.trials_per_hour:g} trials an hour" if stage.trials_per_hour else ""
    text = [f"  {stage.stage}: {stage.ended} of {stage.total} ended" + (f" ({counts})" if counts else "") + pace]
    for r in stage.running:
        epoch = f"epoch {r['epoch']} of at most {r['epochs']}" if r["epoch"] is not None else "starting"
        auroc = f", AUROC {r['auroc']:.4f}" if r["auroc"] is not None else ""
        again = f", attempt {r['attempt']}" if r["attempt"] > 1 else ""
        text.append(
            f"    trial {r['trial']}{again}: {epoch}{auroc}; "
            f"{r['worker']} on {r['host']} (process {r['pid']}), heartbeat {r['heartbeat_seconds']:.0f} s ago"
        )
    for label, entries in (
        ("failed for good", stage.failed),
        ("pruned", stage.pruned),
        ("without files", stage.without_files),
    ):
        text += [f"    {label}: trial {e['trial']}: {e['reason']}" for e in entries[:LISTED]]
        if len(entries) > LISTED:
            text.append(f"    {label}: and {len(entries) - LISTED} more; --json lists them all")
    return text
