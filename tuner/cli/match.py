"""`tuner match`: match the motifs of a file with a motif database."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli import context, options

if TYPE_CHECKING:
    from rich.table import Table

    from tuner.motifs.compare import MotifMatch
    from tuner.motifs.database import MotifDatabase

LARGEST_TABLE = 5000  # rows; drawing a hundred thousand takes minutes, so larger tables are printed with tabs
_COLUMNS = ("query", "target", "name", "p", "E", "offset", "overlap", "strand", "")

EXAMPLE = "Example: tuner match filters.meme --targets JASPAR2026 --json"


def command(
    query: Annotated[Path, typer.Argument(help="Motif file with the motifs to match.", metavar="QUERY.meme")],
    targets: Annotated[
        str, typer.Option(help="JASPAR2014 to JASPAR2026 (CORE vertebrates), e.g. JASPAR2026-plants, or a motif file.")
    ] = "JASPAR2026",
    as_json: options.Json = False,
) -> None:
    """Match motifs with Tomtom: every pair with E <= 10, and each query's best.

    Significant: the query has at least 20 sites and 6 bits, the target is not promiscuous, and E <= .01.

    Motif files: MEME (text and XML), JASPAR, TRANSFAC, HOMER, HOCOMOCO, CIS-BP; plain, gzip, bzip2 or xz. A motif that
    is broken or too wide is named and left out; the others are matched, and the exit code is 1.
    """
    from tuner.data.sizes import counted
    from tuner.errors import MotifError
    from tuner.motifs.compare import match_motifs, matchable
    from tuner.motifs.database import load_database
    from tuner.motifs.formats import read_motif_file
    from tuner.motifs.tomtom import prepare_kernel

    file = read_motif_file(query)
    queries, wide = matchable(file.motifs)
    if not queries:
        rest = f" None of its {len(wide)} motifs can be compared." if len(wide) > 1 else ""
        raise MotifError(f"{query}: {wide[0]}{rest}")
    prepare_kernel(context.numba_dir())
    database = load_database(targets, cache=context.cache_dir())
    matches = match_motifs(queries, database)
    if as_json:
        context.emit([m._asdict() for m in matches])
    else:
        print_matches(matches, f"{query.name} against {database.name}, {counted(len(database.motifs), 'target')}")
    left_out = [*file.broken, *(f"{query.name}: {text}" for text in wide), *database.broken]
    if left_out:
        name_broken(left_out, prefix="error: ")
        raise typer.Exit(1)


def name_broken(faults: Sequence[str], *, prefix: str = "warning: ", most: int = 10) -> None:
    """Print what is wrong with the motifs that are left out, and their number."""
    for text in faults[:most]:
        context.note(f"{prefix}{text}")
    more = f", {len(faults) - most} more than are named here" if len(faults) > most else ""
    context.note(f"{prefix}{len(faults)} motif{'s are' if len(faults) > 1 else ' is'} left out{more}")


def name_screen(database: MotifDatabase) -> None:
    """Say if a stored study's database was screened by the former rule."""
    if not database.former:
        return
    from tuner.motifs.screen import FEWEST_COUNTED

    left_out = ", ".join(sorted(database.promiscuous)[:10]) or "none"
    context.note(
        f"note: this study was created when files of fewer than {FEWEST_COUNTED} motifs were screened "
        f"by another rule. It keeps that rule, so its trials stay comparable; left out of {database.name}: {left_out}. "
        "New studies use the new one."
    )


def print_matches(matches: list[MotifMatch], title: str) -> None:
    """Print the pairs, and the number of queries with a significant match."""
    if len(matches) > LARGEST_TABLE:
        lines = ["\t".join(_COLUMNS).rstrip(), *("\t".join(_cells(m)).rstrip() for m in matches)]
        typer.echo("\n".join([title, *lines]), err=True)
    else:
        context.console().print(_table(matches, title))
    all_queries = {m.query for m in matches}
    significant = {m.query for m in matches if m.significant}
    context.note(f"{len(significant)} of {len(all_queries)} motifs have a significant match")


def _table(matches: list[MotifMatch], title: str) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), title_justify="left", title_style="bold")
    for column in _COLUMNS:
        table.add_column(column, justify="left" if column in ("query", "target", "name", "") else "right")
    for m in matches:
        table.add_row(*map(escape, _cells(m)))
    return table


def _cells(m: MotifMatch) -> tuple[str, ...]:
    mark = "significant" if m.significant else "promiscuous" if m.promiscuous else ""
    return (
        m.query, m.target, m.target_name, f"{m.p_value:.2e}", f"{m.e_value:.2g}", str(m.offset), str(m.overlap),
        m.strand, mark,
    )  # fmt: skip
