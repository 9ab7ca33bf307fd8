"""A genome under other names, and windows past the ends of its chromosomes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tuner.errors import DataError
from tuner.genome.genome import Genome
from tuner.genome.named import NamedGenome
from tuner.genome.sequence import encode_one


@pytest.fixture
def genome(tmp_path: Path) -> Genome:
    path = tmp_path / "g.fa"
    path.write_text(">I\nACGTACGTAC\nGTTTT\n>II\nGGGGG\n")
    return Genome(path, cache=tmp_path / "cache")


@pytest.mark.parametrize(
    ("start", "end", "letters"),
    [
        (0, 4, "ACGT"), (-3, 2, "NNNAC"), (13, 17, "TTNN"), (-2, 17, "NNACGTACGTACGTTTTNN"), (-5, -1, "NNNN"),
        (15, 18, "NNN"), (20, 22, "NN"), (3, 3, ""),
    ],
)  # fmt: skip
def test_windows_have_n_where_there_is_no_chromosome(genome: Genome, start: int, end: int, letters: str) -> None:
    codes = NamedGenome(genome).window("I", start, end)
    np.testing.assert_array_equal(codes, encode_one(letters, "") if letters else np.zeros(0, dtype=np.uint8))


def test_names_are_found_by_numerals_and_by_the_table(genome: Genome, tmp_path: Path) -> None:
    assert NamedGenome(genome).find(["chrI", "2", "other"]) == {"chrI": "I", "2": "II"}
    table = tmp_path / "names.tsv"
    table.write_text("other\tII\n")
    assert NamedGenome(genome, table).find(["other"]) == {"other": "II"}


def test_a_chromosome_that_is_not_there(genome: Genome) -> None:
    with pytest.raises(DataError, match="no chromosome 'chrI'"):
        NamedGenome(genome).window("chrI", 0, 5)
