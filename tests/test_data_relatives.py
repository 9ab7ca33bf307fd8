"""Relatives: the rule against a brute-force count, what must not be glued together, real data, determinism."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from tuner.data.registry import load_dataset
from tuner.data.relatives import COMMON, related, relatives
from tuner.data.spec import DataSpec
from tuner.data.table import deepbind, table
from tuner.data.words import stretches_of, words_of
from tuner.genome.sequence import decode, encode, reverse_complement

COMPLEMENT = str.maketrans("ACGTN", "TGCAN")


def canonical(word: str) -> str:
    return min(word, word.translate(COMPLEMENT)[::-1])


def counts(word: str) -> bool:
    """Whether a word has no N, and at least 40 % of its triplets are distinct."""
    triplets = [word[i : i + 3] for i in range(len(word) - 2)]
    return "N" not in word and len(set(triplets)) >= 0.4 * len(triplets)


def words(text: str, k: int) -> set[str]:
    return {canonical(text[i : i + k]) for i in range(len(text) - k + 1) if counts(text[i : i + k])}


def stretches(text: str) -> set[str]:
    found = set()
    for i in range(len(text) - 29):
        own = [text[i + j : i + j + 16] for j in range(15)]
        if all(counts(word) for word in own) and len({canonical(word) for word in own}) == 15:
            found.add(canonical(text[i : i + 30]))
    return found


def pairs_by_hand(texts: list[str]) -> list[tuple[int, int]]:
    """Compare all pairs of sequences by the rule, in plain Python."""
    short, long = [words(t, 16) for t in texts], [stretches(t) for t in texts]
    held: dict[str, int] = {}
    for own in short:
        for word in own:
            held[word] = held.get(word, 0) + 1
    return [
        (i, j)
        for i, j in combinations(range(len(texts)), 2)
        if long[i] & long[j] or sum(held[word] <= COMMON for word in short[i] & short[j]) >= 15
    ]


def clusters_by_hand(n: int, pairs: list[tuple[int, int]]) -> list[int]:
    smallest = list(range(n))
    for _ in range(n):
        for i, j in pairs:
            smallest[i] = smallest[j] = min(smallest[i], smallest[j])
    return smallest


def mutated(codes: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    hit = rng.random(codes.shape) < share
    return np.where(hit, (codes + rng.integers(1, 4, codes.shape)) % 4, codes).astype(np.uint8)


def mixture(seed: int) -> np.ndarray:
    """40 random sequences of 120 bp, and mutated, overlapping, reversed, masked and repetitive versions of them."""
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 4, (40, 120)).astype(np.uint8)
    parts = [base, *(mutated(base[:12], share, rng) for share in (0.02, 0.05, 0.08, 0.1, 0.12))]
    for keep in (15, 25, 29, 30, 31, 45):  # a common stretch of so many bases
        other = rng.integers(0, 4, (4, 120)).astype(np.uint8)
        other[:, 50 : 50 + keep] = base[20:24, :keep]
        parts.append(other)
    masked = base[24:30].copy()
    masked[:, ::20] = 4
    tandem = rng.integers(0, 4, (6, 120)).astype(np.uint8)
    for row, period in enumerate((1, 2, 3, 6, 10, 14)):
        tandem[row, 20:100] = np.resize(base[row, :period], 80)
    for part in (masked, tandem, tandem[:, ::-1], reverse_complement(base[30:34])):
        parts.append(part)
    return np.concatenate(parts)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_clusters_and_relatives_equal_those_of_all_pairs_compared_by_hand(seed: int) -> None:
    codes = mixture(seed)
    texts = decode(codes)
    pairs = pairs_by_hand(texts)
    assert relatives(codes).tolist() == clusters_by_hand(len(texts), pairs)
    order = np.random.default_rng(seed).permutation(len(codes))
    codes, n = codes[order], 60
    by_hand = {j for pair in pairs_by_hand(decode(codes)) for i, j in [pair] if i < n <= j}
    found = related(codes[:n], codes[n:])
    assert set((np.flatnonzero(found) + n).tolist()) == by_hand
    assert 5 < len(by_hand) < len(codes) - n


@pytest.mark.parametrize("k", [3, 12, 16, 30, 31])
def test_words_are_those_of_the_text_on_both_strands(k: int) -> None:
    codes = mixture(5)
    values, known = words_of(codes, k)
    other, known_other = words_of(reverse_complement(codes), k)
    np.testing.assert_array_equal(known, known_other[:, ::-1])
    np.testing.assert_array_equal(values[known], other[:, ::-1][known])
    number = {letter: i for i, letter in enumerate("ACGT")}
    for row, text in enumerate(decode(codes[:80:7])):
        for i in range(len(text) - k + 1):
            word = text[i : i + k]
            assert known[7 * row, i] == counts(word)
            if "N" not in word:
                strands = (word, word.translate(COMPLEMENT)[::-1])
                expected = min(sum(number[b] * 4 ** (k - 1 - j) for j, b in enumerate(s)) for s in strands)
                assert values[7 * row, i] == expected


def test_sequences_too_short_for_a_word_have_no_relatives() -> None:
    assert relatives(np.zeros((5, 10), np.uint8)).tolist() == list(range(5))
    assert relatives(np.zeros((0, 50), np.uint8)).tolist() == []
    assert related(np.zeros((3, 10), np.uint8), np.zeros((2, 10), np.uint8)).tolist() == [False, False]
    assert stretches_of(np.zeros((2, 10), np.uint8), 30, 16)[0].shape == (2, 0)


def test_a_common_motif_of_21_bases_glues_nothing() -> None:
    codes = np.random.default_rng(1).integers(0, 4, (3000, 200)).astype(np.uint8)
    codes[:, 90:111] = encode(["TTCAGCACCATGGACAGCGCC"])  # the same site of REST in all
    # By chance l bases before the site and r after it agree, and the next ones do not; l + r >= 9 is a stretch of 30.
    chance = sum(0.75**2 * 0.25 ** (i + j) for i in range(90) for j in range(90) if i + j >= 9)
    expected = chance * 3000 * 2999 / 2  # 133 pairs
    sizes = np.bincount(relatives(codes))
    assert 3000 - (sizes > 0).sum() == pytest.approx(expected, abs=3 * expected**0.5)
    assert sizes.max() <= 4


def test_simple_repeats_glue_nothing() -> None:
    codes = np.random.default_rng(1).integers(0, 4, (3000, 200)).astype(np.uint8)
    codes[:1000, 150:190] = 0  # poly-A
    codes[1000:2000, 150:190] = np.resize([1, 0], 40)  # CACACA...
    codes[2000:, 150:190] = np.resize(encode(["TTAGG"])[0], 40)
    assert len(set(relatives(codes))) == 3000


def test_a_repeat_held_by_many_sequences_is_one_cluster_and_the_rest_stays_apart() -> None:
    rng = np.random.default_rng(2)
    codes = rng.integers(0, 4, (2000, 200)).astype(np.uint8)
    family = rng.integers(0, 4, 120).astype(np.uint8)
    codes[:400, 40:160] = mutated(np.tile(family, (400, 1)), 0.05, rng)  # copies differ from each other by 10 %
    sizes = np.bincount(relatives(codes))
    assert sizes.max() >= 396  # a copy without 30 bases in common with any other is improbable, not impossible
    assert (sizes == 1).sum() >= 1600


def test_random_sequences_have_no_relatives() -> None:
    codes = np.random.default_rng(3).integers(0, 4, (20_000, 200)).astype(np.uint8)
    assert len(set(relatives(codes))) == 20_000


def test_clusters_do_not_depend_on_strand_or_on_how_many_words_are_sorted_at_a_time(monkeypatch) -> None:
    codes = mixture(4)
    found = relatives(codes)
    flip = np.random.default_rng(0).random(len(codes)) < 0.5
    np.testing.assert_array_equal(relatives(np.where(flip[:, None], reverse_complement(codes), codes)), found)
    monkeypatch.setattr("tuner.data.relatives.portion", lambda codes: 500)
    monkeypatch.setattr("tuner.data.relatives._PAIRS", 50)
    monkeypatch.setattr("tuner.data.words._CHUNK", 700)
    np.testing.assert_array_equal(relatives(codes), found)


@pytest.mark.parametrize(
    ("name", "largest"),
    [
        ("encode/REST_GM12878_NRSF_HudsonAlpha_AC.seq.gz", 0.01),  # a motif of 21 bp
        ("encode/CTCFL_K562_CTCFL_(SC-98982)_HudsonAlpha_AC.seq.gz", 0.01),
        ("gue/gue_mouse_3.tsv.gz", 0.02),
        ("gue/gue_tf_2.tsv.gz", 0.08),  # 753 of 21,000 are copies of Alu
    ],
)
def test_peaks_of_one_factor_are_not_one_cluster(data_dir: Path, name: str, largest: float) -> None:
    path = data_dir / name
    data = deepbind(path) if path.name.endswith(".seq.gz") else table(path, split_column="split")
    codes = np.concatenate([split.codes for split in data.splits.values()])
    assert np.bincount(relatives(codes)).max() <= largest * len(codes)


def test_the_relatives_of_zbed2_hold_those_that_share_60_bases(data_dir: Path) -> None:
    data = load_dataset(DataSpec(dataset="zbed2"), data_dir=data_dir)
    train = {t[i : i + 60] for t in decode(data.train.codes) for i in range(341)}
    train |= {word.translate(COMPLEMENT)[::-1] for word in train}
    by_hand = np.array([any(t[i : i + 60] in train for i in range(341)) for t in decode(data.test.codes)])
    found = related(data.train.codes, data.test.codes)
    assert by_hand.sum() >= 12
    assert not (by_hand & ~found).any()
    assert found.mean() < 0.12
