"""HOCOMOCO count files: what is read, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tuner.errors import MotifError
from tuner.motifs.hocomoco import find_hocomoco, read_hocomoco


def test_the_published_file_is_read_whole(data_dir: Path) -> None:
    path = data_dir / "motifs" / "HOCOMOCOv11_HUMAN.pfm"
    motifs = read_hocomoco(path)
    assert len(motifs) == path.read_text().count(">")
    foxo1 = find_hocomoco(path, "FOXO1_HUMAN.H11MO.0.A")
    assert (foxo1.name, foxo1.ppm.shape, foxo1.n_sites) == ("FOXO1", (4, 12), pytest.approx(500))
    # The first row of the matrix as printed in the file, by hand.
    assert foxo1.ppm[:, 0] == pytest.approx(np.array([93, 80, 130, 197]) / 500)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (">A\n1 2 3\n", "line 2: '1 2 3' is not a row of four counts"),
        ("1 2 3 4\n", "line 1"),
        (">A\n1 2 x 4\n", "line 2: '1 2 x 4'"),
        (">A\n0 0 0 0\n", "line 2: '0 0 0 0'"),
        ("# nothing\n", "no matrix"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.pfm"
    path.write_text(text)
    with pytest.raises(MotifError, match=message):
        read_hocomoco(path)


def test_an_unknown_identifier_names_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "a.pfm"
    path.write_text(">FOXO1_HUMAN\n1 2 3 4\n")
    with pytest.raises(MotifError, match="did you mean 'FOXO1_HUMAN'"):
        find_hocomoco(path, "FOXO1_HUMN")
    with pytest.raises(MotifError, match="cannot be read"):
        read_hocomoco(tmp_path / "none.pfm")
