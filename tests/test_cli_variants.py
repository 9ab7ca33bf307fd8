"""`tuner variants`: the table and the annotated VCF, one error for each mistake, and nothing half-written."""

from __future__ import annotations

import gzip
import importlib.util
import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pysam
import pytest
from command_line import Terminal, run_limited

import tuner

pytestmark = pytest.mark.slow

HEAD = '##fileformat=VCFv4.2\n##contig=<ID=chr1,length=5000>\n##INFO=<ID=AF,Number=A,Type=Float,Description="x">\n'
COLUMNS = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"


def write_inputs(folder: Path, n: int = 40) -> str:
    """A genome of one chromosome and a VCF of it; returns the chromosome."""
    rng = np.random.default_rng(0)
    whole = "".join(rng.choice(list("ACGT"), 5000))
    (folder / "g.fa").write_text(f">1\n{whole}\n")
    lines = []
    for i, at in enumerate(np.sort(rng.choice(np.arange(100, 4900), n, replace=False)).tolist()):
        ref, others = whole[at], [base for base in "ACGT" if base != whole[at]]
        alt = (others[0], ",".join(others[:2]), ref + "ACG", f"{others[1]},<DEL>")[i % 4]
        lines.append(f"chr1\t{at + 1}\tv{i}\t{ref}\t{alt}\t30\tPASS\tAF={','.join(['.5'] * (alt.count(',') + 1))}\n")
    (folder / "v.vcf").write_text(HEAD + COLUMNS + "".join(lines))
    return whole


def test_table_and_vcf_say_the_same(terminal: Terminal, exported: Path) -> None:
    folder = terminal.folder
    write_inputs(folder)
    words = ("variants", str(exported), "--vcf", "v.vcf", "--genome", "g.fa", "--null", "50")
    done = terminal(*words, "--out", "v.tsv", "--vcf-out", "a.vcf.gz", "--json")
    assert done.code == 0, done.err
    table = pd.read_csv(folder / "v.tsv", sep="\t")
    assert done.json["alleles"] == len(table) == 60
    assert done.json["scored"] == 50
    assert done.json["statuses"] == {"scored": 50, "symbolic allele": 10}
    in_python = tuner.load_model(exported).score_vcf(folder / "v.vcf", folder / "g.fa", null=50)
    assert table.columns.tolist() == in_python.columns.tolist()
    texts = ["id", "motif_lost", "motif_gained"]  # cells that are empty in the file
    pd.testing.assert_frame_equal(
        table.drop(columns=texts), in_python.drop(columns=texts), atol=1e-4, rtol=1e-4, check_dtype=False
    )
    with pysam.VariantFile(str(folder / "a.vcf.gz")) as file, pysam.VariantFile(str(folder / "v.vcf")) as before:
        assert file.header.info["TUNER_DELTA"].number == "A"
        assert "ALT minus REF" in file.header.info["TUNER_DELTA"].description
        found, first = list(file), list(before)
    assert [(r.pos, r.id, r.alleles, r.qual) for r in found] == [(r.pos, r.id, r.alleles, r.qual) for r in first]
    assert [r.info["AF"] for r in found] == [r.info["AF"] for r in first]
    flat = [value for record in found for value in record.info["TUNER_DELTA"]]
    np.testing.assert_allclose(np.array(flat, dtype=float), table["delta"], atol=1e-4)
    texts = [value for record in found for value in record.info["TUNER_STATUS"]]
    assert [text.replace("_", " ") for text in texts] == table["status"].tolist()
    assert gzip.decompress((folder / "a.vcf.gz").read_bytes()).startswith(b"##fileformat")
    said = terminal(*words, "--out", "w.tsv", "--vcf-out", "a.bcf")
    assert "note: 10 alleles not scored: symbolic allele" in said.err
    assert "60 alleles, 50 scored; written to w.tsv and a.bcf" in said.err
    assert (folder / "w.tsv").read_bytes() == (folder / "v.tsv").read_bytes()
    with pysam.VariantFile(str(folder / "a.bcf")) as file:
        assert len(list(file)) == 40


