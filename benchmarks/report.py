"""Claim: the report of one model of 400 bp sequences is made within 3 minutes on 2 cores, in less than 3 GB.

    python benchmarks/report.py --study irf1 --storage runs/tuner.db --artifacts runs/artifacts

Runs `tuner report` on a finished study with the default settings but for one model, computing every stage (with a new
cache folder), and then again with every stage cached. Prints for each run wall time, CPU time and the peak memory of
the largest process, and the seconds of every stage. The first run opens the test split of that study if no report has
opened it before.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np


def measure(command: list[str]) -> dict[str, Any]:
    """Measure wall and CPU seconds of a command; `peak` is the largest memory of any child so far, in GB."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "wall": time.monotonic() - start,
        "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "peak": after.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9,
        "log": done.stderr,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", default="irf1")
    parser.add_argument("--storage", default="runs/tuner.db")
    parser.add_argument("--artifacts", default="runs/artifacts")
    parser.add_argument("--threads", default="2")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "-m", "tuner", "report", "--study", options.study, "--storage", options.storage,
            "--artifacts", options.artifacts, "--most", "1", "--threads", options.threads, "--out", folder,
        ]  # fmt: skip
        first, again = measure(command), measure(command)
        content = np.load(next(Path(folder).glob("trial-*/contributions.npz")))
        shapes = {key: content[key].shape for key in content.files}
        page = (Path(folder) / "report.html").stat().st_size / 1e6
    print(first["log"])
    print(f"{options.study} on {platform.processor() or platform.machine()}, {options.threads} threads; {shapes}")
    for label, seen in (("every stage", first), ("again", again)):
        print(f"{label:12} wall {seen['wall']:6.1f} s   CPU {seen['cpu']:6.1f} s   peak {seen['peak']:.2f} GB")
    print(f"page {page:.1f} MB; claim: wall <= 180 s, peak < 3 GB")
    if options.json:
        keep = {
            k: {key: v for key, v in seen.items() if key != "log"} for k, seen in (("first", first), ("again", again))
        }
        options.json.write_text(json.dumps({**keep, "page_mb": page}, indent=1))


if __name__ == "__main__":
    main()
