"""`DataSpec`: what a study's ``[data]`` table says about where its sequences come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import PurePath
from typing import Annotated, Any, ClassVar, Literal

from pydantic import SkipValidation, StrictFloat, StrictInt, WrapValidator

from tuner.data.peak_keys import check_peaks, named_files, with_files
from tuner.errors import DataError

# Koo & Ploenzke (2021) split every data set 70/10/20.
FRACTIONS = (0.7, 0.1, 0.2)
FILES = ("path", "positives", "negatives", "folder", "peaks", "genome", "blacklist", "aliases")
SHUFFLE = "shuffle"  # in place of a file of negatives
TEST = "test."  # begins the keys of the files of a test set

# What a test set cannot have, as all of it is the test split.
_NOT_OF_TEST = ("fractions", "group_column", "test", "split", "valid_chromosomes", "test_chromosomes")
_NO_KEY = "[data.test] has no key {}: all of its sequences are the test split."


def _word_test(value: Any, make: Callable[[Any], Any]) -> Any:
    """Make the data section of a test set; an error names its own table."""
    for key in _NOT_OF_TEST:
        if isinstance(value, dict) and key in value:
            raise DataError(_NO_KEY.format(key))
    try:
        return make(value)
    except DataError as error:
        text = str(error).replace("[data]", "[data.test]")
        raise DataError(text if "[data.test]" in text else f"[data.test] {text}") from error


@dataclass(frozen=True)
class DataSpec:
    """Where the sequences of a study come from; exactly one of `dataset`, `path`, `positives`, `folder`, `peaks`.

    Its fields are the keys of a study file's ``[data]``, whose types pydantic checks.

    Parameters
    ----------
    dataset : str, optional
        A name in `tuner.data.registry.DATASETS`.
    path : str, optional
        An HDF5 file, or a table of sequences and labels.
    reader : str, optional
        A name in `tuner.data.readers.READERS`; without it the file's ending decides.
    positives : str, optional
        A FASTA file, beside `negatives`.
    negatives : str or dict, optional
        Beside `positives` a FASTA file or ``"shuffle"``. Beside `peaks` one of `tuner.data.peak_keys.NEGATIVE_KINDS`,
        by default ``"gc"``; a BED or FASTA file; or a table of one of `NEGATIVE_FILES` there.
    folder : str, optional
        A folder with ``train``, ``valid`` and ``test`` FASTA files.
    peaks : str or dict of str to str, optional
        A file of peaks, or one for each task.
    genome : str, optional
        A name in `tuner.genome.genome_names.GENOMES`, or a FASTA or 2bit file; beside `peaks`.
    ratio : float, optional
        Negatives per positive; beside `peaks`, by default 1, or all of a file.
    top : int, optional
        Number of strongest sites of each file of peaks to use.
    blacklist, aliases : str, optional
        A BED file of regions that windows may not touch, or ``"encode"`` for the ENCODE blacklist of the assembly; and
        a table of names of chromosomes; beside `peaks`.
    min_overlap : int, optional
        Overlap in bp from which sites of several files are one; by default a third of the length.
    layout : str, optional
        Axes of an HDF5 file's sequences: ``"ncl"`` = (n, 4, length), ``"nlc"`` = (n, length, 4); without it, as the
        shapes say.
    length : int or str, optional
        Crop FASTA and table sequences to this length around their centre, or pad them with N; ``"shortest"`` crops
        all to the length of the shortest. Beside `peaks` the length of the windows.
    sequence_column, label_columns, split_column, group_column : optional
        Columns of a table. Without `label_columns` every other column is a label.
    tasks : tuple of str, optional
        Names of the label columns of a file that does not name them.
    fractions : tuple of float, optional
        Shares of train, valid and test where the file does not split; without them `FRACTIONS`. Beside `test`, those
        of train and valid alone, or of all three, of which train then takes the last.
    seed : int
        Seeds that split and the shuffled negatives. Simulated data sets keep their published seed.
    test : DataSpec, optional
        Files whose sequences, all of them, are the test split; those of `path` or `positives` are then split into
        train and valid only.
    split : str, optional
        How a file that does not split is split, see `tuner.data.partition.SplitRule`; by default ``"homology"``,
        beside `peaks` ``"chromosome+homology"``.
    valid_chromosomes, test_chromosomes : tuple of str, optional
        Chromosomes of validation and test, for a split by chromosomes.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}  # lists become tuples; no other type is converted

    dataset: str | None = None
    path: str | None = None
    reader: str | None = None
    positives: str | None = None
    negatives: str | dict[str, str | list[str]] | None = None
    folder: str | None = None
    peaks: str | dict[str, str] | None = None
    genome: str | None = None
    ratio: Annotated[float | None, SkipValidation] = None  # checked with the other keys of peaks; may be written as 1
    top: StrictInt | None = None
    blacklist: str | None = None
    aliases: str | None = None
    min_overlap: StrictInt | None = None
    layout: Literal["ncl", "nlc"] | None = None
    length: Annotated[int | str | None, SkipValidation] = None  # checked below, for both at once
    sequence_column: str | None = None
    label_columns: tuple[str, ...] | None = None
    split_column: str | None = None
    group_column: str | None = None
    tasks: tuple[str, ...] | None = None
    fractions: tuple[StrictFloat, ...] | None = None
    seed: StrictInt = 0
    test: Annotated[DataSpec | None, WrapValidator(_word_test)] = None
    split: Literal["random", "homology", "chromosome", "chromosome+homology"] | None = None
    valid_chromosomes: tuple[str, ...] | None = None
    test_chromosomes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        sources = [n for n in ("dataset", "path", "positives", "folder", "peaks") if getattr(self, n) is not None]
        if self.dataset is not None and sources == ["dataset", "path"]:
            sources = ["dataset"]  # an explicit path is where the named data set's file lies
        if len(sources) != 1:
            given = ", ".join(sources) if sources else "none of them"
            raise DataError(
                f"the [data] table must say where the sequences are by one of dataset, path, positives "
                f"(with negatives), folder or peaks (with genome); it gives {given}."
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
        if self.test is not None:
            self._check_test(source)
        if self.fractions is not None:
            _check_fractions(self.fractions, named_test=self.test is not None)
        if self.split is not None and self.split_column is not None:
            raise DataError(
                f'split = "{self.split}" and split_column ask for two different splits. Remove split_column to have '
                "the table split, or split to keep its own."
            )
        for name in ("valid_chromosomes", "test_chromosomes"):
            by_chromosomes = (self.split or ("chromosome" if source == "peaks" else "")).startswith("chromosome")
            if getattr(self, name) is not None and not by_chromosomes:
                raise DataError(f'{name} belongs to split = "chromosome" or "chromosome+homology"; set one of them.')
        for name, by in _NEEDS.items():
            if getattr(self, name) != _DEFAULTS[name] and source not in by:
                raise DataError(f"{name} means nothing beside {source}; it belongs to {' or '.join(by)}.")
        if self.peaks is not None:
            check_peaks(self)
        elif isinstance(self.negatives, dict):
            raise DataError("negatives as a table belong to peaks; beside positives, name a FASTA file.")

    def _check_test(self, source: str) -> None:
        """Refuse a test set beside data that bring their own, or one that is none."""
        if source == "dataset":
            raise DataError(
                f"test means nothing beside dataset: {self.dataset} has a test split of its own. Leave test out, and "
                "score the finished study on other data with tuner evaluate --on."
            )
        if source == "folder":
            raise DataError(
                "test means nothing beside folder: a folder has a test split of its own. Put the sequences there, or "
                "name the files of training and validation by path, or by positives and negatives."
            )
        given = [key for key in ("dataset", "folder", "peaks") if getattr(self.test, key) is not None]
        if given:
            raise DataError(
                f"[data.test] names files, by path or by positives and negatives; it gives {' and '.join(given)}."
            )
        for key in _NOT_OF_TEST:
            if getattr(self.test, key) is not None:
                raise DataError(_NO_KEY.format(key))

    @property
    def files(self) -> dict[str, str]:
        """The files and folders that it names, by key; those of its test set as ``test.path`` and so on."""
        named = {key: getattr(self, key) for key in FILES}
        own = named_files(named)
        return own if self.test is None else own | {TEST + key: path for key, path in self.test.files.items()}

    def at(self, places: Mapping[str, str | None]) -> DataSpec:
        """The same data, with some of its files (keys of `files`) in other places."""
        changes = with_files({key: getattr(self, key) for key in FILES}, places)
        of_test = {key.removeprefix(TEST): path for key, path in places.items() if key.startswith(TEST)}
        if of_test and self.test is not None:
            changes["test"] = self.test.at(of_test)
        return replace(self, **changes)

    @property
    def shares(self) -> tuple[float, ...]:
        """Shares of train, valid and test where the file does not split; of train and valid beside a test set."""
        shares = FRACTIONS if self.fractions is None else self.fractions
        return shares if self.test is None else (1 - shares[1], shares[1])


@dataclass(frozen=True)
class WholeSpec(DataSpec):
    """Data of which nothing is split off: where the file does not split, all of it is read as one part."""

    @property
    def shares(self) -> tuple[float, ...]:
        """One share, which is everything."""
        return (1.0,)


def _check_fractions(fractions: tuple[float, ...], *, named_test: bool) -> None:
    whole = all(0 < part < 1 for part in fractions) and abs(sum(fractions) - 1) <= 1e-6  # false for NaN too
    if whole and (len(fractions) == 3 or (named_test and len(fractions) == 2)):
        return
    if named_test:
        expected = "two numbers above 0 for train and valid, or three for train, valid and test, that sum to 1"
    else:
        expected = "three numbers above 0 for train, valid and test that sum to 1"
        if whole and len(fractions) == 2:
            expected += "; two, for train and valid, belong beside a test set (test = {...})"
    raise DataError(f"split fractions {fractions}: expected {expected}.")


_NEEDS = {
    "reader": ("path",),
    "negatives": ("positives", "peaks"),
    "layout": ("path",),
    "length": ("path", "positives", "folder", "peaks"),
    "sequence_column": ("path",),
    "label_columns": ("path",),
    "split_column": ("path",),
    "group_column": ("path",),
    "tasks": ("path", "positives", "folder", "peaks"),
    "fractions": ("path", "positives", "peaks"),
    "test": ("path", "positives"),
    "split": ("path", "positives", "peaks"),
    "valid_chromosomes": ("path", "positives", "peaks"),
    "test_chromosomes": ("path", "positives", "peaks"),
} | dict.fromkeys(("genome", "ratio", "top", "blacklist", "aliases", "min_overlap"), ("peaks",))
_DEFAULTS = {field.name: field.default for field in fields(DataSpec)}


def given_keys(spec: DataSpec) -> set[str]:
    """Name the keys with which a file is read, beside where it is and the seed, that differ from their defaults."""
    return {name for name in _NEEDS if name not in ("reader", "test") and getattr(spec, name) != _DEFAULTS[name]}


def recipe(spec: DataSpec) -> dict[str, Any]:
    """Describe where sequences come from in plain values that are the same on every machine.

    Returns
    -------
    dict
        The keys that differ from their defaults; of files only the names, without folders.
    """
    named = spec.at({key: PurePath(path).name for key, path in spec.files.items()})
    given = {name: getattr(named, name) for name in _DEFAULTS if getattr(named, name) != _DEFAULTS[name]}
    if spec.shares == FRACTIONS:
        given.pop("fractions", None)
    if named.test is not None:
        given["test"] = recipe(named.test)
    return {key: list(value) if isinstance(value, tuple) else value for key, value in given.items()}
