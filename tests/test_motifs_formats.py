"""Motif files of every format: recognised by content, read to the right values, and what is broken is named."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from Bio import motifs as biopython
from memelite.io import read_meme as memelite_read
from pyjaspar import jaspardb

from tuner.errors import MotifError
from tuner.motifs.formats import FORMATS, read_motif_file
from tuner.motifs.jaspar import jaspar_motifs
from tuner.motifs.meme import Motif, motifs_digest, write_meme

IDS = ("MA0139.2", "MA0050.4", "MA0493.3", "MA1971.2", "MA0106.3")
CTCF = "MA0139.2"


@cache
def records() -> list:
    """Count matrices as pyjaspar reads them, Biopython's own objects."""
    database = jaspardb(release="JASPAR2026")
    return [database.fetch_motif_by_id(identifier) for identifier in IDS]


def counts(record) -> np.ndarray:
    return np.array([record.counts[base] for base in "ACGT"], dtype=float)  # (4, width)


def as_rows(matrix: np.ndarray, decimals: int) -> str:
    return "".join("\t".join(f"{value:.{decimals}f}" for value in column) + "\n" for column in matrix.T)


def ppm_of(record) -> np.ndarray:
    return counts(record) / counts(record).sum(axis=0)


# The same five motifs in each format: Biopython's writers where it has them, else as the source's files look.
def jaspar_2016() -> str:
    return biopython.write(records(), "jaspar")


def raw_pfm() -> str:
    return "".join(
        f">{r.matrix_id}\t{r.name}\n" + "\n".join(" ".join(f"{v:.0f}" for v in row) for row in counts(r)) + "\n\n"
        for r in records()
    )


def cluster_buster() -> str:
    return "".join(f">{r.matrix_id} {r.name}\n{as_rows(counts(r), 2)}" for r in records())


def transfac() -> str:
    entries = []
    for r in records():
        lines = [f"AC  {r.matrix_id}", "XX", f"ID  {r.name}", "XX", f"DE  {r.matrix_id} {r.name} ; From JASPAR"]
        lines.append("P0      A      C      G      T")
        lines += [
            f"{i:02d}      " + "   ".join(f"{v:.1f}" for v in c) + "  N" for i, c in enumerate(counts(r).T, start=1)
        ]
        entries.append("\n".join([*lines, "XX", "CC  tax_group:vertebrates", "XX", "//"]))
    return "\n".join(entries) + "\n"


def homer() -> str:
    return "".join(
        f">{r.consensus}\t{r.matrix_id}\t8.661102\t-14379.4\t0\tT:17311.0(44.36%),B:2181.5(5.80%),P:1e-6244\n"
        + as_rows(ppm_of(r), 3)
        for r in records()
    )


def hocomoco_pcm() -> str:
    return "".join(f">{r.matrix_id}\n{as_rows(counts(r), 6)}" for r in records())


def hocomoco_pwm() -> str:
    # HOCOMOCO v11: ln((x + a / 4) / ((N + a) / 4)), a = ln N (Kulakovskiy et al. 2018, MacroAPE).
    return "".join(f">{r.matrix_id}\n{as_rows(log_odds(counts(r)), 8)}" for r in records())


def log_odds(matrix: np.ndarray) -> np.ndarray:
    total = matrix.sum(axis=0)
    pseudo = np.log(total)
    return np.log((matrix + pseudo / 4) / ((total + pseudo) / 4))


def cisbp() -> str:
    return "".join(
        f"TF\tT0{i}\nTF Name\t{r.name}\nGene\tENSG{i}\nMotif\t{r.matrix_id}\nFamily\tC2H2 ZF\nSpecies\tHomo_sapiens\n"
        "Pos\tA\tC\tG\tT\n" + "".join(f"{n}\t{row}\n" for n, row in enumerate(as_rows(ppm_of(r), 8).splitlines(), 1))
        + "\n\n"
        for i, r in enumerate(records())
    )  # fmt: skip


def meme() -> str:
    return write_meme([Motif(r.matrix_id, r.name, ppm_of(r), n_sites=counts(r).sum(axis=0).max()) for r in records()])


