"""`tuner simulate`: write a simulated data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tuner.cli import context, options

EXAMPLE = "Example: tuner simulate task1 --out task1.h5"


def command(
    name: Annotated[str, typer.Argument(help="Simulator; tuner list datasets shows them.", metavar="NAME")],
    out: Annotated[Path, typer.Option(help="File to write, in Koo's HDF5 layout.", show_default=False)],
    seed: Annotated[int | None, typer.Option(min=0, help="Another seed than the published one.")] = None,
    as_json: options.Json = False,
) -> None:
    """Write a simulated data set: one-hot sequences, labels, and the matrix each sequence was drawn from."""
    from tuner.data.hdf5 import write_koo_hdf5
    from tuner.data.simulate import SIMULATORS
    from tuner.errors import UsageError, unknown

    if name not in SIMULATORS:
        raise UsageError(unknown("simulator", name, SIMULATORS))
    if not out.parent.is_dir():
        raise UsageError(f"--out {out}: there is no folder {out.parent}.")
    dataset = SIMULATORS[name].simulate(**({} if seed is None else {"seed": seed}))
    write_koo_hdf5(dataset, out)
    described = dataset.describe()
    if as_json:
        context.emit({"file": str(out), **described})
        return
    sizes = ", ".join(f"{split} {s['sequences']}" for split, s in described["splits"].items())
    context.note(f"{out}: {sizes} sequences of {described['length']} bp, tasks {', '.join(described['tasks'])}")
