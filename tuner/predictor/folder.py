"""A predictor as a folder: weights, a description with the digest of every file, a card, and an example.

`config.json` holds everything but the weights, which are in `model.safetensors`. It ends with the SHA-256 of its own
content, and holds that of every other file, so a changed byte is found. The card is for people and may be edited: it
is the only file whose digest is not compared. Nothing is unpickled, and no database is needed.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

import tuner
from tuner.errors import MetricError, ModelError, TunerError, UsageError, permission
from tuner.files import make_folder, replacing_folder
from tuner.models.calibration import Calibration
from tuner.predictor.ensemble import Member
from tuner.predictor.predictor import Predictor, threshold_rows
from tuner.predictor.reference import Reference

FORMAT: Final = "tuner-predictor-1"
CONFIG: Final = "config.json"
WEIGHTS: Final = "model.safetensors"
CARD: Final = "card.md"
EXAMPLE: Final = "example.fa"
EXPECTED: Final = "expected.tsv"
MOTIFS: Final = "motifs.meme"
MATCHES: Final = "matches.tsv"
GRAPH: Final = "model.onnx"
SCRIPT: Final = "predict.py"
LARGEST_CONFIG: Final = 256 << 20  # bytes
_SCRIPT_SOURCE: Final = Path(__file__).parent / "templates" / "predict.py.txt"


# ---------------------------------------------------------------------- writing


def save_predictor(predictor: Predictor, folder: Path, *, onnx: bool = False, force: bool = False) -> Path:
    """Write a predictor into a folder that appears whole or not at all; see `Predictor.save`."""
    from tuner.predictor.onnx_graph import check_packages, write_graph

    check_target(folder, force=force)
    if onnx:
        check_packages()
    make_folder(folder.absolute().parent)
    try:
        with replacing_folder(folder) as part:
            if onnx:
                write_graph(predictor, part / GRAPH)
                (part / SCRIPT).write_bytes(_SCRIPT_SOURCE.read_bytes())
            for name, content in contents(predictor, onnx=onnx).items():
                (part / name).write_bytes(content)
            (part / CONFIG).write_bytes(config_bytes(predictor, digests_in(part)))
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(folder)) from error
    return folder


def check_target(folder: Path, *, force: bool) -> None:
    """Refuse to write where something is.

    Raises
    ------
    UsageError
        The name is taken, or, with `force`, by something else than a model.
    """
    if not os.path.lexists(folder):
        return
    is_model = folder.is_dir() and ((folder / CONFIG).is_file() or not any(folder.iterdir()))
    if not is_model:
        raise UsageError(f"{folder}: there is something else than a model of that name; choose another one.")
    if not force and any(folder.iterdir()):
        raise UsageError(f"{folder}: there is a model already. Choose another name, or replace it with --force.")


def contents(predictor: Predictor, *, onnx: bool) -> dict[str, bytes]:
    """Files of a predictor, but for the description and the graph."""
    from safetensors.numpy import save

    from tuner.predictor.card import card_text

    tensors = {
        f"{i}.{key}": np.ascontiguousarray(value.detach().cpu().numpy())
        for i, member in enumerate(predictor.members)
        for key, value in member.network.state_dict().items()
    }
    found = {WEIGHTS: save(tensors), **predictor.files, CARD: card_text(predictor, onnx=onnx).encode()}
    if predictor.example:
        found[EXAMPLE] = "".join(f">{name}\n{sequence}\n" for name, sequence in predictor.example).encode()
        found[EXPECTED] = _expected(predictor)
    return found


def _expected(predictor: Predictor) -> bytes:
    from tuner.data.stream import Sequence
    from tuner.genome.sequence import encode_one
    from tuner.predictor.scores import lines_of

    records = [Sequence(name, encode_one(text)) for name, text in predictor.example]
    lines = [line for block in predictor.blocks(records) for line in lines_of(block)]
    return ("\t".join(predictor.columns) + "\n" + "".join(lines)).encode()


def digests_in(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a folder, by name."""
    found = {}
    for file in sorted(folder.iterdir()):
        with file.open("rb") as opened:
            found[file.name] = hashlib.file_digest(opened, "sha256").hexdigest()
    return found