def test_each_mistake_is_one_clear_error(terminal: Terminal, exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, model = terminal.folder, str(exported)
    whole = write_inputs(folder)
    (folder / "bare.vcf").write_text("chr1\t5\t.\tA\tC\t.\t.\t.\n")
    (folder / "protein.fa").write_text(">1\nMPLNVSFTNRNYDLDYDSVQPYFYCDEE\n")
    wrong = "".join(f"chr1\t{i}\t.\t{'ACGT'[i % 4]}\t{'ACGT'[(i + 1) % 4]}\t.\t.\t.\n" for i in range(100, 300))
    (folder / "wrong.vcf").write_text(HEAD + COLUMNS + wrong)
    assert whole[99] in "ACGT"
    good = ("--vcf", "v.vcf", "--genome", "g.fa", "--out", "o.tsv")
    for words, code, text in (
        ((model, "--vcf", "none.vcf", *good[2:]), 1, "none.vcf: no such file"),
        ((model, "--vcf", "bare.vcf", *good[2:]), 1, "not a VCF or BCF file with a header"),
        ((model, "--vcf", "g.fa", *good[2:]), 1, "not a VCF or BCF file with a header"),
        ((model, "--vcf", "wrong.vcf", *good[2:]), 1, "REF differs from g.fa in 1"),
        ((model, *good[:2], "--genome", "none.fa", *good[4:]), 1, "none.fa: no such file"),
        ((model, *good[:2], "--genome", "protein.fa", *good[4:]), 1, "protein.fa"),
        ((model, *good[:2], "--genome", "hg83", *good[4:]), 1, "did you mean 'hg38'"),
        (("nowhere", *good), 1, "nowhere: no such folder"),
        (good, 2, "expected MODEL, or --study"),
        ((model, "v.vcf", *good), 2, "expected MODEL, or --study"),
        ((model, *good[:4], "--out", "v.vcf"), 2, "that is the input"),
        ((model, *good[:4], "--out", "no/o.tsv"), 2, "there is no folder no"),
        ((model, *good, "--vcf-out", "o.txt"), 2, "its name must end with .vcf"),
        ((model, *good, "--vcf-out", "v.vcf"), 2, "--vcf-out v.vcf: that is the input"),
        ((model, *good, "--trial", "3"), 2, "--trial needs --study"),
        ((model, *good, "--device", "cuda:9"), 2, "no device 'cuda:9' here"),
    ):
        found = terminal.refuses("variants", *words)
        assert found[0] == code, (words, found)
        assert text in found[1], (words, found)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install 'tuner-tfbs[genome]'" in terminal.refuses("variants", model, *good)[1]
    assert not list(folder.glob("*o.tsv*"))


@pytest.mark.parametrize("outputs", [("--out", "o.tsv"), ("--out", "/dev/null", "--vcf-out", "o.vcf")])
def test_a_full_disk_leaves_what_was_there(exported: Path, tmp_path: Path, outputs: tuple[str, ...]) -> None:
    write_inputs(tmp_path, 2000)
    target = tmp_path / outputs[-1]
    target.write_text("of before\n")
    before = sorted(path.name for path in tmp_path.iterdir())
    words = ("variants", str(exported), "--vcf", "v.vcf", "--genome", "g.fa", "--null", "0", *outputs)
    process = run_limited(tmp_path, *words, size=60_000)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1, said
    assert said.strip().splitlines()[-1].startswith("error: ")
    assert target.read_text() == "of before\n"
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".fai") == before


def test_an_interrupt_leaves_no_table(exported: Path, tmp_path: Path) -> None:
    write_inputs(tmp_path, 4000)
    process = run_limited(tmp_path, "variants", str(exported), "--vcf", "v.vcf", "--genome", "g.fa", "--out", "o.tsv")
    end = time.monotonic() + 100
    while not list(tmp_path.glob(".o.tsv*")) and time.monotonic() < end and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=100)
    assert process.returncode == 130
    assert not list(tmp_path.glob("*o.tsv*"))
