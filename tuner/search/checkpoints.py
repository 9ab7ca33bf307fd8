"""Checkpoint files of slots: one path an attempt, so that no two attempts ever write the same file.

An attempt that was given up (its process was stopped, or its machine cut off) may come back at any instruction,
also between a look at the database and the write that follows. So no check protects a shared path; a path of its
own needs none. A new attempt takes its predecessor's file over by renaming it, which happens once and whole, on
network disks too. Whatever the predecessor writes later has a name that nobody reads.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from pathlib import Path

from tuner.models.checkpoint import PREVIOUS, previous
from tuner.storage.attempts import Attempt
from tuner.storage.names import folder_name

log = logging.getLogger("tuner.worker")


def folder_of(root: Path, stage: str, identity: str) -> Path:
    """Folder of one study's checkpoints: another study of the same name never has it.

    Parameters
    ----------
    root : Path
        Folder of all checkpoints.
    stage : str
        Name of the stage's Optuna study.
    identity : str
        Of that study; empty where another program made it.
    """
    return root / folder_name(stage) / identity if identity else root / folder_name(stage)


def take_over(folder: Path, attempt: Attempt, *, legacy: Path | None = None, tokens: Collection[str] = ()) -> Path:
    """The file of an attempt, holding what its predecessor had reached, if that can be had.

    Parameters
    ----------
    folder : Path
        Checkpoints of the study.
    attempt : Attempt
        Live.
    legacy : Path, optional
        Where an earlier version kept those of every study of this name; files there are taken only by their token.
    tokens : collection of str
        Of the slot's attempts.

    Returns
    -------
    Path
        ``NUMBER.ATTEMPT.TOKEN.safetensors``; it exists only if an earlier attempt left one.
    """
    path = folder / f"{attempt.number}.{attempt.attempt}.{attempt.token}.safetensors"
    while (before := max(_known(folder, legacy, attempt, tokens), default=None)) is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            before[1].replace(path)
        except FileNotFoundError:
            continue  # an attempt that is no longer live took it at this moment: look again
        except OSError as e:
            log.warning("%s: cannot be taken over (%s); training starts at epoch 1.", before[1], e.strerror)
        break
    _take_over_previous(folder, attempt, path)
    return path


def _take_over_previous(folder: Path, attempt: Attempt, path: Path) -> None:
    """The epoch before goes along, for the case that the file is damaged; without it nothing else is lost."""
    before = max(_earlier(folder, attempt, PREVIOUS), default=None)
    if before is not None:
        try:
            before[1].replace(previous(path))
        except OSError as e:
            log.info("%s: stays where it is (%s)", before[1], e.strerror)


def _known(folder: Path, legacy: Path | None, attempt: Attempt, tokens: Collection[str]) -> Iterator[tuple[int, Path]]:
    yield from _earlier(folder, attempt)
    for number, path in () if legacy is None else _earlier(legacy, attempt):
        if path.name.split(".")[2] in tokens:
            yield number, path


def _earlier(folder: Path, attempt: Attempt, ending: str = "") -> Iterator[tuple[int, Path]]:
    for path in folder.glob(f"{attempt.number}.*.safetensors{ending}"):
        number = path.name.split(".")[1]
        if number.isdecimal() and int(number) < attempt.attempt:
            yield int(number), path


def clear(folder: Path, number: int) -> None:
    """Remove every attempt's file of a slot that has ended, and what kills left of half-written ones."""
    for pattern in (f"{number}.*.safetensors", f"{number}.*.safetensors{PREVIOUS}", f".{number}.*.safetensors.*.part"):
        for path in folder.glob(pattern):
            _remove(path)


def discard(path: Path) -> None:
    """Remove an attempt's file and the epoch before, if they exist and can be removed."""
    for one in (path, previous(path)):
        _remove(one)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as e:
        log.warning("%s: cannot be removed (%s).", path, e.strerror)
