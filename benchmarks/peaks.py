"""Time and memory of making a data set from peaks, beside tangermeme's search for matching loci.

    python benchmarks/peaks.py --megabases 100 --peaks 5000 --json peaks.json
    python benchmarks/peaks.py --megabases 3100 --peaks 50000 --alone

A genome is made with GC content that changes along it, soft-masked repeats and N; peaks lie where GC content is high.
The package makes the whole data set (peaks, index, windows, N, matched negatives, sequences) from an empty cache, once
with GC-matched negatives and once with GC- and CpG-matched ones. `tangermeme.match.extract_matching_loci` only finds
GC-matched loci for the same windows; `--alone` leaves it out. Each side runs in a process of its own, whose CPU time
and largest memory are printed, with how many negatives it found, the AUROC of their GC content, and how many of them
overlap the window of a peak.

At 3,100 megabases and 50,064 peaks the data set took 18 s of CPU and .68 GB with GC-matched negatives, 54 s and 1.14 GB
with GC- and CpG-matched ones; tangermeme took 53 s and 1.99 GB.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

LENGTH = 200
CHROMOSOMES = 24
CHUNK = 4_000_000


def make(folder: Path, megabases: int, peaks: int) -> None:
    """Write g.fa and p.bed."""
    rng = np.random.default_rng(0)
    weights = np.linspace(2, 0.5, CHROMOSOMES)
    sizes = (megabases * 1e6 * weights / weights.sum()).astype(int) // CHUNK * CHUNK + CHUNK
    if megabases < CHROMOSOMES * CHUNK / 1e6:
        sizes[:] = max(megabases * 1_000_000 // CHROMOSOMES // 60 * 60, 60_000)
    share = peaks / sizes.sum()
    rows = []
    with (folder / "g.fa").open("wb") as file:
        for number, size in enumerate(sizes.tolist(), start=1):
            file.write(f">chr{number}\n".encode())
            for at in range(0, size, CHUNK):
                n = min(CHUNK, size - at) // 60 * 60
                local = np.repeat(rng.beta(6, 9, n // 500 + 1), 500)[:n].astype(np.float32)
                strong = rng.random(n, dtype=np.float32) < local
                second = rng.integers(0, 2, n, dtype=np.uint8)
                letters = np.where(strong, np.where(second, ord("C"), ord("G")), np.where(second, ord("A"), ord("T")))
                letters = (letters + 32 * np.repeat(rng.random(n // 400 + 1) < 0.5, 400)[:n]).astype(np.uint8)
                if at == 0:
                    letters[:10_000] = ord("N")
                lines = np.full((n // 60, 61), ord("\n"), dtype=np.uint8)
                lines[:, :60] = letters.reshape(-1, 60)
                file.write(lines.tobytes())
                middle = np.sort(rng.choice(n // 500, round(share * n * 4), replace=True)) * 500 + 250
                dense = local[middle]
                kept = middle[rng.random(len(middle)) < dense * 0.25 / 0.4]
                rows += [(f"chr{number}", at + m - 150, at + m + 150) for m in kept.tolist() if at + m > 11_000]
    with (folder / "p.bed").open("w") as file:
        for chrom, start, end in rows:
            file.write(f"{chrom}\t{start}\t{end}\t.\t{rng.integers(1, 1000)}\t.\n")


def measure(side: str, folder: Path) -> dict[str, Any]:
    """Run one side in this process."""
    if side == "tangermeme":
        import pandas
        from tangermeme.match import extract_matching_loci

        table = pandas.read_csv(folder / "p.bed", sep="\t", header=None, usecols=[0, 1, 2])
        table[1], table[2] = table[1] + 50, table[1] + 50 + LENGTH
        started, cpu = time.perf_counter(), time.process_time()
        found = extract_matching_loci(table, str(folder / "g.fa"), in_window=LENGTH, random_state=0)
        spent = time.perf_counter() - started, time.process_time() - cpu
        positives = list(table.itertuples(index=False, name=None))
        negatives = list(found.iloc[:, :3].itertuples(index=False, name=None))
    else:
        from tuner.data.registry import load_dataset
        from tuner.data.spec import DataSpec

        started, cpu = time.perf_counter(), time.process_time()
        spec = DataSpec(peaks=str(folder / "p.bed"), genome=str(folder / "g.fa"), negatives=side, length=LENGTH)
        dataset = load_dataset(spec, cache=folder / f"cache-{side}")
        spent = time.perf_counter() - started, time.process_time() - cpu
        positives, negatives = [], []
        for split in dataset.splits.values():
            for name, label in zip(split.ids or (), split.labels[:, 0].tolist(), strict=True):
                chrom, _, rest = name[:-3].partition(":")
                start, _, end = rest.partition("-")
                (positives if label else negatives).append((chrom, int(start), int(end)))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {
        "seconds": spent[0],
        "cpu_seconds": spent[1],
        "memory_gb": memory,
        "positives": len(positives),
        "negatives": len(negatives),
        **judged(folder, positives, negatives),
    }


def judged(folder: Path, positives: list[Any], negatives: list[Any]) -> dict[str, float]:
    """Compare the classes, with another reader of the genome."""
    import pyfaidx
    from sklearn.metrics import roc_auc_score

    genome = pyfaidx.Fasta(str(folder / "g.fa"), as_raw=True, sequence_always_upper=True)
    rng = np.random.default_rng(0)
    sample = [[rows[i] for i in rng.permutation(len(rows))[:5000]] for rows in (positives, negatives)]
    gc = [[sum(map(genome[c][s:e].count, "GC")) / (e - s) for c, s, e in rows] for rows in sample]
    labels = [1] * len(gc[0]) + [0] * len(gc[1])
    starts: dict[str, np.ndarray] = {}
    for chrom in {row[0] for row in positives}:
        starts[chrom] = np.sort([row[1] for row in positives if row[0] == chrom])
    near = 0
    for chrom, start, end in negatives:
        known = starts.get(chrom, np.zeros(0))
        near += int(np.searchsorted(known, end) > np.searchsorted(known, start - LENGTH, side="right"))
    return {"gc_auroc": float(roc_auc_score(labels, gc[0] + gc[1])), "overlapping": near}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabases", type=int, default=100)
    parser.add_argument("--peaks", type=int, default=5000)
    parser.add_argument("--folder", type=Path, help="where the genome is made; a temporary folder by default")
    parser.add_argument("--alone", action="store_true", help="leave tangermeme out")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        print(json.dumps(measure(given.side, given.folder)))
        return
    folder = Path(tempfile.mkdtemp(dir=given.folder))
    try:
        make(folder, given.megabases, given.peaks)
        found = {}
        print(f"{given.megabases} Mb, {sum(1 for _ in (folder / 'p.bed').open())} peaks, windows of {LENGTH} bp")
        for side in ("gc", "gc+cpg", *(() if given.alone else ("tangermeme",))):
            command = [sys.executable, __file__, "--side", side, "--folder", str(folder)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            row = found[side] = json.loads(done.stdout.splitlines()[-1])
            print(
                f"{side:12} {row['seconds']:7.1f} s, CPU {row['cpu_seconds']:6.1f} s, {row['memory_gb']:.2f} GB; "
                f"{row['negatives']} negatives for {row['positives']} positives, GC AUROC {row['gc_auroc']:.3f}, "
                f"{row['overlapping']} overlap a positive window",
                flush=True,
            )
        if given.json:
            given.json.write_text(json.dumps({"megabases": given.megabases, "sides": found}, indent=1))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
