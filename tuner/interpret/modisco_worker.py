"""The process that runs TF-MoDISco: `python -P modisco_worker.py INPUT H5 ARRAYS SETTINGS`.

It is a process of its own because modisco-lite forks, compiles kernels, needs a gigabyte and can be stopped only from
outside. It needs nothing else of this package, so it runs from any folder. Files go in and come back: INPUT and ARRAYS
are NumPy archives without pickled objects.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray


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
    run(_input, _h5, _arrays, json.loads(_settings))
