"""Variants: windows, scores against a second implementation, motifs, chance; on made genomes and on real Reb1 sites."""

from __future__ import annotations

import gzip
import importlib.util
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pyfaidx
import pysam
import pytest
import torch

import tuner
from tuner.errors import DataError, UsageError
from tuner.genome.genome import Genome
from tuner.genome.named import NamedGenome
from tuner.genome.sequence import decode, encode_one, reverse_complement
from tuner.predictor.alleles import alleles_of, flanks_of, windows_of
from tuner.predictor.predictor import Predictor
from tuner.predictor.vcf import open_vcf, records_of, survey

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
COMPLEMENT = str.maketrans("ACGTN", "TGCAN")


def random_text(rng: np.random.Generator, n: int) -> str:
    return "".join(rng.choice(list("ACGT"), n))


@pytest.fixture(scope="module")
def genome_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(3)
    path = tmp_path_factory.mktemp("genome") / "made.fa"
    path.write_text("".join(f">{name}\n{random_text(rng, size)}\n" for name, size in (("I", 3000), ("II", 900))))
    return path


def vcf_text(rows: list[tuple[object, ...]], contigs: dict[str, int] | None = None) -> str:
    head = ["##fileformat=VCFv4.2", *(f"##contig=<ID={name},length={n}>" for name, n in (contigs or {}).items())]
    head += ["##ALT=<ID=DEL,Description=Deletion>", "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"]
    return "\n".join([*head, *("\t".join(map(str, (*row, ".", ".", "."))) for row in rows)]) + "\n"


LONG = gzip.compress(vcf_text([("I", 5 + i, f"v{i * 7919**3 % 10**12}", "A", "C") for i in range(9000)]).encode())


def drawn(file: Path, n: int, seed: int = 0) -> list[tuple[object, ...]]:
    """Draw SNVs, MNVs, insertions and deletions, many of them near the ends of their chromosome."""
    rng, fasta = np.random.default_rng(seed), pyfaidx.Fasta(str(file))
    rows: list[tuple[object, ...]] = []
    for i in range(n):
        chrom = ("I", "II")[i % 2]
        size, length = len(fasta[chrom]), int(rng.integers(1, 9))
        if i % 3:
            start = int(rng.integers(40, size - 60))
        else:  # near the begin or the end of the chromosome
            start = int(rng.integers(0, 40)) if i % 2 else size - 10 - int(rng.integers(0, 30))
        ref = str(fasta[chrom][start : start + length])
        ref = ref[:1] if i % 5 < 2 else ref
        alt = (
            "ACGT"["ACGT".index(ref[0]) - 1], ref[:1] + random_text(rng, int(rng.integers(1, 50))), ref[:1],
            "".join("ACGT"["ACGT".index(base) - 2] for base in ref), random_text(rng, int(rng.integers(1, 12))),
        )[i % 5]  # fmt: skip
        if ref != alt:
            rows.append((chrom, start + 1, f"v{i}", ref, alt))
    return rows


def second_opinion(predictor: Predictor, fasta: pyfaidx.Fasta, row: tuple[object, ...]) -> tuple[float, float]:
    """Logits of REF and ALT, written out with text and single predictions."""
    chrom, position, _, ref, alt = map(str, row)
    whole, start, length = str(fasta[chrom]), int(position) - 1, predictor.length
    end = start + len(ref)
    while ref and alt and ref[-1] == alt[-1]:
        ref, alt, end = ref[:-1], alt[:-1], end - 1
    while ref and alt and ref[0] == alt[0]:
        ref, alt, start = ref[1:], alt[1:], start + 1
    before = (length - len(ref)) // 2
    after = length - len(ref) - before
    left, right = "N" * 500 + whole[:start], whole[end:] + "N" * 500
    texts = [left[len(left) - before :] + alt + right]
    if len(alt) != len(ref):
        texts.append((left + alt + right[:after])[-length:])
    reference = left[len(left) - before :] + ref + right[:after]

    def logit(text: str) -> float:
        one_hot = torch.tensor([[[float(base == letter) for base in text[:length]] for letter in "ACGT"]])
        with torch.no_grad():
            return float(predictor.module(one_hot)[0, 0])

    return logit(reference), float(np.mean([logit(text) for text in texts]))


