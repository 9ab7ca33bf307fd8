"""SIMULATORS: data sets made from motifs, with the matrix every sequence was drawn from as ground truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from tuner.data.dataset import Dataset
from tuner.data.simulate_koo import task1, task3
from tuner.data.simulate_synthetic import synthetic
from tuner.data.simulate_teaching import foxo1, hw4_interaction, hw4_multi, hw4_single


class Simulator(NamedTuple):
    """A row of `SIMULATORS`.

    Attributes
    ----------
    simulate : callable
        Takes ``seed`` (the published one unless given) and returns a Dataset.
    note : str
        What it makes.
    source : str
        Whom to cite.
    """

    simulate: Callable[..., Dataset]
    note: str
    source: str


SIMULATORS: Final[Mapping[str, Simulator]] = {
    "synthetic": Simulator(
        synthetic, "one task: planted motifs against their shuffled columns, 200 bp", "this package"
    ),
    "task1": Simulator(task1, "12 tasks: one to five of 12 motifs per sequence, 200 bp", "Koo & Ploenzke 2021, Task 1"),
    "task3": Simulator(
        task3, "one task: three to seven of 5 motifs against a mixture, 200 bp", "Koo & Ploenzke 2021, Task 3"
    ),
    "hw4_single": Simulator(hw4_single, "one task: ACGTG somewhere in 101 random bp", "DeepBind-style exercise"),
    "hw4_multi": Simulator(hw4_multi, "one task: ACGTG and TGCAT together or alone, 101 bp", "DeepBind-style exercise"),
    "hw4_interaction": Simulator(
        hw4_interaction, "one task: ACGTG 10 to 25 bp before TGCAT, 101 bp", "DeepBind-style exercise"
    ),
    "foxo1": Simulator(foxo1, "one task: the FOXO1 motif in the centre of 100 random bp", "FOXO1 CNN exercise"),
}
