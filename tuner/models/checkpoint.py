"""One file from which a killed training run goes on: safetensors with a JSON header, replaced whole.

Format, version 1: a safetensors file whose metadata key ``tuner`` holds a JSON object with ``format``,
``digest`` (of everything that determines the run), ``checksum`` (SHA-256 of the tensors) and ``progress``.
Nothing in it is unpickled. A reader that finds anything else starts the run from the beginning.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

FORMAT = "tuner-checkpoint-1"


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


def _checksum(tensors: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name} {tuple(tensors[name].shape)} {tensors[name].dtype};".encode())
        digest.update(tensors[name].reshape(-1).numpy().data)
    return digest.hexdigest()


def write_checkpoint(path: Path, checkpoint: Checkpoint, digest: str) -> None:
    """Replace the file at `path` in one step, so that a kill at any moment leaves the old or the new one.

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
    header = {
        "format": FORMAT,
        "digest": digest,
        "checksum": _checksum(tensors),
        "progress": checkpoint.progress,
    }
    payload = save(tensors, metadata={"tuner": json.dumps(header)})
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(payload)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def read_checkpoint(path: Path, digest: str) -> tuple[Checkpoint | None, str | None]:
    """Read a checkpoint if it is whole and belongs to this run.

    Returns
    -------
    checkpoint : Checkpoint or None
        None if there is nothing to resume from.
    reason : str or None
        Why an existing file was left aside; None if it was read or does not exist.
    """
    if not path.exists():
        return None, None
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("tuner", "{}"))
            if header.get("format") != FORMAT:
                return None, f"{path}: not a checkpoint of this version; training starts at epoch 1."
            if header["digest"] != digest:
                return (
                    None,
                    f"{path}: belongs to another model, recipe, seed or data; training starts at epoch 1.",
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            progress = header["progress"]
    except (OSError, ValueError, KeyError, AttributeError, SafetensorError) as error:
        return None, f"{path}: unreadable checkpoint ({error}); training starts at epoch 1."
    if _checksum(tensors) != header.get("checksum"):
        return None, f"{path}: damaged checkpoint (checksum differs); training starts at epoch 1."
    return Checkpoint(progress, tensors), None
