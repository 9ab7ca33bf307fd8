"""Simulators: the published data sets bit for bit, and what the others promise."""

from __future__ import annotations

import hashlib
from functools import partial

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tuner.data.dataset import SPLITS, check
from tuner.data.hdf5 import koo_hdf5, write_koo_hdf5
from tuner.data.simulate import SIMULATORS, parse_settings
from tuner.data.simulate import simulate as run_simulator
from tuner.data.simulate_koo import corrected_background, task1, task3, task3_corrected
from tuner.data.simulate_synthetic import SYNTHETIC_MOTIFS, synthetic
from tuner.data.simulate_teaching import foxo1, hw4_interaction, hw4_multi, hw4_noise_60, hw4_noise_80, hw4_single
from tuner.errors import DataError, MotifError, UsageError
from tuner.genome.sequence import cpg, decode, gc_content
from tuner.motifs.database import load_database

pytestmark = pytest.mark.slow


def digests(dataset) -> list[tuple[str, str]]:
    """SHA-256 of bases and labels per split, 16 digits, as stated for the published generators."""
    return [
        tuple(
            hashlib.sha256(array.tobytes()).hexdigest()[:16]
            for array in (dataset.splits[split].codes, dataset.splits[split].labels)
        )
        for split in SPLITS
    ]


def test_task1_is_the_published_data_set():
    dataset = task1()
    assert digests(dataset) == [
        ("e3243d5dbf5e99a7", "6c8a9bd4dd90496d"),
        ("fad2e0d8f5445c83", "e3dd60d79042f8cb"),
        ("1f43b5bd6975997c", "5defda8b96aed1b5"),
    ]
    sums = [3128, 3093, 3127, 3081, 3059, 3088, 2965, 3062, 3078, 3020, 3061, 3034]
    assert dataset.train.labels.sum(axis=0).tolist() == sums
    assert dataset.train.labels.sum() / 21_000 == pytest.approx(1.7522, abs=5e-5)
    # Positions with more than .01 bit: 10.9 % of all, as measured on the published generator.
    p = dataset.test.truth.astype(float)
    information = 2 + (p * np.log2(p + 1e-7)).sum(axis=1)
    assert (information > 0.01).mean() == pytest.approx(0.109, abs=2e-3)


def test_task3_is_the_published_data_set():
    dataset = task3()
    assert digests(dataset) == [
        ("2bac264dd5a934d4", "762f9c1f8727c168"),
        ("97e72aae42f0f132", "e09a2a40f3eda908"),
        ("e1e4cdff4b0f4252", "88ba27216d1f65be"),
    ]
    assert [int(dataset.splits[s].labels.sum()) for s in SPLITS] == [7012, 1015, 1973]
    p = dataset.test.truth[:500].astype(float)
    information = 2 + (p * np.log2(p + 1e-7)).sum(axis=1)
    assert (information > 0.01).mean() == pytest.approx(0.21, abs=0.01)


def test_the_corrected_background_holds_no_motif_like_the_planted_ones():
    motifs = load_database("JASPAR2016", screen=False).motifs
    chosen = np.random.RandomState(22).permutation(len(motifs))[:65].tolist()
    names = {motifs[i].name for i in corrected_background(chosen)}
    assert len(names) == 50
    # E-box, ETS, C/EBP and zinc-finger factors that stay in the published background, found by their names there.
    assert not names & {"CEBPG", "ETV3", "ETV5", "SPI1", "MLX", "MLXIPL", "Arnt", "BHLHE40", "HEY1", "ZIC3"}
    # The ten at the published positions of the list.
    assert not names & {motifs[chosen[i]].name for i in (4, 5, 12, 15, 17, 18, 20, 36, 42, 60)}
    dataset = task3_corrected()
    assert dataset.fingerprint != task3().fingerprint
    # The planted motifs are the same, so are the informative positions of positives (21 % there).
    p = dataset.test.truth[dataset.test.labels[:, 0] == 1].astype(float)
    assert ((2 + (p * np.log2(p + 1e-7)).sum(axis=1)) > 0.01).mean() == pytest.approx(0.21, abs=0.01)


def test_weaker_homework_sets_hold_the_motif_in_that_share_of_positives():
    # Share p of positives, and 9.0 % of the others by chance: p + .09 (1 - p).
    for dataset, expected in ((hw4_noise_80(), 0.818), (hw4_noise_60(), 0.636)):
        holds = np.array(["ACGTG" in text for text in decode(dataset.train.codes)])
        assert holds[dataset.train.labels[:, 0] == 1].mean() == pytest.approx(expected, abs=0.03)