def meme_xml() -> str:
    motifs = []
    for i, r in enumerate(records(), start=1):
        rows = "".join(
            "<alphabet_array>" + "".join(
                f'<value letter_id="{base}">{p:.6f}</value>' for base, p in zip("ACGT", c, strict=True)
            ) + "</alphabet_array>\n"
            for c in ppm_of(r).T
        )  # fmt: skip
        motifs.append(
            f'<motif id="motif_{i}" name="{r.matrix_id}" alt="{r.name}" width="{len(r)}" sites="20">\n'
            f"<probabilities>\n<alphabet_matrix>\n{rows}</alphabet_matrix>\n</probabilities>\n</motif>"
        )
    return (
        '<?xml version="1.0"?>\n<!DOCTYPE MEME[\n<!ELEMENT MEME (motifs)>\n]>\n<MEME version="5.5.6">\n<training_set>'
        '<alphabet name="DNA" like="dna">' + "".join(f'<letter id="{b}" symbol="{b}"/>' for b in "ACGT")
        + "</alphabet></training_set>\n<motifs>\n" + "\n".join(motifs) + "\n</motifs>\n</MEME>\n"
    )  # fmt: skip


WRITTEN: dict[str, tuple[Callable[[], str], str, float]] = {
    # name: writer, row of FORMATS, error of the decimals
    "JASPAR 2016": (jaspar_2016, "JASPAR", 1e-9),
    "JASPAR pfm": (raw_pfm, "matrices", 1e-9),
    "Cluster-Buster": (cluster_buster, "matrices", 1e-9),
    "TRANSFAC": (transfac, "TRANSFAC", 1e-9),
    "HOMER": (homer, "HOMER", 1e-3),
    "HOCOMOCO pcm": (hocomoco_pcm, "matrices", 1e-9),
    "CIS-BP": (cisbp, "CIS-BP", 1e-8),
    "MEME": (meme, "MEME", 2e-6),
    "MEME XML": (meme_xml, "MEME XML", 2e-6),
}


def write(folder: Path, text: str, name: str = "file") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def test_every_format_of_the_table_is_written_here() -> None:
    assert {row for _, row, _ in WRITTEN.values()} | {"JSON", "HOCOMOCO annotation"} == set(FORMATS)


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("name", WRITTEN)
def test_the_same_motifs_are_read_of_every_format(name: str, ends: str, tmp_path: Path) -> None:
    writer, row, error = WRITTEN[name]
    found = read_motif_file(write(tmp_path, "\ufeff" + writer().replace("\n", ends)))
    assert found.format == row
    assert found.broken == ()
    assert [motif.id for motif in found.motifs] == list(IDS)
    for motif, record in zip(found.motifs, records(), strict=True):
        np.testing.assert_allclose(motif.ppm, ppm_of(record), atol=error)
        np.testing.assert_allclose(motif.ppm.sum(axis=0), 1, atol=1e-12)
        if name in ("JASPAR 2016", "JASPAR pfm", "TRANSFAC", "HOCOMOCO pcm"):
            assert motif.n_sites == pytest.approx(counts(record).sum(axis=0).max())
        if name not in ("HOMER", "HOCOMOCO pcm"):
            assert motif.name == record.name


@pytest.mark.parametrize(
    ("ours", "theirs"), [(jaspar_2016, "jaspar"), (cluster_buster, "clusterbuster"), (transfac, "transfac")]
)
def test_biopython_reads_the_same_counts(ours: Callable[[], str], theirs: str, tmp_path: Path) -> None:
    text = ours()
    second = biopython.parse(io.StringIO(text), theirs)
    found = read_motif_file(write(tmp_path, text)).motifs
    assert len(found) == len(second)
    for motif, other in zip(found, second, strict=True):
        np.testing.assert_allclose(motif.ppm, ppm_of(other), atol=1e-12)


def test_biopython_reads_meme_and_its_xml_to_the_same_values(data_dir: Path) -> None:
    folder = data_dir / "tomtom_reference"
    with (folder / "memechip_meme_query.xml").open() as file:
        second = biopython.parse(file, "meme")
    xml = read_motif_file(folder / "memechip_meme_query.xml")
    text = read_motif_file(folder / "memechip_meme_query.txt")
    assert (xml.format, text.format) == ("MEME XML", "MEME")
    assert [(m.id, m.name, m.n_sites) for m in xml.motifs] == [(m.id, m.name, m.n_sites) for m in text.motifs]
    for motif, other, third in zip(xml.motifs, second, text.motifs, strict=True):
        assert motif.ppm.shape[1] == other.length
        assert motif.n_sites == other.num_occurrences
        np.testing.assert_allclose(motif.ppm, third.ppm, atol=2e-6)
    streme = read_motif_file(folder / "memechip_streme_query.xml").motifs
    for motif, third in zip(streme, read_motif_file(folder / "memechip_streme_query.txt").motifs, strict=True):
        assert (motif.id, motif.name, motif.n_sites) == (third.id, third.name, third.n_sites)
        np.testing.assert_allclose(motif.ppm, third.ppm, atol=2e-6)


