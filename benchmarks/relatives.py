"""How long does it take to find relatives, how large are their clusters, and what would other rules find?

    python benchmarks/relatives.py                       # 50,000 random sequences of 200 bp, and the same with overlaps
    python benchmarks/relatives.py FILE... [--rules]     # tables, DeepBind files, HDF5 files
    python benchmarks/relatives.py --reb1 POSITIVES NEGATIVES  # FASTA files: the four ways to split

Prints seconds of CPU time on one core, and of each file the sequences in clusters and the largest cluster. `--rules`
adds those of two other rules: a common stretch of 30 bases alone, and 20 % of the words of 12 bases of the shorter.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from tuner.data.dataset import Dataset
from tuner.data.fasta import fasta
from tuner.data.leakage import memoriser
from tuner.data.partition import SplitRule
from tuner.data.readers import read
from tuner.data.relatives import STRETCH, linked, portion, related, relatives
from tuner.data.spec import DataSpec
from tuner.data.words import shared_words
from tuner.genome.sequence import Codes


def sequences(path: Path) -> Codes:
    """All real sequences of a file: where the reader makes shuffles, without them."""
    split = "split" if path.name.startswith("gue") else None
    data: Dataset = read(DataSpec(path=str(path), split_column=split))
    parts = [
        part.codes if part.ids is None else part.codes[[not name.endswith("_shuffled") for name in part.ids]]
        for part in data.splits.values()
    ]
    return np.concatenate(parts)


def stretches_alone(codes: Codes) -> np.ndarray:
    """Clusters by a common stretch of 30 bases."""
    cluster = np.arange(len(codes))
    for words, rows in shared_words(codes, STRETCH, portion(codes)):
        same = words[1:] == words[:-1]
        cluster = linked(cluster, rows[:-1][same], rows[1:][same])
    return cluster


def shares_of_words(codes: Codes, k: int = 12, share: float = 0.2) -> np.ndarray:
    """Clusters by a share of common words of 12 bases, of whatever sequences."""
    from scipy.sparse import csr_array

    numbers, held, count = [], [], 0
    for words, rows in shared_words(codes, k, portion(codes)):
        if len(words):
            numbers.append(count + np.cumsum(np.append(False, words[1:] != words[:-1])))
            held.append(rows)
            count = int(numbers[-1][-1]) + 1
    table = csr_array((np.ones(sum(map(len, held)), np.int32), (np.concatenate(held), np.concatenate(numbers))))
    turned, cluster = table.T.tocsr(), np.arange(len(codes))
    for start in range(0, table.shape[0], 500):
        common = (table[start : start + 500] @ turned).tocoo()
        use = common.data >= share * (codes.shape[1] - k + 1)
        cluster = linked(cluster, common.coords[0][use] + start, common.coords[1][use])
    return cluster


def told(name: str, codes: Codes, rule=relatives) -> None:
    begin = time.process_time()
    size = np.bincount(rule(codes))
    seconds = time.process_time() - begin
    print(
        f"{name[:44]:44s} {len(codes):6d} x {codes.shape[1]} bp  {int(size[size > 1].sum()):6d} in clusters, "
        f"largest {size.max():5d}  {seconds:6.2f} s",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--rules", action="store_true")
    parser.add_argument("--reb1", action="store_true", help="the two files are positives and negatives")
    asked = parser.parse_args()
    if asked.reb1:
        for by in ("random", "homology", "chromosome", "chromosome+homology"):
            for seed in range(3):
                data = fasta(*asked.files, split=SplitRule(by, seed=seed))
                positive = data.test.labels[:, 0] == 1
                share = related(data.train.codes, data.test.codes)[positive].mean()
                print(
                    f"{by:20s} seed {seed}: test {len(data.test)}, {share:.1%} of its positives have relatives in "
                    f"training, memoriser {memoriser(data.train, data.test):.3f}"
                )
        return
    if not asked.files:
        rng = np.random.default_rng(0)
        codes = rng.integers(0, 4, (50_000, 200)).astype(np.uint8)
        told("random", codes)
        codes[25_000:, :100] = codes[:25_000, 100:]
        told("random, each half of another", codes)
    for path in asked.files:
        codes = sequences(path)
        told(path.name, codes)
        if asked.rules:
            told("  a stretch of 30 bases alone", codes, stretches_alone)
            told("  20 % of words of 12 bases", codes, shares_of_words)


if __name__ == "__main__":
    main()
