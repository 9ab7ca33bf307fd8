"""`tuner evaluate --on`: the models of a study on data that are not its own, with scikit-learn and pandas beside."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from command_line import PLANTED, Terminal, copy_runs
from sklearn.metrics import average_precision_score, roc_auc_score

import tuner
from tuner.data.registry import load_dataset
from tuner.data.spec import DataSpec
from tuner.errors import DataError, UsageError
from tuner.genome.sequence import decode
from tuner.search.other_data import prepare_other
from tuner.study.other_data import OtherData

pytestmark = pytest.mark.slow

COMPLEMENT = str.maketrans("ACGT", "TGCA")


@pytest.fixture
def terminal(terminal: Terminal, finished: Path) -> Terminal:
    """A terminal in a copy of the runs; the test split was never opened there."""
    copy_runs(finished, terminal.folder)
    return terminal


@pytest.fixture
def study(terminal: Terminal, cache: Path) -> Iterator[tuner.Study]:
    """The same study, from Python."""
    runs = terminal.folder / "runs"
    with tuner.open_study("tiny", storage=runs / "tuner.db", artifacts=runs / "artifacts", cache=cache) as opened:
        yield opened


def draw(n: int, length: int, seed: int, planted: bool) -> list[str]:
    rng = np.random.default_rng(seed)
    drawn = ["".join(row) for row in np.array(list("ACGT"))[rng.integers(0, 4, (n, length))]]
    if not planted:
        return drawn
    return [s[:at] + PLANTED + s[at + 10 :] for s, at in zip(drawn, rng.integers(10, length - 20, n), strict=True)]


def write_fasta(path: Path, sequences: list[str]) -> None:
    path.write_text("".join(f">{path.stem}{i}\n{s}\n" for i, s in enumerate(sequences)))


def write_other(folder: Path, length: int = 60, n: int = 40) -> tuple[list[str], list[int]]:
    """Another replicate: two FASTA files and a file with a [data] table alone; its sequences and labels."""
    real, none = draw(n, length, 11, planted=True), draw(n, length, 12, planted=False)
    write_fasta(folder / "peaks.fa", real)
    write_fasta(folder / "rest.fa", none)
    (folder / "replicate.toml").write_text('[data]\npositives = "peaks.fa"\nnegatives = "rest.fa"\n')
    return real + none, [1] * n + [0] * n


def own_records(finished: Path, name: str) -> list[str]:
    return (finished / f"{name}.fa").read_text().split("\n")[1::2]


# ------------------------------------------------------------------ the numbers, by a second source


def test_every_sequence_of_another_set_is_scored(terminal: Terminal, study: tuner.Study) -> None:
    sequences, labels = write_other(terminal.folder)
    answer = terminal("evaluate", "--on", "replicate.toml", "--json")
    assert answer.code == 0, answer.err
    runs = study.trials("confirmation")
    chosen = runs.index[runs["candidate"] == answer.json["trial"]]
    logits = [study.trial(int(i), "confirmation").model().predict(sequences)[:, 0] for i in chosen]
    assert answer.json["per_model"] == pytest.approx([roc_auc_score(labels, one) for one in logits], abs=1e-9)
    assert answer.json["auroc"][0] == pytest.approx(np.mean([roc_auc_score(labels, one) for one in logits]), abs=1e-9)
    precision = np.mean([average_precision_score(labels, one) for one in logits])
    assert answer.json["average_precision"][0] == pytest.approx(precision, abs=1e-9)
    assert answer.json["ensemble"] == pytest.approx(roc_auc_score(labels, np.mean(logits, axis=0)), abs=1e-6)
    gc = roc_auc_score(labels, [sum(map(s.count, "GC")) for s in sequences])
    assert min(abs(answer.json["baselines"]["gc"]["auroc"] - v) for v in (gc, 1 - gc)) < 1e-9
    assert set(answer.json["baselines"]) == {"gc", "cpg", "2-mer", "6-mer", "best PWM"}
    on = answer.json["on"]
    assert (on["name"], on["split"], on["sequences"], on["copies"], on["test_copies"]) == ("replicate", "all", 80, 0, 0)
    assert on["source"] == f"{terminal.folder}/peaks.fa + {terminal.folder}/rest.fa"
    assert len(on["fingerprint"]) == 64
    assert on["notes"] == []


def test_longer_and_shorter_sequences_are_cropped_and_padded(terminal: Terminal, study: tuner.Study) -> None:
    for length, said in ((81, "80 of 80 sequences are longer and were cropped around their centres"), (51, "40 of 40")):
        sequences, labels = write_other(terminal.folder, length)
        answer = terminal("evaluate", "--on", "replicate.toml", "--json")
        assert f"its sequences have {length} bases, those of training 60; {said}" in answer.err
        fitted = [s[10:70] if length == 81 else "NNNN" + s + "NNNNN" for s in sequences]
        runs = study.trials("confirmation")
        chosen = runs.index[runs["candidate"] == answer.json["trial"]]
        logits = [study.trial(int(i), "confirmation").model().predict(fitted)[:, 0] for i in chosen]
        assert answer.json["per_model"] == pytest.approx([roc_auc_score(labels, one) for one in logits], abs=1e-9)
    mixed = [s[: 55 + i % 10] for i, s in enumerate(draw(40, 64, 5, planted=True))]
    write_fasta(terminal.folder / "peaks.fa", mixed)
    answer = terminal("evaluate", "--on", "replicate.toml")
    shorter = sum(len(s) < 60 for s in mixed)
    assert (
        "its sequences have 51 to 64 bases, those of training 60; 16 of 80 sequences are longer and were cropped "
        f"around their centres; {shorter} of 40 positives and 40 of 40 negatives are shorter and were padded with N."
    ) in answer.err


def test_the_test_split_of_another_study(terminal: Terminal) -> None:
    sequences, labels = write_other(terminal.folder)
    split = ["train", "valid", "test", "test"] * 20
    rows = [f"{s}\t{label}\t{part}" for s, label, part in zip(sequences, labels, split, strict=True)]
    (terminal.folder / "other.tsv").write_text("sequence\tbound\tpart\n" + "\n".join(rows) + "\n")
    (terminal.folder / "other.toml").write_text('name = "k562"\n[data]\npath = "other.tsv"\nsplit_column = "part"\n')
    whole = terminal("evaluate", "--on", "other.toml", "--json").json["on"]
    assert (whole["name"], whole["sequences"]) == ("k562", 80)
    test = terminal("evaluate", "--on", "other.toml", "--split", "test", "--json").json["on"]
    assert (test["split"], test["sequences"]) == ("test", 40)
    assert test["fingerprint"] != whole["fingerprint"]
    (terminal.folder / "named.toml").write_text(
        '[data]\npath = "other.tsv"\nsplit_column = "part"\ntest = { positives = "peaks.fa", negatives = "shuffle" }\n'
    )
    assert terminal("evaluate", "--on", "named.toml", "--split", "test", "--json").json["on"]["sequences"] == 80
    assert terminal("evaluate", "--on", "named.toml", "--json").json["on"]["sequences"] == 40 + 80
    drawn = terminal("evaluate", "--on", "replicate.toml", "--split", "test", "--json").json["on"]
    spec = DataSpec(positives=str(terminal.folder / "peaks.fa"), negatives=str(terminal.folder / "rest.fa"))
    assert drawn["sequences"] == len(load_dataset(spec).test)


def test_a_named_data_set_of_another_length(terminal: Terminal) -> None:
    answer = terminal("evaluate", "--on", "synthetic", "--split", "test")
    assert answer.code == 0, answer.err
    assert "800 sequences of synthetic (its test split)" in answer.err
    assert (
        "synthetic: its sequences have 200 bases, those of training 60; 800 of 800 sequences are longer" in answer.err
    )


# ------------------------------------------------------------------ the record


def test_it_is_recorded_apart_from_the_test_split(terminal: Terminal, study: tuner.Study) -> None:
    write_other(terminal.folder)
    first = terminal("evaluate", "--on", "replicate.toml")
    assert "80 sequences of replicate (all of it)" in first.err
    assert "These sequences have been scored for the first time; it is recorded in the study." in first.err
    assert "These sequences have been scored 2 times" in terminal("evaluate", "--on", "./replicate.toml").err
    assert terminal("evaluate", "--on", "replicate.toml", "--split", "test", "--json").json["openings"] == 1
    best = terminal("best", "--json").json
    assert best["test_openings"] == []
    assert [(o["name"], o["split"], o["trial"]) for o in best["other_openings"]] == [
        ("replicate", part, best["primary"]["primary"]) for part in ("all", "all", "test")
    ]
    assert {"when", "models", "source", "fingerprint", "sequences", "copies"} < set(best["other_openings"][0])
    status = terminal("status", "--name", "tiny")
    assert "test split never opened" in status.err
    assert "scored on other data 3 times; last" in status.err
    assert "warning: the test split was opened" not in terminal("confirm").err
    own = study.evaluate()
    assert (own.openings, own.on) == (1, None)
    assert len(terminal("status", "--name", "tiny", "--json").json["test_openings"]) == 1


def test_python_scores_other_data_too(terminal: Terminal, study: tuner.Study, monkeypatch: pytest.MonkeyPatch) -> None:
    write_other(terminal.folder)
    monkeypatch.chdir(terminal.folder)
    by_command = terminal("evaluate", "--on", "replicate.toml", "--json").json
    by_file = study.evaluate(on="replicate.toml")
    by_data = study.evaluate(on=tuner.Data.from_fasta("peaks.fa", "rest.fa"))
    assert by_file.on is not None
    assert by_data.on is not None
    assert by_file.on == by_command["on"]
    assert (by_data.on["name"], by_data.on["fingerprint"]) == ("peaks.fa", by_file.on["fingerprint"])
    assert [by_file.openings, by_data.openings] == [2, 3]
    assert by_file.auroc.estimate == by_data.auroc.estimate == by_command["auroc"][0]
    (terminal.folder / "v.toml").write_text('[data]\npositives = "$P/peaks.fa"\nnegatives = "rest.fa"\n')
    assert study.evaluate(on=Path("v.toml"), variables={"P": "."}).openings == 4
    with pytest.raises(UsageError, match="chooses from the data of on"):
        study.evaluate(split="test")


# ------------------------------------------------------------------ relatives, tasks


def test_copies_of_the_study_are_counted(terminal: Terminal, finished: Path) -> None:
    write_other(terminal.folder)
    plan = DataSpec(positives=str(finished / "positives.fa"), negatives=str(finished / "negatives.fa"))
    own = load_dataset(plan)
    trained, tested = ([s for s in decode(own.splits[name].codes)] for name in ("train", "test"))
    turned = [s[::-1].translate(COMPLEMENT) for s in trained[:7]]
    with (terminal.folder / "rest.fa").open("a") as file:
        file.write("".join(f">copy{i}\n{s}\n" for i, s in enumerate(turned + tested[:3])))
    answer = terminal("evaluate", "--on", "replicate.toml", "--json")
    assert (answer.json["on"]["copies"], answer.json["on"]["test_copies"]) == (7, 3)
    assert (
        "replicate: 7 sequences of 90 also occur in training or validation of tiny, on either strand, so scores may be "
        "too high."
    ) in answer.err
    assert "replicate: 3 sequences of 90 also occur in the test split of tiny" in answer.err


def test_another_single_task_is_scored_and_said(terminal: Terminal) -> None:
    sequences, labels = write_other(terminal.folder)
    rows = [f"{s},{label}" for s, label in zip(sequences, labels, strict=True)]
    (terminal.folder / "other.csv").write_text("sequence,K562\n" + "\n".join(rows) + "\n")
    (terminal.folder / "other.toml").write_text('[data]\npath = "other.csv"\n')
    answer = terminal("evaluate", "--on", "other.toml")
    assert "warning: other: the task of tiny, bound, is scored on the labels K562." in answer.err


def test_real_sets_of_another_factor_and_cell_type(data_dir: Path) -> None:
    """By pandas: what is left of the cell types that both name, and how many sequences both files hold."""
    rest = {which: data_dir / f"encode/REST_GM12878_NRSF_HudsonAlpha_{which}.seq.gz" for which in ("AC", "B")}
    own = load_dataset(DataSpec(path=str(rest["AC"]), test=DataSpec(path=str(rest["B"]))))
    usf1 = data_dir / "encode/USF1_HepG2_USF-1_HudsonAlpha_B.seq.gz"
    found = prepare_other(OtherData("", DataSpec(path=str(usf1))), own, "rest")
    rows = pd.read_csv(usf1, sep="\t")
    assert list(decode(found.dataset.test.codes)) == rows["seq"].tolist()
    assert found.dataset.test.labels[:, 0].tolist() == rows["Bound"].tolist()
    known = {
        min(s, s[::-1].translate(COMPLEMENT)) for name in ("train", "valid") for s in decode(own.splits[name].codes)
    }
    assert found.about["copies"] == sum(min(s, s[::-1].translate(COMPLEMENT)) in known for s in rows["seq"])
    assert found.about["name"] == usf1.name
    assert any("dinucleotide shuffles" in text for text in found.about["notes"])


def test_tasks_are_found_by_name(data_dir: Path, tmp_path: Path) -> None:
    table = pd.read_csv(data_dir / "usf1_multicell/usf1_multicell.tsv.gz", sep="\t")
    table.iloc[:3000].to_csv(tmp_path / "own.tsv", sep="\t", index=False)
    other = table.iloc[3000:4000].rename(columns={"H1hESC": "GM12878"})[["GM12878", "K562", "sequence", "HepG2"]]
    other.to_csv(tmp_path / "other.tsv", sep="\t", index=False)
    own = load_dataset(DataSpec(path=str(tmp_path / "own.tsv")))
    found = prepare_other(OtherData("other", DataSpec(path=str(tmp_path / "other.tsv"))), own, "usf1")
    assert (found.dataset.tasks, found.columns) == (("HepG2", "K562"), (0, 2))
    assert np.array_equal(found.dataset.test.labels, other[["HepG2", "K562"]])
    assert found.about["notes"][:2] == [
        "other: not scored, because only usf1 has them: H1hESC.",
        "other: not scored, because only other has them: GM12878.",
    ]
    other[["GM12878", "sequence"]].to_csv(tmp_path / "none.tsv", sep="\t", index=False)
    with pytest.raises(DataError, match="has the tasks GM12878, but those of usf1 are HepG2, H1hESC, K562"):
        prepare_other(OtherData("none", DataSpec(path=str(tmp_path / "none.tsv"))), own, "usf1")


def test_outputs_of_several_tasks_are_chosen_by_name(terminal: Terminal, cache: Path, finished: Path) -> None:
    """A network of two tasks is scored on one of them, with its own output, and so are the baselines."""
    real, none = draw(150, 60, 21, planted=True), draw(150, 60, 22, planted=False)
    gc = {s: int(sum(map(s.count, "GC")) > 30) for s in real + none}
    rows = [f"{s},{int(i < 150)},{gc[s]}" for i, s in enumerate(real + none)]
    (terminal.folder / "two.csv").write_text("sequence,motif,rich\n" + "\n".join(rows) + "\n")
    study = {
        "name": "two", "data": {"path": str(terminal.folder / "two.csv")},
        "motifs": {"database": str(finished / "motifs.meme")}, "training": {"epochs": 2, "batch_size": 32},
        "search": {"trials": 1}, "confirmation": {"candidates": 1, "seeds": 1, "shuffled": 0},
        "parameters": {"architecture": {"fixed": "cnn"}, "filters": {"fixed": 4}, "n_blocks": {"fixed": 1}},
    }  # fmt: skip
    sequences = draw(60, 60, 31, planted=True) + draw(60, 60, 32, planted=False)
    labels = [int(sum(map(s.count, "GC")) > 30) for s in sequences]
    lines = [f"{s}\t{label}" for s, label in zip(sequences, labels, strict=True)]
    (terminal.folder / "rich.tsv").write_text("sequence\trich\n" + "\n".join(lines) + "\n")
    files = {"storage": terminal.folder / "two.db", "artifacts": terminal.folder / "files", "cache": cache}
    with tuner.run(study, kernels="off", progress=False, **files) as ran:
        found = ran.evaluate(on=tuner.Data.from_table(terminal.folder / "rich.tsv"))
        (run,) = ran.trials("confirmation").index
        logits = ran.trial(int(run), "confirmation").model().predict(sequences)
    assert logits.shape == (120, 2)
    assert found.per_model == pytest.approx([roc_auc_score(labels, logits[:, 1])], abs=1e-9)
    content = roc_auc_score(labels, [sum(map(s.count, "GC")) for s in sequences])
    assert found.baselines["gc"]["auroc"] == pytest.approx(content, abs=1e-9) == 1.0
    assert found.on is not None
    assert found.on["notes"][0] == "rich.tsv: not scored, because only two has them: motif."


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        ('[data]\npth = "a.fa"\n', 2, "o.toml [data]: unknown key 'pth'; did you mean 'path'?"),
        ('[data]\npath = "absent.tsv"\n', 1, "absent.tsv: no such file."),
        ('name = "o"\n', 2, "o.toml: the [data] table is missing"),
        ('name = "o"\ntitel = "t"\n[data]\npath = "a.tsv"\n', 2, "unknown key 'titel'; did you mean 'title'?"),
        ('[data]\npath = "$NOWHERE/a.tsv"\n', 2, "the environment variable NOWHERE is not set"),
        ('[data]\npath = "one.csv"\n', 1, "o: task 'bound' has only positives (40 sequences) and no negatives."),
        ('[data]\npath = "two.csv"\n', 1, "o has the tasks a, b, but those of tiny are bound."),
        ("[data\n", 2, "TOML syntax error"),
    ],
)
def test_wrong_data_are_one_error_and_nothing_is_recorded(
    terminal: Terminal, content: str, code: int, said: str
) -> None:
    sequences, _ = write_other(terminal.folder)
    (terminal.folder / "o.toml").write_text(content)
    (terminal.folder / "one.csv").write_text("sequence,bound\n" + "".join(f"{s},1\n" for s in sequences[:40]))
    (terminal.folder / "two.csv").write_text("sequence,a,b\n" + "".join(f"{s},1,0\n" for s in sequences))
    found, text = terminal.refuses("evaluate", "--on", "o.toml", "--json")
    assert (found, said in text) == (code, True), text
    assert terminal("best", "--json").json["other_openings"] == []


def test_wrong_options_and_the_study_s_own_data(terminal: Terminal, finished: Path) -> None:
    write_other(terminal.folder)
    assert terminal.refuses("evaluate", "--on", "absent.toml") == (
        2, f"absent.toml: there is no such study file in {terminal.folder}. Check the path.",
    )  # fmt: skip
    code, text = terminal.refuses("evaluate", "--split", "test")
    assert (code, "--split chooses from the data of --on" in text) == (2, True)
    code, text = terminal.refuses("evaluate", "--on", "replicate.toml", "--split", "tset")
    assert (code, text) == (2, "unknown value of --split 'tset'; did you mean 'test'?")
    for part in ("all", "test"):
        code, text = terminal.refuses("evaluate", "--on", str(finished / "tiny.toml"), "--split", part)
        assert (code, "are data of tiny itself, so there is nothing else to score" in text) == (1, True)
    packed = gzip.compress((finished / "positives.fa").read_bytes())
    (terminal.folder / "peaks.fa").write_bytes(packed)
    (terminal.folder / "rest.fa").write_bytes((finished / "negatives.fa").read_bytes())
    assert "are data of tiny itself" in terminal.refuses("evaluate", "--on", "replicate.toml")[1]
    assert terminal("best", "--json").json["other_openings"] == []


def test_an_opening_that_somebody_changed_is_one_clear_error(terminal: Terminal, study: tuner.Study) -> None:
    storage: Any = study._storage
    storage.set_study_system_attr(storage.get_study_id_from_name("tiny"), "tuner:other_openings", '"no"')
    for words in (("best", "--json"), ("status", "--name", "tiny")):
        code, text = terminal.refuses(*words)
        assert (code, "tuner:other_openings is not what tuner writes" in text) == (1, True)
