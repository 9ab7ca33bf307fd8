"""Measures what a study of 5,000 trials costs its readers: CPU seconds and memory of status, best, show and report.

A few trials are really searched (default space, 400 sequences of 60 bp). Then the rows of those trials are copied in
the database, with other values and other numeric parameters, until there are as many trials as requested; tables,
attributes and file entries are those of finished trials. Each command runs in a separate process; seconds are user +
system time, and memory is the largest resident set size. With --tree PATH the same commands also run from another
checkout of this package, on the same study, one after another.

    python benchmarks/large_study.py --trials 5000 [--tree ../old] [--commands status,best]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import numpy as np

STUDY = """name = "large"
[data]
positives = "positives.fa"
negatives = "negatives.fa"
[confirmation]
candidates = 1
seeds = 1
shuffled = 0
[search]
trials = 4
startup = 2
[training]
epochs = 1
"""
COMMANDS = {
    "version": ["--version"],
    "status": ["status"],
    "status --json": ["status", "--json"],
    "best": ["best"],
    "best --json": ["best", "--json"],
    "show": ["show", "--trial", "17"],
    "report": [
        "report",
        "--most",
        "1",
        "--modisco",
        "none",
        "--references",
        "2",
        "--threads",
        "1",
        "--sequences",
        "20",
    ],
}
HERE = Path(__file__).resolve().parents[1]


def write_data(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for name, motif in (("positives", "GGGAAACTGA"), ("negatives", "")):
        lines = []
        for i in range(200):
            s = "".join(rng.choice(list("ACGT"), 60))
            lines.append(f">{name}{i}\n{s[:25]}{motif}{s[25 + len(motif) :]}\n")
        (folder / f"{name}.fa").write_text("".join(lines))
    (folder / "large.toml").write_text(STUDY)


def multiply(database: Path, study: str, total: int) -> None:
    """Copy completed trials with all their rows until the study has `total`; values and parameters vary."""
    rng = np.random.default_rng(1)
    with sqlite3.connect(database) as db:
        study_id = db.execute("SELECT study_id FROM studies WHERE study_name = ?", [study]).fetchone()[0]
        have = db.execute("SELECT count(*) FROM trials WHERE study_id = ?", [study_id]).fetchone()[0]
        of_trial = "SELECT trial_id FROM trials WHERE study_id = ? AND state = 'COMPLETE'"
        models = [row[0] for row in db.execute(of_trial, [study_id])]
        next_id = db.execute("SELECT max(trial_id) + 1 FROM trials").fetchone()[0]
        copied = {
            "trial_user_attributes": "key, value_json",
            "trial_system_attributes": "key, value_json",
            "trial_params": "param_name, param_value, distribution_json",
            "trial_values": "objective, value, value_type",
        }
        for number in range(have, total):
            model, trial_id = models[number % len(models)], next_id + number
            db.execute(
                "INSERT INTO trials (trial_id, number, study_id, state, datetime_start, datetime_complete) "
                "SELECT ?, ?, study_id, state, datetime_start, datetime_complete FROM trials WHERE trial_id = ?",
                [trial_id, number, model],
            )
            for table, columns in copied.items():
                db.execute(
                    f"INSERT INTO {table} (trial_id, {columns}) SELECT ?, {columns} FROM {table} WHERE trial_id = ?",
                    [trial_id, model],
                )
            low = float(rng.uniform(0.05, 0.5))  # worse than the original trials, which stay the reported ones
            db.execute("UPDATE trial_values SET value = value * ? WHERE trial_id = ?", [1 - low, trial_id])
            for key, distribution in db.execute(
                "SELECT param_name, distribution_json FROM trial_params WHERE trial_id = ?", [trial_id]
            ).fetchall():
                attributes = json.loads(distribution)["attributes"]
                if isinstance(attributes.get("low"), float) and not attributes.get("step"):
                    value = float(rng.uniform(attributes["low"], attributes["high"]))
                    db.execute(
                        "UPDATE trial_params SET param_value = ? WHERE trial_id = ? AND param_name = ?",
                        [value, trial_id, key],
                    )
            db.execute(
                "INSERT INTO tuner_attempts "
                "(trial_id, attempt, token, worker, host, pid, process_start, started, beat, "
                "suggested, ended, outcome) SELECT ?, attempt, ?, worker, host, pid, process_start, started, beat, "
                "suggested, ended, outcome FROM tuner_attempts WHERE trial_id = ? AND attempt = 1",
                [trial_id, str(uuid.uuid4()), model],
            )
        db.execute("UPDATE tuner_studies SET budget = ? WHERE study_id = ?", [total, study_id])
    db.close()


def run(tree: Path, words: list[str], folder: Path) -> tuple[int, float, float, str]:
    """Run a command of a checkout; return exit code, CPU seconds, megabytes and its last line of output."""
    before = os.times()
    process = subprocess.Popen(
        [sys.executable, "-m", "tuner.cli", *words], cwd=folder, env={**os.environ, "PYTHONPATH": str(tree)},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    after = os.times()
    assert after.elapsed >= before.elapsed
    last = (said.strip().splitlines() or [""])[-1]
    return process.returncode, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, last


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=5000)
    parser.add_argument("--tree", type=Path, action="append", default=[], help="another checkout to compare with")
    parser.add_argument("--commands", default=",".join(COMMANDS))
    parser.add_argument("--folder", type=Path, help="keep the study in this folder, and use it if it is already there")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="large-study-"))
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "runs" / "tuner.db").exists():
        write_data(folder)
        code, *_, last = run(HERE, ["run", "--study", "./large.toml", "--workers", "1"], folder)
        if code:
            raise SystemExit(f"the study could not be made: {last}")
        started = time.monotonic()
        multiply(folder / "runs" / "tuner.db", "large", given.trials)
        print(f"{given.trials} trials in {time.monotonic() - started:.0f} s")
    print(f"{'command':<16}{'checkout':<28}{'exit':>5}{'CPU s':>8}{'MB':>7}  last line")
    for name in given.commands.split(","):
        for tree in (HERE, *given.tree):
            shutil.rmtree(folder / "runs" / "reports", ignore_errors=True)
            code, seconds, size, last = run(tree.resolve(), COMMANDS[name], folder)
            print(f"{name:<16}{str(tree)[-26:]:<28}{code:>5}{seconds:>8.2f}{size:>7.0f}  {last[:110]}", flush=True)
    if given.folder is None:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