def test_scores_are_those_of_a_second_implementation(predictor: Predictor, genome_file: Path, tmp_path: Path) -> None:
    rows = drawn(genome_file, 520)
    (tmp_path / "v.vcf").write_text(vcf_text(rows))
    table = predictor.score_vcf(tmp_path / "v.vcf", genome_file, null=0)
    assert len(table) == len(rows) >= 500
    fasta = pyfaidx.Fasta(str(genome_file))
    expected = np.array([second_opinion(predictor, fasta, row) for row in rows])
    assert (table["status"] == "scored").all()
    np.testing.assert_allclose(table["logit_ref"], expected[:, 0], atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(table["logit_alt"], expected[:, 1], atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(table["delta"], expected[:, 1] - expected[:, 0], atol=2e-5)
    assert table["p"].isna().all()
    assert (table["n"] > 0).any()
    # What the columns say of each other.
    slope = predictor.calibration.slope[0]
    np.testing.assert_allclose(table["log2_odds"], slope * table["delta"] / math.log(2))
    m = len(predictor.members)
    np.testing.assert_allclose(table["t"], table["delta"] / (table["sd"] / math.sqrt(m)))
    higher = table[["logit_ref", "logit_alt"]].max(axis=1).to_numpy()
    np.testing.assert_allclose(table["percentile"], predictor.references[0].percentiles(higher)[0])


def test_an_indel_has_one_score_on_both_strands() -> None:
    rng = np.random.default_rng(0)
    codes = encode_one(random_text(rng, 402))
    left, ref, right = codes[:200], codes[200:202], codes[202:]
    for alt in (encode_one("A"), encode_one("ACGTA"), np.zeros(0, dtype=np.uint8)):
        here = windows_of(left, ref, alt, right, 60)
        there = windows_of(*(reverse_complement(one[None])[0] for one in (right, ref, alt, left)), 60)
        assert {one.tobytes() for one in here.alternatives} == {
            reverse_complement(one[None])[0].tobytes() for one in there.alternatives
        }
        assert all(len(one) == 60 for one in (here.reference, *here.alternatives))


def test_no_allele_is_dropped(predictor: Predictor, genome_file: Path, tmp_path: Path) -> None:
    fasta = pyfaidx.Fasta(str(genome_file))
    base = [str(fasta["I"][i : i + 1]) for i in range(3000)]
    other = [next(x for x in "ACGT" if x != one) for one in base]
    long = str(fasta["I"][100:200])
    rows = [
        ("chr1", 1, "first", base[0], other[0]), ("chr1", 3000, "last", base[2999], other[2999].lower()),
        ("chr1", 50, "two", base[49], f"{other[49]},<DEL>,*"), ("chr1", 60, "bnd", base[59], f"{base[59]}]chr2:30]"),
        ("chr1", 70, "iupac", base[69], "R"), ("chr1", 80, "same", base[79], base[79]),
        ("chr1", 90, "none", base[89], "."), ("chr1", 3001, "end", "A", "C"), ("chrM", 5, "m", "A", "C"),
        ("chr1", 101, "long", long, long[0]), ("chr1", 400, "wrong", other[399], base[399]),
        ("chr1", 20, "unsorted", base[19], other[19]),
        ("chr1", 500, "inserted", base[499], base[499] + "ACGTT" * 20),
    ]  # fmt: skip
    rows += [("chr1", 600 + i, "ok", base[599 + i], other[599 + i]) for i in range(160)]
    (tmp_path / "v.vcf").write_text(vcf_text(rows))
    table = predictor.score_vcf(tmp_path / "v.vcf", genome_file, null=20)
    assert len(table) == len(rows) + 2
    statuses = table.groupby("id")["status"].apply(list).to_dict()
    assert statuses["two"] == ["scored", "symbolic allele", "spanned by a deletion (*)"]
    del statuses["two"], statuses["ok"]
    assert {name: one for name, [one] in statuses.items()} == {
        "first": "scored", "last": "scored", "bnd": "breakend", "iupac": "letters other than A, C, G, T",
        "same": "REF and ALT are equal", "none": "no alternative allele", "end": "past the end of the chromosome",
        "m": "chromosome not in the genome", "long": "REF longer than the model's input", "unsorted": "scored",
        "wrong": "REF differs from the genome", "inserted": "ALT longer than the model's input",
    }  # fmt: skip
    unscored = table[table["status"] != "scored"]
    assert unscored[["logit_ref", "delta", "p", "n"]].isna().all(axis=None)
    assert table.loc[table["status"] == "scored", ["logit_ref", "delta", "p"]].notna().all(axis=None)
    assert table.loc[table["id"] == "first", "n"].item() == 29  # the window reaches past the begin of the chromosome


def test_every_form_of_the_file_gives_the_same(predictor: Predictor, genome_file: Path, tmp_path: Path) -> None:
    rows = sorted(drawn(genome_file, 60), key=lambda row: (str(row[0]), int(str(row[1]))))
    text = vcf_text(rows, {"I": 3000, "II": 900})
    plain = tmp_path / "v.vcf"
    plain.write_text(text)
    (tmp_path / "gzip.vcf.gz").write_bytes(gzip.compress(text.encode()))
    pysam.tabix_compress(str(plain), str(tmp_path / "bgzip.vcf.gz"), force=True)
    with (
        pysam.VariantFile(str(plain)) as file,
        pysam.VariantFile(str(tmp_path / "v.bcf"), "wb", header=file.header) as out,
    ):
        for record in file:
            out.write(record)
    (tmp_path / "crlf.vcf").write_bytes(text.replace("\n", "\r\n").encode())
    first = predictor.score_vcf(plain, genome_file, null=50)
    for name in ("gzip.vcf.gz", "bgzip.vcf.gz", "v.bcf", "crlf.vcf"):
        pd.testing.assert_frame_equal(predictor.score_vcf(tmp_path / name, Genome(genome_file), null=50), first)
    # Other names of the chromosomes, by numerals and by a table.
    (tmp_path / "other.vcf").write_text(vcf_text([(f"scaffold{row[0]}", *row[1:]) for row in rows]))
    (tmp_path / "names.tsv").write_text("scaffoldI\tI\nscaffoldII\tII\n")
    renamed = predictor.score_vcf(tmp_path / "other.vcf", genome_file, aliases=tmp_path / "names.tsv", null=50)
    pd.testing.assert_frame_equal(renamed.drop(columns="chrom"), first.drop(columns="chrom"))


def test_roman_names_are_told_by_the_other_chromosomes(predictor: Predictor, genome_file: Path, tmp_path: Path) -> None:
    """A genome of 1 and 2 beside a VCF of chrI and chrII, whose header names no chromosome."""
    arabic = tmp_path / "arabic.fa"
    arabic.write_text(genome_file.read_text().replace(">II\n", ">2\n").replace(">I\n", ">1\n"))
    rows = sorted(drawn(genome_file, 40), key=lambda row: (str(row[0]), int(str(row[1]))))
    (tmp_path / "v.vcf").write_text(vcf_text([(f"chr{row[0]}", *row[1:]) for row in rows]))
    assert rows[0][0] == "I", "the first name alone could be a letter"
    (tmp_path / "same.vcf").write_text(vcf_text(rows))
    found = predictor.score_vcf(tmp_path / "v.vcf", arabic, null=0)
    expected = predictor.score_vcf(tmp_path / "same.vcf", genome_file, null=0)
    assert (found["status"] == "scored").all()
    pd.testing.assert_frame_equal(found.drop(columns="chrom"), expected.drop(columns="chrom"))


def test_p_is_right_where_nothing_is_bound(predictor: Predictor, genome_file: Path, tmp_path: Path) -> None:
    """SNVs of a random genome are like SNVs in its shuffles: p is uniform (its mean has a standard error of .017)."""
    fasta = pyfaidx.Fasta(str(genome_file))
    rng = np.random.default_rng(1)
    rows = []
    for start in rng.choice(np.arange(30, 2970), 300, replace=False).tolist():
        ref = str(fasta["I"][start : start + 1])
        rows.append(("I", start + 1, ".", ref, str(rng.choice([x for x in "ACGT" if x != ref]))))
    (tmp_path / "v.vcf").write_text(vcf_text(rows))
    table = predictor.score_vcf(tmp_path / "v.vcf", genome_file)
    assert 0.45 < table["p"].mean() < 0.55
    assert (table["p"] <= 0.1).mean() == pytest.approx(0.1, abs=0.06)
    assert table["p"].min() >= 1 / 1001
    pd.testing.assert_frame_equal(predictor.score_vcf(tmp_path / "v.vcf", genome_file), table)  # seeded


# ------------------------------------------------------------------ a VCF of another genome


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda whole, start: (start, whole[start], None), "The positions seem to be counted from 0"),
        (lambda whole, start: (start + 1, None, whole[start]), "REF and ALT seem to be exchanged"),
        (lambda whole, start: (start + 1, whole[start].translate(COMPLEMENT), None), "on the other strand"),
        (lambda whole, start: (start + 1, whole[-start], None), "of another assembly"),
    ],
)
def test_the_likely_reason_for_wrong_letters_is_named(change, words: str, genome_file: Path, tmp_path: Path) -> None:
    whole = str(pyfaidx.Fasta(str(genome_file))["I"])
    rows = []
    for start in range(10, 400):
        position, ref, alt = change(whole, start)
        ref = ref or next(base for base in "ACGT" if base != alt)
        rows.append(("I", position, ".", ref, alt or next(base for base in "ACGT" if base != ref)))
    (tmp_path / "v.vcf").write_text(vcf_text(rows))
    with pytest.raises(DataError, match=r"REF differs from made\.fa in") as caught:
        survey(tmp_path / "v.vcf", NamedGenome(Genome(genome_file)), 60)
    assert words in str(caught.value)


