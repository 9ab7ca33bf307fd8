"""Limits on the memory that stored files may take, derived from their size.

The description of a network, or an archive of arrays, declares sizes before anything is read; these may be wrong.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Iterable, Mapping
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.lib import format as npy
from torch.overrides import TorchFunctionMode

from tuner.errors import DataError, ModelError

SLACK = 1 << 22  # elements that any network may have in addition, e.g. buffers
DRAWS = 8  # how often a weight may be allocated while a network is built: empty, drawn, scaled, in another layout
DEFLATE = 1032  # largest compression ratio of deflate (zlib's technical details)
LARGEST = 256 << 20  # largest unpacked size of an archive of baselines, in bytes

_MAKERS = frozenset(("empty", "zeros", "ones", "full", "rand", "randn", "arange", "linspace", "eye"))


class Budget(TorchFunctionMode):
    """Context in which creating more than `elements` elements raises an error before the memory is allocated.

    Parameters
    ----------
    elements : int
        Largest number of elements of all tensors together.

    Raises
    ------
    ModelError
        Raised at the tensor that exceeds the limit.
    """

    def __init__(self, elements: int) -> None:
        super().__init__()
        self.elements, self.made = elements, 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if getattr(func, "__name__", "") in _MAKERS:
            sizes = given.get("size", args[0] if args and isinstance(args[0], tuple | list) else args)
            self.made += math.prod(int(n) for n in sizes if isinstance(n, int))
            if self.made > self.elements:
                raise ModelError(
                    f"the described network needs {self.made} elements or more; the stored weights have far fewer."
                )
        return func(*args, **given)


def budget_for(weights: Iterable[torch.Tensor]) -> Budget:
    """Return the budget for building a network that will have these weights."""
    return Budget(SLACK + DRAWS * sum(w.numel() for w in weights))


def check_archive(file: BinaryIO, name: str) -> None:
    """Refuse an .npz file if a member, or the array that it declares, is larger than its stored size allows.

    Raises
    ------
    DataError
        A member is too large; names the member and what it declares.
    zipfile.BadZipFile, ValueError, OSError
        The content is not an archive of arrays.
    """
    with zipfile.ZipFile(file) as archive:
        total = 0
        for member in archive.infolist():
            total += member.file_size
            if total > LARGEST or member.file_size > DEFLATE * max(1, member.compress_size):
                raise DataError(f"{name}: {member.filename} unpacks to {member.file_size} bytes, which is too much.")
            with archive.open(member) as stream:
                version = npy.read_magic(stream)
                read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
                shape, _, kind = read(stream)
            if kind.hasobject or math.prod(shape) * np.dtype(kind).itemsize > member.file_size:
                raise DataError(f"{name}: {member.filename} declares an array of shape {shape}, more than it contains.")