def config_bytes(predictor: Predictor, files: Mapping[str, str]) -> bytes:
    """Describe a predictor as JSON that ends with the digest of its own content."""
    import torch

    thresholds: dict[str, list[dict[str, Any]]] = {task: [] for task in predictor.tasks}
    for row in threshold_rows(predictor):
        thresholds[row["task"]].append({
            "rate": row["false_positive_rate"], "logit": row["logit"], "probability": row["probability"],
            "recall": row["recall"],
        })  # fmt: skip
    config: dict[str, Any] = {
        "format": FORMAT,
        "tasks": list(predictor.tasks),
        "length": predictor.length,
        "members": [
            {"name": m.name, "hyperparameters": m.hyperparameters, "average_strands": m.average_strands}
            for m in predictor.members
        ],
        "columns": predictor.columns,
        "calibration": predictor.calibration.to_dict(),
        "thresholds": thresholds,
        "validation": {
            task: reference.to_json() for task, reference in zip(predictor.tasks, predictor.references, strict=True)
        },
        "example": bool(predictor.example),
        "about": dict(predictor.about),
        "versions": {
            "tuner": tuner.__version__, "torch": str(torch.__version__).partition("+")[0], "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "files": dict(files),
    }  # fmt: skip
    config["sha256"] = config_digest(config)
    return (json.dumps(config, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode()


def config_digest(config: Mapping[str, Any]) -> str:
    """SHA-256 of a description without this digest, in canonical JSON."""
    rest = {key: value for key, value in config.items() if key != "sha256"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


# ---------------------------------------------------------------------- reading


def load_model(folder: str | Path) -> Predictor:
    """Read a predictor that `Predictor.save` or ``tuner export`` wrote; needs neither study nor database.

    Parameters
    ----------
    folder : str or Path
        As it was written; the card may have been edited.

    Returns
    -------
    Predictor

    Raises
    ------
    ModelError
        It is no such folder, a file is missing or has changed, or a file does not fit; names the file.
    """
    folder = Path(os.path.expanduser(folder))
    config = read_config(folder)
    try:
        content = {
            name: read_verified(folder, name, digest) for name, digest in config["files"].items() if name != CARD
        }
        members = _members(config, content[WEIGHTS])
        references = tuple(
            Reference.from_json(config["validation"][task], config["thresholds"][task]) for task in config["tasks"]
        )
        return Predictor(
            members=members,
            tasks=tuple(config["tasks"]),
            length=int(config["length"]),
            calibration=Calibration.from_dict(config["calibration"]),
            references=references,
            example=_example(content[EXAMPLE].decode()) if config["example"] else (),
            files={name: content[name] for name in (MOTIFS, MATCHES) if name in content},
            about=config["about"],
        )
    except MetricError as error:
        raise ModelError(f"{folder / CONFIG}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{folder / CONFIG}: it describes no model that fits its files ({error!r}).") from error


def read_config(folder: Path) -> dict[str, Any]:
    """Read and check the description of a model.

    Raises
    ------
    ModelError
        There is none, or it has changed.
    """
    path = folder / CONFIG
    if not folder.is_dir():
        state = "it is a file" if folder.exists() else "no such folder"
        raise ModelError(f"{folder}: {state}; expected a folder that tuner export wrote.")
    text = _read(path, LARGEST_CONFIG)
    try:
        config = json.loads(text)
        if not isinstance(config, dict) or config.get("format") != FORMAT:
            raise ModelError(f"{path}: it does not describe a model of the format {FORMAT}.")
        same = config.get("sha256") == config_digest(config)
        listed = config["files"]
        sound = (
            same
            and isinstance(listed, dict)
            and all(Path(n).name == n and isinstance(d, str) for n, d in listed.items())
        )
    except (ValueError, KeyError, RecursionError) as error:
        raise ModelError(f"{path}: it has changed since it was written, or is damaged. {_REMEDY}") from error
    if not sound:
        raise ModelError(f"{path}: it has changed since it was written. {_REMEDY}")
    return config


def read_verified(folder: Path, name: str, digest: str) -> bytes:
    """Read a file whose digest is known.

    Raises
    ------
    ModelError
        It is missing, or has changed.
    """
    content = _read(folder / name, None)
    if hashlib.sha256(content).hexdigest() != digest:
        raise ModelError(f"{folder / name}: it has changed since it was written. {_REMEDY}")
    return content


_REMEDY: Final = "Copy the folder again, or export the model again."


def _read(path: Path, most: int | None) -> bytes:
    from tuner.limits import require

    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise ModelError(f"{path}: it is not a file. {_REMEDY}")
        if most is not None and found.st_size > most:
            raise ModelError(f"{path}: {found.st_size:,} bytes are too many for a description. {_REMEDY}")
        require(path, 3 * found.st_size, None, error=ModelError)
        return path.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file; it belongs to a model that tuner export wrote. {_REMEDY}") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error}).{permission(error)}") from error


def _members(config: Mapping[str, Any], weights: bytes) -> tuple[Member, ...]:
    """Rebuild the networks; a description that lies takes no memory."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    from tuner.models.architectures import build_model
    from tuner.models.budget import budget_for

    members = []
    try:
        stored = load(weights)
        for i, told in enumerate(config["members"]):
            own = {k.removeprefix(f"{i}."): v for k, v in stored.items() if k.startswith(f"{i}.")}
            with budget_for(own.values()):
                network = build_model(
                    told["hyperparameters"], n_tasks=len(config["tasks"]), length=int(config["length"]), seed=0
                )
            network.load_state_dict(own)
            strands = told["average_strands"]
            if not isinstance(strands, bool):
                raise TypeError(f"average_strands is {strands!r}")
            members.append(Member(str(told["name"]), network.eval(), dict(told["hyperparameters"]), strands))
    except (SafetensorError, RuntimeError, TunerError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{WEIGHTS}: it does not hold the networks that {CONFIG} describes ({reason}).") from error
    return tuple(members)


def _example(text: str) -> tuple[tuple[str, str], ...]:
    lines = text.split()
    return tuple((name.removeprefix(">"), sequence) for name, sequence in zip(lines[::2], lines[1::2], strict=True))
