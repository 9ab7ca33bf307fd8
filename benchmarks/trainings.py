"""A table of trainings, from which searches, stopping rules, portfolios and ensembles are compared by replay.

    python benchmarks/trainings.py run --trials 150      random settings on each data set; hours, resumable
    python benchmarks/trainings.py export                one file per data set, in runs/trainings/table
    python benchmarks/trainings.py show                  what the table holds

Every row is a random point of `trainings_space.toml`, trained for 32 epochs on at most 4,000 sequences of a set of the
league (`league_sets.py`) and measured with all objectives at five rungs and at the end; nothing is stopped. The trials
are those of ordinary studies (sampler random, no confirmation), so `run` may be killed and started again, and several
at once, on one machine or on several with one storage, share the work. The sets take turns, twenty trials at a time:
an unfinished table holds as many of each.

`export` predicts the validation and test sequences with each network and writes, per set, an .npz: `params` (JSON, one
object a trial), `seconds`, `warm_start`, `values` (trials x objectives, named by `objectives`), `rungs` (trials x rungs
x objectives), `curves` (trials x epochs x columns, named by `columns`), `valid_logits` and `test_logits` (trials x
sequences x tasks, float16), `valid_labels` and `test_labels`. The test scores serve to compare methods over data sets;
no setting is chosen by them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from league_sets import SETS, small
from optuna.trial import FrozenTrial, TrialState

from tuner.cli.worker import one_thread
from tuner.data.registry import load_dataset
from tuner.models.metrics import auroc
from tuner.models.prediction import predict
from tuner.results.leaderboard import stage_trials
from tuner.results.trial_files import stored_network
from tuner.storage.artifacts import Artifacts
from tuner.storage.storage import FencedStorage, open_storage
from tuner.study.file import read_study

CHOSEN = ("zbed2", "irf1", "gue_mouse_3", "gue_mouse_0", "gue_tf_2", "rest", "sp1", "reb1", "nfe2", "ctcfl")
TRAIN, VALID = 4000, 1000
EPOCHS = 32
RUNGS = (2, 4, 8, 12, 16)
OBJECTIVES = ("auroc", "match_score")
TURN = 20
SEARCH = f"""
[training]
epochs = {EPOCHS}
patience = {EPOCHS}

