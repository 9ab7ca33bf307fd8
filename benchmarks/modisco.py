"""Claim: TF-MoDISco at our preset finds the patterns that its own defaults find, in a fraction of the time.

    python benchmarks/modisco.py runs/reports/irf1/trial-16/contributions.npz --json modisco.json

Both sides run TF-MoDISco on the same contributions of a finished report, alternating, each in a separate process with
one thread. Prints CPU seconds and their ratio and, for every pattern of either side, the nearest pattern of the other
side: the cosine of the two contribution weight matrices at their best alignment (offset and strand), padded with zeros.
A low cosine means that the other side lacks the pattern.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tuner.genome.sequence import N_CODE
from tuner.interpret.modisco import PRESETS, WORKER


class Found(NamedTuple):
    """One pattern: name, number of seqlets, contributions, shape=(4, width)."""

    name: str
    seqlets: int
    cwm: np.ndarray


def find(source: Path, folder: Path, settings: Mapping[str, Any]) -> tuple[float, list[Found]]:
    """Return the CPU seconds of one run, and its patterns."""
    arrays = folder / "patterns.npz"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    files = (str(source), str(folder / "modisco.h5"), str(arrays))
    subprocess.run([sys.executable, "-P", str(WORKER), *files, json.dumps(dict(settings))], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    with np.load(arrays, allow_pickle=False) as stored:
        names = [key.removesuffix(".cwm") for key in stored.files if key.endswith(".cwm") and "hypo" not in key]
        found = [Found(name, int(stored[f"{name}.seqlets"]), stored[f"{name}.cwm"]) for name in names]
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, found


def similarity(a: np.ndarray, b: np.ndarray) -> float:
    """Return the highest cosine of two matrices over offsets and strands."""
    best, room = -1.0, a.shape[1]
    wide = np.pad(a, ((0, 0), (b.shape[1], b.shape[1])))
    scale = float(np.linalg.norm(a) * np.linalg.norm(b)) or 1.0
    for other in (b, b[::-1, ::-1]):
        for start in range(room + b.shape[1] + 1):
            best = max(best, float((wide[:, start : start + b.shape[1]] * other).sum()) / scale)
    return best


def nearest(ours: list[Found], theirs: list[Found]) -> list[dict[str, Any]]:
    """Find for each pattern the most similar one of the other side with the same sign."""
    rows = []
    for one in ours:
        same = [other for other in theirs if other.name[:3] == one.name[:3]]
        best = max(((similarity(one.cwm, other.cwm), other) for other in same), key=lambda pair: pair[0], default=None)
        rows.append(
            {
                "pattern": one.name, "seqlets": one.seqlets, "nearest": best[1].name if best else "none",
                "its seqlets": best[1].seqlets if best else 0, "similarity": round(best[0], 3) if best else 0.0,
            }
        )  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "contributions",
        type=Path,
        nargs="?",
        help="contributions of a report [default: those of the first trial in runs/reports/irf1]",
    )
    parser.add_argument("--preset", default="default", choices=PRESETS)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = sorted(Path("runs/reports/irf1").glob("trial-*/contributions.npz"))
    source = options.contributions or (found[0] if found else None)
    if source is None:
        sys.exit("no report here: tuner run --study irf1, then tuner report --study irf1; or name a contributions.npz")
    sides: dict[str, Mapping[str, Any]] = {"library": {}, options.preset: PRESETS[options.preset]}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    patterns: dict[str, list[Found]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with np.load(source, allow_pickle=False) as stored:
            one_hot, hypothetical = stored["one_hot"], stored["hypothetical"]
        codes = np.where(one_hot.any(axis=1), one_hot.argmax(axis=1), N_CODE).astype(np.uint8)
        np.savez(folder / "input.npz", codes=codes, hypothetical=hypothetical)
        find(folder / "input.npz", folder, PRESETS["fast"])  # not counted: numba compiles here
        for _ in range(options.rounds):
            for side, settings in sides.items():
                took, patterns[side] = find(folder / "input.npz", folder, settings)
                seconds[side].append(took)
                print(f"{side}: {took:.1f} s, {len(patterns[side])} patterns", flush=True)
    ratio = statistics.median(seconds["library"]) / statistics.median(seconds[options.preset])
    print(f"{options.preset} takes 1 / {ratio:.1f} of the CPU time, {len(codes)} sequences of {codes.shape[1]} bp")
    tables = {
        f"{one} in {other}": nearest(patterns[one], patterns[other])
        for one, other in (("library", options.preset), (options.preset, "library"))
    }
    for title, rows in tables.items():
        print(title)
        for row in rows:
            print("  " + "  ".join(f"{key} {value}" for key, value in row.items()))
    if options.json:
        options.json.write_text(json.dumps({"seconds": seconds, "ratio": ratio, **tables}, indent=1) + "\n")


if __name__ == "__main__":
    main()
