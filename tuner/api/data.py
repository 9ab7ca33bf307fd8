"""`Data`: where the sequences of a study come from, and `DataCheck`: the result of checking them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from tuner.api.places import folders_of
from tuner.data.dataset import Dataset
from tuner.data.fasta import SHUFFLE
from tuner.data.partition import By
from tuner.data.peak_keys import NEGATIVE_KINDS
from tuner.data.registry import load_dataset
from tuner.data.spec import DataSpec, recipe
from tuner.errors import DataError, UsageError
from tuner.genome.genome_names import ENCODE, GENOMES
from tuner.limits import parse_size
from tuner.motifs.database import MotifDatabase, load_database
from tuner.study.other_data import OtherData, find_other_data

if TYPE_CHECKING:
    import pandas as pd

    from tuner.models.audit import Audit


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
    separation : pandas.DataFrame
        How well single numbers separate the classes in training and validation: one row per task and feature (GC, CpG,
        a 6-mer regression, and each motif of `targets`) with its AUROC, and for motifs the share of sequences with a
        hit and the median distance of hits from the middle (`tuner.models.audit`).
    recipe : tuple of str
        How the data were made from peaks and a genome: what was dropped and why, negatives, chromosomes of the splits.
    """

    source: str
    length: int
    tasks: tuple[str, ...]
    splits: pd.DataFrame
    warnings: tuple[str, ...]
    separation: pd.DataFrame
    recipe: tuple[str, ...] = ()

    def _repr_html_(self) -> str:
        listed = "".join(f"<li>{escape(text)}</li>" for text in self.warnings)
        head = f"<p><b>{escape(self.source)}</b>: {self.length} bp, {escape(', '.join(self.tasks))}</p>"
        tables = self.splits.to_html(na_rep="") + self.separation.to_html(na_rep="", index=False)
        made = "".join(f"<p>{escape(text)}</p>" for text in self.recipe)
        return head + made + tables + (f"<ul>{listed}</ul>" if listed else "")


