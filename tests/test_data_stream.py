"""Sequences one after the other: every form of file, any size, and errors that say what it is instead."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from tuner.data.fasta import read_fasta
from tuner.data.stream import SOURCES, stream_sequences
from tuner.errors import DataError
from tuner.genome.sequence import decode

FASTA = ">a first\r\nACGT\r\nacgn\r\n;a remark\n\n>b\nGGGTTTUR\n>\nA\n"


def texts(path: Path, **how: object) -> list[tuple[str, str]]:
    return [(s.id, decode(s.codes[None])[0]) for s in stream_sequences(path, **how)]  # type: ignore[arg-type]


def test_fasta_is_read_as_the_reader_of_data_sets_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "x.fa"
    path.write_text(FASTA, newline="")
    expected = [(r.id, decode(r.codes[None])[0]) for r in read_fasta(path)]
    assert texts(path) == expected == [("a", "ACGTACGN"), ("b", "GGGTTTTN"), ("record_3", "A")]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, lambda b: b"\xef\xbb\xbf" + b, bytes])
def test_compressed_and_marked_files_are_the_same(tmp_path: Path, pack: object) -> None:
    path = tmp_path / "x"
    path.write_bytes(pack(FASTA.encode()))  # type: ignore[operator]
    assert [name for name, _ in texts(path)] == ["a", "b", "record_3"]


def test_real_peaks_are_read_as_the_reader_of_data_sets_reads_them(data_dir: Path) -> None:
    found = sorted(data_dir.rglob("*.fa*"), key=lambda p: (p.stat().st_size, p))
    path = found[0]
    streamed, read = list(stream_sequences(path)), read_fasta(path)
    assert [s.id for s in streamed] == [r.id for r in read]
    assert all(np.array_equal(s.codes, r.codes) for s, r in zip(streamed, read, strict=True))


def test_tables_give_their_sequence_column_and_ids(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    path.write_text("name\tlabel\tseq\nfirst\t1\tACGT\n\nsecond\t0\tTT\n")
    assert texts(path) == [("first", "ACGT"), ("second", "TT")]
    path.write_text('"window","comment"\n"ACGT","x, y"\nTTT,z\n')
    assert texts(path, sequence_column="window") == [("1", "ACGT"), ("2", "TTT")]
    with pytest.raises(DataError, match=r"begins neither with '>'.*called sequence or seq or seqs.*window, comment"):
        texts(path)
    with pytest.raises(DataError, match="unknown column 'windw'; did you mean 'window'"):
        texts(path, sequence_column="windw")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"\n \n", "the file is empty"),
        (b">a\n>b\nACGT\n", r"record 1 \(a\) has no sequence"),
        (b">a\nACGT\n>b\n", r"record 2 \(b\) has no sequence"),
        (b">sp|P01106|MYC\nMPLNVSFTNRNYDLDYDSVQPYFYCDEEENFYQQQQQSELQPPAPSEDIWKKFELLPTPPLS\n", "looks like a protein"),
        (b">p\nMKVSAGSWKDHVSGNDDMMKKVS\n", "looks like a protein"),  # ambiguity letters of DNA, all of them
        (b">a\nACGT-ACGT\n", "'-' at position 4 is not a nucleotide"),
        (b"chr1\t10\t20\tpeak\n", "looks like BED"),
        (b"sequence\n", "a header but no rows"),
        (b"sequence,label\nACGT\n", "1 fields; the header has 2"),
        (b"PK\x03\x04xxxx", "a zip archive"),
        (b"\x89HDF\r\n\x1a\nxxxx", "an HDF5 file; write its sequences as FASTA"),
        (gzip.compress(FASTA.encode() * 50)[:-9], "gzip data are damaged or cut short"),
        (b">a\nACGT\n\xff\xfe\xfd\n", "is not UTF-8 text"),
    ],
)
def test_errors_name_the_file_and_what_is_wrong(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "given.fa"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"given\.fa.*{words}"):
        texts(path)


def test_missing_files_folders_and_formats(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        texts(tmp_path / "none.fa")
    with pytest.raises(DataError, match="it is a folder"):
        texts(tmp_path)
    (tmp_path / "x.fa").write_text(">a\nA\n")
    with pytest.raises(DataError, match=r"unknown format of sequences 'fast'; did you mean 'fasta'"):
        texts(tmp_path / "x.fa", form="fast")
    with pytest.raises(DataError, match="a sequence column is for a table"):
        texts(tmp_path / "x.fa", sequence_column="seq")
    assert list(SOURCES) == ["fasta", "table"]


def test_a_file_far_larger_than_what_is_kept_takes_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "many.fa.gz"
    with gzip.open(path, "wt", compresslevel=1) as file:
        file.writelines(f">s{i}\n{'ACGTTGCA' * 1250}\n" for i in range(4000))  # 40 MB of text
    tracemalloc.start()
    try:
        count = sum(1 for _ in stream_sequences(path))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 4000
    assert peak < 12 << 20


def test_one_sequence_may_not_take_more_than_the_memory_that_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "long.fa"
    path.write_text(">one line\n" + "ACGT" * 2_000_000 + "\n")
    assert [len(s.codes) for s in stream_sequences(path)] == [8_000_000]
    with pytest.raises(DataError, match=r"record 1 of at least .* bases takes about .*--max-memory"):
        texts(path, max_memory=20 << 20)


def test_progress_counts_the_bytes_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.fa.gz"
    path.write_bytes(gzip.compress(FASTA.encode() * 100_000))
    seen: list[int] = []
    assert sum(1 for _ in stream_sequences(path, progress=seen.append)) == 300_000
    assert seen == sorted(seen)
    assert seen[-1] == path.stat().st_size


def test_a_pipe_is_read_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(gzip.compress(FASTA.encode())))
    writer.start()
    handle = os.open(pipe, os.O_RDONLY)  # waits for the writer, so that the reader below finds it
    try:
        found = texts(Path(f"/dev/fd/{handle}"))
    finally:
        os.close(handle)
    writer.join()
    assert [name for name, _ in found] == ["a", "b", "record_3"]
