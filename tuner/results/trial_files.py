"""The files of a trial: functions that write each file for the artifact store, and read it with the right types."""

from __future__ import annotations

import io
import json
import math
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from tuner.errors import DataError, MotifError, TunerError
from tuner.motifs.meme import Motif, parse_meme, write_meme
from tuner.results.leaderboard import FrozenTrial, TrialState
from tuner.results.trial_table import read_cells, text_cell, unquoted
from tuner.storage.artifacts import Artifacts
from tuner.storage.digests import unusable

if typing.TYPE_CHECKING:
    from tuner.data.dataset import Dataset
    from tuner.models.baselines import Baseline
    from tuner.models.network import Network
    from tuner.models.recipe import EpochRecord
    from tuner.motifs.filters import Filter
    from tuner.motifs.match import FilterMatch

WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"
BASELINE = "baseline.npz"
MATCHES = "matches.tsv"
HISTORY = "history.tsv"
TASKS = "tasks.tsv"
FILTERS = "filters.meme"


class TaskScores(NamedTuple):
    """Scores of a network on one task of the validation split.

    Attributes
    ----------
    task : str
        Name of the task.
    positives : int
        Number of sequences with label 1.
    auroc, average_precision : float or None
        Scores; None if all labels of the task are alike.
    """

    task: str
    positives: int
    auroc: float | None
    average_precision: float | None


Row = TypeVar("Row", bound=NamedTuple)


def table(kind: type[Row], rows: Iterable[Sequence[object]]) -> bytes:
    """Write rows as tab-separated text, with the fields of `kind` as header and floats to six digits.

    Parameters
    ----------
    kind : type
        NamedTuple that describes a row.
    rows : iterable of sequence
        Values in the order of the fields; None becomes an empty cell.
    """
    lines = ["\t".join(kind._fields), *("\t".join(map(_cell, row)) for row in rows)]
    return ("\n".join(lines) + "\n").encode()


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else text_cell(str(value))


def read_table(artifacts: Artifacts, trial: FrozenTrial, name: str, kind: type[Row]) -> tuple[Row, ...]:
    """Read a table of a trial that was written by `table`, with the types of `kind`.

    Raises
    ------
    StorageError
        The file is missing, differs from what was stored, or is not such a table; names file and trial.
    """
    text = artifacts.text(trial, name)
    try:
        hints = typing.get_type_hints(kind)
        return tuple(
            kind(*(_typed(row.get(field, ""), hints[field], field) for field in kind._fields))
            for row in read_cells(text)
        )
    except (ValueError, TypeError) as e:
        raise unusable(trial, name, "it is not a readable table") from e


def plain(row: NamedTuple) -> dict[str, Any]:
    """Convert a row to a dictionary for JSON; NaN, which JSON does not have, becomes None."""
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in row._asdict().items()}


def from_plain(kind: type[Row], cells: Mapping[str, Any]) -> Row:
    """Rebuild a row from a dictionary that `plain` made."""
    hints = typing.get_type_hints(kind)
    values = [math.nan if cells[f] is None and hints[f] is float else cells[f] for f in kind._fields]
    return kind(*values)  # type: ignore[arg-type]