def test_published_files_are_read_whole_and_as_others_read_them(data_dir: Path) -> None:
    pfm = read_motif_file(data_dir / "koo" / "pfm_vertebrates.txt")
    with (data_dir / "koo" / "pfm_vertebrates.txt").open() as file:
        second = biopython.parse(file, "jaspar")
    assert (pfm.format, len(pfm.motifs)) == ("JASPAR", 519)
    for motif, other in zip(pfm.motifs, second, strict=True):
        assert (motif.id, motif.name) == (other.matrix_id, other.name)
        np.testing.assert_allclose(motif.ppm, ppm_of(other), atol=1e-12)
    assert motifs_digest(pfm.motifs) == motifs_digest(jaspar_motifs("JASPAR2016")), "the release itself"
    for name in ("DeepDifE_plant_jaspar_cisbp", "JASPAR2018_CORE_non-redundant", "JASPAR2022_fungi.converted"):
        path = data_dir / "motifs" / f"{name}.meme"
        theirs = memelite_read(str(path))
        found = read_motif_file(path)
        assert found.broken == ()
        assert [f"{m.id} {m.name}".strip() for m in found.motifs] == list(theirs)
        for motif, ppm in zip(found.motifs, theirs.values(), strict=True):
            np.testing.assert_allclose(motif.ppm, ppm / ppm.sum(axis=0), atol=1e-7)
    with (data_dir / "motifs" / "HOCOMOCOv11_HUMAN.pfm").open() as file:
        second = biopython.parse(io.StringIO("".join(line for line in file if line[0] != "#")), "clusterbuster")
    hocomoco = read_motif_file(data_dir / "motifs" / "HOCOMOCOv11_HUMAN.pfm").motifs
    assert len(hocomoco) == len(second) == 401
    for motif, other in zip(hocomoco, second, strict=True):
        np.testing.assert_allclose(motif.ppm, ppm_of(other), atol=1e-12)
    assert (hocomoco[0].id, hocomoco[0].name) == ("AHR_HUMAN.H11MO.0.B", "AHR")


def test_log_odds_are_told_apart_and_turned_back(tmp_path: Path) -> None:
    natural = read_motif_file(write(tmp_path, hocomoco_pwm())).motifs
    for motif, record in zip(natural, records(), strict=True):
        total = counts(record).sum(axis=0)
        expected = (counts(record) + np.log(total) / 4) / (total + np.log(total))
        np.testing.assert_allclose(motif.ppm, expected, atol=1e-7)
    # Biopython's are binary: log2(p / .25).
    binary = []
    for record in records():
        normal = record.counts.normalize(pseudocounts=0.5)
        matrix = np.array([normal.log_odds()[base] for base in "ACGT"])
        binary.append((f">{record.matrix_id}\n{as_rows(matrix, 8)}", np.array([normal[base] for base in "ACGT"])))
    found = read_motif_file(write(tmp_path, "".join(text for text, _ in binary))).motifs
    for motif, (_, expected) in zip(found, binary, strict=True):
        np.testing.assert_allclose(motif.ppm, expected, atol=1e-7)
    other = write(tmp_path, ">a\n-1 2 1 0\n1 1 -3 0.5\n1 1 -3 0.5\n")
    with pytest.raises(MotifError, match=r"line 1: motif a: column 0 holds -1. These are log-odds.*HOCOMOCO: pcm"):
        read_motif_file(other)


def test_the_homer_header_gives_name_and_sites(tmp_path: Path) -> None:
    header = (
        ">ASTTCCTCTT\tELF1(ETS)/Jurkat-ELF1-ChIP-Seq(SRA014231)/Homer\t8.04\t-7128.6\t0\tT:3131.0(40.10%),B:1.0(2%)"
    )
    (motif,) = read_motif_file(write(tmp_path, f"{header}\n0.7\t0.1\t0.1\t0.1\n0.001\t0.332\t0.666\t0.001\n")).motifs
    assert motif[:2] == ("ELF1(ETS)/Jurkat-ELF1-ChIP-Seq(SRA014231)/Homer", "ELF1")
    assert motif.n_sites == 3131
    np.testing.assert_allclose(motif.ppm[:, 1], [0.001, 0.332, 0.666, 0.001], atol=1e-12)


