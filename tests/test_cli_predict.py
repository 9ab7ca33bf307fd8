"""`tuner export` and `tuner predict`: from a study to scores of anybody's sequences, and nothing half-written."""

from __future__ import annotations

import gzip
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import Terminal, copy_runs, run_limited

import tuner
from tuner.genome.sequence import decode
from tuner.predictor import onnx_graph
from tuner.predictor.predictor import Predictor

pytestmark = pytest.mark.slow


@pytest.fixture
def here(terminal: Terminal, used_study: tuner.Study) -> Terminal:
    """A terminal beside a copy of the finished study."""
    copy_runs(Path(used_study.storage).parents[1], terminal.folder)
    return terminal


def write_fasta(path: Path, n: int, length: int = 60) -> Path:
    codes = np.random.default_rng(5).integers(0, 4, (n, length)).astype(np.uint8)
    text = "".join(f">s{i}\n{one}\n" for i, one in enumerate(decode(codes)))
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


# ------------------------------------------------------------------ from the study to scores


def test_a_study_is_exported_and_its_model_predicts_as_the_study_does(here: Terminal) -> None:
    exported = here("export", "--study", "tiny", "--out", "model", "--onnx", "--json")
    assert exported.code == 0, exported.err
    assert exported.json["models"] == 2
    assert {"model.onnx", "predict.py", "card.md", "motifs.meme"} <= set(exported.json["files"])
    assert [row["false_positive_rate"] for row in exported.json["thresholds"]] == [0.01, 0.05, 0.1]
    peaks = write_fasta(here.folder / "peaks.fa.gz", 50)
    by_model = here("predict", "model", "peaks.fa.gz", "--out", "a.tsv", "--json")
    assert by_model.code == 0, by_model.err
    assert by_model.json["sequences"] == 50
    by_study = here("predict", "--study", "tiny", "peaks.fa.gz", "--out", "b.tsv")
    assert by_study.code == 0, by_study.err
    assert "50 sequences predicted; written to b.tsv" in by_study.err
    assert (here.folder / "a.tsv").read_bytes() == (here.folder / "b.tsv").read_bytes()
    table = pd.read_csv(here.folder / "a.tsv", sep="\t")
    in_python = tuner.load_model(here.folder / "model").predict_fasta(peaks)
    assert table.columns.tolist() == in_python.columns.tolist() == by_model.json["columns"]
    pd.testing.assert_frame_equal(table, in_python, atol=1e-4, rtol=1e-5, check_dtype=False)


def test_a_person_reads_thresholds_and_the_next_command(here: Terminal) -> None:
    shown = here("export", "--study", "tiny", "--trial", "0")
    assert shown.code == 0, shown.err
    assert "tuner predict tiny_model tiny_model/example.fa --out scores.tsv" in shown.err
    assert "false positives" in shown.err
    again = here("predict", "tiny_model", "tiny_model/example.fa", "--out", "scores.tsv")
    assert again.code == 0, again.err
    assert (here.folder / "scores.tsv").read_text() == (here.folder / "tiny_model" / "expected.tsv").read_text()


def test_the_study_is_not_changed_by_an_export(here: Terminal) -> None:
    database = here.folder / "runs" / "tuner.db"
    for path in (database, database.parent):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        before = database.read_bytes()
        assert here("export", "--study", "tiny", "--out", "model").code == 0
        assert database.read_bytes() == before
    finally:
        database.parent.chmod(0o755)
        database.chmod(0o644)


def test_tables_and_lengths(here: Terminal, exported: Path) -> None:
    folder = here.folder
    (folder / "mine.csv").write_text(f"name,window\nlong,{'ACGT' * 30}\nshort,ACG\n=cmd,{'A' * 60}\n")
    done = here("predict", str(exported), "mine.csv", "--sequence-column", "window", "--out", "x.tsv", "--stride", "30")
    assert done.code == 0, done.err
    assert "1 sequence shorter than 60 bp, padded with N" in done.err
    assert "1 sequence longer than 60 bp, read in windows" in done.err
    table = pd.read_csv(folder / "x.tsv", sep="\t")
    assert table["windows"].tolist() == [3, 1, 1]
    assert table["id"].tolist() == ["long", "short", "'=cmd"]  # no spreadsheet takes it for a formula


def test_the_number_of_threads_is_the_users_and_changes_no_row(here: Terminal, exported: Path) -> None:
    import torch

    before = torch.get_num_threads()
    fasta = str(write_fasta(here.folder / "x.fa", 300))
    for threads, out in (("1", "one.tsv"), ("2", "two.tsv")):
        done = here("predict", str(exported), fasta, "--out", out, "--threads", threads)
        assert done.code == 0, done.err
    one, two = (pd.read_csv(here.folder / out, sep="\t") for out in ("one.tsv", "two.tsv"))
    pd.testing.assert_frame_equal(one, two, atol=1e-5, rtol=1e-5)
    assert torch.get_num_threads() == before
    assert here.refuses("predict", str(exported), fasta, "--out", "o.tsv", "--threads", "0")[0] == 2


