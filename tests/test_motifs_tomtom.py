"""Tomtom: agreement with the C program, and what never matches."""

from __future__ import annotations

import csv
import gzip
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import psutil
import pytest

from tuner.errors import MotifError
from tuner.motifs.jaspar import jaspar_motifs
from tuner.motifs.meme import Motif, read_meme, reverse_complement
from tuner.motifs.tomtom import prepare_kernel, tomtom


@pytest.fixture(scope="module")
def filters(data_dir: Path) -> tuple[Motif, ...]:
    return read_meme(data_dir / "tomtom_reference" / "cnn_filters_32.meme")


@pytest.fixture(scope="module")
def targets(data_dir: Path) -> tuple[Motif, ...]:
    return read_meme(data_dir / "koo" / "JASPAR_CORE_2016_vertebrates.meme")


@pytest.fixture(scope="module")
def c_program(data_dir: Path) -> dict[tuple[str, str], dict[str, str]]:
    """All 32 x 518 pairs from Tomtom 5.4.1 -dist ed -min-overlap 1 -motif-pseudo 0 -thresh 1."""
    path = data_dir / "tomtom_reference" / "cnn_filters_32_vs_JASPAR2016.ed.tsv.gz"
    with gzip.open(path, "rt") as file:
        lines = [line for line in file if line.strip() and not line.startswith("#")]
    rows = {(r["Query_ID"], r["Target_ID"]): r for r in csv.DictReader(lines, delimiter="\t")}
    assert len(rows) == 32 * 518
    return rows


def test_p_values_and_alignments_agree_with_the_c_program(filters, targets, c_program) -> None:
    result = tomtom([m.ppm for m in filters], [m.ppm for m in targets])
    best_of = 0
    for row, query in enumerate(filters):
        reference = [c_program[query.id, target.id] for target in targets]
        p = np.array([float(r["p-value"]) for r in reference])
        low = p < 0.01
        np.testing.assert_allclose(np.log10(result.p_value[row, low]), np.log10(p[low]), atol=0.05)
        best = int(p.argmin())
        if p[best] * len(targets) <= 1:
            best_of += 1
            assert result.p_value[row].argmin() == best
            expected = reference[best]
            assert result.offset[row, best] == int(expected["Optimal_offset"])
            assert result.overlap[row, best] == int(expected["Overlap"])
            assert result.strand[row, best] == expected["Orientation"]
    assert best_of == 21  # filters whose best target in the C program's table has E <= 1


def test_the_other_strand_of_a_query_matches_alike(filters, targets) -> None:
    forward = tomtom([m.ppm for m in filters], [m.ppm for m in targets])
    reverse = tomtom([reverse_complement(m.ppm) for m in filters], [m.ppm for m in targets])
    np.testing.assert_allclose(np.log10(reverse.p_value), np.log10(forward.p_value), atol=1e-6)


def test_a_p_value_depends_on_no_other_query(filters, targets) -> None:
    ppms = [m.ppm for m in targets]
    together = tomtom([m.ppm for m in filters], ppms)
    alone = tomtom([filters[3].ppm], ppms)
    np.testing.assert_array_equal(together.p_value[3], alone.p_value[0])


@pytest.mark.parametrize("width", [1, 8, 20, 31])
def test_a_flat_query_never_matches(targets, width: int) -> None:
    rng = np.random.default_rng(0)
    nearly = rng.dirichlet(np.full(4, 100.0), size=width).T
    result = tomtom([np.full((4, width), 0.25), nearly], [m.ppm for m in targets])
    assert (result.p_value == 1).all()


