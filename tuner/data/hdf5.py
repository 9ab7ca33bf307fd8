"""Koo's HDF5 layout: X_train (n, 4, length), Y_train (n, n_tasks), optional model_train; so for valid, test.

The layout of Koo & Ploenzke (2021), https://github.com/p-koo/exponential_activations. `write_koo_hdf5` adds
one root attribute, ``tasks`` (a JSON list of names), which other readers ignore.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from tuner.data.dataset import SPLITS, Dataset, Split
from tuner.data.sequence import N_CODE, Codes
from tuner.errors import DataError, unknown
from tuner.limits import require

LAYOUTS: Final = ("ncl", "nlc")
# Rows expanded at a time: 4096 x 4 x 1000 float32 are 64 MB.
_BLOCK: Final = 4096


def koo_hdf5(
    path: str | Path, layout: str = "ncl", tasks: Sequence[str] | None = None, *, max_memory: int | None = None
) -> Dataset:
    """Read Koo's HDF5 layout.

    Parameters
    ----------
    path : str or Path
        With X_* (n, 4, length), integer or float one-hot (a column of zeros is N), Y_* (n, n_tasks) or (n,)
        of 0 and 1, and optionally model_* (n, 4, length), for * in train, valid, test.
    layout : str
        ``"ncl"``, or ``"nlc"`` where X_* and model_* are (n, length, 4).
    tasks : sequence of str, optional
        A name per column of Y_*; without it the file's ``tasks`` attribute, else ``task_0``, ...
    max_memory : int, optional, bytes
        What reading may take; without it half of the memory that is there.

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        If the file is missing, truncated or lacks a key; if X_* is transposed, no one-hot, NaN or empty; if
        Y_* is not 0/1, NaN, or of another length than X_*.
    """
    path = Path(path)
    if layout not in LAYOUTS:
        raise DataError(unknown("layout", layout, LAYOUTS))
    if not path.is_file():
        raise DataError(f"{path}: no such file.")
    try:
        with h5py.File(path, "r") as file:
            declared = [found for found in file.values() if isinstance(found, h5py.Dataset)]
            require(path, sum(found.size * found.dtype.itemsize for found in declared), max_memory)
            splits = {name: _read_split(file, name, path.name, layout) for name in SPLITS}
            stored = file.attrs.get("tasks")
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"{path}: not a complete HDF5 file ({str(error).strip()}). "
            f"It is truncated or damaged: copy or download it again."
        ) from error
    widths = {name: split.labels.shape[1] for name, split in splits.items()}
    lengths = {name: split.codes.shape[1] for name, split in splits.items()}
    for what, sizes in (("label columns", widths), ("bases per sequence", lengths)):
        if len(set(sizes.values())) > 1:
            raise DataError(f"{path.name}: the splits differ in {what}: {_listed(sizes)}.")
    return Dataset(
        name=path.name,
        tasks=_task_names(tasks, stored, widths["train"], path.name),
        splits=splits,
        source=str(path),
    )


def _listed(sizes: dict[str, int]) -> str:
    return ", ".join(f"{name} {size}" for name, size in sizes.items())


def _task_names(given: Sequence[str] | None, stored: Any, width: int, where: str) -> tuple[str, ...]:
    names = tuple(given) if given is not None else tuple(json.loads(stored)) if stored is not None else None
    if names is None:
        return tuple(f"task_{i}" for i in range(width))
    if len(names) != width:
        raise DataError(f"{where}: {len(names)} task names ({', '.join(names)}) for {width} label columns.")
    return names


def _read_split(file: h5py.File, split: str, where: str, layout: str) -> Split:
    x, y = _dataset(file, f"X_{split}", where), _dataset(file, f"Y_{split}", where)
    _check_axes(x, f"X_{split}", where, layout)
    if len(x) == 0:
        raise DataError(f"{where}: X_{split} is empty (shape {x.shape}).")
    if len(y.shape) not in (1, 2) or y.shape[0] != x.shape[0]:
        raise DataError(
            f"{where}: X_{split} has {x.shape[0]} sequences but Y_{split} has shape {y.shape}; "
            f"expected ({x.shape[0]}, n_tasks)."
        )
    truth = None
    if f"model_{split}" in file:
        model = _dataset(file, f"model_{split}", where)
        if model.shape[:3] != x.shape[:3]:
            raise DataError(f"{where}: model_{split} has shape {model.shape}, X_{split} {x.shape}; expected equal.")
        truth = np.concatenate([block.astype(np.float32) for _, block in _blocks(model, layout)])
    return Split(codes=_read_codes(x, f"X_{split}", where, layout), labels=_labels(y, split, where), truth=truth)


def _dataset(file: h5py.File, key: str, where: str) -> h5py.Dataset:
    found = file.get(key)
    if not isinstance(found, h5py.Dataset):
        raise DataError(
            f"{where}: key {key!r} is missing; expected X_ and Y_ for train, valid and test, "
            f"found {', '.join(file) or 'nothing'}."
        )
    return found


def _check_axes(x: h5py.Dataset, key: str, where: str, layout: str) -> None:
    """Refuse any shape but the layout's; name the axes to swap. A trailing axis of 1 (DeepSEA) is allowed."""
    shape = tuple(x.shape)
    core = shape[:3] if len(shape) == 4 and shape[3] == 1 else shape
    expected, axis = ("(n, 4, length)", 1) if layout == "ncl" else ("(n, length, 4)", 2)
    if len(core) == 3 and core[axis] == 4:
        return
    fault = f"{where}: {key} has shape {shape}; expected {expected}."
    if len(core) != 3 or 4 not in core:
        raise DataError(f"{fault} No axis holds the 4 bases of a one-hot sequence.")
    found = core.index(4)
    if found == 0:
        raise DataError(f"{fault} Axis 0 holds the bases: transpose it to axis {axis}.")
    other = LAYOUTS[1 - LAYOUTS.index(layout)]
    raise DataError(f'{fault} Transpose axes 1 and 2, or set layout = "{other}".')


