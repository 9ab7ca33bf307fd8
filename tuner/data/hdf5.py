"""Reads and writes one-hot HDF5: X_train (n, 4, length), Y_train (n, n_tasks), optional model_train; also valid, test.

This is the layout of Koo & Ploenzke (2021), https://github.com/p-koo/exponential_activations. `write_koo_hdf5` adds
names, groups and a recipe (`tuner.data.hdf5_rows`), which other readers ignore. Sizes are checked before memory is
allocated, because a file of a few kB can declare, or hold in compressed form, arrays of any size.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from tuner.data import hdf5_layout
from tuner.data.dataset import SPLITS, Dataset, Split
from tuner.data.hdf5_file import open_hdf5, read_block
from tuner.data.hdf5_rows import read_groups, read_ids, write_recipe, write_rows
from tuner.errors import DataError
from tuner.files import replacing
from tuner.genome.sequence import N_CODE, Codes
from tuner.limits import require

LAYOUTS: Final = hdf5_layout.LAYOUTS
# Bytes processed at a time: a block of values and everything that is computed from it.
_BLOCK_BYTES: Final = 64 << 20
_PER_VALUE: Final = 9  # bytes besides a value itself: three maps of faults, and sum and index of four values in int64


# Rows expanded at a time when writing: 4096 x 4 x 1000 int64 are 131 MB.
_WRITTEN: Final = 4096


class _Arrays(NamedTuple):
    """Arrays of one split, and their names."""

    x: h5py.Dataset
    y: h5py.Dataset
    model: h5py.Dataset | None
    keys: hdf5_layout.Keys


def koo_hdf5(
    path: str | Path,
    layout: str | None = None,
    tasks: Sequence[str] | None = None,
    *,
    splits: Sequence[str] | None = SPLITS,
    max_memory: int | None = None,
) -> Dataset:
    """Read one-hot sequences and labels of train, valid and test from an HDF5 file.

    Parameters
    ----------
    path : str or Path
        File with X_* (n, 4, length), integer or float one-hot (a column of zeros is N), Y_* (n, n_tasks) or (n,) of 0
        and 1, and optionally model_* (n, 4, length), where * is train, valid and test. An additional axis of length 1
        is ignored. Basset's names, ``train_in`` and ``train_out``, are read too.
    layout : str, optional
        ``"ncl"``, or ``"nlc"`` if X_* and model_* are (n, length, 4); by default it follows from the shapes.
    tasks : sequence of str, optional
        One name per column of Y_*; by default those in the file (`tuner.data.hdf5_layout.task_names`).
    splits : sequence of str, optional
        Splits that the file must have and that are read; None reads those that it has.
    max_memory : int, optional, bytes
        Largest amount of memory for reading; by default half of the available memory.

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        If the file is missing, in another format or layout, truncated, locked, compressed with a filter that is not
        installed, or too large for the memory; if X_* is transposed, empty, not one-hot, NaN or partly unwritten; if
        Y_* is not 0 or 1, or its length differs from that of X_*.
    """
    path = Path(path)
    hdf5_layout.check_layout(layout)
    with open_hdf5(path) as file:
        found = hdf5_layout.find_keys(file, path.name, splits)
        own_test = "test" not in found and "test" in hdf5_layout.find_keys(file, path.name, None)
        arrays = {split: _find(file, keys, path.name) for split, keys in found.items()}
        chosen = hdf5_layout.choose_layout(layout, {name: one.x for name, one in arrays.items()})
        for one in arrays.values():
            _check_shapes(one, path.name, chosen)
        _check_alike(arrays, chosen, path.name)
        width = _width(next(iter(arrays.values())).y)
        names = tuple(tasks) if tasks is not None else hdf5_layout.task_names(file, width, path.name)
        if len(names) != width:
            shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
            raise DataError(f"{path.name}: {len(names)} task names ({shown}) for {width} label columns.")
        _check_memory(arrays, path.name, max_memory)
        read = {
            name: replace(
                _read_split(one, path.name, chosen),
                ids=read_ids(file, name, len(one.x), path.name),
                groups=read_groups(file, name, len(one.x), path.name),
            )
            for name, one in arrays.items()
        }
    notes = []
    if layout is None and chosen == "nlc":
        notes.append(
            f"{path.name}: the sequences have the shape (n, length, 4) and were read that way. "
            'Set layout = "nlc" in [data] to state this.'
        )
    if own_test:
        notes.append(f"{path.name}: its own test split was left out, because the study names a test set.")
    return Dataset(
        name=path.name,
        tasks=names,
        splits=read,
        source=str(path),
        notes=tuple(notes),
    )


def _find(file: h5py.File, keys: hdf5_layout.Keys, where: str) -> _Arrays:
    x, y = (hdf5_layout.get_array(file, key, where) for key in (keys.x, keys.y))
    model = hdf5_layout.get_array(file, keys.model, where) if keys.model and keys.model in file else None
    hdf5_layout.check_numbers(x, keys.x, where, "one-hot numbers, integer or float")
    hdf5_layout.check_numbers(y, keys.y, where, "numbers 0 and 1")
    if model is not None:
        hdf5_layout.check_numbers(model, keys.model, where, "probabilities")
    return _Arrays(x, y, model, keys)


def _check_shapes(one: _Arrays, where: str, layout: str) -> None:
    x, y, model, keys = one
    hdf5_layout.check_axes(tuple(x.shape), keys.x, where, layout)
    if x.shape[0] == 0:
        raise DataError(f"{where}: {keys.x} is empty (shape {x.shape}).")
    if len(y.shape) not in (1, 2) or y.shape[0] != x.shape[0] or y.shape[-1] == 0:
        raise DataError(
            f"{where}: {keys.x} has {x.shape[0]} sequences but {keys.y} has shape {y.shape}; "
            f"expected ({x.shape[0]}, n_tasks)."
        )
    if model is not None and hdf5_layout.core(tuple(model.shape)) != hdf5_layout.core(tuple(x.shape)):
        raise DataError(f"{where}: {keys.model} has shape {model.shape}, {keys.x} {x.shape}; expected equal.")
    for array, key in ((x, keys.x), (y, keys.y), *([] if model is None else [(model, keys.model)])):
        hdf5_layout.check_written(array, key, where)


def _check_alike(arrays: Mapping[str, _Arrays], layout: str, where: str) -> None:
    axis = 2 if layout == "ncl" else 1
    widths = {name: _width(one.y) for name, one in arrays.items()}
    lengths = {name: hdf5_layout.core(tuple(one.x.shape))[axis] for name, one in arrays.items()}
    for what, sizes in (("label columns", widths), ("bases per sequence", lengths)):
        if len(set(sizes.values())) > 1:
            listed = ", ".join(f"{name} {size}" for name, size in sizes.items())
            raise DataError(f"{where}: the splits differ in {what}: {listed}.")


def _width(y: h5py.Dataset) -> int:
    return int(y.shape[1]) if len(y.shape) == 2 else 1


def _check_memory(arrays: Mapping[str, _Arrays], where: str, limit: int | None) -> None:
    """Refuse arrays too large for the memory, judged by their shapes: codes and labels take a byte each, truth four."""
    kept = largest = 0
    for one in arrays.values():
        kept += math.prod(one.x.shape) // 4 + math.prod(one.y.shape)
        kept += 4 * math.prod(one.model.shape) if one.model is not None else 0
        for array in one[:3]:
            if array is not None:
                largest = max(largest, _rows(array) * _row_bytes(array) + 2 * _chunk_bytes(array))
    shapes = ", ".join(f"{one.keys.x} {tuple(one.x.shape)}" for one in arrays.values())
    require(where, kept + largest, limit, f"reading {shapes}")


def _row_bytes(array: h5py.Dataset) -> int:
    return int(math.prod(array.shape[1:])) * (int(array.dtype.itemsize) + _PER_VALUE)


def _chunk_bytes(array: h5py.Dataset) -> int:
    return 0 if array.chunks is None else int(math.prod(array.chunks)) * int(array.dtype.itemsize)


def _rows(array: h5py.Dataset) -> int:
    """Return the number of rows of a block: whole chunks, so that none is decompressed twice."""
    rows = max(1, _BLOCK_BYTES // max(1, _row_bytes(array)))
    if array.chunks is not None:
        rows = max(1, rows // array.chunks[0]) * array.chunks[0]
    return int(min(rows, array.shape[0]))


def _blocks(array: h5py.Dataset, where: str) -> Iterator[tuple[slice, NDArray[Any]]]:
    step = _rows(array)
    for start in range(0, array.shape[0], step):
        rows = slice(start, min(start + step, array.shape[0]))
        yield rows, read_block(array, rows, where)


def _sequence_blocks(array: h5py.Dataset, where: str, layout: str) -> Iterator[tuple[slice, NDArray[Any]]]:
    shape = hdf5_layout.core(tuple(array.shape))
    for rows, block in _blocks(array, where):
        found = block.reshape(len(block), *shape[1:])
        yield rows, found if layout == "ncl" else found.transpose(0, 2, 1)  # (n, 4, length)


def _read_split(one: _Arrays, where: str, layout: str) -> Split:
    x, _, model, keys = one
    n, *axes = hdf5_layout.core(tuple(x.shape))
    length = axes[1] if layout == "ncl" else axes[0]
    truth = None
    if model is not None:
        truth = np.empty((n, 4, length), np.float32)
        for rows, block in _sequence_blocks(model, f"{where}: {keys.model}", layout):
            truth[rows] = block
    return Split(
        codes=_read_codes(x, (n, length), f"{where}: {keys.x}", layout), labels=_labels(one, where), truth=truth
    )


def _read_codes(x: h5py.Dataset, shape: tuple[int, int], where: str, layout: str) -> Codes:
    codes = np.empty(shape, np.uint8)
    for rows, block in _sequence_blocks(x, where, layout):
        if block.dtype.kind == "f":
            _refuse(np.isnan(block), block, rows.start, where)
        total = block.sum(axis=1)  # (n, length)
        bad = ((block != 0) & (block != 1)).any(axis=1) | (total > 1)
        _refuse(bad[:, None], block, rows.start, where)
        codes[rows] = np.where(total == 0, N_CODE, block.argmax(axis=1))
    if (codes == N_CODE).all():
        raise DataError(
            f"{where} holds only zeros: no base of any sequence is known. Write the sequences into this array."
        )
    return codes


def _refuse(bad: NDArray[np.bool_], block: NDArray[Any], start: int, where: str) -> None:
    """Raise an error for the first row and position in a boolean map of faults, shape=(n, channels, length)."""
    if bad.any():
        row, _, position = (int(i) for i in np.argwhere(bad)[0])
        bases = ", ".join(f"{float(value):g}" for value in block[row, :, position])
        raise DataError(
            f"{where} row {start + row}, position {position} is ({bases}); "
            f"expected one-hot: a single 1 among 0s (all 0 for N)."
        )


def _labels(one: _Arrays, where: str) -> NDArray[np.uint8]:
    labels = np.empty((one.y.shape[0], _width(one.y)), np.uint8)
    first, wrong = "", 0
    for rows, block in _blocks(one.y, f"{where}: {one.keys.y}"):
        values = block.reshape(len(block), -1)
        bad = np.argwhere((values != 0) & (values != 1))
        if len(bad):
            row, column = (int(i) for i in bad[0])
            first = first or f"row {rows.start + row}, column {column} is {values[row, column]}"
            wrong += len(np.unique(bad[:, 0]))
        else:
            labels[rows] = values
    if wrong:
        raise DataError(f"{where}: {one.keys.y} {first}; expected 0 or 1. {wrong} of {len(labels)} rows are wrong.")
    return labels


def write_koo_hdf5(dataset: Dataset, path: str | Path, recipe: dict[str, Any] | None = None) -> Path:
    """Write Koo's HDF5 layout; `koo_hdf5` reads it back with the same fingerprint.

    Parameters
    ----------
    dataset : Dataset
        With all three splits.
    path : str or Path
        Replaced atomically: an interrupted write leaves the old file.
    recipe : dict, optional
        The ``[data]`` table that describes the data set; kept in the root attribute ``recipe``.

    Returns
    -------
    Path
        Path of the file: X_* uint8 one-hot (n, 4, length), Y_* uint8, model_* float32 if there is ground truth, and
        ids_* and groups_* if the sequences have names and groups.

    Raises
    ------
    DataError
        If the test split is closed, or the file cannot be written.
    """
    path = Path(path)
    splits = {"train": dataset.train, "valid": dataset.valid, "test": dataset.test}
    try:
        with replacing(path) as part:
            with h5py.File(part, "w") as file:
                file.attrs["tasks"] = json.dumps(dataset.tasks)
                write_recipe(file, dataset, recipe)
                for name, split in splits.items():
                    _write_split(file, name, split)
            part.chmod(0o644)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({error}). Choose a folder that you can write to and that has free space."
        ) from error
    return path


def _write_split(file: h5py.File, name: str, split: Split) -> None:
    shape = (len(split), 4, split.codes.shape[1])
    x = file.create_dataset(f"X_{name}", shape, np.uint8, compression="gzip", chunks=(min(len(split), 256), *shape[1:]))
    for start in range(0, len(split), _WRITTEN):
        block = split.codes[start : start + _WRITTEN].astype(np.int64)
        x[start : start + _WRITTEN] = np.eye(N_CODE + 1, 4, dtype=np.uint8)[block].transpose(0, 2, 1)
    file.create_dataset(f"Y_{name}", data=split.labels, compression="gzip")
    if split.truth is not None:
        file.create_dataset(f"model_{name}", data=split.truth, compression="gzip", compression_opts=1)
    write_rows(file, name, split)
