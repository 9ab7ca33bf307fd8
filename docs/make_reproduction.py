"""Print the tables of docs/reproduction.md: published values beside ours, from stored studies.

    python docs/make_reproduction.py --storage runs/tuner.db > tables.md

A cell without a completed run says "not run"; the command above each table runs it, and the cost is that of the
study's completed runs of the same architecture. Several storages may be given; the first that holds a study is read.
"""

from __future__ import annotations

import argparse
import statistics
import tomllib
from pathlib import Path
from typing import Any

from tuner.search.results import objective_names, stage_trials
from tuner.search.storage import FencedStorage, open_storage
from tuner.search.tidy import Row, tidy

COLLAPSED = 0.6  # validation AUROC below which a run has learned nothing


def main() -> None:
    """Read the storages and print every table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storage", action="append", required=True)
    options = parser.parse_args()
    storages = [open_storage(s) for s in options.storage]
    published = tomllib.loads((Path(__file__).parent / "published.toml").read_text(encoding="utf-8"))
    for table in published["tables"]:
        print("\n".join(lines(table, rows_of(storages, table["study"]))))


def rows_of(storages: list[FencedStorage], study: str) -> list[Row]:
    """All trials of a study, from the first storage that holds it."""
    for storage in storages:
        if trials := stage_trials(storage, study):
            return tidy(trials, objective_names(storage, study))
    return []


def lines(table: dict[str, Any], rows: list[Row]) -> list[str]:
    """One table as markdown."""
    by, value, beside = table["by"], table["value"], table.get("beside", [])
    done = [r for r in rows if r["state"] == "COMPLETE"]
    out = [
        f"\n### {table['title']}\n",
        f"Published: {table['source']}. Ours: `tuner run --study {table['study']}`, then",
        f"`tuner table --study {table['study']} --value {value}`: median (lowest to highest; runs).\n",
    ]
    collapse = table.get("collapse")
    heads = [*by, "published", "ours", *(["collapsed"] if collapse else []), *beside]
    out += ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for *key, expected in table["cells"]:
        cell = [r for r in done if all(r.get(name) == k for name, k in zip(by, key, strict=True))]
        cells = [*map(str, key), f"{expected:.3f}", spread([r[value] for r in cell]) or not_run(done, by, key)]
        if collapse:
            cells.append(f"{sum(r[collapse] < COLLAPSED for r in cell)} of {len(cell)}" if cell else "")
        cells += [f"{statistics.median(r[b] for r in cell):.3f}" if cell else "" for b in beside]
        out.append("| " + " | ".join(cells) + " |")
    return out


def spread(values: list[float]) -> str:
    """Median with range and number of runs; empty without runs."""
    if not values:
        return ""
    if len(values) == 1:
        return f"{values[0]:.3f} (1 run)"
    return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f}; {len(values)})"


def not_run(done: list[Row], by: list[str], key: list[Any]) -> str:
    """Say what a run of this cell costs, from runs of the same architecture."""
    architecture = dict(zip(by, key, strict=True)).get("architecture")
    seconds = [r["seconds"] for r in done if architecture is None or r.get("architecture") == architecture]
    return "not run" + (f" (about {statistics.median(seconds) / 60:.0f} min a run)" if seconds else "")


if __name__ == "__main__":
    main()
