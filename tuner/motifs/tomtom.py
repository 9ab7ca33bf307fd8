"""Motif comparison by Tomtom (Gupta et al. 2007, Genome Biology 8:R24), as implemented in memelite.

The first compilation of memelite's kernel takes most of a minute, and numba decides where to cache the result when
memelite is imported. memelite is therefore imported inside the functions that need it, after `prepare_kernel` or the
command line has set the folder. The kernel is compiled for one thread, which takes half the time and gives identical
results; a worker has only one thread.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from tuner.errors import CacheError, MotifError
from tuner.motifs.meme import COLUMN_SUM_TOLERANCE, check_ppm, column_information
from tuner.private import private_folder, temporary_private_folder

MINIMUM_INFORMATION = 2.0  # bits, as one fixed base has; a flatter query matches the flat columns of any motif
MINIMUM_P = 1e-300
MAXIMUM_WIDTH = 64  # of a query; the kernel's working memory grows with its cube, to 0.8 GB at 64 columns
# Tomtom estimates its null distribution from the columns of the targets. With fewer targets than this (memelite's own
# limit) the p-value varies by orders of magnitude with the choice of targets.
FEW_TARGETS = 25


class TomtomResult(NamedTuple):
    """Best alignment of every query with every target; all arrays are (n_queries, n_targets).

    Attributes
    ----------
    p_value : np.ndarray, float64
        Probability of an equal or better score at any offset on either strand, in [1e-300, 1].
    score : np.ndarray, float64
        Alignment score in Tomtom's integer units; higher is closer.
    offset : np.ndarray, int64
        Columns from the start of the target to the start of the query, in the target's orientation.
    overlap : np.ndarray, int64
        Number of aligned columns.
    strand : np.ndarray, str
        ``"+"`` or ``"-"``: orientation of the target.
    """

    p_value: np.ndarray
    score: np.ndarray
    offset: np.ndarray
    overlap: np.ndarray
    strand: np.ndarray


def tomtom(queries: Sequence[np.ndarray], targets: Sequence[np.ndarray]) -> TomtomResult:
    """Compare every query with every target, on both strands, with Euclidean distance and complete scores.

    Parameters
    ----------
    queries, targets : sequence of np.ndarray, shape=(4, width)
        Position probability matrices.

    Returns
    -------
    TomtomResult
        Queries with less than 2 bits in total (flat matrices) get p = 1 and score 0 with every target.

    Raises
    ------
    MotifError
        If there is no target, or a matrix has values that are negative or not finite, columns that do not sum to 1,
        or, as a query, more than 64 columns.

    Notes
    -----
    With these settings log10 p agrees with the C program Tomtom 5.4.1 (``-dist ed -min-overlap 1 -motif-pseudo 0``)
    within 0.05: target columns are not merged, and medians use 10,000 bins. A list of fewer than 25 targets is padded
    with JASPAR2016 to estimate the null distribution; results for the padding are dropped.
    """
    query_list = _check_all(queries, "query")
    target_list = _check_all(targets, "target")
    for index, query in enumerate(query_list):
        if query.shape[1] > MAXIMUM_WIDTH:
            raise MotifError(f"query {index}: {query.shape[1]} columns; at most {MAXIMUM_WIDTH} can be compared.")
    if not target_list:
        raise MotifError("no target motifs to compare with: the database is empty after screening.")
    shape = (len(query_list), len(target_list))
    result = TomtomResult(
        np.ones(shape),
        np.zeros(shape),
        np.zeros(shape, np.int64),
        np.zeros(shape, np.int64),
        np.full(shape, "+"),
    )
    informative = [i for i, q in enumerate(query_list) if column_information(q).sum() >= MINIMUM_INFORMATION]
    if not informative:
        return result
    raw = _run([query_list[i] for i in informative], _with_background(target_list))
    p, score, offset, overlap, strand = raw[:, :, : shape[1]]
    result.p_value[informative] = np.clip(p, MINIMUM_P, 1.0)
    result.score[informative] = score
    result.offset[informative] = offset.astype(np.int64)
    result.overlap[informative] = overlap.astype(np.int64)
    result.strand[informative] = np.where(strand > 0, "-", "+")
    return result


def _check_all(ppms: Sequence[np.ndarray], kind: str) -> list[np.ndarray]:
    """Validate many matrices at once; an error names the first faulty one."""
    arrays = [np.asarray(ppm, dtype=np.float64) for ppm in ppms]
    if not arrays:
        return arrays
    if all(a.ndim == 2 and a.shape[0] == 4 and a.shape[1] > 0 for a in arrays):
        joined = np.concatenate(arrays, axis=1)
        sums = joined.sum(axis=0)
        if bool(np.isfinite(joined).all() and (joined >= 0).all() and (abs(sums - 1) <= COLUMN_SUM_TOLERANCE).all()):
            return arrays
    return [check_ppm(ppm, f"{kind} {index}") for index, ppm in enumerate(ppms)]


def _with_background(targets: list[np.ndarray]) -> list[np.ndarray]:
    if len(targets) >= FEW_TARGETS:
        return targets
    from tuner.motifs.jaspar import jaspar_motifs  # rarely needed, and JASPAR takes 0.3 s to read

    return targets + [motif.ppm for motif in jaspar_motifs("JASPAR2016")]


def _run(queries: list[np.ndarray], targets: list[np.ndarray]) -> np.ndarray:
    """Return the raw result of memelite, shape=(5, n_queries, n_targets)."""
    result: np.ndarray = _serial_module().tomtom(queries, targets, n_target_bins=None, n_median_bins=10_000, n_jobs=1)
    return result


def _serial_module() -> ModuleType:
    """Import memelite and redeclare its kernel for one thread, which skips numba's analysis of parallel loops."""
    import numba

    module = import_module("memelite.tomtom")
    kernel = getattr(module, "_tomtom", None)
    if kernel is not None and kernel.targetoptions.get("parallel"):
        vars(module)["_tomtom"] = numba.njit(cache=True)(kernel.py_func)
    return module


