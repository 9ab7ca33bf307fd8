"""Where the Python interface finds and keeps things if nobody says where: as the commands without variables."""

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
        Of reference data; without it, named data sets are downloaded into the cache.
    cache : Path
        Of downloads and screened motif databases.
    code : Path
        Of compiled code, which nobody else can write.
    own_cache : bool
        Whether the cache was named.
    """

    data_dir: Path | None
    cache: Path
    code: Path
    own_cache: bool


def storage_of(given: str | Path | None) -> str:
    """A SQLite file or a database URL; without one ``runs/tuner.db`` in the current folder."""
    return str(RUNS / "tuner.db") if given is None else str(given)


def artifacts_of(given: str | Path | None) -> str:
    """A folder, or ``s3://``, ``gs://``, ``az://BUCKET/PREFIX``; else ``runs/artifacts`` in the current folder."""
    return str(RUNS / "artifacts") if given is None else str(given)


def folders_of(data_dir: str | Path | None, cache: str | Path | None) -> Folders:
    """Resolve the folders; the cache is ``~/.cache/tuner`` unless it is named.

    Raises
    ------
    CacheError
        Nothing can be kept anywhere.
    """
    data = None if data_dir is None else Path(data_dir)
    if cache is not None:
        wanted = [Path(cache) / f"code-{os.geteuid()}"]
        return Folders(data, Path(cache), first_private(wanted)[0] or temporary_private_folder(), True)
    home = first_private([Path("~/.cache/tuner").expanduser()])[0] or temporary_private_folder()
    return Folders(data, home, home, False)


def prepare_matching(folders: Folders) -> None:
    """Have Tomtom's kernel compiled where it is kept: most of a minute on a machine's first call."""
    import torch

    threads = torch.get_num_threads()
    try:
        prepare_kernel(kernel_folder(folders.code / "numba"))
    finally:
        torch.set_num_threads(threads)  # numba's first threads give the whole process as many as numba may use


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute in one thread inside the block, as a worker process does, so that its numbers are the same bits."""
    import torch
    from threadpoolctl import threadpool_limits

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        torch.set_num_threads(threads)
