"""Mutagenesis and contributions of a predictor: against loops, tangermeme and what must add up."""

from __future__ import annotations

import dataclasses
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pyBigWig
import pytest
import torch
from genome_files import random_letters, write_bed
from genome_files import write_fasta as write_genome
from predictor_models import untrained

from tuner.errors import AttributionError, DataError, UsageError
from tuner.genome.genome import Genome
from tuner.genome.named import NamedGenome
from tuner.genome.sequence import ALPHABET, decode, encode, one_hot, reverse_complement
from tuner.interpret.averaged import references_for
from tuner.interpret.deep_shap import tangermeme_rules
from tuner.interpret.target import Target
from tuner.predictor import base_track
from tuner.predictor import ism as ism_module
from tuner.predictor.arrays import growing, write_archive
from tuner.predictor.explain import explained_module, write_explanations
from tuner.predictor.explained import Input, Positions
from tuner.predictor.ism import Deltas, write_ism
from tuner.predictor.predictor import Predictor

pytestmark = pytest.mark.slow

LENGTH = 40
SMALL = {"architecture": "hw4", "filters": 4, "kernel_size": 7}


def sequences(n: int, length: int = LENGTH, seed: int = 1) -> list[str]:
    return decode(np.random.default_rng(seed).integers(0, 4, (n, length)).astype(np.uint8))


@pytest.fixture(scope="module")
def mixed() -> Predictor:
    """Two networks for two tasks, the first of which reads both strands."""
    return untrained(SMALL, length=LENGTH, tasks=("first", "second"))


@pytest.fixture(scope="module")
def both() -> Predictor:
    """Two networks for one task that read both strands."""
    found = untrained(SMALL, length=LENGTH)
    members = tuple(dataclasses.replace(m, average_strands=True) for m in found.members)
    return dataclasses.replace(found, members=members)


# ------------------------------------------------------------------ mutagenesis


def by_module(predictor: Predictor, texts: list[str]) -> np.ndarray:
    with torch.no_grad():
        return predictor.module(one_hot(encode(texts))).numpy()


def test_mutagenesis_is_a_loop_over_strings(mixed: Predictor) -> None:
    texts = sequences(2)
    texts[1] = texts[1][:10] + "NN" + texts[1][12:]
    expected = np.zeros((2, 2, 4, LENGTH))
    for i, text in enumerate(texts):
        before = by_module(mixed, [text])[0]
        for at, own in enumerate(text):
            for row, base in enumerate(ALPHABET):
                if own not in ("N", base):
                    mutant = text[:at] + base + text[at + 1 :]
                    expected[i, :, row, at] = by_module(mixed, [mutant])[0] - before
    found = mixed.ism(texts)
    assert found.shape == expected.shape
    assert found.dtype == np.float32
    assert np.abs(expected).max() > 0.01
    assert found == pytest.approx(expected, abs=1e-5)
    assert not found[1, :, :, 10:12].any()
    assert np.array_equal(mixed.ism(encode(texts)), found)
    assert np.array_equal(mixed.ism(texts, task="second"), found[:, 1])
    assert mixed.ism([]).shape == (0, 2, 4, LENGTH)


def test_the_other_strand_has_the_same_effects_turned(both: Predictor) -> None:
    codes = encode(sequences(4))
    turned = reverse_complement(codes)
    assert both.ism(turned) == pytest.approx(both.ism(codes)[:, ::-1, ::-1], abs=1e-5)
    for hypothetical in (False, True):
        given, other = (both.attributions(x, references=4, hypothetical=hypothetical) for x in (codes, turned))
        assert np.abs(given).max() > 0.01
        assert other == pytest.approx(given[:, ::-1, ::-1], abs=1e-5)


def test_shorter_sequences_are_padded_and_of_longer_ones_the_best_window_is_taken(both: Predictor) -> None:
    short, long = sequences(1, 21)[0], sequences(1, 4 * LENGTH, seed=5)[0]
    found = both.ism([short, long])
    assert not found[0, :, :9].any()  # 19 columns are missing, 9 of them on the left
    assert not found[0, :, 30:].any()
    assert found[0, :, 9:30].any(axis=0).all()
    start = int(both.predict([long])["start"][0])
    assert found[1] == pytest.approx(both.ism(long[start : start + LENGTH])[0], abs=1e-6)
    best = both.attributions([long], references=2)
    assert best[0] == pytest.approx(both.attributions(long[start : start + LENGTH], references=2)[0], abs=1e-6)


