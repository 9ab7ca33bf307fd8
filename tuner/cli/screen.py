"""`tuner screen`: find the promiscuous motifs of a database."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tuner.cli import context, options

EXAMPLE = "Example: tuner screen JASPAR2026 --out JASPAR2026.json"


def command(
    database: Annotated[str, typer.Argument(help="JASPAR release, or a motif file.", metavar="DATABASE")],
    out: Annotated[Path | None, typer.Option(help="Write the whole report to this JSON file.")] = None,
    as_json: options.Json = False,
) -> None:
    """Screen a database with column-permuted filters; studies leave out motifs that more than 1 % of them match.

    If more than 1.7 % of them still match the remaining motifs, as in a redundant database, the 1 % is halved until
    that is no longer so.
    """
    import json

    from tuner.motifs.database import screen_database
    from tuner.motifs.tomtom import prepare_kernel

    prepare_kernel(context.numba_dir())
    report = screen_database(database)
    if out is not None:
        report.write(out)
    promiscuous = sorted(report.promiscuous(), key=lambda motif: -report.rates[motif])
    if as_json:
        context.emit({**json.loads(report.to_json()), "promiscuous": promiscuous})
        return
    for motif in promiscuous:
        context.note(f"{motif}\t{report.rates[motif]:.4f}")
    context.note(
        f"{report.database}: {len(promiscuous)} of {report.n_motifs} motifs are matched by more than "
        f"{100 * report.threshold:g} % of {report.n_permuted} permuted filters at E <= {report.e_value:g}; the others "
        f"are matched by {report.matched:.3f} of them" + (f"; written to {out}" if out else "")
    )
