"""`tuner init`: from a file of peaks to a study file that runs, with its data audited."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from tuner.cli.app import app
from tuner.data.registry import load_dataset
from tuner.errors import DataError, UsageError
from tuner.motifs.database import load_database
from tuner.study.file import read_study
from tuner.study.template import Template, database_of, motifs_of, study_text

GENOME = "Saccharomyces_cerevisiae.R64-1-1.dna.toplevel.fa.gz"
PEAKS = "yeast_reb1/Reb1_Rhee.bed"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def init(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["init", *arguments])


def test_reb1_becomes_a_study_with_the_motif_of_its_kingdom(data_dir: Path, folder: Path) -> None:
    done = init(PEAKS, "--genome", GENOME, "--target", "Reb1")
    assert done.exit_code == 0, done.output
    text = " ".join(done.output.split())
    hits = re.search(
        r"Reb1 \(MA0363\.3 REB1\): a hit \(p <= 0\.0001\) in (\d+) % of positives and (\d+) % of neg", text
    )
    assert hits is not None
    assert int(hits[1]) >= 70  # whichever chromosomes are for training, ChIP-exo sites have their motif
    assert int(hits[2]) <= 2
    assert "next: tuner run --study ./reb1.toml --preset fast" in text
    study = read_study(folder / "reb1.toml")
    assert study.data.peaks == str(data_dir / PEAKS)
    assert study.motifs.database == "JASPAR2026-fungi"
    assert study.motifs.targets == {"Reb1": ["MA0363.3"]}
    dataset = load_dataset(study.data, cache=folder / "cache")
    assert dataset.tasks == ("Reb1",)
    told = dataset.describe()["splits"]["train"]
    assert told["gc_positives"] == pytest.approx(told["gc_negatives"], abs=0.005)
    checked = CliRunner().invoke(app, ["check", "--study", "./reb1.toml"])
    assert checked.exit_code == 0, checked.output


def test_an_existing_file_and_bad_input_lose_nothing(data_dir: Path, folder: Path) -> None:
    (folder / "reb1.toml").write_text("mine")
    refused = init(PEAKS, "--genome", GENOME, "--target", "Reb1")
    assert isinstance(refused.exception, UsageError)
    assert (folder / "reb1.toml").read_text() == "mine"
    gone = init("gone.bed", "--genome", GENOME)
    assert isinstance(gone.exception, DataError)
    assert "gone.bed: no such file" in str(gone.exception)
    wrong = init(PEAKS, "--genome", "hg39")
    assert isinstance(wrong.exception, DataError)
    assert "hg39" in str(wrong.exception)
    (folder / "empty.bed").write_text("")
    empty = init("empty.bed", "--genome", f"yeast_reb1/{GENOME}")
    assert empty.exit_code == 1
    assert "empty.bed" in empty.output
    assert not (folder / "empty.toml").exists()


def test_an_unknown_factor_names_no_target(data_dir: Path, folder: Path) -> None:
    done = init(PEAKS, "--genome", GENOME, "--target", "Xyz9", "--json")
    assert done.exit_code == 0, done.output
    assert "JASPAR2026-fungi has no motif named Xyz9" in done.stderr
    document = json.loads(done.stdout)
    assert document["motifs"]["named"] == {}
    assert {row["name"] for row in document["audit"]["features"]} == {"gc", "cpg", "6-mer"}
    assert read_study(folder / "xyz9.toml").motifs.targets == {}


def test_every_choice_is_written_and_read_back() -> None:
    text = study_text(
        Template(
            "mine",
            'a "quoted" peak.bed',
            "hg38",
            "flanks",
            101,
            2.0,
            3,
            500,
            "black.bed",
            "JASPAR2026",
            "NFKB 1",
            ["M1"],
        )
    )
    read = tomllib.loads(text)
    assert read["data"] == {
        "peaks": 'a "quoted" peak.bed', "genome": "hg38", "length": 101, "negatives": "flanks", "ratio": 2.0, "seed": 3,
        "split": "chromosome+homology", "tasks": ["NFKB 1"], "top": 500, "blacklist": "black.bed",
    }  # fmt: skip
    assert read["motifs"] == {"database": "JASPAR2026", "targets": {"NFKB 1": ["M1"]}}


def test_the_database_follows_the_organism_and_the_motifs_the_name() -> None:
    names = ("hg38", "mm10", "danRer11", None, "sacCer3", "tair10", "dm6", "ce11")
    groups = ["", "", "", "", "-fungi", "-plants", "-insects", "-nematodes"]
    assert [database_of(name) for name in names] == [f"JASPAR2026{group}" for group in groups]
    vertebrates = load_database("JASPAR2026", screen=False)
    ctcf = motifs_of("ctcf", vertebrates)
    assert "MA0139.2" in ctcf
    assert {vertebrates.find(one).name for one in ctcf} == {"CTCF"}
    assert {vertebrates.find(one).name for one in motifs_of("Tal1", vertebrates)} >= {"TAL1::TCF3"}
    assert motifs_of("nothing", vertebrates) == ()
