"""`Data`: where the sequences of a study come from, and `DataCheck`: the result of checking them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from tuner.api.places import folders_of
from tuner.data.dataset import Dataset
from tuner.data.fasta import SHUFFLE
from tuner.data.partition import By
from tuner.data.registry import load_dataset
from tuner.data.spec import FRACTIONS, DataSpec
from tuner.errors import DataError
from tuner.limits import parse_size

if TYPE_CHECKING:
    import pandas as pd

_PATHS = ("path", "positives", "negatives", "folder")


class DataCheck(NamedTuple):
    """Result of a check of data.

    Attributes
    ----------
    source : str
        Where the sequences come from.
    length : int, bp
        Length of each sequence.
    tasks : tuple of str
        Names of the labels.
    splits : pandas.DataFrame
        One row per split: sequences, positives, share of N, and GC and CpG content of each class; sequences with
        relatives in training (`related`), and on validation the AUROC of what remembers similar training sequences
        (`memoriser`). For the test split, only its size and `related` are given.
    warnings : tuple of str
        Problems that do not prevent a study but should be known.
    """

    source: str
    length: int
    tasks: tuple[str, ...]
    splits: pd.DataFrame
    warnings: tuple[str, ...]

    def _repr_html_(self) -> str:
        listed = "".join(f"<li>{escape(text)}</li>" for text in self.warnings)
        head = f"<p><b>{escape(self.source)}</b>: {self.length} bp, {escape(', '.join(self.tasks))}</p>"
        return head + self.splits.to_html(na_rep="") + (f"<ul>{listed}</ul>" if listed else "")


@dataclass(frozen=True)
class Data:
    """Where sequences and labels come from; nothing is read before `check`, `load` or a run.

    Parameters
    ----------
    spec : DataSpec
        The ``[data]`` table of a study file, built by `from_fasta`, `from_table`, `from_hdf5` and `named`.
    """

    spec: DataSpec

    @classmethod
    def from_fasta(
        cls,
        positives: str | Path,
        negatives: str | Path = SHUFFLE,
        *,
        length: int | str | None = None,
        fractions: tuple[float, float, float] = FRACTIONS,
        seed: int = 0,
        task: str | None = None,
        split: By | None = None,
        valid_chromosomes: tuple[str, ...] | None = None,
        test_chromosomes: tuple[str, ...] | None = None,
    ) -> Data:
        """Read two FASTA files, plain or compressed.

        Parameters
        ----------
        positives : str or Path
            Bound sequences.
        negatives : str or Path
            Unbound sequences; ``"shuffle"`` makes them by shuffling the positives, preserving dinucleotide counts.
        length : int or str, optional
            Crop or pad every sequence to this length around its centre; ``"shortest"`` crops all to the shortest.
        fractions : tuple of float
            Shares of train, valid and test.
        seed : int
            Seed of the split and of the shuffled negatives.
        task : str, optional
            Name of the label.
        split : str, optional
            ``"homology"`` (the default) keeps relatives together; ``"random"``, ``"chromosome"`` or
            ``"chromosome+homology"``, see `tuner.data.partition.SplitRule`.
        valid_chromosomes, test_chromosomes : tuple of str, optional
            Chromosomes of validation and of test, for a split by chromosomes; by default they are chosen.
        """
        tasks = None if task is None else (task,)
        return cls(
            DataSpec(
                positives=_absolute(positives), negatives=_absolute(negatives), length=length, fractions=fractions,
                seed=seed, tasks=tasks, split=split, valid_chromosomes=_listed(valid_chromosomes),
                test_chromosomes=_listed(test_chromosomes),
            )
        )  # fmt: skip

    @classmethod
    def from_table(
        cls,
        path: str | Path,
        *,
        sequence_column: str | None = None,
        label_columns: list[str] | tuple[str, ...] | None = None,
        split_column: str | None = None,
        group_column: str | None = None,
        length: int | str | None = None,
        fractions: tuple[float, float, float] = FRACTIONS,
        seed: int = 0,
        split: By | None = None,
        valid_chromosomes: tuple[str, ...] | None = None,
        test_chromosomes: tuple[str, ...] | None = None,
    ) -> Data:
        """Read a table with one sequence and its labels per row: TSV, CSV, or DeepBind's pairs (``.seq``).

        Parameters
        ----------
        path : str or Path
            The file, plain or compressed.
        sequence_column, label_columns, split_column, group_column : optional
            Names of the columns. Without `label_columns`, every other column is a label.
        length, fractions, seed, split, valid_chromosomes, test_chromosomes
            As for `from_fasta`.
        """
        labels = None if label_columns is None else tuple(label_columns)
        return cls(
            DataSpec(
                path=_absolute(path), sequence_column=sequence_column, label_columns=labels,
                split_column=split_column, group_column=group_column, length=length, fractions=fractions, seed=seed,
                split=split, valid_chromosomes=_listed(valid_chromosomes), test_chromosomes=_listed(test_chromosomes),
            )
        )  # fmt: skip

    @classmethod
    def from_hdf5(
        cls,
        path: str | Path,
        *,
        layout: Literal["ncl", "nlc"] | None = None,
        tasks: list[str] | tuple[str, ...] | None = None,
    ) -> Data:
        """Read an HDF5 file with one-hot sequences and labels in splits, such as Koo's, Basset's or SigTFB's.

        Parameters
        ----------
        path : str or Path
            The file.
        layout : str, optional
            Axes of the sequences: ``"ncl"`` = (n, 4, length), ``"nlc"`` = (n, length, 4); detected by default.
        tasks : sequence of str, optional
            Names of the labels of a file that does not name them.
        """
        names = None if tasks is None else tuple(tasks)
        return cls(DataSpec(path=_absolute(path), reader="koo_hdf5", layout=layout, tasks=names))

    @classmethod
    def named(cls, name: str, *, path: str | Path | None = None) -> Data:
        """Use a published or simulated data set, one of those that `tuner list datasets` lists.

        Parameters
        ----------
        name : str
            E.g. ``"zbed2"`` or ``"synthetic"``.
        path : str or Path, optional
            Path of its file; by default it is looked for in the `data_dir` of a run and in the cache, else downloaded.
        """
        return cls(DataSpec(dataset=name, path=None if path is None else _absolute(path)))

    def load(
        self,
        *,
        data_dir: str | Path | None = None,
        cache: str | Path | None = None,
        max_memory: str | None = None,
    ) -> Dataset:
        """Read and check the data; its test split stays closed.

        Parameters
        ----------
        data_dir, cache : str or Path, optional
            As for `tuner.run`.
        max_memory : str, optional
            Memory that reading may take, e.g. ``"8 GB"``; by default half of the available memory.

        Raises
        ------
        DataError
            Data are missing or broken; says where, and what to do.
        """
        return self._load(data_dir, cache, max_memory).without_test()

    def check(
        self,
        *,
        data_dir: str | Path | None = None,
        cache: str | Path | None = None,
        max_memory: str | None = None,
    ) -> DataCheck:
        """Read the data and report what they contain.

        Parameters
        ----------
        data_dir, cache, max_memory
            As for `load`.

        Raises
        ------
        DataError
            As for `load`.
        """
        import pandas as pd

        told = self._load(data_dir, cache, max_memory).describe()
        rows = {name: _row(split) | told["relatives"].get(name, {}) for name, split in told["splits"].items()}
        return DataCheck(
            told["source"], told["length"], tuple(told["tasks"]), pd.DataFrame.from_dict(rows, orient="index"),
            tuple(told["warnings"]),
        )  # fmt: skip

    def _load(self, data_dir: str | Path | None, cache: str | Path | None, max_memory: str | None) -> Dataset:
        folders = folders_of(data_dir, cache)
        limit = None if max_memory is None else parse_size(max_memory)
        return load_dataset(self.spec, data_dir=folders.data_dir, cache=folders.cache, max_memory=limit)

    def section(self) -> dict[str, Any]:
        """The equivalent ``[data]`` table of a study file."""
        given = {f.name: getattr(self.spec, f.name) for f in fields(self.spec)}
        default = {f.name: f.default for f in fields(self.spec)}
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in given.items()
            if value != default[key]
        }

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><td>{key}</td><td>{escape(str(v))}</td></tr>" for key, v in self.section().items())
        return f"<table>{rows}</table>"


def _listed(names: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if names is None else tuple(names)


def _absolute(path: str | Path) -> str:
    """Make a path absolute, so that it stays valid if the current folder changes."""
    if str(path) == SHUFFLE:
        return SHUFFLE
    try:
        return str(Path(path).expanduser().absolute())
    except RuntimeError as e:
        raise DataError(f"{path}: {e}") from e


def _row(split: dict[str, Any]) -> dict[str, Any]:
    """Make the row of one split; with several tasks, the positives of each have a column of their own."""
    row = {key: value for key, value in split.items() if key not in ("positives", "ground_truth")}
    positives = split.get("positives", {})
    if len(positives) == 1:
        return {"sequences": row.pop("sequences"), "positives": next(iter(positives.values())), **row}
    return {"sequences": row.pop("sequences"), **{f"positives {task}": n for task, n in positives.items()}, **row}