@dataclass(frozen=True)
class Data:
    """Where sequences and labels come from; nothing is read before `check`, `load` or a run.

    Parameters
    ----------
    spec : DataSpec
        The ``[data]`` table of a study file, built by `from_fasta`, `from_table`, `from_hdf5`, `from_peaks`, `named`.
    """

    spec: DataSpec

    @classmethod
    def from_fasta(
        cls,
        positives: str | Path,
        negatives: str | Path = SHUFFLE,
        *,
        length: int | str | None = None,
        fractions: tuple[float, ...] | None = None,
        seed: int = 0,
        task: str | None = None,
        test: Data | None = None,
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
        fractions : tuple of float, optional
            Shares of train, valid and test; beside `test`, those of train and valid suffice.
        seed : int
            Seed of the split and of the shuffled negatives.
        task : str, optional
            Name of the label.
        test : Data, optional
            Files whose sequences, all of them, are the test split.
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
                seed=seed, tasks=tasks, test=_spec(test),
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
        fractions: tuple[float, ...] | None = None,
        seed: int = 0,
        test: Data | None = None,
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
        length, fractions, seed, test
            As for `from_fasta`.
        """
        labels = None if label_columns is None else tuple(label_columns)
        return cls(
            DataSpec(
                path=_absolute(path), sequence_column=sequence_column, label_columns=labels,
                split_column=split_column, group_column=group_column, length=length, fractions=fractions, seed=seed,
                test=_spec(test),
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
        test: Data | None = None,
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
        test : Data, optional
            As for `from_fasta`; a test split of the file itself is then left out.
        """
        names = None if tasks is None else tuple(tasks)
        return cls(DataSpec(path=_absolute(path), reader="koo_hdf5", layout=layout, tasks=names, test=_spec(test)))

    @classmethod
    def from_peaks(
        cls,
        peaks: str | Path | Mapping[str, str | Path],
        genome: str | Path,
        *,
        length: int | None = None,
        negatives: str | Path | Mapping[str, str | list[str]] | None = None,
        ratio: float | None = None,
        top: int | None = None,
        blacklist: str | Path | None = None,
        aliases: str | Path | None = None,
        min_overlap: int | None = None,
        fractions: tuple[float, ...] | None = None,
        seed: int = 0,
        task: str | None = None,
    ) -> Data:
        """Make sequences from peaks and a genome: windows around the summits, negatives, splits by chromosome.

        Parameters
        ----------
        peaks : str, Path or mapping of str to Path
            BED, narrowPeak, broadPeak or summits of MACS, plain or compressed; or one file for each task.
        genome : str or Path
            ``"hg38"``, ``"hg19"``, ``"mm10"``, ``"mm39"``, ``"dm6"``, ``"ce11"``, ``"sacCer3"``, ``"tair10"`` or
            ``"danRer11"``; or a FASTA or 2bit file.
        length : int, optional, bp
            Length of the windows; by default 200.
        negatives : str, Path or mapping, optional
            ``"gc"`` (default), ``"gc+cpg"``, ``"flanks"``, ``"shuffle"``, a BED or FASTA file,
            ``{"accessible": FILE}``, or ``{"other_peaks": [FILE, ...]}``.
        ratio : float, optional
            Negatives per positive; by default 1, or all of a file.
        top : int, optional
            Number of strongest sites of each file to use.
        blacklist : str or Path, optional
            BED file of regions that no window may touch, or ``"encode"``: the ENCODE blacklist of hg38, hg19, mm10,
            dm6 or ce11, which is downloaded.
        aliases : str or Path, optional
            Table with two names of a chromosome per line, where the names of peaks and genome differ.
        min_overlap : int, optional, bp
            Overlap from which sites of several files are one; by default a third of the length.
        fractions, seed, task
            As for `from_fasta`.
        """
        files = {name: _absolute(path) for name, path in peaks.items()} if isinstance(peaks, Mapping) else None
        named = str(genome) in GENOMES
        return cls(
            DataSpec(
                peaks=_absolute(str(peaks)) if files is None else files,
                genome=str(genome) if named else _absolute(genome),
                length=length, negatives=_negatives(negatives), ratio=ratio, top=top,
                blacklist=None if blacklist is None else ENCODE if str(blacklist) == ENCODE else _absolute(blacklist),
                aliases=None if aliases is None else _absolute(aliases),
                min_overlap=min_overlap, fractions=fractions, seed=seed, tasks=None if task is None else (task,),
            )
        )  # fmt: skip

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
        targets: Mapping[str, Sequence[str]] | None = None,
        database: str | Path | MotifDatabase = "JASPAR2026",
        data_dir: str | Path | None = None,
        cache: str | Path | None = None,
        max_memory: str | None = None,
    ) -> DataCheck:
        """Read the data, and report what they contain and what separates the classes before anything is trained.

        Parameters
        ----------
        targets : mapping of str to sequence of str, optional
            Family -> identifiers of its motifs, as in ``[motifs]`` of a study file.
        database : str, Path or MotifDatabase
            Where those motifs are.
        data_dir, cache, max_memory
            As for `load`.

        Raises
        ------
        DataError
            As for `load`.
        MotifError
            A motif of `targets` is not in the database.
        """
        import pandas as pd

        from tuner.models.audit import audit
        from tuner.results.audit_words import audit_words

        dataset = self._load(data_dir, cache, max_memory)
        told = dataset.describe()
        motifs = {}
        if targets:
            known = database if isinstance(database, MotifDatabase) else load_database(str(database), screen=False)
            motifs = {family: [known.find(one) for one in ids] for family, ids in targets.items()}
        found = audit(dataset.without_test(), motifs)
        rows = {name: _row(split) for name, split in told["splits"].items()}
        return DataCheck(
            told["source"], told["length"], tuple(told["tasks"]), pd.DataFrame.from_dict(rows, orient="index"),
            (*told["warnings"], *audit_words(found, shuffled=dataset.shuffled).warnings), _separation(found),
            tuple(told["recipe"]),
        )  # fmt: skip

    def to_hdf5(
        self,
        out: str | Path,
        *,
        data_dir: str | Path | None = None,
        cache: str | Path | None = None,
        max_memory: str | None = None,
    ) -> Path:
        """Write sequences, labels, splits, names and groups, test included, as one HDF5 file; `from_hdf5` reads it.

        Parameters
        ----------
        out : str or Path
            The file; an existing one is replaced.
        data_dir, cache, max_memory
            As for `load`.

        Raises
        ------
        DataError
            As for `load`, or the file cannot be written.
        """
        from tuner.data.hdf5 import write_koo_hdf5

        return write_koo_hdf5(self._load(data_dir, cache, max_memory), out, recipe(self.spec))

    def _load(self, data_dir: str | Path | None, cache: str | Path | None, max_memory: str | None) -> Dataset:
        folders = folders_of(data_dir, cache)
        limit = None if max_memory is None else parse_size(max_memory)
        return load_dataset(self.spec, data_dir=folders.data_dir, cache=folders.cache, max_memory=limit)

    def section(self) -> dict[str, Any]:
        """The equivalent ``[data]`` table of a study file."""
        given = {f.name: getattr(self.spec, f.name) for f in fields(self.spec)}
        default = {f.name: f.default for f in fields(self.spec)}
        return {key: _written(value) for key, value in given.items() if value != default[key]}

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><td>{key}</td><td>{escape(str(v))}</td></tr>" for key, v in self.section().items())
        return f"<table>{rows}</table>"


