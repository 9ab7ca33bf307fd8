"""`tuner report` on studies that were really trained: numbers, order of records, interruption, refusals."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sqlite3
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import optuna_dashboard
import pytest
from command_line import Terminal, copy_runs, prepare_environment, work, write_tiny_study
from optuna.artifacts import get_all_artifact_meta
from sklearn.calibration import calibration_curve
from sklearn.metrics import auc as trapezoid
from sklearn.metrics import average_precision_score, brier_score_loss, matthews_corrcoef, roc_auc_score

from tuner.cli import report as command
from tuner.data.registry import load_dataset
from tuner.interpret.attribution import attribute
from tuner.models.calibration import Calibration
from tuner.models.ensemble import MeanLogit
from tuner.models.prediction import predict
from tuner.report.cache import Cache, Result
from tuner.report.numbers import number
from tuner.report.selection import stored_choices
from tuner.report.stages import STAGES, Event
from tuner.results.leaderboard import stage_trials
from tuner.results.test_split import declared_models, openings
from tuner.results.trial_files import stored_network
from tuner.search.loaded import Bench, load_bench
from tuner.search.stages import Search
from tuner.storage.artifacts import Artifacts
from tuner.storage.storage import open_storage
from tuner.study.file import read_study
from tuner.study.plan import make_plan
from tuner.study.space import listed_space

pytestmark = pytest.mark.slow

GRID = """name = "grid"
objectives = ["auroc"]
[parameters]
architecture = { fixed = "cnn" }
n_blocks = { fixed = 1 }
filters = { fixed = 8 }
kernel_size = { fixed = 7 }
dense_units = { fixed = 8 }
activation = { choices = ["relu", "exponential"] }
[data]
path = "table.tsv"
sequence_column = "sequence"
label_columns = ["first", "second"]
[motifs]
database = "motifs.meme"
[training]
epochs = 1
[search]
sampler = "grid"
"""
QUICK = ("--threads", "1", "--references", "3")


@pytest.fixture
def terminal(terminal: Terminal, finished: Path) -> Terminal:
    """A terminal in a copy of the runs, not yet reported."""
    copy_runs(finished, terminal.folder)
    return terminal


@pytest.fixture(scope="module")
def reported(finished: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the runs with a finished report in it."""
    with pytest.MonkeyPatch.context() as patch:
        prepare_environment(cache, patch)
        folder = tmp_path_factory.mktemp("reported")
        copy_runs(finished, folder)
        patch.chdir(folder)
        command.command(name="tiny", modisco="fast", references=3, threads=1, sequences=500, most=3, device="cpu")
    return folder


