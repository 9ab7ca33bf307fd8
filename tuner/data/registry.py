"""DATASETS: the data sets that a study can name, and where their files come from.

The file of a named data set is looked for at an explicit path, in the folder of reference data and in the cache, in
this order; otherwise it is downloaded from its publisher. Its SHA-256 is always checked, so that a name always means
the same sequences. Simulated data sets need no file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import pooch

from tuner.data.dataset import Dataset, check
from tuner.data.hdf5 import koo_hdf5
from tuner.data.peak_dataset import peak_dataset
from tuner.data.readers import read, splits_itself
from tuner.data.separation import unknown_base_warnings
from tuner.data.simulate import SIMULATORS, simulate
from tuner.data.spec import DataSpec
from tuner.data.test_set import with_test_set
from tuner.errors import DataError, permission, unknown

__all__ = ["DATASETS", "DataSpec", "NamedDataset", "fetch", "load_dataset"]

_KOO: Final = (
    "https://raw.githubusercontent.com/p-koo/exponential_activations/7e48054b64a565364439c45932338a09eb2eb4d3/data/"
)


class NamedDataset(NamedTuple):
    """One row of `DATASETS`.

    Attributes
    ----------
    note : str
        What it is.
    source : str
        What to cite.
    licence : str
        Licence of the file.
    tasks : tuple of str
        Names of the label columns of its file.
    file : str or None
        Path below the folder of reference data; None for a simulated set.
    url, sha256 : str or None
        URL of the published file, pinned to a commit, and the digest of the file.
    simulator : str or None
        A name in `tuner.data.simulate.SIMULATORS`.
    """

    note: str
    source: str
    licence: str
    tasks: tuple[str, ...] = ()
    file: str | None = None
    url: str | None = None
    sha256: str | None = None
    simulator: str | None = None


DATASETS: Final[Mapping[str, NamedDataset]] = {
    "zbed2": NamedDataset(
        "ZBED2 ChIP-seq peaks against H3K27ac regions, 400 bp; GC and CpG differ between the classes",
        "Koo & Ploenzke 2021, Task 5",
        "MIT",
        tasks=("ZBED2",),
        file="koo/ZBED2_400_h3k27ac.h5",
        url=_KOO + "ZBED2_400_h3k27ac.h5",
        sha256="4ab4ebf246097571b8c79a0506de53b3b6a73a28dafde57f0d549bb54815705e",
    ),
    "irf1": NamedDataset(
        "IRF1 ChIP-seq peaks against H3K27ac regions, 400 bp",
        "Koo & Ploenzke 2021, Task 6",
        "MIT",
        tasks=("IRF1",),
        file="koo/IRF1_400_h3k27ac.h5",
        url=_KOO + "IRF1_400_h3k27ac.h5",
        sha256="bde3a684307494cdc4a584177f317ee6e2f9462f35a9b944f2acf85cb2d07b64",
    ),
} | {name: NamedDataset(row.note, row.source, "simulated", simulator=name) for name, row in SIMULATORS.items()}


def load_dataset(
    spec: DataSpec,
    *,
    data_dir: Path | None = None,
    cache: Path | None = None,
    base: Path | None = None,
    offline: bool = False,
    progress: bool = False,
    max_memory: int | None = None,
    fingerprint: str | None = None,
) -> Dataset:
    """Load the data set that the data section of a study names, and check it.

    Parameters
    ----------
    spec : DataSpec
    data_dir : Path, optional
        Folder of reference data (the command line reads it from TUNER_DATA_DIR).
    cache : Path, optional
        Folder for downloads; by default the user's cache folder.
    base : Path, optional
        Folder to which relative paths refer.
    offline : bool
        Whether downloads are forbidden.
    progress : bool
        Whether to show a progress bar while downloading.
    max_memory : int, optional, bytes
        Largest amount of memory for reading; by default half of the available memory.
    fingerprint : str, optional
        Fingerprint of the data of a stored study. If the data section does not say how to split, and relatives in one
        split give another fingerprint, but only copies in one split, as earlier versions split them, give this one, the
        data are split like this.

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        If the name is unknown, the file is missing, broken or not the published one, or memory runs out; or as in
        `tuner.data.dataset.check`.
    """
    where: dict[str, Any] = {"data_dir": data_dir, "cache": cache, "base": base, "offline": offline}
    dataset = load_unchecked(spec, **where, progress=progress, max_memory=max_memory)
    if fingerprint not in (None, dataset.fingerprint) and spec.split is None and splits_itself(spec):
        former = load_unchecked(replace(spec, split="random"), **where, progress=progress, max_memory=max_memory)
        dataset = former if former.fingerprint == fingerprint else dataset
    check(dataset)
    return replace(dataset, notes=dataset.notes + unknown_base_warnings(dataset))


def load_unchecked(
    spec: DataSpec,
    *,
    data_dir: Path | None = None,
    cache: Path | None = None,
    base: Path | None = None,
    offline: bool = False,
    progress: bool = False,
    max_memory: int | None = None,
) -> Dataset:
    """Load a data set as `load_dataset` does, also one whose splits would not do for a study.

    Parameters
    ----------
    spec, data_dir, cache, base, offline, progress, max_memory
        As in `load_dataset`.

    Raises
    ------
    DataError
        As in `load_dataset`, without the checks of `tuner.data.dataset.check`.
    """
    try:
        return _load(spec, data_dir, cache, base, offline, progress, max_memory)
    except MemoryError as error:
        named = spec.dataset or spec.path or spec.positives or spec.folder or next(iter(spec.files.values()))
        raise DataError(
            f"{named}: memory ran out while it was read. Free some, raise the limit of this process or its control "
            f"group, or give fewer or shorter sequences."
        ) from error


def _load(
    spec: DataSpec,
    data_dir: Path | None,
    cache: Path | None,
    base: Path | None,
    offline: bool,
    progress: bool,
    max_memory: int | None,
) -> Dataset:
    if spec.peaks is not None:
        dataset = peak_dataset(
            spec, base, data_dir=data_dir, cache=cache, offline=offline, progress=progress, max_memory=max_memory
        )
    elif spec.dataset is None:
        dataset = with_test_set(read(spec, base, max_memory=max_memory), spec, base, max_memory=max_memory)
    else:
        try:
            row = DATASETS[spec.dataset]
        except KeyError:
            raise DataError(unknown("data set", spec.dataset, DATASETS)) from None
        if row.simulator is not None:
            dataset = simulate(row.simulator, data_dir=data_dir)
        else:
            if spec.path is not None:
                path = (Path() if base is None else base) / spec.path
                _verify(path, row, spec.dataset)
            else:
                path = fetch(spec.dataset, data_dir=data_dir, cache=cache, offline=offline, progress=progress)
            dataset = replace(koo_hdf5(path, tasks=row.tasks, max_memory=max_memory), name=spec.dataset)
    return dataset


def fetch(
    name: str,
    *,
    data_dir: Path | None = None,
    cache: Path | None = None,
    offline: bool = False,
    progress: bool = False,
) -> Path:
    """Find or download the file of a named data set.

    Parameters
    ----------
    name : str
        Name in `DATASETS` of a data set with a file.
    data_dir, cache, offline, progress
        As in `load_dataset`.

    Returns
    -------
    Path
        File with the published SHA-256.

    Raises
    ------
    DataError
        If there is no file and it cannot be downloaded, or the file found is not the published one.
    """
    row = DATASETS[name]
    if row.file is None or row.url is None:
        raise DataError(f"{name} is simulated and has no file; `tuner simulate {name} --out FILE.h5` writes one.")
    if data_dir is not None and (data_dir / row.file).is_file():
        _verify(data_dir / row.file, row, name)
        return data_dir / row.file
    folder = Path(pooch.os_cache("tuner")) if cache is None else cache
    kept = folder / Path(row.file).name
    looked = f"{data_dir / row.file if data_dir is not None else 'TUNER_DATA_DIR is unset'}; {kept}"
    remedy = f"Download {row.url} by hand to {row.file} in a folder, and set TUNER_DATA_DIR to that folder."
    if offline and not kept.is_file():
        raise DataError(f"{name}: {Path(row.file).name} is not here ({looked}) and downloads are off. {remedy}")
    downloader = pooch.HTTPDownloader(progressbar=progress, timeout=30)
    try:
        # Downloads to a temporary file, checks it, then renames it, so that workers may start at the same time.
        found = pooch.retrieve(row.url, known_hash=row.sha256, fname=kept.name, path=folder, downloader=downloader)
    except (OSError, ValueError) as error:  # errors of requests are OSErrors; a wrong hash is a ValueError
        raise DataError(
            f"{name}: {Path(row.file).name} is not here ({looked}) "
            f"and could not be downloaded from {row.url} ({_short(error)}). {remedy}"
        ) from error
    return Path(found)


def _short(error: Exception) -> str:
    """Return the innermost reason, around which requests wraps three layers of text."""
    while error.__context__ is not None and isinstance(error.__context__, Exception):
        error = error.__context__
    return f"{type(error).__name__}: {error}"


def _verify(path: Path, row: NamedDataset, name: str) -> None:
    if not path.is_file():
        raise DataError(f"{name}: {path}: no such file.")
    try:
        with path.open("rb") as stream:  # in pieces, as the file may be of any size
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{name}: {path} cannot be read ({error.strerror}).{permission(error)}") from error
    if digest != row.sha256:
        raise DataError(
            f"{name}: {path} is not the published file: SHA-256 {digest[:16]}..., "
            f"expected {str(row.sha256)[:16]}... "
            f"Remove it to download {row.url}, or use it as your own data with path = and no dataset =."
        )
