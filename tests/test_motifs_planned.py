"""The planned comparison with the study's own target: few comparisons, and few false matches."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from tuner.interpret.modisco import pattern_filter
from tuner.motifs.database import MotifDatabase, load_database
from tuner.motifs.filters import Filter, trim_ppm
from tuner.motifs.meme import corrected_information
from tuner.motifs.planned import PLANNED_P, choose_level, match_targets, permuted_p
from tuner.motifs.screen import permuted, reference_filters
from tuner.motifs.tomtom import tomtom
from tuner.resources import find_resource
from tuner.study.file import read_study

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import claims_motifs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def jaspar() -> MotifDatabase:
    return load_database("JASPAR2026")


@pytest.fixture(scope="module")
def chance(jaspar: MotifDatabase) -> np.ndarray:
    """p of 600 filters without a motif against every motif, shape=(600, n_screened)."""
    queries = permuted([m.ppm for m in reference_filters()], 600, np.random.default_rng(5))
    return np.concatenate(
        [tomtom(queries[i : i + 200], [m.ppm for m in jaspar.screened]).p_value for i in range(0, 600, 200)]
    )


def as_filter(index: int, ppm: np.ndarray, sites: int = 500) -> Filter:
    return Filter(index, ppm, sites, corrected_information(ppm, sites), True, 0)


def weak(ppm: np.ndarray, share: float) -> np.ndarray:
    return (1 - share) * ppm + share * 0.25


def test_a_named_motif_is_found_where_another_is_the_best_match(jaspar: MotifDatabase) -> None:
    irf1, ctcf = jaspar.find("MA0050.4").ppm, jaspar.find("MA0139.2").ppm
    filters = [as_filter(0, irf1), as_filter(3, ctcf)]
    named = {"IRF2": ["MA0051.2"], "REST": ["MA0138.3"]}
    rows = match_targets(filters, jaspar, named)
    best = rows[0]
    assert (best.query, best.family, best.target, best.compared) == (0, "IRF2", "MA0051.2", 4)
    assert best.significant
    assert not any(row.significant for row in rows if row.query == 3 or row.family == "REST")
    # The p-value is that of the search through the whole database, whose best match is another motif.
    p_values = tomtom([irf1], [m.ppm for m in jaspar.screened]).p_value[0]
    place = [m.id for m in jaspar.screened]
    assert best.p_value == p_values[place.index("MA0051.2")] > p_values.min()
    assert place[int(p_values.argmin())] == "MA0050.4"


def test_p_is_corrected_for_named_motifs_and_for_what_was_tested(jaspar: MotifDatabase) -> None:
    one = as_filter(0, weak(jaspar.find("MA1971.2").ppm, 0.1))
    alone = match_targets([one], jaspar, {"ZBED2": ["MA1971.2"]})[0]
    assert alone.corrected == alone.p_value
    # A filter that does not pass the gates is not tested; one that does is.
    few = as_filter(1, jaspar.find("MA0139.2").ppm, sites=5)
    more = as_filter(2, jaspar.find("MA0139.2").ppm)
    assert match_targets([one, few], jaspar, {"ZBED2": ["MA1971.2"]})[0].compared == 1
    both = match_targets([one, more], jaspar, {"ZBED2": ["MA1971.2"], "IRF": ["MA0050.4", "MA0051.2"]})
    assert {row.compared for row in both} == {6}
    assert both[0].corrected == pytest.approx(6 * alone.p_value)


def test_motifs_that_cannot_be_matched_are_no_comparison(jaspar: MotifDatabase) -> None:
    one = as_filter(0, jaspar.find("MA0050.4").ppm)
    assert match_targets([one], jaspar, {}) == ()
    assert match_targets([], jaspar, {"IRF": ["MA0050.4"]}) == ()
    assert match_targets([one], jaspar, {"CTCF": ["MA1929.2"]}) == ()  # promiscuous


@pytest.mark.parametrize("tested", [1, 5, 32])
@pytest.mark.parametrize("named", [1, 10])
def test_filters_without_a_motif_show_the_target_in_one_study_of_twenty_at_most(
    chance: np.ndarray, named: int, tested: int
) -> None:
    """Nominal .05 per statement; 400 simulated studies have a standard error of .011."""
    rng, told = np.random.default_rng(named * tested), 0
    for _ in range(400):
        rows = rng.choice(len(chance), tested, replace=False)
        motifs = rng.choice(chance.shape[1], named, replace=False)
        told += chance[np.ix_(rows, motifs)].min() * named * tested <= PLANNED_P
    assert told / 400 <= 0.05


def test_motifs_that_permuted_filters_match_often_have_a_stricter_level(
    jaspar: MotifDatabase, chance: np.ndarray
) -> None:
    """Each motif named alone, five patterns; the level comes from other permutations than those it is tried on."""
    queries = permuted([m.ppm for m in reference_filters()], 1500, np.random.default_rng(1))
    targets = [m.ppm for m in jaspar.screened]
    others = np.concatenate([tomtom(queries[i : i + 250], targets).p_value for i in range(0, 1500, 250)])
    levels = np.array([choose_level(p, 5, 5) for p in others.T])
    assert set(np.unique(levels)) <= {PLANNED_P / 2**k for k in range(30)}

    def claimed(level: np.ndarray | float) -> np.ndarray:
        return 1 - (1 - (chance * 5 <= level).mean(axis=0)) ** 5

    before, after = claimed(PLANNED_P), claimed(levels)
    assert before.max() > 0.2  # gapped and flat motifs
    assert after.mean() <= before.mean() <= 0.02
    # 600 permuted filters: a rate of .05 of studies is 6 of them.
    assert (before > 0.05).mean() > 0.05
    assert (after > 0.05).mean() <= 0.02
    assert after.max() <= 0.15
    place = [m.id for m in jaspar.screened].index("MA1971.2")
    np.testing.assert_array_equal(permuted_p(jaspar, [place]), others[:, place])


def test_the_targets_of_the_shipped_studies_are_no_exception(jaspar: MotifDatabase, chance: np.ndarray) -> None:
    place = {m.id: i for i, m in enumerate(jaspar.screened)}
    for name in ("zbed2", "irf1"):
        targets = read_study(find_resource("studies", name, Path.cwd())).motifs.targets
        columns = [place[i] for ids in targets.values() for i in ids]
        for tested in (1, 5, 32):
            each = (chance[:, columns].min(axis=1) * len(columns) * tested <= PLANNED_P).mean()
            assert 1 - (1 - each) ** tested <= 0.05, (name, tested)


def test_the_benchmark_prints_what_it_claims(chance: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
    claims_motifs.measure_planned(chance, draws=200)
    claims_motifs.measure_chance(chance, draws=200)
    rows = [
        line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if line[:3] in ("| 1", "| 3")
    ]
    assert len(rows) == 11  # 1, 3 and 10 named motifs, three sizes each; layers of 16 and 32 filters
    assert all(float(row[-1].split(", ")[-1]) <= 0.9 for row in rows)


def test_patterns_keep_columns_above_a_quarter_of_a_bit(jaspar: MotifDatabase) -> None:
    soft = np.array([[0.55, 0.15, 0.15, 0.15]]).T  # .29 bit: filters are cut there, patterns are not
    core = jaspar.find("MA0050.4").ppm
    ppm = np.hstack([np.full((4, 5), 0.25), soft, core, soft, np.full((4, 5), 0.25)])
    made = pattern_filter(3, ppm, 200)
    assert (made.index, made.sites, made.start) == (3, 200, 5)
    np.testing.assert_array_equal(made.ppm, ppm[:, 5:-5])
    assert trim_ppm(ppm)[0].shape[1] <= core.shape[1]
    assert made.information == pytest.approx(corrected_information(made.ppm, 200))
