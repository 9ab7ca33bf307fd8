"""Lengths and N that differ between the classes: named with the AUROC that they alone give, and mended."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tuner.data.fasta import fasta, folder
from tuner.data.registry import load_dataset
from tuner.data.separation import separation
from tuner.data.spec import DataSpec
from tuner.data.table import table
from tuner.errors import DataError
from tuner.genome.sequence import decode


def random_sequences(n: int, length: int, seed: int) -> list[str]:
    return decode(np.random.default_rng(seed).integers(4, size=(n, length)).astype(np.uint8))


def write(path, sequences):
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f">s{i}\n{s}\n" for i, s in enumerate(sequences)))


@pytest.fixture
def unequal(tmp_path):
    """1000 positives of 100 bp and 1000 negatives of 90 bp; no motif."""
    write(tmp_path / "p.fa", random_sequences(1000, 100, 0))
    write(tmp_path / "n.fa", random_sequences(1000, 90, 1))
    return tmp_path


def test_the_auroc_of_a_measure_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    for levels in (2, 5, 10_000):
        labels, values = rng.integers(2, size=500), rng.integers(levels, size=500)
        assert separation(values, labels).auroc == pytest.approx(roc_auc_score(labels, values), abs=1e-12)
    assert separation(np.arange(4), np.ones(4)).auroc == 0.5  # no negatives
    assert not separation(np.arange(4), np.ones(4)).differs


def test_chance_is_seldom_called_a_difference():
    rng = np.random.default_rng(0)
    called = sum(separation(rng.random(200), rng.integers(2, size=200)).differs for _ in range(2000))
    assert called <= 16  # expected 2000 x .0027 = 5.4; more than 16 once in 20,000


def test_other_lengths_state_what_they_give_away_and_the_remedy_gives_nothing_away(unequal):
    with pytest.raises(
        DataError,
        match=r"n\.fa record 1 \(s0\) has 90 bases, but 1000 of 2000 sequences have 100\. Length alone "
        r"separates the classes \(AUROC 1\.000\), .* "
        r"Set length = \"shortest\" to crop all of them to 90 bases around their centres\.",
    ):
        fasta(unequal / "p.fa", unequal / "n.fa")
    for length in ("shortest", 90):
        dataset = load_dataset(DataSpec(positives="p.fa", negatives="n.fa", length=length), base=unequal)
        assert dataset.length == 90
        assert dataset.notes == ()
        assert not (dataset.train.codes == 4).any()


def test_padding_one_class_is_called_by_the_auroc_of_n_alone(unequal):
    dataset = load_dataset(DataSpec(positives="p.fa", negatives="n.fa", length=100), base=unequal)
    padded, differ = dataset.describe()["warnings"]
    assert padded == (
        "p.fa + n.fa: 0 of 1000 positives and 1000 of 1000 negatives are shorter than 100 bases and were padded with "
        'N. Set length = "shortest" to crop all of them to 90 bases instead.'
    )
    assert differ.startswith("THE CLASSES DIFFER IN N: the share of N alone reaches AUROC 1.000 on 'bound' (N makes")


@pytest.mark.parametrize(("share", "auroc"), [(0.3, 0.65), (0.9, 0.95)])
def test_n_in_one_class_is_called_whatever_the_format(tmp_path, share, auroc):
    # a share s of the positives holds N, no negative does: AUROC = s + (1 - s) / 2
    positives, negatives = random_sequences(1000, 50, 0), random_sequences(1000, 50, 1)
    positives = [("N" * 10 + s[10:]) if i < 1000 * share else s for i, s in enumerate(positives)]
    write(tmp_path / "p.fa", positives)
    write(tmp_path / "n.fa", negatives)
    rows = [f"{s}\t{int(i < 1000)}" for i, s in enumerate([*positives, *negatives])]
    (tmp_path / "t.tsv").write_text("\n".join(["sequence\tbound", *rows]))
    for spec in (DataSpec(positives="p.fa", negatives="n.fa"), DataSpec(path="t.tsv")):
        (warning,) = load_dataset(spec, base=tmp_path).notes
        assert "on 'bound'" in warning
        assert float(warning.split("AUROC ")[1].split()[0]) == pytest.approx(auroc, abs=0.02)


def test_n_in_both_classes_alike_is_no_difference(tmp_path):
    for name, seed in (("p.fa", 0), ("n.fa", 1)):
        masked = [("N" * 10 + s[10:]) if i % 3 == 0 else s for i, s in enumerate(random_sequences(1000, 50, seed))]
        write(tmp_path / name, masked)
    assert load_dataset(DataSpec(positives="p.fa", negatives="n.fa"), base=tmp_path).notes == ()
    assert load_dataset(DataSpec(positives="p.fa", negatives="shuffle"), base=tmp_path).notes == ()


def test_a_few_shorter_sequences_may_be_removed_instead(tmp_path):
    write(tmp_path / "p.fa", [*random_sequences(100, 50, 0), "ACGTACGT"])
    write(tmp_path / "n.fa", random_sequences(100, 50, 1))
    with pytest.raises(DataError, match=r"all of them to 8 bases .*, or first remove the 1 that are shorter than 50"):
        fasta(tmp_path / "p.fa", tmp_path / "n.fa")


def test_folders_and_tables_crop_to_the_shortest(tmp_path):
    for split in ("train", "valid", "test"):
        write(tmp_path / "d" / f"{split}_positives.fa", random_sequences(5, 30, 0))
        write(tmp_path / "d" / f"{split}_negatives.fa", random_sequences(5, 33, 1))
    assert folder(tmp_path / "d", length="shortest").length == 30
    rows = [f"{s},{i % 2}" for i, s in enumerate([*random_sequences(20, 30, 0), *random_sequences(20, 31, 1)])]
    (tmp_path / "t.csv").write_text("\n".join(["sequence,y", *rows]))
    assert table(tmp_path / "t.csv", length="shortest").length == 30


@pytest.mark.parametrize("length", ["longest", "", 0, -1])
def test_what_is_no_length_is_refused(unequal, length):
    with pytest.raises(DataError, match=r"length = .* is not a length; write a number of bases"):
        fasta(unequal / "p.fa", unequal / "n.fa", length=length)
