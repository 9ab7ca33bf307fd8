"""`tuner ism` and `tuner explain`: folders of effects and contributions, and nothing half-written."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyBigWig
import pytest
from command_line import PLANTED, Terminal, copy_runs, run_limited

import tuner
from tuner.genome.peaks import read_peaks
from tuner.genome.sequence import decode, one_hot
from tuner.predictor import base_track

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]


@pytest.fixture
def here(terminal: Terminal, used_study: tuner.Study) -> Terminal:
    """A terminal beside a copy of the finished study."""
    copy_runs(Path(used_study.storage).parents[1], terminal.folder)
    return terminal


def write_fasta(path: Path, n: int, length: int = 60) -> Path:
    """Random sequences, each with the motif of the tiny study."""
    rng = np.random.default_rng(5)
    texts = decode(rng.integers(0, 4, (n, length)).astype(np.uint8))
    places = rng.integers(0, length - len(PLANTED), n)
    planted = [text[:at] + PLANTED + text[at + len(PLANTED) :] for text, at in zip(texts, places, strict=True)]
    path.write_text("".join(f">s{i}\n{text}\n" for i, text in enumerate(planted)))
    return path


@pytest.fixture
def yeast(data_dir: Path, terminal: Terminal) -> tuple[str, str]:
    """Three hundred peaks of Reb1, and the genome, whose chromosomes have other names."""
    folder = data_dir / "yeast_reb1"
    lines = (folder / "Reb1_Rhee.bed").read_text().splitlines(keepends=True)
    (terminal.folder / "reb1.bed").write_text("".join(lines[:300]))
    return "reb1.bed", str(folder / "Saccharomyces_cerevisiae.R64-1-1.dna.toplevel.fa.gz")


# ------------------------------------------------------------------ results


def test_a_study_and_its_model_give_the_same_effects(here: Terminal, exported: Path) -> None:
    fasta = write_fasta(here.folder / "x.fa", 20)
    done = here("ism", str(exported), "x.fa", "--out", "a", "--logos", "3", "--json")
    assert done.code == 0, done.err
    assert done.json["sequences"] == 20
    assert done.json["mutants"] == 20 * 3 * 60
    assert done.json["columns"] == ["id", "position", "ref", "alt", "delta", "sd"]
    assert sorted(p.name for p in (here.folder / "a").iterdir()) == ["ism.npz", "ism.tsv", "logos.png", "logos.svg"]
    by_study = here("ism", "--study", "tiny", "x.fa", "--out", "b", "--logos", "0")
    assert by_study.code == 0, by_study.err
    assert "20 sequences, 3600 mutants; effects on the logit are in b/ism.tsv" in by_study.err
    assert (here.folder / "a" / "ism.tsv").read_bytes() == (here.folder / "b" / "ism.tsv").read_bytes()
    model = tuner.load_model(exported)
    texts = fasta.read_text().split()[1::2]
    with np.load(here.folder / "a" / "ism.npz") as kept:
        assert set(kept) == {"delta", "sd", "sequences", "starts", "ids", "tasks"}
        assert kept["delta"][:, 0] == pytest.approx(model.ism(texts), abs=1e-6)
        assert kept["ids"].tolist() == [f"s{i}" for i in range(20)]
    svg = (here.folder / "a" / "logos.svg").read_text()
    assert [f">s{i}<" in svg for i in range(4)] == [True, True, True, False]
    assert (here.folder / "a" / "logos.png").read_bytes().startswith(b"\x89PNG")


def test_contributions_of_a_table_and_of_other_lengths(here: Terminal, exported: Path) -> None:
    (here.folder / "mine.csv").write_text(f"name,window\nlong,{'ACGTTGCA' * 15}\nshort,{PLANTED}\n=cmd,{'AC' * 30}\n")
    words = ("mine.csv", "--sequence-column", "window", "--references", "3")
    done = here("explain", str(exported), *words, "--out", "c")
    assert done.code == 0, done.err
    assert "1 sequence shorter than 60 bp, padded with N" in done.err
    assert "1 sequence longer than 60 bp: the window with the highest logit was explained" in done.err
    assert "miss the logit minus its references' mean by 0.00% (median), 0.00% (worst)" in done.err
    assert "contributions of two of the networks correlate with r = " in done.err
    assert "try: modisco motifs -s c/ohe.npz -a c/shap.npz -n 2000 -w 60 -o c/modisco.h5" in done.err
    table = pd.read_csv(here.folder / "c" / "contributions.tsv", sep="\t")
    assert table["id"].tolist() == ["long", "short", "'=cmd"]  # no spreadsheet takes it for a formula
    model = tuner.load_model(exported)
    with np.load(here.folder / "c" / "contributions.npz") as kept:
        own = model.attributions([PLANTED], references=3)[0]
        assert kept["contributions"][1] == pytest.approx(own, abs=1e-5)
        assert (
            table["start"].tolist()
            == kept["starts"].tolist()
            == [int(model.predict("ACGTTGCA" * 15)["start"][0]), -25, 0]
        )
        assert np.array_equal(kept["hypothetical"] * kept["sequences"], kept["contributions"])


def test_peaks_of_a_genome_with_other_names_become_a_track(
    here: Terminal, exported: Path, yeast: tuple[str, str]
) -> None:
    peaks, genome = yeast
    done = here(
        "explain", str(exported), peaks, "--genome", genome, "--bigwig", "--references", "2", "--out", "w", "--json"
    )
    assert done.code == 0, done.err
    assert done.json["sequences"] == 300
    assert done.json["missing"] < 1e-4
    assert done.json["files"] == [
        "contributions.bw", "contributions.npz", "contributions.tsv", "logos.png", "logos.svg", "ohe.npz", "shap.npz",
    ]  # fmt: skip
    centre = read_peaks(here.folder / peaks).centre
    with (
        np.load(here.folder / "w" / "contributions.npz") as kept,
        pyBigWig.open(str(here.folder / "w" / "contributions.bw")) as bw,
    ):
        scores, starts = kept["contributions"].sum(axis=1), kept["starts"]
        assert starts.tolist() == (centre - 30).tolist()
        assert set(bw.chroms()) == set(kept["chroms"].tolist()) == {"chr1", "chr2", "chr3", "chr4"}
        assert bw.chroms("chr1") == 230218
        alone = [i for i in range(300) if starts[i] > 0 and (np.abs(starts - starts[i]) < 60).sum() == 1]
        assert len(alone) > 50
        for i in alone[:50]:
            read = bw.values(str(kept["chroms"][i]), int(starts[i]), int(starts[i]) + 60)
            assert np.array(read) == pytest.approx(scores[i], abs=1e-6)
    mutated = here("ism", str(exported), peaks, "--genome", genome, "--positions", "28-32", "--out", "m", "--json")
    assert mutated.code == 0, mutated.err
    assert mutated.json["mutants"] == 300 * 4 * 3
    assert mutated.json["columns"][:3] == ["id", "chrom", "position"]


def test_tf_modisco_takes_the_files(here: Terminal, exported: Path) -> None:
    from modiscolite.cli import _load_input

    write_fasta(here.folder / "x.fa", 150)
    done = here("explain", str(exported), "x.fa", "--references", "5", "--logos", "0", "--out", "c")
    assert done.code == 0, done.err
    folder = here.folder / "c"
    with np.load(folder / "contributions.npz") as kept:
        assert np.array_equal(_load_input(folder / "ohe.npz"), kept["sequences"])
        assert np.array_equal(_load_input(folder / "shap.npz"), kept["hypothetical"])
    words = ["motifs", "-s", "c/ohe.npz", "-a", "c/shap.npz", "-n", "200", "-w", "60", "-o", "c/modisco.h5"]
    ran = subprocess.run(
        [sys.executable, "-c", "from modiscolite.cli import cli; cli()", *words], cwd=here.folder, check=False,
        env={**os.environ, "NUMBA_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert (folder / "modisco.h5").is_file()


# ------------------------------------------------------------------ errors


def test_each_mistake_is_one_clear_error(
    here: Terminal, exported: Path, yeast: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, model, (peaks, genome) = here.folder, str(exported), yeast
    fasta = str(write_fasta(folder / "x.fa", 3))
    (folder / "protein.fa").write_text(">p\nMPLNVSFTNRNYDLDYDSVQPYFYCDEE\n")
    (folder / "late.fa").write_text(f">a\n{'ACGT' * 15}\n>b\nACGT!\n")
    (folder / "empty.fa").write_text("")
    (folder / "taken").mkdir()
    (folder / "taken" / "mine.txt").write_text("!")
    before = sorted(p.name for p in folder.iterdir())
    out = ("--out", "o")
    both = (
        ((model, "protein.fa", *out), 1, "It looks like a protein"),
        ((model, "late.fa", *out), 1, "record 2 (b): '!' at position 4 is not a nucleotide"),
        ((model, "empty.fa", *out), 1, "empty.fa: the file is empty"),
        ((model, "none.fa", *out), 1, "none.fa: no such file"),
        ((model, peaks, *out), 1, "it looks like BED"),
        ((model, fasta, "--genome", genome, *out), 2, "it is FASTA, which needs no --genome"),
        ((model, peaks, "--genome", "none.fa", *out), 1, "none.fa: no such file"),
        ((model, fasta, "--aliases", "x.fa", *out), 2, "--aliases is a table of chromosome names; it needs --genome"),
        (("nowhere", fasta, *out), 1, "nowhere: no such folder"),
        ((fasta, *out), 2, "expected MODEL and INPUT, or --study and INPUT"),
        ((model, fasta, "--task", "bund", *out), 2, "unknown task 'bund'"),
        ((model, fasta, "--out", "no/o"), 2, "there is no folder no"),
        ((model, fasta, "--out", "taken"), 2, "there is something else of that name"),
        ((model, fasta, "--out", "taken", "--force"), 2, "there is something else of that name"),
        ((model, fasta, "--out", "x.fa"), 2, "there is something else of that name"),
        ((model, fasta, "--device", "cuda:9", *out), 2, "no device 'cuda:9' here"),
    )
    own = (
        ("ism", (model, fasta, "--positions", "9", *out), 2, "expected START-END"),
        ("ism", (model, fasta, "--positions", "0-61", *out), 2, "61 bases; the model reads 60 at once"),
        ("ism", (model, fasta, "--positions", "58-65", *out), 1, "s0 has 60 bases; positions 58-65 are not in it"),
        ("explain", (model, fasta, "--method", "deep_shp", *out), 2, "unknown attribution method 'deep_shp'"),
        ("explain", (model, fasta, "--bigwig", *out), 2, "--bigwig needs positions on a genome"),
    )
    for command, words, code, text in (*((c, *case) for c in ("ism", "explain") for case in both), *own):
        found = here.refuses(command, *words)
        assert found[0] == code, (command, words, found)
        assert text in found[1], (command, words, found)
    monkeypatch.setattr(base_track, "find_spec", lambda name: None)
    code, text = here.refuses("explain", model, peaks, "--genome", genome, "--bigwig", *out)
    assert code == 2
    assert "pip install 'tuner-tfbs[genome]'" in text
    assert sorted(p.name for p in folder.iterdir()) == before


def test_results_are_replaced_only_by_force(here: Terminal, exported: Path) -> None:
    write_fasta(here.folder / "x.fa", 2)
    for command, more in (("ism", ()), ("explain", ("--references", "2"))):
        words = (command, str(exported), "x.fa", "--out", command, *more)
        assert here(*words).code == 0
        mark = here.folder / command / "mine.txt"
        mark.write_text("!")
        code, text = here.refuses(*words)
        assert code == 2
        assert "there are results already" in text
        assert mark.exists()
        assert here(*words, "--force").code == 0
        assert not mark.exists()
    assert "something else" in here.refuses("ism", str(exported), "x.fa", "--out", "explain", "--force")[1]


@pytest.mark.parametrize("command", ["ism", "explain"])
def test_a_full_disk_leaves_what_was_there(exported: Path, tmp_path: Path, command: str) -> None:
    fasta = write_fasta(tmp_path / "x.fa", 40)
    sign = {"ism": "ism.npz", "explain": "contributions.npz"}[command]
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / sign).write_text("of before\n")
    process = run_limited(tmp_path, command, str(exported), str(fasta), "--out", "o", "--force", size=20_000)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert said.strip().splitlines()[-1] == "error: o: cannot be used (File too large)."
    assert (tmp_path / "o" / sign).read_text() == "of before\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["o", "x.fa"]


TRACK = """
import sys
from pathlib import Path
import numpy as np
from tuner.predictor.base_track import write_track
values = np.random.default_rng(0).normal(size=(500, 60)).astype(np.float32)
write_track(Path("x.bw"), {"chr1": 40_000}, ["chr1"] * 500, np.arange(500) * 60, values)
"""


@pytest.mark.parametrize("size", [0, 20_000])
def test_a_track_that_does_not_fit_is_an_error(tmp_path: Path, size: int) -> None:
    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    words = [sys.executable, "-B", "-c", TRACK]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(words, cwd=tmp_path, env=env, check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    (tmp_path / "x.bw").unlink()
    ran = subprocess.run(words, cwd=tmp_path, env=env, check=False, capture_output=True, text=True, preexec_fn=limit)
    assert ran.returncode == 1
    assert ran.stderr.strip().splitlines()[-1].startswith("OSError: [Errno 28]")


@pytest.mark.parametrize("command", ["ism", "explain"])
def test_an_interrupted_command_leaves_no_folder(exported: Path, tmp_path: Path, command: str) -> None:
    fasta = write_fasta(tmp_path / "x.fa", 20_000)
    process = run_limited(tmp_path, command, str(exported), str(fasta), "--out", "o")
    end = time.monotonic() + 100
    while not any(part.stat().st_size for part in tmp_path.glob(".o.*.part/*.tsv")) and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=100)
    assert process.returncode == 130
    assert [p.name for p in tmp_path.iterdir()] == ["x.fa"]


def test_a_model_that_changed_is_refused(here: Terminal, exported: Path) -> None:
    spoiled = shutil.copytree(exported, here.folder / "spoiled")
    weights = bytearray((spoiled / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (spoiled / "model.safetensors").write_bytes(weights)
    write_fasta(here.folder / "x.fa", 1)
    for command in ("ism", "explain"):
        assert "it has changed since it was written" in here.refuses(command, "spoiled", "x.fa", "--out", "o")[1]


def test_sequences_through_a_pipe(here: Terminal, exported: Path) -> None:
    fasta = write_fasta(here.folder / "x.fa", 3)
    words = ("ism", str(exported), "/dev/stdin", "--out", "o", "--json")
    ran = subprocess.run(
        [sys.executable, "-m", "tuner", *words], cwd=here.folder, input=fasta.read_text(), capture_output=True,
        text=True, check=False, timeout=120, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    with np.load(here.folder / "o" / "ism.npz") as kept:
        assert kept["sequences"].shape == one_hot(np.zeros((3, 60), dtype=np.uint8)).shape