def test_one_matrix_without_a_name_has_that_of_its_file(tmp_path: Path) -> None:
    pfm = write(tmp_path, "4 19 0 0 0 0\n16 0 20 0 0 0\n0 1 0 20 0 20\n0 0 0 0 20 0\n", "MA0004.1.pfm")
    (motif,) = read_motif_file(pfm).motifs
    assert motif.id == "MA0004.1"
    np.testing.assert_array_equal(motif.ppm[:, 0], [0.2, 0.8, 0, 0])
    table = write(tmp_path, "Pos\tA\tC\tG\tT\n1\t0.5\t0.25\t0.15\t0.1\n2\t0\t1\t0\t0\n", "M00001_2.00.txt")
    (motif,) = read_motif_file(table).motifs
    assert (motif.id, motif.ppm[0, 0]) == ("M00001_2.00", 0.5)


def test_columns_are_taken_by_their_names(tmp_path: Path) -> None:
    (motif,) = read_motif_file(write(tmp_path, "Pos\tT\tG\tC\tA\n1\t0.4\t0.3\t0.2\t0.1\n", "m.txt")).motifs
    np.testing.assert_allclose(motif.ppm[:, 0], [0.1, 0.2, 0.3, 0.4])
    (motif,) = read_motif_file(write(tmp_path, ">a b\nT [ 4 ]\nG [ 3 ]\nA [ 1 ]\nC [ 2 ]\n")).motifs
    np.testing.assert_allclose(motif.ppm[:, 0], [0.1, 0.2, 0.3, 0.4])


def test_a_motif_of_several_factors_comes_once(tmp_path: Path) -> None:
    table = "Pos\tA\tC\tG\tT\n1\t0.4\t0.3\t0.2\t0.1\n"
    text = f"TF\tT1\nTF Name\tAHR\nMotif\tM1\n{table}\n\nTF\tT2\nTF Name\tARNT\nMotif\tM1\n{table}\n"
    found = read_motif_file(write(tmp_path, text))
    assert ([(m.id, m.name) for m in found.motifs], found.broken) == ([("M1", "AHR, ARNT")], ())


def test_what_is_four_by_four_is_turned_by_the_other_matrices_or_the_sums(tmp_path: Path) -> None:
    square = "10 0 0 5\n0 10 0 5\n0 0 10 0\n0 0 0 0\n"  # a base a row: columns sum to 10
    (motif,) = read_motif_file(write(tmp_path, ">a\n" + square)).motifs
    np.testing.assert_array_equal(motif.ppm[:, 3], [0.5, 0.5, 0, 0])
    equal = (
        "10 0 0 0\n0 10 0 0\n0 0 0 10\n0 0 10 0\n"  # each sums to 10 both ways, and the matrix is not symmetric alone
    )
    with pytest.raises(MotifError, match="it is unclear whether a row is a base or a position"):
        read_motif_file(write(tmp_path, ">a\n" + equal))
    longer = ">b\n1 2 3 4 5\n1 2 3 4 5\n1 2 3 4 5\n1 2 3 4 5\n"
    assert len(read_motif_file(write(tmp_path, ">a\n" + equal + longer)).motifs) == 2


MEME_HEADER = "MEME version 4\n\nALPHABET= ACGT\n\n"
ROW = "0.25 0.25 0.25 0.25\n"


def test_rounded_probabilities_are_scaled_and_counts_are_refused_as_counts(tmp_path: Path) -> None:
    text = MEME_HEADER + "MOTIF a\nletter-probability matrix: w= 2\n0.334 0.333 0.333 0.002\n0.33 0.33 0.33 0.00\n"
    (motif,) = read_motif_file(write(tmp_path, text)).motifs
    np.testing.assert_allclose(motif.ppm, np.array([[334, 333, 333, 2], [333 + 1 / 3] * 3 + [0]]).T / [1002, 1000])
    text = MEME_HEADER + "MOTIF a\nletter-probability matrix: w= 1\n30 10 5 5\n"
    with pytest.raises(MotifError, match=r"motif a: column 0 sums to 50, not 1. Divide counts by their column sums"):
        read_motif_file(write(tmp_path, text))


def test_headers_that_state_little_or_zero_are_read(tmp_path: Path) -> None:
    text = (
        "MEME version 3.0\nMOTIF\ta\tJUN\nletter-probability matrix:\n" + ROW * 3
        + "\nMOTIF  b  width =   2  sites =  0\nletter-probability matrix: alength=4 w=2 nsites=0 E=0\n\n" + ROW * 2
        + "URL http://x\n"
    )  # fmt: skip
    found = read_motif_file(write(tmp_path, text))
    assert [(m.id, m.name, m.ppm.shape[1], m.n_sites) for m in found.motifs] == [
        ("a", "JUN", 3, None),
        ("b", "", 2, None),
    ]


