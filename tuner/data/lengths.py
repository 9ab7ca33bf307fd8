"""Brings all sequences to one length, without letting the length separate the classes.

Padding writes N, and a network can see where. If one class is shorter than the other, padding alone would separate
them. Sequences are therefore cropped to the shortest, or padded with a note that counts the padded sequences of each
class.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tuner.data.separation import separation
from tuner.errors import DataError
from tuner.genome.sequence import N_CODE, Codes
from tuner.limits import require

SHORTEST: Final = "shortest"
BYTES_A_BASE: Final = 16
"""Upper bound in bytes per base while a data set is read, split, compared and described; measured: 13 to 15.3."""
BYTES_A_SEQUENCE: Final = 1000
"""Upper bound in bytes per sequence besides its bases: its id, its record, its entries in indices."""


class CommonLength(int):
    """A length for sequences that differ in length; those that do not keep theirs, as if none were given."""


class Fitted(NamedTuple):
    """Sequences of one length, shape=(n, length), and notes on what was done."""

    codes: Codes
    notes: tuple[str, ...]


def fit_length(codes: Codes, length: int) -> Codes:
    """Crop one sequence, shape=(n,), around its centre, or pad it with N on both sides, to shape=(length,)."""
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
        Number of bases, or ``"shortest"`` for that of the shortest sequence. Without it all lengths must be equal. A
        `CommonLength` is what the sequences of a trained model have; a note then says what was cropped, too.
    labels : numpy.ndarray, shape=(n,) or (n, n_tasks)
    source : str
        Name of the data in notes and errors.
    where : callable
        Index of a sequence -> where it is, for errors.
    max_memory : int, optional, bytes
        As in `tuner.limits.require`.
    shuffled : bool
        Whether a shuffle of each sequence will be made, which needs the same memory again.

    Returns
    -------
    Fitted

    Raises
    ------
    DataError
        If lengths differ and none is given, with the first sequence that differs and the AUROC that length alone
        reaches; if `length` is invalid, or the result does not fit into memory.
    """
    if isinstance(length, str) and length != SHORTEST:
        raise DataError(f'{source}: length = "{length}" is not a length; write a number of bases, or "{SHORTEST}".')
    if isinstance(length, int) and length < 1:
        raise DataError(
            f'{source}: length = {length} is not a length; write a number of bases above 0, or "{SHORTEST}".'
        )
    sizes = np.array([len(codes) for codes in sequences])
    shortest = int(sizes.min())
    if length is None:
        _check_equal(sizes, labels, where)
    common = isinstance(length, CommonLength)
    alike = common and shortest == int(sizes.max())
    wanted = length if isinstance(length, int) and not alike else shortest
    require(
        source, (1 + shuffled) * len(sizes) * (BYTES_A_SEQUENCE + BYTES_A_BASE * wanted), max_memory,
        f"{len(sizes)} sequences of {wanted} bases",
    )  # fmt: skip
    padded = sizes < wanted
    notes: tuple[str, ...] = ()
    if common:
        notes = length_notes(source, sizes, wanted, labels)
    elif padded.any():
        notes = (
            f"{source}: {_by_class(padded, labels)} are shorter than {wanted} bases and were padded with N. "
            f'Set length = "{SHORTEST}" to crop all of them to {shortest} bases instead.',
        )
    return Fitted(np.stack([fit_length(codes, wanted) for codes in sequences]), notes)


def length_notes(source: str, sizes: NDArray[Any], wanted: int, labels: NDArray[Any]) -> tuple[str, ...]:
    """Say how sequences of the given sizes, shape=(n,), are brought to the length of those that models are trained on.

    Returns
    -------
    tuple of str
        At most one note; none if all have that length.
    """
    longer, shorter = sizes > wanted, sizes < wanted
    words = []
    if longer.any():
        words.append(f"{int(longer.sum())} of {len(sizes)} sequences are longer and were cropped around their centres")
    if shorter.any():
        words.append(f"{_by_class(shorter, labels)} are shorter and were padded with N")
    if not words:
        return ()
    low, high = int(sizes.min()), int(sizes.max())
    span = f"{low}" if low == high else f"{low} to {high}"
    return (f"{source}: its sequences have {span} bases, those of training {wanted}; {'; '.join(words)}.",)


def _by_class(chosen: NDArray[np.bool_], labels: NDArray[Any]) -> str:
    positive = np.asarray(labels).reshape(len(chosen), -1).any(axis=1)
    sides = (("positives", positive), ("negatives", ~positive))
    return " and ".join(f"{int(chosen[side].sum())} of {int(side.sum())} {word}" for word, side in sides)


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
        alone = f"Length alone separates the classes (AUROC {found.best:.3f}), and padding would not hide it. "
    remedy = f'Set length = "{SHORTEST}" to crop all of them to {shortest} bases around their centres'
    few = int((sizes < usual).sum())
    if 0 < few <= len(sizes) // 10:
        remedy += f", or first remove the {few} that are shorter than {usual}"
    raise DataError(
        f"{where(first)} has {sizes[first]} bases, but {counts[usual]} of {len(sizes)} sequences have {usual}. "
        f"{alone}{remedy}."
    )