def kernel_folder(default: Path) -> Path:
    """Return numba's cache folder as set by the command line or by NUMBA_CACHE_DIR; otherwise `default`."""
    import numba

    settings: Any = numba.config
    return Path(settings.CACHE_DIR) if settings.CACHE_DIR else default


def prepare_kernel(cache_dir: Path) -> Path:
    """Compile the comparison kernel once per machine and cache it in `cache_dir`.

    Parameters
    ----------
    cache_dir : Path
        Folder for numba's cache, created if missing. If it cannot be written (e.g. in a read-only home) or other users
        can write to it, a private temporary folder is used instead, until this process ends.

    Returns
    -------
    Path
        The folder used.

    Notes
    -----
    The first call on a machine takes most of a minute, later calls less than a second. Processes that start together
    wait for one of them to compile. Call it before anything else imports memelite, because numba reads the folder then.
    """
    import numba
    from filelock import FileLock

    folder = _private(cache_dir)
    settings: Any = numba.config
    settings.CACHE_DIR = str(folder)
    ramp = np.full((4, 6), 0.05)
    ramp[np.arange(6) % 4, np.arange(6)] = 0.85
    with FileLock(folder / "compile.lock"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numba warns about clock skew on shared file systems
        _run([ramp], [np.roll(ramp, shift, axis=0) for shift in range(FEW_TARGETS)])
    return folder


_PREPARE = """
import contextlib, os, sys, threading
from pathlib import Path
from tuner.motifs.tomtom import prepare_kernel
with contextlib.suppress(OSError):
    os.nice(-10)  # the first matches wait for it; without this right it runs at normal priority
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(1)), daemon=True).start()
prepare_kernel(Path(sys.argv[1]))
"""


@contextmanager
def kernel_in_preparation(cache_dir: Path) -> Iterator[None]:
    """Compile the kernel in a separate process while the block runs; that process ends with the block or this process.

    If it is not ready by then, the first process that needs the kernel compiles it.
    """
    with subprocess.Popen(
        [sys.executable, "-c", _PREPARE, str(cache_dir)],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        threading.Thread(target=process.wait, name="kernel", daemon=True).start()  # reaps the process when it ends
        try:
            yield
        finally:
            process.kill()


def _private(folder: Path) -> Path:
    """Return `folder`, or a private temporary one: numba unpickles what it finds, so no other user may write there."""
    try:
        return private_folder(folder)
    except CacheError:
        return temporary_private_folder()
