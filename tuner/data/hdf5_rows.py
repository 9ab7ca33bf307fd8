"""Names and groups of the sequences in an HDF5 file: arrays ``ids_*`` and ``groups_*`` beside ``X_*``; also its recipe.

Programs that know only Koo's layout ignore them.
"""

from __future__ import annotations

import json
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from tuner.data.dataset import Dataset, Split
from tuner.data.hdf5_file import FAULTS, load_filters
from tuner.errors import DataError

RECIPE: Final = "recipe"  # root attribute: how the data set was made, as JSON
_LONGEST: Final = 4096  # bytes of one name


def write_rows(file: h5py.File, name: str, split: Split) -> None:
    """Write the names and groups of a split, if it has any."""
    if split.ids is not None:
        texts = np.array([text.encode() for text in split.ids])  # fixed length, so that its size is known when read
        file.create_dataset(f"ids_{name}", data=texts, compression="gzip")
    if split.groups is not None:
        file.create_dataset(f"groups_{name}", data=split.groups.astype(np.int64), compression="gzip")


def write_recipe(file: h5py.File, dataset: Dataset, recipe: dict[str, Any] | None) -> None:
    """Write how a data set was made: its ``[data]`` table, its notes and its fingerprint."""
    told = {"data": recipe or {}, "notes": list(dataset.notes), "fingerprint": dataset.fingerprint}
    file.attrs[RECIPE] = json.dumps(told, sort_keys=True)


def read_ids(file: h5py.File, name: str, n: int, where: str) -> tuple[str, ...] | None:
    """Read the names of the `n` sequences of a split; None if the file has none, or has them in another form.

    Raises
    ------
    DataError
        There are more or fewer names than sequences, or they cannot be read.
    """
    array = _array(file, f"ids_{name}", n, where)
    if array is None or array.dtype.kind != "S" or array.dtype.itemsize > _LONGEST:
        return None
    try:
        return tuple(text.decode() for text in array[()].tolist())
    except FAULTS as error:
        raise DataError(f"{where}: ids_{name} cannot be read ({error}). Write the file again.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: ids_{name} is not UTF-8 text ({error.reason}). Write the file again.") from error


def read_groups(file: h5py.File, name: str, n: int, where: str) -> NDArray[np.int64] | None:
    """Read the groups of the `n` sequences of a split; None if the file has none, or has them in another form.

    Raises
    ------
    DataError
        There are more or fewer groups than sequences, or they cannot be read.
    """
    array = _array(file, f"groups_{name}", n, where)
    if array is None or array.dtype.kind not in "iu":
        return None
    try:
        return np.asarray(array[()], dtype=np.int64)
    except FAULTS as error:
        raise DataError(f"{where}: groups_{name} cannot be read ({error}). Write the file again.") from error


def _array(file: h5py.File, key: str, n: int, where: str) -> h5py.Dataset | None:
    try:
        found = file.get(key)
        if not isinstance(found, h5py.Dataset) or found.ndim != 1:
            return None
        load_filters(found)
    except FAULTS as error:
        raise DataError(f"{where}: {key} cannot be read ({error}). Write the file again.") from error
    if len(found) != n:
        raise DataError(f"{where}: {key} has {len(found)} entries for {n} sequences. Write one for each, or remove it.")
    return found
