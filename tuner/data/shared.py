"""Sequences of a large data set in one place in memory, for all workers of a machine.

The first worker writes the codes of each split as a NumPy file into the cache; every worker maps it. The pages are the
operating system's, so a second worker adds none, and under want of memory they can be dropped and read again.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from tuner.data.dataset import Dataset, Split
from tuner.data.sequence import Codes
from tuner.files import make_folder, replacing

SHARED_FROM: Final = 32 << 20
"""Bytes from which the codes of a split are shared; copies of smaller ones are not worth a file."""


def share_codes(dataset: Dataset, cache: Path | None, *, least: int = SHARED_FROM) -> Dataset:
    """Replace the codes of large splits by mapped files.

    Parameters
    ----------
    dataset : Dataset
    cache : Path or None
        Folder of the files; without one nothing is shared.
    least : int, bytes
        Splits with fewer are left alone.

    Returns
    -------
    Dataset
        Equal to the one given. Where a file cannot be written or is not what it should be, with a note that says why,
        and the codes as they were.
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
                notes.append(f"{name}: its sequences are not shared between workers ({error})")
    return replace(dataset, splits=splits, notes=tuple(notes))


def _mapped(path: Path, split: Split) -> Codes:
    if not path.is_file():
        make_folder(path.parent)
        with replacing(path, durable=False) as part:
            with part.open("wb") as file:
                np.save(file, np.ascontiguousarray(split.codes), allow_pickle=False)
            part.chmod(0o644)
    # Private: a write, if there were one, would stay in the process that makes it.
    codes: Codes = np.load(path, mmap_mode="c", allow_pickle=False)
    if codes.dtype != np.uint8 or not np.array_equal(codes, split.codes):
        raise ValueError(f"{path} holds other sequences; delete it")
    return codes