ALPHABET_5 = 'ALPHABET "DNA" DNA-LIKE\nA "Adenine" CC0000 ~ T "Thymine" 008000\nC "C" 0000CC ~ G "G" FFB300\nR = AG\n'


@pytest.mark.parametrize("alphabet", ["", "ALPHABET= ACGT\n", "ALPHABET= acgt\n", ALPHABET_5 + "END ALPHABET\n"])
def test_dna_alphabets_are_read(alphabet: str, tmp_path: Path) -> None:
    text = f"MEME version 5\n\n{alphabet}\nMOTIF a\nletter-probability matrix: w= 1\n{ROW}"
    assert len(read_motif_file(write(tmp_path, text)).motifs) == 1


@pytest.mark.parametrize(
    "alphabet",
    [
        "ALPHABET= ACGU\n",
        'ALPHABET "RNA" RNA-LIKE\n',
        'ALPHABET "RNA" RNA-LIKE\nA "Adenine" CC0000\nC "C"\nG "G"\nU "Uracil" 008000\nEND ALPHABET\n',
        'ALPHABET "modified" DNA-LIKE\nA "A" 00 ~ T "T" 00\nC "C" 00 ~ G "G" 00\nm "5mC" 00\nEND ALPHABET\n',
        "ALPHABET= ACDEFGHIKLMNPQRSTVWY\n",
    ],
)
def test_other_alphabets_are_refused(alphabet: str, tmp_path: Path) -> None:
    text = f"MEME version 5\n\n{alphabet}\nMOTIF a\nletter-probability matrix: w= 1\n{ROW}"
    with pytest.raises(MotifError, match=r"line 3: alphabet .*only DNA motifs \(ACGT\) can be matched"):
        read_motif_file(write(tmp_path, text))


