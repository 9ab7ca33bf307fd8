"""References are shuffles of their own sequence, the same whatever stands beside it."""

from __future__ import annotations

import numpy as np
import pytest

from tuner.errors import AttributionError
from tuner.genome.sequence import encode
from tuner.interpret.references import SHUFFLES, make_references

CODES = np.random.default_rng(0).integers(0, 4, (6, 120)).astype(np.uint8)


def dinucleotides(row: np.ndarray) -> list[int]:
    return np.bincount(5 * row[:-1] + row[1:], minlength=25).tolist()


@pytest.mark.parametrize("shuffle", SHUFFLES)
def test_references_permute_the_bases_of_their_sequence(shuffle: str) -> None:
    references = make_references(CODES, 4, shuffle=shuffle, seed=1)
    assert references.shape == (6, 4, 120)
    assert references.dtype == np.uint8
    for row, own in zip(CODES, references, strict=True):
        for reference in own:
            assert np.bincount(reference, minlength=4).tolist() == np.bincount(row, minlength=4).tolist()
            assert not np.array_equal(reference, row)
        assert len({reference.tobytes() for reference in own}) == 4


def test_dinucleotide_references_keep_dinucleotides_and_mononucleotide_ones_do_not() -> None:
    for shuffle, kept in (("dinucleotide", True), ("mononucleotide", False)):
        references = make_references(CODES, 2, shuffle=shuffle, seed=1)
        same = [dinucleotides(r) == dinucleotides(row) for row, own in zip(CODES, references, strict=True) for r in own]
        assert set(same) == {kept}


@pytest.mark.parametrize("shuffle", SHUFFLES)
def test_references_depend_on_seed_and_own_bases_alone(shuffle: str) -> None:
    references = make_references(CODES, 5, shuffle=shuffle, seed=1)
    backwards = make_references(CODES[::-1], 5, shuffle=shuffle, seed=1)
    np.testing.assert_array_equal(backwards[::-1], references)
    np.testing.assert_array_equal(make_references(CODES[3:4], 5, shuffle=shuffle, seed=1)[0], references[3])
    assert (make_references(CODES, 5, shuffle=shuffle, seed=2) != references).any(axis=(1, 2)).all()


@pytest.mark.parametrize("shuffle", SHUFFLES)
def test_fewer_references_are_the_first_of_more(shuffle: str) -> None:
    many = make_references(CODES, 7, shuffle=shuffle, seed=3)
    np.testing.assert_array_equal(make_references(CODES, 2, shuffle=shuffle, seed=3), many[:, :2])


@pytest.mark.parametrize("shuffle", SHUFFLES)
def test_unknown_bases_stay_where_they_are(shuffle: str) -> None:
    codes = encode(["NNACGTTGCATTGACGNACGTCANN", "N" * 25])
    references = make_references(codes, 3, shuffle=shuffle)
    np.testing.assert_array_equal(references == 4, np.broadcast_to((codes == 4)[:, None], references.shape))


def test_unknown_shuffles_and_counts_are_refused() -> None:
    with pytest.raises(AttributionError, match="unknown shuffle 'dinucleotid'; did you mean 'dinucleotide'"):
        make_references(CODES, 2, shuffle="dinucleotid")
    with pytest.raises(AttributionError, match="n_references is 0; must be at least 1"):
        make_references(CODES, 0)