[search]
sampler = "random"
stopping = {{ rungs = {list(RUNGS)}, eta = 1.0001, minimum = 1 }}
"""


def study_file(name: str, folder: Path) -> Path:
    """Write data and study of a set."""
    path = small(name, folder, train=TRAIN, valid=VALID)
    shutil.copyfile(Path(__file__).with_name("trainings_space.toml"), folder / "trainings_space.toml")
    head, rest = path.read_text().split("\n", 1)
    objectives = json.dumps(list(OBJECTIVES))
    path.write_text(f'{head}\nspace = "trainings_space"\nobjectives = {objectives}\n{rest}{SEARCH}')
    return path


def run(options: argparse.Namespace) -> None:
    """Bring every study to its number of trials, in turns."""
    storage = options.out / "trainings.db"
    for turn in range(TURN, options.trials + TURN, TURN):
        for name in options.sets:
            total = min(turn, options.trials)
            if storage.exists() and _trials(open_storage(str(storage)), name, every=True) >= total:
                continue
            command = [
                sys.executable, "-m", "tuner", "run", "--study", str(study_file(name, options.out)), "--trials",
                str(total), "--no-confirm", "--workers", str(options.workers), "--storage", str(storage),
                "--artifacts", str(options.out / "artifacts"),
            ]  # fmt: skip
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _trials(storage: FencedStorage, name: str, *, every: bool = False) -> int:
    try:
        trials = stage_trials(storage, name)
    except KeyError:
        return 0
    return sum(every or trial.state == TrialState.COMPLETE for trial in trials if trial.state.is_finished())


def export(options: argparse.Namespace) -> None:
    """Write the table of each set."""
    one_thread()
    storage = open_storage(str(options.out / "trainings.db"))
    artifacts = Artifacts(options.out / "artifacts")
    (options.out / "table").mkdir(exist_ok=True)
    for name in options.sets:
        if not _trials(storage, name):
            continue
        file = options.out / "table" / f"{name}.npz"
        write_table(file, name, storage, artifacts, options.out)
        print(f"{file}: {_trials(storage, name)} trainings", flush=True)


def write_table(file: Path, name: str, storage: FencedStorage, artifacts: Artifacts, folder: Path) -> None:
    study = read_study(folder / f"{name}.toml")
    dataset = load_dataset(study.data, data_dir=Path(os.environ["TUNER_DATA_DIR"]), base=folder)
    trials = [trial for trial in stage_trials(storage, name) if trial.state == TrialState.COMPLETE]
    known = dict(np.load(file)) if file.exists() else {}
    done = {int(number): i for i, number in enumerate(known.get("numbers", ()))}
    rungs = _rungs(storage, name)
    names = sorted(key for key in trials[0].user_attrs if _is_number(trials[0], key))
    columns: list[str] = []
    curves, logits = [], {"valid": [], "test": []}
    for trial in trials:
        columns, curve = _curve(artifacts, trial)
        curves.append(curve)
        if trial.number in done:
            for split, rows in logits.items():
                rows.append(known[f"{split}_logits"][done[trial.number]])
            continue
        network, both = stored_network(artifacts, trial)
        for split, rows in logits.items():
            codes = dataset.splits[split].codes  # type: ignore[index]
            rows.append(predict(network, codes, average_strands=both).astype(np.float16))
    part = file.with_suffix(".part.npz")
    np.savez_compressed(
        part, allow_pickle=False,
        numbers=np.array([trial.number for trial in trials]),
        params=np.array([json.dumps(trial.params) for trial in trials]),
        seconds=np.array([trial.user_attrs["seconds"] for trial in trials], dtype=float),
        warm_start=np.array(["warm_start" in trial.user_attrs for trial in trials]),
        objectives=np.array(names),
        values=np.array([[_value(trial, key) for key in names] for trial in trials]),
        rung_epochs=np.array(RUNGS), rung_objectives=np.array(OBJECTIVES),
        rungs=np.array([
            [[rungs.get(t.number, {}).get(e, {}).get(o, np.nan) for o in OBJECTIVES] for e in RUNGS] for t in trials
        ]),
        columns=np.array(columns), curves=np.array(curves),
        valid_labels=dataset.valid.labels, test_labels=dataset.test.labels,
        **{f"{split}_logits": np.stack(rows) for split, rows in logits.items()},
    )  # fmt: skip
    part.replace(file)


def _is_number(trial: FrozenTrial, key: str) -> bool:
    value = trial.user_attrs[key]
    return isinstance(value, int | float) and not isinstance(value, bool) and key not in ("seed", "seconds")


def _value(trial: FrozenTrial, key: str) -> float:
    value = trial.user_attrs.get(key)
    return float(value) if isinstance(value, int | float) else np.nan


def _rungs(storage: FencedStorage, name: str) -> dict[int, dict[int, dict[str, float]]]:
    found: dict[int, dict[int, dict[str, float]]] = {}
    for entry in storage.rung_log(storage.get_study_id_from_name(name)):
        found.setdefault(entry.trial, {})[entry.rung] = dict(entry.values)
    return found


def _curve(artifacts: Artifacts, trial: FrozenTrial) -> tuple[list[str], Any]:
    """Columns of the history, and its rows; epochs after an end are NaN."""
    header, *lines = artifacts.get(trial, "history.tsv").decode().splitlines()
    columns = header.split("\t")
    rows = np.full((EPOCHS, len(columns)), np.nan)
    for i, line in enumerate(lines):
        rows[i] = [float(cell) if cell else np.nan for cell in line.split("\t")]
    return columns, rows


def show(options: argparse.Namespace) -> None:
    """Print, for each set, how many trainings there are, and the best validation and test AUROC."""
    print(f"{'set':14} {'trainings':>9} {'hours':>6} {'median':>7} {'best':>7} {'its test':>8}")
    for file in sorted((options.out / "table").glob("*.npz")):
        if file.name.endswith(".part.npz"):
            continue
        table = np.load(file)
        valid = table["values"][:, table["objectives"].tolist().index("auroc")]
        best = int(np.argmax(valid))
        test = auroc(table["test_labels"], table["test_logits"][best].astype(float))
        hours = table["seconds"].sum() / 3600
        print(f"{file.stem:14} {len(valid):9} {hours:6.2f} {np.median(valid):7.4f} {valid[best]:7.4f} {test:8.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("run", "export", "show"))
    parser.add_argument("--out", type=Path, default=Path("runs/trainings"))
    parser.add_argument("--sets", nargs="+", choices=tuple(SETS), default=list(CHOSEN), metavar="SET")
    parser.add_argument("--trials", type=int, default=150)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    options.out = options.out.absolute()
    options.out.mkdir(parents=True, exist_ok=True)
    {"run": run, "export": export, "show": show}[options.command](options)


if __name__ == "__main__":
    main()
