"""Print docs/reproduction.md: published values beside ours, from stored studies.

    python docs/make_reproduction.py --storage runs/tuner.db > docs/reproduction.md

A cell without a completed run says "not run"; the command above its table runs it, and its cost is that of completed
runs of the same architecture in any study. Several storages may be given: parts of a grid add up, one run a slot.
"""

from __future__ import annotations

import argparse
import statistics
import tomllib
from pathlib import Path
from typing import Any

from tuner.search.grid import slot_key
from tuner.search.results import TrialState, objective_names, stage_trials
from tuner.search.storage import FencedStorage, open_storage
from tuner.search.tidy import Row, tidy

COLLAPSED = 0.6  # validation AUROC below which a run has learned nothing
Studies = dict[str, list[Row]]


def main() -> None:
    """Read the storages and print every table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storage", action="append", required=True)
    options = parser.parse_args()
    storages = [open_storage(s) for s in options.storage]
    published = tomllib.loads((Path(__file__).parent / "published.toml").read_text(encoding="utf-8"))
    studies = {t["study"]: completed(storages, t["study"]) for t in published["tables"]}
    print(published["introduction"].strip())
    for section in published["sections"]:
        print(f"\n## {section['title']}\n\n{section['text'].strip()}")
        for table in published["tables"]:
            if table["study"] in section["studies"]:
                print("\n".join(lines(table, studies)))


def completed(storages: list[FencedStorage], study: str) -> list[Row]:
    """Completed trials of a study from all storages; of a slot that two of them hold, the first one's."""
    found: dict[str, Row] = {}
    for storage in storages:
        for trial in stage_trials(storage, study):
            if trial.state == TrialState.COMPLETE:
                (row,) = tidy([trial], objective_names(storage, study))
                found.setdefault(slot_key(trial.params, int(trial.user_attrs.get("replicate", trial.number))), row)
    return list(found.values())


def lines(table: dict[str, Any], studies: Studies) -> list[str]:
    """One table as markdown."""
    by, value, beside, done = table["by"], table["value"], table.get("beside", []), studies[table["study"]]
    command = f"`tuner run --study {table['study']}`, `tuner table --study {table['study']} --value {value}`"
    out = [f"\n### {table['title']}\n", f"Published: {table['source']}. Ours: {command}.\n"]
    collapse = table.get("collapse")
    heads = [*by, "published", "ours: median (lowest to highest; runs)", *(["collapsed"] if collapse else []), *beside]
    out += ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for *key, expected in table["cells"]:
        names = dict(zip(by, key, strict=True))
        cell = [r for r in done if all(r.get(name, k) == k for name, k in names.items())]
        architecture = names.get("architecture", table.get("architecture"))
        cells = [*map(str, key), f"{expected:.3f}", spread([r[value] for r in cell]) or not_run(studies, architecture)]
        if collapse:
            cells.append(f"{sum(r[collapse] < COLLAPSED for r in cell)} of {len(cell)}" if cell else "")
        cells += [f"{statistics.median(r[b] for r in cell):.3f}" if cell else "" for b in beside]
        out.append("| " + " | ".join(cells) + " |")
    return [*out, "", table["note"].strip()] if "note" in table else out


def spread(values: list[float]) -> str:
    """Median with range and number of runs; empty without runs."""
    if not values:
        return ""
    if len(values) == 1:
        return f"{values[0]:.3f} (1 run)"
    return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f}; {len(values)})"


def not_run(studies: Studies, architecture: str | None) -> str:
    """Say what a run of this cell costs, from runs of the same architecture in any study."""
    seconds = [r["seconds"] for rows in studies.values() for r in rows if r.get("architecture") == architecture]
    return "not run" + (f" (about {max(1, round(statistics.median(seconds) / 60))} min a run)" if seconds else "")


if __name__ == "__main__":
    main()
