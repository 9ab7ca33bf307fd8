"""Hits of a scan: windows above the threshold, merged where they overlap; as a table, BED and bigWig."""

from __future__ import annotations

import contextlib
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from filelock import FileLock, Timeout

from tuner.errors import UsageError
from tuner.files import replacing
from tuner.genome.named import NamedGenome
from tuner.predictor.base_track import check_package, write_bigwig
from tuner.predictor.scan import (
    RATE,
    STRIDE,
    Scores,
    Threshold,
    check_rate,
    check_stride,
    spans_of,
    starts_in,
    task_number,
    threshold_of,
)
from tuner.predictor.windows import BATCH

if TYPE_CHECKING:
    import pandas as pd

    from tuner.predictor.predictor import Predictor

COLUMNS: Final = (
    "chrom", "start", "end", "summit", "windows", "logit", "sd", "probability", "negatives_percentile",
    "positives_percentile", "chance",
)  # fmt: skip
"""Of a table of hits; `docs/predictor.md` says what each is."""


class Scan(NamedTuple):
    """What a scan found.

    Attributes
    ----------
    hits : pandas.DataFrame
        One row per hit, in the order of the genome; columns `COLUMNS`.
    threshold : Threshold
        That separates them.
    windows, spans, resumed : int
        Windows, spans, and spans that an earlier scan had finished.
    anew : bool
        Whether an interrupted scan with other settings was discarded.
    """

    hits: pd.DataFrame
    threshold: Threshold
    windows: int
    spans: int
    resumed: int
    anew: bool


def scan(
    predictor: Predictor,
    genome: NamedGenome,
    *,
    regions: str | Path | None = None,
    stride: int = STRIDE,
    rate: float = RATE,
    task: str | None = None,
    bigwig: str | Path | None = None,
    bed: str | Path | None = None,
    device: str = "cpu",
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Scan:
    """Scan a genome and write what was found.

    Parameters
    ----------
    predictor : Predictor
        The model.
    genome : NamedGenome
    regions : str or Path, optional
        What to scan, as a BED file; by default everything.
    stride : int, bp
        From one window to the next.
    rate : float
        Share of shuffled windows that reach the threshold of hits.
    task : str, optional
        Which one, if the model has several.
    bigwig, bed : str or Path, optional
        Scores of all windows; hits. Both appear when everything has been scanned; until then a hidden folder beside the
        first of them holds finished chromosomes, so that the same call continues an interrupted one.
    device : str
        As for `Predictor.predict`.
    seed : int
        Of the shuffled windows.
    progress : callable, optional
        Called with the number of windows scanned so far, and of all.

    Raises
    ------
    DataError, DeviceError, UsageError
        As for `spans_of`, `threshold_of` and `Scores`; or another scan is writing the same outputs.
    OSError
        An output cannot be written.
    """
    number = task_number(predictor, task)
    check_stride(stride, predictor.length)
    check_rate(rate)
    if bigwig is not None:
        check_package()
    spans = spans_of(genome, predictor.length, regions)
    first = next((Path(out) for out in (bigwig, bed) if out is not None), None)
    with _folder(first) as folder:
        scores = Scores(
            predictor, genome.genome, spans, stride=stride, task=number, device=device, folder=folder
        )  # fmt: skip
        limit = threshold_of(predictor, genome.genome, spans, rate, task=number, device=device, seed=seed)
        total, done = scores.windows, 0

        def step(windows: int) -> None:
            nonlocal done
            done += windows
            if progress is not None:
                progress(done, total)

        found = [row for i in range(len(spans)) for row in merged_hits(scores, i, limit.logit, step)]
        table = _described(predictor, genome, found, number, limit, device)
        with contextlib.ExitStack() as stack:
            if bed is not None:
                part = stack.enter_context(replacing(bed))
                part.write_text("".join(bed_lines(table)), encoding="utf-8")
            if bigwig is not None:
                write_bigwig(stack.enter_context(replacing(bigwig)), genome.genome.sizes, scores.intervals())
    return Scan(table, limit, total, len(spans), scores.resumed, scores.anew)


@contextlib.contextmanager
def _folder(output: Path | None) -> Iterator[Path | None]:
    """A hidden folder beside an output, which is removed at the end; it stays after an interrupt."""
    if output is None:
        yield None
        return
    folder = output.absolute().parent / f".{output.name}.scan"
    folder.mkdir(exist_ok=True)
    try:
        with FileLock(folder / "lock", timeout=0):
            yield folder
    except Timeout:
        raise UsageError(f"{output}: another scan is writing it. Wait for its end, or choose another name.") from None
    shutil.rmtree(folder, ignore_errors=True)


def merged_hits(
    scores: Scores, number: int, limit: float, step: Callable[[int], None] | None = None
) -> Iterator[tuple[str, int, int, int, int]]:
    """Yield chromosome, start, end, start of the best window, and windows of each hit of a span."""
    span, values, length = scores.spans[number], scores.of(number, step), scores.length
    starts = starts_in(span, length, scores.stride)
    above = np.flatnonzero(np.nan_to_num(values, nan=-np.inf) >= limit)
    if not len(above):
        return
    breaks = np.flatnonzero(np.diff(starts[above]) > length) + 1
    for group in np.split(above, breaks):
        best = group[int(np.argmax(values[group]))]
        yield span.chrom, int(starts[group[0]]), int(starts[group[-1]]) + length, int(starts[best]), len(group)


def _described(
    predictor: Predictor, genome: NamedGenome, found: list[tuple[str, int, int, int, int]], task: int,
    limit: Threshold, device: str,
) -> pd.DataFrame:  # fmt: skip
    """The table of hits, with everything that the model says of their best windows."""
    import pandas as pd

    rows: list[list[Any]] = []
    for at in range(0, len(found), BATCH):
        part = found[at : at + BATCH]
        windows = [genome.window(chrom, best, best + predictor.length) for chrom, _, _, best, _ in part]
        logits = predictor.logits(np.stack(windows), device=device)[:, :, task].astype(np.float64)
        mean = logits.mean(axis=0)
        spread = logits.std(axis=0, ddof=1) if len(logits) > 1 else np.full(len(part), np.nan)
        whole = np.zeros((len(part), len(predictor.tasks)))
        whole[:, task] = mean
        chance = np.asarray(predictor.calibration.probability(whole)).reshape(whole.shape)[:, task]
        low, high = predictor.references[task].percentiles(mean)
        for i, (chrom, start, end, best, count) in enumerate(part):
            rows.append([
                chrom, start, end, best + predictor.length // 2, count, mean[i], spread[i], chance[i], low[i], high[i],
                limit.chance(float(mean[i])),
            ])  # fmt: skip
    return pd.DataFrame(rows, columns=list(COLUMNS))


def bed_lines(hits: pd.DataFrame) -> Iterator[str]:
    """Lines of BED6+5: score (ten times the percentile among negatives), summit, logit, sd, probability, chance."""
    for i, row in enumerate(hits.to_dict("records"), start=1):
        percentile, spread = float(row["negatives_percentile"]), float(row["sd"])
        cells = (
            row["chrom"], row["start"], row["end"], f"hit{i}", 0 if math.isnan(percentile) else round(10 * percentile),
            ".", row["summit"], f"{row['logit']:.6g}", "" if math.isnan(spread) else f"{spread:.6g}",
            f"{row['probability']:.6g}", f"{row['chance']:.6g}",
        )  # fmt: skip
        yield "\t".join(map(str, cells)) + "\n"
