"""The process that runs TF-MoDISco: `python -P modisco_worker.py INPUT H5 ARRAYS SETTINGS`.

It is a separate process because modisco-lite forks, compiles kernels, needs a gigabyte and can only be stopped from
outside. It imports nothing else from this package, so it runs from any folder. Input and results are files: INPUT
and ARRAYS are NumPy archives without pickled objects. The folder of ARRAYS is removed when the parent process ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

OOM_SCORE = 300  # when memory runs out, the kernel kills this process before the report that waits for it


def guard(folder: str) -> None:
    """Fork a guard that kills this process group and removes `folder` when the parent process has ended.

    The pipe to stdin closes when the parent process ends for any reason. As a separate process, the guard notices this
    even while native code holds the GIL; it is killed with the group.
    """
    worker = os.getpid()
    if os.fork():
        return
    with contextlib.suppress(OSError):
        os.read(0, 1)
    with contextlib.suppress(ProcessLookupError):
        os.kill(worker, signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)


def offer_to_memory_killer() -> None:
    """Raise this process's OOM score, as `tuner.storage.process`, which cannot be imported here, does for workers."""
    with contextlib.suppress(OSError, ValueError), open("/proc/self/oom_score_adj", "r+") as file:
        score = min(1000, int(file.read()) + OOM_SCORE)
        file.seek(0)
        file.write(str(score))


def run(source: str, h5: str, arrays: str, settings: dict[str, Any]) -> None:
    """Find patterns and write them.

    Parameters
    ----------
    source : str
        Archive with ``codes``, shape=(n, length), uint8, and ``hypothetical``, shape=(n, 4, length), float32.
    h5 : str
        Path of modisco-lite's HDF5 file; it is not written if there is no pattern.
    arrays : str
        Path of the archive of patterns. For each pattern it holds ``pos.0.seqlets`` and the matrices ``.cwm``,
        ``.hypothetical_cwm`` and ``.ppm``, shape=(4, width); ``tried`` says for each sign whether there were enough
        seqlets.
    settings : dict of str to any
        Settings of ``modiscolite.tfmodisco.TFMoDISco``.
    """
    import numba
    import numpy as np

    options: Any = numba.config
    options.NUMBA_NUM_THREADS = 1  # read when modisco-lite is imported and when it sets its number of threads
    from modiscolite.io import save_hdf5
    from modiscolite.tfmodisco import TFMoDISco

    with np.load(source, allow_pickle=False) as stored:
        codes, hypothetical = stored["codes"], stored["hypothetical"]
    one_hot = np.eye(5, 4, dtype=np.float32)[codes]  # n, length, 4; N is all zeros
    swapped = np.ascontiguousarray(hypothetical.transpose(0, 2, 1))
    positive, negative = TFMoDISco(one_hot, swapped, **settings)
    found: dict[str, NDArray[Any]] = {"tried": np.array([positive is not None, negative is not None])}
    for sign, patterns in (("pos", positive), ("neg", negative)):
        for index, pattern in enumerate(patterns or ()):
            found[f"{sign}.{index}.seqlets"] = np.array(len(pattern.seqlets))
            found[f"{sign}.{index}.cwm"] = np.asarray(pattern.contrib_scores).T
            found[f"{sign}.{index}.hypothetical_cwm"] = np.asarray(pattern.hypothetical_contribs).T
            found[f"{sign}.{index}.ppm"] = np.asarray(pattern.sequence).T
    if positive or negative:
        # A sign without patterns gets no group, because modisco-lite's reader treats an empty group as an error.
        save_hdf5(h5, positive or None, negative or None, codes.shape[1])
    np.savez(arrays, **found)  # type: ignore[arg-type]  # the stub mistakes the names for allow_pickle


if __name__ == "__main__":
    _input, _h5, _arrays, _settings = sys.argv[1:]
    guard(os.path.dirname(_arrays))
    offer_to_memory_killer()
    run(_input, _h5, _arrays, json.loads(_settings))
