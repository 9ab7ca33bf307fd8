"""A study small enough to run in seconds: planted ACGTGACT in 80 bp, two FASTA files, one space."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tuner.search.loaded import Bench

SPACE = """
[architecture]
fixed = "cnn"
[n_blocks]
fixed = 1
[activation]
choices = ["exponential", "relu"]
[filters]
fixed = 8
[kernel_size]
low = 7
high = 11
[learning_rate]
low = 1e-3
high = 1e-2
log = true
[batch_size]
fixed = 50

[[warm_starts]]
source = "by hand"
parameters = { activation = "exponential", kernel_size = 8, learning_rate = 5e-3 }
"""

STUDY = """
name = "tiny"
space = "tiny_space"
[data]
positives = "positives.fa"
negatives = "negatives.fa"
[training]
epochs = 4
[search]
trials = 6
startup = 3
[confirmation]
candidates = 2
seeds = 2
shuffled = 1
"""


def write_fasta(path: Path, n: int, motif: str, seed: int, length: int = 80) -> None:
    rng = np.random.default_rng(seed)
    lines = []
    for i in range(n):
        sequence = "".join(rng.choice(list("ACGT"), length))
        start = int(rng.integers(0, length - len(motif))) if motif else 0
        lines.append(f">{path.stem}{i}\n{sequence[:start]}{motif}{sequence[start + len(motif) :]}")
    path.write_text("\n".join(lines) + "\n")


def write_study(folder: Path, n: int = 150, study: str = STUDY, space: str = SPACE) -> Path:
    """Write the study and its data into `folder`; the path of the study."""
    folder.mkdir(parents=True, exist_ok=True)
    write_fasta(folder / "positives.fa", n, "ACGTGACT", 1)
    write_fasta(folder / "negatives.fa", n, "", 2)
    (folder / "search_spaces").mkdir(exist_ok=True)
    (folder / "search_spaces" / "tiny_space.toml").write_text(space)
    (folder / "tiny.toml").write_text(study)
    return folder / "tiny.toml"


def load_tiny(folder: Path, n: int = 150, study: str = STUDY) -> Bench:
    """Write a study and load it, motifs from the cache of the person who runs the tests."""
    from tuner.search.loaded import load_bench
    from tuner.study.file import read_study
    from tuner.study.plan import make_plan, study_space

    path = write_study(folder, n, study)
    read = read_study(path)
    space = study_space(read, "standard", lambda name: folder / "search_spaces" / f"{name}.toml")[0]
    return load_bench(make_plan(read, space, folder=folder), data_dir=None, cache=Path.home() / ".cache" / "tuner")
