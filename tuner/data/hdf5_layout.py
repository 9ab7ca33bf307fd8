"""Finds the sequences and labels in an HDF5 file, the order of their axes, and the names of the tasks.

Programs name the same arrays differently: Koo ``X_train``, ``Y_train``; Basset and SigTFB ``train_in``, ``train_out``.
If names and axes have only one interpretation, it is used; otherwise an error names the layout and says what to do.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import h5py
import numpy as np

from tuner.data.dataset import SPLITS
from tuner.data.hdf5_file import FAULTS, load_filters, missing_sources, unwritten_chunks
from tuner.errors import DataError, unknown

LAYOUTS: Final = ("ncl", "nlc")
_SPLIT_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "train": ("train",),
    "valid": ("valid", "val", "validation"),
    "test": ("test",),
}
# Names of sequences, labels and ground truth; the first scheme of which the file has a key is used.
_SCHEMES: Final = (
    ("X_{}", "Y_{}", "model_{}"),  # Koo & Ploenzke 2021
    ("x_{}", "y_{}", "model_{}"),  # other data sets of the same laboratory
    ("X_{}", "y_{}", "model_{}"),  # scikit-learn's convention
    ("{}_in", "{}_out", ""),  # Basset's er.h5, SigTFB
)
# Layouts that cannot be read: a key -> what the file is and what to do.
_FOREIGN: Final[Mapping[str, str]] = {
    "trainxdata": "DeepSEA's train.mat: sequences (1000, 4, n) and labels (919, n) of the training split alone. Write "
    "trainxdata.transpose(2, 1, 0) as X_train and traindata.T as Y_train, and so those of valid.mat and test.mat",
    "validxdata": "DeepSEA's valid.mat, one split alone. Write the three splits into one file as X_* and Y_*",
    "testxdata": "DeepSEA's test.mat, one split alone. Write the three splits into one file as X_* and Y_*",
    "X0": "SpliceAI's chunks X0, Y0, ...: they hold (n, length, 4) and three classes per position, no sequence labels",
}
_NAMED_TASKS: Final = ("tasks", "target_labels")  # attribute or array; the second is Basset's
_MOST_NAMES: Final = 1 << 24  # bytes of task names; DeepSEA's 919 take 40 kB
_SHOWN: Final = 12


class Keys(NamedTuple):
    """Names of the arrays of one split in a file.

    Attributes
    ----------
    x, y, model : str
        Sequences, labels, and ground truth, which is optional.
    """

    x: str
    y: str
    model: str


def find_keys(file: h5py.File, where: str, splits: Sequence[str] | None = SPLITS) -> dict[str, Keys]:
    """Find the names of the arrays of the given splits, or of all that the file has.

    Raises
    ------
    DataError
        If a key is missing or the file has another layout. The message names the layout and what the file holds.
    """
    try:
        there = list(file)
    except FAULTS as error:
        raise DataError(
            f"{where}: the names of its arrays cannot be read ({error}). Copy or download the file again."
        ) from error
    for scheme in _SCHEMES:
        found = {split: _keys(scheme, split, there) for split in SPLITS if splits is None or split in splits}
        if splits is None:
            found = {split: keys for split, keys in found.items() if keys.x in there}
        if any(keys.x in there for keys in found.values()):
            if not all(keys.y in there for keys in found.values()) and _is_mixed(scheme, found, there):
                continue
            return found
    for key, what in _FOREIGN.items():
        if key in there:
            raise DataError(f"{where} is {what}. It holds {_contents(file, there)}.")
    raise DataError(
        f"{where}: key 'X_train' is missing; expected X_ and Y_ for train, valid and test, "
        f"found {_contents(file, there)}."
    )


def _keys(scheme: tuple[str, str, str], split: str, there: Sequence[str]) -> Keys:
    for name in _SPLIT_NAMES[split]:
        if scheme[0].format(name) in there:
            return Keys(*(part.format(name) for part in scheme))
    return Keys(*(part.format(split) for part in scheme))


def _is_mixed(scheme: tuple[str, str, str], found: Mapping[str, Keys], there: Sequence[str]) -> bool:
    """Whether another scheme with the same names for sequences has all labels: X_ with y_."""
    others = [s for s in _SCHEMES if s[0] == scheme[0] and s != scheme]
    return any(all(_keys(s, split, there).y in there for split in found) for s in others)


def _contents(file: h5py.File, there: Sequence[str]) -> str:
    """List the first entries of a file, with shapes."""
    words = []
    for key in there[:_SHOWN]:
        try:
            entry = file.get(key)
        except FAULTS:
            entry = None
        shape = getattr(entry, "shape", None)
        kind = f" {tuple(shape)}" if shape is not None else " (a group)" if isinstance(entry, h5py.Group) else ""
        words.append(f"{_printable(key)}{kind}")
    more = f" and {len(there) - _SHOWN} more" if len(there) > _SHOWN else ""
    return (", ".join(words) or "nothing") + more


def _printable(name: str | bytes) -> str:
    """Make a name from the file fit for one line of an error; h5py gives bytes if it is not UTF-8."""
    text = name if isinstance(name, str) else name.decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else "?" for letter in text[:60])


def get_array(file: h5py.File, key: str, where: str) -> h5py.Dataset:
    """Find an array that contains values.

    Raises
    ------
    DataError
        If there is no array of that name, or its values are in files that are missing.
    """
    try:
        found = file.get(key)
        if isinstance(found, h5py.Dataset):
            found.dtype, found.shape  # noqa: B018 - raises for a type without an equivalent in NumPy
            load_filters(found)
            gone = missing_sources(found, Path(file.filename).parent)
    except FAULTS as error:
        raise DataError(f"{where}: {key} cannot be read ({error}). Write it as numbers.") from error
    if not isinstance(found, h5py.Dataset):
        link = file.get(key, getlink=True) if key in list(file) else None  # a dangling link counts as a key
        if isinstance(link, h5py.SoftLink | h5py.ExternalLink):
            to = f"{link.filename}:{link.path}" if isinstance(link, h5py.ExternalLink) else link.path
            raise DataError(
                f"{where}: {key} is a link to {to}, where there is no array. Copy that array into the file."
            )
        if found is not None:
            raise DataError(f"{where}: {key} is a {type(found).__name__.lower()}; expected an array.")
        raise DataError(
            f"{where}: key {key!r} is missing; expected X_ and Y_ for train, valid and test, "
            f"found {_contents(file, list(file))}."
        )
    if found.shape is None or found.shape == ():
        raise DataError(f"{where}: {key} holds {'nothing' if found.shape is None else 'one value'}; expected an array.")
    if gone:
        raise DataError(f"{where}: {key} takes its values from {gone[0]}, which is not there. Copy it beside {where}.")
    return found


def check_numbers(array: h5py.Dataset, key: str, where: str, expected: str) -> None:
    """Refuse a type other than real numbers.

    Raises
    ------
    DataError
        With the type found, and what to do.
    """
    kind = array.dtype.kind
    if kind in "fiub":
        return
    what = {
        "c": "complex numbers", "S": "text", "U": "text", "V": "records", "m": "time spans", "M": "times",
    }.get(kind, "objects")  # fmt: skip
    if h5py.check_string_dtype(array.dtype) is not None:
        what = "text"
    elif h5py.check_ref_dtype(array.dtype) is not None:
        what = "references"
    elif h5py.check_vlen_dtype(array.dtype) is not None:
        what = "rows of different length"
    hint = (
        " Sequences as letters are read from a table or FASTA."
        if what == "text" and key.lower().startswith("x")
        else ""
    )
    raise DataError(f"{where}: {key} holds {array.dtype} ({what}); expected {expected}.{hint}")


def check_written(array: h5py.Dataset, key: str, where: str) -> None:
    """Refuse an array that was declared but not completely written: the missing part reads as zeros, which means N.

    Raises
    ------
    DataError
        With the part that is missing.
    """
    if 0 in array.shape:
        return
    try:
        missing, total = unwritten_chunks(array)
    except FAULTS as error:
        raise DataError(f"{where}: {key} cannot be read ({error}). Copy or download the file again.") from error
    if missing:
        part = "it was" if missing == total else f"{missing} of its {total} chunks were"
        raise DataError(
            f"{where}: {key} has shape {tuple(array.shape)}, but {part} never written. The program that made the file "
            "stopped early: make the file again."
        )


def choose_layout(given: str | None, arrays: Mapping[str, h5py.Dataset]) -> str:
    """Return the layout: as given, else the only one that fits every split; ``ncl`` if both fit or neither."""
    if given is not None:
        return given
    fits = {name: all(_fits(tuple(a.shape), name) for a in arrays.values()) for name in LAYOUTS}
    return "nlc" if fits["nlc"] and not fits["ncl"] else "ncl"


def core(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Remove an axis of length 1: two-dimensional networks use (n, 4, 1, length) or (n, 4, length, 1)."""
    if len(shape) == 4 and shape[1:].count(1) == 1:
        return shape[:1] + tuple(size for size in shape[1:] if size != 1)
    return shape


