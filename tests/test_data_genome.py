"""`Genome`: the letters of pyfaidx and of a 2bit file written by hand; a wrong file or index is one error."""

from __future__ import annotations

import gzip
import os
import pickle
import re
import zlib
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import numpy as np
import pyfaidx
import pytest
from genome_files import random_letters, write_fasta

from tuner.errors import DataError
from tuner.genome.assemblies import ASSEMBLIES, fitting, identify
from tuner.genome.chromosomes import is_main, main_names, match_names, read_aliases
from tuner.genome.genome import Genome
from tuner.genome.genome_names import GENOMES
from tuner.genome.genomes import open_genome
from tuner.genome.sequence import encode

YEAST = "yeast_reb1/Saccharomyces_cerevisiae.R64-1-1.dna.toplevel.fa.gz"
RECORDS = {"chr1": random_letters(1000, 1), "chr2": random_letters(601, 2).lower(), "chr3": b"ACGTNNRY"}


@pytest.mark.parametrize("width", [1, 7, 60, 5000])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_every_interval_is_that_of_pyfaidx(tmp_path: Path, width: int, end: bytes) -> None:
    path = write_fasta(tmp_path / "g.fa", RECORDS, width, end)
    genome = Genome(path, cache=tmp_path / "cache")
    assert dict(genome.sizes) == {name: len(letters) for name, letters in RECORDS.items()}
    other = pyfaidx.Fasta(str(path), indexname=str(tmp_path / "other.fai"))
    rng = np.random.default_rng(0)
    for _ in range(100):
        name = str(rng.choice(list(RECORDS)))
        start, stop = sorted(int(i) for i in rng.integers(0, len(RECORDS[name]) + 1, 2))
        assert genome.letters(name, start, stop).tobytes().decode() == str(other[name][start:stop])
    other.close()


def test_index_is_the_one_that_pyfaidx_writes(tmp_path: Path) -> None:
    path = write_fasta(tmp_path / "g.fa", RECORDS)
    Genome(path, cache=tmp_path / "cache")
    pyfaidx.Fasta(str(path), indexname=str(tmp_path / "other.fai")).close()
    assert (tmp_path / "g.fa.fai").read_text() == (tmp_path / "other.fai").read_text()


def test_whole_yeast_genome_is_that_of_pyfaidx(tmp_path: Path, data_dir: Path) -> None:
    genome = Genome(data_dir / YEAST, cache=tmp_path)
    plain = tmp_path / "yeast.fa"
    plain.write_bytes(gzip.decompress((data_dir / YEAST).read_bytes()))
    other = pyfaidx.Fasta(str(plain))
    assert list(genome.sizes) == list(other.keys())
    for name in genome.sizes:
        assert genome.letters(name).tobytes().decode() == str(other[name])
    other.close()
    assert genome.assembly is not None
    assert (genome.assembly.assembly, genome.assembly.equal, genome.assembly.differing) == ("sacCer3", 16, ())


