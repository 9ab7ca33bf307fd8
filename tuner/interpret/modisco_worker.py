"""The process that runs TF-MoDISco: `python -P modisco_worker.py INPUT H5 ARRAYS SETTINGS`.

It is a process of its own because modisco-lite forks, compiles kernels, needs a gigabyte and can be stopped only from
outside. It needs nothing else of this package, so it runs from any folder. Files go in and come back: INPUT and ARRAYS
are NumPy archives without pickled objects. The folder of ARRAYS is removed when whoever started this is gone.
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

OOM_SCORE = 300  # when memory runs out, the kernel ends this process before the report that waits for it


def guard(folder: str) -> None:
    """Fork a guard that ends this process group and removes `folder` when the process that started it is gone.

    The pipe to stdin ends with that process, however it ends. A guard that is a process of its own hears it also while
    native code keeps Python's lock; it ends with the group.
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
    """Raise this process's score; as `tuner.storage.process` does for workers, which this file cannot import."""
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
        Where the HDF5 file of modisco-lite goes; not written if there is no pattern.
    arrays : str
        Where the archive of patterns goes: per pattern ``pos.0.seqlets``, ``.cwm``, ``.hypothetical_cwm`` and ``.ppm``,
        matrices of shape=(4, width); and ``tried``, whether there were enough seqlets of either sign.
    settings : dict of str to any
        Of ``modiscolite.tfmodisco.TFMoDISco``.
    """
    import numba
    import numpy as np

    options: Any = numba.config
    options.NUMBA_NUM_THREADS = 1  # read when modisco-lite is imported and when it counts its threads
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
        # A sign without patterns has no group: the reader of modisco-lite takes an empty one for an error.
        save_hdf5(h5, positive or None, negative or None, codes.shape[1])
    np.savez(arrays, **found)  # type: ignore[arg-type]  # the stub takes the names for allow_pickle


if __name__ == "__main__":
    _input, _h5, _arrays, _settings = sys.argv[1:]
    guard(os.path.dirname(_arrays))
    offer_to_memory_killer()
    run(_input, _h5, _arrays, json.loads(_settings))
