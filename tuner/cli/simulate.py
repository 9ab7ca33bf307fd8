"""`tuner simulate`: write a simulated data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tuner.cli import context, options

EXAMPLE = "Example: tuner simulate hw4_single --set motif_probability=0.8 --out weak.h5"


def command(
    name: Annotated[str, typer.Argument(help="Name of a simulator, see tuner list datasets.", metavar="NAME")],
    out: Annotated[Path, typer.Option(help="File to write, in Koo's HDF5 layout.", show_default=False)],
    seed: Annotated[int | None, typer.Option(min=0, help="Seed, instead of the published one.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Set a parameter; can be repeated.", metavar="PARAMETER=VALUE"),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Write a simulated data set: one-hot sequences, labels, and the matrix from which each sequence was drawn."""
    from tuner.data.hdf5 import write_koo_hdf5
    from tuner.data.simulate import SIMULATORS, parse_settings, simulate
    from tuner.errors import UsageError, unknown

    if name not in SIMULATORS:
        raise UsageError(unknown("simulator", name, SIMULATORS))
    if not out.parent.is_dir():
        raise UsageError(f"--out {out}: there is no folder {out.parent}.")
    given = parse_settings(name, settings or [])
    if seed is not None:
        given["seed"] = seed
    dataset = simulate(name, data_dir=context.data_dir(), **given)
    write_koo_hdf5(dataset, out)
    described = dataset.describe()
    if as_json:
        context.emit({"file": str(out), **described})
        return
    sizes = ", ".join(f"{split} {s['sequences']}" for split, s in described["splits"].items())
    context.note(f"{out}: {sizes} sequences of {described['length']} bp, tasks {', '.join(described['tasks'])}")