def _typed(cell: str, hint: Any, field: str) -> Any:
    """Convert a cell to the type of its field; an empty or not finite number becomes None, or NaN in a float field."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if str in options:
        return None if cell == "" and types.NoneType in options else unquoted(cell)
    if cell in ("", "nan", "inf", "-inf"):
        if types.NoneType in options:
            return None
        if float in options:
            return float("nan")
        raise ValueError(f"{field} is empty")
    if bool in options:
        if cell not in ("True", "False"):
            raise ValueError(f"{field} is neither True nor False")
        return cell == "True"
    return float(cell) if float in options else int(cell)


def read_matches(artifacts: Artifacts, trial: FrozenTrial) -> tuple[FilterMatch, ...]:
    """Read the best match of each filter; raises as `read_table`."""
    from tuner.motifs.match import FilterMatch  # slow to import, because it needs Tomtom

    return read_table(artifacts, trial, MATCHES, FilterMatch)


def read_history(artifacts: Artifacts, trial: FrozenTrial) -> tuple[EpochRecord, ...]:
    """Read the record of each epoch; raises as `read_table`."""
    from tuner.models.recipe import EpochRecord

    return read_table(artifacts, trial, HISTORY, EpochRecord)


def read_tasks(artifacts: Artifacts, trial: FrozenTrial) -> tuple[TaskScores, ...]:
    """Read the scores of each task of a network with several tasks; raises as `read_table`."""
    return read_table(artifacts, trial, TASKS, TaskScores)


def filters_meme(filters: Iterable[Filter]) -> bytes:
    """Write the matrices of first-layer filters as a MEME file, without filters whose matrix has no column."""
    return write_meme(
        Motif(f"filter{f.index}", f"filter{f.index}", f.ppm, None, float(f.sites)) for f in filters if f.ppm.shape[1]
    ).encode()


def read_filters(artifacts: Artifacts, trial: FrozenTrial) -> dict[int, np.ndarray]:
    """Read the matrices of first-layer filters.

    Returns
    -------
    dict of int to numpy.ndarray, shape=(4, width)
        Filter -> probabilities, without filters whose matrix has no column.

    Raises
    ------
    StorageError
        The file is missing, differs from what was stored, or was not written by `filters_meme`.
    """
    text = artifacts.text(trial, FILTERS)
    if "letter-probability" not in text:  # no filter has a column
        return {}
    try:
        return {int(motif.id.removeprefix("filter")): motif.ppm for motif in parse_meme(text, FILTERS)}
    except (MotifError, ValueError) as e:
        raise unusable(trial, FILTERS, f"it has no readable filters ({e})") from e


def network_files(
    network: Network, hyperparameters: Mapping[str, Any], data: Dataset, *, average_strands: bool
) -> dict[str, bytes]:
    """Write the files that `load_network` reads: weights and description.

    Parameters
    ----------
    network : Network
        A trained network.
    hyperparameters : mapping
        Hyperparameters from which the network was built.
    data : Dataset
        Data set on which the network was trained; its tasks and length are stored.
    average_strands : bool
        Whether the network's predictions average both strands.

    Returns
    -------
    dict of str to bytes
        Name -> content of each file.
    """
    from safetensors.numpy import save

    tensors = {k: np.ascontiguousarray(v.detach().cpu().numpy()) for k, v in network.state_dict().items()}
    description = {
        "hyperparameters": dict(hyperparameters),
        "average_strands": average_strands,
        "n_tasks": data.n_tasks,
        "length": data.length,
        "tasks": list(data.tasks),
    }
    return {WEIGHTS: save(tensors), DESCRIPTION: json.dumps(description, indent=1).encode()}


def load_network(weights: bytes, description: bytes) -> tuple[Network, bool]:
    """Rebuild a stored network.

    Returns
    -------
    tuple of (Network, bool)
        The network in evaluation mode, and whether its predictions average both strands.
    """
    import torch
    from safetensors.torch import load

    from tuner.models.architectures import build_model
    from tuner.models.budget import budget_for

    told = json.loads(description)
    stored = load(io.BytesIO(weights).getvalue())
    with budget_for(stored.values()):  # a false description cannot use up the memory
        network = build_model(told["hyperparameters"], n_tasks=told["n_tasks"], length=told["length"], seed=0)
    network.load_state_dict({k: torch.as_tensor(v) for k, v in stored.items()})
    return network.eval(), bool(told["average_strands"])


def stored_network(artifacts: Artifacts, trial: FrozenTrial) -> tuple[Network, bool]:
    """Load the network of a trial; returns the same as `load_network`.

    Raises
    ------
    StorageError
        A file is missing, differs from what was stored, or does not contain a network; names file and trial.
    """
    from safetensors import SafetensorError

    weights, description = artifacts.get(trial, WEIGHTS), artifacts.get(trial, DESCRIPTION)
    try:
        return load_network(weights, description)
    except (TunerError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as e:
        reason = f"no network can be built from them ({' '.join(str(e).split())[:200]})"
        raise unusable(trial, f"{WEIGHTS} or {DESCRIPTION}", reason) from e


def stored_baseline(artifacts: Artifacts, trial: FrozenTrial) -> Baseline:
    """Load the fitted baseline of a control; raises as `stored_network`."""
    from tuner.models.baselines import Baseline

    content = artifacts.get(trial, BASELINE)
    try:
        return Baseline.from_bytes(content, BASELINE)
    except DataError as e:
        raise unusable(trial, BASELINE, "it is not a readable baseline") from e


def histories(trials: Iterable[FrozenTrial], artifacts: Artifacts) -> list[dict[str, Any]]:
    """One row per epoch of every completed trial: trial, parameters, and the record of the epoch.

    Raises
    ------
    StorageError
        As in `read_table`.
    """
    rows = []
    for t in trials:
        if t.state == TrialState.COMPLETE:
            replicate = {k: t.user_attrs[k] for k in ("replicate",) if k in t.user_attrs}
            rows += [
                {"trial": t.number, **t.params, **replicate, **plain(epoch)} for epoch in read_history(artifacts, t)
            ]
    return rows
