"""Print docs/reproduction.md: published values beside ours.

    python docs/make_reproduction.py --storage runs/tuner.db > docs/reproduction.md

Our values are the runs in docs/runs.tsv and in the given storages. The runs of the storages are added to that table,
one run per slot, so the parts of a grid add up over machines and over storages that no longer exist. Without
--storage the page is printed from the table alone. --readouts adds what `benchmarks/koo_readout.py` has read from the
networks of a storage. A cell without a completed run says "not run"; the command above its table runs it. Its cost is
estimated from completed runs of the same architecture in any study.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tuner.results.leaderboard import TrialState, objective_names, stage_trials
from tuner.results.trial_table import Row, read_tsv, tidy, to_tsv
from tuner.storage.storage import FencedStorage, open_storage
from tuner.study.grid import slot_key

HERE = Path(__file__).parent
RUNS = HERE / "runs.tsv"
PROVENANCE = ("replicate", "seed", "epochs", "seconds", "kernels", "precision", "tuner_version")
COLLAPSED = 0.6  # validation AUROC below which a run has learned nothing
Studies = dict[str, list[Row]]


def main() -> None:
    """Read the storages and print every table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storage", action="append", default=[], help="several may be given")
    parser.add_argument("--readouts", type=Path, action="append", default=[], help="lines of koo_readout.py")
    options = parser.parse_args()
    published = tomllib.loads((HERE / "published.toml").read_text(encoding="utf-8"))
    known = [{k: v for k, v in row.items() if v is not None} for row in read_tsv(RUNS.read_text(encoding="utf-8"))]
    runs = {(row["study"], row["slot"]): row for row in known}
    for storage in map(open_storage, options.storage):
        runs |= completed(storage, published["tables"])
    for row in (json.loads(line) for path in options.readouts for line in path.read_text().splitlines()):
        runs[row["study"], row["slot"]]["target_fraction_koo_test"] = row["test"][0]
    if options.storage or options.readouts:
        RUNS.write_text(to_tsv([runs[key] for key in sorted(runs)]), encoding="utf-8")
    studies: Studies = {}
    for (study, _), row in runs.items():
        studies.setdefault(study, []).append(row)
    print(published["introduction"].strip())
    for section in published["sections"]:
        print(f"\n## {section['title']}\n\n{section['text'].strip()}")
        for table in published["tables"]:
            if table["study"] in section["studies"]:
                print("\n".join(lines(table, studies)))


def completed(storage: FencedStorage, tables: Sequence[dict[str, Any]]) -> dict[tuple[str, str], Row]:
    """Read the completed trials of these tables' studies: parameters, the values shown, and how each was trained."""
    found: dict[tuple[str, str], Row] = {}
    here = {summary.study_name for summary in storage.get_all_studies()}
    for study in sorted({table["study"] for table in tables} & here):
        of_study = [table for table in tables if table["study"] == study]
        shown = {n for t in of_study for n in (t["value"], *t.get("beside", []), t.get("collapse")) if n}
        for trial in stage_trials(storage, study):
            if trial.state == TrialState.COMPLETE:
                (row,) = tidy([trial], objective_names(storage, study))
                slot = slot_key(trial.params, int(row.get("replicate", trial.number)))
                kept = [*trial.params, *sorted(shown), *PROVENANCE]
                found[study, slot] = {"study": study, "slot": slot, **{n: row[n] for n in kept if n in row}}
    return found


def lines(table: dict[str, Any], studies: Studies) -> list[str]:
    """Format one table as Markdown."""
    by, value, beside, again = table["by"], table["value"], table.get("beside", []), table.get("again", {})
    done = studies.get(table["study"], [])
    out = [f"\n### {table['title']}\n", f"Published values: {table['source']}."]
    out += [f"Our values: `tuner run --study {table['study']}`, then"]
    out += [f"`tuner table --study {table['study']} --value {value}`.\n"]
    collapse = table.get("collapse")
    heads = [*by, "published", "ours: median (lowest to highest; runs)", *again]
    heads += [*(["collapsed"] if collapse else []), *beside]
    out += ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for *key, expected in table["cells"]:
        names = dict(zip(by, key, strict=True))
        cell = [r for r in done if all(r.get(name, k) == k for name, k in names.items())]
        architecture = names.get("architecture", table.get("architecture"))
        cells = [*map(str, key), f"{expected:.3f}", spread(cell, value) or not_run(studies, architecture)]
        cells += [spread([r for r in cell if name in r], name) for name in again.values()]
        if collapse:
            cells.append(f"{sum(r[collapse] < COLLAPSED for r in cell)} of {len(cell)}" if cell else "")
        cells += [f"{statistics.median(r[b] for r in cell):.3f}" if cell else "" for b in beside]
        out.append("| " + " | ".join(cells) + " |")
    return [*out, "", table["note"].strip()] if "note" in table else out


def spread(cell: Sequence[Row], value: str) -> str:
    """Give the median with range, number of runs and how many were in bfloat16; empty without runs."""
    if not cell:
        return ""
    values, narrow = [r[value] for r in cell], sum(r.get("precision") == "bfloat16" for r in cell)
    runs = f"{len(cell)}" + (f", {'all' if narrow == len(cell) else narrow} in bfloat16" if narrow else "")
    return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f}; {runs})"


def not_run(studies: Studies, architecture: str | None) -> str:
    """Say how long a run of this cell takes, from runs of the same architecture in any study."""
    seconds = [r["seconds"] for rows in studies.values() for r in rows if r.get("architecture") == architecture]
    return "not run" + (f" (about {max(1, round(statistics.median(seconds) / 60))} min per run)" if seconds else "")


if __name__ == "__main__":
    main()