def test_positions_are_those_of_the_sequence_and_choose_the_window(both: Predictor, tmp_path: Path) -> None:
    long = sequences(1, 4 * LENGTH, seed=5)[0]
    (tmp_path / "x.fa").write_text(f">long\n{long}\n>short\n{long[:130]}\n")
    source = Input(tmp_path / "x.fa", LENGTH)
    written = write_ism(both, source, tmp_path / "o", positions=Positions.parse("101-130", LENGTH))
    assert written == (2, 0, 2, 2 * 3 * 29)
    table = pd.read_csv(tmp_path / "o" / "ism.tsv", sep="\t")
    one = table[table["id"] == "long"]
    assert sorted(set(one["position"])) == list(range(101, 130))
    with np.load(tmp_path / "o" / "ism.npz") as kept:
        start = int(kept["starts"][0])
        assert start <= 101 < 130 <= start + LENGTH
        delta = kept["delta"][0, 0]
        assert not delta[:, : 101 - start].any()
    for row in one.iloc[::17].itertuples():
        assert row.ref == long[row.position]
        text = long[start : start + LENGTH]
        mutant = text[: row.position - start] + row.alt + text[row.position - start + 1 :]
        change = (by_module(both, [mutant]) - by_module(both, [text]))[0, 0]
        assert row.delta == pytest.approx(change, abs=1e-5)
        assert row.delta == pytest.approx(delta[ALPHABET.index(row.alt), row.position - start], rel=1e-5)


@pytest.mark.parametrize("text", ["5", "9-3", "4-4", "a-b", "-3-5", "1-2-3", ""])
def test_positions_that_are_no_range(text: str) -> None:
    with pytest.raises(UsageError, match="expected START-END"):
        Positions.parse(text, LENGTH)


def test_positions_that_do_not_fit(both: Predictor, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="41 bases; the model reads 40 at once"):
        Positions.parse("0-41", LENGTH)
    (tmp_path / "x.fa").write_text(">one\nACGTACGT\n")
    with pytest.raises(DataError, match="one has 8 bases; positions 3-9 are not in it"):
        write_ism(both, Input(tmp_path / "x.fa", LENGTH), tmp_path / "o", positions=Positions(3, 9))
    assert [p.name for p in tmp_path.iterdir()] == ["x.fa"]


def test_the_spread_is_that_of_the_networks(mixed: Predictor, tmp_path: Path) -> None:
    (tmp_path / "x.fa").write_text(f">one\n{sequences(1)[0]}\n")
    write_ism(mixed, Input(tmp_path / "x.fa", LENGTH), tmp_path / "o", task="second", logos=0)
    alone = [dataclasses.replace(mixed, members=(m,)).ism(sequences(1), task="second") for m in mixed.members]
    with np.load(tmp_path / "o" / "ism.npz") as kept:
        assert kept["delta"][:, 0] == pytest.approx(np.mean(alone, axis=0), abs=1e-6)
        assert kept["sd"][:, 0] == pytest.approx(np.std(alone, axis=0, ddof=1), abs=1e-6)
        assert kept["tasks"].tolist() == ["second"]
        assert np.array_equal(kept["sequences"], one_hot(encode(sequences(1))).numpy())
    single = dataclasses.replace(mixed, members=mixed.members[:1])
    write_ism(single, Input(tmp_path / "x.fa", LENGTH), tmp_path / "p", logos=0)
    table = pd.read_csv(tmp_path / "p" / "ism.tsv", sep="\t")
    assert table.columns.tolist()[4:] == ["delta_first", "sd_first", "delta_second", "sd_second"]
    assert table["sd_first"].isna().all()
    assert sorted(p.name for p in (tmp_path / "p").iterdir()) == ["ism.npz", "ism.tsv"]


