"""`tuner dataset`: write the data of a study as one HDF5 file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tuner.cli import context, options

EXAMPLE = "Example: tuner dataset --study mine.toml --out mine.h5"


def command(
    study: options.Study,
    out: Annotated[Path, typer.Option(help="HDF5 file to write.", show_default=False)],
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file if it exists.")] = False,
    max_memory: options.MaxMemory = None,
    as_json: options.Json = False,
) -> None:
    """Write sequences, labels, splits, names and groups as a study uses them, with the recipe that made them.

    The file holds the test split too. A study whose [data] has path = the file trains on the same data.
    """
    from tuner.data.hdf5 import write_koo_hdf5
    from tuner.data.registry import load_dataset
    from tuner.data.spec import recipe
    from tuner.errors import UsageError

    if not out.parent.is_dir():
        raise UsageError(f"--out {out}: there is no folder {out.parent}.")
    if out.exists() and not force:
        raise UsageError(f"--out {out} exists. Choose another name, or overwrite it with --force.")
    plan = context.plan_for(study, preset="standard", seed=0)
    limit = context.max_memory(max_memory)
    dataset = load_dataset(plan.data_spec, data_dir=context.data_dir(), cache=context.cache_dir(), max_memory=limit)
    write_koo_hdf5(dataset, out, recipe(plan.data_spec))
    described = dataset.describe()
    if as_json:
        context.emit({"file": str(out), **described})
        return
    sizes = ", ".join(f"{split} {s['sequences']}" for split, s in described["splits"].items())
    context.note(f"{out}: {sizes} sequences of {described['length']} bp, tasks {', '.join(described['tasks'])}")
    context.note(f"fingerprint {described['fingerprint']}")
