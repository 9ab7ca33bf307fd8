"""Copies of a motif in a layer count as one filter, and the interval of match_excess says so."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from tuner.motifs.copies import copies, effective_number, similarity
from tuner.motifs.database import MotifDatabase, load_database
from tuner.motifs.match import excess_interval
from tuner.motifs.meme import reverse_complement
from tuner.motifs.proportions import difference_interval
from tuner.motifs.screen import reference_filters

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import claims_motifs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def jaspar() -> MotifDatabase:
    return load_database("JASPAR2026")


def test_shifted_copies_on_either_strand_are_one_group(jaspar: MotifDatabase) -> None:
    rng = np.random.default_rng(0)
    motifs = [jaspar.find(i).ppm for i in ("MA0050.4", "MA0139.2", "MA0493.3")]
    sizes = (4, 3, 1)
    ppms = [claims_motifs.noisy(ppm, rng) for ppm, size in zip(motifs, sizes, strict=True) for _ in range(size)]
    found = copies(similarity(ppms, [m.ppm for m in jaspar.screened]))
    assert found.tolist() == [0] * 4 + [1] * 3 + [2]
    turned = [reverse_complement(ppm) for ppm in ppms]
    assert copies(similarity(turned, [m.ppm for m in jaspar.screened])).tolist() == found.tolist()


def test_a_layer_without_copies_keeps_its_number(jaspar: MotifDatabase) -> None:
    chosen = [jaspar.find(i).ppm for i in ("MA0050.4", "MA0139.2", "MA0138.3", "MA0095.4", "MA0493.3", "MA0035.5")]
    groups = copies(similarity(chosen, [m.ppm for m in jaspar.screened]))
    assert len(set(groups.tolist())) == 6
    assert effective_number(groups, 32) == 32
    assert effective_number(np.zeros(0, int), 32) == 32


def test_the_effective_number_is_that_of_kish() -> None:
    # Two groups of four and 24 filters alone: 32 / (1 + (8 x 3) / 32), the usual formula of equal clusters in a part.
    groups = np.repeat([0, 1], 4)
    assert effective_number(groups, 32) == pytest.approx(32 / (1 + 8 * 3 / 32))
    assert effective_number(np.zeros(32, int), 32) == 1


def test_groups_are_joined_through_others() -> None:
    p_values = np.ones((3, 3))
    p_values[0, 1] = p_values[1, 0] = p_values[1, 2] = p_values[2, 1] = 1e-6
    assert copies(p_values).tolist() == [0, 0, 0]


def test_the_interval_of_a_layer_without_copies_is_newcombes() -> None:
    assert excess_interval(6 / 32, 12 / 640, 20, 32) == pytest.approx(difference_interval(6, 32, 12, 640))


def test_trained_layers_hold_copies(jaspar: MotifDatabase) -> None:
    chosen = [m.ppm for m in reference_filters() if m.id.startswith("IRF1-exponential-k25-p10")]
    groups = copies(similarity(chosen, [m.ppm for m in jaspar.screened]))
    assert effective_number(groups, len(chosen)) < len(chosen)


def test_the_interval_holds_the_truth_where_motifs_fill_several_filters(
    jaspar: MotifDatabase, capsys: pytest.CaptureFixture[str]
) -> None:
    """95 % intervals: at least .92 over all designs with the effective number; all filters alone give far less."""
    claims_motifs.measure_copies(jaspar, draws=300)
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert len(rows) == len(claims_motifs.LAYERS)
    assert all(float(row[-1]) >= 0.92 for row in rows), rows
    fours = next(row for row in rows if row[0].startswith("8 motifs"))
    assert float(fours[-2]) < 0.85
