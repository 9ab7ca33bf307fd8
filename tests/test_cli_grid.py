"""A grid from the command line: parts, table, figure."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pytest
from command_line import SPACE, STUDY, Terminal, write_tiny_study
from sklearn.metrics import average_precision_score, roc_auc_score

from tuner.data.registry import load_dataset
from tuner.data.spec import DataSpec
from tuner.models.training import predict
from tuner.results.leaderboard import stage_trials
from tuner.results.test_split import openings
from tuner.results.trial_files import DESCRIPTION, WEIGHTS, load_network
from tuner.storage.artifacts import Artifacts
from tuner.storage.storage import open_storage

pytestmark = pytest.mark.slow


def grid_study() -> str:
    """The tiny study with its space listed in the file, as a grid."""
    text = STUDY.replace('space = "./tiny_space.toml"\n', "").replace("candidates = 1", "candidates = 0")
    listed = SPACE.replace("[architecture]", "[parameters.architecture]")
    for name in ("activation", "filters", "kernel_size", "n_blocks", "dense_units"):
        listed = listed.replace(f"\n[{name}]", f"\n[parameters.{name}]")
    return text.replace("trials = 2", 'sampler = "grid"\nreplicates = 2') + listed


@pytest.fixture
def terminal(terminal: Terminal) -> Terminal:
    write_tiny_study(terminal.folder).write_text(grid_study())
    return terminal


def test_parts_of_a_grid_are_run_tabulated_and_drawn(terminal: Terminal) -> None:
    first = terminal("run", "--study", "tiny.toml", "--only", "kernel_size=7", "--seeds", "1", "--workers", "2")
    assert first.code == 0, first.err
    assert "expected 2 trainings" in first.err
    assert "search 2/2" in first.err
    second = terminal("run", "--study", "tiny.toml", "--only", "kernel_size=7,9", "--only", "activation=relu")
    assert second.code == 0, second.err
    assert "resuming: 2 of 5 trials have ended already" in second.err

    answer = terminal("table", "--study", "tiny", "--out", "t.tsv", "--figure", "t.svg", "--json")
    table = pd.read_csv(io.StringIO((terminal.folder / "t.tsv").read_text()), sep="\t")
    assert len(table) == 5
    assert set(table["state"]) == {"COMPLETE"}
    assert answer.json["by"] == ["activation", "kernel_size"]
    medians = table.groupby(["activation", "kernel_size"])["auroc"].median()
    for group in answer.json["groups"]["auroc"]:
        assert group["median"] == pytest.approx(medians[group["activation"], group["kernel_size"]], abs=1e-12)
    assert (terminal.folder / "t.svg").read_text().lstrip().startswith("<?xml")
    assert terminal("table", "--study", "tiny", "--history", "h.tsv").code == 0
    epochs = pd.read_csv(terminal.folder / "h.tsv", sep="\t")
    assert epochs.groupby("trial")["epoch"].apply(list).tolist() == [[1, 2]] * 5
    assert {"kernel_size", "replicate", "loss", "micro_aupr"} <= set(epochs)
    shown = terminal("table", "--study", "tiny", "--by", "activation", "--value", "filters_alive").err
    assert "relu" in shown
    assert "filters_alive" in shown


def test_what_a_grid_does_not_have_is_named(terminal: Terminal) -> None:
    assert "unknown value '8'" in terminal.refuses("run", "--study", "tiny.toml", "--only", "kernel_size=8")[1]
    assert "write PARAMETER=VALUE" in terminal.refuses("run", "--study", "tiny.toml", "--only", "kernel_size")[1]
    _, message = terminal.refuses("run", "--study", "tiny.toml", "--trials", "3")
    assert "is a grid of 12 trials" in message
    (terminal.folder / "tiny.toml").write_text(STUDY.replace('"tiny"', '"other"', 1))
    code, message = terminal.refuses("run", "--study", "tiny.toml", "--seeds", "3")
    assert code == 2
    assert "choose a part of a grid; other is a search (tpe)" in message
    assert terminal("run", "--study", "tiny.toml", "--no-confirm").code == 0
    assert "unknown column 'auroq'" in terminal.refuses("table", "--name", "other", "--value", "auroq")[1]
    assert "not 'gif'" in terminal.refuses("table", "--name", "other", "--figure", "t.gif")[1]


NOISE = """name = "noise"
objectives = ["auroc"]
[data]
dataset = "hw4_single"
[training]
recipe = "hw4"
epochs = 2
[search]
sampler = "grid"
[confirmation]
candidates = 0
shuffled = 0
[parameters]
architecture = { fixed = "hw4" }
dataset = { choices = ["hw4_single", "hw4_noise_60"] }
"""


def test_a_trial_is_tested_on_the_data_set_it_was_trained_on(terminal: Terminal) -> None:
    (terminal.folder / "noise.toml").write_text(NOISE)
    assert terminal("run", "--study", "noise.toml", "--workers", "2").code == 0
    storage, artifacts = open_storage("runs/tuner.db"), Artifacts(Path("runs/artifacts"))
    trials = stage_trials(storage, "noise")
    assert sorted(str(t.params["dataset"]) for t in trials) == ["hw4_noise_60", "hw4_single"]
    code, why = terminal.refuses("evaluate", "--study", "noise", "--trial", "0", "--artifacts", "nowhere")
    assert (code, openings(storage, "noise")) == (1, []), "nothing was opened"
    assert "is missing from nowhere" in why
    for trial in trials:
        answer = terminal("evaluate", "--study", "noise", "--trial", str(trial.number), "--json")
        network, average = load_network(artifacts.get(trial, WEIGHTS), artifacts.get(trial, DESCRIPTION))
        test = load_dataset(DataSpec(dataset=trial.params["dataset"]), data_dir=None, cache=None).test
        logits = predict(network, test.codes, device="cpu", average_strands=average)
        assert answer.json["per_model"] == [pytest.approx(roc_auc_score(test.labels, logits), abs=1e-9)]
        own = trial.params["dataset"] == "hw4_single"
        assert bool(answer.json["baselines"]) == own
        assert ("was trained on hw4_noise_60" in answer.err) != own
    storage.close()


CELLS = """name = "cells"
objectives = ["auroc"]
[data]
path = "cells.tsv"
[training]
recipe = "hw4"
epochs = 2
[confirmation]
candidates = 0
shuffled = 0
[parameters]
architecture = { fixed = "hw4" }
"""


def test_every_task_has_its_scores(terminal: Terminal, data_dir: Path) -> None:
    rows = pd.read_csv(data_dir / "usf1_multicell" / "usf1_multicell.tsv.gz", sep="\t", nrows=3000)
    rows.drop(columns="peak").to_csv(terminal.folder / "cells.tsv", sep="\t", index=False)
    (terminal.folder / "cells.toml").write_text(CELLS)
    assert terminal("run", "--study", "cells.toml", "--trials", "1").code == 0
    storage, artifacts = open_storage("runs/tuner.db"), Artifacts(Path("runs/artifacts"))
    (trial,) = stage_trials(storage, "cells")
    network, average = load_network(artifacts.get(trial, WEIGHTS), artifacts.get(trial, DESCRIPTION))
    dataset = load_dataset(DataSpec(path=str(terminal.folder / "cells.tsv")), data_dir=None, cache=None)
    examined = terminal("evaluate", "--study", "cells", "--trial", "0", "--json").json
    tested, family = examined["tasks"], examined["predictor"]["tasks"]
    shown = terminal("evaluate", "--study", "cells", "--trial", "0").err
    stored = pd.read_csv(io.BytesIO(artifacts.get(trial, "tasks.tsv")), sep="\t").set_index("task")
    assert list(stored.index) == list(tested) == ["HepG2", "H1hESC", "K562"]
    for split, found in ((dataset.valid, stored.T.to_dict()), (dataset.test, tested)):
        logits = predict(network, split.codes, device="cpu", average_strands=average)
        for i, task in enumerate(dataset.tasks):
            assert found[task]["positives"] == split.labels[:, i].sum()
            for name, score in (("auroc", roc_auc_score), ("average_precision", average_precision_score)):
                assert found[task][name] == pytest.approx(score(split.labels[:, i], logits[:, i]), rel=1e-5)
    for scores in tested.values():
        for name in ("auroc", "average_precision"):
            assert scores[f"{name}_low"] < scores[name] < scores[f"{name}_high"]
    for task in dataset.tasks:  # one model: what one would use is the model itself
        assert family[task]["auroc"]["estimate"] == tested[task]["auroc"]
        assert family[task]["auroc_adjusted"]["low"] < family[task]["auroc"]["low"] == tested[task]["auroc_low"]
    assert "K562" in shown
    assert "nsemble" not in shown
    assert " of 3 tasks, adjusted for 3 tasks" in shown
    assert "calls of each task, calibrated" in shown
    storage.close()
