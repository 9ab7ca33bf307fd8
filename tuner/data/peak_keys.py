"""Keys of a study's ``[data]`` beside ``peaks``: their checks, and the files that they name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from tuner.errors import DataError, unknown
from tuner.genome.genome_names import ENCODE, GENOMES

if TYPE_CHECKING:
    from tuner.data.spec import DataSpec

LENGTH: Final = 200
"""Length of windows in bp, unless a study says otherwise: a fragment of ChIP-seq, the bins of DeepSEA (Zhou &
Troyanskaya 2015), and the input of Koo & Ploenzke's CNN-deep. It holds the motif and its neighbours, and little else.
"""
SHUFFLE: Final = "shuffle"
NEGATIVE_KINDS: Final = ("gc", "gc+cpg", "flanks", SHUFFLE)
NEGATIVE_FILES: Final = ("accessible", "other_peaks")
TASK: Final = "bound"


def check_peaks(spec: DataSpec) -> None:
    """Check the keys beside peaks.

    Raises
    ------
    DataError
        If the genome is missing, a value is out of range, or a key contradicts another.
    """
    if spec.genome is None:
        raise DataError(f"peaks need a genome: name one ({', '.join(GENOMES)}) or give a FASTA or 2bit file as genome.")
    if isinstance(spec.length, str):
        raise DataError(f'length = "{spec.length}" means nothing beside peaks; write a number of bases.')
    if isinstance(spec.length, int) and spec.length < 20:
        raise DataError(f"length = {spec.length}: windows around peaks need at least 20 bases.")
    if isinstance(spec.peaks, dict):
        if not spec.peaks:
            raise DataError('peaks = {} names no file; write peaks = { TASK = "FILE", ... }.')
        if spec.tasks is not None:
            raise DataError("peaks names its tasks; leave tasks out.")
    elif spec.min_overlap is not None:
        raise DataError("min_overlap is for several files of peaks; there is one.")
    elif spec.tasks is not None and len(spec.tasks) != 1:
        raise DataError(f"one file of peaks holds one task; tasks names {len(spec.tasks)}: {', '.join(spec.tasks)}.")
    number = isinstance(spec.ratio, int | float) and not isinstance(spec.ratio, bool)
    if spec.ratio is not None and not (number and 0 < spec.ratio <= 1000):
        raise DataError(f"ratio = {spec.ratio!r}: expected a number of negatives per positive, above 0, at most 1000.")
    for name, least in (("top", 1), ("min_overlap", 1)):
        value = getattr(spec, name)
        if value is not None and value < least:
            raise DataError(f"{name} = {value}: expected a whole number from {least}.")
    if isinstance(spec.negatives, dict):
        wrong = [key for key in spec.negatives if key not in NEGATIVE_FILES]
        if wrong:
            raise DataError(unknown("kind of negatives", wrong[0], NEGATIVE_FILES))
        if len(spec.negatives) != 1 or not all(spec.negatives.values()):
            raise DataError('negatives as a table name one kind and its file: { accessible = "atac.bed" }.')


def tasks_of(spec: DataSpec) -> dict[str, str]:
    """Task -> its file of peaks."""
    if isinstance(spec.peaks, dict):
        return spec.peaks
    return {spec.tasks[0] if spec.tasks else TASK: str(spec.peaks)}


def named_files(values: Mapping[str, Any]) -> dict[str, str]:
    """The files that values of ``[data]`` name; those within a table or a list as ``peaks.HepG2``.

    Parameters
    ----------
    values : mapping of str to any
        Values of the keys of `tuner.data.spec.FILES`.

    Returns
    -------
    dict of str to str
    """
    of_peaks = values.get("peaks") is not None
    found = {}
    for key, path in _leaves(values):
        built_in = path == SHUFFLE or (of_peaks and path in NEGATIVE_KINDS)
        known = (key == "genome" and path in GENOMES) or (key == "blacklist" and path == ENCODE)
        if not (key == "negatives" and built_in) and not known:
            found[key] = path
    return found


def _leaves(values: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    found = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            found += _leaves(value, f"{before}{key}.")
        elif isinstance(value, list | tuple):
            found += [(f"{before}{key}.{i}", path) for i, path in enumerate(value)]
        elif value is not None:
            found.append((f"{before}{key}", value))
    return found


def with_files(values: Mapping[str, Any], places: Mapping[str, str | None]) -> dict[str, Any]:
    """The same values with some files in other places; keys of `places` as `named_files` writes them."""

    def moved(value: Any, key: str) -> Any:
        if isinstance(value, Mapping):
            return {name: moved(inner, f"{key}.{name}") for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [moved(inner, f"{key}.{i}") for i, inner in enumerate(value)]
        return places.get(key, value)

    return {key: moved(value, key) for key, value in values.items()}