def test_mutagenesis_of_many_sequences_takes_bounded_memory(
    both: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The networks would take minutes; what is kept of their output is measured.
    def constant(members: object, codes: np.ndarray, where: np.ndarray, tasks: list[int], device: str) -> Deltas:
        return Deltas(*np.ones((2, len(codes), len(tasks), 4, codes.shape[1]), dtype=np.float32))

    monkeypatch.setattr(ism_module, "mutate", constant)
    peaks = []
    for n in (2_000, 10_000):
        (tmp_path / "x.fa").write_text("".join(f">s{i}\n{text}\n" for i, text in enumerate(sequences(n))))
        tracemalloc.start()
        try:
            source = Input(tmp_path / "x.fa", LENGTH)
            write_ism(both, source, tmp_path / f"{n}", positions=Positions(0, 1), logos=0)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    kept = 8_000 * 2 * 4 * LENGTH * 4  # bytes of the additional effects and their spreads
    assert peaks[1] - peaks[0] < kept / 5
    with np.load(tmp_path / "10000" / "ism.npz") as stored:
        assert stored["delta"].shape == (10_000, 1, 4, LENGTH)


# ------------------------------------------------------------------ contributions


def test_contributions_add_up_and_are_those_of_tangermeme(mixed: Predictor) -> None:
    from tangermeme.deep_lift_shap import deep_lift_shap

    codes = encode(sequences(5))
    module = explained_module(mixed)
    references = references_for(module, codes, 3, seed=4)
    for task, name in enumerate(mixed.tasks):
        found = mixed.attributions(codes, task=name, references=3, seed=4)
        shares = mixed.attributions(codes, task=name, references=3, seed=4, hypothetical=True)
        target = Target(mixed.module, task=task, dtype=torch.float64)
        for values, hypothetical in ((found, False), (shares, True)):
            theirs = deep_lift_shap(
                target, one_hot(codes, torch.int8),
                references=one_hot(references.reshape(-1, LENGTH), torch.int8).reshape(5, 3, 4, LENGTH),
                hypothetical=hypothetical, additional_nonlinear_ops=tangermeme_rules(target), dtype=torch.float64,
                device="cpu",
            ).numpy()  # fmt: skip
            assert np.abs(theirs).max() > 0.01
            assert values == pytest.approx(theirs, abs=1e-4 * np.abs(theirs).max())
        logits = by_module(mixed, decode(codes))[:, task]
        origin = by_module(mixed, decode(references.reshape(-1, LENGTH)))[:, task].reshape(5, 3).mean(axis=1)
        assert found.sum(axis=(1, 2)) == pytest.approx(logits - origin, abs=1e-5)
    whole = mixed.attributions(codes, references=3, seed=4)
    assert whole.shape == (5, 2, 4, LENGTH)
    assert np.array_equal(whole[:, 1], found)


def test_methods_are_found_by_their_names(both: Predictor) -> None:
    texts = sequences(2)
    expected = both.attributions(texts, references=2)
    assert np.array_equal(both.attributions(texts, method="deepshap", references=2), expected)
    assert both.attributions(texts, method="saliency").shape == (2, 4, LENGTH)
    norm = np.sqrt((both.ism(texts) ** 2).sum(axis=1))
    mutagenesis = both.attributions(texts, method="mutagenesis")
    assert mutagenesis.sum(axis=1) == pytest.approx(norm, abs=1e-5)
    with pytest.raises(UsageError, match="unknown attribution method 'deep_shp'; did you mean 'deep_shap'"):
        both.attributions(texts, method="deep_shp")
    with pytest.raises(AttributionError, match="saliency has no hypothetical contributions"):
        both.attributions(texts, method="saliency", hypothetical=True)
    with pytest.raises(UsageError, match="unknown task 'bund'; did you mean 'bound'"):
        both.attributions(texts, task="bund")


def test_the_table_says_what_is_missing_and_how_well_networks_agree(mixed: Predictor, tmp_path: Path) -> None:
    texts = sequences(3)
    (tmp_path / "x.fa").write_text("".join(f">s{i}\n{text}\n" for i, text in enumerate(texts)))
    told = write_explanations(mixed, Input(tmp_path / "x.fa", LENGTH), tmp_path / "o", task="first", references=3)
    table = pd.read_csv(tmp_path / "o" / "contributions.tsv", sep="\t")
    codes = encode(texts)
    origin = references_for(explained_module(mixed), codes, 3)
    logits = by_module(mixed, texts)[:, 0]
    others = by_module(mixed, decode(origin.reshape(-1, LENGTH)))[:, 0].reshape(3, 3).mean(axis=1)
    assert table["logit"].to_numpy() == pytest.approx(logits, abs=1e-5)
    assert table["references_logit"].to_numpy() == pytest.approx(others, abs=1e-5)
    assert table["sum"].to_numpy() == pytest.approx(logits - others, abs=1e-5)
    assert table["missing"].abs().max() < 1e-5
    assert told.missing is not None
    assert told.missing < 1e-4
    alone = [
        dataclasses.replace(mixed, members=(m,)).attributions(texts, task="first", references=3) for m in mixed.members
    ]
    expected = [np.corrcoef(a.sum(axis=0), b.sum(axis=0))[0, 1] for a, b in zip(*alone, strict=True)]
    assert table["consensus"].to_numpy() == pytest.approx(expected, abs=1e-4)
    assert told.consensus == pytest.approx(np.median(expected), abs=1e-4)


def test_a_method_without_completeness_writes_no_files_for_modisco(both: Predictor, tmp_path: Path) -> None:
    (tmp_path / "x.fa").write_text(f">one\n{sequences(1)[0]}\n")
    told = write_explanations(both, Input(tmp_path / "x.fa", LENGTH), tmp_path / "o", method="saliency", logos=0)
    assert told.missing is None
    assert sorted(p.name for p in (tmp_path / "o").iterdir()) == ["contributions.npz", "contributions.tsv"]
    table = pd.read_csv(tmp_path / "o" / "contributions.tsv", sep="\t")
    assert table[["references_logit", "missing"]].isna().all(axis=None)
    with np.load(tmp_path / "o" / "contributions.npz") as kept:
        assert set(kept) == {"sequences", "contributions", "effects", "starts", "ids", "task", "method"}


def test_several_tasks_need_a_name(mixed: Predictor, tmp_path: Path) -> None:
    (tmp_path / "x.fa").write_text(f">one\n{sequences(1)[0]}\n")
    with pytest.raises(UsageError, match="2 tasks; name one with --task: first, second"):
        write_explanations(mixed, Input(tmp_path / "x.fa", LENGTH), tmp_path / "o")


# ------------------------------------------------------------------ intervals and tracks


@pytest.fixture
def genome(tmp_path: Path) -> NamedGenome:
    records = {"I": random_letters(500, 1), "II": random_letters(200, 2)}
    return NamedGenome(Genome(write_genome(tmp_path / "g.fa", records), cache=tmp_path / "cache"))


ROWS = [
    ("chrII", 90, 110),
    ("chrI", 100, 120),
    ("chrI", 110, 131),
    ("chrI", 3, 5),
    ("chrI", 495, 499),
    ("chrI", 300, 301),
]


def test_overlapping_windows_are_averaged_in_a_track(both: Predictor, genome: NamedGenome, tmp_path: Path) -> None:
    write_bed(tmp_path / "x.bed", ROWS)
    source = Input(tmp_path / "x.bed", LENGTH, genome)
    write_explanations(both, source, tmp_path / "o", references=2, track=True)
    sizes = {"chrI": 500, "chrII": 200}
    total = {name: np.zeros(size) for name, size in sizes.items()}
    depth = {name: np.zeros(size) for name, size in sizes.items()}
    with np.load(tmp_path / "o" / "contributions.npz") as kept:
        scores, starts = kept["contributions"].sum(axis=1), kept["starts"]
        assert kept["chroms"].tolist() == [row[0] for row in ROWS]
        assert kept["ids"][0] == "chrII:80-120"
    for (chrom, start, end), first, values in zip(ROWS, starts, scores, strict=True):
        assert first == (start + end) // 2 - LENGTH // 2
        for i, value in enumerate(values):
            if 0 <= first + i < sizes[chrom]:
                total[chrom][first + i] += value
                depth[chrom][first + i] += 1
    assert depth["chrI"].max() == 2
    with pyBigWig.open(str(tmp_path / "o" / "contributions.bw")) as track:
        assert track.chroms() == sizes
        for chrom, size in sizes.items():
            read = np.array(track.values(chrom, 0, size))
            with np.errstate(invalid="ignore"):
                assert read == pytest.approx(total[chrom] / depth[chrom], abs=1e-6, nan_ok=True)


def test_intervals_are_read_around_their_summits(both: Predictor, genome: NamedGenome, tmp_path: Path) -> None:
    write_bed(tmp_path / "x.narrowPeak", [("I", 100, 200, "p", 9, ".", 5.0, 3.0, 2.0, 13)])
    source = Input(tmp_path / "x.narrowPeak", LENGTH, genome)
    (record,) = source.records()
    assert (record.id, record.chrom, record.start) == ("I:93-133", "I", 93)
    assert np.array_equal(record.codes, genome.genome.codes("I", 93, 133))
    write_ism(both, source, tmp_path / "o")
    table = pd.read_csv(tmp_path / "o" / "ism.tsv", sep="\t")
    assert table.columns.tolist() == ["id", "chrom", "position", "ref", "alt", "delta", "sd"]
    letters = [chr(genome.genome.letters("I", at, at + 1)[0]) for at in table["position"]]
    assert table["ref"].tolist() == letters


def test_intervals_that_are_not_on_the_genome(genome: NamedGenome, tmp_path: Path) -> None:
    write_bed(tmp_path / "other.bed", [("chrX", 1, 2)])
    with pytest.raises(DataError, match=r"none of its chromosomes is in g\.fa: it has chrX, .*--aliases"):
        Input(tmp_path / "other.bed", LENGTH, genome)
    write_bed(tmp_path / "some.bed", [("chrX", 1, 2), ("I", 5, 9)])
    some = Input(tmp_path / "some.bed", LENGTH, genome)
    assert some.total == 1
    assert "1 of 2 intervals are left out: g.fa has no chrX" in some.notes[-1]
    write_bed(tmp_path / "past.bed", [("I", 5, 9), ("I", 600, 610)])
    with pytest.raises(DataError, match=r"line 2: I:600-610 lies past the end of I in g\.fa \(500 bp\)"):
        Input(tmp_path / "past.bed", LENGTH, genome)
    (tmp_path / "x.fa").write_text(">one\nACGT\n")
    with pytest.raises(UsageError, match="it is FASTA, which needs no --genome"):
        Input(tmp_path / "x.fa", LENGTH, genome)


def test_a_track_needs_its_package_and_a_genome(
    both: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.fa").write_text(f">one\n{sequences(1)[0]}\n")
    source = Input(tmp_path / "x.fa", LENGTH)
    with pytest.raises(UsageError, match="give intervals and --genome"):
        write_explanations(both, source, tmp_path / "o", track=True)
    monkeypatch.setattr(base_track, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'tuner-tfbs\[genome\]'"):
        write_explanations(both, source, tmp_path / "o", track=True)
    assert not (tmp_path / "o").exists()


def test_an_archive_is_what_numpy_reads(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(7, 4, 3)).astype(np.float32)
    with growing(tmp_path, {"a": ((4, 3), np.float32), "none": ((2,), np.int8)}) as rows:
        rows["a"].add(values[:5])
        assert np.array_equal(rows["a"].mapped(), values[:5])
        rows["a"].add(values[5:])
        write_archive(tmp_path / "x.npz", {**rows, "words": np.array(["x", "ünï"])})
        write_archive(tmp_path / "y.npz", {**rows, "words": np.array(["x", "ünï"])})
    with np.load(tmp_path / "x.npz", allow_pickle=False) as kept:
        assert np.array_equal(kept["a"], values)
        assert kept["none"].shape == (0, 2)
        assert kept["words"].tolist() == ["x", "ünï"]
    assert (tmp_path / "x.npz").read_bytes() == (tmp_path / "y.npz").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.npz", "y.npz"]
