"""In-silico saturation mutagenesis of a predictor: the change of its logit by every single base."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from tuner.errors import AttributionError
from tuner.genome.sequence import ALPHABET, N_CODE, Codes, decode, one_hot, reverse_complement
from tuner.interpret.attribution import make_target
from tuner.interpret.mutagenesis import mutagenesis
from tuner.models.prediction import exact_kernels, resolve_device
from tuner.predictor.arrays import growing, write_archive
from tuner.predictor.ensemble import Member, member_logits
from tuner.predictor.explained import Input, Positions, Progress, Window, tasks_of, windows_in, windows_of
from tuner.predictor.outputs import whole_folder, write_logos
from tuner.results.trial_table import text_cell

if TYPE_CHECKING:
    from tuner.predictor.predictor import Predictor

ARRAYS: Final = "ism.npz"
TABLE: Final = "ism.tsv"
_BATCH: Final = 256  # mutants at once
SMALL: Final = 10_000
"""Parameters below which a network computes whole mutants in less time than the windows that they reach."""

FloatArray = npt.NDArray[np.float32]


class Deltas(NamedTuple):
    """Logit of every mutant minus that of the sequence.

    Attributes
    ----------
    mean, sd : numpy.ndarray, shape=(n, tasks, 4, length), float32
        Over the networks: mean, and standard deviation (n - 1; NaN for one network). 0 at the observed base, and where
        nothing is mutated: at N, and outside of what is asked for.
    """

    mean: FloatArray
    sd: FloatArray


class Mutated(NamedTuple):
    """What was written: sequences, those shorter than the model's input, those longer, and mutants."""

    sequences: int
    padded: int
    cut: int
    mutants: int


def mutate(
    members: Sequence[Member], codes: Codes, where: npt.NDArray[np.bool_], tasks: Sequence[int], device: str
) -> Deltas:
    """Compute the effect of every single-base mutant on the mean logit of networks, as they predict.

    Parameters
    ----------
    members : sequence of Member
        A network that predicts from both strands is read on both.
    codes : numpy.ndarray, shape=(n, length), uint8
        A, C, G, T = 0..3, N = 4.
    where : numpy.ndarray, shape=(n, length), bool
        Which positions are mutated.
    tasks : sequence of int
        Indices of the logits.
    device : str
        As for `tuner.models.prediction.resolve_device`.

    Raises
    ------
    AttributionError
        A logit is not finite.
    """
    each = np.stack([
        _whole(m, codes, where, tasks, device)
        if m.parameters < SMALL
        else np.stack([_member(m, codes, where, task, device) for task in tasks], axis=1)
        for m in members
    ])  # fmt: skip
    if not np.isfinite(each).all():
        raise AttributionError(f"the effects of {int((~np.isfinite(each)).sum())} mutants are not finite.")
    mean = each.mean(axis=0, dtype=np.float64).astype(np.float32)
    sd = each.astype(np.float64).std(axis=0, ddof=1) if len(each) > 1 else np.full(mean.shape, np.nan)
    return Deltas(mean, sd.astype(np.float32))


def _whole(member: Member, codes: Codes, where: npt.NDArray[np.bool_], tasks: Sequence[int], device: str) -> FloatArray:
    """Effects by whole mutants, shape=(n, tasks, 4, length): for small networks faster than what a mutation reaches."""
    found = np.zeros((len(codes), len(tasks), N_CODE, codes.shape[1]), dtype=np.float32)
    before = member_logits([member], codes, resolve_device(device))[0]
    for i, row in enumerate(codes):
        base, position = np.nonzero(
            (row != np.arange(N_CODE, dtype=np.uint8)[:, None]) & (row < N_CODE) & where[i]
        )  # fmt: skip
        mutants = np.repeat(row[None], len(base), axis=0)
        mutants[np.arange(len(base)), position] = base
        after = member_logits([member], mutants, resolve_device(device))[0]
        for t, task in enumerate(tasks):
            found[i, t, base, position] = after[:, task] - before[i, task]
    return found


def _member(member: Member, codes: Codes, where: npt.NDArray[np.bool_], task: int, device: str) -> FloatArray:
    target = make_target(member.network, "logit", task, device, double=False)
    none = codes[:, None][:, :0]
    with exact_kernels(target.place):
        found = mutagenesis(target, codes, none, _BATCH, where=where)
        if member.average_strands:
            turned = mutagenesis(target, reverse_complement(codes), none, _BATCH, where=where[:, ::-1])
            return np.asarray((found + turned[:, ::-1, ::-1]) / 2, dtype=np.float32)
    return found


def ism(predictor: Predictor, sequences: Any, *, task: str | None, device: str) -> FloatArray:
    """Mutate every base of sequences; see `Predictor.ism`."""
    tasks = tasks_of(predictor, task)
    parts = [
        mutate(predictor.members, *_arrays(some), tasks, device).mean
        for some in windows_in(predictor, sequences, tasks, device)
    ]
    shape = (0, len(tasks), len(ALPHABET), predictor.length)
    found = np.concatenate(parts) if parts else np.zeros(shape, dtype=np.float32)
    return found[:, 0] if len(tasks) == 1 else found


