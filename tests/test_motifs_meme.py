"""Matrices and MEME files: what is read, kept, and refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from memelite.io import read_meme as memelite_read

from tuner.errors import MotifError
from tuner.motifs.meme import (
    Motif,
    check_ppm,
    column_information,
    corrected_information,
    motifs_digest,
    read_meme,
    reverse_complement,
    write_meme,
)


@st.composite
def ppms(draw: st.DrawFn, max_width: int = 12) -> np.ndarray:
    width = draw(st.integers(1, max_width))
    counts = draw(arrays(np.float64, (4, width), elements=st.floats(0.001, 1.0)))
    return counts / counts.sum(axis=0)


@settings(deadline=None, max_examples=50)
@given(st.lists(ppms(), min_size=1, max_size=4), st.floats(1, 1e6))
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, matrices, sites) -> None:
    path = tmp_path_factory.mktemp("meme") / "motifs.meme"
    motifs = [Motif(f"m{i}", f"name {i}", ppm, n_sites=round(sites, 3)) for i, ppm in enumerate(matrices)]
    text = write_meme(motifs, path)
    again = read_meme(path)
    assert path.read_text() == text
    assert [(m.id, m.name) for m in again] == [(m.id, m.name) for m in motifs]
    for old, new in zip(motifs, again, strict=True):
        np.testing.assert_allclose(new.ppm, old.ppm, atol=2e-6)
        assert new.n_sites == pytest.approx(old.n_sites)
    assert write_meme(again) == write_meme(read_meme(path))


@given(ppms())
def test_information_is_that_of_the_other_strand(ppm) -> None:
    np.testing.assert_allclose(column_information(reverse_complement(ppm)), column_information(ppm)[::-1], atol=1e-12)
    np.testing.assert_array_equal(reverse_complement(reverse_complement(ppm)), ppm)


def test_information_of_known_columns() -> None:
    # One base is 2 bits, two equal bases 1, four equal 0; 100 sites cost 3 / (2 ln 2 100) a column.
    ppm = np.array([[1, 0.5, 0.25], [0, 0.5, 0.25], [0, 0, 0.25], [0, 0, 0.25]])
    np.testing.assert_allclose(column_information(ppm), [2, 1, 0], atol=1e-12)
    assert corrected_information(ppm, 100) == pytest.approx(3 - 3 * 0.0216404256)


@pytest.mark.parametrize(
    "name",
    ["tomtom_reference/cnn_filters_32.meme", "koo/JASPAR_CORE_2016_vertebrates.meme", "motifs/H13CORE.meme"],
)
def test_files_read_as_memelite_reads_them(data_dir: Path, name: str) -> None:
    ours = read_meme(data_dir / name)
    theirs = memelite_read(str(data_dir / name))
    assert [f"{m.id} {m.name}".strip() for m in ours] == list(theirs)
    for motif, ppm in zip(ours, theirs.values(), strict=True):
        np.testing.assert_allclose(motif.ppm, ppm, atol=1e-3)
        np.testing.assert_allclose(motif.ppm.sum(axis=0), 1, atol=1e-12)


def test_text_outputs_of_meme_and_streme_are_read(data_dir: Path) -> None:
    meme = read_meme(data_dir / "tomtom_reference" / "memechip_meme_query.txt")
    assert [(m.id, m.name, m.ppm.shape[1], m.n_sites) for m in meme] == [
        ("WGGGTGTGGYYS", "MEME-1", 12, 312),
        ("NWGATAAG", "MEME-2", 8, 171),
        ("CCWCCCCTCCCCCTC", "MEME-3", 15, 25),
    ]
    assert len(read_meme(data_dir / "tomtom_reference" / "memechip_streme_query.txt")) == 6


HEADER = "MEME version 4\n\nALPHABET= ACGT\n\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no 'letter-probability matrix' found"),
        ("MEME version 4\nALPHABET= ACDEFGHIKLMNPQRSTVWY\n", r"line 2: alphabet 'ACDEF.*only DNA"),
        (HEADER + "letter-probability matrix: w= 1\n1 0 0 0\n", "before any MOTIF line"),
        (
            HEADER + "MOTIF a\nletter-probability matrix: w= 2\n1 0 0 0\n",
            "motif a: 1 of 2 rows. Is the file truncated",
        ),
        (HEADER + "MOTIF a\nletter-probability matrix: w= 1\n1 0 0\n", "line 7: motif a: 3 numbers in a row"),
        (HEADER + "MOTIF a\nletter-probability matrix: w= 1\nnan 0 0 0\n", "motif a: column 0 holds NaN"),
        (
            HEADER + "MOTIF a\nletter-probability matrix: w= 2\n1 0 0 0\n9 1 0 0\n",
            "motif a: column 1 sums to 10, not 1",
        ),
        (HEADER + "MOTIF a\nletter-probability matrix: w= 1\n0 0 0 0\n", "motif a: column 0 is all zero"),
        (
            HEADER + "MOTIF a\nletter-probability matrix: w= 1\n-1 1 1 0\n",
            "motif a: column 0 holds -1.*not log-odds",
        ),
        (HEADER + "MOTIF a\nletter-probability matrix: w= 1\n1 0 0 0\n" * 2, "motif a occurs twice"),
    ],
)
def test_a_broken_file_names_place_and_remedy(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "broken.meme"
    path.write_text(text)
    with pytest.raises(MotifError, match=message):
        read_meme(path)


def test_a_missing_or_binary_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MotifError, match=r"none\.meme: no such file"):
        read_meme(tmp_path / "none.meme")
    (tmp_path / "binary.meme").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(MotifError, match=r"binary\.meme: cannot be read as text"):
        read_meme(tmp_path / "binary.meme")
    with pytest.raises(MotifError, match="cannot be read as text"):
        read_meme(tmp_path)


@pytest.mark.parametrize("shape", [(4,), (3, 5), (4, 0), (5, 4)])
def test_a_matrix_of_another_shape_is_refused(shape) -> None:
    with pytest.raises(MotifError, match=r"motif x: shape .* expected \(4, width\)"):
        check_ppm(np.full(shape, 0.25), "motif x")


def test_an_identifier_with_white_space_is_refused() -> None:
    with pytest.raises(MotifError, match="one word without white space"):
        write_meme([Motif("a b", "", np.full((4, 3), 0.25))])


def test_a_digest_sees_names_and_matrices_but_no_rounding() -> None:
    ppm = np.full((4, 3), 0.25)
    other = ppm.copy()
    other[:2, 0] += [0.01, -0.01]
    base = motifs_digest([Motif("a", "", ppm)])
    assert base == motifs_digest([Motif("a", "another name", ppm + 1e-9)])
    assert base != motifs_digest([Motif("b", "", ppm)])
    assert base != motifs_digest([Motif("a", "", other)])
