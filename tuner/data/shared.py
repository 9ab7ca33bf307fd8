"""Shares the sequences of a large data set in memory between all workers of a machine.

The first worker writes the codes of each split to a NumPy file in the cache, and every worker maps that file. Its pages
are in the operating system's page cache, so further workers need no more of them, and when memory is short they can be
dropped and read again.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from tuner.data.dataset import Dataset, Split
from tuner.files import make_folder, replacing
from tuner.genome.sequence import Codes

SHARED_FROM: Final = 32 << 20
"""Smallest size in bytes of the codes of a split that are shared; smaller ones are not worth a file."""


def share_codes(dataset: Dataset, cache: Path | None, *, least: int = SHARED_FROM) -> Dataset:
    """Replace the codes of large splits with memory-mapped files.

    Parameters
    ----------
    dataset : Dataset
    cache : Path or None
        Folder for the files; None shares nothing.
    least : int, bytes
        Smaller splits are not shared.

    Returns
    -------
    Dataset
        Equal to `dataset`. If a file cannot be written or has the wrong contents, the split keeps its codes and a note
        says why.
    """
    if cache is None:
        return dataset
    splits, notes = {}, list(dataset.notes)
    for name, split in dataset.splits.items():
        splits[name] = split
        if split.codes.nbytes >= least:
            path = cache / "codes" / f"{dataset.fingerprint[:32]}-{name}.npy"
            try:
                splits[name] = replace(split, codes=_mapped(path, split))
            except (OSError, ValueError, EOFError) as error:
                notes.append(f"{name}: the sequences are not shared between workers ({error})")
    return replace(dataset, splits=splits, notes=tuple(notes))


def _mapped(path: Path, split: Split) -> Codes:
    if not path.is_file():
        make_folder(path.parent)
        with replacing(path, durable=False) as part:
            with part.open("wb") as file:
                np.save(file, np.ascontiguousarray(split.codes), allow_pickle=False)
            part.chmod(0o644)
    # Copy on write: a write would stay in the process that makes it.
    codes: Codes = np.load(path, mmap_mode="c", allow_pickle=False)
    if codes.dtype != np.uint8 or not np.array_equal(codes, split.codes):
        raise ValueError(f"{path} holds other sequences; delete it")
    return codes