def _blocks(data: h5py.Dataset, layout: str) -> Iterator[tuple[int, NDArray[Any]]]:
    for start in range(0, data.shape[0], _BLOCK):
        block = data[start : start + _BLOCK]
        block = block.reshape(block.shape[:3])
        yield start, block if layout == "ncl" else block.transpose(0, 2, 1)  # (n, 4, length)


def _read_codes(x: h5py.Dataset, key: str, where: str, layout: str) -> Codes:
    parts = []
    for start, block in _blocks(x, layout):
        if block.dtype.kind == "f":
            _refuse(np.isnan(block), block, start, f"{where}: {key}")
        total = block.sum(axis=1)  # (n, length)
        bad = ((block != 0) & (block != 1)).any(axis=1) | (total > 1)
        _refuse(bad[:, None], block, start, f"{where}: {key}")
        parts.append(np.where(total == 0, N_CODE, block.argmax(axis=1)).astype(np.uint8))
    return np.concatenate(parts)


def _refuse(bad: NDArray[np.bool_], block: NDArray[Any], start: int, where: str) -> None:
    """Name the first row and position of a boolean (n, channels, length) map of faults."""
    if bad.any():
        row, _, position = (int(i) for i in np.argwhere(bad)[0])
        bases = ", ".join(f"{value:g}" for value in block[row, :, position])
        raise DataError(
            f"{where} row {start + row}, position {position} is ({bases}); "
            f"expected one-hot: a single 1 among 0s (all 0 for N)."
        )


def _labels(y: h5py.Dataset, split: str, where: str) -> NDArray[np.uint8]:
    values = np.asarray(y[()])
    values = values.reshape(len(values), -1)
    if values.dtype.kind not in "fiub":
        raise DataError(f"{where}: Y_{split} holds {values.dtype}; expected numbers 0 and 1.")
    bad = np.argwhere((values != 0) & (values != 1))
    if len(bad):
        row, column = (int(i) for i in bad[0])
        raise DataError(
            f"{where}: Y_{split} row {row}, column {column} is {values[row, column]}; expected 0 or 1. "
            f"{len(np.unique(bad[:, 0]))} of {len(values)} rows are wrong."
        )
    return values.astype(np.uint8)


def write_koo_hdf5(dataset: Dataset, path: str | Path) -> Path:
    """Write Koo's HDF5 layout; `koo_hdf5` reads it back with the same fingerprint.

    Parameters
    ----------
    dataset : Dataset
        With all three splits.
    path : str or Path
        Replaced in one step: an interrupted write leaves what was there.

    Returns
    -------
    Path
        The file: X_* uint8 one-hot (n, 4, length), Y_* uint8, model_* float32 where there is ground truth.

    Raises
    ------
    DataError
        If the test split is closed, or the file cannot be written.
    """
    path = Path(path)
    splits = {"train": dataset.train, "valid": dataset.valid, "test": dataset.test}
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
        with h5py.File(temporary, "w") as file:
            file.attrs["tasks"] = json.dumps(dataset.tasks)
            for name, split in splits.items():
                _write_split(file, name, split)
        Path(temporary).chmod(0o644)  # mkstemp makes files that only their owner can read
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error}). Choose a folder with space that you own.") from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
    return path


def _write_split(file: h5py.File, name: str, split: Split) -> None:
    shape = (len(split), 4, split.codes.shape[1])
    x = file.create_dataset(f"X_{name}", shape, np.uint8, compression="gzip", chunks=(min(len(split), 256), *shape[1:]))
    for start in range(0, len(split), _BLOCK):
        block = split.codes[start : start + _BLOCK].astype(np.int64)
        x[start : start + _BLOCK] = np.eye(N_CODE + 1, 4, dtype=np.uint8)[block].transpose(0, 2, 1)
    file.create_dataset(f"Y_{name}", data=split.labels, compression="gzip")
    if split.truth is not None:
        file.create_dataset(f"model_{name}", data=split.truth, compression="gzip", compression_opts=1)
