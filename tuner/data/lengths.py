"""One length for all sequences, without telling the classes apart by it.

Padding writes N, and a network sees where. Where one class is shorter than the other, padding alone lets it score: so
sequences are cropped to the shortest, or padded with a note that counts what was padded in which class.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tuner.data.separation import separation
from tuner.data.sequence import N_CODE, Codes
from tuner.errors import DataError
from tuner.limits import require

SHORTEST: Final = "shortest"
BYTES_A_BASE: Final = 16
"""What a base takes at most until a data set is read, split, compared and described: 13 to 15.3 were measured."""
BYTES_A_SEQUENCE: Final = 1000
"""What a sequence takes beside its bases: its id, its record, its place in indices."""


class Fitted(NamedTuple):
    """Sequences of one length, shape (n, length), and what had to be done."""

    codes: Codes
    notes: tuple[str, ...]


def fit_length(codes: Codes, length: int) -> Codes:
    """Crop one sequence (n,) around its centre, or pad it with N on both sides, to (length,)."""
    surplus = len(codes) - length
    if surplus >= 0:
        return codes[surplus // 2 : surplus // 2 + length]
    left = -surplus // 2
    return np.pad(codes, (left, -surplus - left), constant_values=N_CODE)


def fit_lengths(
    sequences: Sequence[Codes],
    length: int | str | None,
    labels: NDArray[Any],
    *,
    source: str,
    where: Callable[[int], str],
    max_memory: int | None = None,
    shuffled: bool = False,
) -> Fitted:
    """Bring all sequences to one length.

    Parameters
    ----------
    sequences : sequence of numpy.ndarray, shape=(length_of_it,), uint8
        At least one.
    length : int or str, optional
        Bases, or ``"shortest"``: as many as the shortest sequence has. Without it all must agree.
    labels : numpy.ndarray, shape=(n,) or (n, n_tasks)
    source : str
        What notes and errors call all of them.
    where : callable
        The place of a sequence by its index, for the error.
    max_memory : int, optional, bytes
        As in `tuner.limits.require`.
    shuffled : bool
        Whether a shuffle of each will be made, which needs as much again.

    Returns
    -------
    Fitted

    Raises
    ------
    DataError
        If lengths differ and none is given, naming the first that differs and the AUROC that length alone reaches, or
        if what is asked for does not fit in memory.
    """
    if isinstance(length, str) and length != SHORTEST:
        raise DataError(f'{source}: length = "{length}" is none; write a number of bases, or "{SHORTEST}".')
    if isinstance(length, int) and length < 1:
        raise DataError(f'{source}: length = {length} is none; write a number of bases above 0, or "{SHORTEST}".')
    sizes = np.array([len(codes) for codes in sequences])
    shortest = int(sizes.min())
    if length is None:
        _check_equal(sizes, labels, where)
    wanted = length if isinstance(length, int) else shortest
    require(
        source, (1 + shuffled) * len(sizes) * (BYTES_A_SEQUENCE + BYTES_A_BASE * wanted), max_memory,
        f"{len(sizes)} sequences of {wanted} bases",
    )  # fmt: skip
    padded = sizes < wanted
    notes: tuple[str, ...] = ()
    if padded.any():
        positive = np.asarray(labels).reshape(len(sizes), -1).any(axis=1)
        sides = (("positives", positive), ("negatives", ~positive))
        counts = " and ".join(f"{int(padded[side].sum())} of {int(side.sum())} {word}" for word, side in sides)
        notes = (
            f"{source}: {counts} are shorter than {wanted} bases and were padded with N. "
            f'Set length = "{SHORTEST}" to crop all of them to {shortest} bases instead.',
        )
    return Fitted(np.stack([fit_length(codes, wanted) for codes in sequences]), notes)


def _check_equal(sizes: NDArray[Any], labels: NDArray[Any], where: Callable[[int], str]) -> None:
    counts = Counter(sizes.tolist())
    usual = counts.most_common(1)[0][0]
    if len(counts) == 1:
        return
    first = int(np.flatnonzero(sizes != usual)[0])
    shortest = int(sizes.min())
    columns = np.asarray(labels).reshape(len(sizes), -1).T
    found = max((separation(sizes, column) for column in columns), key=lambda s: abs(s.auroc - 0.5))
    alone = ""
    if found.differs:
        alone = f"Length alone tells the classes apart (AUROC {found.best:.3f}); padding would leave it readable. "
    remedy = f'Set length = "{SHORTEST}" to crop all of them to {shortest} bases around their centres'
    few = int((sizes < usual).sum())
    if 0 < few <= len(sizes) // 10:
        remedy += f", or first remove the {few} that are shorter than {usual}"
    raise DataError(
        f"{where(first)} has {sizes[first]} bases, {counts[usual]} of {len(sizes)} sequences have {usual}. "
        f"{alone}{remedy}."
    )