def test_the_header_names_another_assembly(genome_file: Path, tmp_path: Path) -> None:
    rows = [("I", 10 + i, ".", "ACGT"[i % 4], "ACGT"[(i + 1) % 4]) for i in range(50)]
    (tmp_path / "v.vcf").write_text(vcf_text(rows, {"chr1": 249250621, "chr2": 243199373, "I": 5}))
    with pytest.raises(DataError, match="The header says that the VCF is of hg19"):
        survey(tmp_path / "v.vcf", NamedGenome(Genome(genome_file)), 60)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"I\t5\t.\tA\tC\t.\t.\t.\n", "not a VCF or BCF file with a header"),
        (b"", "not a VCF or BCF file with a header"),
        (b"\x89PNG\r\n\x1a\n", "not a VCF or BCF file with a header"),
        (vcf_text([]).encode(), "has a header but no records"),
        (vcf_text([("X", 5, ".", "A", "C")]).encode(), "none of its chromosomes is in made.fa"),
        (vcf_text([("I", 5, ".")]).encode(), "record 1, after the header, cannot be read"),
        (LONG[:-9000], "its gzip data are damaged or cut short"),
    ],
)
def test_what_is_no_vcf_is_refused(content: bytes, words: str, genome_file: Path, tmp_path: Path) -> None:
    (tmp_path / "v.vcf").write_bytes(content)
    with pytest.raises(DataError, match=words):
        survey(tmp_path / "v.vcf", NamedGenome(Genome(genome_file)), 60)