def _written(value: Any) -> Any:
    """Return the value of a field as a study file states it."""
    if isinstance(value, DataSpec):
        return Data(value).section()
    return list(value) if isinstance(value, tuple) else value


def other_data(
    on: str | Path | Data | None, split: str, variables: Mapping[str, str] | None = None
) -> OtherData | None:
    """Find the data on which a study is scored instead of its own test split.

    Parameters
    ----------
    on : str, Path or Data, optional
        A study, a file with a ``[data]`` table alone, or a `Data`.
    split : str
        The part of them to score, which means nothing without them.
    variables : mapping of str to str, optional
        Values of ``$NAME`` in the paths of a file.

    Raises
    ------
    UsageError
        A split is chosen, but no data.
    StudyError
        As in `tuner.study.other_data.find_other_data`.
    """
    if on is None:
        if split != "all":
            raise UsageError(f"split={split!r} chooses from the data of on; without it, the own test split is scored.")
        return None
    return OtherData("", on.spec) if isinstance(on, Data) else find_other_data(str(on), variables or {})


def _spec(test: Data | None) -> DataSpec | None:
    return None if test is None else test.spec


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


def _separation(found: Audit) -> pd.DataFrame:
    """Make the table of what separates the classes."""
    import pandas as pd

    rows = [
        {"task": f.task, "feature": f.name, "auroc": f.auroc.estimate, "low": f.auroc.low, "high": f.auroc.high}
        for f in found.features
    ]
    rows += [
        {
            "task": m.task, "feature": f"{m.target} ({m.motif})", "auroc": m.auroc.estimate, "low": m.auroc.low,
            "high": m.auroc.high, "hits_positives": m.positives, "hits_negatives": m.negatives,
            "distance": m.distance, "distance_anywhere": m.expected, "p_central": m.p_value,
        }
        for m in found.motifs
    ]  # fmt: skip
    return pd.DataFrame(rows)


def _negatives(value: str | Path | Mapping[str, str | list[str]] | None) -> str | dict[str, str | list[str]] | None:
    """Make the paths of negatives absolute."""
    if value is None or str(value) in NEGATIVE_KINDS:
        return None if value is None else str(value)
    if isinstance(value, Mapping):
        return {k: _absolute(v) if isinstance(v, str | Path) else [_absolute(p) for p in v] for k, v in value.items()}
    return _absolute(value)


def _row(split: dict[str, Any]) -> dict[str, Any]:
    """Make the row of one split; with several tasks, the positives of each have a column of their own."""
    row = {key: value for key, value in split.items() if key not in ("positives", "ground_truth")}
    positives = split.get("positives", {})
    if len(positives) == 1:
        return {"sequences": row.pop("sequences"), "positives": next(iter(positives.values())), **row}
    return {"sequences": row.pop("sequences"), **{f"positives {task}": n for task, n in positives.items()}, **row}
