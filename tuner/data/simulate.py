"""SIMULATORS: data sets made from motifs, with the matrix from which each sequence was drawn as ground truth."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from tuner.data.dataset import Dataset
from tuner.data.simulate_koo import task1, task3, task3_corrected
from tuner.data.simulate_synthetic import synthetic
from tuner.data.simulate_teaching import (
    foxo1,
    foxo1_hocomoco,
    hw4_interaction,
    hw4_multi,
    hw4_noise_60,
    hw4_noise_80,
    hw4_single,
)
from tuner.errors import DataError, UsageError, unknown


class Simulator(NamedTuple):
    """A row of `SIMULATORS`.

    Attributes
    ----------
    simulate : callable
        Takes ``seed`` (by default the published one), other parameters with defaults, and ``file`` if the row has one;
        returns a Dataset.
    note : str
        What it makes.
    source : str
        What to cite.
    file : str or None
        Path, below the folder of reference data, of a file that may not be redistributed.
    """

    simulate: Callable[..., Dataset]
    note: str
    source: str
    file: str | None = None

    @property
    def parameters(self) -> dict[str, int | float | str]:
        """Parameters that can be set as text, with their defaults."""
        given = inspect.signature(self.simulate).parameters.values()
        return {p.name: p.default for p in given if isinstance(p.default, int | float | str)}


_EXERCISE: Final = "DeepBind-style exercise"

SIMULATORS: Final[Mapping[str, Simulator]] = {
    "synthetic": Simulator(
        synthetic, "one task: planted motifs against their shuffled columns, 200 bp", "this package"
    ),
    "task1": Simulator(task1, "12 tasks: one to five of 12 motifs per sequence, 200 bp", "Koo & Ploenzke 2021, Task 1"),
    "task3": Simulator(
        task3, "one task: three to seven of 5 motifs against a mixture, 200 bp", "Koo & Ploenzke 2021, Task 3"
    ),
    "task3_corrected": Simulator(
        task3_corrected,
        "task3 without the background motifs that resemble the planted ones, 200 bp",
        "after Koo & Ploenzke 2021, Task 3",
    ),
    "hw4_single": Simulator(hw4_single, "one task: ACGTG somewhere in 101 random bp", _EXERCISE),
    "hw4_noise_80": Simulator(hw4_noise_80, "hw4_single with the motif in 80 % of the positives", _EXERCISE),
    "hw4_noise_60": Simulator(hw4_noise_60, "hw4_single with the motif in 60 % of the positives", _EXERCISE),
    "hw4_multi": Simulator(hw4_multi, "one task: ACGTG and TGCAT together or alone, 101 bp", _EXERCISE),
    "hw4_interaction": Simulator(hw4_interaction, "one task: ACGTG 10 to 25 bp before TGCAT, 101 bp", _EXERCISE),
    "foxo1": Simulator(foxo1, "one task: the FOXO1 motif in the centre of 100 random bp", "FOXO1 CNN exercise"),
    "foxo1_hocomoco": Simulator(
        foxo1_hocomoco,
        "foxo1 with the matrix of HOCOMOCO v11, whose file must be in TUNER_DATA_DIR",
        "FOXO1 CNN exercise; Kulakovskiy et al. 2018",
        file="motifs/HOCOMOCOv11_HUMAN.pfm",
    ),
}


def simulate(name: str, *, data_dir: Path | None = None, **settings: Any) -> Dataset:
    """Run one simulator.

    Parameters
    ----------
    name : str
        Name in `SIMULATORS`.
    data_dir : Path, optional
        Folder of reference data, for simulators that read a file.
    **settings
        Parameters of the simulator: ``seed`` and others.

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        If the name is unknown, a setting is out of range, or the file is missing.
    """
    if name not in SIMULATORS:
        raise DataError(unknown("simulator", name, SIMULATORS))
    row = SIMULATORS[name]
    if row.file is not None:
        path = None if data_dir is None else data_dir / row.file
        if path is None or not path.is_file():
            looked = "TUNER_DATA_DIR is unset" if path is None else f"there is no file {path}"
            raise DataError(
                f"{name} needs {row.file}, which may not be redistributed: {looked}. Put the file below a folder and "
                f"set TUNER_DATA_DIR to that folder."
            )
        settings["file"] = path
    return row.simulate(**settings)


def parse_settings(name: str, texts: list[str]) -> dict[str, int | float | str]:
    """Parse ``parameter=value`` texts into settings of a simulator, each with the type of its default.

    Raises
    ------
    UsageError
        If a text has no ``=``, a parameter is unknown, or a value has the wrong type.
    """
    known = SIMULATORS[name].parameters
    settings: dict[str, int | float | str] = {}
    for text in texts:
        key, mark, value = text.partition("=")
        if not mark:
            raise UsageError(f"{text!r}: expected PARAMETER=VALUE with one of {', '.join(known)}.")
        if key not in known:
            raise UsageError(f"{name}: {unknown('parameter', key, known)}")
        kind = type(known[key])
        try:
            settings[key] = kind(value)
        except ValueError:
            raise UsageError(f"{name}: {key} = {value!r} must be {kind.__name__}, like {known[key]!r}.") from None
    return settings
