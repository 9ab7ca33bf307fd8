"""Checkpoint file from which a killed training run continues: safetensors with a JSON header, replaced atomically.

Format, version 2: a safetensors file whose metadata key ``tuner`` holds a JSON object with ``format``, ``digest`` (of
everything that determines the run) and ``progress``; it is followed by the line ``TRAILER`` with the SHA-256 of all
bytes before. The checkpoint of the epoch before is kept next to it, with the suffix ``.previous``, in case the file is
damaged. Version 1 had no such line, but a checksum of the tensors in its header; it is still read. Nothing is
unpickled. If the file is anything else, the run starts from the beginning.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save

from tuner.files import make_folder, write_atomically

FORMAT = "tuner-checkpoint-2"
FORMAT_1 = "tuner-checkpoint-1"
TRAILER = b"\ntuner-checkpoint-2 sha256 "
PREVIOUS = ".previous"  # ending of the name of the epoch before
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV, errno.EACCES}
_TAIL = len(TRAILER) + 64 + 1  # bytes: the line, 64 hexadecimal digits, and its end


class Checkpoint(NamedTuple):
    """What a checkpoint file holds.

    Attributes
    ----------
    progress : mapping
        Counters, learning rate and history, as JSON values.
    tensors : mapping of str to torch.Tensor
        Weights, best weights and optimiser moments, on the CPU.
    """

    progress: Mapping[str, Any]
    tensors: Mapping[str, torch.Tensor]


class _Damaged(Exception):
    """A file from which training cannot continue, and why."""


def _checksum(tensors: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name} {tuple(tensors[name].shape)} {tensors[name].dtype};".encode())
        digest.update(tensors[name].reshape(-1).numpy().data)
    return digest.hexdigest()


def previous(path: Path) -> Path:
    """Path of the checkpoint of the epoch before."""
    return path.with_name(path.name + PREVIOUS)


def write_checkpoint(path: Path, checkpoint: Checkpoint, digest: str) -> None:
    """Replace the file at `path` in one step, and keep what was there as the epoch before.

    If the process is killed or power fails at any moment, the new file or one of an earlier epoch remains.

    Parameters
    ----------
    path : Path
        The file; its folder is made if it is missing.
    checkpoint : Checkpoint
        Tensors may be on any device.
    digest : str
        Identity of the run; `read_checkpoint` with another one refuses the file.

    Raises
    ------
    OSError
        If the file cannot be written (disk full, read-only folder).
    """
    # The copy detaches best weights that share memory with the model's: safetensors refuses aliases.
    tensors = {name: t.detach().cpu().clone().contiguous() for name, t in checkpoint.tensors.items()}
    header = {"format": FORMAT, "digest": digest, "progress": checkpoint.progress}
    payload = save(tensors, metadata={"tuner": json.dumps(header)})
    content = b"".join((payload, TRAILER, hashlib.sha256(payload).hexdigest().encode(), b"\n"))
    make_folder(path.parent)
    _keep(path)
    # The first one's name is forced out; later ones replace it, and a power cut may bring an older epoch back.
    write_atomically(path, content, durable=not previous(path).exists())


def _keep(path: Path) -> None:
    """Give the present file, if there is one, the name of the epoch before as well."""
    link = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        link.unlink(missing_ok=True)
        os.link(path, link)
        os.replace(link, previous(path))
    except FileNotFoundError:
        return
    except OSError as e:
        if link.exists():
            link.unlink()
            raise
        if e.errno not in _NO_LINKS:
            raise
        os.replace(path, previous(path))  # then a kill before the new file is in place costs one epoch


def read_checkpoint(path: Path, digest: str) -> tuple[Checkpoint | None, str | None]:
    """Read a checkpoint if it is whole and belongs to this run; else the epoch before, if that is.

    Returns
    -------
    checkpoint : Checkpoint or None
        None if there is nothing to resume from.
    reason : str or None
        Why an existing file was ignored, and what follows; None if it was read or does not exist.
    """
    reasons = []
    for one in (path, previous(path)):
        if one.exists():
            try:
                found = _read(one, digest)
            except _Damaged as e:
                reasons.append(f"{one}: {e}")
                continue
            reason = f"{'; '.join(reasons)}; training goes on from epoch {_epochs(found)}." if reasons else None
            return found, reason
    return None, f"{'; '.join(reasons)}; training starts at epoch 1." if reasons else None


def reached(path: Path) -> int:
    """Number of epochs that the checkpoint at `path` contains; -1 if there is none that can be read."""
    try:
        return _epochs(_read(path, None))
    except _Damaged:
        return -1


def _epochs(checkpoint: Checkpoint) -> int:
    return len(checkpoint.progress.get("history", ()))


def _read(path: Path, digest: str | None) -> Checkpoint:
    """Read one file; without a `digest`, that of any run."""
    try:
        content = path.read_bytes()
        tail = content[-_TAIL:]
        whole = tail.startswith(TRAILER)
        if whole:
            content = content[:-_TAIL]
            if tail[len(TRAILER) :] != f"{hashlib.sha256(content).hexdigest()}\n".encode():
                raise _Damaged("damaged checkpoint (checksum differs)")
        header, tensors = _parse(path, content, whole)
    except (OSError, ValueError, KeyError, AttributeError, TypeError, SafetensorError) as error:
        raise _Damaged(f"unreadable checkpoint ({error})") from error
    if header.get("format") != (FORMAT if whole else FORMAT_1):
        raise _Damaged("not a checkpoint of this version")
    if digest is not None and header.get("digest") != digest:
        raise _Damaged("belongs to another model, recipe, seed or data")
    if not whole and _checksum(tensors) != header.get("checksum"):
        raise _Damaged("damaged checkpoint (checksum differs)")
    progress = header.get("progress")
    if not isinstance(progress, dict) or not isinstance(progress.get("history", []), list):
        raise _Damaged("unreadable checkpoint (no progress)")
    return Checkpoint(progress, tensors)


def _parse(path: Path, content: bytes, whole: bool) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    if not whole:  # version 1, or a file that lost its end: safetensors tells them apart
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("tuner", "{}"))
            return header, {name: file.get_tensor(name) for name in file.keys()}
    length = int.from_bytes(content[:8], "little")
    header = json.loads(json.loads(content[8 : 8 + length]).get("__metadata__", {}).get("tuner", "{}"))
    return header, load(content)