@pytest.fixture
def there(reported: Path, cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal where the report was made."""
    prepare_environment(cache, monkeypatch)
    return Terminal(reported, capsys, monkeypatch)


def document(folder: Path) -> Any:
    return json.loads((folder / "runs/reports/tiny/report.json").read_text())


def table(folder: Path, name: str) -> list[dict[str, str]]:
    text = (folder / "runs/reports/tiny" / name).read_text()
    return list(csv.DictReader(io.StringIO(text), delimiter="\t"))


def change(folder: Path, statement: str, *values: object) -> None:
    with sqlite3.connect(folder / "runs" / "tuner.db") as connection:
        assert connection.execute(statement, values).rowcount > 0
    connection.close()


def count_openings(folder: Path, name: str = "tiny") -> int:
    storage = open_storage(folder / "runs" / "tuner.db")
    try:
        return len(openings(storage, name))
    finally:
        storage.close()


def stop_at(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the person press Ctrl-C when a stage begins."""
    words = command.line

    def line(event: Event) -> str:
        if (event.stage, event.state) == (stage, "start"):
            raise KeyboardInterrupt
        return words(event)

    monkeypatch.setattr(command, "line", line)


def test_the_report_says_what_best_and_evaluate_say(there: Terminal) -> None:
    report = document(there.folder)
    best = there("best", "--json").json
    assert [(t["number"], t["values"]) for t in report["trials"]] == [
        (t["number"], t["values"]) for t in best["trials"]
    ]
    assert report["selection"]["primary"] == best["primary"]["primary"]
    model = report["models"][0]
    assert model["trial"] == best["confirmation"][0]["trial"]
    for metric, numbers in best["confirmation"][0]["metrics"].items():
        assert {k: model["confirmation"][metric][k] for k in numbers} == numbers
    assert {b["name"]: [b["valid_auroc"]] for b in report["baselines"]} == {
        name: values for name, values in best["controls"].items() if name not in ("label-shuffled", "composition-only")
    }
    assert report["shuffled"]["match_fractions"] == best["label_shuffled_match_fraction"]
    assert report["shuffled"]["composition_match_fractions"] == best["nulls"]["networks"]["composition-only"]
    assert report["shuffled"]["words"] == best["nulls"]["words"]
    assert report["openings"] == len(best["test_openings"]) == 1
    test, tested = there("evaluate", "--json").json, model["test"]
    assert (tested["auroc"], tested["low"], tested["high"]) == tuple(test["auroc"][:3])
    assert tested["average_precision"] == test["average_precision"][0]
    for name in ("per_model", "ensemble", "matched", "matched_gc", "matched_cpg", "matched_sequences", "models"):
        assert tested[name] == test[name]
    for b in tested["baselines"]:
        other = test["baselines"][b["name"]]
        mean = (b["test_auroc"], b["mean_lead"], b["mean_low"], b["mean_high"])
        assert mean == tuple(other[k] for k in ("auroc", "lead", "low", "high"))
        lead = test["predictor"]["leads"][b["name"]]
        assert (b["lead"], b["low"], b["high"]) == (lead["estimate"], lead["low"], lead["high"])
    assert tested["predictor"] == test["predictor"]
    assert test["predictor"]["auroc"]["estimate"] == pytest.approx(test["ensemble"], abs=1e-12)


def test_curves_are_those_of_scikit_learn(reported: Path, bench: Bench) -> None:
    model = document(reported)["models"][0]
    [stage] = (reported / "runs/reports/tiny/.stages").glob("examine-*.npz")
    with np.load(stage) as file:
        scores = file["logits"].mean(axis=0)[:, 0].astype(np.float64)
    labels = load_dataset(bench.plan.data_spec).test.labels[:, 0]
    assert trapezoid(model["roc"]["fpr"], model["roc"]["tpr"]) == pytest.approx(roc_auc_score(labels, scores))
    precision, recall = np.array(model["pr"]["precision"]), np.array(model["pr"]["recall"])
    area = float((np.diff(recall) * precision[1:]).sum())
    assert area == pytest.approx(average_precision_score(labels, scores))
    line = Calibration.from_dict(model["test"]["predictor"]["calibration"])
    p = line.probability(scores)
    assert model["calibration"]["uncalibrated_brier"] == pytest.approx(
        brier_score_loss(labels, 1 / (1 + np.exp(-scores)))
    )
    assert model["calibration"]["brier"] == pytest.approx(brier_score_loss(labels, p))
    observed, predicted = calibration_curve(labels, p, n_bins=10)
    assert model["calibration"]["observed"] == pytest.approx(observed)
    assert model["calibration"]["predicted"] == pytest.approx(predicted)
    (calls,) = (row["decisions"] for row in model["test"]["predictor"]["tasks"].values())
    assert calls["mcc"]["estimate"] == pytest.approx(matthews_corrcoef(labels, p >= line.threshold[0]))
    assert sum(model["calibration"]["counts"]) == len(labels) == model["test"]["sequences"]


def test_contributions_lie_on_the_bases_that_are_there_and_add_up(reported: Path, bench: Bench) -> None:
    with np.load(reported / "runs/reports/tiny/trial-0/contributions.npz", allow_pickle=False) as file:
        one_hot, contributions, rows = file["one_hot"], file["contributions"], file["rows"]
        assert file["references"].shape == (len(rows), 3, 60)
        np.testing.assert_array_equal(contributions, file["hypothetical"] * one_hot)
    test = load_dataset(bench.plan.data_spec).test
    np.testing.assert_array_equal(one_hot.argmax(axis=1), test.codes[rows])
    assert test.labels[rows, 0].all()
    model = document(reported)["models"][0]
    assert len(rows) == model["sequences_used"] == int(test.labels.sum())
    assert model["completeness"]["median"] < 0.01
    assert model["agreement"]["relative"] < 1e-3
    strongest = model["contributions"][0]
    row = int(strongest["name"].rsplit(" ", 1)[-1]) if strongest["name"].startswith("test sequence") else None
    at = list(rows).index(row) if row is not None else list(np.array(test.ids)[rows]).index(strongest["name"])
    start, heights = strongest["start"], np.array(strongest["heights"])
    np.testing.assert_allclose(heights, contributions[at][:, start : start + heights.shape[1]], rtol=1e-6)


def test_contributions_add_up_to_the_change_of_the_displayed_logit(reported: Path, bench: Bench) -> None:
    # By the stored models themselves: every retrained one, on both strands as the default recipe predicts.
    storage = open_storage(reported / "runs" / "tuner.db")
    runs = declared_models(storage, "tiny", 0)
    stored = [stored_network(Artifacts(reported / "runs" / "artifacts"), run) for run in runs]
    storage.close()
    assert all(both for _, both in stored)

    def logits(codes: np.ndarray) -> np.ndarray:
        return np.mean([predict(network, codes, average_strands=True)[:, 0] for network, _ in stored], axis=0)

    with np.load(reported / "runs/reports/tiny/trial-0/contributions.npz", allow_pickle=False) as file:
        codes = np.where(file["one_hot"].any(axis=1), file["one_hot"].argmax(axis=1), 4).astype(np.uint8)
        shown, sums, references = file["logits"], file["contributions"].sum(axis=(1, 2)), file["references"]
        rows = file["rows"]
    np.testing.assert_allclose(shown, logits(codes), atol=1e-5)
    change = shown - logits(references.reshape(-1, codes.shape[1])).reshape(references.shape[:2]).mean(axis=1)
    np.testing.assert_allclose(sums, change, atol=1e-4 * np.abs(change).max())
    [stage] = (reported / "runs/reports/tiny/.stages").glob("examine-*.npz")
    with np.load(stage) as file:  # the logits that the test scores are made from
        np.testing.assert_allclose(shown, file["logits"].mean(axis=0)[rows, 0], atol=1e-5)
    model = document(reported)["models"][0]
    many = len(stored) > 1
    what = f"the mean logit of the {len(stored)} retrained models of trial 0" if many else "the logit of the one"
    assert model["explained"].startswith(what)
    assert model["explained"].endswith("averaged over both strands")
    assert (model["consensus"] is not None) is many
    page = (reported / "runs/reports/tiny/report.html").read_text()
    assert f"Contributions to {model['explained']}: DeepSHAP against 3 shuffled references" in page
    if many:
        found = model["consensus"]
        assert (found["models"], found["n"]) == (len(stored), len(rows))
        each = [attribute("deep_shap", MeanLogit([n]), codes, references=references).scores for n, _ in stored]
        pairs = [[np.corrcoef(a, b)[0, 1] for a, b in zip(*two, strict=True)] for two in combinations(each, 2)]
        assert found["median"] == pytest.approx(np.median(np.mean(pairs, axis=0)), abs=1e-5)
        assert f"correlate with r = {number(found['median'], 2)} in the median over {len(rows)} sequences" in page


def test_tables_and_json_hold_the_same_numbers(reported: Path) -> None:
    report = document(reported)
    model = report["models"][0]
    trials = {t["number"]: t for t in report["trials"]}
    for row in table(reported, "trials.tsv"):
        trial = trials[int(row["number"])]
        assert {k: float(row[k]) for k in trial["values"]} == trial["values"]
        assert {k: row[k] for k in trial["params"]} == {k: str(v) for k, v in trial["params"].items()}
    scores = {(r["source"], r["metric"]): r for r in table(reported, "scores.tsv")}
    assert float(scores["test", "auroc"]["value"]) == model["test"]["auroc"]
    assert float(scores["test", "auroc"]["low"]) == model["test"]["low"]
    assert float(scores["confirmation", "auroc"]["value"]) == model["confirmation"]["auroc"]["mean"]
    assert float(scores["validation, selected run", "auroc"]["value"]) == model["valid"]["auroc"]
    filters = table(reported, "filters.tsv")
    assert [int(r["filter"]) for r in filters] == [f["filter"] for f in model["filters"]]
    assert [float(r["effect"]) for r in filters] == [f["effect"] for f in model["filters"]]
    assert [float(r["tpr"]) for r in table(reported, "roc.tsv")] == model["roc"]["tpr"]
    assert {r["name"]: float(r["test_auroc"]) for r in table(reported, "baselines.tsv")} == {
        b["name"]: b["test_auroc"] for b in report["baselines"]
    }


def test_dead_filters_come_last_and_candidates_match_nothing(there: Terminal) -> None:
    model = document(there.folder)["models"][0]
    storage = open_storage(there.folder / "runs" / "tuner.db")
    shown = model["network"]
    runs = [t for t in stage_trials(storage, "tiny.confirmation") if t.user_attrs["replicate"] == 0]
    storage.close()
    assert shown == "retrained model 0 of trial 0 (confirmation)" or len(runs) == 1
    matches = there("show", "--stage", "confirmation", "--trial", str(runs[0].number), "--json").json["matches"]
    by_channel = {m["filter"]: m for m in matches}
    assert len(by_channel) == len(model["filters"]) == 8
    for f in model["filters"]:
        m = by_channel[f["filter"]]
        assert (f["sites"], f["target"], f["significant"]) == (m["sites"], m["target"], m["significant"])
        assert f == m
    alive = [f["sites"] > 0 for f in model["filters"]]
    assert alive == sorted(alive, reverse=True)
    assert model["dead"] == alive.count(False)
    assert model["candidates"] == [
        f["filter"] for f in model["filters"] if by_channel[f["filter"]]["gated"] and not f["significant"]
    ]


def test_few_sequences_and_composition_are_said_in_words(reported: Path) -> None:
    report = document(reported)
    assert report["models"][0]["pattern_words"] == "No pattern: 12 sequences, fewer than 20."
    assert report["importance"] == {}
    assert report["importance_words"] == "Not computed: 2 completed trials; at least 30 are needed."
    text = "\n".join(report["warnings"])
    assert "The test split has 24 sequences" in text
    assert "baseline on test" in text
    assert report["composition"] is None or report["composition"][0] == "test"


def test_the_choice_is_stored_before_the_test_split_is_opened(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_at("examine", patch)
        assert terminal("report", "--name", "tiny", *QUICK).code == 130
    storage = open_storage(terminal.folder / "runs" / "tuner.db")
    [stored] = stored_choices(storage, "tiny")
    assert (stored["trials"], openings(storage, "tiny")) == ([stored["primary"]], [])
    storage.close()
    assert terminal("report", "--name", "tiny", *QUICK).code == 0
    storage = open_storage(terminal.folder / "runs" / "tuner.db")
    assert stored_choices(storage, "tiny") == [stored]
    assert [o["trial"] for o in openings(storage, "tiny")] == stored["trials"]
    storage.close()


def test_an_interrupted_report_goes_on_where_it_stopped(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        stop_at("null_patterns", patch)
        stopped = terminal("report", "--name", "tiny", *QUICK)
    assert stopped.code == 130
    assert stopped.err.splitlines()[-1] == "error: interrupted; run the same command again to continue."
    folder = terminal.folder / "runs/reports/tiny/.stages"
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert {name.split("-")[0] for name in before} == {
        "examine", "filters", "contributions", "patterns", "null_model"
    }  # fmt: skip
    answer = terminal("report", "--name", "tiny", *QUICK, "--json").json
    states = {s["stage"]: s["state"] for s in answer["stages"]}
    assert states == {
        "select": "done", **dict.fromkeys(STAGES, "cached"), "null_patterns": "done", "marginalise": "done",
        "page": "done", "notes": "done",
    }  # fmt: skip
    after = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert {name: after[name] for name in before} == before
    assert count_openings(terminal.folder) == 1
    # A third time nothing is computed; another number of references makes new contributions, not another opening.
    third = terminal("report", "--name", "tiny", *QUICK, "--json").json
    assert {s["state"] for s in third["stages"] if s["stage"] in STAGES} == {"cached"}
    other = terminal("report", "--name", "tiny", "--threads", "1", "--references", "2", "--json").json
    assert {s["stage"]: s["state"] for s in other["stages"]}["contributions"] == "done"
    assert count_openings(terminal.folder) == 1


def test_stages_limit_what_is_computed(terminal: Terminal) -> None:
    answer = terminal("report", "--name", "tiny", *QUICK, "--stages", "filters,page", "--json").json
    assert {s["stage"] for s in answer["stages"] if s["state"] == "done"} == {"select", "filters", "page"}
    assert count_openings(terminal.folder) == 0
    report = document(terminal.folder)
    assert report["models"][0]["test"] is None
    assert report["data"]["splits"]["test"]["gc_positive"] is None
    assert "Not in this report: examine" in report["warnings"][-1]
    # A named stage is computed again, with what it needs; the recorded opening happens once all the same.
    answer = terminal("report", "--name", "tiny", *QUICK, "--stages", "contributions", "--json").json
    states = {s["stage"]: s["state"] for s in answer["stages"]}
    assert (states["examine"], states["contributions"], states["filters"]) == ("done", "done", "cached")
    answer = terminal("report", "--name", "tiny", *QUICK, "--stages", "examine,contributions", "--json").json
    states = {s["stage"]: s["state"] for s in answer["stages"]}
    assert (states["examine"], states["contributions"]) == ("cached", "done")
    assert count_openings(terminal.folder) == 1


def test_test_scores_of_an_earlier_version_make_a_page_without_another_opening(terminal: Terminal) -> None:
    """That version stored no predictor: the mean of the models leads, and no word is said of probabilities."""
    only = ("report", "--name", "tiny", *QUICK, "--modisco", "none", "--stages", "examine,page", "--json")
    assert terminal(*only).code == 0
    folder = terminal.folder / "runs/reports/tiny"
    [path] = (folder / ".stages").glob("examine-*.npz")
    stage, key = path.stem.split("-")
    stored = Cache(folder).read(stage, key)
    assert stored is not None
    assert "predictor" in stored.values
    old = {name: value for name, value in stored.values.items() if name != "predictor"}
    Cache(folder).write(stage, key, Result(old, stored.arrays))
    answer = terminal(*only).json
    assert {s["stage"]: s["state"] for s in answer["stages"]}["examine"] == "cached"
    assert count_openings(terminal.folder) == 1
    test = document(terminal.folder)["models"][0]["test"]
    assert test["predictor"] is None
    name = f"mean of {test['models']} models" if test["models"] > 1 else "model"
    said = answer["models"][0]["test"]
    assert (said["of"], said["auroc"], said["low"]) == (name, test["auroc"], test["low"])
    page = (folder / "report.html").read_text()
    assert name in page
    assert "ensemble" not in page


def test_lost_weights_are_one_error_and_no_opening(terminal: Terminal) -> None:
    shutil.rmtree(terminal.folder / "runs" / "artifacts")
    code, text = terminal.refuses("report", "--name", "tiny", "--json")
    assert code == 1
    assert "model.safetensors is missing" in text
    assert count_openings(terminal.folder) == 0


def test_the_null_is_the_stored_network_or_the_same_trained_again(terminal: Terminal) -> None:
    first = terminal("report", "--name", "tiny", *QUICK, "--stages", "null_model", "--json").json
    assert first["stages"]
    folder = terminal.folder / "runs/reports/tiny/.stages"
    [stored] = folder.glob("null_model-*.npz")
    with np.load(stored) as file:
        weights, words = file["model.safetensors"], json.loads(file["values.json"].tobytes())["values"]["words"]
    assert words == "label-shuffled network 5 of the study's controls, trained with the settings of trial 0"
    storage = open_storage(terminal.folder / "runs" / "tuner.db")
    [run] = [t for t in stage_trials(storage, "tiny.controls") if t.params["control"] == "label-shuffled"]
    Artifacts(terminal.folder / "runs" / "artifacts").paths(run)["model.safetensors"].unlink()
    storage.close()
    stored.unlink()
    terminal("report", "--name", "tiny", *QUICK, "--stages", "null_model")
    [trained] = folder.glob("null_model-*.npz")
    assert trained.name != stored.name
    with np.load(trained) as file:
        np.testing.assert_array_equal(file["model.safetensors"], weights)


def test_the_dashboard_shows_the_report_and_keeps_what_a_person_wrote(terminal: Terminal) -> None:
    terminal("report", "--name", "tiny", *QUICK, "--modisco", "none")
    storage = open_storage(terminal.folder / "runs" / "tuner.db")
    study = optuna.load_study(study_name="tiny", storage=storage)
    trial = optuna.Trial(study, stage_trials(storage, "tiny")[0]._trial_id)
    model = document(terminal.folder)["models"][0]
    assert "## Report" in optuna_dashboard.get_note(study)
    note = optuna_dashboard.get_note(trial)
    ensemble = model["test"]["predictor"]["auroc"]["estimate"]
    assert f"auroc, test, ensemble of 2 models: {ensemble:.4f}" in note
    assert f"auroc, test, mean of its single models: {model['test']['auroc']:.4f}" in note
    assert f"mean of 2 retrained models: {model['confirmation']['auroc']['mean']:.4f}" in note
    optuna_dashboard.save_note(trial, "mine")
    figures = shown_figures(study)
    assert {p.name for p in (terminal.folder / "runs/reports/tiny/figures").glob("*.png")} == set(figures)
    name = min(figures)
    assert (terminal.folder / "runs/artifacts" / figures[name]).read_bytes().startswith(b"\x89PNG")
    storage.close()
    (terminal.folder / "runs/reports/tiny/figures" / name).write_bytes(b"another picture")
    answer = terminal("report", "--name", "tiny", *QUICK, "--stages", "notes", "--json").json
    assert "note of trial 0" not in answer["notes"]
    storage = open_storage(terminal.folder / "runs" / "tuner.db")
    study = optuna.load_study(study_name="tiny", storage=storage)
    assert optuna_dashboard.get_note(optuna.Trial(study, trial._trial_id)) == "mine"
    assert shown_figures(study) == figures
    assert (terminal.folder / "runs/artifacts" / figures[name]).read_bytes() == b"another picture"
    assert "1 figure on the study" in answer["notes"]
    storage.close()


def shown_figures(study: optuna.Study) -> dict[str, str]:
    """File name -> artifact of what Optuna says is attached to a study."""
    return {a.filename: a.artifact_id for a in get_all_artifact_meta(study)}


def test_hostile_names_are_no_paths_and_no_markup(terminal: Terminal) -> None:
    hostile, rename = "<script>alert(1)<script>", "UPDATE studies SET study_name = ? WHERE study_name = ?"
    for suffix in ("", ".confirmation", ".controls"):
        change(terminal.folder, rename, hostile + suffix, "tiny" + suffix)
    code, text = terminal.refuses("report", "--name", hostile)
    assert (code, "cannot name a folder" in text) == (2, True)
    assert terminal("report", "--name", hostile, "--out", "elsewhere", *QUICK, "--modisco", "none").code == 0
    assert json.loads((terminal.folder / "elsewhere/report.json").read_text())["study"]["name"] == hostile
    for name in ("..", "../../evil", "/evil"):
        change(terminal.folder, rename, name, hostile)
        assert terminal.refuses("report", "--name", name)[0] == 2
        change(terminal.folder, rename, hostile, name)
    assert {path.name for path in terminal.folder.iterdir()} == {"runs", "elsewhere"}
    assert not (terminal.folder / "runs" / "reports").exists()


def test_misuse_is_refused_in_words(terminal: Terminal) -> None:
    cases = {
        ("--trials", "3;17"): "expected trial numbers separated by commas",
        ("--trials", "9"): "no trial 9 in the search",
        ("--stages", "pattern"): "unknown stage 'pattern'; did you mean 'patterns'?",
        ("--modisco", "slow"): "unknown value of --modisco 'slow'",
        ("--task", "x"): "unknown task 'x'",
        ("--device", "cuda:9"): "no device 'cuda:9' here",
    }
    for words, expected in cases.items():
        code, text = terminal.refuses("report", "--name", "tiny", *words, "--json")
        assert code == 2
        assert expected in text
    (terminal.folder / "taken").write_text("a file")
    code, text = terminal.refuses("report", "--name", "tiny", "--out", "taken")
    assert (code, "Choose another folder with --out" in text) == (1, True)
    assert count_openings(terminal.folder) == 0


def test_a_grid_of_one_objective_and_two_tasks_without_confirmation_is_reported(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_environment(cache, monkeypatch)
    write_tiny_study(tmp_path)
    rng = np.random.default_rng(3)
    rows = ["sequence\tfirst\tsecond"]
    for i in range(120):
        sequence = "".join(rng.choice(list("ACGT"), 60))
        rows.append(f"{sequence[:20] + 'GGGAAACTGA' + sequence[30:] if i % 2 else sequence}\t{i % 2}\t{i % 3 // 2}")
    (tmp_path / "table.tsv").write_text("\n".join(rows) + "\n")
    (tmp_path / "grid.toml").write_text(GRID)
    study = read_study(tmp_path / "grid.toml")
    plan = make_plan(study, listed_space("grid", study.parameters, "grid.toml"), folder=tmp_path)
    bench = load_bench(plan, data_dir=None, cache=cache)
    work(tmp_path, bench, [Search(plan, bench.identity)])
    terminal = Terminal(tmp_path, capsys, monkeypatch)
    answer = terminal("report", "--name", "grid", *QUICK, "--task", "second", "--modisco", "none", "--json").json
    assert (answer["primary"], len(answer["models"])) == (None, 1)
    report = json.loads((tmp_path / "runs/reports/grid/report.json").read_text())
    model = report["models"][0]
    assert model["trial"] == max(report["trials"], key=lambda t: (t["values"]["auroc"], -t["number"]))["number"]
    assert (model["confirmation"], report["baselines"], model["pattern_words"]) == (
        {}, [], "TF-MoDISco was not run (--modisco none)."
    )  # fmt: skip
    test = load_dataset(plan.data_spec).test
    assert report["data"]["task"] == "second"
    assert (model["test"]["positives"], model["sequences_used"]) == (int(test.labels[:, 1].sum()),) * 2
    assert np.mean(list(model["test"]["per_task"].values())) == pytest.approx(model["test"]["auroc"])
    text = "\n".join(report["warnings"])
    for words in ("No baseline was fitted", "was not retrained", "2 tasks", "names no target motif", "no confirmation"):
        assert words in text


def test_a_page_that_would_be_too_large_is_refused_before_anything_is_opened(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuner.report.page.LARGEST", 100_000)
    code, text = terminal.refuses("report", *QUICK)
    assert code == 2
    assert "the report's page would take" in text
    assert "at most 0 MB" in text
    storage = open_storage(terminal.folder / "runs" / "tuner.db")
    assert openings(storage, "tiny") == []
    assert stored_choices(storage, "tiny") == []
    storage.close()
    assert not list((terminal.folder / "runs").glob("reports/tiny/**/*.json"))
    # Tables alone need no page: other stages are not held up.
    assert terminal("report", *QUICK, "--stages", "filters").code == 0