def test_a_motif_finds_itself_and_p_stays_in_range(targets) -> None:
    chosen = [0, 100, 300]
    result = tomtom([targets[i].ppm for i in chosen], [m.ppm for m in targets])
    assert result.p_value.min() >= 1e-300
    assert result.p_value.max() <= 1
    for row, i in enumerate(chosen):
        assert result.p_value[row].argmin() == i
        assert (result.offset[row, i], result.overlap[row, i], result.strand[row, i]) == (
            0,
            targets[i].ppm.shape[1],
            "+",
        )


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda m: m * np.nan, "query 1: column 0 holds NaN"),
        (lambda m: m * 100, "query 1: column 0 sums to 100"),
        (lambda m: m * 0, "query 1: column 0 is all zero"),
        (lambda m: m - 0.5, "query 1: column 0 holds -"),
        (lambda m: m[:, :0], "query 1: shape"),
        (lambda m: np.tile(m, 12), "query 1: 72 columns; at most 64"),
    ],
)
def test_a_bad_matrix_is_refused_by_name(spoil, message: str) -> None:
    good = np.full((4, 6), 0.1) + 0.6 * np.eye(4)[:, [0, 1, 2, 3, 0, 1]]
    with pytest.raises(MotifError, match=message):
        tomtom([good, spoil(good)], [good] * 30)
    if "72" not in message:
        with pytest.raises(MotifError, match=message.replace("query", "target")):
            tomtom([good], [good, spoil(good)])


def test_few_targets_borrow_the_null_of_jaspar() -> None:
    # The result is that of the same targets inside the release, without a warning.
    motifs = jaspar_motifs("JASPAR2016")
    query = [motifs[7].ppm]
    few = tomtom(query, [m.ppm for m in motifs[5:10]])
    all_of_them = tomtom(query, [m.ppm for m in motifs])
    assert few.p_value.shape == (1, 5)
    np.testing.assert_allclose(np.log10(few.p_value), np.log10(all_of_them.p_value[:, 5:10]), rtol=0.05)
    with pytest.raises(MotifError, match="no target motifs"):
        tomtom(query, [])


def test_nothing_to_match_gives_nothing(targets) -> None:
    assert tomtom([], [m.ppm for m in targets]).p_value.shape == (0, 518)


def test_the_kernel_is_kept_where_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", numba.config.CACHE_DIR)
    assert prepare_kernel(tmp_path / "numba") == tmp_path / "numba"
    assert tmp_path / "numba" == Path(numba.config.CACHE_DIR)


def test_a_home_that_cannot_be_written_gets_a_private_temporary_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", numba.config.CACHE_DIR)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "file").write_text("")  # a folder below a file cannot be made, not even by root
    folder = prepare_kernel(tmp_path / "file" / "numba")
    assert (folder.parent, folder.stat().st_mode & 0o777) == (tmp_path, 0o700)
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)  # others could plant code in it
    assert prepare_kernel(tmp_path / "open").name.startswith("tuner-private-")


def test_the_kernel_is_compiled_for_one_thread() -> None:
    from memelite import tomtom as memelite_tomtom

    query = [jaspar_motifs("JASPAR2016")[0].ppm]
    tomtom(query, query)
    kernel = memelite_tomtom.__globals__["_tomtom"]
    assert not kernel.targetoptions.get("parallel")
    assert kernel.signatures  # and it is this one that ran


HOLDS_THE_BLOCK = """
import sys
from pathlib import Path
from tuner.motifs.tomtom import kernel_in_preparation
with kernel_in_preparation(Path(sys.argv[1])):
    print("open", flush=True)
    sys.stdin.read()
"""


def compilers(folder: Path) -> list[psutil.Process]:
    """Processes that compile into a folder."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if str(folder) in command and "os.nice" in " ".join(command):
            found.append(process)
    return found


@pytest.mark.parametrize("killed", [False, True])
def test_the_compiling_process_ends_with_its_block_and_with_its_parent(tmp_path: Path, killed: bool) -> None:
    command = [sys.executable, "-c", HOLDS_THE_BLOCK, str(tmp_path / "numba")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        (child,) = compilers(tmp_path / "numba")
        if killed:
            holder.kill()
        else:
            holder.stdin.close()
    assert psutil.wait_procs([child], timeout=60)[1] == []


def test_importing_the_package_does_not_import_numba() -> None:
    modules = "import tuner.motifs.match, tuner.motifs.filters, sys; "
    check = "sys.exit(any(m in sys.modules for m in ('numba', 'memelite', 'Bio', 'torch')))"
    subprocess.run([sys.executable, "-c", modules + check], check=True, timeout=60)
