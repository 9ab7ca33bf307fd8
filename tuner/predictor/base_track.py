"""Values along a genome, as bigWig; of single bases, where windows overlap, their mean."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tuner.errors import UsageError

Interval = tuple[str, int, int, float]
"""Chromosome, start, end, value."""


def check_package() -> None:
    """Find the library that writes bigWig; raises UsageError, which says how to install it."""
    if find_spec("pybigtools") is None:
        raise UsageError("bigWig needs pybigtools, not installed here: pip install 'tuner-tfbs[genome]'.")


def write_track(
    path: Path,
    sizes: Mapping[str, int],
    chroms: Sequence[str],
    starts: npt.NDArray[np.int64],
    values: npt.NDArray[np.float32],
) -> None:
    """Write a value for each base of some windows.

    Parameters
    ----------
    path : Path
        File to write.
    sizes : mapping of str to int, bp
        Chromosome -> its size.
    chroms : sequence of str
        Of the windows; keys of `sizes`.
    starts : numpy.ndarray, shape=(n,), int64
        Position of the first base of each window, which may lie before its chromosome.
    values : numpy.ndarray, shape=(n, length), float32
        Of the bases; those past an end of a chromosome are left out.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    write_bigwig(path, sizes, merged(sizes, chroms, starts, values))


def write_bigwig(path: Path, sizes: Mapping[str, int], intervals: Iterable[Interval]) -> None:
    """Write intervals that do not overlap.

    Parameters
    ----------
    path : Path
        File to write.
    sizes : mapping of str to int, bp
        Chromosome -> its size.
    intervals : iterable of (chromosome, start, end, value)
        Chromosome after chromosome in the order of their names, ascending in each.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    import pybigtools

    written = 0
    failed: list[BaseException] = []

    def counted() -> Iterator[Interval]:
        nonlocal written
        try:
            for one in intervals:
                written += one[2] - one[1]
                yield one
        except GeneratorExit:  # the library takes no more, as it cannot write
            raise
        except BaseException as error:  # which the library prints, and goes on
            failed.append(error)
            raise

    target = path if path.suffix == ".bw" else path.with_name(f"{path.name}.bw")  # the library goes by the ending
    try:
        try:
            pybigtools.open(str(target), "w").write(dict(sizes), counted())
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a full disk makes the library panic, which is no Exception
            raise (failed or [_unwritten(path)])[0] from error
        if failed:
            raise failed[0]
        if _bases(target) != written:  # it does not always say that it could not write
            raise _unwritten(path)
        if target != path:
            target.replace(path)
    finally:
        if target != path:
            target.unlink(missing_ok=True)


def _unwritten(path: Path) -> OSError:
    return OSError(errno.ENOSPC, "No space left on device, or it cannot be written", str(path))


def _bases(path: Path) -> int:
    import pybigtools

    try:
        with pybigtools.open(str(path)) as track:
            return int(track.info()["summary"]["basesCovered"])
    except Exception:
        return -1


def merged(
    sizes: Mapping[str, int], chroms: Sequence[str], starts: npt.NDArray[np.int64], values: npt.NDArray[np.float32]
) -> Iterator[Interval]:
    """Yield the mean at every base that a window covers, chromosome after chromosome; arguments as in `write_track`."""
    of = np.array(chroms)
    for chrom in sorted(set(chroms)):
        rows = np.flatnonzero(of == chrom)
        rows = rows[np.argsort(starts[rows], kind="stable")]
        yield from _swept(chrom, sizes[chrom], starts, values, rows)


def _swept(
    chrom: str,
    size: int,
    starts: npt.NDArray[np.int64],
    values: npt.NDArray[np.float32],
    rows: npt.NDArray[np.int64],
) -> Iterator[Interval]:
    """Yield the means of one chromosome; `rows` are its windows, in the order of their starts."""
    length = values.shape[1]
    total, depth = np.zeros(length), np.zeros(length, dtype=np.int64)  # of the bases from `at` on
    at = int(starts[rows[0]])
    for row in [*rows.tolist(), -1]:
        done = length if row < 0 else min(int(starts[row]) - at, length)  # no later window covers them
        for i in np.flatnonzero(depth[:done]).tolist():
            if 0 <= at + i < size:
                yield chrom, at + i, at + i + 1, float(total[i] / depth[i])
        if row >= 0:
            kept = length - done
            total[:kept], depth[:kept] = total[done:].copy(), depth[done:].copy()
            total[kept:], depth[kept:] = 0.0, 0
            at = int(starts[row])
            total += values[row]
            depth += 1
