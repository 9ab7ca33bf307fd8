"""Checkpoint files of slots: one path per attempt, so that no two attempts ever write the same file.

An attempt that was given up (its process was stopped, or its machine was cut off) may resume at any instruction, even
between a check of the database and the write that follows. So no check could protect a shared path, while a separate
path needs none. A new attempt takes over its predecessor's file by renaming it, which is atomic, on network disks,
too. Whatever the predecessor writes later has a name that nobody reads.
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
    """Folder of one study's checkpoints, which another study of the same name never uses.

    Parameters
    ----------
    root : Path
        Folder of all checkpoints.
    stage : str
        Name of the stage's Optuna study.
    identity : str
        Identity of that study; empty if another program created it.
    """
    return root / folder_name(stage) / identity if identity else root / folder_name(stage)


def take_over(folder: Path, attempt: Attempt, *, legacy: Path | None = None, tokens: Collection[str] = ()) -> Path:
    """Take over the checkpoint of the predecessor of an attempt, if there is one.

    Parameters
    ----------
    folder : Path
        Folder of the study's checkpoints.
    attempt : Attempt
        Live.
    legacy : Path, optional
        Folder in which an earlier version kept the checkpoints of every study of this name; only files with one of
                `tokens` are taken from there.
    tokens : collection of str
        Tokens of the slot's attempts.

    Returns
    -------
    Path
        File of this attempt, ``NUMBER.ATTEMPT.TOKEN.safetensors``; it exists only if an earlier attempt left one.
    """
    path = folder / f"{attempt.number}.{attempt.attempt}.{attempt.token}.safetensors"
    while (before := max(_known(folder, legacy, attempt, tokens), default=None)) is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            before[1].replace(path)
        except FileNotFoundError:
            continue  # an attempt that is no longer live took it at this moment: try again
        except OSError as e:
            log.warning("%s: cannot be taken over (%s); training starts at epoch 1.", before[1], e.strerror)
        break
    _take_over_previous(folder, attempt, path)
    return path


def _take_over_previous(folder: Path, attempt: Attempt, path: Path) -> None:
    """Also take over the checkpoint of the epoch before, which is used if the other file is damaged."""
    before = max(_earlier(folder, attempt, PREVIOUS), default=None)
    if before is not None:
        try:
            before[1].replace(previous(path))
        except OSError as e:
            log.info("%s: could not be taken over (%s)", before[1], e.strerror)


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
    """Remove the files of all attempts of a slot that has ended, including half-written ones left by kills."""
    for pattern in (f"{number}.*.safetensors", f"{number}.*.safetensors{PREVIOUS}", f".{number}.*.safetensors.*.part"):
        for path in folder.glob(pattern):
            _remove(path)


def discard(path: Path) -> None:
    """Remove an attempt's file and that of the epoch before, if they exist and can be removed."""
    for one in (path, previous(path)):
        _remove(one)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as e:
        log.warning("%s: cannot be removed (%s).", path, e.strerror)
