"""`tuner scan`, and `tuner predict` for intervals: outputs, messages, errors, kills and full disks."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyBigWig
import pytest
from command_line import Terminal, run_limited

import tuner
from tuner.predictor import base_track

pytestmark = pytest.mark.slow


def write_genome(folder: Path, sizes: tuple[int, ...] = (4000, 3000, 2000)) -> None:
    rng = np.random.default_rng(0)
    names = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X")
    texts = ["".join(rng.choice(list("ACGT"), size)) for size in sizes]
    (folder / "g.fa").write_text("".join(f">{n}\n{t}\n" for n, t in zip(names, texts, strict=False)))


def test_a_scan_and_the_same_in_python(terminal: Terminal, exported: Path) -> None:
    folder = terminal.folder
    write_genome(folder)
    words = ("scan", str(exported), "--genome", "g.fa", "--stride", "20", "--fpr", "0.02")
    done = terminal(*words, "--bigwig", "s.bw", "--bed", "h.bed", "--json")
    assert done.code == 0, done.err
    hits = tuner.load_model(exported).scan(folder / "g.fa", stride=20, fpr=0.02)
    assert done.json["hits"] == len(hits) == len((folder / "h.bed").read_text().splitlines()) > 3
    assert done.json["threshold"] == pytest.approx(hits.attrs["logit"])
    with pyBigWig.open(str(folder / "s.bw")) as track:
        assert set(track.chroms()) == {"I", "II", "III"}
        assert done.json["windows"] == sum(len(track.intervals(name)) for name in track.chroms())
    said = terminal(*words, "--bed", "again.bed")
    assert "of 10,000 dinucleotide-shuffled windows of this genome reach" in said.err
    assert f"{len(hits)} hits; written to again.bed" in said.err
    assert (folder / "again.bed").read_bytes() == (folder / "h.bed").read_bytes()


def test_intervals_and_the_same_in_python(terminal: Terminal, exported: Path) -> None:
    folder = terminal.folder
    write_genome(folder)
    (folder / "x.bed").write_text("".join(f"chr1\t{i * 90}\t{i * 90 + 70}\tp{i}\t0\t+\n" for i in range(40)))
    words = (
        "predict",
        str(exported),
        "x.bed",
        "--genome",
        "g.fa",
        "--out",
        "o.tsv",
        "--bigwig",
        "o.bw",
        "--bed",
        "o.bed",
    )
    done = terminal(*words)
    assert done.code == 0, done.err
    assert "40 intervals predicted, each interval whole; written to o.tsv, o.bw and o.bed" in done.err
    table = pd.read_csv(folder / "o.tsv", sep="\t")
    in_python = tuner.load_model(exported).predict_bed(folder / "x.bed", folder / "g.fa")
    assert table.columns.tolist() == in_python.columns.tolist()
    texts = ["strand"]
    pd.testing.assert_frame_equal(
        table.drop(columns=texts), in_python.drop(columns=texts), atol=1e-4, rtol=1e-4, check_dtype=False
    )
    with pyBigWig.open(str(folder / "o.bw")) as track:
        assert track.values("chr1", 3, 4)[0] == pytest.approx(table["logit"][0], abs=1e-4)
    summit = terminal(*words, "--around", "summit", "--json")
    assert summit.json["around"] == "summit"
    assert summit.json["intervals"] == 40


def test_each_mistake_is_one_clear_error(terminal: Terminal, exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, model = terminal.folder, str(exported)
    write_genome(folder)
    (folder / "x.bed").write_text("chr1\t5\t65\n")
    (folder / "x.fa").write_text(f">a\n{'ACGT' * 15}\n")
    (folder / "far.bed").write_text("chr1\t3990\t4010\n")
    (folder / "other.bed").write_text("chr17\t3990\t4010\n")
    (folder / "empty.bed").write_text("")
    genome, bed = ("--genome", "g.fa"), ("--bed", "h.bed")
    for words, code, text in (
        (("scan", model, *genome), 2, "nothing to write: name --bigwig, --bed or both"),
        (("scan", *genome, *bed), 2, "expected MODEL, or --study"),
        (("scan", model, "--genome", "none.fa", *bed), 1, "none.fa: no such file"),
        (("scan", model, *genome, *bed, "--regions", "none.bed"), 1, "none.bed: no such file"),
        (("scan", model, *genome, *bed, "--regions", "empty.bed"), 1, "empty.bed"),
        (("scan", model, *genome, *bed, "--regions", "far.bed"), 1, "reaches past the end of I"),
        (("scan", model, *genome, *bed, "--regions", "other.bed"), 1, "g.fa has no such chromosome"),
        (("scan", model, *genome, "--bed", "x.bed", "--regions", "x.bed"), 2, "that is the input"),
        (("scan", model, *genome, *bed, "--bigwig", "h.bed"), 2, "that is --bigwig"),
        (("scan", model, *genome, "--bed", "no/h.bed"), 2, "there is no folder no"),
        (("scan", model, *genome, *bed, "--stride", "61"), 2, "a stride of 61 bp"),
        (("scan", model, *genome, *bed, "--fpr", "0.9"), 2, "a false-positive rate of 0.9"),
        (("scan", model, *genome, *bed, "--task", "x"), 2, "unknown task 'x'"),
        (("scan", model, "--genome", "x.fa", *bed, "--regions", "x.bed"), 1, "x.fa has no such chromosome"),
        (("predict", model, "x.bed", "--out", "o.tsv"), 1, "Name their genome with --genome"),
        (("predict", model, "x.fa", "--out", "o.tsv", "--bigwig", "o.bw"), 2, "--bigwig is for intervals"),
        (("predict", model, "x.fa", *genome, "--out", "o.tsv"), 1, "x.fa line 1"),
        (("predict", model, "other.bed", *genome, "--out", "o.tsv"), 1, "only 0 of 1 intervals lie on chromosomes"),
        (("predict", model, "x.bed", *genome, "--out", "o.tsv", "--bed", "o.tsv"), 2, "that is another output"),
        (("predict", model, "x.bed", *genome, "--out", "o.tsv", "--around", "top"), 2, "unknown value of around"),
        (("predict", model, "x.bed", *genome, "--out", "o.tsv", "--sequence-column", "s"), 2, "is for a table"),
    ):  # fmt: skip
        found = terminal.refuses(*words)
        assert found[0] == code, (words, found)
        assert text in found[1], (words, found)
    monkeypatch.setattr(base_track, "find_spec", lambda name: None)
    for words in (("scan", model, *genome, "--bigwig", "s.bw"), ("predict", model, "x.bed", *genome, "--out", "o.tsv",
                                                                 "--bigwig", "o.bw")):  # fmt: skip
        assert "pip install 'tuner-tfbs[genome]'" in terminal.refuses(*words)[1]
    assert not list(folder.glob("*o.tsv*")) + list(folder.glob("*h.bed*.part"))


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGKILL])
def test_a_killed_scan_goes_on(exported: Path, tmp_path: Path, sign: int) -> None:
    write_genome(tmp_path, (60_000,) * 10)
    words = ("scan", str(exported), "--genome", "g.fa", "--stride", "2", "--fpr", "0.01")
    whole = run_limited(tmp_path, *words, "--bed", "whole.bed")
    whole.communicate(timeout=200)
    assert whole.returncode == 0
    process = run_limited(tmp_path, *words, "--bed", "h.bed")
    end = time.monotonic() + 100
    while len(list(tmp_path.glob(".h.bed.scan/*.npy"))) < 3 and time.monotonic() < end and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(sign)
    process.communicate(timeout=100)
    assert process.returncode not in (0, 1)
    assert not (tmp_path / "h.bed").exists()
    again = run_limited(tmp_path, *words, "--bed", "h.bed")
    _, said = again.communicate(timeout=200)
    assert again.returncode == 0, said
    assert "of 10 chromosomes or regions had been scanned before" in said
    assert (tmp_path / "h.bed").read_bytes() == (tmp_path / "whole.bed").read_bytes()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("output", ["--bed", "--bigwig"])
def test_a_full_disk_leaves_what_was_there(exported: Path, tmp_path: Path, output: str) -> None:
    write_genome(tmp_path, (30_000,))
    target = tmp_path / ("h.bed" if output == "--bed" else "h.bw")
    target.write_text("of before\n")
    words = ("scan", str(exported), "--genome", "g.fa", "--stride", "1" if output == "--bed" else "10", "--fpr", "0.4")
    process = run_limited(tmp_path, *words, output, target.name, size=13_000)
    _, said = process.communicate(timeout=200)
    assert process.returncode == 1, said
    assert said.strip().splitlines()[-1].startswith("error: ")
    assert target.read_text() == "of before\n"


def test_two_scans_do_not_write_one_output(exported: Path, tmp_path: Path) -> None:
    from filelock import FileLock

    write_genome(tmp_path)
    (tmp_path / ".h.bed.scan").mkdir()
    with FileLock(tmp_path / ".h.bed.scan" / "lock"):
        process = run_limited(tmp_path, "scan", str(exported), "--genome", "g.fa", "--bed", "h.bed")
        _, said = process.communicate(timeout=100)
    assert process.returncode == 2
    assert "another scan is writing it" in said
