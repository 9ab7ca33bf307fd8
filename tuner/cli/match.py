"""`tuner match`: motifs of a MEME file against a motif database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli import context, options

if TYPE_CHECKING:
    from tuner.motifs.compare import MotifMatch

EXAMPLE = "Example: tuner match filters.meme --targets JASPAR2026 --json"


def command(
    query: Annotated[Path, typer.Argument(help="MEME file with the motifs to match.", metavar="QUERY.meme")],
    targets: Annotated[
        str, typer.Option(help="JASPAR2014 to JASPAR2026 (CORE vertebrates), or a MEME file.")
    ] = "JASPAR2026",
    as_json: options.Json = False,
) -> None:
    """Match motifs with Tomtom: every pair with E <= 10, and each query's best.

    Significant: the query has at least 20 sites and 6 bits, the target is not promiscuous, and E <= .01.
    """
    from tuner.motifs.compare import match_motifs
    from tuner.motifs.database import load_database, read_meme
    from tuner.motifs.tomtom import prepare_kernel

    queries = read_meme(query)
    prepare_kernel(context.numba_dir())
    database = load_database(targets, cache=context.cache_dir())
    matches = match_motifs(queries, database)
    if as_json:
        context.emit([m._asdict() for m in matches])
    else:
        print_matches(matches, f"{query.name} against {database.name}, {len(database.motifs)} targets")


def print_matches(matches: list[MotifMatch], title: str) -> None:
    """Print the pairs, and the count of queries with a significant match."""
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold")
    for column in ("query", "target", "name", "p", "E", "offset", "overlap", "strand", ""):
        table.add_column(column, justify="left" if column in ("query", "target", "name", "") else "right")
    for m in matches:
        mark = "significant" if m.significant else "promiscuous" if m.promiscuous else ""
        table.add_row(
            m.query, m.target, m.target_name, f"{m.p_value:.2e}", f"{m.e_value:.2g}",
            str(m.offset), str(m.overlap), m.strand, mark,
        )  # fmt: skip
    context.console().print(table)
    all_queries = {m.query for m in matches}
    significant = {m.query for m in matches if m.significant}
    context.note(f"{len(significant)} of {len(all_queries)} motifs have a significant match")