GOOD = {
    "meme": "MOTIF good\nletter-probability matrix: w= 1\n" + ROW,
    "jaspar": ">good\nA [ 3 ]\nC [ 1 ]\nG [ 0 ]\nT [ 0 ]\n",
    "homer": ">AC\tgood\t5.1\n0.7\t0.1\t0.1\t0.1\n",
    "plain": ">good\n3 1 0 0\n3 1 0 0\n",
    "transfac": "AC good\nP0 A C G T\n01 3 1 0 0 A\n02 3 1 0 0 A\nXX\n//\n",
    "cisbp": "Motif\tgood\nPos\tA\tC\tG\tT\n1\t0.7\t0.1\t0.1\t0.1\n\n",
}
MATRIX = "letter-probability matrix:"
BROKEN = [
    ("meme", f"MOTIF bad\n{MATRIX} w= 1\n{ROW}{ROW}", "line 9: motif bad: w= 1, but 2 rows follow"),
    ("meme", f"MOTIF bad\n{MATRIX} w= 1\n{ROW}\n{ROW}", "line 9: motif bad: w= 1, but 2 rows follow"),
    ("meme", f"MOTIF bad\n{MATRIX} w= 3\n{ROW}", "motif bad: 1 of 3 rows. Is the file truncated"),
    ("meme", f"MOTIF bad\n{MATRIX} w= x\n{ROW}", "motif bad: w= x is not a number of columns"),
    ("meme", f"MOTIF bad\n{MATRIX} alength= 20 w= 1\n{ROW}", "alength= 20; only DNA"),
    (
        "meme",
        f"MOTIF bad\n{MATRIX} w= 1\n0.5 0.5 0,0 0.0\n",
        "line 10: motif bad: '0.5 0.5 0,0 0.0' is not a row of four",
    ),
    ("meme", f"MOTIF bad\n{MATRIX} w= 1\n0.5 0.5 -0.1 0.1\n", "column 0 holds -0.1"),
    ("meme", f"MOTIF bad\n{MATRIX} w= 1\nnan 0.5 0.5 0\n", "column 0 holds NaN"),
    ("meme", f"MOTIF bad\n{MATRIX} w= 1\n0 0 0 0\n", "column 0 is all zero"),
    ("meme", "MOTIF bad\n\n", "line 8: motif bad: no matrix follows"),
    ("meme", f"MOTIF\n{MATRIX} w= 1\n{ROW}", "the motif has no name"),
    ("meme", f"MOTIF b\x7fd\n{MATRIX} w= 1\n{ROW}", "names must be printable"),
    ("meme", f"MOTIF {'b' * 300}\n{MATRIX} w= 1\n{ROW}", "the name has more than 200 characters"),
    ("meme", f"MOTIF good\n{MATRIX} w= 1\n{ROW}", "motif good occurs twice, first in line 6"),
    ("meme", f"MOTIF bad\n{MATRIX}\n{ROW * 1001}", "1001 columns; a motif has at most 1000"),
    ("jaspar", ">bad\nA [ 3 ]\nC [ 1 ]\nG [ 0 ]\n", "line 6: motif bad: no row T"),
    ("jaspar", ">bad\nA [ 3 4 ]\nC [ 1 2 ]\nG [ 0 0 ]\nT [ 0 ]\n", "rows of different lengths: A 2, C 2, G 2, T 1"),
    ("jaspar", ">bad\nA [ 3 ]\nC [ 1 ]\nG [ 0 ]\nU [ 0 ]\n", "line 10: motif bad: row U; only DNA"),
    ("jaspar", ">bad\nA [ 3 ]\nA [ 1 ]\nG [ 0 ]\nT [ 0 ]\n", "line 8: motif bad: two rows A"),
    ("jaspar", ">bad\nA [ 3 ]\nC [ 1 ]\nG [ 0 ]\nT [ 0 \n", "row T has no closing bracket"),
    ("jaspar", ">bad\nA [ 3 x ]\nC [ 1 ]\nG [ 0 ]\nT [ 0 ]\n", "'A [ 3 x ]' is not a row"),
    ("jaspar", ">bad\nA [ 0 ]\nC [ 0 ]\nG [ 0 ]\nT [ 0 ]\n", "column 0 is all zero"),
    ("jaspar", ">bad\nA [ -3 ]\nC [ 1 ]\nG [ 0 ]\nT [ 0 ]\n", "column 0 holds -3. These are log-odds"),
    ("jaspar", ">bad\nA [ .5 ]\nC [ .2 ]\nG [ 0 ]\nT [ 0 ]\n", "column 0 sums to 0.7: neither probabilities"),
    ("jaspar", ">bad\nA [ 1e300 ]\nC [ 1 ]\nG [ 0 ]\nT [ 0 ]\n", "holds 1e+300, too much for a count"),
    ("jaspar", ">\nA [ 3 ]\nC [ 1 ]\nG [ 0 ]\nT [ 0 ]\n", "line 6: the motif has no name"),
    ("jaspar", ">bad\n", "motif bad: no matrix follows"),
    ("homer", ">AC\tbad\t5.1\n0.7\t0.1\t0.1\n", "line 4: motif bad: '0.7"),
    ("homer", ">AC\tbad\t5.1\n7\t1\t1\t1\n", "column 0 sums to 10"),
    ("plain", ">bad\n3 1 0 0\n3 1 0\n", "line 6: motif bad: '3 1 0' is not a row of four numbers below a >name"),
    ("plain", ">bad\n3 1 0 0\n3 1 1_0 0\n", "'3 1 1_0 0' is not a row of four numbers"),
    ("transfac", "AC bad\nP0 A C G T\n01 3 1 0 0 A\n03 3 1 0 0 A\nXX\n//\n", "row 03 where 2 is expected"),
    ("transfac", "AC bad\nP0 A C G U\n01 3 1 0 0 A\nXX\n//\n", "columns A C G U; only DNA"),
    ("transfac", "AC bad\nXX\n//\n", "motif bad: no matrix follows"),
    ("cisbp", "Motif\tbad\nPos\tA\tC\tG\tT\n\n", "motif bad: no matrix follows"),  # CIS-BP's own of TRANSFAC
    (
        "cisbp",
        "Motif\tbad\nPos\tA\tC\tG\tT\n1\t0.7\t0.1\t0.1\n",
        "motif bad: '1 0.7 0.1 0.1' is not a row number and four",
    ),
]


@pytest.mark.parametrize(("kind", "text", "message"), BROKEN)
def test_a_broken_motif_is_named_and_the_others_are_read(kind: str, text: str, message: str, tmp_path: Path) -> None:
    header = MEME_HEADER if kind == "meme" else ""
    found = read_motif_file(write(tmp_path, header + GOOD[kind] + text, "m.txt"))
    assert [motif.id for motif in found.motifs] == ["good"]
    assert len(found.broken) == 1
    assert message in found.broken[0]
    assert found.broken[0].startswith("m.txt line ")


