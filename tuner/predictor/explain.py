"""Contributions of the bases to the logit that a predictor gives: of all networks, on the strands that they read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from torch import nn

from tuner.errors import UsageError, unknown
from tuner.genome.sequence import ALPHABET, Codes, one_hot
from tuner.interpret.attribution import ATTRIBUTIONS, Attribution, attribute
from tuner.interpret.completeness import measure_completeness
from tuner.models.ensemble import predicted
from tuner.predictor.arrays import growing, write_archive
from tuner.predictor.base_track import check_package, write_track
from tuner.predictor.explained import Input, Progress, Window, tasks_of, windows_in, windows_of
from tuner.predictor.outputs import whole_folder, write_logos
from tuner.results.trial_table import text_cell

if TYPE_CHECKING:
    from tuner.predictor.predictor import Predictor

ARRAYS: Final = "contributions.npz"
TABLE: Final = "contributions.tsv"
TRACK: Final = "contributions.bw"
SEQUENCES: Final = "ohe.npz"  # these two are what `modisco motifs -s -a` reads
HYPOTHETICAL: Final = "shap.npz"
REFERENCES: Final = 20

FloatArray = npt.NDArray[np.float32]


class Explained(NamedTuple):
    """What was written.

    Attributes
    ----------
    sequences, padded, cut : int
        Sequences, those shorter than the model's input, and those longer.
    method : str
        As `tuner.interpret.attribution.ATTRIBUTIONS` calls it.
    missing : float or None
        Median over the sequences of |sum of contributions - change of the logit| / max(|change|, median |change|);
        None for a method whose contributions need not add up.
    worst : float or None
        The largest.
    consensus : float or None
        Median over the sequences of the correlation of two networks' contributions; None for one network.
    """

    sequences: int
    padded: int
    cut: int
    method: str
    missing: float | None
    worst: float | None
    consensus: float | None


def method_named(name: str) -> str:
    """Find a method by its name, with or without underscores; raises UsageError if there is none."""
    bare = {known.replace("_", ""): known for known in ATTRIBUTIONS}
    found = bare.get(name.lower().replace("_", "").replace("-", ""))
    if found is None:
        raise UsageError(unknown("attribution method", name, ATTRIBUTIONS))
    return found


def single_task(predictor: Predictor, task: str | None) -> int:
    """Index of the task that is explained; raises UsageError if there are several and none is named."""
    tasks = tasks_of(predictor, task)
    if len(tasks) > 1:
        raise UsageError(f"the model has {len(tasks)} tasks; name one with --task: {', '.join(predictor.tasks)}.")
    return tasks[0]


def explained_module(predictor: Predictor) -> nn.Module:
    """The mean logit of a predictor's networks, as `tuner.interpret` explains it."""
    return predicted([m.network for m in predictor.members], [m.average_strands for m in predictor.members])


def attributions(
    predictor: Predictor,
    sequences: Any,
    *,
    method: str,
    hypothetical: bool,
    task: str | None,
    references: int,
    device: str,
    seed: int,
) -> FloatArray:
    """Attribute the logit of sequences; see `Predictor.attributions`."""
    name = method_named(method)
    tasks = tasks_of(predictor, task)
    module = explained_module(predictor)
    parts = []
    for windows in windows_in(predictor, sequences, tasks, device):
        codes = np.stack([window.codes for window in windows])
        found = [
            attribute(name, module, codes, task=one, references=references, seed=seed, device=device) for one in tasks
        ]
        parts.append(np.stack([one.hypothetical if hypothetical else one.contributions for one in found], axis=1))
    shape = (0, len(tasks), len(ALPHABET), predictor.length)
    whole = np.concatenate(parts) if parts else np.zeros(shape, dtype=np.float32)
    return whole[:, 0] if len(tasks) == 1 else whole


