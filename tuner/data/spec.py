"""`DataSpec`: what a study's ``[data]`` table says about where its sequences come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import SkipValidation, StrictFloat, StrictInt

from tuner.errors import DataError

FRACTIONS = (0.7, 0.1, 0.2)  # Koo & Ploenzke (2021) split every data set like this
FILES = ("path", "positives", "negatives", "folder")
SHUFFLE = "shuffle"  # in place of a file of negatives


@dataclass(frozen=True)
class DataSpec:
    """Where the sequences of a study come from; exactly one of `dataset`, `path`, `positives`, `folder`.

    Its fields are the keys of a study file's ``[data]``, whose types pydantic checks.

    Parameters
    ----------
    dataset : str, optional
        A name in `tuner.data.registry.DATASETS`.
    path : str, optional
        An HDF5 file, or a table of sequences and labels.
    reader : str, optional
        A name in `tuner.data.readers.READERS`; without it the file's ending decides.
    positives, negatives : str, optional
        Two FASTA files; `negatives` may be ``"shuffle"``.
    folder : str, optional
        A folder with ``train``, ``valid`` and ``test`` FASTA files.
    layout : str, optional
        Axes of an HDF5 file's sequences: ``"ncl"`` = (n, 4, length), ``"nlc"`` = (n, length, 4); without it, as the
        shapes say.
    length : int or str, optional
        Crop FASTA and table sequences to this length around their centre, or pad them with N; ``"shortest"`` crops
        all to the length of the shortest.
    sequence_column, label_columns, split_column, group_column : optional
        Columns of a table. Without `label_columns` every other column is a label.
    tasks : tuple of str, optional
        Names of the label columns of a file that does not name them.
    fractions : tuple of float, optional
        Shares of train, valid and test where the file does not split; without them `FRACTIONS`.
    seed : int
        Seeds that split and the shuffled negatives. Simulated data sets keep their published seed.
    split : str, optional
        How a file that does not split is split, see `tuner.data.partition.SplitRule`; by default ``"homology"``.
    valid_chromosomes, test_chromosomes : tuple of str, optional
        Chromosomes of validation and test, for a split by chromosomes.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}  # lists become tuples; no other type is converted

    dataset: str | None = None
    path: str | None = None
    reader: str | None = None
    positives: str | None = None
    negatives: str | None = None
    folder: str | None = None
    layout: Literal["ncl", "nlc"] | None = None
    length: Annotated[int | str | None, SkipValidation] = None  # checked below, for both at once
    sequence_column: str | None = None
    label_columns: tuple[str, ...] | None = None
    split_column: str | None = None
    group_column: str | None = None
    tasks: tuple[str, ...] | None = None
    fractions: tuple[StrictFloat, ...] | None = None
    seed: StrictInt = 0
    split: Literal["random", "homology", "chromosome", "chromosome+homology"] | None = None
    valid_chromosomes: tuple[str, ...] | None = None
    test_chromosomes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        sources = [name for name in ("dataset", "path", "positives", "folder") if getattr(self, name) is not None]
        if self.dataset is not None and sources == ["dataset", "path"]:
            sources = ["dataset"]  # an explicit path is where the named data set's file lies
        if len(sources) != 1:
            given = ", ".join(sources) if sources else "none of them"
            raise DataError(
                f"the [data] table must say where the sequences are by one of dataset, path, positives "
                f"(with negatives) or folder; it gives {given}."
            )
        source = sources[0]
        if self.positives is not None and self.negatives is None:
            raise DataError(
                'positives need negatives: name their FASTA file, or set negatives = "shuffle" '
                "for dinucleotide-shuffled positives."
            )
        if self.seed < 0:
            raise DataError(f"the [data] table's seed is {self.seed}; expected a whole number from 0.")
        number = isinstance(self.length, int) and not isinstance(self.length, bool) and self.length > 0
        if self.length is not None and not number and self.length != "shortest":
            raise DataError(
                f'the [data] table\'s length is {self.length!r}; expected a number of bases above 0, or "shortest".'
            )
        if not (all(0 < part < 1 for part in self.shares) and abs(sum(self.shares) - 1) <= 1e-6):
            raise DataError(
                f"split fractions {self.fractions}: expected three numbers above 0 for train, valid and test that sum "
                f"to 1."
            )
        if self.split is not None and self.split_column is not None:
            raise DataError(
                f'split = "{self.split}" and split_column ask for two different splits. Remove split_column to have '
                "the table split, or split to keep its own."
            )
        for name in ("valid_chromosomes", "test_chromosomes"):
            if getattr(self, name) is not None and not (self.split or "").startswith("chromosome"):
                raise DataError(f'{name} belongs to split = "chromosome" or "chromosome+homology"; set one of them.')
        for name, by in _NEEDS.items():
            if getattr(self, name) != _DEFAULTS[name] and source not in by:
                raise DataError(f"{name} means nothing beside {source}; it belongs to {' or '.join(by)}.")

    @property
    def files(self) -> dict[str, str]:
        """The files and folders that it names, by key."""
        named = {key: getattr(self, key) for key in FILES}
        return {key: path for key, path in named.items() if path is not None and path != SHUFFLE}

    def at(self, places: Mapping[str, str | None]) -> DataSpec:
        """The same data, with some of its files (keys of `FILES`) in other places."""
        changes: dict[str, Any] = dict(places)
        return replace(self, **changes)

    @property
    def shares(self) -> tuple[float, ...]:
        """Shares of train, valid and test where the file does not split."""
        return FRACTIONS if self.fractions is None else self.fractions


_NEEDS = {
    "reader": ("path",),
    "negatives": ("positives",),
    "layout": ("path",),
    "length": ("path", "positives", "folder"),
    "sequence_column": ("path",),
    "label_columns": ("path",),
    "split_column": ("path",),
    "group_column": ("path",),
    "tasks": ("path", "positives", "folder"),
    "fractions": ("path", "positives"),
    "split": ("path", "positives"),
    "valid_chromosomes": ("path", "positives"),
    "test_chromosomes": ("path", "positives"),
}
_DEFAULTS = {field.name: field.default for field in fields(DataSpec)}


def given_keys(spec: DataSpec) -> set[str]:
    """Name the keys with which a file is read, beside where it is and the seed, that differ from their defaults."""
    return {name for name in _NEEDS if name != "reader" and getattr(spec, name) != _DEFAULTS[name]}