def test_a_file_without_a_whole_motif_is_refused_with_its_first_fault(tmp_path: Path) -> None:
    text = ">a\nA [ 3 ]\nC [ 1 ]\nG [ 0 ]\n>b\nA [ 3 ]\n"
    with pytest.raises(MotifError, match=r"motif a: no row T. None of the 2 motifs of this file can be read"):
        read_motif_file(write(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("\n\n", "the file is empty"),
        ("MEME version 4\n", "no 'letter-probability matrix' found"),
        (">chr1:100-200\nACGTACGTTTGACGAT\n", "Is it a FASTA file of sequences"),
        ("Query_ID\tTarget_ID\nx\ty\n", "not in a known motif format.*it begins 'Query_ID"),
        (
            "Model\tTranscription factor\tModel length\nAHR_HUMAN.H11MO.0.B\tAHR\t9\n",
            "but contains no matrices.*pcm bundle",
        ),
        ('{"name": "AHR.H12CORE.0.P.B", "tf": "AHR"}\n', "but contains no matrices.*pcm bundle"),
        ("<html><body>404</body></html>", "XML or HTML with the root <html>"),
        ("<MEME><motifs><motif name='a'>", "broken XML.*truncated"),
        ("<!DOCTYPE MEME [<!ENTITY a 'b'><!ENTITY c '&a;&a;'>]><MEME>&c;</MEME>", "declares XML entities"),
        ("<MEME><alphabet name='RNA' like='rna'/></MEME>", "alphabet 'rna'; only DNA"),
        ("<MEME></MEME>", "no motif found: the MEME XML file holds no matrix"),
    ],
)
def test_a_file_of_something_else_is_named_for_what_it_is(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(MotifError, match=message):
        read_motif_file(write(tmp_path, text, "x.meme"))


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_compressed_files_are_told_by_their_first_bytes(compress: Callable[[bytes], bytes], tmp_path: Path) -> None:
    text = jaspar_2016().encode()
    path = tmp_path / "motifs.txt"
    path.write_bytes(compress(text[:300]) + compress(text[300:]))  # two members, as bgzip and cat make them
    assert [motif.id for motif in read_motif_file(path).motifs] == list(IDS)
    path.write_bytes(compress(text)[:-20])
    with pytest.raises(MotifError, match=r"motifs\.txt: its (gzip|bzip2|xz) data are damaged or cut short"):
        read_motif_file(path)
    whole = bytearray(compress(text))
    whole[len(whole) // 2] ^= 255
    path.write_bytes(whole)
    with pytest.raises(MotifError, match=r"motifs\.txt: its (gzip|bzip2|xz) data are damaged"):
        read_motif_file(path)


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, bytes])
def test_a_bomb_is_refused_before_it_takes_memory(compress: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "bomb.meme"
    path.write_bytes(compress(MEME_HEADER.encode() + b"\n" * (64 << 20)))
    tracemalloc.start()
    try:
        with pytest.raises(MotifError, match=r"bomb\.meme: more than 4 MiB.*; no motif file is that large"):
            read_motif_file(path, limit=4 << 20)
        assert tracemalloc.get_traced_memory()[1] < 24 << 20
        with pytest.raises(MotifError, match=r"lines; a motif file has at most 3,000,000"):
            read_motif_file(path)
    finally:
        tracemalloc.stop()


def test_archives_other_encodings_and_folders_are_refused_by_name(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("MA0004.1.pfm", jaspar_2016())
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "a.zip", "x")
    (tmp_path / "utf16.meme").write_bytes(meme().encode("utf-16"))
    for name, message in (
        ("a.zip", "it is a zip archive; unpack it"),
        ("a.tar.gz", "it is a tar archive; unpack it"),
        ("utf16.meme", "it is UTF-16; save it as UTF-8"),
        (".", "it is a folder; give one file"),
    ):
        with pytest.raises(MotifError, match=message):
            read_motif_file(tmp_path / name)
    (tmp_path / "latin.meme").write_bytes(meme().replace("CTCF", "\u00b5CTCF").encode("latin-1"))
    assert read_motif_file(tmp_path / "latin.meme").motifs[0].name == "\u00b5CTCF"


def annotation(matrix: str, of: Callable[[np.ndarray], object]) -> str:
    """HOCOMOCO's annotation.jsonl in the parts that are read: a record a line, the matrix with a row a position."""
    return "".join(
        json.dumps(
            {
                "name": r.matrix_id, "tf": "X", "quality": "A", "length": len(r), "standard_thresholds": {"0.001": 5.2},
                "masterlist_info": {"species": {"HUMAN": {"gene_symbol": r.name}, "MOUSE": {"gene_symbol": "m"}}},
                matrix: of(counts(r)),
            }
        ) + "\n"
        for r in records()
    )  # fmt: skip


def jaspar_json() -> str:
    of = [
        {"matrix_id": r.matrix_id, "name": r.name, "pfm": {base: list(counts(r)[row]) for base, row in BASES}}
        for r in records()
    ]
    return json.dumps(of, indent=1)


BASES = (("T", 3), ("A", 0), ("G", 2), ("C", 1))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (annotation("pcm", lambda c: c.T.tolist()), 1e-9),
        (annotation("pfm", lambda c: c.tolist()), 1e-9),
        (annotation("ppm", lambda c: (c / c.sum(axis=0)).T.round(4).tolist()), 3e-4),
        (annotation("pwm", lambda c: log_odds(c).T.tolist()), 0.02),
        (jaspar_json(), 1e-9),
    ],
)
def test_json_records_that_hold_a_matrix_are_read(text: str, error: float, tmp_path: Path) -> None:
    found = read_motif_file(write(tmp_path, text, "H12CORE_annotation.jsonl"))
    assert (found.format, found.broken) == ("JSON", ())
    assert [(motif.id, motif.name) for motif in found.motifs] == [(r.matrix_id, r.name) for r in records()]
    for motif, record in zip(found.motifs, records(), strict=True):
        np.testing.assert_allclose(motif.ppm, ppm_of(record), atol=error)


