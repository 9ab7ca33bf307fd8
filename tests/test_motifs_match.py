"""The motif objectives: what they count, and what they may not reward."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tuner.errors import MotifError
from tuner.motifs.database import MotifDatabase, load_database
from tuner.motifs.filters import Filter
from tuner.motifs.jaspar import jaspar_motifs
from tuner.motifs.match import check_targets, match_filters, match_motifs
from tuner.motifs.meme import Motif, corrected_information, read_meme, reverse_complement
from tuner.motifs.proportions import wilson_interval
from tuner.motifs.screen import permuted, reference_filters

pytestmark = pytest.mark.slow

OBJECTIVES = ("match_fraction", "match_score", "target_fraction", "coverage")
LAW = settings(deadline=None, max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def jaspar() -> MotifDatabase:
    return load_database("JASPAR2026")


@pytest.fixture(scope="module")
def irf(jaspar: MotifDatabase) -> dict[str, list[str]]:
    return {"IRF": [m.id for m in jaspar.screened if m.family == "Interferon-regulatory factors"]}


@pytest.fixture(scope="module")
def layer() -> tuple[Filter, ...]:
    """A layer of really trained filters: exponential, IRF1, kernel 19."""
    chosen = [m for m in reference_filters() if m.id.startswith("IRF1-exponential-k25-p10")]
    assert len(chosen) >= 20
    return tuple(as_filter(i, m.ppm, int(m.n_sites or 0)) for i, m in enumerate(chosen))


def as_filter(index: int, ppm: np.ndarray, sites: int = 500, alive: bool = True) -> Filter:
    information = corrected_information(ppm, sites) if sites and ppm.shape[1] else 0.0
    return Filter(index, ppm, sites, information, alive, 0)


def measure(filters, database, targets=None, **options) -> dict[str, float]:
    n_filters = options.pop("n_filters", len(filters))
    return match_filters(filters, database, targets or {}, n_filters=n_filters, **options).metrics


def test_known_motifs_match_themselves_and_count_once_each(jaspar: MotifDatabase) -> None:
    names = ["MA0139.2", "MA0050.4", "MA0138.3"]
    known = [m for m in jaspar.screened if m.id in names]
    filters = [as_filter(i, m.ppm) for i, m in enumerate(known)]
    matches = match_filters(filters, jaspar, {}, n_filters=64)
    assert [row.target for row in matches.rows] == [m.id for m in known]
    assert all(row.significant and row.overlap == m.ppm.shape[1] for row, m in zip(matches.rows, known, strict=True))
    assert matches.metrics["match_fraction"] == len(known) / 64
    assert matches.metrics["match_score"] == pytest.approx(len(known) / 64)
    assert matches.metrics["distinct"] == len({m.family for m in known})
    assert matches.metrics["filters_gated"] == len(known)
    for row in matches.rows:
        assert row.e_value == row.p_value * len(jaspar.screened)


def test_a_small_layer_is_divided_by_thirty_two(jaspar: MotifDatabase) -> None:
    filters = [as_filter(0, jaspar.find("MA0139.2").ppm)]
    assert measure(filters, jaspar)["match_fraction"] == 1 / 32


def test_trained_filters_match_and_find_their_factor(jaspar, irf, layer) -> None:
    metrics = measure(layer, jaspar, irf)
    assert metrics["target_fraction"] >= 0.1
    assert metrics["coverage"] == 1
    assert metrics["match_fraction"] > 0.05 > metrics["match_null"]
    assert metrics["match_excess_low"] <= metrics["match_excess"] <= metrics["match_excess_high"]
    assert metrics["match_excess"] == metrics["match_fraction"] - metrics["match_null"]


def test_metrics_are_exactly_these(jaspar, layer) -> None:
    expected = "match_fraction match_score target_fraction coverage distinct filters_alive filters_gated "
    expected += "used_match_fraction match_null match_excess filters_effective match_excess_low match_excess_high"
    assert list(measure(layer, jaspar, effects=np.ones(len(layer)))) == expected.split()


@LAW
@given(seed=st.integers(0, 2**32 - 1))
def test_filter_order_and_strand_change_nothing(jaspar, irf, layer, seed: int) -> None:
    rng = np.random.default_rng(seed)
    turned = [
        item._replace(ppm=reverse_complement(item.ppm), index=int(index)) if flip else item._replace(index=int(index))
        for item, flip, index in zip(layer, rng.integers(0, 2, len(layer)), rng.permutation(len(layer)), strict=True)
    ]
    before = measure(layer, jaspar, irf, permutations=2)
    assert measure(turned, jaspar, irf, permutations=2) == pytest.approx(before, rel=1e-9)


@LAW
@given(data=st.data())
def test_shrinking_a_layer_raises_no_objective(jaspar, irf, layer, data) -> None:
    kept = data.draw(st.sets(st.integers(0, len(layer) - 1)))
    smaller = [layer[i]._replace(index=place) for place, i in enumerate(sorted(kept))]
    assert_no_gain(measure(layer, jaspar, irf, permutations=1), measure(smaller, jaspar, irf, permutations=1))


def test_shrinking_a_wide_layer_at_random_gains_nothing_on_average(jaspar, irf, layer) -> None:
    # 96 filters -> every disjoint third: the mean over the thirds is what the whole layer had.
    wide = [item._replace(index=i) for i, item in enumerate((layer * 4)[:96])]
    whole = measure(wide, jaspar, irf, permutations=1)
    thirds = [
        measure([f._replace(index=i) for i, f in enumerate(wide[start::3])], jaspar, irf, permutations=1)
        for start in range(3)
    ]
    for name in ("match_fraction", "match_score", "target_fraction"):
        assert np.mean([third[name] for third in thirds]) == pytest.approx(whole[name])


@LAW
@given(dead=st.integers(0, 20), flat=st.integers(0, 20), width=st.integers(1, 20))
def test_adding_dead_or_flat_filters_raises_no_objective(jaspar, irf, layer, dead, flat, width) -> None:
    n = len(layer)
    added = [as_filter(n + i, np.zeros((4, 0)), 0, alive=False) for i in range(dead)]
    added += [as_filter(n + dead + i, np.full((4, width), 0.25)) for i in range(flat)]
    assert_no_gain(measure(layer, jaspar, irf, permutations=1), measure([*layer, *added], jaspar, irf, permutations=1))


@pytest.mark.parametrize("seed", range(3))
def test_adding_permuted_filters_raises_no_objective(jaspar, irf, layer, seed: int) -> None:
    base = [item._replace(index=i) for i, item in enumerate((layer * 2)[:32])]
    more = permuted([item.ppm for item in layer], 32, np.random.default_rng(seed))
    added = [as_filter(32 + i, ppm) for i, ppm in enumerate(more)]
    assert_no_gain(measure(base, jaspar, irf, permutations=1), measure(base + added, jaspar, irf, permutations=1))


def assert_no_gain(before: dict[str, float], after: dict[str, float]) -> None:
    for name in OBJECTIVES:
        assert after[name] <= before[name] + 1e-12, name


def test_copies_of_one_filter_are_exposed_by_distinct(jaspar) -> None:
    ctcf = jaspar.find("MA0139.2").ppm
    copies = [as_filter(i, ctcf if i % 2 else reverse_complement(ctcf)) for i in range(32)]
    metrics = measure(copies, jaspar, permutations=1)
    assert metrics["match_fraction"] == 1
    assert metrics["distinct"] == 1
    assert metrics["filters_effective"] == 1  # so the interval is that of one filter
    assert metrics["match_excess_low"] < 0.25


@pytest.mark.parametrize("seed", range(2))
def test_permuted_trained_filters_rarely_match(jaspar, data_dir: Path, seed: int) -> None:
    filters = read_meme(data_dir / "tomtom_reference" / "cnn_filters_32.meme")
    ppms = permuted([m.ppm for m in filters], 320, np.random.default_rng(seed))
    metrics = measure([as_filter(i, ppm, 1000) for i, ppm in enumerate(ppms)], jaspar, permutations=1)
    assert metrics["filters_gated"] == 320
    assert metrics["match_fraction"] <= 0.03


@pytest.mark.parametrize("concentration", [1.0, 3.0, 10.0, 100.0])
def test_near_flat_random_matrices_rarely_match(jaspar, concentration: float) -> None:
    rng = np.random.default_rng(0)
    ppms = [rng.dirichlet(np.full(4, concentration), size=19).T for _ in range(320)]
    metrics = measure([as_filter(i, ppm) for i, ppm in enumerate(ppms)], jaspar, permutations=1)
    assert metrics["match_fraction"] <= 0.03


def test_the_null_is_reproducible_and_depends_on_the_seed(jaspar, layer) -> None:
    first, again, other = (match_filters(layer, jaspar, {}, n_filters=32, seed=seed) for seed in (0, 0, 1))
    assert first.metrics == again.metrics
    assert first.metrics["match_fraction"] == other.metrics["match_fraction"]
    assert 0 <= first.metrics["match_null"] <= 0.03


def test_effects_weigh_the_matched_filters(jaspar, layer) -> None:
    rows = match_filters(layer, jaspar, {}, n_filters=len(layer), permutations=1).rows
    matched = np.array([row.significant for row in rows])
    assert 0 < matched.sum() < len(matched)

    def used(effects: np.ndarray) -> float:
        return measure(layer, jaspar, permutations=1, effects=effects)["used_match_fraction"]

    assert "used_match_fraction" not in measure(layer, jaspar, permutations=1)
    assert used(np.zeros(len(layer))) == 0
    assert used(np.ones(len(layer))) == pytest.approx(matched.mean())
    assert used(np.where(matched, 3.0, 1.0)) == pytest.approx(
        3 * matched.sum() / (3 * matched.sum() + (~matched).sum())
    )
    assert used(np.where(matched, 1.0, np.nan)) == 1
    rows = match_filters(
        layer, jaspar, {}, n_filters=len(layer), permutations=1, effects=np.arange(len(layer)) / 1
    ).rows
    assert [row.effect for row in rows] == list(range(len(layer)))


def test_a_layer_of_dead_filters_scores_zero(jaspar, irf) -> None:
    dead = [as_filter(i, np.zeros((4, 0)), 0, alive=False) for i in range(4)]
    matches = match_filters(dead, jaspar, irf, n_filters=4)
    assert [row.target for row in matches.rows] == [None] * 4
    others = ("match_excess_low", "match_excess_high", "filters_effective")
    measured = {k: v for k, v in matches.metrics.items() if k not in others}
    assert set(measured.values()) == {0.0}
    assert matches.metrics["filters_effective"] == 32


def test_an_impossible_target_is_refused(jaspar) -> None:
    with pytest.raises(MotifError, match=r"JASPAR2026: unknown motif 'MA1971.1'; did you mean 'MA1971.2'"):
        check_targets(jaspar, {"ZBED2": ["MA1971.1"]})
    with pytest.raises(MotifError, match=r"MA1929.2 is promiscuous in JASPAR2026"):
        match_filters([], jaspar, {"CTCF": ["MA1929.2"]}, n_filters=8)
    with pytest.raises(MotifError, match="target 'X' names no motif"):
        check_targets(jaspar, {"X": []})


def test_numbers_that_do_not_agree_are_refused(jaspar, layer) -> None:
    with pytest.raises(MotifError, match="in a layer of n_filters = 3"):
        measure(layer, jaspar, n_filters=3)
    with pytest.raises(MotifError, match="same index"):
        measure([layer[0], layer[0]], jaspar)
    with pytest.raises(MotifError, match=r"effects have shape \(3,\)"):
        measure(layer, jaspar, effects=np.ones(3))
    with pytest.raises(MotifError, match="permutations is -1"):
        measure(layer, jaspar, permutations=-1)


def test_without_permutations_all_but_the_null_is_the_same(jaspar, layer) -> None:
    whole, bare = measure(layer, jaspar, permutations=1), measure(layer, jaspar, permutations=0)
    null = {"match_null", "match_excess", "match_excess_low", "match_excess_high", "filters_effective"}
    assert whole.keys() - bare.keys() == null
    assert bare == {name: whole[name] for name in bare}


def test_wilson_interval_is_that_of_scipy() -> None:
    from scipy.stats import binomtest

    for hits, trials in ((0, 32), (3, 32), (32, 32), (5, 640)):
        expected = binomtest(hits, trials).proportion_ci(method="wilson")
        assert wilson_interval(hits, trials) == pytest.approx((expected.low, expected.high))


def test_motifs_of_a_file_report_pairs_and_each_best(data_dir: Path) -> None:
    queries = read_meme(data_dir / "tomtom_reference" / "cnn_filters_32.meme")
    database = load_database(str(data_dir / "koo" / "JASPAR_CORE_2016_vertebrates.meme"), screen=False)
    matches = match_motifs(queries, database)
    assert {m.query for m in matches} == {m.id for m in queries}
    first: dict[str, str] = {}
    for match in matches:
        assert match.e_value <= 10 or match.query not in first
        first.setdefault(match.query, match.target)
        assert match.significant == (match.e_value <= 0.01)
        assert match.e_value == match.p_value * 518
    assert [m.query for m in matches] == sorted((m.query for m in matches), key=[q.id for q in queries].index)


def test_flat_promiscuous_and_thinly_sampled_pairs_are_not_significant(jaspar) -> None:
    gapped = jaspar.find("MA1929.2")
    ctcf = jaspar.find("MA0139.2")
    queries = [
        Motif("flat", "", np.full((4, 20), 0.25), n_sites=1000),
        gapped._replace(id="gapped"),
        ctcf._replace(id="few", n_sites=19),
        ctcf._replace(id="unstated", n_sites=None),
        ctcf._replace(id="many"),
    ]
    matches = match_motifs(queries, jaspar)
    flat = [m for m in matches if m.query == "flat"]
    assert len(flat) == 1
    assert (flat[0].p_value, flat[0].significant) == (1, False)
    best = {m.query: m for m in reversed(matches)}
    assert (best["gapped"].target, best["gapped"].promiscuous, best["gapped"].significant) == (
        "MA1929.2",
        True,
        False,
    )
    assert [best[name].significant for name in ("few", "unstated", "many")] == [False, True, True]


def test_a_query_that_is_no_matrix_is_refused_by_name(jaspar) -> None:
    with pytest.raises(MotifError, match="motif counts: column 0 sums to 40"):
        match_motifs([Motif("counts", "", np.full((4, 5), 10.0))], jaspar)


def test_families_of_mef2_are_one() -> None:
    # Koo & Ploenzke's lists put MA0660.1 (MEF2B) and MA0773.1 (MEF2D) under STAT1.
    motifs = {m.id: m for m in jaspar_motifs("JASPAR2016")}
    assert motifs["MA0660.1"].family == motifs["MA0773.1"].family == motifs["MA0052.3"].family
    assert motifs["MA0660.1"].family != motifs["MA0137.3"].family


def test_filters_of_the_mef2_factors_are_one_family_and_no_stat() -> None:
    database = load_database("JASPAR2016")
    mef2 = ["MA0052.3", "MA0660.1", "MA0773.1"]  # MEF2A, MEF2B, MEF2D
    shown = [as_filter(i, database.find(name).ppm) for i, name in enumerate(mef2)]
    targets = {"MEF2A": mef2, "STAT1": ["MA0137.3"]}
    metrics = measure(shown, database, targets, n_filters=32, permutations=1)
    assert (metrics["match_fraction"], metrics["target_fraction"]) == (3 / 32, 3 / 32)
    assert metrics["distinct"] == 1
    assert metrics["coverage"] == 0.5  # with MEF2B and MEF2D under STAT1 it would be 1
    stat = as_filter(3, database.find("MA0137.3").ppm)
    both = measure([*shown, stat], database, targets, n_filters=32, permutations=1)
    assert (both["distinct"], both["coverage"]) == (2, 1)


def test_half_of_the_published_task_1_motifs_are_in_jaspar_2016() -> None:
    # Koo & Ploenzke (2021), Task 1: twelve factors; 32 identifiers, MEF2B and MEF2D put under MEF2A.
    published = {
        "Arid3a": "MA0151.1 MA0601.1 PB0001.1",
        "CEBPB": "MA0466.1 MA0466.2",
        "FOSL1": "MA0477.1",
        "Gabpa": "MA0062.1 MA0062.2",
        "MAFK": "MA0496.1 MA0496.2",
        "MAX": "MA0058.1 MA0058.2 MA0058.3",
        "MEF2A": "MA0052.1 MA0052.2 MA0052.3 MA0660.1 MA0773.1",
        "NFYB": "MA0502.1 MA0060.1 MA0060.2",
        "SP1": "MA0079.1 MA0079.2 MA0079.3",
        "SRF": "MA0083.1 MA0083.2 MA0083.3",
        "STAT1": "MA0137.1 MA0137.2 MA0137.3",
        "YY1": "MA0095.1 MA0095.2",
    }
    database = load_database("JASPAR2016")
    known = {motif.id: motif for motif in database.motifs}
    groups = {name: [i for i in ids.split() if i in known] for name, ids in published.items()}
    assert sum(len(ids.split()) for ids in published.values()) == 32
    assert sum(map(len, groups.values())) == 16
    assert all(len({known[i].family for i in group}) == 1 for group in groups.values())
    check_targets(database, groups)  # every group has a motif, none is promiscuous