def write_explanations(
    predictor: Predictor,
    source: Input,
    out: Path,
    *,
    method: str = "deep_shap",
    task: str | None = None,
    references: int = REFERENCES,
    seed: int = 0,
    track: bool = False,
    logos: int = 10,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Explained:
    """Explain the sequences of a file, and write a folder of results.

    Parameters
    ----------
    predictor : Predictor
        The model.
    source : Input
        Of sequences.
    out : Path
        Folder that appears when the last sequence is done, and not before; one that is there is replaced.
    method : str
        As for `method_named`.
    task : str, optional
        Needed if the model has several.
    references : int
        Dinucleotide shuffles of each sequence with which it is compared.
    seed : int
        Of the shuffles.
    track : bool
        Also write the contributions as bigWig; the input must be intervals.
    logos : int
        How many of the first sequences are drawn.
    device : str
        As for `Predictor.predict`.
    progress : callable, optional
        Called with the number of sequences that are done.

    Raises
    ------
    AttributionError, DataError, DeviceError, UsageError
        Sequences cannot be read or explained, a name is unknown, or a track is asked for that cannot be written.
    OSError
        The folder cannot be written.
    """
    name, index = method_named(method), single_task(predictor, task)
    if track:
        check_package()
        if source.genome is None:
            raise UsageError("a bigWig needs positions on a genome: give intervals and --genome.")
    complete = ATTRIBUTIONS[name].complete
    effects = "hypothetical" if complete else "effects"
    square = (len(ALPHABET), predictor.length)
    shapes: dict[str, tuple[tuple[int, ...], npt.DTypeLike]] = {
        "sequences": (square, np.int8), "contributions": (square, np.float32), effects: (square, np.float32),
        "starts": ((), np.int64), "scores": (square[1:], np.float32),
    }  # fmt: skip
    told = _Told(predictor, explained_module(predictor), name, index, references, seed, device)
    ids: list[str] = []
    chroms: list[str] = []
    drawn: list[tuple[Window, FloatArray]] = []
    with whole_folder(out) as part, growing(part, shapes) as rows:
        with (part / TABLE).open("w", encoding="utf-8") as table:
            table.write("\t".join(columns_of(intervals=source.genome is not None)) + "\n")
            for windows in windows_of(predictor, source.records(), [index], device=device):
                codes = np.stack([window.codes for window in windows])
                found = told.explain(codes, windows, table)
                rows["sequences"].add(one_hot(codes).numpy())
                rows["contributions"].add(found.contributions)
                rows[effects].add(found.effects)
                rows["starts"].add(np.array([w.start for w in windows]))
                rows["scores"].add(found.scores)
                drawn += list(zip(windows, found.contributions, strict=True))[: max(logos - len(drawn), 0)]
                ids += [w.id for w in windows]
                chroms += [w.chrom for w in windows]
                if progress is not None:
                    progress(len(ids))
        if complete:
            write_archive(part / SEQUENCES, {"arr_0": rows["sequences"]})
            write_archive(part / HYPOTHETICAL, {"arr_0": rows["hypothetical"]})
        if track:
            write_track(part / TRACK, source.sizes, chroms, rows["starts"].mapped(), rows["scores"].mapped())
        known = {"ids": np.array(ids), "task": np.array(predictor.tasks[index]), "method": np.array(name)}
        if source.genome is not None:
            known["chroms"] = np.array(chroms)
        write_archive(part / ARRAYS, {**{key: row for key, row in rows.items() if key != "scores"}, **known})
        write_logos(part, [_drawing(window, heights) for window, heights in drawn])
    return told.summary()


def columns_of(*, intervals: bool) -> list[str]:
    """Names of the columns of the table."""
    place = ["chrom", "start"] if intervals else ["start"]
    return ["id", *place, "logit", "references_logit", "sum", "missing", "consensus"]


class _Told:
    """Explains some sequences after the other, and keeps what the summary says."""

    def __init__(
        self, predictor: Predictor, module: nn.Module, method: str, task: int, references: int, seed: int, device: str
    ) -> None:
        self.predictor, self.module, self.method, self.task = predictor, module, method, task
        self.references, self.seed, self.device = references, seed, device
        self.sizes: list[int] = []
        self.missing: list[float] = []
        self.changes: list[float] = []
        self.consensus: list[float] = []

    def explain(self, codes: Codes, windows: Sequence[Window], table: IO[str]) -> Attribution:
        """Attribute sequences, shape=(n, length), and write a row for each."""
        found = attribute(
            self.method, self.module, codes, task=self.task, references=self.references, seed=self.seed,
            device=self.device,
        )  # fmt: skip
        n = len(codes)
        logits = self.predictor.logits(codes, device=self.device).mean(axis=0, dtype=np.float64)[:, self.task]
        sums = found.contributions.sum(axis=(1, 2), dtype=np.float64)
        changes = np.full(n, np.nan)
        if ATTRIBUTIONS[self.method].complete:
            changes = measure_completeness(self.module, codes, found, device=self.device).differences
        consensus = np.full(n, np.nan) if found.consensus is None else found.consensus
        for row in zip(windows, logits, logits - changes, sums, sums - changes, consensus, strict=True):
            table.write(_row(*row) + "\n")
        self.sizes += [w.size for w in windows]
        self.missing += np.abs(sums - changes).tolist()
        self.changes += np.abs(changes).tolist()
        self.consensus += consensus.tolist()
        return found

    def summary(self) -> Explained:
        sizes = np.array(self.sizes)
        missing = worst = None
        changes = np.array(self.changes)
        if np.isfinite(changes).all():
            errors = np.array(self.missing) / np.maximum(np.maximum(changes, np.median(changes)), 1e-9)
            missing, worst = float(np.median(errors)), float(errors.max())
        known = np.array([value for value in self.consensus if value == value])
        length = self.predictor.length
        return Explained(
            len(sizes), int((sizes < length).sum()), int((sizes > length).sum()), self.method, missing, worst,
            float(np.median(known)) if len(known) else None,
        )  # fmt: skip


def _row(window: Window, *values: float) -> str:
    place = [text_cell(window.id), *([text_cell(window.chrom)] if window.chrom else []), str(window.start)]
    return "\t".join([*place, *("" if value != value else f"{value:.6g}" for value in values)])


def _drawing(window: Window, contributions: FloatArray) -> Any:
    from tuner.plots.effects import Drawing

    return Drawing(window.id, contributions, window.start, "contribution to logit")
