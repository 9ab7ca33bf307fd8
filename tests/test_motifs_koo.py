"""The published read-out, against a second way to write it and against known targets."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from memelite import tomtom as memelite_tomtom

from tuner.errors import ModelError, MotifError
from tuner.genome.sequence import one_hot
from tuner.models.architectures import build_model
from tuner.models.half_maximum import half_maximum_windows
from tuner.motifs.database import MotifDatabase, load_database
from tuner.motifs.koo import koo_ppm, koo_targets, match_koo

FLAT = np.full((4, 20), 0.25)


@pytest.fixture(scope="module")
def jaspar() -> MotifDatabase:
    return load_database("JASPAR2016")


def test_targets_are_the_published_518(jaspar: MotifDatabase) -> None:
    assert len(jaspar.motifs) == 519
    assert len(koo_targets(jaspar)) == 518


def test_the_motif_left_out_is_the_one_flat_matrices_match(jaspar: MotifDatabase) -> None:
    # memelite itself: our own comparison answers "no match" for flat matrices before it asks.
    p_values = memelite_tomtom([FLAT], [m.ppm for m in jaspar.motifs], n_jobs=1)[0, 0]
    best = int(p_values.argmin())
    assert jaspar.motifs[best].id == "MA0615.1"
    assert p_values[best] * 519 < 0.1
    assert sorted(p_values)[1] * 518 > 1
    assert match_koo([FLAT], jaspar, {}).match_fraction == 0


def test_counts_are_filters_over_all_filters(jaspar: MotifDatabase) -> None:
    sp1, yy1 = jaspar.find("MA0079.3").ppm, jaspar.find("MA0095.2").ppm
    found = match_koo([sp1, yy1, FLAT, FLAT], jaspar, {"SP1": ["MA0079.3"], "SRF": ["MA0083.3"]})
    assert found.match_fraction == 0.5
    assert found.target_fraction == 0.25
    assert found.coverage == 0.5
    with pytest.raises(MotifError, match="no filter"):
        match_koo([], jaspar, {})


def column(bits: float) -> np.ndarray:
    """A column that holds A with the probability that gives about so many bits."""
    for p in np.linspace(0.25, 1, 2000):
        rest = (1 - p) / 3
        if 2 + p * np.log2(p) + 3 * rest * np.log2(rest + 1e-12) >= bits:
            return np.array([p, rest, rest, rest])
    raise AssertionError(bits)


@pytest.mark.parametrize(
    ("strong", "kept"),
    [((8, 11), (5, 15)), ((1, 3), (0, 7)), ((17, 19), (14, 20)), ((0,), (0, 20)), ((), (0, 20))],
)
def test_matrix_is_cut_three_columns_beside_its_informative_ones(
    strong: tuple[int, ...], kept: tuple[int, int]
) -> None:
    ppm = FLAT.copy()
    for at in strong:
        ppm[:, at] = column(1.0)
    cut = koo_ppm(ppm * 400, 400)
    # Column 0 alone counts as none: the published code asks whether any index is true.
    np.testing.assert_allclose(cut, ppm[:, kept[0] : kept[1]], atol=1.1e-4)


def test_a_filter_of_one_site_is_flat() -> None:
    np.testing.assert_array_equal(koo_ppm(np.eye(4)[:, [0] * 20], 1), FLAT)


@pytest.mark.parametrize("architecture", ["cnn_local", "hw4"])
def test_windows_are_those_found_one_position_at_a_time(architecture: str) -> None:
    length = 60
    model = build_model({"architecture": architecture, "activation": "relu"}, n_tasks=1, length=length, seed=1).eval()
    codes = np.random.default_rng(2).integers(0, 5, size=(12, length)).astype(np.uint8)
    shares = (0.5, 0.8)
    found = half_maximum_windows(model, codes, shares, batch=5)
    x = one_hot(torch.from_numpy(codes))
    with torch.no_grad():
        maps = model.head(x).numpy()
    bases = x.numpy()
    kernel = int(model.first_convolution.kernel_size[0])
    for i, share in enumerate(shares):
        for j in range(maps.shape[1]):
            counts, sites = np.zeros((4, 20)), 0
            for n, p in zip(*np.nonzero(maps[:, j] > share * maps[:, j].max()), strict=True):
                centre = p - model.offset + (kernel - 1) // 2
                if centre - 10 > 0 and centre + 10 < length:
                    counts += bases[n, :, centre - 10 : centre + 10]
                    sites += 1
            assert found.sites[i, j] == sites
            np.testing.assert_array_equal(found.counts[i, j], counts)
    assert found.sites[0].sum() > found.sites[1].sum() > 0


def test_sequences_of_another_length_are_refused() -> None:
    model = build_model({"architecture": "cnn_local"}, n_tasks=1, length=60, seed=1)
    with pytest.raises(ModelError, match=r"sequences of shape \(3, 50\) do not fit"):
        half_maximum_windows(model, np.zeros((3, 50), dtype=np.uint8))