def test_foxo1_of_hocomoco_is_twelve_bases_from_the_count_file(data_dir):
    dataset = run_simulator("foxo1_hocomoco", data_dir=data_dir)
    assert [len(dataset.splits[s]) for s in SPLITS] == [10_000] * 3
    positive = dataset.train.labels[:, 0] == 1
    centre = dataset.train.codes[positive][:, 44:56]
    # Rows of the file as printed there, of 500 sites: positions 5 (mostly T) and 6 (mostly G).
    assert (centre[:, 4] == 3).mean() == pytest.approx(484 / 500, abs=0.02)
    assert (centre[:, 5] == 2).mean() == pytest.approx(459 / 500, abs=0.02)
    outside = np.concatenate([dataset.train.codes[positive][:, :44], dataset.train.codes[positive][:, 56:]], axis=1)
    assert (outside == 3).mean() == pytest.approx(0.25, abs=0.01)


def test_a_simulator_whose_file_is_missing_says_where_to_put_it(tmp_path):
    with pytest.raises(DataError, match=r"foxo1_hocomoco needs motifs/HOCOMOCOv11_HUMAN.pfm.*TUNER_DATA_DIR is unset"):
        run_simulator("foxo1_hocomoco")
    with pytest.raises(DataError, match=f"there is no file {tmp_path}"):
        run_simulator("foxo1_hocomoco", data_dir=tmp_path)
    with pytest.raises(DataError, match="unknown simulator 'task4'"):
        run_simulator("task4")


def test_settings_given_as_text_take_the_type_of_their_default():
    assert parse_settings("hw4_single", ["motif_probability=0.8", "n=100"]) == {"motif_probability": 0.8, "n": 100}
    assert parse_settings("foxo1", ["motif=MA0480.1"]) == {"motif": "MA0480.1"}
    for texts, message in (
        (["n"], "'n': expected PARAMETER=VALUE with one of seed, n, motif_probability"),
        (["motif_prob=1"], "unknown parameter 'motif_prob'; did you mean 'motif_probability'"),
        (["n=many"], "n = 'many' must be int, like 8000"),
    ):
        with pytest.raises(UsageError, match=message):
            parse_settings("hw4_single", texts)


SMALL = {
    "task1": {"n": 200},
    "task3": {"n": 200},
    "synthetic": {"sizes": (60, 20, 20)},
    "hw4_single": {"n": 200},
    "hw4_multi": {"n": 200},
    "hw4_interaction": {"n": 200},
    "foxo1": {"n": 600},
    "foxo1_hocomoco": {"n": 600},
    "task3_corrected": {"n": 200},
    "hw4_noise_80": {"n": 200},
    "hw4_noise_60": {"n": 200},
}


@pytest.mark.parametrize("name", SIMULATORS)
def test_every_simulator_keeps_its_contract(name, tmp_path, request):
    folder = request.getfixturevalue("data_dir") if SIMULATORS[name].file else None
    simulate = partial(run_simulator, name, data_dir=folder)
    dataset = simulate(**SMALL[name])
    check(dataset)
    assert dataset.name == name
    assert dataset.source.startswith(f"simulate {name} seed=")
    assert simulate(**SMALL[name]).fingerprint == dataset.fingerprint
    assert simulate(seed=123, **SMALL[name]).fingerprint != dataset.fingerprint
    for split in dataset.splits.values():
        assert np.allclose(split.truth.sum(axis=1), 1)
        # No base was drawn that its matrix makes impossible.
        drawn = np.take_along_axis(split.truth, split.codes[:, None, :].astype(int), axis=1)
        assert drawn.min() > 0
    back = koo_hdf5(write_koo_hdf5(dataset, tmp_path / "made.h5"))
    assert back.fingerprint == dataset.fingerprint
    assert np.array_equal(back.train.truth, dataset.train.truth)


