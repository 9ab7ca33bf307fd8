"""Files of peaks: every format is recognised by its columns, and whatever is wrong is one error with its line."""

from __future__ import annotations

import bz2
import gzip
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.errors import DataError
from tuner.genome.peaks import read_peaks

ROW = "chr1\t100\t300\n"
NARROW = "chr1\t100\t300\tp\t7\t.\t3.5\t2\t1\t20\n"


def write(folder: Path, text: str | bytes, name: str = "p.bed") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("name", "kind", "signal"),
    [
        ("macs3_CTCF_chr22_run_callpeak_narrow0_peaks.narrowPeak", "narrowPeak", 6),
        ("macs3_CTCF_chr22_run_callpeak_broad_peaks.broadPeak", "broadPeak", 6),
        ("macs3_CTCF_chr22_run_callpeak_narrow0_summits.bed", "summits", 4),
    ],
)
def test_files_of_macs3_are_read_as_pandas_reads_them(data_dir: Path, name: str, kind: str, signal: int) -> None:
    path = data_dir / "ctcf_peaks" / name
    table = pd.read_csv(path, sep="\t", header=None)
    peaks = read_peaks(path)
    assert peaks.kind == kind
    assert len(peaks) == len(table) == (746 if kind == "broadPeak" else 730)
    assert peaks.chrom.tolist() == table[0].tolist()
    assert peaks.start.tolist() == table[1].tolist()
    assert peaks.end.tolist() == table[2].tolist()
    assert peaks.signal.tolist() == table[signal].tolist()
    centre = table[1] + table[9] if kind == "narrowPeak" else (table[1] + table[2]) // 2
    assert peaks.centre.tolist() == centre.tolist()


def test_summits_file_and_narrow_peaks_of_one_run_of_macs3_have_the_same_summits(data_dir: Path) -> None:
    folder = data_dir / "ctcf_peaks"
    narrow = read_peaks(folder / "macs3_CTCF_chr22_run_callpeak_narrow0_peaks.narrowPeak")
    summits = read_peaks(folder / "macs3_CTCF_chr22_run_callpeak_narrow0_summits.bed")
    assert np.array_equal(narrow.centre, summits.centre)


@pytest.mark.parametrize(
    ("text", "kind", "strand", "signal"),
    [
        ("chr1\t100\t300\n", "BED", ".", np.nan),
        ("chr1\t100\t300\tpeak\n", "BED", ".", np.nan),
        ("chr1\t100\t300\tpeak\t7.5\n", "BED", ".", 7.5),
        ("chr1\t100\t300\tpeak\t7.5\t-\n", "BED", "-", 7.5),
        ("chr1\t100\t300\tpeak\t7\t+\t120\t180\t255,0,0\n", "BED", "+", 7.0),
        ("chr1\t100\t300\tpeak\t7\t+\t100\t300\t0\n", "BED", "+", 7.0),
        ("chr1\t100\t300\tpeak\t7\t+\t100\t300\t0\t1\t200,\t0,\n", "BED", "+", 7.0),
        ("chr1\t100\t300\tpeak\t7\t.\t3.5\t2\t-1\n", "broadPeak", ".", 3.5),
        ("chr1\t100\t300\tpeak\t7\t.\t3.5\t2\t-1\t20\n", "narrowPeak", ".", 3.5),
        ("chr1\t200\t201\tpeak\t7\n", "summits", ".", 7.0),
        ("chr1 100 300 peak 7.5 -\n", "BED", "-", 7.5),
        ("chr1;100;300;peak;7.5;-\n", "BED", "-", 7.5),
        ("chr1,100,300,peak,7.5,-\n", "BED", "-", 7.5),
        ('"chr1"\t"100"\t"300"\t"peak"\t"7.5"\t"-"\n', "BED", "-", 7.5),
        ('"chr1";"100";"300"\n', "BED", ".", np.nan),
        ("chr1\t100\t300\t\t\t\n", "BED", ".", np.nan),
        ("chr1\t100\t300\t1-Mar\t7\t-\n", "BED", "-", 7.0),  # the names of peaks are not used
        ("chr1;100;300;peak;7,5;-\n", "BED", "-", 7.5),
        ("chr1\t100\t300\tpeak\t7\t.\t3,5\t2,25\t-1\t20\n", "narrowPeak", ".", 3.5),
        ("chr1;100;300;peak;7;.;3,5;2;-1;;\n", "broadPeak", ".", 3.5),
        ('chr1,100,300,"peak, the first",7.5,-\n', "BED", "-", 7.5),
        ('chr1;100;300;"a ""b""; c";"7,5";"-"\n', "BED", "-", 7.5),
        ("sep=;\nchr1;100;300;peak;7,5;-\n", "BED", "-", 7.5),
        ("chr1\t100\t300\tpeak\t7\t.\t.\t2\t-1\t20\n", "narrowPeak", ".", np.nan),
        ("chr1\t100\t300\tpeak\t7\t\t120\t180\t\n", "BED", ".", 7.0),
        ("chr1\t100\t300\tpeak\t7\tgene\n", "BED", ".", 7.0),
    ],
)
def test_the_columns_decide_the_format(tmp_path: Path, text: str, kind: str, strand: str, signal: float) -> None:
    peaks = read_peaks(write(tmp_path, text))
    assert (peaks.kind, peaks.strand[0]) == (kind, strand)
    assert peaks.chrom[0] == "chr1"
    assert np.array_equal(peaks.signal, [signal], equal_nan=True)
    assert peaks.centre[0] == (120 if kind == "narrowPeak" else 200)


