"""`tuner status`: show the state of a study, for people, Prometheus and scripts."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli import context, options

if TYPE_CHECKING:
    from tuner.results.overview import Overview, StageOverview

EXAMPLE = "Example: tuner status --study zbed2 --watch"

LISTED = 5  # reasons shown per kind; --json has all


def command(
    study: options.SomeStudy = None,
    preset: options.SomePreset = None,
    name: options.Name = None,
    storage: options.Storage = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Update until every trial has ended; without a terminal, a line per change.")
    ] = False,
    prometheus: Annotated[
        Path | None, typer.Option(help="Write metrics to this file, for node_exporter; without --study of all studies.")
    ] = None,
    serve: Annotated[
        str | None, typer.Option(metavar="[HOST:]PORT", help="Serve metrics until Ctrl-C; on loopback without HOST.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Show the trials by state, the running ones, throughput, failures and test openings."""
    from tuner.cli.metrics import serve_metrics, write_metrics
    from tuner.cli.watch import watch_study
    from tuner.errors import UsageError
    from tuner.results.overview import overview
    from tuner.storage.catalog import listed

    wanted = {"--json": as_json, "--watch": watch, "--prometheus": prometheus is not None, "--serve": serve is not None}
    if len(asked := [option for option, given in wanted.items() if given]) > 1:
        raise UsageError(f"{' and '.join(asked)} exclude each other; call tuner status once for each.")
    every = (prometheus or serve) and study is None and name is None
    with closing(context.open_existing(storage, reading=True)) as opened:
        found = None if every else context.stored_name(opened, study, preset, name)
        if prometheus:
            write_metrics(opened, found, prometheus)
        elif serve:
            serve_metrics(opened, found, serve)
        elif found is not None:
            if watch:
                watch_study(opened, found)
            seen, others = overview(opened, found), sorted(opened.catalog().foreign)
            if as_json:
                context.emit({**seen.as_dict(), "other_programs": others})
            else:
                context.note("\n".join(lines(seen)))
                if others:
                    context.note(f"studies of other programs in this database: {listed(others)}")


def lines(seen: Overview) -> list[str]:
    """An overview as lines of text."""
    text = [seen.study]
    for stage in seen.stages:
        text += _stage(stage)
    for objective, best in seen.best.items():
        text.append(f"  best {objective} {best['value']:.4f} (trial {best['trial']}, validation, one seed)")
    text += [f"  {reason}" for reason in seen.no_result]
    if seen.test_openings:
        last = seen.test_openings[-1]
        times = len(seen.test_openings)
        text.append(
            f"  test split opened {times} time{'s' * (times > 1)}; last {last['when']} for trial {last['trial']}"
        )
    else:
        text.append("  test split never opened")
    if seen.other_openings:
        last = seen.other_openings[-1]
        times = len(seen.other_openings)
        text.append(
            f"  scored on other data {times} time{'s' * (times > 1)}; last {last['when']} on {last['name']} for trial "
            f"{last['trial']}"
        )
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
