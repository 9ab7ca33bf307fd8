"""Data, motif database and device of a study, which all its trials in one process share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from tuner.data.dataset import Dataset
from tuner.data.partition import with_relatives
from tuner.data.readers import splits_itself
from tuner.data.registry import load_dataset
from tuner.data.shared import share_codes
from tuner.data.spec import DataSpec
from tuner.errors import StudyError
from tuner.models.training import resolve_device
from tuner.motifs.database import MotifDatabase, load_database
from tuner.motifs.match import check_targets
from tuner.study.plan import FOLDS, Plan, identity


class Bench(NamedTuple):
    """Everything that the trials of a study need, loaded once per process.

    Attributes
    ----------
    plan : Plan
        The study.
    dataset : Dataset
        The study's data set, without its test split.
    database : MotifDatabase
        The study's motif database, screened.
    device : str
        Torch device on which networks are trained.
    cache : Path or None
        Cache folder, which contains Tomtom's compiled kernel.
    variants : mapping of str to Dataset
        Name -> data set, without its test split, for a grid with a parameter ``dataset``; usually empty.
    kin : bool
        Whether folds of data that came split keep relatives together, as those of every new study do.
    """

    plan: Plan
    dataset: Dataset
    database: MotifDatabase
    device: str
    cache: Path | None = None
    variants: Mapping[str, Dataset] = MappingProxyType({})
    kin: bool = False

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that two workers must agree on."""
        return identity(self.plan, self.dataset, self.database, self.variants, kin=self.kin)

    def dataset_of(self, point: Mapping[str, object]) -> Dataset:
        """Data set on which a point is trained."""
        name = point.get("dataset")
        return self.dataset if name is None else self.variants[str(name)]


def load_bench(
    plan: Plan,
    *,
    data_dir: Path | None,
    cache: Path | None,
    device: str = "cpu",
    max_memory: int | None = None,
    stored: Mapping[str, Any] | None = None,
) -> Bench:
    """Load and check everything that a study needs, before anything is trained.

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
    max_memory : int, optional, bytes
        Memory that reading the data may take; by default half of the available memory.
    stored : mapping of str to any, optional
        Identity of the study, if it is stored already: its data are split, and its motif database is screened, by the
        rules of the version that created it; see `load_dataset` and `load_motifs`.

    Raises
    ------
    DataError, MotifError, DeviceError
        The data, the motif database or the device is missing or unusable.
    StudyError
        A data set of ``dataset`` in the search space has another shape than the study's own.
    """
    found = resolve_device(device)
    dataset = load_dataset(
        plan.data_spec, data_dir=data_dir, cache=cache, max_memory=max_memory, fingerprint=stored_fingerprint(stored)
    )
    database = load_motifs(plan, cache, stored)
    check_targets(database, plan.study.motifs.targets)
    variants = {
        name: load_dataset(DataSpec(dataset=name), data_dir=data_dir, cache=cache, max_memory=max_memory).without_test()
        for name in plan.space.dataset_names
    }
    for name, variant in variants.items():
        if (variant.n_tasks, variant.length) != (dataset.n_tasks, dataset.length):
            raise StudyError(
                f"{plan.study.name} [dataset]: {name} has {variant.n_tasks} tasks and {variant.length} bp, but the "
                f"study's own data have {dataset.n_tasks} tasks and {dataset.length} bp. Use data sets of equal shape."
            )
    kin = plan.confirmation.folds > 0 and not splits_itself(plan.data_spec) and (stored is None or FOLDS in stored)
    closed = with_relatives(dataset.without_test()) if kin else dataset.without_test()
    return Bench(plan, share_codes(closed, cache), database, str(found), cache, variants, kin)


def stored_fingerprint(stored: Mapping[str, Any] | None) -> str | None:
    """Return the fingerprint of the data in the identity of a stored study, if there is one."""
    described = (stored or {}).get("data set")
    found = described.get("fingerprint") if isinstance(described, Mapping) else None
    return found if isinstance(found, str) else None


def load_motifs(plan: Plan, cache: Path | None, stored: Mapping[str, Any] | None = None) -> MotifDatabase:
    """Load the study's motif database: a JASPAR release, or a motif file beside the study file.

    Parameters
    ----------
    plan : Plan
        The study.
    cache : Path or None
        Folder of screened databases.
    stored : mapping of str to any, optional
        Identity of the study, if it is stored already: if its version screened small files by another rule, that rule
        is used, so that the study can be resumed.

    Raises
    ------
    MotifError
        The name is neither a JASPAR release nor a motif file, or the database cannot be read.
    """
    name = plan.study.motifs.database
    beside = plan.folder / name
    described = (stored or {}).get("motif database")
    digest = described.get("digest") if isinstance(described, Mapping) else None
    # A folder named like a release must not hide the release; one named like a file is reported as such.
    there = beside.is_file() or (beside.suffix != "" and beside.exists())
    return load_database(str(beside) if there else name, cache=cache, digest=digest)