def test_a_missing_file_a_folder_and_a_missing_package(
    genome_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = NamedGenome(Genome(genome_file))
    with pytest.raises(DataError, match="no such file"):
        survey(tmp_path / "v.vcf", named, 60)
    with pytest.raises(DataError, match="it is a folder"):
        survey(tmp_path, named, 60)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'tuner-tfbs\[genome\]'"):
        survey(tmp_path / "v.vcf", named, 60)


def test_one_wrong_letter_is_a_row_not_an_error(predictor: Predictor, genome_file: Path, tmp_path: Path) -> None:
    base = str(pyfaidx.Fasta(str(genome_file))["I"][9:10])
    other = [x for x in "ACGT" if x != base]
    (tmp_path / "v.vcf").write_text(vcf_text([("I", 10, ".", other[0], other[1])]))
    table = predictor.score_vcf(tmp_path / "v.vcf", genome_file)
    assert table["status"].tolist() == ["REF differs from the genome"]


# ------------------------------------------------------------------ real sites


@pytest.mark.slow
def test_breaking_a_real_site_lowers_the_score(data_dir: Path, tmp_path: Path, monkeypatch) -> None:
    """775 exact sites of Reb1 in yeast: breaks of the core against changes of the flanks."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    bench = importlib.import_module("variants")
    genome = NamedGenome(Genome(data_dir / bench.GENOME, cache=tmp_path))
    chosen = bench.sites(data_dir, genome)
    assert len(chosen) == 775
    rng = np.random.default_rng(0)
    texts, labels = [], []
    for chrom, begin, _ in chosen[::2]:  # half of the sites train, in three windows each
        for _ in range(3):
            start = begin - 60 + int(rng.integers(-20, 20))
            texts.append(bench.letters(genome, chrom, start, start + 120))
            away = int(rng.integers(1000, genome.genome.sizes[chrom] - 1000))
            texts.append(bench.letters(genome, chrom, away, away + 120))
            labels += [1, 0]
    classifier = tuner.TunerClassifier(seeds=2).fit(texts, labels)
    rows = bench.alleles(genome, chosen[1::2], 0)
    bench.write_vcf(tmp_path / "sites.vcf", genome, rows)
    table = classifier.predictor_.score_vcf(tmp_path / "sites.vcf", genome.genome)
    core = table["id"].str.endswith("core").to_numpy()
    for kind in ("substitution", "deletion", "insertion"):
        of_kind = table["id"].str.startswith(kind).to_numpy()
        part = table[of_kind]
        value = bench.auroc(core[of_kind].astype(int)[:, None], part["delta"].abs().to_numpy()[:, None])
        assert value >= 0.95, kind
        assert (part["delta"][core[of_kind]] < 0).mean() >= 0.98, kind
    assert (table["p"][core] < 0.05).mean() > 0.8
    assert (table["p"][~core] < 0.05).mean() < 0.15


def test_flanks_and_alleles_of_a_record(genome_file: Path, tmp_path: Path) -> None:
    fasta = pyfaidx.Fasta(str(genome_file))
    ref = str(fasta["I"][99:103])
    (tmp_path / "v.vcf").write_text(vcf_text([("I", 100, "d", ref, ref[0])]))
    named = NamedGenome(Genome(genome_file))
    with open_vcf(tmp_path / "v.vcf") as file:
        [record] = records_of(file, tmp_path / "v.vcf")
        [allele] = alleles_of(record, named, "I", 60)
    assert allele.place is not None
    assert allele.place.kind == "deletion of at most 4 bp"
    left, right = flanks_of(allele.place, named, 60)
    end = allele.place.start + len(allele.place.ref)
    assert decode(left[None]) == [str(fasta["I"][allele.place.start - 60 : allele.place.start])]
    assert decode(right[None]) == [str(fasta["I"][end : end + 60])]


def test_the_models_folder_names_the_motifs() -> None:
    """A site of the model's own matched filter is lost when its strongest column is changed."""
    from tuner.motifs.formats import parse_motifs
    from tuner.predictor.variant_motifs import MotifChanges

    ppm = np.full((4, 7), 0.02)
    ppm[[0, 1, 2, 3, 0, 1, 2], range(7)] = 0.94
    columns = "\n".join(" ".join(f"{x:.6f}" for x in column) for column in ppm.T)
    meme = (
        "MEME version 4\n\nALPHABET= ACGT\n\nstrands: + -\n\nMOTIF model1_filter0 MINE\n"
        f"letter-probability matrix: alength= 4 w= 7 nsites= 100 E= 0\n{columns}\n"
    )
    assert parse_motifs(meme, "x").motifs[0].id == "model1_filter0"
    files = {"motifs.meme": meme.encode(), "matches.tsv": b"motif\ttarget\ttarget_name\nmodel1_filter0\tMA1\tMINE\n"}
    changes = MotifChanges(files, {"F": ["MA1"]})
    left, right = encode_one("TTTTTTTTACG"), encode_one("ACGTTTTTTT")
    lost, gained = changes.of(left, encode_one("T"), encode_one("A"), right)
    assert (lost.name, gained.name) == ("MINE", "")
    assert lost.bits < -4
    lost, gained = changes.of(left, encode_one("A"), encode_one("T"), right)
    assert (lost.name, gained.name) == ("", "MINE")
    reverse = [reverse_complement(one[None])[0] for one in (right, encode_one("T"), encode_one("A"), left)]
    assert changes.of(*reverse)[0].name == "MINE"
    assert MotifChanges({}, {}).of(left, encode_one("T"), encode_one("A"), right)[0].name == ""
