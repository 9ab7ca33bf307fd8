"""The audit of a data set before training, against second implementations and simulated sequences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kstest
from sklearn.metrics import roc_auc_score

import tuner
from tuner.data.dataset import Dataset, Split
from tuner.data.registry import load_dataset
from tuner.data.spec import DataSpec
from tuner.genome.sequence import decode, gc_content, reverse_complement
from tuner.models.audit import FEWEST_HITS, audit, centrality
from tuner.models.pwm import best_scores, best_sites, log_odds, threshold
from tuner.motifs.jaspar import jaspar_motifs

CTCF = next(m for m in jaspar_motifs("JASPAR2026") if m.id == "MA0139.2")
KLF = next(m for m in jaspar_motifs("JASPAR2026") if m.id == "MA1515.2")


def random_codes(n: int, length: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4, (n, length), dtype=np.uint8)


def test_the_best_site_is_where_a_loop_finds_it() -> None:
    codes = random_codes(40, 60, 0)
    codes[3, 10:14] = 4
    sites = best_sites(codes, KLF.ppm)
    np.testing.assert_allclose(sites.scores, best_scores(codes, [KLF.ppm])[:, 0], rtol=1e-6)
    table = np.concatenate([log_odds(KLF.ppm), np.zeros((1, KLF.ppm.shape[1]))])  # a row for N
    width = KLF.ppm.shape[1]
    for row, sequence in enumerate(codes):
        found = []
        for start in range(60 - width + 1):
            window = sequence[start : start + width]
            for strand, one in enumerate((window, reverse_complement(window[None])[0])):
                found.append((table[one, np.arange(width)].sum(), -start, -strand))
        score, start, strand = max(found)
        assert sites.scores[row] == pytest.approx(score, abs=1e-4)
        assert sites.centres[row] == -start + (width - 1) / 2
        assert sites.reverse[row] == (strand == -1)


@pytest.mark.parametrize("motif", [CTCF, KLF], ids=lambda m: m.name)
def test_random_windows_reach_the_threshold_as_often_as_it_says(motif: object) -> None:
    ppm = motif.ppm  # type: ignore[attr-defined]
    table, width = log_odds(ppm), ppm.shape[1]
    rng = np.random.default_rng(1)
    for p_value in (1e-2, 1e-3):
        limit, reached, windows = threshold(ppm, p_value), 0, 0
        for _ in range(20):
            codes = rng.integers(0, 4, (50_000, width))
            reached += int((table[codes, np.arange(width)].sum(axis=1) >= limit).sum())
            windows += len(codes)
        assert reached / windows == pytest.approx(p_value, rel=0.1)  # at p = .001 the deviation is 3 % of it
    assert threshold(ppm, 0.25**width / 2) == np.inf


def test_sites_that_lie_anywhere_have_uniform_p_values() -> None:
    rng = np.random.default_rng(2)
    anywhere = np.abs(np.arange(182) - 90.5)
    found = [centrality(rng.choice(anywhere, 60), anywhere)[1] for _ in range(2_000)]
    assert kstest(found, "uniform").pvalue > 0.001
    assert np.mean(np.array(found) <= 0.05) == pytest.approx(0.05, abs=0.015)


def planted(n: int, length: int, spread: float, seed: int) -> Dataset:
    """Half of the sequences hold a CTCF site at a normal distance from the middle."""
    rng = np.random.default_rng(seed)
    codes = random_codes(n, length, seed + 100)
    labels = np.zeros((n, 1), np.uint8)
    width = CTCF.ppm.shape[1]
    for row in range(0, n, 2):
        labels[row] = 1
        start = int(np.clip(round(rng.normal(length / 2 - width / 2, spread)), 0, length - width))
        site = np.array([rng.choice(4, p=column / column.sum()) for column in CTCF.ppm.T], np.uint8)
        codes[row, start : start + width] = site if rng.random() < 0.5 else reverse_complement(site[None])[0]
    parts = np.split(np.arange(n), [n // 2, 3 * n // 4])
    splits = {s: Split(codes[i], labels[i]) for s, i in zip(("train", "valid", "test"), parts, strict=True)}
    return Dataset("planted", ("bound",), splits, "simulated")


def test_a_planted_motif_is_found_in_the_middle() -> None:
    found = audit(planted(800, 200, 15.0, 3), {"CTCF": [CTCF]}).motifs
    assert [(row.target, row.motif, row.task) for row in found] == [("CTCF", "MA0139.2", "bound")]
    [row] = found
    assert row.positives > 0.8
    assert row.negatives < 0.1  # 366 windows at p = 1e-4 make .036
    assert row.distance == pytest.approx(0.674 * 15, abs=2.5)  # the median of a half-normal distance
    assert row.expected == pytest.approx(46, abs=1)
    assert row.p_value is not None
    assert row.p_value < 1e-20
    uniform = audit(planted(800, 200, 1000.0, 4), {"CTCF": [CTCF]}).motifs[0]
    assert uniform.p_value is not None
    assert uniform.p_value > 0.5  # clipped to the ends: farther from the middle than by chance


def test_few_hits_say_nothing_about_their_place() -> None:
    dataset = planted(60, 200, 15.0, 5)
    [row] = audit(dataset, {"KLF": [KLF]}).motifs
    assert row.hits < FEWEST_HITS
    assert row.distance is None
    assert row.p_value is None


def test_klf1_as_other_programs_see_it(data_dir: Path) -> None:
    dataset = load_dataset(DataSpec(positives=str(data_dir / "klf1_mm9" / "Klf1.fna"), negatives="shuffle"))
    found = audit(dataset, {"KLF": [KLF]})
    seen = np.concatenate([dataset.train.codes, dataset.valid.codes])
    labels = np.concatenate([dataset.train.labels, dataset.valid.labels])[:, 0]
    by = {f.name: f.auroc for f in found.features}
    assert set(by) == {"gc", "cpg", "6-mer"}
    assert by["gc"].estimate == pytest.approx(roc_auc_score(labels, gc_content(seen)), abs=1e-12)
    assert by["gc"].estimate == pytest.approx(0.5, abs=1e-9)  # shuffles have the GC content of their sequences
    assert by["6-mer"].estimate > 0.8
    [row] = found.motifs
    assert row.positives > 1.5 * row.negatives
    assert row.p_value is not None
    assert row.p_value < 1e-6  # binding sites lie near summits
    # the share with a hit, counted by regular expression over letters for the consensus alone, is a lower bound
    letters = decode(seen[labels == 1])
    consensus = "".join("ACGT"[i] for i in KLF.ppm.argmax(axis=0))
    other = "".join("ACGT"[3 - i] for i in KLF.ppm.argmax(axis=0)[::-1])
    assert row.positives >= np.mean([consensus in s or other in s for s in letters])


def test_python_gives_the_audit_as_a_table(data_dir: Path) -> None:
    data = tuner.Data.from_fasta(data_dir / "klf1_mm9" / "Klf1.fna")
    checked = data.check(targets={"KLF": ["MA1515.2"]})
    table = checked.separation.set_index("feature")
    assert list(table.index) == ["gc", "cpg", "6-mer", "KLF (MA1515.2)"]
    assert table.loc["gc", "auroc"] == pytest.approx(0.5)
    assert table.loc["KLF (MA1515.2)", "hits_positives"] > 0.3
    assert "KLF (MA1515.2)" in checked._repr_html_()
    with pytest.raises(tuner.TunerError, match=r"unknown motif 'MA9999\.1'"):
        data.check(targets={"KLF": ["MA9999.1"]})


def test_several_tasks_are_measured_by_their_own_labels() -> None:
    one = planted(800, 200, 15.0, 6)
    splits = {name: Split(s.codes, np.concatenate([s.labels, 1 - s.labels], axis=1)) for name, s in one.splits.items()}
    found = audit(Dataset("two", ("bound", "free"), splits, "simulated"), {"CTCF": [CTCF]})
    first, second = found.motifs
    assert (first.positives, first.negatives) == (second.negatives, second.positives)
    assert first.auroc.estimate == pytest.approx(1 - second.auroc.estimate)
    assert [f.task for f in found.features] == ["bound", "bound", "free", "free", "bound", "free"]