def test_synthetic_gives_composition_no_chance_and_plants_named_motifs():
    dataset = synthetic()
    assert [len(dataset.splits[s]) for s in SPLITS] == [3000, 400, 800]
    assert [dataset.splits[s].labels.mean() for s in SPLITS] == [0.5] * 3
    labels = dataset.train.labels[:, 0]
    for measure in (gc_content, cpg):
        assert roc_auc_score(labels, measure(dataset.train.codes)) == pytest.approx(0.5, abs=0.03)
    database = load_database("JASPAR2026")  # screened: the targets of the study must count
    for motif, name in SYNTHETIC_MOTIFS.items():
        assert database.find(motif).name == name
        assert motif not in database.promiscuous
    # The planted matrices stand in the ground truth of positives, on either strand, and not of negatives.
    ctcf = database.find("MA0139.2").ppm.astype(np.float32)
    for strand in (ctcf, ctcf[::-1, ::-1]):
        windows = np.lib.stride_tricks.sliding_window_view(dataset.valid.truth, strand.shape[1], axis=2)
        planted = np.isclose(windows.transpose(0, 2, 1, 3), strand).all(axis=(2, 3)).any(axis=1)
        assert planted[dataset.valid.labels[:, 0] == 1].mean() > 0.1
        assert not planted[dataset.valid.labels[:, 0] == 0].any()


def test_a_larger_synthetic_training_set_leaves_the_other_splits():
    small, large = synthetic(sizes=(60, 20, 20)), synthetic(sizes=(80, 20, 20))
    assert np.array_equal(small.valid.codes, large.valid.codes)
    assert np.array_equal(small.test.codes, large.test.codes)


def test_the_single_motif_is_in_every_positive_and_in_negatives_by_chance():
    dataset = hw4_single()
    assert [len(dataset.splits[s]) for s in SPLITS] == [5600, 800, 1600]
    holds = np.array(["ACGTG" in text for text in decode(dataset.train.codes)])
    positive = dataset.train.labels[:, 0] == 1
    assert holds[positive].all()
    # 1 - exp(-97 / 1024) = .090 by chance; SD of 2800 draws .0054
    assert holds[~positive].mean() == pytest.approx(0.090, abs=0.02)
    rare = hw4_single(motif_probability=0.25)
    holds = np.array(["ACGTG" in text for text in decode(rare.train.codes)])
    # .25 + .75 x .090
    assert holds[rare.train.labels[:, 0] == 1].mean() == pytest.approx(0.3175, abs=0.03)


def test_multi_motif_positives_hold_either_or_both():
    dataset = hw4_multi()
    texts = np.array(decode(dataset.train.codes))[dataset.train.labels[:, 0] == 1]
    a = np.array(["ACGTG" in t for t in texts])
    b = np.array(["TGCAT" in t for t in texts])
    # Overlaps overwrite: A in .5 + .25 of positives and by chance, less those that B overwrote.
    assert a.mean() == pytest.approx(0.75, abs=0.05)
    assert b.mean() == pytest.approx(0.75, abs=0.05)
    assert (a | b).all()


def test_interacting_motifs_stand_10_to_25_apart():
    dataset = hw4_interaction()

    def near(text: str) -> bool:
        return any(
            text.startswith("ACGTG", i) and text.startswith("TGCAT", i + 5 + gap)
            for i in range(len(text))
            for gap in range(10, 26)
        )

    close = np.array([near(text) for text in decode(dataset.test.codes)])
    positive = dataset.test.labels[:, 0] == 1
    assert close[positive].all()
    # Negatives hold 1 of the 2 motifs on average, which meets the other in one of 16 places: 16 / 1024.
    assert close[~positive].mean() == pytest.approx(0.0156, abs=0.015)


def test_foxo1_stands_in_the_centre_of_positives(data_dir):
    dataset = foxo1()
    assert [len(dataset.splits[s]) for s in SPLITS] == [10_000] * 3
    ppm = load_database("JASPAR2026", screen=False).find("MA0480.3").ppm
    positive = dataset.train.labels[:, 0] == 1
    start = (100 - ppm.shape[1]) // 2
    centre = dataset.train.codes[positive][:, start : start + ppm.shape[1]]
    frequency = np.stack([(centre == base).mean(axis=0) for base in range(4)])
    assert frequency == pytest.approx(ppm, abs=0.03)  # 5000 draws: SD at most .0071
    other = foxo1(database=str(data_dir / "motifs" / "H13CORE.meme"), motif="FOXO1.H13CORE.0.PS.A")
    assert other.fingerprint != dataset.fingerprint


def test_wrong_sizes_and_unknown_motifs_are_refused():
    with pytest.raises(DataError, match="n = 7; expected an even number of sequences, 20 or more"):
        task1(n=7)
    with pytest.raises(DataError, match=r"sizes = \(10, 0, 5\)"):
        synthetic(sizes=(10, 0, 5))
    with pytest.raises(DataError, match="motif_probability = 2; expected a number from 0 to 1"):
        hw4_single(motif_probability=2)
    with pytest.raises(MotifError, match=r"MA0480\.1"):
        foxo1(motif="MA0480.1")
