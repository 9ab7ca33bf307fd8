"""What a split gives away: counts of relatives, the memoriser against its definition, and what `describe` tells."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tuner.data.dataset import Dataset, Split
from tuner.data.fasta import fasta
from tuner.data.leakage import leakage, memoriser, memoriser_scores
from tuner.data.partition import SplitRule
from tuner.data.relatives import related
from tuner.data.table import table
from tuner.genome.sequence import Codes, decode, encode_one, gc_content

COMPLEMENT = str.maketrans("ACGTN", "TGCAN")


def words(text: str) -> set[str]:
    found = set()
    for i in range(len(text) - 11):
        word = text[i : i + 12]
        if "N" not in word and len({word[j : j + 3] for j in range(10)}) >= 4:
            found.add(min(word, word.translate(COMPLEMENT)[::-1]))
    return found


def similar(seed: int, n: int = 90) -> tuple[Codes, np.ndarray]:
    """Random sequences of which some share stretches of 12 to 40 bases with others."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 4, (n, 60)).astype(np.uint8)
    for i in range(n // 2, n):
        keep, j = int(rng.integers(12, 40)), int(rng.integers(n // 2))
        codes[i, 5 : 5 + keep] = codes[j, 10 : 10 + keep]
    codes[::9, 30] = 4
    return codes[rng.permutation(n)], rng.integers(0, 2, (n, 2)).astype(np.uint8)


def test_scores_are_those_of_the_definition_and_their_auroc_that_of_scikit_learn() -> None:
    codes, labels = similar(0)
    n = 60
    own = [words(text) for text in decode(codes)]
    held: dict[str, int] = {}
    for found in own[:n]:
        for word in found:
            held[word] = held.get(word, 0) + 1
    by_hand = np.zeros((len(codes) - n, 2))
    for i in range(n, len(codes)):
        similarity = np.array([sum(math.log((n + 1) / held[w]) for w in own[i] & own[j]) for j in range(n)])
        for task in range(2):
            positive = labels[:n, task] == 1
            by_hand[i - n, task] = similarity[positive].max() - similarity[~positive].max()
    found = memoriser_scores(codes[:n], labels[:n], codes[n:])
    np.testing.assert_allclose(found, by_hand, rtol=1e-5, atol=1e-4)
    auroc = memoriser(Split(codes[:n], labels[:n]), Split(codes[n:], labels[n:]))
    assert auroc == pytest.approx(roc_auc_score(labels[n:], np.round(by_hand, 3)), abs=1e-3)


def test_a_copy_is_remembered_and_random_sequences_are_not() -> None:
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 4, (1500, 100)).astype(np.uint8)
    labels = rng.integers(0, 2, (1500, 1)).astype(np.uint8)
    train = Split(codes[:1000], labels[:1000])
    assert memoriser(train, train.take(np.arange(300))) == 1.0
    assert memoriser(train, Split(codes[1000:], labels[1000:])) == pytest.approx(0.5, abs=0.08)  # 3 standard errors
    assert memoriser(train, Split(codes[1000:], np.ones_like(labels[1000:]))) is None


def test_a_description_counts_relatives_and_reads_no_label_of_the_test_split() -> None:
    rng = np.random.default_rng(2)
    part = {
        name: Split(rng.integers(0, 4, (n, 80)).astype(np.uint8), (np.arange(n) % 2).astype(np.uint8)[:, None])
        for name, n in (("train", 400), ("valid", 120), ("test", 120))
    }
    part["test"].codes[:30, 10:60] = part["train"].codes[:30, 20:70]
    data = Dataset("toy", ("a",), part, "made up")
    told = data.describe()
    assert told["relatives"]["test"] == {"related": 30}
    assert told["relatives"]["valid"]["related"] == 0
    assert told["relatives"]["valid"]["memoriser"] == pytest.approx(0.5, abs=0.16)
    (warning,) = [text for text in told["warnings"] if "relatives" in text]
    assert warning.startswith("30 of 120 sequences of test have relatives in train")
    assert 'split = "homology"' in warning
    flipped = Dataset("toy", ("a",), part | {"test": Split(part["test"].codes, 1 - part["test"].labels)}, "made up")
    assert leakage(flipped) == leakage(data)
    assert set(data.without_test().describe()["relatives"]) == {"valid"}


def test_a_task_of_gue_has_relatives_in_its_test_split(data_dir: Path) -> None:
    data = table(data_dir / "gue" / "gue_mouse_3.tsv.gz", split_column="split")
    train = {t[i : i + 40] for t in decode(data.train.codes) for i in range(62)}
    train |= {word.translate(COMPLEMENT)[::-1] for word in train}
    by_hand = sum(any(t[i : i + 40] in train for i in range(62)) for t in decode(data.test.codes))
    found = data.describe()
    assert found["relatives"]["test"]["related"] >= by_hand > 5
    assert any("sequences of test have relatives in train" in text for text in found["warnings"])


@pytest.fixture(scope="module")
def reb1(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Windows of 400 bp around Reb1 sites, and as many of equal GC that overlap neither them nor each other."""
    folder = data_dir / "yeast_reb1"
    texts: dict[str, list[str]] = {}
    with gzip.open(folder / "Saccharomyces_cerevisiae.R64-1-1.dna.toplevel.fa.gz", "rt") as lines:
        for line in lines:
            if line[0] == ">":
                name = line[1:].split()[0]
                texts[name] = []
            else:
                texts[name].append(line.strip())
    genome = {name: encode_one("".join(part)) for name, part in texts.items() if name != "Mito"}
    roman = dict(enumerate("I II III IV V VI VII VIII IX X XI XII XIII XIV XV XVI".split(), start=1))
    sites = []
    for line in (folder / "Reb1_Rhee.bed").read_text().splitlines():
        c, start, end = line.split()[:3]
        chrom = roman.get(int(c.removeprefix("chr")))
        middle = (int(start) + int(end)) // 2
        if chrom and 200 <= middle <= len(genome[chrom]) - 200:
            sites.append((chrom, middle - 200))
    used = {name: np.zeros(len(part), dtype=bool) for name, part in genome.items()}
    for chrom, start in sites:
        used[chrom][start : start + 400] = True

    def gc_bin(chrom: str, start: int) -> int:
        return int(gc_content(genome[chrom][None, start : start + 400])[0] * 25)

    wanted = np.bincount([gc_bin(*site) for site in sites], minlength=26)
    rng = np.random.default_rng(0)
    names = sorted(genome)
    sizes = np.array([len(genome[name]) for name in names])
    other = []
    for at in rng.choice(len(names), 60_000, p=sizes / sizes.sum()):
        chrom, start = names[at], int(rng.integers(0, sizes[at] - 400))
        if not used[chrom][start : start + 400].any() and wanted[gc_bin(chrom, start)] > 0:
            wanted[gc_bin(chrom, start)] -= 1
            used[chrom][start : start + 400] = True
            other.append((chrom, start))
    out = tmp_path_factory.mktemp("reb1")
    for name, windows in (("p.fa", sites), ("n.fa", other)):
        rows = [f">{c}:{s}-{s + 400}\n{decode(genome[c][None, s : s + 400])[0]}\n" for c, s in windows]
        (out / name).write_text("".join(rows))
    return out / "p.fa", out / "n.fa"


def test_overlapping_reb1_windows_are_remembered_unless_relatives_are_kept_together(reb1: tuple[Path, Path]) -> None:
    reached = {}
    for by in ("random", "homology", "chromosome", "chromosome+homology"):
        data = fasta(*reb1, split=SplitRule(by))
        positive = data.test.labels[:, 0] == 1
        share = related(data.train.codes, data.test.codes)[positive].mean()
        reached[by] = (share, memoriser(data.train, data.test) or 0.0)
    # Another set of negatives gave 64 % and .854 at random, .543 kept together.
    assert reached["random"][0] == pytest.approx(0.64, abs=0.06)
    assert reached["random"][1] == pytest.approx(0.854, abs=0.05)
    assert reached["homology"][0] == reached["chromosome+homology"][0] == 0
    assert reached["homology"][1] == pytest.approx(0.56, abs=0.07)
    assert 0 < reached["chromosome"][0] < 0.2
