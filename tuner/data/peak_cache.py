"""Keeps data sets made from peaks in the cache, so that the workers of a study do not each draw the negatives again.

A file belongs to the settings, and to the paths, sizes and times of change of all files that they name. Its content is
compared with its fingerprint when it is read; one that cannot be read, or was changed, is made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from tuner.data.dataset import SPLITS, Dataset, Split
from tuner.data.spec import DataSpec
from tuner.files import make_folder, replacing

VERSION: Final = 2
"""Increased whenever the same peaks and settings give other sequences, notes or groups than before."""


def place_of(spec: DataSpec, files: Iterable[Path], cache: Path) -> Path:
    """Where the data set of these settings and files is kept.

    Parameters
    ----------
    spec : DataSpec
    files : iterable of Path
        All files that it is made from, the genome included.
    cache : Path

    Returns
    -------
    Path
    """
    found = []
    for path in files:
        state = path.stat()
        found.append([str(path.resolve()), state.st_size, state.st_mtime_ns])
    told = json.dumps([VERSION, asdict(spec), spec.shares, found], sort_keys=True, default=str)
    return cache / "peaks" / f"{hashlib.sha256(told.encode()).hexdigest()[:32]}.npz"


def keep(dataset: Dataset, place: Path) -> None:
    """Write a data set; a cache that cannot be written keeps nothing."""
    arrays: dict[str, Any] = {}
    for name, split in dataset.splits.items():
        arrays |= {f"{name}_codes": split.codes, f"{name}_labels": split.labels, f"{name}_groups": split.groups}
        if split.repeats is not None:
            arrays[f"{name}_repeats"] = split.repeats
        arrays[f"{name}_ids"] = _packed("\n".join(split.ids or ()))
    told = {
        "name": dataset.name,
        "tasks": dataset.tasks,
        "source": dataset.source,
        "notes": dataset.notes,
        "recipe": dataset.recipe,
        "fingerprint": dataset.fingerprint,
    }
    arrays["told"] = _packed(json.dumps(told))
    with contextlib.suppress(OSError):
        make_folder(place.parent)
        with replacing(place, durable=False) as part, part.open("wb") as file:
            np.savez(file, **arrays)


def kept(place: Path) -> Dataset | None:
    """Read a data set that was kept, if there is one and it is whole."""
    try:
        with place.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            told: Mapping[str, Any] = json.loads(_text(arrays["told"]))
            splits = {
                name: Split(
                    codes=arrays[f"{name}_codes"],
                    labels=arrays[f"{name}_labels"],
                    ids=tuple(_text(arrays[f"{name}_ids"]).split("\n")),
                    groups=arrays[f"{name}_groups"],
                    repeats=arrays[f"{name}_repeats"] if f"{name}_repeats" in arrays else None,
                )
                for name in SPLITS
            }
            found = Dataset(
                name=str(told["name"]),
                tasks=tuple(told["tasks"]),
                splits=splits,
                source=str(told["source"]),
                notes=tuple(told["notes"]),
                recipe=tuple(told["recipe"]),
            )
            return found if found.fingerprint == told["fingerprint"] else None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None


def _packed(text: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.frombuffer(text.encode(), dtype=np.uint8)


def _text(packed: np.ndarray[Any, np.dtype[np.uint8]]) -> str:
    return packed.tobytes().decode()