def test_pages_that_were_read_are_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows all over a genome: the same letters as of a small one, and little of the file stays in memory."""
    letters = random_letters(1 << 24, 3)
    path = write_fasta(tmp_path / "g.fa", {"chr1": letters}, width=1 << 20)
    monkeypatch.setattr("tuner.genome.mapped.MOST_HELD", 1 << 21)
    genome = Genome(path, cache=tmp_path)
    for start in range(0, len(letters) - 1000, 100_000):
        assert genome.letters("chr1", start, start + 1000).tobytes() == letters[start : start + 1000]
    assert genome.letters("chr1").tobytes() == letters
    smaps = Path("/proc/self/smaps")
    if smaps.exists():  # where Linux is
        [held] = re.findall(rf"{re.escape(str(path))}\n(?:Size|KernelPageSize|MMUPageSize).*?Rss: +(\d+) kB",
                            smaps.read_text(), re.DOTALL)  # fmt: skip
        assert int(held) < 4096


def test_codes_are_those_of_the_letters(tmp_path: Path) -> None:
    genome = Genome(write_fasta(tmp_path / "g.fa", RECORDS), cache=tmp_path)
    for name, letters in RECORDS.items():
        assert np.array_equal(genome.codes(name), encode([letters.decode()])[0])


@pytest.mark.parametrize("packer", ["gzip", "bgzip"])
def test_a_compressed_genome_is_decompressed_once(tmp_path: Path, packer: str) -> None:
    plain = write_fasta(tmp_path / "g.fa", RECORDS)
    path = tmp_path / "packed.fa.gz"
    if packer == "gzip":
        path.write_bytes(gzip.compress(plain.read_bytes()))
    else:
        path.write_bytes(bgzip(plain.read_bytes()))
    first = Genome(path, cache=tmp_path / "cache")
    assert first.letters("chr1", 10, 20).tobytes() == RECORDS["chr1"][10:20]
    (kept,) = (tmp_path / "cache" / "genomes").glob("*.fa")
    before = kept.stat().st_mtime_ns
    assert Genome(path, cache=tmp_path / "cache").letters("chr2", 3, 9).tobytes() == RECORDS["chr2"][3:9]
    assert kept.stat().st_mtime_ns == before
    assert not list(tmp_path.glob("packed*.fai"))


def bgzip(content: bytes, size: int = 500) -> bytes:
    """Compress as bgzip does: gzip members whose extra field holds their length, and an empty one at the end."""
    members = []
    for part in [*(content[at : at + size] for at in range(0, len(content), size)), b""]:
        packer = zlib.compressobj(6, zlib.DEFLATED, -15)
        body = packer.compress(part) + packer.flush()
        head = b"\x1f\x8b\x08\x04" + bytes(4) + b"\x00\xff\x06\x00BC\x02\x00" + (len(body) + 25).to_bytes(2, "little")
        members.append(head + body + zlib.crc32(part).to_bytes(4, "little") + len(part).to_bytes(4, "little"))
    return b"".join(members)


def test_two_bit_holds_the_same_sequences(tmp_path: Path) -> None:
    records = {name: RECORDS[name] for name in ("chr1", "chr2")} | {"chr4": b"ACGTNNNNacgtACGT"}
    path = tmp_path / "g.2bit"
    path.write_bytes(two_bit(records))
    genome = Genome(path)
    assert dict(genome.sizes) == {name: len(letters) for name, letters in records.items()}
    for name, letters in records.items():
        assert genome.letters(name).tobytes() == letters
        for start, end in ((0, 1), (5, 11), (3, 4), (7, 7), (2, len(letters))):
            assert genome.letters(name, start, end).tobytes() == letters[start:end]


def test_two_bit_in_the_other_order_of_bytes_and_with_wide_offsets_is_read(tmp_path: Path) -> None:
    for order in ("little", "big"):
        for wide in (False, True):
            path = tmp_path / f"{order}{wide}.2bit"
            path.write_bytes(two_bit({"chr1": b"ACGTNNNNacgtACGTA", "chr2": b"GGGnnn"}, order, wide))
            genome = Genome(path)
            assert genome.letters("chr1").tobytes() == b"ACGTNNNNacgtACGTA"
            assert genome.letters("chr2").tobytes() == b"GGGnnn"


def test_two_bit_cut_short_anywhere_is_one_error(tmp_path: Path) -> None:
    whole = two_bit({"chr1": b"ACGTNNNNacgtACGTA", "chr2": b"GGGnnn"})
    for size in range(4, len(whole)):
        path = tmp_path / f"{size}.2bit"
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match="the file ends before the bases that it announces"):
            Genome(path)


def two_bit(records: dict[str, bytes], order: Literal["little", "big"] = "little", wide: bool = False) -> bytes:
    """Write 2bit as the specification of UCSC says: T, C, A, G = 0..3, blocks of N and of lower case."""

    def blocks(flags: np.ndarray) -> tuple[list[int], list[int]]:
        edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]])))
        return edges[::2].tolist(), (edges[1::2] - edges[::2]).tolist()

    def number(*values: int) -> bytes:
        return b"".join(value.to_bytes(4, order) for value in values)

    index, bodies = [], []
    for name, text in records.items():
        letters = np.frombuffer(text, np.uint8)
        upper = np.frombuffer(text.upper(), np.uint8)
        body = number(len(text))
        for flags in (upper == ord("N"), letters >= ord("a")):
            starts, sizes = blocks(flags)
            body += number(len(starts), *starts, *sizes)
        values = np.zeros(-(-len(text) // 4) * 4, np.uint8)
        for code, letter in enumerate(b"TCAG"):
            values[: len(text)][upper == letter] = code
        four = values.reshape(-1, 4)
        body += number(0) + (four @ np.array([64, 16, 4, 1])).astype(np.uint8).tobytes()
        index.append(name)
        bodies.append(body)
    size = 8 if wide else 4
    offset = 16 + sum(1 + len(name) + size for name in index)
    head = number(0x1A412743, int(wide), len(index), 0)
    for name, body in zip(index, bodies, strict=True):
        head += bytes([len(name)]) + name.encode() + offset.to_bytes(size, order)
        offset += len(body)
    return head + b"".join(bodies)


def read_in_a_process(genome: Genome) -> bytes:
    return genome.letters("chr1", 100, 200).tobytes()


def test_a_genome_is_read_by_other_processes(tmp_path: Path) -> None:
    path = write_fasta(tmp_path / "g.fa", RECORDS)
    genomes = [Genome(path, cache=tmp_path)]
    (tmp_path / "g.2bit").write_bytes(two_bit({"chr1": RECORDS["chr1"]}))
    genomes.append(Genome(tmp_path / "g.2bit"))
    assert [read_in_a_process(pickle.loads(pickle.dumps(genome))) for genome in genomes] == [
        RECORDS["chr1"][100:200]
    ] * 2
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        assert set(pool.map(read_in_a_process, genomes * 2)) == {RECORDS["chr1"][100:200]}


def test_an_old_index_is_made_again(tmp_path: Path) -> None:
    path = write_fasta(tmp_path / "g.fa", RECORDS)
    Genome(path, cache=tmp_path / "cache")
    write_fasta(path, {"chr1": RECORDS["chr2"], "other": RECORDS["chr1"]})
    os.utime(tmp_path / "g.fa.fai", ns=(0, path.stat().st_mtime_ns - 1))
    genome = Genome(path, cache=tmp_path / "cache")
    assert genome.letters("other").tobytes() == RECORDS["chr1"]
    assert "g.fa.fai is older than g.fa" in genome.notes[0]
    assert Genome(path, cache=tmp_path / "cache").notes == ()


def test_an_index_of_another_file_is_not_used(tmp_path: Path) -> None:
    path = write_fasta(tmp_path / "g.fa", RECORDS)
    (tmp_path / "g.fa.fai").write_text("chr9\t1000\t11\t60\t61\n")
    genome = Genome(path, cache=tmp_path / "cache")
    assert list(genome.sizes) == list(RECORDS)
    assert "is not the index of g.fa" in genome.notes[0]


def test_a_genome_that_ends_before_its_index_is_an_error(tmp_path: Path) -> None:
    path = write_fasta(tmp_path / "g.fa", RECORDS)
    Genome(path, cache=tmp_path / "cache")
    path.write_bytes(path.read_bytes()[:900])
    os.utime(tmp_path / "g.fa.fai")
    with pytest.raises(DataError, match=r"ends before its index g\.fa\.fai does, so it was cut short"):
        Genome(path, cache=tmp_path / "cache")


def test_in_a_folder_that_cannot_be_written_the_index_is_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "read_only"
    folder.mkdir()
    path = write_fasta(folder / "g.fa", RECORDS)
    folder.chmod(0o555)
    if os.access(folder, os.W_OK):  # root may write everywhere, so the refusal is made here
        from tuner.genome import fasta_index

        write = fasta_index.write_atomically

        def refuse(place: Path, content: bytes, **how: bool) -> None:
            if place.parent == folder:
                raise PermissionError(13, "Permission denied")
            write(place, content, **how)

        monkeypatch.setattr(fasta_index, "write_atomically", refuse)
    assert Genome(path, cache=tmp_path / "cache").letters("chr3").tobytes() == RECORDS["chr3"]
    assert [p.suffix for p in (tmp_path / "cache" / "genomes").iterdir()] == [".fai"]
    assert list(folder.iterdir()) == [path]
    monkeypatch.setattr("tuner.genome.fasta_index.build_index", lambda *_: pytest.fail("the index was made again"))
    Genome(path, cache=tmp_path / "cache")
    folder.chmod(0o755)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"chr1\t100\t200\n", "it is not a FASTA file"),
        (b"ACGT\n", "it is not a FASTA file"),
        (b">chr1\n", "no record has a sequence"),
        (b">\nACGT\n", "has no name"),
        (b">a\nACGT\n>a\nACGT\n", "two records are called 'a'"),
        (b">a\nACGT\nACG\nACGT\n", "the lines of 'a' have different lengths"),
        (b">a\nACGT\n\nACGT\n", "the lines of 'a' have different lengths"),
        (b">a\nACG\nACGT\n", "the lines of 'a' have different lengths"),
        (gzip.compress(b">a\n" + random_letters(5000))[:-30], "gzip data are damaged or cut short"),
        (gzip.compress(b"ACGT\n"), "it is not a FASTA file"),
    ],
)
def test_a_file_that_is_no_genome_is_one_error(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "g.fa"
    path.write_bytes(content)
    with pytest.raises(DataError, match=words):
        Genome(path, cache=tmp_path / "cache")


def test_protein_letters_are_an_error_with_their_position(tmp_path: Path) -> None:
    genome = Genome(write_fasta(tmp_path / "g.fa", {"p": b"ACGTACGTMEEP"}), cache=tmp_path)
    with pytest.raises(DataError, match=r"g\.fa, p: 'E' at position 9 is not a nucleotide"):
        genome.codes("p", 2)


@pytest.mark.parametrize(
    ("chrom", "start", "end"), [("chr1", -1, 5), ("chr1", 5, 1001), ("chr1", 9, 5), ("chrX", 0, 1)]
)
def test_an_interval_that_does_not_exist_is_an_error(tmp_path: Path, chrom: str, start: int, end: int) -> None:
    genome = Genome(write_fasta(tmp_path / "g.fa", RECORDS), cache=tmp_path)
    with pytest.raises(DataError, match=r"is not within chr1|has no chromosome 'chrX'"):
        genome.letters(chrom, start, end)


def test_a_missing_genome_and_a_folder_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        Genome(tmp_path / "none.fa")
    with pytest.raises(DataError, match="it is a folder"):
        Genome(tmp_path)


# Names


@pytest.mark.parametrize(
    ("names", "known", "found"),
    [
        (["chr1", "chrX", "chrM"], ["1", "X", "MT"], ["1", "X", "MT"]),
        (["1", "X", "MT"], ["chr1", "chrX", "chrM"], ["chr1", "chrX", "chrM"]),
        (["chr4", "chr10", "chrM"], ["I", "II", "III", "IV", "X", "Mito"], ["IV", "X", "Mito"]),
        (["chrIV", "chrX", "Mito"], ["chr1", "chr4", "chr10", "chrM"], ["chr4", "chr10", "chrM"]),
        (["chr01", "Chr2", "CHR3"], ["1", "2", "3"], ["1", "2", "3"]),
        (["ChrC", "Chr1"], ["1", "2", "Pt"], ["Pt", "1"]),
        (["chr2L", "chrX"], ["2L", "X"], ["2L", "X"]),
        (["chrX", "chrIII"], ["I", "II", "III", "IV", "V", "X"], ["X", "III"]),
        (["chrX", "chr1"], ["1", "10"], [None, "1"]),  # not Roman ten: nothing here is surely Roman
        (["chr1"], ["Chr1", "CHR1"], [None]),  # either of two
        (["chr1"], ["chr1", "1"], ["chr1"]),
    ],
)
def test_names_of_one_chromosome_are_matched(names: list[str], known: list[str], found: list[str | None]) -> None:
    matched = match_names(names, known)
    assert [matched.get(name) for name in names] == found


def test_a_table_of_aliases_is_read_in_both_directions(tmp_path: Path) -> None:
    path = tmp_path / "aliases.tsv"
    path.write_text("# names\nNC_000001.11\tchr1\nchr2\tNC_000002.12\n")
    table = read_aliases(path)
    known = ["1", "NC_000002.12"]
    assert match_names(["NC_000001.11", "chr2"], known, table) == {"NC_000001.11": "1", "chr2": "NC_000002.12"}
    path.write_text("chr1\n")
    with pytest.raises(DataError, match="line 1: 'chr1' is one name"):
        read_aliases(path)


@pytest.mark.parametrize(
    "name",
    [
        "chr1_KI270706v1_random", "chrUn_GL000195v1", "chr6_GL000256v2_alt", "chr6_apd_hap1", "chr1_KN538361v1_fix",
        "chrM", "MT", "Mito", "GL000009.2", "KI270728.1", "CHR_HSCHR1_1_CTG3", "chrEBV", "chrUn_KI270302v1_decoy",
        "ChrC", "hs37d5",
    ],
)  # fmt: skip
def test_alternative_contigs_are_told_from_chromosomes(name: str) -> None:
    assert not is_main(name)


def test_all_main_names_of_assemblies_are_main() -> None:
    assert [name for sizes in ASSEMBLIES.values() for name in sizes if not is_main(name)] == []
    assert main_names(["KI1.1", "KI2.1"]) == {"KI1.1", "KI2.1"}  # a genome of contigs has nothing else


# Assemblies


@pytest.mark.parametrize("assembly", sorted(ASSEMBLIES))
def test_sizes_tell_the_assembly_whatever_the_names(assembly: str) -> None:
    sizes = ASSEMBLIES[assembly]
    for spelled in (sizes, {name.removeprefix("chr"): size for name, size in sizes.items()}):
        found = identify(spelled)
        assert found is not None
        assert (found.assembly, found.equal) == (assembly, len(sizes))
    assert assembly in fitting({name: size - 10_000 for name, size in sizes.items()})


def test_a_chromosome_of_another_size_is_named() -> None:
    found = identify(dict(ASSEMBLIES["hg38"]) | {"chr7": 1000})
    assert found is not None
    assert (found.assembly, found.differing) == ("hg38", (("chr7", 1000, 159345973),))
    assert identify({"chr1": 12345}) is None


def test_every_named_genome_has_sizes_and_a_digest_that_is_one() -> None:
    assert set(GENOMES) <= set(ASSEMBLIES)
    for row in GENOMES.values():
        assert row.url.startswith("https://")
        if row.digest is not None:
            kind, _, value = row.digest.partition(":")
            assert len(bytes.fromhex(value)) == {"sha256": 32, "md5": 16}[kind]


def test_a_named_genome_is_found_in_the_folder_of_data_and_is_that_assembly(tmp_path: Path, data_dir: Path) -> None:
    (tmp_path / "genomes").mkdir()
    (tmp_path / "genomes" / "sacCer3.fa.gz").symlink_to(data_dir / YEAST)
    genome = open_genome("sacCer3", data_dir=tmp_path, cache=tmp_path / "cache", offline=True)
    assert genome.sizes["IV"] == 1531933
    (tmp_path / "genomes" / "hg38.fa.gz").symlink_to(data_dir / YEAST)
    with pytest.raises(DataError, match="it is sacCer3, not hg38"):
        open_genome("hg38", data_dir=tmp_path, cache=tmp_path / "cache", offline=True)


def test_a_genome_that_is_not_here_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"genome mm10: mm10.fa.gz is not here .* Download https://hgdownload"):
        open_genome("mm10", data_dir=tmp_path, cache=tmp_path, offline=True)
    with pytest.raises(DataError, match="unknown genome 'hg83'; did you mean 'hg38'"):
        open_genome(str(tmp_path / "hg83"), cache=tmp_path)


def test_a_first_download_is_remembered_and_a_changed_file_is_refused(
    tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(url: str, output_file: str, _: object, **how: object) -> None:
        assert url == GENOMES["sacCer3"].url
        Path(output_file).write_bytes((data_dir / YEAST).read_bytes())

    monkeypatch.setattr("tuner.genome.genomes.pooch.HTTPDownloader", lambda **_: download)
    assert open_genome("sacCer3", cache=tmp_path).sizes["I"] == 230218
    kept = tmp_path / "genomes" / "sacCer3.fa.gz"
    assert len((tmp_path / "genomes" / "sacCer3.fa.gz.sha256").read_text().strip()) == 64
    monkeypatch.setattr("tuner.genome.genomes.pooch.retrieve", lambda *_, **__: pytest.fail("it was downloaded again"))
    assert open_genome("sacCer3", cache=tmp_path, offline=True).sizes["I"] == 230218
    monkeypatch.undo()
    kept.write_bytes(kept.read_bytes()[:-100])
    monkeypatch.setattr(
        "tuner.genome.genomes.pooch.HTTPDownloader", lambda **_: lambda *a, **k: Path(a[1]).write_bytes(b"x")
    )
    with pytest.raises(DataError, match="could not be downloaded"):
        open_genome("sacCer3", cache=tmp_path)
