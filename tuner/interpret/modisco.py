"""Finds recurring patterns in contributions with TF-MoDISco (Shrikumar et al. 2018, arXiv:1811.00416), as modisco-lite.

Codes are uint8, shape=(n, length); hypothetical contributions are float32, shape=(n, 4, length), with channels A, C, G,
T. Matrices of a pattern have shape=(4, width).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tuner.errors import AttributionError, unknown
from tuner.files import moved, sync
from tuner.genome.sequence import N_CODE, Codes
from tuner.interpret.target import FloatArray
from tuner.motifs.database import MotifDatabase
from tuner.motifs.filters import Filter, trim_ppm
from tuner.motifs.match import FilterMatch, match_filters
from tuner.motifs.meme import Motif, corrected_information, write_meme

MINIMUM_SEQUENCES = 20
MINIMUM_SEQLETS = 20  # in a pattern, and of one sign for patterns to be sought among them
MINIMUM_LENGTH = 50  # a seqlet of 41 bp, and room for different positions
H5, EXCHANGE = "modisco.h5", ("input.npz", "patterns.npz")
WORKER = Path(__file__).with_name("modisco_worker.py")
# bits; at half a bit, as filters are trimmed, patterns of the factor lose columns and matches (docs/statistics.md)
TRIM_INFORMATION = 0.25
WINDOW = 21  # bases over which TF-MoDISco sums contributions

_COMMON: Mapping[str, Any] = {"min_metacluster_size": MINIMUM_SEQLETS, "final_min_cluster_size": MINIMUM_SEQLETS}

PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "fast": {**_COMMON, "n_leiden_runs": 2, "max_seqlets_per_metacluster": 2000},
        "default": {**_COMMON, "n_leiden_runs": 2, "max_seqlets_per_metacluster": 20_000},
        "thorough": {**_COMMON, "n_leiden_runs": 50, "max_seqlets_per_metacluster": 20_000},
    }
)
"""Name -> settings of TF-MoDISco that differ from its defaults."""


class Pattern(NamedTuple):
    """Mean of the seqlets of one cluster.

    Attributes
    ----------
    name : str
        ``"pos.0"``, ``"pos.1"``, ... ``"neg.0"``, numbered by decreasing size within a sign; ``"pos.0"`` is
        ``pattern_0`` of the group ``pos_patterns`` in the HDF5 file.
    positive : bool
        Whether it raises the output.
    seqlets : int
        Number of seqlets.
    cwm, hypothetical_cwm : numpy.ndarray, shape=(4, width), float32
        Mean contributions and mean hypothetical contributions of the seqlets, in units of the output.
    ppm : numpy.ndarray, shape=(4, width), float64
        Base frequencies of the seqlets, untrimmed.
    contribution : float
        Mean contribution of a whole seqlet, which is the sum over `cwm`.
    """

    name: str
    positive: bool
    seqlets: int
    cwm: FloatArray
    hypothetical_cwm: FloatArray
    ppm: NDArray[np.float64]
    contribution: float


class Patterns(NamedTuple):
    """Result of a search for patterns.

    Attributes
    ----------
    patterns : tuple of Pattern
        Positive patterns first, then by number of seqlets. May be empty.
    h5 : Path or None
        File in modisco-lite's layout, which ``modisco report`` reads; None if there is no pattern.
    words : str
        Says how many patterns were found in how many sequences, or why none was found.
    """

    patterns: tuple[Pattern, ...]
    h5: Path | None
    words: str


def find_patterns(
    codes: Codes,
    hypothetical: FloatArray,
    *,
    folder: Path,
    preset: str = "default",
    timeout: float | None = None,
    environment: Mapping[str, str] | None = None,
) -> Patterns:
    """Run TF-MoDISco in a separate process, on one thread.

    The result depends only on the input, because modisco-lite uses fixed seeds.

    Parameters
    ----------
    codes : numpy.ndarray, shape=(n, length), uint8
        A, C, G, T = 0..3, N = 4.
    hypothetical : numpy.ndarray, shape=(n, 4, length), float32
        Hypothetical contributions of the same sequences.
    folder : Path
        Folder for ``modisco.h5``, created if missing. The file of an earlier run is replaced, or removed.
    preset : str
        A key of :data:`PRESETS`.
    timeout : float, optional
        Seconds after which the process is killed.
    environment : mapping of str to str, optional
        Environment variables of the process; by default those of the caller.

    Returns
    -------
    Patterns
        Too few or too short sequences, contributions that are all equal, a crash and a timeout are not errors: they
        give a result without patterns, whose `words` say why.

    Raises
    ------
    AttributionError
        If the preset is unknown, shapes do not fit, or a contribution is not finite.
    """
    if preset not in PRESETS:
        raise AttributionError(unknown("TF-MoDISco preset", preset, PRESETS))
    _check(codes, hypothetical)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / H5).unlink(missing_ok=True)
    why = _too_little(codes, hypothetical)
    if why is not None:
        return _none(why)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".modisco-") as name:
        place = Path(name)
        source, arrays = (place / part for part in EXCHANGE)
        np.savez(source, codes=codes, hypothetical=hypothetical.astype(np.float32))
        files = (str(path) for path in (source, place / H5, arrays))
        # -P: no file in the current folder can shadow a library.
        command = [sys.executable, "-P", str(WORKER), *files, json.dumps(PRESETS[preset])]
        failure = _run(command, place / "log", timeout, environment)
        if failure is not None:
            return _none(failure)
        with np.load(arrays, allow_pickle=False) as stored:
            patterns, tried = _read(stored), stored["tried"]
        if not patterns:
            return _none(_nothing(len(codes), tried))
        sync(place / H5)
        moved(place / H5, folder / H5)
    positive = sum(pattern.positive for pattern in patterns)
    words = (
        f"{len(patterns)} pattern{'s' * (len(patterns) > 1)} in {len(codes)} sequences: "
        f"{positive} positive, {len(patterns) - positive} negative."
    )
    return Patterns(patterns, folder / H5, words)


def above_null(patterns: Sequence[Pattern], null_patterns: Sequence[Pattern]) -> tuple[bool, ...]:
    """Whether each pattern has more seqlets than any pattern of the null.

    Parameters
    ----------
    patterns : sequence of Pattern
    null_patterns : sequence of Pattern
        Patterns of both signs from one or more networks trained on shuffled labels, in the same number of sequences.

    Returns
    -------
    tuple of bool
        In the order of `patterns`. If the null has no patterns, every pattern exceeds it.
    """
    most = max((pattern.seqlets for pattern in null_patterns), default=0)
    return tuple(pattern.seqlets > most for pattern in patterns)


def pattern_filter(index: int, ppm: NDArray[np.floating[Any]], seqlets: int) -> Filter:
    """A pattern as a filter: its base frequencies from the first to the last column above .25 bit, seqlets as sites."""
    trimmed, start = trim_ppm(ppm, TRIM_INFORMATION)
    information = corrected_information(trimmed, seqlets) if trimmed.shape[1] else 0.0
    return Filter(index, trimmed, seqlets, information, True, start)


def match_patterns(patterns: Sequence[Pattern], database: MotifDatabase) -> tuple[FilterMatch, ...]:
    """Compare the trimmed matrix of each pattern with the screened motifs of a database, in the same way as filters.

    Parameters
    ----------
    patterns : sequence of Pattern
    database : MotifDatabase

    Returns
    -------
    tuple of FilterMatch
        The best target of each pattern, in order. ``filter`` is the index of the pattern, ``sites`` its number of
        seqlets, and ``e_value`` p times the number of screened motifs; a match is ``significant`` at E <= .01 with at
        least 20 seqlets and 6 bits.

    Raises
    ------
    MotifError
        If the database has no screened motifs.
    """
    filters = [pattern_filter(index, p.ppm, p.seqlets) for index, p in enumerate(patterns)]
    return match_filters(filters, database, {}, n_filters=len(filters), permutations=1).rows


def patterns_meme(patterns: Sequence[Pattern]) -> str:
    """Format the trimmed matrices of patterns as a MEME file.

    Parameters
    ----------
    patterns : sequence of Pattern

    Returns
    -------
    str
        ``nsites`` is the number of seqlets. A pattern without a column above .25 bit is left out.
    """
    trimmed = [(pattern, trim_ppm(pattern.ppm, TRIM_INFORMATION)[0]) for pattern in patterns]
    return write_meme(Motif(p.name, "", ppm, n_sites=p.seqlets) for p, ppm in trimmed if ppm.shape[1])


def _check(codes: Codes, hypothetical: FloatArray) -> None:
    if codes.ndim != 2 or codes.dtype != np.uint8 or (codes.size and codes.max() > N_CODE):
        raise AttributionError(
            f"sequences have shape {codes.shape} and type {codes.dtype}; expected (n, length) uint8 codes 0..4."
        )
    n, length = codes.shape
    if hypothetical.shape != (n, 4, length):
        raise AttributionError(
            f"hypothetical contributions have shape {hypothetical.shape}; expected {(n, 4, length)}, as the sequences."
        )
    broken = ~np.isfinite(hypothetical).all(axis=(1, 2))
    if broken.any():
        raise AttributionError(
            f"hypothetical contributions of {int(broken.sum())} of {n} sequences are not finite "
            f"(first: sequence {int(np.argmax(broken))}). Attribute them again; TF-MoDISco needs finite numbers."
        )


def _too_little(codes: Codes, hypothetical: FloatArray) -> str | None:
    """Say why no pattern can be found; None if there may be one."""
    n, length = codes.shape
    if n < MINIMUM_SEQUENCES:
        return f"{n} sequence{'s' * (n != 1)}, fewer than {MINIMUM_SEQUENCES}"
    if length < MINIMUM_LENGTH:
        return f"sequences of {length} bp, shorter than {MINIMUM_LENGTH}"
    scores = (hypothetical * np.eye(5, 4, dtype=np.float32)[codes].transpose(0, 2, 1)).sum(axis=1)
    if not scores.any():
        return "all contributions are 0: the network ignores these sequences"
    if np.ptp(scores) == 0:
        return f"all contributions are {scores.flat[0]:.4g}: no base matters more than another"
    sums = np.cumsum(scores, axis=1, dtype=np.float64)
    windows = np.hstack([sums[:, WINDOW - 1 : WINDOW], sums[:, WINDOW:] - sums[:, :-WINDOW]])
    if windows.min() >= 0 or windows.max() <= 0:
        return f"no window of {WINDOW} bp contributes with the opposite sign, so chance level cannot be estimated"
    return None


def _none(why: str) -> Patterns:
    return Patterns((), None, f"No pattern: {why}.")


def _nothing(n: int, tried: NDArray[np.bool_]) -> str:
    if not tried.any():
        return f"fewer than {MINIMUM_SEQLETS} seqlets that could be clustered in {n} sequences"
    return f"no {MINIMUM_SEQLETS} seqlets in {n} sequences are similar"


def _run(command: list[str], log: Path, timeout: float | None, environment: Mapping[str, str] | None) -> str | None:
    """Run the command to its end; return None, or a description of what went wrong."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=file, stderr=file,  # the pipe closes however this process ends
            env=None if environment is None else dict(environment),
            process_group=0,  # so that its children are killed with it
        )  # fmt: skip
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            return f"TF-MoDISco was stopped after {timeout:g} s"
        finally:
            _end(process)
    if code == 0:
        return None
    if code < 0:
        return f"TF-MoDISco was killed by signal {-code} ({signal.Signals(-code).name}), perhaps because memory ran out"
    lines = log.read_text(errors="replace").strip().splitlines()
    return f"TF-MoDISco failed: {lines[-1].strip().rstrip('.') if lines else f'exit code {code}'}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the process and its children, if they are still running."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
    if process.stdin is not None:
        process.stdin.close()


def _read(stored: Mapping[str, NDArray[Any]]) -> tuple[Pattern, ...]:
    names = [key.removesuffix(".seqlets") for key in stored if key.endswith(".seqlets")]
    return tuple(_pattern(name, {k: stored[f"{name}.{k}"] for k in ("seqlets", *_MATRICES)}) for name in names)


_MATRICES = ("cwm", "hypothetical_cwm", "ppm")


def _pattern(name: str, part: Mapping[str, NDArray[Any]]) -> Pattern:
    ppm = part["ppm"].astype(np.float64)
    sums = ppm.sum(axis=0)  # below 1 where seqlets contain N
    cwm, hypothetical = (part[k].astype(np.float32) for k in _MATRICES[:2])
    ppm = np.where(sums > 0, ppm / np.where(sums > 0, sums, 1.0), 0.25)
    return Pattern(name, name.startswith("pos"), int(part["seqlets"]), cwm, hypothetical, ppm, float(cwm.sum()))
