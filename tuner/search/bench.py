"""What the jobs of a study share in one process: data, motif database, device."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from tuner.data.dataset import Dataset
from tuner.data.registry import load_dataset
from tuner.models.training import resolve_device
from tuner.motifs.database import MotifDatabase, load_database
from tuner.motifs.match import check_targets
from tuner.search.study import Plan, identity


class Bench(NamedTuple):
    """What every job of a study needs, loaded once per process.

    Attributes
    ----------
    plan : Plan
        The study.
    dataset : Dataset
        With its test split closed.
    database : MotifDatabase
        Screened.
    device : str
        Torch device.
    cache : Path or None
        Folder where Tomtom's compiled kernel is kept.
    """

    plan: Plan
    dataset: Dataset
    database: MotifDatabase
    device: str
    cache: Path | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """Everything two workers must agree on."""
        return identity(self.plan, self.dataset, self.database)


def load_bench(plan: Plan, *, data_dir: Path | None, cache: Path | None, device: str = "cpu") -> Bench:
    """Load and check everything a study needs, before anything is trained.

    Parameters
    ----------
    plan : Plan
        The study.
    data_dir : Path or None
        Folder with the reference data.
    cache : Path or None
        Folder for downloads and screened databases.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.

    Raises
    ------
    DataError, MotifError, DeviceError
        What is missing or broken, where, and what to do.
    """
    found = resolve_device(device)
    dataset = load_dataset(plan.data_spec, data_dir=data_dir, cache=cache)
    database = load_motifs(plan, cache)
    check_targets(database, plan.study.motifs.targets)
    return Bench(plan, dataset.without_test(), database, str(found), cache)


def load_motifs(plan: Plan, cache: Path | None) -> MotifDatabase:
    """Load the study's motif database: a JASPAR release, or a MEME file beside the study file.

    Raises
    ------
    MotifError
        Neither of them.
    """
    name = plan.study.motifs.database
    beside = plan.folder / name
    return load_database(str(beside) if beside.is_file() else name, cache=cache)