@pytest.mark.parametrize(
    "content",
    [
        ROW.replace("\n", "\r\n").encode(),
        b"\xef\xbb\xbf" + ROW.encode(),
        ROW.encode("utf-16"),
        b"\xff\xfe" + ROW.replace("\n", "\r\n").encode("utf-16-le"),
        b"\xfe\xff" + ROW.encode("utf-16-be"),
        b"\xef\xbb\xbfchr1;100;300;;;\r\n;;;;;\r\n",
        b"chr1,100,300,,\r\n,,,,\r\n",
        b"sep=,\nchr1,100,300\n",
        b"\xef\xbb\xbf" + b'"chr1"\t"100"\t"300"\t""\t\r\n',
        gzip.compress(ROW.encode()),
        gzip.compress(ROW.encode()[:5]) + gzip.compress(ROW.encode()[5:]),  # as bgzip writes
        bz2.compress(ROW.encode()),
        b"#chrom\tstart\tend\n" + ROW.encode(),
        b'track name="x" type=narrowPeak\nbrowser position chr1\n\n' + ROW.encode() + b"\n",
        b"chrom\tchromStart\tchromEnd\n" + ROW.encode(),
        ROW.encode().rstrip(b"\n"),
        ROW.encode().replace(b"\n", b"\r"),
    ],
)
def test_one_peak_is_read_whatever_the_file_around_it_looks_like(tmp_path: Path, content: bytes) -> None:
    peaks = read_peaks(write(tmp_path, content))
    assert (peaks.chrom.tolist(), peaks.start.tolist(), peaks.end.tolist()) == (["chr1"], [100], [300])


def test_lines_of_peaks_are_those_of_the_file(tmp_path: Path) -> None:
    peaks = read_peaks(write(tmp_path, "# a\n" + ROW + "\ntrack x\n" + ROW))
    assert peaks.line.tolist() == [2, 5]
    assert peaks.where(1) == "p.bed line 5: chr1:100-300"


def test_a_summit_of_minus_one_is_the_middle_and_is_counted(tmp_path: Path) -> None:
    line = "chr1\t100\t300\tp\t7\t.\t3\t2\t1\t"
    peaks = read_peaks(write(tmp_path, f"{line}-1\n{line}20\n"))
    assert peaks.centre.tolist() == [200, 120]
    assert "1 of 2 peaks have no summit" in peaks.notes[0]


