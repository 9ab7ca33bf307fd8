"""The Python interface: the values of the commands, bit for bit; tables, arrays and one-sentence errors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from command_line import PLANTED, Terminal, prepare_environment, write_tiny_study

import tuner
from tuner.api.progress import Progress
from tuner.errors import ModelError, StudyError, UsageError
from tuner.genome.sequence import decode, one_hot, reverse_complement
from tuner.models import compiled, metrics
from tuner.results.leaderboard import FrozenTrial, stage_trials
from tuner.results.trial_table import tidy
from tuner.storage.storage import open_storage

ROOT = Path(__file__).parents[1]
STAGES = ("", ".confirmation", ".controls")
# Measured, or said of a process.
TIMES = ("seconds", "seconds_per_epoch")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of these tests, but for the compiled kernel, which takes a minute."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        prepare_environment(folder, patch)
        yield folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[tuner.Study]:
    """A study that was run from Python to its end, in this process."""
    folder = tmp_path_factory.mktemp("tiny")
    path = write_tiny_study(folder)
    seen: list[Progress] = []
    study = tuner.run(
        path, storage=folder / "s.db", artifacts=folder / "artifacts", cache=cache, kernels="off",
        progress=seen.append,
    )  # fmt: skip
    assert [p.state for p in seen if p.stage == "search" and p.state != "RUNNING"] == ["COMPLETE"] * 2
    assert seen[-1].stage == "controls"
    assert seen[-1].ended == seen[-1].total
    yield study
    study.close()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a tiny study, as the current one."""
    write_tiny_study(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def recorded(database: Path, name: str) -> list[dict[str, object]]:
    """Everything that is recorded of every trial of every stage, but for times."""
    storage = open_storage(database)
    rows = []
    for suffix in STAGES:
        trials: list[FrozenTrial] = stage_trials(storage, name + suffix)
        objectives = [f"value {i}" for i in range(len(trials[0].values))]
        rows += [{k: v for k, v in row.items() if k not in TIMES} for row in tidy(trials, objectives)]
    storage.close()
    return rows


# ------------------------------------------------------------------ the same as the commands


def test_the_public_names_are_pinned() -> None:
    assert tuner.__all__ == [
        "Data", "Ensemble", "Filters", "Model", "Predictor", "Progress", "Recipe", "Study", "Trial",
        "TunerClassifier", "TunerError", "attribute", "build_model", "fit", "load_database", "load_model", "match",
        "open_study", "run",
    ]  # fmt: skip
    for name in tuner.__all__:
        assert getattr(tuner, name).__name__ == name
    assert set(tuner.__all__) <= set(dir(tuner))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = tuner.nothing  # type: ignore[attr-defined]


def test_importing_tuner_waits_for_nothing() -> None:
    script = "import sys, tuner; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {name for name in done.stdout.split() if name.startswith("tuner") or name in ("numpy", "torch", "typer")}
    assert loaded == {"tuner"}


@pytest.mark.slow
def test_values_are_those_of_the_command_bit_for_bit_and_it_resumes(
    here: Path, cache: Path, tiny: tuner.Study, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal(here, capsys, monkeypatch)
    answer = terminal("run", "--study", "./tiny.toml", "--workers", "1", "--storage", "c.db", "--artifacts", "files")
    assert answer.code == 0, answer.err
    by_command, by_python = recorded(here / "c.db", "tiny"), recorded(Path(tiny.storage), "tiny")
    assert len(by_command) == 2 + 2 + 7
    assert by_command == by_python
    # The command goes on with a study that Python has made, in Python's files, and Python with one of the command's.
    more = terminal(
        "run", "--study", "./tiny.toml", "--workers", "1", "--storage", "p.db", "--trials", "1", "--no-confirm",
        "--artifacts", "files",
    )  # fmt: skip
    assert more.code == 0, more.err
    with tuner.run("tiny", trials=2, storage="p.db", artifacts="files", cache=cache, kernels="off") as study:
        assert study.finished
    assert recorded(here / "p.db", "tiny") == by_python


def test_nothing_is_left_behind_in_the_process(here: Path, cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    threads, environment, kernels = torch.get_num_threads(), dict(os.environ), compiled.enabled()
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    torch.set_num_threads(2)
    try:
        with tuner.run("./tiny.toml", trials=1, confirm=False, cache=cache, kernels="off") as first:
            assert torch.get_num_threads() == 2
        with tuner.run("./tiny.toml", name="second", trials=1, confirm=False, cache=cache, kernels="off") as second:
            assert second.trial(0).values == first.trial(0).values
            with pytest.raises(StudyError, match="confirm"):
                _ = second.primary
            with second.confirm(kernels="off") as confirmed:
                assert confirmed.primary.number == 0
    finally:
        torch.set_num_threads(threads)
    assert compiled.enabled() == kernels, "as other tests of this process left it"
    own = {"TORCHINDUCTOR_CACHE_DIR"}  # torch sets it when it is imported as a whole
    assert {k: v for k, v in os.environ.items() if k not in own} == {
        k: v for k, v in environment.items() if k not in own
    }
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    said = capfd.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    assert (here / "runs" / "tuner.db").is_file()
    assert any((here / "runs" / "artifacts").iterdir())
    with tuner.open_study("second") as study:  # where the command keeps it, too
        assert study.finished
    with pytest.raises(StudyError, match="which study"):
        tuner.open_study()


@pytest.mark.slow
def test_workers_are_processes_that_find_what_python_was_given(
    here: Path, cache: Path, tiny: tuner.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNER_STORAGE", "postgresql://nobody@127.0.0.1:9/none")
    monkeypatch.setenv("TUNER_COMPILED", "1")
    with tuner.run("./tiny.toml", workers=2, storage="w.db", cache=cache, kernels="off", confirm=False) as study:
        assert study.finished
        assert study.trials()["kernels"].unique().tolist() == ["torch"]
    assert list((here / "runs" / "logs" / "tiny").glob("worker-1.*.log"))


# ------------------------------------------------------------------ stopping


class Pressed:
    """A callback that presses Ctrl-C after the first epoch of the second trial."""

    def __init__(self) -> None:
        self.states: list[str] = []

    def __call__(self, progress: Progress) -> None:
        self.states.append(progress.state)
        if progress.state == "COMPLETE" and progress.trial == 0:
            signal.raise_signal(signal.SIGINT)


def test_ctrl_c_hands_the_trial_back_and_the_same_call_goes_on(here: Path, cache: Path, tiny: tuner.Study) -> None:
    with pytest.raises(KeyboardInterrupt):
        tuner.run("./tiny.toml", storage="i.db", cache=cache, kernels="off", progress=Pressed())
    storage = open_storage(here / "i.db")
    assert [t.state.name for t in stage_trials(storage, "tiny")][:1] == ["COMPLETE"]
    assert "RUNNING" not in [t.state.name for t in stage_trials(storage, "tiny")]
    assert storage.roster(storage.get_study_id_from_name("tiny")).members() == []
    storage.close()
    with tuner.run("./tiny.toml", storage="i.db", cache=cache, kernels="off") as study:
        assert study.finished
    assert recorded(here / "i.db", "tiny") == recorded(Path(tiny.storage), "tiny")


def test_a_callback_that_fails_ends_the_run_and_no_trial(here: Path, cache: Path) -> None:
    def fail(progress: Progress) -> None:
        if progress.state == "COMPLETE":
            raise ZeroDivisionError("of the callback")

    with pytest.raises(ZeroDivisionError, match="of the callback"):
        tuner.run("./tiny.toml", storage="f.db", cache=cache, kernels="off", progress=fail)
    with tuner.open_study("tiny", storage="f.db") as study:
        assert set(study.trials()["state"]) <= {"COMPLETE", "WAITING"}


def test_another_thread_runs_and_stops_a_study_and_a_later_run_heeds_no_old_request(here: Path, cache: Path) -> None:
    asked: list[int] = []

    def stop(progress: Progress) -> None:
        if progress.state == "COMPLETE" and not asked:
            with tuner.open_study("tiny", storage="t.db") as study:
                asked.append(study.stop())

    found: list[tuner.Study] = []

    def work() -> None:
        found.append(
            tuner.run(
                "./tiny.toml", trials=40, storage="t.db", cache=cache, kernels="off", progress=stop, confirm=False
            )
        )

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert asked == [1]
    with found[0] as study:
        assert not study.finished
        done = (study.trials()["state"] == "COMPLETE").sum()
        with tuner.run(study, trials=int(done) + 1, cache=cache, kernels="off", confirm=False) as again:
            assert again.finished


def test_time_that_is_over_leaves_the_rest_for_later(here: Path, cache: Path) -> None:
    with tuner.run("./tiny.toml", time_limit=0.001, storage="l.db", cache=cache, kernels="off") as study:
        assert not study.finished


# ------------------------------------------------------------------ what was found


def test_tables_say_what_the_commands_say(tiny: tuner.Study) -> None:
    board = tiny.leaderboard()
    assert board.index.name == "trial"
    assert board["auroc"].is_monotonic_decreasing
    assert len(tiny.leaderboard(top=1)) == 1
    trials = tiny.trials()
    assert trials.loc[board.index[0], "auroc"] == board["auroc"].iloc[0] == tiny.trial(board.index[0]).values["auroc"]
    kinds = {"gc", "cpg", "2-mer", "6-mer", "best PWM", "label-shuffled", "composition-only"}
    assert kinds == set(tiny.baselines().index)
    candidates = tiny.candidates()
    assert candidates["primary"].tolist() == [True]
    assert candidates["runs"].tolist() == [2]
    runs = tiny.trials("confirmation")
    assert candidates["auroc"].iloc[0] == pytest.approx(runs["auroc"].mean(), abs=1e-12)
    assert tiny.verdict is not None
    assert tiny.primary.number == tiny.verdict.primary == candidates.index[0]
    assert tiny.status().loc["search", "ended"] == 2
    page = tiny._repr_html_()
    assert f"Primary trial: {tiny.primary.number}" in page
    assert "search 2 of 2" in page


def test_a_model_predicts_text_codes_and_one_hot_as_its_trial_was_measured(tiny: tuner.Study) -> None:
    trial = tiny.primary
    model = trial.model()
    folder = Path(tiny.storage).parent
    valid = tuner.Data.from_fasta(folder / "positives.fa", folder / "negatives.fa").load().valid
    logits = model.predict(valid.codes)
    assert logits.shape == (len(valid), 1)
    assert metrics.auroc(valid.labels, logits) == trial.values["auroc"]
    assert np.array_equal(logits, model.predict(decode(valid.codes)))
    assert np.array_equal(logits, model.predict(one_hot(valid.codes).numpy()))
    assert np.array_equal(logits, model.predict(one_hot(valid.codes)))
    assert np.array_equal(logits[:1], model.predict(decode(valid.codes)[0]))
    chances = model.predict(valid.codes, output="probability")
    assert chances == pytest.approx(1 / (1 + np.exp(-logits)))
    found = model.attribute(decode(valid.codes)[:2], method="saliency")
    assert found.contributions.shape == (2, 4, 60)
    # Its prediction is the mean over both strands, and that is what is explained.
    assert np.array_equal(found.effects, tuner.attribute(model, valid.codes[:2], "saliency").effects)
    other = reverse_complement(valid.codes[:2])
    forward, reverse = (tuner.attribute(model.module, s, "saliency").effects for s in (valid.codes[:2], other))
    assert found.effects == pytest.approx((forward + reverse[:, ::-1, ::-1]) / 2, abs=1e-6)
    deep = model.attribute(valid.codes[:2], references=3)
    change = logits[:2, 0] - model.predict(deep.references.reshape(-1, 60)).reshape(2, 3).mean(axis=1)
    assert deep.scores.sum(axis=1) == pytest.approx(change, rel=1e-3, abs=1e-5)
    assert model.predict([]).shape == (0, 1)
    with_n = "N" * 60
    assert np.array_equal(model.predict(np.zeros((1, 4, 60))), model.predict([with_n]))


def test_the_ensemble_of_a_trial_predicts_and_explains_the_mean_of_its_retrained_models(tiny: tuner.Study) -> None:
    together = tiny.ensemble()
    table = tiny.trials("confirmation")
    own = [int(n) for n in table.index[(table["state"] == "COMPLETE") & (table["candidate"] == tiny.primary.number)]]
    models = [tiny.trial(n, "confirmation").model() for n in own]
    assert len(together.models) == len(models) >= 1
    folder = Path(tiny.storage).parent
    codes = tuner.Data.from_fasta(folder / "positives.fa", folder / "negatives.fa").load().valid.codes
    logits = np.mean([m.predict(codes) for m in models], axis=0)
    assert together.predict(codes) == pytest.approx(logits, abs=1e-6)
    assert together.predict(codes, output="probability") == pytest.approx(1 / (1 + np.exp(-logits)), abs=1e-6)
    pair = tuner.Ensemble((*models, tiny.primary.model()))  # also of any other models
    found = pair.attribute(codes[:3], task=pair.tasks[0], references=2)
    each = [m.attribute(codes[:3], references=found.references) for m in pair.models]
    assert found.contributions == pytest.approx(np.mean([e.contributions for e in each], axis=0), abs=1e-6)
    assert found.consensus.shape == (3,)
    assert each[0].consensus is None
    assert np.array_equal(tuner.attribute(pair, codes[:3], references=2).effects, found.effects)
    alone = [n for n in tiny.trials().index if n not in set(table["candidate"])]
    for n in alone[:1]:
        assert len(tiny.ensemble(int(n)).models) == 1
    assert repr(pair) == f"Ensemble({len(models) + 1} models; 60 bp -> {', '.join(pair.tasks)})"
    with pytest.raises(StudyError, match="trial 99 is not there"):
        tiny.ensemble(99)
    with pytest.raises(ModelError, match="at least one model"):
        tuner.Ensemble(())
    with pytest.raises(ModelError, match="unknown task 'x'"):
        pair.attribute(codes[:1], task="x")
    with pytest.raises(ModelError, match="unknown output 'odds'"):
        pair.predict(codes[:1], output="odds")
    other = tuner.Model(pair.models[0].module, pair.tasks, 61, True)
    with pytest.raises(ModelError, match="models of different tasks or lengths have no mean: 60 bp"):
        tuner.Ensemble((pair.models[0], other))


def test_filters_are_matrices_a_table_and_logos(tiny: tuner.Study, cache: Path) -> None:
    filters = tiny.primary.filters()
    assert len(filters) == 8
    assert filters[0].shape[0] == 4
    pd.testing.assert_frame_equal(filters.table, tiny.primary.matches())
    assert filters.svg.startswith("<svg")
    assert 'src="data:image/svg+xml;base64,' in filters._repr_html_()
    database = tuner.load_database(str(Path(tiny.storage).parent / "motifs.meme"), cache=cache)
    found = tuner.match(filters, database, cache=cache)
    assert set(found["query"]) == {motif.id for motif in filters.motifs}
    planted = np.full((4, len(PLANTED)), 0.05)
    for column, letter in enumerate(PLANTED):
        planted["ACGT".index(letter), column] = 0.85
    best = tuner.match({"mine": planted}, database, cache=cache).iloc[0]
    assert best["target"] == "M0"
    assert best["e_value"] < 1e-3


def test_the_test_split_is_opened_on_record_and_the_report_is_a_page(tiny: tuner.Study, tmp_path: Path) -> None:
    result = tiny.evaluate()
    assert result.trial == tiny.primary.number
    assert result.openings == 1
    used = result.predictor
    assert used is not None
    assert used.auroc.estimate == pytest.approx(result.ensemble, abs=1e-12)
    (task,) = used.tasks.values()
    assert 0 <= task.decisions.brier.low <= task.decisions.brier.estimate <= task.decisions.brier.high <= 1
    assert sum(task.decisions.counts) == task.decisions.sequences
    page = tiny.report(tmp_path / "report", stages="page")
    assert page == tmp_path / "report" / "report.html"
    assert "tuner report --name tiny" in page.read_text()


def test_a_network_is_built_and_fitted_by_hand(tiny: tuner.Study) -> None:
    folder = Path(tiny.storage).parent
    data = tuner.Data.from_fasta(folder / "positives.fa", folder / "negatives.fa").load()
    network = tuner.build_model({"architecture": "cnn", "filters": 4, "n_blocks": 1}, n_tasks=1, length=60, seed=0)
    trained = tuner.fit(network, data.train, data.valid, tuner.Recipe(epochs=1, batch_size=20), seed=0)
    assert len(trained.history) == 1


# ------------------------------------------------------------------ own data


def write_thousands(folder: Path, n: int = 1500) -> None:
    rng = np.random.default_rng(1)
    letters = np.array(list("ACGT"))
    for name, planted in (("pos", True), ("neg", False)):
        found = ["".join(row) for row in letters[rng.integers(0, 4, (n, 40))]]
        found = [s[:15] + PLANTED + s[25:] for s in found] if planted else found
        (folder / f"{name}.fa").write_text("".join(f">{name}{i}\n{s}\n" for i, s in enumerate(found)))


SMALL = {
    "name": "own", "motifs": {"database": "motifs.meme", "targets": {"planted": ["M0"]}},
    "parameters": {"architecture": {"fixed": "cnn"}, "filters": {"fixed": 16}, "kernel_size": {"choices": [9, 11]},
                   "n_blocks": {"fixed": 1}, "dense_units": {"fixed": 16}, "activation": {"fixed": "relu"},
                   "batch_size": {"fixed": 32}, "learning_rate": {"fixed": 0.003}},
    "training": {"epochs": 6}, "search": {"trials": 2}, "confirmation": {"candidates": 1, "seeds": 1, "shuffled": 0},
}  # fmt: skip


def test_own_fasta_of_thousands_of_sequences(here: Path, cache: Path) -> None:
    write_thousands(here)
    data = tuner.Data.from_fasta("pos.fa", "neg.fa")
    checked = data.check()
    assert checked.splits.loc["train", "sequences"] == 2100
    assert checked.length == 40
    assert checked.warnings == ()
    assert "2100" in checked._repr_html_()
    with tuner.run(SMALL, data=data, storage="o.db", artifacts="files", cache=cache, kernels="off") as study:
        assert study.primary.values["auroc"] > 0.8
        logits = study.primary.model().predict(["A" * 15 + PLANTED + "C" * 15, "A" * 40])
        assert logits[0, 0] > logits[1, 0]
    with tuner.run("own", storage="o.db", artifacts="files", cache=cache, kernels="off") as again:  # no file, by name
        assert again.finished


def test_other_kinds_of_data(here: Path) -> None:
    write_thousands(here, 60)
    rows = [line for name in ("pos", "neg") for line in (here / f"{name}.fa").read_text().split("\n")[1::2]]
    (here / "t.tsv").write_text("seq\tbound\n" + "".join(f"{s}\t{int(i < 60)}\n" for i, s in enumerate(rows)))
    table = tuner.Data.from_table("t.tsv", sequence_column="seq", label_columns=["bound"])
    assert table.check().splits["sequences"].sum() == 120
    shuffled = tuner.Data.from_fasta("pos.fa").load()
    assert shuffled.train.labels.mean() == 0.5
    with pytest.raises(tuner.TunerError, match="test split is closed"):
        _ = shuffled.test
    assert "dataset" in tuner.Data.named("synthetic").section()


# ------------------------------------------------------------------ wrong inputs


def is_one_sentence(error: pytest.ExceptionInfo[tuner.TunerError]) -> bool:
    text = str(error.value)
    return bool(text) and "\n" not in text and "Error" not in text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "which study"),
        ({"study": "no_such_study"}, "unknown study 'no_such_study'"),
        ({"study": Path("no.toml")}, "no.toml"),
        ({"study": "./tiny.toml", "preset": "smok"}, "did you mean 'smoke'"),
        ({"study": "./tiny.toml", "trials": 0}, "trials is 0; expected a whole number from 1"),
        ({"study": "./tiny.toml", "workers": -1}, "workers is -1"),
        ({"study": "./tiny.toml", "sampler": "tpf"}, "did you mean 'tpe'"),
        ({"study": "./tiny.toml", "kernels": "of"}, "did you mean 'off'"),
        ({"study": "./tiny.toml", "time_limit": "soon"}, "time_limit 'soon' is not a duration"),
        ({"study": "./tiny.toml", "max_memory": "much"}, "is not a size"),
        ({"study": "./tiny.toml", "device": "cuda:99"}, "no device 'cuda:99' here"),
        ({"study": "./tiny.toml", "only": {"activation": ["relu"]}}, "choose a part of a grid"),
        ({"study": "./tiny.toml", "name": "a/b"}, "cannot be the name of a study"),
        ({"study": "mine", "data": tuner.Data.from_fasta("nowhere.fa", "no.fa")}, "nowhere.fa"),
        ({"study": {"name": "mine"}}, r"\[data\] table is missing"),
        ({"study": {"name": "mine", "nonsense": 1, "data": {"dataset": "synthetic"}}}, "nonsense"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(
    here: Path, cache: Path, arguments: dict[str, object], says: str
) -> None:
    with pytest.raises(tuner.TunerError, match=says) as error:
        tuner.run(**{"cache": cache, "storage": "e.db", **arguments})  # type: ignore[arg-type]
    assert is_one_sentence(error)
    assert not (here / "e.db").exists()


def test_studies_that_are_not_there(here: Path, tiny: tuner.Study) -> None:
    with pytest.raises(tuner.TunerError, match="no storage here yet"):
        tuner.open_study("tiny", storage="nowhere.db")
    assert not (here / "nowhere.db").exists()
    with pytest.raises(StudyError, match="did you mean 'tiny'"):
        tuner.open_study("tinny", storage=tiny.storage)
    with pytest.raises(StudyError, match="no trial 9 in the search; it has trials 0 to 1"):
        tiny.trial(9)
    with pytest.raises(StudyError, match="did you mean 'search'"):
        tiny.trials("serch")
    with pytest.raises(UsageError, match="is stored with its data"):
        tuner.run(tiny, data=tuner.Data.named("synthetic"))


@pytest.mark.parametrize(
    ("sequences", "says"),
    [
        (["ACGT"], "takes sequences of 60 bp"),
        (["ACGT" * 15, "ACGT"], "all must have the same length"),
        (["ACG!" * 15], "is not a nucleotide"),
        (np.full((1, 60), 7), "whole numbers: 0, 1, 2, 3"),
        (np.zeros((1, 60)), "whole numbers"),
        (np.zeros((1, 60, 4)), "Transpose axes 1 and 2"),
        (np.full((1, 4, 60), 0.25), "a single 1 at each position"),
        (np.zeros(60, dtype=int), r"shape \(60,\)"),
        ([None], "expected text, codes or one-hot"),
    ],
)
def test_sequences_that_are_none(tiny: tuner.Study, sequences: object, says: str) -> None:
    with pytest.raises(tuner.TunerError, match=says) as error:
        tiny.primary.model().predict(sequences)  # type: ignore[arg-type]
    assert is_one_sentence(error)