def _arrays(windows: Sequence[Window]) -> tuple[Codes, npt.NDArray[np.bool_]]:
    codes = np.stack([window.codes for window in windows])
    place = np.arange(codes.shape[1])
    return codes, np.stack([(place >= w.columns[0]) & (place < w.columns[1]) for w in windows])


def write_ism(
    predictor: Predictor,
    source: Input,
    out: Path,
    *,
    task: str | None = None,
    positions: Positions | None = None,
    logos: int = 10,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Mutated:
    """Mutate every base of the sequences of a file, and write a folder of results.

    Parameters
    ----------
    predictor : Predictor
        The model.
    source : Input
        Of sequences.
    out : Path
        Folder that appears when the last sequence is done, and not before; one that is there is replaced.
    task : str, optional
        By default all.
    positions : Positions, optional
        Which bases of each sequence are mutated; by default all.
    logos : int
        How many of the first sequences are drawn.
    device : str
        As for `Predictor.predict`.
    progress : callable, optional
        Called with the number of sequences that are done.

    Raises
    ------
    DataError, DeviceError, UsageError
        Sequences cannot be read or do not have the positions, or there is no such task or device.
    OSError
        The folder cannot be written.
    """
    tasks = tasks_of(predictor, task)
    names = [predictor.tasks[i] for i in tasks]
    cube = (len(tasks), len(ALPHABET), predictor.length)
    shapes: dict[str, tuple[tuple[int, ...], npt.DTypeLike]] = {
        "delta": (cube, np.float32),
        "sd": (cube, np.float32),
        "sequences": (cube[1:], np.int8),
        "starts": ((), np.int64),
    }
    ids: list[str] = []
    chroms: list[str] = []
    drawn: list[tuple[Window, FloatArray]] = []
    count = padded = cut = mutants = 0
    with whole_folder(out) as part, growing(part, shapes) as rows:
        with (part / TABLE).open("w", encoding="utf-8") as table:
            table.write("\t".join(_columns(names, source.genome is not None)) + "\n")
            found = windows_of(predictor, source.records(), tasks, positions=positions, device=device)
            for windows in found:
                codes, where = _arrays(windows)
                deltas = mutate(predictor.members, codes, where, tasks, device)
                rows["delta"].add(deltas.mean)
                rows["sd"].add(deltas.sd)
                rows["sequences"].add(one_hot(codes).numpy())
                rows["starts"].add(np.array([w.start for w in windows]))
                for i, window in enumerate(windows):
                    mutants += _write_rows(table, window, deltas.mean[i], deltas.sd[i])
                    if len(drawn) < logos:
                        drawn.append((window, deltas.mean[i]))
                ids += [w.id for w in windows]
                chroms += [w.chrom for w in windows]
                count += len(windows)
                padded += sum(w.size < predictor.length for w in windows)
                cut += sum(w.size > predictor.length for w in windows)
                if progress is not None:
                    progress(count)
        known = {"ids": np.array(ids), "tasks": np.array(names)}
        if source.genome is not None:
            known["chroms"] = np.array(chroms)
        write_archive(part / ARRAYS, {**rows, **known})
        write_logos(part, [_drawing(window, delta, names) for window, delta in drawn])
    return Mutated(count, padded, cut, mutants)


def _columns(tasks: Sequence[str], intervals: bool) -> list[str]:
    ends = [""] if len(tasks) == 1 else [f"_{text_cell(task)}" for task in tasks]
    place = ["chrom", "position"] if intervals else ["position"]
    return ["id", *place, "ref", "alt", *(f"{name}{end}" for end in ends for name in ("delta", "sd"))]


def _write_rows(table: IO[str], window: Window, delta: FloatArray, sd: FloatArray) -> int:
    """Write the mutants of one sequence, base by base; return their number."""
    place = text_cell(window.id) + (f"\t{text_cell(window.chrom)}" if window.chrom else "")
    low, high = window.columns
    known = [j for j in range(low, high) if window.codes[j] != N_CODE]
    for j in known:
        own = ALPHABET[window.codes[j]]
        for row, base in enumerate(ALPHABET):
            if base != own:
                pairs = np.stack([delta[:, row, j], sd[:, row, j]], axis=1)  # (tasks, 2)
                cells = "\t".join("" if value != value else f"{value:.6g}" for value in pairs.ravel().tolist())
                table.write(f"{place}\t{window.start + j}\t{own}\t{base}\t{cells}\n")
    return 3 * len(known)


def _drawing(window: Window, delta: FloatArray, tasks: Sequence[str]) -> Any:
    """The first task's effects: as a map, and as letters of minus their mean over the other three bases."""
    from tuner.plots.effects import mutations

    low, high = window.columns
    where = f"{window.chrom}:{window.start + low}-{window.start + high}" if window.chrom else window.id
    title = f"{where}, {tasks[0]}" if len(tasks) > 1 else where
    return mutations(title, decode(window.codes[None, low:high])[0], delta[0][:, low:high], window.start + low)


def columns_of(predictor: Predictor, task: str | None, *, intervals: bool) -> list[str]:
    """Names of the columns of the table."""
    return _columns([predictor.tasks[i] for i in tasks_of(predictor, task)], intervals)
