"""The data sets of the league, each as a study file: sixteen sets of other factors, lengths, sizes and negatives.

    python benchmarks/league_sets.py            names, and whether their files are here
    python benchmarks/league_sets.py gue_tf_0   the study file of one

All lie in the folder of reference data (TUNER_DATA_DIR), each with its own test set or a split made once by the tool.
`small` materialises a set with fewer training sequences, for tables of many trainings.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from tuner.data.dataset import Dataset, Split
from tuner.data.registry import load_dataset
from tuner.study.file import read_study
from tuner.study.paths import expand_data

DEEPBIND = ".seq.gz"


@dataclass(frozen=True)
class LeagueSet:
    """A data set of the league.

    Attributes
    ----------
    data : str
        The `[data]` tables of its study file; ``$TUNER_DATA_DIR`` stands for the folder of reference data.
    targets : str
        Motifs of the factor in JASPAR 2026, as TOML; empty where there is none.
    database : str
    """

    data: str
    targets: str = ""
    database: str = "JASPAR2026"

    def study(self, name: str) -> str:
        """The text of its study file."""
        targets = f"targets = {self.targets}\n" if self.targets else ""
        return f'name = "{name}"\n\n{self.data}\n[motifs]\ndatabase = "{self.database}"\n{targets}'


def _pair(folder: str, stem: str) -> str:
    path = f"$TUNER_DATA_DIR/{folder}/{stem}"
    return f'[data]\npath = "{path}_AC{DEEPBIND}"\n\n[data.test]\npath = "{path}_B{DEEPBIND}"\n'


def _gue(name: str) -> str:
    path = f"$TUNER_DATA_DIR/gue/gue_{name}.tsv.gz"
    return f'[data]\npath = "{path}"\nsequence_column = "sequence"\nlabel_columns = ["label"]\nsplit_column = "split"\n'


_NFE2 = "$TUNER_DATA_DIR/nfe2_gm12878"
_YEAST = "$TUNER_DATA_DIR/yeast_reb1"
_IRF = '["MA0050.4", "MA0051.2", "MA1418.2", "MA1419.2", "MA1420.1", "MA1509.1", "MA0772.2", "MA0652.2", "MA0653.1"]'

SETS: dict[str, LeagueSet] = {
    "zbed2": LeagueSet('[data]\ndataset = "zbed2"\n', '{ ZBED2 = ["MA1971.2"] }'),
    "irf1": LeagueSet('[data]\ndataset = "irf1"\n', f"{{ IRF = {_IRF} }}"),
    "rest": LeagueSet(_pair("encode", "REST_GM12878_NRSF_HudsonAlpha"), '{ REST = ["MA0138.3"] }'),
    "usf1": LeagueSet(_pair("encode", "USF1_HepG2_USF-1_HudsonAlpha"), '{ USF = ["MA0093.4", "MA0526.5"] }'),
    "ctcfl": LeagueSet(
        _pair("encode", "CTCFL_K562_CTCFL_(SC-98982)_HudsonAlpha"), '{ CTCF = ["MA1102.3", "MA0139.2"] }'
    ),
    "sp1": LeagueSet(_pair("encode", "SP1_GM12878_SP1_HudsonAlpha"), '{ SP = ["MA0079.5", "MA0516.3", "MA0746.3"] }'),
    "arid3a": LeagueSet(
        _pair("deepbind_2026", "ARID3A_HepG2_ARID3A_(NB100-279)_Stanford"), '{ ARID3 = ["MA0151.1", "MA0601.2"] }'
    ),
    "foxm1": LeagueSet(_pair("deepbind_2026", "FOXM1_GM12878_FOXM1_(SC-502)_HudsonAlpha"), '{ FOXM1 = ["MA2469.1"] }'),
    "gue_tf_0": LeagueSet(_gue("tf_0")),
    "gue_tf_1": LeagueSet(_gue("tf_1")),
    "gue_tf_2": LeagueSet(_gue("tf_2")),
    "gue_mouse_0": LeagueSet(_gue("mouse_0")),
    "gue_mouse_3": LeagueSet(_gue("mouse_3")),
    "nfe2": LeagueSet(
        f'[data]\npositives = "{_NFE2}/tr.fa"\nnegatives = "{_NFE2}/neg.tr.fa"\nlength = 200\n\n'
        f'[data.test]\npositives = "{_NFE2}/test.fa"\nnegatives = "{_NFE2}/neg.test.fa"\n',
        '{ NFE2 = ["MA0841.2"] }',
    ),
    "reb1": LeagueSet(
        f'[data]\npeaks = "{_YEAST}/Reb1_Rhee.bed"\n'
        f'genome = "{_YEAST}/Saccharomyces_cerevisiae.R64-1-1.dna.toplevel.fa.gz"\nlength = 200\nnegatives = "gc"\n'
        'split = "chromosome+homology"\n',
        '{ REB1 = ["MA0363.3"] }',
        "JASPAR2026-fungi",
    ),
    "usf1_multicell": LeagueSet(
        '[data]\npath = "$TUNER_DATA_DIR/usf1_multicell/usf1_multicell.tsv.gz"\n',
        '{ USF = ["MA0093.4", "MA0526.5"] }',
    ),
}


def write_study(name: str, folder: Path) -> Path:
    """Write the study file of a set; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.toml"
    path.write_text(SETS[name].study(name), encoding="utf-8")
    return path