def _fits(shape: tuple[int, ...], layout: str) -> bool:
    found = core(shape)
    return len(found) == 3 and found[1 if layout == "ncl" else 2] == 4


def check_axes(shape: tuple[int, ...], key: str, where: str, layout: str) -> None:
    """Refuse any shape that does not fit the layout, and name the axes to swap.

    Raises
    ------
    DataError
        With the shape found, and what to do.
    """
    if _fits(shape, layout):
        return
    expected, axis = ("(n, 4, length)", 1) if layout == "ncl" else ("(n, length, 4)", 2)
    fault, found = f"{where}: {key} has shape {shape}; expected {expected}.", core(shape)
    if len(found) != 3 or 4 not in found:
        raise DataError(f"{fault} No axis holds the 4 bases of a one-hot sequence.")
    at = found.index(4)
    if at == 0:
        raise DataError(f"{fault} Axis 0 holds the bases: transpose it to axis {axis}.")
    other = LAYOUTS[1 - LAYOUTS.index(layout)]
    raise DataError(f'{fault} Transpose axes 1 and 2, or set layout = "{other}".')


def check_layout(layout: str | None) -> None:
    """Refuse an unknown layout.

    Raises
    ------
    DataError
        With the nearest known layout.
    """
    if layout is not None and layout not in LAYOUTS:
        raise DataError(unknown("layout", layout, LAYOUTS))