def test_several_summits_of_one_peak_are_sites_of_their_own(tmp_path: Path) -> None:
    line = "chr1\t100\t300\tp\t7\t.\t3\t2\t1\t"
    peaks = read_peaks(write(tmp_path, f"{line}30\n{line}150\n"))
    assert peaks.centre.tolist() == [130, 250]
    assert any("2 summits of 1 peaks" in note for note in peaks.notes)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the file is empty"),
        ("# only\ntrack x\n", "no peaks"),
        ("chr1\n", r"line 1: one column \('chr1'\)"),
        ("chr1:100-300\n", "Write chr1, 100 and 300 into columns of their own"),
        ("chr1\t100\n", "line 1: 2 columns; expected at least three"),
        (ROW + "chr1\t300\t100\n", r"line 2: the end 100 lies before the start 300. Exchange"),
        (ROW + "chr1\t-5\t100\n", "line 2: the start '-5' is negative"),
        (ROW + "chr1\tabc\t100\n", "line 2: the start 'abc' is not a whole number"),
        (ROW + "chr1\t100\t1e3\n", "line 2: the end '1e3' was rounded by a spreadsheet"),
        (ROW + "chr1\t1.2E+07\t13000000\n", r"the start '1.2E\+07' was rounded by a spreadsheet"),
        (ROW + "chr1\t1,000\t2,000\n", "the start '1,000' has thousands separators"),
        (ROW + "chr1\t1.000.000\t2.000.000\n", "has thousands separators"),
        (ROW + "chr1\t100.5\t200\n", "the start '100.5' is not a whole number"),
        (ROW + "chr1\t\t200\n", "the start '' is not a whole number"),
        (ROW + "chr1\t100\t300\tx\n", "line 2: 4 columns, but line 1 has 3"),
        ("chr1\t100\t300\tp\t7\t.\t3\t2\t1\t200\n", "the summit in column 10 is 200, but the peak has 200 bases"),
        ("chr1\t100\t300\tp\t7\t.\t3\t2\t1\tx\n", "the summit 'x' in column 10 is not a whole number"),
        ("chr1\t٣\t300\n", "is not a whole number"),
        ('chr1;"1.000";"2.000"\n', "line 1: the start '1.000' has thousands separators"),
        ('chr1,"1,000","2,000"\n', "line 1: the start '1,000' has thousands separators"),
        ("chr1\t1\u202f000\t2\u202f000\n", "has thousands separators"),
        ("chr1\t1\u2019000\t2\u2019000\n", "has thousands separators"),
        ("chr1\t100,5\t200\n", "the start '100,5' is not a whole number"),
        ("chr1\t#REF!\t200\n", "the start '#REF!' is an error value of a spreadsheet"),
        (ROW + "#REF!\t100\t200\n", r"line 2: a spreadsheet has made an error value of the name of the chromosome"),
        ("#NAME?;100;200\n", r"line 1: a spreadsheet has made an error value of the name of the chromosome"),
        (ROW + "1-Mar\t100\t200\n", r"line 2: a spreadsheet has made a date of the name of the chromosome \('1-Mar'\)"),
        ("Mrz-01\t100\t200\nMar-01\t100\t200\n", "line 2: a spreadsheet has made a date"),
        ("01.03.2024;100;200\n", "line 1: a spreadsheet has made a date"),
        (ROW + "\t100\t200\n", "line 2: the name of the chromosome is missing"),
        ("chr1\t1\t9\ta\t1,234\n", "line 1: '1,234' in column 5 can be read in two ways"),
        ("chr1\t1\t9\ta\t1\t+\nchr1\t1\t9\ta\tx\t+\nchr1\t1\t9\ta\t1\t+\n", "line 2: 'x' in column 5 is not a number"),
        (
            "chr1\t1\t9\ta\t1\t+\nchr1\t1\t9\ta\t1\t\u2212\nchr1\t1\t9\ta\t1\t+\n",
            "line 2: the strand '\u2212' in column 6",
        ),
        (NARROW * 2 + NARROW.replace("3.5", "high"), "line 3: 'high' in column 7 is not a number"),
        (NARROW * 2 + NARROW.replace("3.5", "1.234,5"), "line 3: '1.234,5' in column 7 is not a number"),
    ],
)
def test_what_is_wrong_is_one_error_that_says_where(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_peaks(write(tmp_path, text))


def test_a_damaged_or_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_peaks(tmp_path / "none.bed")
    with pytest.raises(DataError, match="damaged or cut short"):
        read_peaks(write(tmp_path, gzip.compress(ROW.encode() * 1000)[:-20], "p.bed.gz"))
    with pytest.raises(DataError, match="an Excel file"):
        read_peaks(write(tmp_path, b"\xd0\xcf\x11\xe0" + bytes(100)))


def test_what_is_read_in_another_way_than_written_is_told(tmp_path: Path) -> None:
    lines = ["chr1;100;300;a;7,5;+", "chr1;500;700;b;.;x", "chr1;900;990;c;1,25;+", "chr1;950;990;c;12;"]
    peaks = read_peaks(write(tmp_path, "\n".join(line.replace("x", "") for line in lines)))
    assert np.array_equal(peaks.signal, [7.5, np.nan, 1.25, 12], equal_nan=True)
    assert peaks.strand.tolist() == ["+", ".", "+", "."]
    assert peaks.notes[0] == (
        "p.bed: the commas of column 5 were read as decimal points, and 1 of 4 peaks have no number in column 5."
    )
    other = read_peaks(write(tmp_path, "chr1\t1\t9\ta\t1\tABC1\n"))
    assert other.notes[0] == "p.bed: column 6 ('ABC1') holds no strands, so the sites have none."


def test_a_workbook_is_told_from_other_archives(tmp_path: Path) -> None:
    for first, words in (("[Content_Types].xml", "an Excel file; save it as CSV"), ("p.bed", "a zip archive; unpack")):
        with zipfile.ZipFile(tmp_path / "p.xlsx", "w") as file:
            file.writestr(first, "x")
        with pytest.raises(DataError, match=words):
            read_peaks(tmp_path / "p.xlsx")


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.lists(st.lists(st.text('chr10-\t,;. "+ex', max_size=6), max_size=11), max_size=4), st.sampled_from("\t; ,"))
def test_any_text_gives_peaks_or_one_error(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], by: str
) -> None:
    path = write(tmp_path_factory.mktemp("fuzz"), "\n".join(by.join(row) for row in rows))
    try:
        peaks = read_peaks(path)
    except DataError:
        return
    assert len(peaks) > 0
    assert (peaks.start >= 0).all()
    assert (peaks.end >= peaks.start).all()
    assert ((peaks.centre >= peaks.start) & (peaks.centre <= peaks.end)).all()