GOOD_JSON = '{"name": "good", "pcm": [[3, 1, 0, 0], [0, 4, 0, 0]]}\n'


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ('{"name": "bad"}', "line 2: motif bad: no matrix follows"),
        ('{"pcm": [[3, 1, 0, 0]]}', "line 2: the motif has no name"),
        ('{"name": "bad", "pcm": [[3, 1, 0], [3, 1, 0]]}', "bad: pcm: 2 rows of 3 numbers"),
        ('{"name": "bad", "pcm": [[3, 1, 0, 0], [3, 1]]}', "bad: pcm: rows of different lengths, 2 to 4"),
        ('{"name": "bad", "pcm": [[3, 1, 0, "x"]]}', "holds a value that is not a number"),
        ('{"name": "bad", "pcm": [[3, 1, 0, true]]}', "holds a value that is not a number"),
        ('{"name": "bad", "pcm": {"A": [1], "C": [1], "G": [1], "U": [1]}}', "rows A C G U; only DNA"),
        ('{"name": "bad", "pcm": "3 1 0 0"}', "not a list of rows of numbers"),
        ('{"name": "bad", "pcm": [[3, 1, 0, 1' + "0" * 400 + "]]}", "holds a number that is too large"),
        ('{"name": "bad", "pcm": [[NaN, 1, 0, 0]]}', "column 0 holds NaN"),
        ('{"name": "bad", "ppm": [[3, 1, 0, 0]]}', "column 0 sums to 4, not 1"),
        ('{"name": "good", "pcm": [[3, 1, 0, 0]]}', "motif good occurs twice, first in line 1"),
    ],
)
def test_a_broken_json_record_is_named_and_the_others_are_read(record: str, message: str, tmp_path: Path) -> None:
    found = read_motif_file(write(tmp_path, GOOD_JSON + record + "\n", "m.jsonl"))
    assert [motif.id for motif in found.motifs] == ["good"]
    assert len(found.broken) == 1
    assert message in found.broken[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD_JSON + GOOD_JSON[:30], r"x\.jsonl: broken JSON .*truncated"),
        ("[\n" + GOOD_JSON, r"x\.jsonl: broken JSON .*truncated"),
        ('{"a":' * 100_000, "broken JSON .nested too deeply"),
        ('[{"name": "a"}, 3]', r"x\.jsonl line 1: '3' is not a record of a motif"),
        ('{"name": "a", "tf": "b"}\n', "contains no matrices that can be read"),
        (
            "name\ttf\tmasterlist_info.species.HUMAN.gene_symbol\nA.H12CORE.0.P.B\tA\tA\n",
            "but contains no matrices.*pcm",
        ),
    ],
)
def test_json_without_whole_records_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(MotifError, match=message):
        read_motif_file(write(tmp_path, text, "x.jsonl"))