def load(name: str, folder: Path) -> Dataset:
    """Load a set whole, as a study of it does."""
    path = write_study(name, folder)
    data = expand_data(read_study(path).data, os.environ, folder, path.name)
    return load_dataset(data, data_dir=Path(os.environ["TUNER_DATA_DIR"]), base=folder)


def small(name: str, folder: Path, *, train: int, valid: int) -> Path:
    """Write a study file for a set of at most so many training and validation sequences, and the whole test set.

    Parameters
    ----------
    name : str
        In `SETS`.
    folder : Path
        Of ``NAME.h5`` and ``NAME.toml``; the file of data is made once.
    train, valid : int
        Sequences, drawn at random with seed 0.

    Returns
    -------
    Path
        The study file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.h5"
    if not file.exists():
        dataset = load(name, folder / "whole")
        part = file.with_suffix(".part")
        with h5py.File(part, "w") as out:
            for split, rows in (("train", train), ("valid", valid), ("test", None)):
                _write(out, split, dataset.splits[split], rows)  # type: ignore[index]
        part.replace(file)
    row = SETS[name]
    path = folder / f"{name}.toml"
    path.write_text(LeagueSet(f'[data]\npath = "{file.name}"\n', row.targets, row.database).study(name))
    return path


def _write(out: h5py.File, name: str, split: Split, most: int | None) -> None:
    rows = np.arange(len(split))
    if most is not None and len(rows) > most:
        rows = np.sort(np.random.default_rng(0).permutation(len(rows))[:most])
    one_hot = (split.codes[rows][:, None, :] == np.arange(4)[:, None]).astype(np.int8)
    out.create_dataset(f"X_{name}", data=one_hot, compression="gzip")
    out.create_dataset(f"Y_{name}", data=split.labels[rows].astype(np.int8))


def main() -> None:
    for name in sys.argv[1:]:
        print(SETS[name].study(name))
    if len(sys.argv) == 1:
        folder = Path(os.environ.get("TUNER_DATA_DIR", ""))
        for name, row in SETS.items():
            files = [part.split('"')[0] for part in row.data.split("$TUNER_DATA_DIR/")[1:]]
            missing = [file for file in files if not (folder / file).exists()]
            print(f"{name:16} {'missing: ' + ', '.join(missing) if missing else 'here'}")


if __name__ == "__main__":
    main()
