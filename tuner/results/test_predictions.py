"""What a trial's ensemble predicts for the sequences that were scored: a table or, with positions, BED."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tuner.errors import DataError, UsageError
from tuner.files import write_atomically
from tuner.genome.coordinates import parse_interval
from tuner.results.trial_table import text_cell

ENDINGS: Final = (".tsv", ".bed")


class Predictions(NamedTuple):
    """Predictions of some sequences.

    Attributes
    ----------
    ids : tuple of str
        Of the sequences; numbers where the data set has no names.
    tasks : tuple of str
    labels : numpy.ndarray, shape=(n, n_tasks), uint8
    logits, sd, probability : numpy.ndarray, shape=(n, n_tasks)
        Mean and standard deviation (n - 1; NaN for one model) over the models, and the calibrated probability.
    length : int, bp
        Of the sequences.
    """

    ids: tuple[str, ...]
    tasks: tuple[str, ...]
    labels: NDArray[np.uint8]
    logits: NDArray[np.floating]
    sd: NDArray[np.floating]
    probability: NDArray[np.floating]
    length: int


def check_predictions(path: Path) -> None:
    """Refuse a name that says no format, before the test split is opened; raises UsageError."""
    if path.suffix not in ENDINGS:
        raise UsageError(f"--predictions {path}: its name must end with {' or '.join(ENDINGS)}.")


def write_predictions(path: Path, found: Predictions) -> None:
    """Write one row per sequence.

    Parameters
    ----------
    path : Path
        ``.tsv``: id, then label, logit, sd and probability of each task. ``.bed``: BED6 (score: probability times
        1000), then label, logit, sd and probability; of one task, sorted.
    found : Predictions

    Raises
    ------
    DataError
        BED is asked for, and the data set has no positions, or several tasks.
    OSError
        The file cannot be written.
    """
    check_predictions(path)
    lines = _bed(found) if path.suffix == ".bed" else _table(found)
    write_atomically(path, "".join(lines).encode())


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.6g}"


def _cells(found: Predictions, i: int, task: int) -> list[str]:
    numbers = (found.logits, found.sd, found.probability)
    return [str(int(found.labels[i, task])), *(_number(float(column[i, task])) for column in numbers)]


def _table(found: Predictions) -> Iterator[str]:
    ends = [""] if len(found.tasks) == 1 else [f"_{task}" for task in found.tasks]
    names = ["id", *(name + end for end in ends for name in ("label", "logit", "sd", "probability"))]
    yield "\t".join(map(text_cell, names)) + "\n"
    for i, name in enumerate(found.ids):
        cells = [cell for task in range(len(found.tasks)) for cell in _cells(found, i, task)]
        yield "\t".join([text_cell(name), *cells]) + "\n"


def _bed(found: Predictions) -> Iterator[str]:
    if len(found.tasks) > 1:
        raise DataError(f"BED holds one task, and there are {', '.join(found.tasks)}; ask for a .tsv file.")
    places = [parse_interval(name, found.length) for name in found.ids]
    known = [(place, i) for i, place in enumerate(places) if place is not None]
    if not known:
        raise DataError("the sequences have no positions on a genome, so there is no BED; ask for a .tsv file.")
    for place, i in sorted(known, key=lambda pair: (pair[0].chrom, pair[0].start, pair[1])):
        score = round(1000 * float(found.probability[i, 0]))
        cells = (place.chrom, place.start, place.end, found.ids[i].split()[0], score, place.strand)
        yield "\t".join([*map(str, cells), *_cells(found, i, 0)]) + "\n"
