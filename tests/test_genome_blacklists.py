"""The ENCODE blacklists by name: the list of the assembly, checked, and one error where there is none."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest
from genome_files import LETTERS, write_bed, write_fasta
from typer.testing import CliRunner

from tuner.api.data import Data
from tuner.cli.app import app
from tuner.data.registry import load_dataset
from tuner.data.spec import DataSpec
from tuner.errors import DataError
from tuner.genome.assemblies import ASSEMBLIES
from tuner.genome.blacklists import BLACKLISTS, encode_blacklist
from tuner.genome.genome import Genome
from tuner.study.file import read_study

LIST = "ce11-blacklist.v2.bed.gz"
WORM = {"chrI": 15072434, "chrII": 15279421, "chrIII": 13783801, "chrIV": 17493829, "chrV": 20924180, "chrX": 17718942}


def quick_letters(n: int) -> bytes:
    """Random bases, other ones for every length."""
    return LETTERS[np.random.default_rng(n).integers(0, 4, n, dtype=np.uint8)].tobytes()


@pytest.fixture(scope="module")
def worm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random genome with the chromosome sizes of ce11, and 160 peaks on it."""
    folder = tmp_path_factory.mktemp("worm")
    write_fasta(folder / "g.fa", {name: quick_letters(size) for name, size in WORM.items()}, width=100)
    rows = [(name, 50_000 + 10_000 * i, 50_100 + 10_000 * i) for name in WORM for i in range(30)]
    write_bed(folder / "p.bed", rows)
    return folder


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of reference data with a list for ce11, which stands for the published one."""
    place = tmp_path / "data" / "blacklists" / LIST
    place.parent.mkdir(parents=True)
    place.write_bytes(gzip.compress(b"chrII\t60000\t60200\tHigh Signal Region\nchrX\t1\t9\tLow Mappability\n", mtime=0))
    monkeypatch.setitem(BLACKLISTS, "ce11", hashlib.sha256(place.read_bytes()).hexdigest())  # type: ignore[arg-type]
    return tmp_path / "data"


def test_the_five_lists_belong_to_known_assemblies() -> None:
    assert sorted(BLACKLISTS) == ["ce11", "dm6", "hg19", "hg38", "mm10"]
    assert set(BLACKLISTS) <= set(ASSEMBLIES)
    assert all(len(digest) == 64 and int(digest, 16) for digest in BLACKLISTS.values())


def test_windows_on_the_list_are_dropped_and_negatives_avoid_it(worm: Path, listed: Path, tmp_path: Path) -> None:
    spec = DataSpec(peaks=str(worm / "p.bed"), genome=str(worm / "g.fa"), blacklist="encode", length=100)
    assert "blacklist" not in spec.files
    dataset = load_dataset(spec, data_dir=listed, cache=tmp_path / "cache")
    assert f"blacklist {LIST}: 2 regions of g.fa." in dataset.recipe
    assert any(
        "180 peaks gave 179 sites; of the others, 1 have a window on the blacklist." in r for r in dataset.recipe
    )
    same = Data.from_peaks(worm / "p.bed", worm / "g.fa", blacklist="encode", length=100)
    assert same.load(data_dir=listed, cache=tmp_path / "cache").fingerprint == dataset.fingerprint
    as_file = load_dataset(
        DataSpec(
            **{
                **{"peaks": spec.peaks, "genome": spec.genome, "length": 100},
                "blacklist": str(listed / "blacklists" / LIST),
            }
        ),
        cache=tmp_path / "cache",
    )
    assert as_file.fingerprint == dataset.fingerprint


def test_a_genome_of_one_chromosome_may_have_the_list_of_its_assembly(listed: Path, tmp_path: Path) -> None:
    """Most of its regions lie on chromosomes that the file lacks."""
    path = write_fasta(tmp_path / "g.fa", {name: quick_letters(WORM[name]) for name in ("chrI", "chrII", "chrIII")})
    rows = [(name, 50_000 + 10_000 * i, 50_100 + 10_000 * i) for name in ("chrI", "chrII", "chrIII") for i in range(40)]
    spec = DataSpec(peaks=str(write_bed(tmp_path / "p.bed", rows)), genome=str(path), blacklist="encode", length=100)
    dataset = load_dataset(spec, data_dir=listed, cache=tmp_path / "cache")
    assert f"blacklist {LIST}: 1 regions of g.fa." in dataset.recipe


def test_a_changed_list_and_no_list_are_errors(worm: Path, listed: Path, tmp_path: Path) -> None:
    genome = Genome(worm / "g.fa", cache=tmp_path)
    place = listed / "blacklists" / LIST
    assert encode_blacklist(genome, data_dir=listed, cache=tmp_path) == place
    with pytest.raises(DataError, match=rf"blacklist: {LIST} is not here .* and downloads are off. Download https://raw"
                                        r"\.githubusercontent\.com/Boyle-Lab/Blacklist/\w{40}/lists/ce11"):  # fmt: skip
        encode_blacklist(genome, cache=tmp_path, offline=True)
    place.write_bytes(place.read_bytes() + b"x")
    with pytest.raises(DataError, match="it is not the published list"):
        encode_blacklist(genome, data_dir=listed, cache=tmp_path)
    other = Genome(write_fasta(tmp_path / "other.fa", {"chr1": b"ACGT" * 100}), cache=tmp_path)
    with pytest.raises(DataError, match=r'blacklist = "encode": there are lists for hg38, hg19, mm10, dm6, ce11, and '
                                        r"other.fa is none of the known assemblies. Give a BED file"):  # fmt: skip
        encode_blacklist(other, cache=tmp_path)


def test_init_writes_the_list_or_says_why_not(
    worm: Path, listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TUNER_DATA_DIR", str(listed))
    command = ["init", str(worm / "p.bed"), "--genome", str(worm / "g.fa"), "--length", "100"]
    done = CliRunner().invoke(app, [*command, "--out", "one.toml"])
    assert done.exit_code == 0, done.output
    assert read_study(tmp_path / "one.toml").data.blacklist == "encode"
    assert "1 have a window on the blacklist" in done.output
    (listed / "blacklists" / LIST).write_bytes(b"x")
    done = CliRunner().invoke(app, [*command, "--out", "two.toml"])
    assert done.exit_code == 0, done.output
    assert "is not the published list" in done.output
    assert "The study has no blacklist." in done.output
    assert read_study(tmp_path / "two.toml").data.blacklist is None
    done = CliRunner().invoke(app, [*command, "--out", "three.toml", "--blacklist", "none"])
    assert done.exit_code == 0, done.output
    assert "blacklist" not in " ".join(done.output.split())
    assert np.isin(["one.toml", "two.toml", "three.toml"], [p.name for p in tmp_path.iterdir()]).all()
