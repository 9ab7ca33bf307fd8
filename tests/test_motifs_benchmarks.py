"""What the motif benchmarks compute beside the package: variance shares, planted motifs, kept filters."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tuner.motifs.jaspar import jaspar_motifs
from tuner.motifs.screen import reference_filters

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def benchmark_module(monkeypatch: pytest.MonkeyPatch):
    """Import a benchmark as the command line does: with its folder on the path."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    return load


def test_intraclass_correlation_is_that_of_the_published_example(benchmark_module) -> None:
    # Shrout & Fleiss (1979), table 2: six targets, four judges; ICC(1,1) = .17 in table 4.
    ratings = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    found = benchmark_module("objective_reliability").reliability(ratings)
    assert found.icc == pytest.approx(0.166, abs=0.001)  # (11.24 - 6.26) / (11.24 + 3 x 6.26) of their table 3
    assert found.within == pytest.approx(6.26**0.5, abs=0.001)
    assert found.low < 0 < found.icc < found.high < 1


def test_intraclass_correlation_recovers_variances_of_unequal_groups(benchmark_module) -> None:
    rng = np.random.default_rng(0)
    groups = [rng.normal(rng.normal(0, 2), 1, size=3 + i % 3) for i in range(3000)]
    assert benchmark_module("objective_reliability").reliability(groups).icc == pytest.approx(4 / 5, abs=0.02)


@pytest.mark.parametrize("bits", [6.0, 10.0, 14.0])
def test_trimmed_and_softened_motifs_hold_the_information_asked_for(benchmark_module, bits: float) -> None:
    power = benchmark_module("match_power")
    ctcf = next(m for m in jaspar_motifs("JASPAR2026") if m.id == "MA0139.2").ppm
    for made in (power.trim_to(ctcf, bits), power.soften(ctcf, bits)):
        safe = np.where(made > 0, made, 1)
        assert (2 + (made * np.log2(safe)).sum(axis=0)).sum() == pytest.approx(bits, abs=1e-3)
        np.testing.assert_allclose(made.sum(axis=0), 1)
    assert power.trim_to(ctcf, bits).shape[1] < ctcf.shape[1] == power.soften(ctcf, bits).shape[1]


def test_a_planted_filter_shows_its_motif_diluted_by_wrong_sites(benchmark_module) -> None:
    power = benchmark_module("match_power")
    word = np.eye(4)[:, [2, 0, 3, 1, 1, 0, 2, 3, 2, 0]] * 1.0  # ten fixed bases, 20 bits
    for wrong, kept in ((0.0, 1.0), (0.25, 0.75 + 0.25 / 4)):
        made = power.make_filter(3, word, 500, wrong, np.random.default_rng(1))
        assert (made.index, made.sites, made.gated) == (3, 500, True)
        assert made.ppm.shape == (4, 10)
        assert made.ppm.max(axis=0).mean() == pytest.approx(kept, abs=0.02)
    few = power.make_filter(0, word, 19, 0.0, np.random.default_rng(1))
    assert not few.gated


def test_sharp_motifs_are_found_and_faint_ones_are_not(benchmark_module) -> None:
    power = benchmark_module("match_power")
    rng = np.random.default_rng(0)
    database = power.load_database("JASPAR2026")
    ctcf = database.find("MA0139.2")
    # Four bits do not pass the gate of six, whatever the number of sites.
    planted = [power.Planted("softened", bits, ctcf, power.soften(ctcf.ppm, bits)) for bits in (4.0, 18.0)]
    found = list(power.measure(database, planted, rng))
    assert all(o.own and o.matched for o in found if o.bits == 18 and o.wrong == 0)
    assert not any(o.matched for o in found if o.bits == 4 and o.sites >= 100)


def test_filters_are_read_back_as_they_were_written(benchmark_module, tmp_path: Path) -> None:
    sets = benchmark_module("filter_sets")
    filters = (
        sets.Filter(0, reference_filters()[0].ppm, 500, 12.5, True, 3),
        sets.Filter(1, np.zeros((4, 0)), 0, 0.0, False, 0),
        sets.Filter(2, reference_filters()[1].ppm, 20, 6.25, True, 0),
    )
    sets.write(tmp_path / "net.npz", filters, 0.875)
    again, score = sets.read(tmp_path / "net.npz")
    assert score == 0.875
    for one, other in zip(filters, again, strict=True):
        np.testing.assert_array_equal(one.ppm, other.ppm)
        assert one._replace(ppm=None) == other._replace(ppm=None)


@pytest.mark.slow
def test_a_kept_network_is_not_trained_again_and_an_untrained_one_is_the_network_it_says(
    benchmark_module, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = benchmark_module("filter_sets")
    net = sets.UNTRAINED_NETS[1]
    assert (net.labels, net.epochs) == ("untrained", 0)
    first = sets.filters(net, tmp_path)
    monkeypatch.setattr(sets, "train", None)  # a second training would fail
    again = sets.filters(net, tmp_path)
    assert again.auroc == first.auroc
    assert len(first.filters) == 32
    assert 0.3 < first.auroc < 0.7
    columns = [f.ppm.max(axis=0) for f in first.filters]
    assert 0.3 < float(np.concatenate(columns).mean()) < 0.9


def test_twenty_networks_of_shuffled_labels_a_data_set_are_planned(benchmark_module) -> None:
    sets = benchmark_module("filter_sets")
    for data in ("ZBED2", "IRF1"):
        chosen = [net for net in sets.SHUFFLED_NETS if net.data == data]
        assert len({net.name for net in chosen}) == len({net.seed for net in chosen}) == 20
        assert {dict(net.settings)["activation"] for net in chosen} == {"relu", "exponential"}
    assert len({net.name for net in sets.REPLICATES}) == 24
