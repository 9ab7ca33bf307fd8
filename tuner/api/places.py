"""Default locations of the Python interface: those of the commands if no environment variable is set."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tuner.motifs.tomtom import kernel_folder, prepare_kernel
from tuner.private import first_private, temporary_private_folder
from tuner.resources import RUNS


class Folders(NamedTuple):
    """Local folders.

    Attributes
    ----------
    data_dir : Path or None
        Folder of reference data; without it, named data sets are downloaded into the cache.
    cache : Path
        Folder of downloads and screened motif databases.
    code : Path
        Folder of compiled code, which nobody else can write to.
    own_cache : bool
        Whether the caller named the cache.
    """

    data_dir: Path | None
    cache: Path
    code: Path
    own_cache: bool


def storage_of(given: str | Path | None) -> str:
    """Return the SQLite file or database URL; by default ``runs/tuner.db`` in the current folder."""
    return str(RUNS / "tuner.db") if given is None else str(given)


def artifacts_of(given: str | Path | None) -> str:
    """Return the folder or address (``s3://``, ``gs://``, ``az://BUCKET/PREFIX``); by default ``runs/artifacts``."""
    return str(RUNS / "artifacts") if given is None else str(given)


def folders_of(data_dir: str | Path | None, cache: str | Path | None) -> Folders:
    """Resolve the folders; the cache is ``~/.cache/tuner`` unless it is named.

    Raises
    ------
    CacheError
        There is no folder in which files can be kept.
    """
    data = None if data_dir is None else Path(data_dir)
    if cache is not None:
        wanted = [Path(cache) / f"code-{os.geteuid()}"]
        return Folders(data, Path(cache), first_private(wanted)[0] or temporary_private_folder(), True)
    home = first_private([Path("~/.cache/tuner").expanduser()])[0] or temporary_private_folder()
    return Folders(data, home, home, False)


def prepare_matching(folders: Folders) -> None:
    """Compile Tomtom's kernel into the cache; the first call on a machine takes most of a minute."""
    import torch

    threads = torch.get_num_threads()
    try:
        prepare_kernel(kernel_folder(folders.code / "numba"))
    finally:
        torch.set_num_threads(threads)  # numba's first threads set the number of threads of the whole process


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute in one thread inside the block, as a worker process does, so that results are identical bit for bit."""
    import torch
    from threadpoolctl import threadpool_limits

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        torch.set_num_threads(threads)
