"""Writing predictions as a table, row by row, in bounded memory."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from tuner.data.stream import stream_sequences
from tuner.files import replacing
from tuner.predictor.blocks import Block, Progress, cells_of
from tuner.predictor.predictor import Predictor
from tuner.results.trial_table import text_cell


class Written(NamedTuple):
    """What was predicted: sequences, those shorter than the model's input, and those longer."""

    sequences: int
    padded: int
    tiled: int


def write_scores(
    predictor: Predictor,
    path: str | Path,
    out: str | Path,
    *,
    sequence_column: str | None = None,
    device: str = "cpu",
    stride: int | None = None,
    max_memory: int | None = None,
    progress: Progress | None = None,
) -> Written:
    """Predict the sequences of a file, and write one row for each.

    Parameters
    ----------
    predictor : Predictor
        The model.
    path : str or Path
        FASTA or a table, as for `tuner.data.stream.stream_sequences`.
    out : str or Path
        Tab-separated text; it appears when the last sequence has been predicted, and not before.
    sequence_column, max_memory, progress
        As for `tuner.data.stream.stream_sequences`.
    device, stride
        As for `Predictor.predict`.

    Raises
    ------
    DataError, DeviceError, UsageError
        The sequences cannot be read or predicted; an existing `out` is unchanged.
    OSError
        `out` cannot be written.
    """
    found = stream_sequences(path, sequence_column=sequence_column, max_memory=max_memory, progress=progress)
    count = padded = tiled = 0
    with output(Path(out)) as file:
        file.write("\t".join(map(text_cell, predictor.columns)) + "\n")
        for block in predictor.blocks(found, device=device, stride=stride):
            file.writelines(lines_of(block))
            count += len(block.ids)
            padded += sum(length < predictor.length for length in block.lengths)
            tiled += sum(length > predictor.length for length in block.lengths)
    return Written(count, padded, tiled)


def lines_of(block: Block) -> Iterator[str]:
    """Rows of a table, one line each; numbers to six digits, what is unknown is empty."""
    for row in zip(*cells_of(block), strict=True):
        yield "\t".join(map(cell, row)) + "\n"


def cell(value: Any) -> str:
    """A cell of a table: numbers to six digits; what is unknown is empty."""
    if value is None:
        return ""
    if isinstance(value, str):
        return text_cell(value)
    if isinstance(value, float | np.floating):
        return "" if math.isnan(value) else f"{value:.6g}"
    return str(int(value))


@contextlib.contextmanager
def output(out: Path) -> Iterator[IO[str]]:
    """Open a file that appears when the block has ended; a pipe or a device is written directly."""
    try:
        if os.path.exists(out) and not os.path.isfile(out) and not os.path.isdir(out):
            with out.open("w", encoding="utf-8") as file:
                yield file
            return
        with replacing(out) as part, part.open("w", encoding="utf-8") as file:
            yield file
    except OSError as error:
        if error.errno is not None and not isinstance(error, BrokenPipeError):
            raise OSError(error.errno, error.strerror, str(out)) from error
        raise
