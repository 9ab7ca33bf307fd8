"""Text files as people have them, and files that are none."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import socket
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from tuner.data.fasta import read_fasta
from tuner.errors import DataError
from tuner.genome.sequence import decode
from tuner.genome.textfile import read_text

TEXT = ">a é\nACGT\n>α\nTTGA\n"


@pytest.mark.parametrize(
    "content",
    [
        TEXT.encode(),
        TEXT.encode("utf-8-sig"),
        TEXT.encode("utf-16"),
        "\ufeff".encode("utf-16-be") + TEXT.encode("utf-16-be"),
        TEXT.encode("utf-32"),
        TEXT.replace("\n", "\r\n").encode(),
        TEXT.replace("\n", "\r").encode(),
        TEXT.replace("\n", "\r\r\n").encode(),
        gzip.compress(TEXT.encode(), mtime=0),
        bz2.compress(TEXT.encode("utf-16")),
        lzma.compress(TEXT.encode("utf-8-sig")),
        gzip.compress(TEXT[:9].encode(), mtime=0) + gzip.compress(TEXT[9:].encode(), mtime=0),
        gzip.compress(TEXT.encode(), mtime=0) + b"\0" * 600,  # tapes are padded
        bz2.compress(TEXT[:9].encode()) + bz2.compress(TEXT[9:].encode()),
        lzma.compress(TEXT[:9].encode()) + b"\0" * 8 + lzma.compress(TEXT[9:].encode()),
        # two files with byte-order marks, put together
        TEXT[: TEXT.index(">α")].encode("utf-8-sig") + TEXT[TEXT.index(">α") :].encode("utf-8-sig"),
    ],
)
def test_every_coding_line_end_and_compression_reads_the_same(tmp_path, content):
    path = tmp_path / "any.name"
    path.write_bytes(content)
    assert [(r.id, *decode(r.codes[None])) for r in read_fasta(path)] == [("a", "ACGT"), ("α", "TTGA")]


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".xz"])
def test_the_first_bytes_tell_the_compression_and_not_the_ending(tmp_path, ending):
    path = tmp_path / f"plain.fa{ending}"
    path.write_text(">a\nACGT\n")
    assert len(read_fasta(path)) == 1


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("damage", ["cut", "cut in the second part", "flipped"])
def test_damaged_compressed_files_are_one_clear_error(tmp_path, pack, damage):
    packed = pack(b">a\n" + os.urandom(3000).hex().encode())
    content = {
        "cut": packed[: len(packed) // 2],
        "cut in the second part": packed + packed[: len(packed) // 2],
        "flipped": packed[:-30] + bytes([packed[-30] ^ 1]) + packed[-29:],
    }[damage]
    (tmp_path / "x.fa").write_bytes(content)
    with pytest.raises(DataError, match=r"its (gzip|bzip2|xz) data are damaged or cut short .* download it again"):
        read_text(tmp_path / "x.fa")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04rest", "it is a zip archive; unpack it"),
        (b"\x28\xb5\x2f\xfd\x04", "it is compressed by zstd; decompress it"),
        (b"\x89HDF\r\n\x1a\n\x00", "it is an HDF5 file; name it by path ="),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "it is an Excel file; save it as CSV"),
        (b"x" * 257 + b"ustar", "it is a tar archive; unpack it"),
        (b">a\nACGT\n>b\nAC\0GT\n", "line 4: it holds a NUL byte, so it is a binary file, or UTF-16"),
        (">a\nACGT\n".encode("utf-16-le"), "line 1: it holds a NUL byte"),
        (b">a\nACGT\n>caf\xe9\nACGT\n", "line 3: the byte 0xe9 is not UTF-8 text"),
        (b"\xff\xfeA", "it begins like UTF-16 text, but is not"),
        (b"\xef\xbb\xbf\r\n", "the file is empty"),
        (gzip.compress(b"", mtime=0), "the file is empty"),
    ],
)
def test_what_is_no_text_is_named(tmp_path, content, message):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_text(tmp_path / "x")


def test_a_bad_byte_is_found_across_the_blocks_that_are_checked(tmp_path):
    # the two bytes of an é lie on both sides of 1 MiB; the broken byte comes a line later
    good = b">" + b"a" * ((1 << 20) - 2) + "é".encode() + b"\nACGT\n"
    (tmp_path / "x").write_bytes(good)
    assert read_text(tmp_path / "x") == good
    (tmp_path / "x").write_bytes(good + b">\xe9\n")
    with pytest.raises(DataError, match="line 3: the byte 0xe9"):
        read_text(tmp_path / "x")


def test_folders_pipes_sockets_and_devices_are_refused_at_once(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(tmp_path)  # a socket's path may have 108 characters
        server.bind("socket")
        for name in ("pipe", "socket", "/dev/zero"):
            with pytest.raises(DataError, match="it is a pipe, a socket or a device"):
                read_text(tmp_path / name)
    with pytest.raises(DataError, match="it is a folder; expected a file"):
        read_text(tmp_path)


@pytest.mark.parametrize("name", ["absent", "file/below", "x" * 5000, "a\0b"])
def test_a_path_that_cannot_be_is_refused(tmp_path, name):
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match=r"no such file|cannot be looked up"):
        read_text(tmp_path / name)


@pytest.mark.skipif(os.geteuid() != 0, reason="root: only root may become somebody who may not read")
def test_a_file_that_may_not_be_read_says_so(tmp_path):
    path = tmp_path / "secret.fa"
    path.write_text(">a\nACGT\n")
    path.chmod(0o600)
    for folder in (tmp_path, *tmp_path.parents[:-1]):
        folder.chmod(folder.stat().st_mode | 0o055)
    script = (
        "import os, pathlib, sys; from tuner.genome.textfile import read_text; os.setuid(65534)\n"
        "try: read_text(pathlib.Path(sys.argv[1]))\nexcept Exception as e: print(type(e).__name__, e)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], cwd=Path(__file__).parents[1],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    said = "cannot be read (Permission denied). Ask its owner for permission to read the file and its folder."
    assert done.stdout == f"DataError {path}: {said}\n"


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_bomb_is_refused_without_its_memory(tmp_path, pack):
    path = tmp_path / "bomb.fa"
    path.write_bytes(pack(b">a\n" + b"A" * 60_000_000))
    assert path.stat().st_size < 400_000
    tracemalloc.start()
    try:
        with pytest.raises(
            DataError,
            match=r"bomb\.fa: what its (gzip|bzip2|xz) data hold \(at least \d+\.\d MB of text\) takes about "
            r"\d\d\.\d MB of memory; 10\.0 MB are allowed \(--max-memory,",
        ):
            read_fasta(path, 10_000_000)
        assert tracemalloc.get_traced_memory()[1] < 12_000_000
    finally:
        tracemalloc.stop()


def test_a_large_plain_file_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "holes.fa"
    with path.open("wb") as file:
        file.truncate(10**13)  # ten terabytes that take no space
    with pytest.raises(DataError, match=r"holes\.fa: reading it takes about 160000\.0 GB of memory"):
        read_fasta(path)


def test_an_xz_file_that_asks_for_a_dictionary_of_gigabytes_is_refused(tmp_path):
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 29}]
    (tmp_path / "x.fa").write_bytes(lzma.compress(b">a\nACGT\n", filters=filters))
    with pytest.raises(DataError, match=r"its xz data are damaged or cut short \(Memory usage limit exceeded\)"):
        read_text(tmp_path / "x.fa")