# ------------------------------------------------------------------ errors


def test_each_mistake_is_one_clear_error(here: Terminal, exported: Path) -> None:
    folder = here.folder
    model = str(exported)
    fasta = str(write_fasta(folder / "x.fa", 3))
    (folder / "protein.fa").write_text(">p\nMPLNVSFTNRNYDLDYDSVQPYFYCDEE\n")
    (folder / "empty.fa").write_text("")
    spoiled = shutil.copytree(exported, folder / "spoiled")
    weights = bytearray((spoiled / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (spoiled / "model.safetensors").write_bytes(weights)
    out = ("--out", "o.tsv")
    for words, code, text in (
        ((model, "protein.fa", *out), 1, "It looks like a protein"),
        ((model, "empty.fa", *out), 1, "empty.fa: the file is empty"),
        ((model, "none.fa", *out), 1, "none.fa: no such file"),
        (("spoiled", fasta, *out), 1, "model.safetensors: it has changed since it was written"),
        (("nowhere", fasta, *out), 1, "nowhere: no such folder; expected a folder that tuner export wrote"),
        ((fasta, *out), 2, "expected MODEL and INPUT, or --study and INPUT"),
        ((model, fasta, "--study", "tiny", *out), 2, "expected INPUT alone with --study"),
        ((model, fasta, "--trial", "1", *out), 2, "--trial needs --study"),
        ((model, fasta, "--out", "."), 2, "it is a folder"),
        ((model, fasta, "--out", "no/o.tsv"), 2, "there is no folder no"),
        ((model, fasta, "--out", "x.fa"), 2, "that is the input"),
        ((model, fasta, "--stride", "61", *out), 2, "a stride of 61 bp"),
        ((model, fasta, "--device", "cuda:9", *out), 2, "no device 'cuda:9' here"),
        (("--study", "tyny", fasta, *out), 2, "did you mean 'tiny'"),
    ):
        assert here.refuses("predict", *words)[0] == code, words
        assert text in here.refuses("predict", *words)[1]
    assert not list(folder.glob("*o.tsv*"))
    (folder / "taken").mkdir()
    (folder / "taken" / "mine.txt").write_text("!")
    assert "something else than a model" in here.refuses("export", "--study", "tiny", "--out", "taken", "--force")[1]
    assert "a model already" in here.refuses("export", "--study", "tiny", "--out", "spoiled")[1]
    assert here.refuses("export", "--study", "tiny", "--trial", "77", "--out", "m")[0] == 2
    assert here("export", "--study", "tiny", "--out", "spoiled", "--force").code == 0
    assert here("predict", "spoiled", fasta, *out).code == 0


def test_a_missing_extra_is_said_before_the_data_is_read(here: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_graph, "find_spec", lambda name: None)
    code, text = here.refuses("export", "--study", "tiny", "--out", "m", "--onnx")
    assert code == 2
    assert "pip install 'tuner-tfbs[export]'" in text
    assert not (here.folder / "m").exists()


def test_a_full_disk_leaves_what_was_there(exported: Path, tmp_path: Path) -> None:
    fasta = write_fasta(tmp_path / "x.fa", 400)
    (tmp_path / "o.tsv").write_text("of before\n")
    process = run_limited(tmp_path, "predict", str(exported), str(fasta), "--out", "o.tsv", size=8192)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert said.strip().splitlines()[-1] == "error: o.tsv: cannot be used (File too large)."
    assert (tmp_path / "o.tsv").read_text() == "of before\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["o.tsv", "x.fa"]


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_prediction_leaves_no_table(exported: Path, tmp_path: Path, sign: int) -> None:
    fasta = write_fasta(tmp_path / "x.fa", 40_000)
    process = run_limited(tmp_path, "predict", str(exported), str(fasta), "--out", "o.tsv")
    end = time.monotonic() + 100
    # Once rows are written: in the microseconds between its creation and its use nobody can remove the file.
    while not any(part.stat().st_size for part in tmp_path.glob(".o.tsv*")) and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(sign)
    process.communicate(timeout=100)
    assert process.returncode != 0
    assert not (tmp_path / "o.tsv").exists()
    if sign == signal.SIGINT:
        assert process.returncode == 130
        assert [p.name for p in tmp_path.iterdir()] == ["x.fa"]


def test_predictions_of_many_sequences_take_bounded_memory(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tracemalloc

    from tuner.predictor import predictor as used
    from tuner.predictor.scores import write_scores

    # The networks would take minutes; what is kept of their output is measured.
    monkeypatch.setattr(used, "member_logits", lambda members, codes, place: np.ones((2, len(codes), 1), np.float32))
    peaks = []
    for n in (20_000, 60_000):  # files above a megabyte, the piece that is read at once
        fasta = write_fasta(tmp_path / f"{n}.fa", n)
        tracemalloc.start()
        try:
            assert write_scores(predictor, fasta, tmp_path / "o.tsv").sequences == n
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.1
    with (tmp_path / "o.tsv").open() as table:
        assert sum(1 for _ in table) == 60_001