def task_names(file: h5py.File, width: int, where: str) -> tuple[str, ...]:
    """Read the names of the label columns from the file; without them they are ``task_0``, ...

    Parameters
    ----------
    file : h5py.File
        Its attribute or array ``tasks`` (or Basset's ``target_labels``) holds a JSON list, names separated by commas,
        or an array of text, of fixed or variable length.
    width : int
        Number of label columns.
    where : str
        Name of the file, for errors.

    Raises
    ------
    DataError
        If it holds anything else.
    """
    for key in _NAMED_TASKS:
        try:
            if key in file.attrs:
                held = file.attrs.get_id(key)
                large = held.get_storage_size() > _MOST_NAMES
                stored = None if large else file.attrs[key]
            elif isinstance(file.get(key), h5py.Dataset):
                large = file[key].id.get_storage_size() > _MOST_NAMES or (file[key].size or 0) > _MOST_NAMES
                stored = None if large else file[key][()]
            else:
                continue
        except FAULTS as error:
            raise DataError(f"{where}: {key} cannot be read ({error}). {_REMEDY}") from error
        if large:
            raise DataError(f"{where}: {key} takes more than {_MOST_NAMES >> 20} MiB, too much for names. {_REMEDY}")
        if not isinstance(stored, h5py.Empty):
            return _names(stored, width, f"{where}: {key}")
    return tuple(f"task_{i}" for i in range(width))


_REMEDY: Final = "Name the label columns in the study: tasks = [...] in [data]."


def _names(stored: Any, width: int, where: str) -> tuple[str, ...]:
    entries = [_text(entry, where) for entry in np.asarray(stored, dtype=object).ravel().tolist()]
    if len(entries) == 1 and entries[0].lstrip().startswith(("[", "{", '"')):
        try:
            listed = json.loads(entries[0])
        except RecursionError:
            raise DataError(f"{where} is JSON nested too deeply. {_REMEDY}") from None
        except ValueError as error:
            if not entries[0].lstrip().startswith("["):
                listed = entries[0]
            else:
                raise DataError(
                    f"{where} begins like a JSON list, but is not valid JSON ({error}). {_REMEDY}"
                ) from error
        if isinstance(listed, dict):
            raise DataError(f"{where} is a JSON object; expected a list of names. {_REMEDY}")
        entries = [_text(entry, where) for entry in (listed if isinstance(listed, list) else [listed])]
    elif len(entries) == 1 and width > 1:
        entries = entries[0].split(",")
    entries = [entry.strip() for entry in entries]
    if not all(entries):
        raise DataError(f"{where} holds an empty name. {_REMEDY}")
    for entry in entries:
        if not entry.isprintable():
            raise DataError(f"{where}: the name {ascii(entry)[:80]} has characters that cannot be shown. {_REMEDY}")
    return tuple(entries)


def _text(entry: Any, where: str) -> str:
    if isinstance(entry, bytes):
        try:
            return entry.decode("utf-8").rstrip("\0")
        except UnicodeDecodeError as error:
            raise DataError(f"{where} is not UTF-8 text ({error.reason} at byte {error.start}). {_REMEDY}") from error
    if isinstance(entry, str):
        return entry
    entry = entry.item() if isinstance(entry, np.generic) else entry
    raise DataError(f"{where} holds {str(entry)[:60]} ({type(entry).__name__}); expected text. {_REMEDY}")
