"""Claim: a power cut costs epochs, and no file that the database names.

    sudo python benchmarks/power_cut.py
    sudo python benchmarks/power_cut.py --cuts 20
    python benchmarks/power_cut.py --cost

Runs a small study on a separate ext4 file system, in an image on a loop device, and shuts that file system down hard at
a random moment (EXT4_IOC_SHUTDOWN without flushing the journal, so everything that has not been synced is lost). Then
it mounts the file system again, compares the files that the database names with those that exist, runs `tuner verify`,
lets the study continue, and cuts again.

It needs root, mkfs.ext4 and losetup. ``--cost`` measures the cost of syncing instead and needs none of these.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import random
import sqlite3
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from tuner.models.checkpoint import Checkpoint, write_checkpoint
from tuner.storage.stores import FolderStore

SHUTDOWN, WITHOUT_FLUSH = 0x8004587D, 2  # _IOR('X', 125, __u32), EXT4_GOING_FLAGS_NOLOGFLUSH
TRIALS_A_CUT = 30  # more than two workers end between two cuts
STUDY = """name = "cut"
space = "./cut_space.toml"
[data]
positives = "positives.fa"
negatives = "negatives.fa"
[motifs]
database = "motifs.meme"
[training]
epochs = 4
[search]
trials = {trials}
[confirmation]
candidates = 1
seeds = 1
"""
SPACE = """architecture = { fixed = "cnn" }
n_blocks = { fixed = 1 }
filters = { fixed = 8 }
kernel_size = { low = 7, high = 11 }
activation = { choices = ["relu", "exponential"] }
"""


def write_study(folder: Path, trials: int) -> None:
    rng, planted = random.Random(0), "GGGAAACTGA"
    for name in ("positives", "negatives"):
        records = []
        for i in range(300):
            sequence = "".join(rng.choices("ACGT", k=80))
            at = rng.randrange(70)
            records.append(
                f">{name}{i}\n{sequence[:at] + planted + sequence[at + 10 :] if name == 'positives' else sequence}\n"
            )
        (folder / f"{name}.fa").write_text("".join(records))
    rows = "\n".join(" ".join(".85" if letter == base else ".05" for base in "ACGT") for letter in planted)
    head = "MEME version 4\n\nALPHABET= ACGT\n\nMOTIF M0 planted\nletter-probability matrix: "
    (folder / "motifs.meme").write_text(f"{head}alength= 4 w= 10 nsites= 50 E= 0\n{rows}\n")
    (folder / "cut_space.toml").write_text(SPACE)
    (folder / "cut.toml").write_text(STUDY.format(trials=trials))


def tuner(*words: str, folder: Path, runs: Path) -> subprocess.Popen[str]:
    where = ["--storage", str(runs / "tuner.db"), "--artifacts", str(runs / "artifacts")]
    return subprocess.Popen(
        [sys.executable, "-m", "tuner", *words, *where],
        cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


def cut(mount: Path) -> None:
    """Shut the file system at `mount` down hard, after checking that it is the one on the loop device."""
    device = os.stat(mount).st_dev
    loop = f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/loop"
    if device == os.stat(mount.parent).st_dev or not os.path.isdir(loop):
        sys.exit(f"{mount} is not the file system of a loop device; it is left alone")
    handle = os.open(mount, os.O_RDONLY)
    try:
        fcntl.ioctl(handle, SHUTDOWN, struct.pack("I", WITHOUT_FLUSH))
    finally:
        os.close(handle)


def unmount(mount: Path) -> None:
    """Unmount, after giving killed processes time to close their files."""
    for _ in range(30):
        if subprocess.run(["umount", str(mount)], check=False, capture_output=True).returncode == 0:
            return
        time.sleep(1)
    sys.exit(f"{mount} is still in use")


def named(database: Path) -> tuple[int, list[str]]:
    """Return the completed trials, and the ids of the files that trials and studies name."""
    connection = sqlite3.connect(database)
    try:
        keys = "key LIKE 'artifacts:%'"
        rows = connection.execute(
            f"SELECT key FROM trial_system_attributes WHERE {keys} "
            f"UNION SELECT key FROM study_system_attributes WHERE {keys}"
        ).fetchall()
        [(complete,)] = connection.execute("SELECT count(*) FROM trials WHERE state = 'COMPLETE'").fetchall()
    finally:
        connection.close()
    return complete, [key.removeprefix("artifacts:") for (key,) in rows]


def run_cuts(cuts: int, seed: int, within: tuple[float, float]) -> bool:
    rng = random.Random(seed)
    wrong = 0
    print("cut\tseconds\tcomplete\tfiles named\tmissing or empty\tverify")
    with tempfile.TemporaryDirectory() as scratch:
        folder, image, mount = Path(scratch), Path(scratch) / "disk.img", Path(scratch) / "disk"
        write_study(folder, trials=TRIALS_A_CUT * (cuts + 1))
        mount.mkdir()
        # The kernel that matches motifs is compiled once per machine, before a run creates its database.
        subprocess.run(
            [sys.executable, "-m", "tuner", "match", "motifs.meme", "--targets", "motifs.meme"],
            cwd=folder, check=True, capture_output=True,
        )  # fmt: skip
        with image.open("wb") as file:
            file.truncate(512 << 20)
        subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
        for i in range(cuts + 1):
            subprocess.run(["mount", "-o", "loop", str(image), str(mount)], check=True)
            try:
                wrong += one_round(folder, mount, i, i < cuts, rng, within)
            finally:
                unmount(mount)
    print("wrong" if wrong else "no file that the database names was lost", file=sys.stderr)
    return wrong == 0


def one_round(folder: Path, mount: Path, i: int, cuts: bool, rng: random.Random, within: tuple[float, float]) -> int:
    """Check what the last cut left, then let the study continue until the next cut or its end."""
    runs, wrong, complete = mount / "runs", 0, 0
    if (runs / "tuner.db").is_file():
        complete, names = named(runs / "tuner.db")
        paths = [runs / "artifacts" / name for name in names]
        lost = sum(not p.is_file() or p.stat().st_size == 0 for p in paths)
        check = tuner("verify", "--name", "cut", folder=folder, runs=runs) if names else None
        said = "" if check is None else check.communicate()[0]
        code = None if check is None else check.returncode
        print(f"{i}\t\t{complete}\t{len(names)}\t{lost}\t{code}", flush=True)
        wrong += lost + bool(code)
        if code:
            print(said, file=sys.stderr)
    seconds = rng.uniform(*within)
    running = tuner("run", "--study", "./cut.toml", "--workers", "2", "--no-confirm", folder=folder, runs=runs)
    if cuts:
        wait_for(runs / "tuner.db", complete + 1, running)
        time.sleep(seconds)
        cut(mount)
        os.killpg(running.pid, 9)
        running.wait()
        time.sleep(1)  # its workers are in the group; their files are closed once they have ended
        print(f"{i + 1}\t{seconds:.1f}", flush=True)
        return wrong
    said = running.communicate()[0]
    check = tuner("verify", "--name", "cut", folder=folder, runs=runs)
    print(f"the end: run exits {running.returncode}, verify: {check.communicate()[0].strip()}")
    return wrong + bool(running.returncode) + bool(check.returncode)


def wait_for(database: Path, complete: int, running: subprocess.Popen[str]) -> None:
    """Wait until this number of trials is complete."""
    while running.poll() is None:
        try:
            if database.is_file() and named(database)[0] >= complete:
                return
        except sqlite3.OperationalError:  # its tables are being created
            pass
        time.sleep(0.2)
    sys.exit(f"the run ended before {complete} trials were complete: {running.communicate()[0]}")


def median_ms(work: Callable[[], object], times: int) -> float:
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        taken.append(1e3 * (time.perf_counter() - started))
    return statistics.median(taken)


def measure_cost() -> None:
    """Time each kind of write with and without syncing, alternating."""
    fsync = os.fsync
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as scratch:
        folder = Path(scratch)
        tensors = {f"model/{i}": torch.randn(100, 1000) for i in range(5)}  # 2 MB: weights, best, moments
        state = Checkpoint({"history": [[0.5] * 10] * 20}, tensors)
        store = FolderStore(folder / "artifacts")
        files = {f"file{i}": os.urandom(500_000 if i == 0 else 20_000) for i in range(7)}

        def put() -> None:
            for key, content in files.items():
                with (folder / "source").open("wb") as source:
                    source.write(content)
                with (folder / "source").open("rb") as source:
                    store.write(key, source)

        kinds: dict[str, Callable[[], object]] = {
            "checkpoint of an epoch (2 MB)": lambda: write_checkpoint(folder / "c" / "checkpoint", state, "digest"),
            "7 files of a trial (0.6 MB)": put,
        }
        found: dict[str, dict[str, float]] = {}
        for _ in range(3):
            for kind, work in kinds.items():
                for mode, call in (("forced out", fsync), ("not", lambda _: None)):
                    os.fsync = call
                    found.setdefault(kind, {})[mode] = median_ms(work, 20)
        os.fsync = fsync
        for mode in ("FULL", "NORMAL"):
            connection = sqlite3.connect(folder / f"{mode}.db", isolation_level=None)
            connection.execute("PRAGMA journal_mode = wal")
            connection.execute(f"PRAGMA synchronous = {mode}")
            connection.execute("CREATE TABLE t (a)")
            kind = "commit of SQLite (FULL: forced out; NORMAL: not)"
            one = median_ms(partial(connection.execute, "INSERT INTO t VALUES (1)"), 200)
            found.setdefault(kind, {})["forced out" if mode == "FULL" else "not"] = one
            connection.close()
    print("what\tforced out, ms\tnot, ms")
    for kind, of in found.items():
        print(f"{kind}\t{of['forced out']:.2f}\t{of['not']:.2f}")
    print(json.dumps(found), file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cuts", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--within", type=float, nargs=2, default=(0.0, 5.0), help="seconds from the next completed trial to the cut"
    )
    parser.add_argument("--cost", action="store_true", help="measure the cost of syncing files")
    options = parser.parse_args()
    if options.cost:
        measure_cost()
    elif not run_cuts(options.cuts, options.seed, tuple(options.within)):
        sys.exit(1)


if __name__ == "__main__":
    main()
