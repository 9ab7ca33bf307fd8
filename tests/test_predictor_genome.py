"""Intervals and scans of a genome against predictions of sequences cut out by hand; tracks by a second reader."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pyBigWig
import pyfaidx
import pytest
from predictor_models import untrained

from tuner.errors import DataError, UsageError
from tuner.genome.genome import Genome
from tuner.genome.named import NamedGenome
from tuner.predictor.hits import scan
from tuner.predictor.intervals import write_intervals
from tuner.predictor.predictor import Predictor
from tuner.predictor.scan import Scores, spans_of, starts_in, threshold_of

LENGTH = 60


@pytest.fixture(scope="module")
def genome(tmp_path_factory: pytest.TempPathFactory) -> Genome:
    """Three chromosomes and one that is shorter than a window; a stretch of N."""
    rng = np.random.default_rng(1)
    path = tmp_path_factory.mktemp("genome") / "g.fa"
    lines = []
    for name, size in (("II", 5003), ("I", 3000), ("X", 1500), ("small", 40)):
        text = "".join(rng.choice(list("ACGT"), size))
        lines.append(f">{name}\n{text if name != 'X' else text[:500] + 'N' * 300 + text[800:]}\n")
    path.write_text("".join(lines))
    return Genome(path)


@pytest.fixture(scope="module")
def fasta(genome: Genome) -> pyfaidx.Fasta:
    return pyfaidx.Fasta(str(genome.path))


def cut(fasta: pyfaidx.Fasta, chrom: str, start: int, end: int) -> str:
    """Bases of an interval, with N past the ends of its chromosome."""
    whole = str(fasta[chrom])
    return "N" * max(-start, 0) + whole[max(start, 0) : end] + "N" * max(end - len(whole), 0)


# ------------------------------------------------------------------ intervals


def test_intervals_are_scored_as_their_sequences(
    predictor: Predictor, genome: Genome, fasta: pyfaidx.Fasta, tmp_path: Path
) -> None:
    rows = [
        ("chr1", 100, 160),
        ("chr1", 10, 20),
        ("chr2", 500, 800),
        ("I", 2990, 3000),
        ("chrX", 0, 61),
        ("chr1", 7, 7),
    ]
    rows += [("chr2", 40 * i, 40 * i + 30 + i) for i in range(60)]
    bed = tmp_path / "x.bed"
    bed.write_text("".join(f"{c}\t{a}\t{b}\n" for c, a, b in rows))
    table = predictor.predict_bed(bed, genome)
    names = {"chr1": "I", "chr2": "II", "I": "I", "chrX": "X"}
    texts = []
    for chrom, start, end in rows:
        if end - start < LENGTH:  # extended around its middle with the genome's own bases
            start = (start + end) // 2 - LENGTH // 2
            end = start + LENGTH
        texts.append(cut(fasta, names[chrom], start, end))
    lows = [start if end - start >= LENGTH else (start + end) // 2 - LENGTH // 2 for _, start, end in rows]
    expected = predictor.predict(texts)
    assert table["window_start"].tolist() == (expected["start"] + lows).tolist()
    expected = expected.drop(columns="start")
    pd.testing.assert_frame_equal(table[expected.columns.tolist()], expected, check_dtype=False)
    assert table["id"].tolist()[:2] == ["chr1:100-160(.)", "chr1:10-20(.)"]
    assert table["windows"].max() > 1
    assert (table["status"] == "scored").all()


def test_summits_give_one_window_each(
    predictor: Predictor, genome: Genome, fasta: pyfaidx.Fasta, tmp_path: Path
) -> None:
    peaks = tmp_path / "x.narrowPeak"
    lines = [("chr1", 100, 400, 250), ("chr2", 1000, 1100, 10), ("chr2", 30, 90, 1)]
    peaks.write_text("".join(f"{c}\t{a}\t{b}\tp\t100\t+\t5.0\t3.0\t2.0\t{s}\n" for c, a, b, s in lines))
    table = predictor.predict_bed(peaks, genome)
    centres = [a + s for _, a, _, s in lines]
    texts = [
        cut(fasta, {"chr1": "I", "chr2": "II"}[line[0]], c - 30, c + 30) for line, c in zip(lines, centres, strict=True)
    ]
    np.testing.assert_allclose(table["logit"], predictor.predict(texts)["logit"])
    assert table["windows"].tolist() == [1, 1, 1]
    whole = predictor.predict_bed(peaks, genome, around="interval")
    assert whole["windows"].tolist()[0] > 1
    with pytest.raises(UsageError, match="unknown value of around 'summits'"):
        predictor.predict_bed(peaks, genome, around="summits")


def test_strands_are_read_as_the_model_reads_them(genome: Genome, fasta: pyfaidx.Fasta, tmp_path: Path) -> None:
    """A model of one strand reads intervals of the reverse strand from their other end; starts stay positions."""
    one = untrained({"architecture": "hw4"}, length=LENGTH)
    members = tuple(type(m)(m.name, m.network, m.hyperparameters, average_strands=False) for m in one.members)
    single = type(one)(members, one.tasks, one.length, one.calibration, one.references)
    bed = tmp_path / "x.bed"
    bed.write_text("I\t200\t350\ta\t0\t+\nI\t200\t350\tb\t0\t-\n")
    table = single.predict_bed(bed, genome, stride=10)
    text = cut(fasta, "I", 200, 350)
    reverse = text[::-1].translate(str.maketrans("ACGT", "TGCA"))
    expected = single.predict([text, reverse], stride=10)
    np.testing.assert_allclose(table["logit"], expected["logit"])
    assert table["window_start"].tolist() == [200 + expected["start"][0], 350 - LENGTH - expected["start"][1]]


def test_nothing_is_dropped_and_tracks_say_the_same(
    predictor: Predictor, genome: Genome, fasta: pyfaidx.Fasta, tmp_path: Path
) -> None:
    rows = [("chr2", 50 * i, 50 * i + 60) for i in range(90)] + [("chr9", 5, 65), ("chr1", 3100, 3200), ("chr1", 9, 69)]
    bed = tmp_path / "x.bed"
    bed.write_text("".join(f"{c}\t{a}\t{b}\n" for c, a, b in rows))
    named = NamedGenome(genome)
    written = write_intervals(
        predictor, bed, named, tmp_path / "o.tsv", bigwig=tmp_path / "o.bw", bed=tmp_path / "o.bed"
    )
    assert written.unscored == {"chromosome not in the genome": 1, "past the end of the chromosome": 1}
    table = pd.read_csv(tmp_path / "o.tsv", sep="\t")
    assert len(table) == len(rows)
    assert table["logit"].isna().tolist() == [c == "chr9" or (c == "chr1" and a > 3000) for c, a, _ in rows]
    scored = table.dropna(subset="logit")
    with pyBigWig.open(str(tmp_path / "o.bw")) as track:
        assert track.chroms() == {"chr1": 3000, "chr2": 5003}
        for chrom in ("chr1", "chr2"):
            part = scored[scored["chrom"] == chrom]
            for at in range(0, genome.sizes[{"chr1": "I", "chr2": "II"}[chrom]], 7):
                covering = part[(part["start"] <= at) & (part["end"] > at)]
                [value] = track.values(chrom, at, at + 1)
                if len(covering):
                    assert value == pytest.approx(covering["logit"].max(), abs=1e-4)
                else:
                    assert math.isnan(value)
    lines = [line.split("\t") for line in (tmp_path / "o.bed").read_text().splitlines()]
    assert [(c, int(a)) for c, a, *_ in lines] == sorted((c, int(a)) for c, a, *_ in lines)
    assert len(lines) == len(scored)
    assert all(0 <= int(line[4]) <= 1000 for line in lines)


def test_a_file_without_a_score_has_a_table_and_no_track(predictor: Predictor, genome: Genome, tmp_path: Path) -> None:
    bed = tmp_path / "x.bed"
    bed.write_text("chr1\t3100\t3200\n")
    written = write_intervals(predictor, bed, NamedGenome(genome), tmp_path / "o.tsv", bigwig=tmp_path / "o.bw")
    assert written.unscored == {"past the end of the chromosome": 1}
    assert "no interval has a score" in written.notes[-1]
    assert len(pd.read_csv(tmp_path / "o.tsv", sep="\t")) == 1
    assert not (tmp_path / "o.bw").exists()


def test_a_file_of_another_genome_is_an_error(predictor: Predictor, genome: Genome, tmp_path: Path) -> None:
    bed = tmp_path / "x.bed"
    bed.write_text("chr7\t5\t65\nchr8\t5\t65\nchr1\t5\t65\n")
    with pytest.raises(DataError, match=r"only 1 of 3 intervals lie on chromosomes of g\.fa.*chr7, chr8.*II, I, X"):
        predictor.predict_bed(bed, genome)


# ------------------------------------------------------------------ scans


def test_every_window_has_the_score_of_its_sequence(
    predictor: Predictor, genome: Genome, fasta: pyfaidx.Fasta, tmp_path: Path
) -> None:
    hits = predictor.scan(genome, stride=20, fpr=0.05, bigwig=tmp_path / "s.bw", bed=tmp_path / "h.bed")
    with pyBigWig.open(str(tmp_path / "s.bw")) as track:
        assert track.chroms() == {name: size for name, size in genome.sizes.items() if name != "small"}
        for chrom in ("I", "II", "X"):
            starts = range(0, genome.sizes[chrom] - LENGTH + 1, 20)
            texts = [cut(fasta, chrom, start, start + LENGTH) for start in starts]
            expected = predictor.predict(texts)["logit"]
            steps = {start - 20: (end, value) for start, end, value in track.intervals(chrom)}
            for start, text, logit in zip(starts, texts, expected, strict=True):
                if text.count("N") > 6:
                    assert start not in steps, "windows with more than a tenth of N are empty"
                else:
                    end, value = steps[start]
                    assert (end, value) == (start + 40, pytest.approx(logit, abs=1e-5))
    # Hits by hand: windows at or above the threshold, merged where they overlap or touch.
    limit = hits.attrs["logit"]
    found = []
    for chrom in ("II", "I", "X"):  # the order of the genome
        starts = list(range(0, genome.sizes[chrom] - LENGTH + 1, 20))
        texts = [cut(fasta, chrom, start, start + LENGTH) for start in starts]
        logits = predictor.predict(texts)["logit"]
        for start, text, logit in zip(starts, texts, logits, strict=True):
            if logit >= limit - 1e-6 and text.count("N") <= 6:
                if found and found[-1][0] == chrom and start <= found[-1][2]:
                    found[-1][2:] = [start + LENGTH, max(found[-1][3], logit)]
                else:
                    found.append([chrom, start, start + LENGTH, logit])
    assert len(found) > 5
    assert hits[["chrom", "start", "end"]].to_numpy().tolist() == [row[:3] for row in found]
    np.testing.assert_allclose(hits["logit"], [row[3] for row in found], atol=1e-5)
    lines = (tmp_path / "h.bed").read_text().splitlines()
    assert [line.split("\t")[:3] for line in lines] == [[c, str(a), str(b)] for c, a, b, _ in found]
    assert not list(tmp_path.glob(".*")), "no folder stays"


def test_the_rate_is_that_of_shuffled_windows(predictor: Predictor, genome: Genome) -> None:
    """A second set of shuffled windows reaches the threshold as often (standard error .0007 of .01, twice)."""
    spans = spans_of(NamedGenome(genome), LENGTH)
    limit = threshold_of(predictor, genome, spans, 0.01, task=0, device="cpu", seed=0)
    other = threshold_of(predictor, genome, spans, 0.01, task=0, device="cpu", seed=7)
    assert len(limit.null) == 10_000
    assert limit.rate == pytest.approx(0.01, abs=1e-4)
    assert (other.null >= limit.logit).mean() == pytest.approx(0.01, abs=0.004)
    assert limit.chance(math.inf) == 1 / 10_001
    assert limit.chance(-math.inf) == 1
    with pytest.raises(UsageError, match="a false-positive rate of 1e-06"):
        threshold_of(predictor, genome, spans, 1e-6, task=0, device="cpu")


def test_regions_are_extended_and_merged(genome: Genome, tmp_path: Path) -> None:
    bed = tmp_path / "r.bed"
    bed.write_text("chr2\t1000\t1010\nchr2\t4990\t5003\nchr1\t100\t300\nchr1\t250\t400\nsmall\t0\t40\n")
    named = NamedGenome(genome)
    spans = spans_of(named, LENGTH, bed)
    assert [tuple(span) for span in spans] == [("II", 975, 1035), ("II", 4943, 5003), ("I", 100, 400)]
    assert starts_in(spans[2], LENGTH, 25).tolist() == list(range(100, 341, 25))
    for text, words in (
        ("chr9\t5\t65\n", "has no such chromosome"),
        ("chr1\t2950\t3001\n", "reaches past the end of I, which has 3,000 bp"),
        ("small\t0\t40\n", "no region lies on a chromosome of at least 60 bp"), ("# none\n", "no peaks"),
    ):  # fmt: skip
        bed.write_text(text)
        with pytest.raises(DataError, match=words):
            spans_of(named, LENGTH, bed)


def test_an_interrupted_scan_goes_on_where_it_stopped(
    predictor: Predictor, genome: Genome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = NamedGenome(genome)
    whole = scan(predictor, named, rate=0.05, bigwig=tmp_path / "a.bw", bed=tmp_path / "a.bed")

    class Stop(Exception):
        pass

    def until_second(done: int, total: int) -> None:
        if done > (5003 - LENGTH) // 25 + 10:
            raise Stop

    outputs = {"bigwig": tmp_path / "b.bw", "bed": tmp_path / "b.bed"}
    with pytest.raises(Stop):
        scan(predictor, named, rate=0.05, progress=until_second, **outputs)
    assert not (tmp_path / "b.bw").exists()
    folder = tmp_path / ".b.bw.scan"
    assert [file.name for file in folder.glob("*.npy")] == ["0.npy"]
    scanned = []
    own = Scores.of
    monkeypatch.setattr(Scores, "of", lambda self, i, step=None: scanned.append(i) or own(self, i, step))
    again = scan(predictor, named, rate=0.05, **outputs)
    assert again.resumed == 1
    assert not folder.exists()
    for one in ("bw", "bed"):
        assert (tmp_path / f"a.{one}").read_bytes() == (tmp_path / f"b.{one}").read_bytes()
    pd.testing.assert_frame_equal(again.hits, whole.hits)
    assert not again.anew
    # Other settings begin anew, and that is said.
    with pytest.raises(Stop):
        scan(predictor, named, rate=0.05, progress=until_second, **outputs)
    other = scan(predictor, named, rate=0.05, stride=30, **outputs)
    assert (other.resumed, other.anew) == (0, True)
    # What is refused leaves nothing behind.
    for wrong in ({"stride": 61}, {"rate": 0.9}):
        with pytest.raises(UsageError):
            scan(predictor, named, bed=tmp_path / "c.bed", **wrong)
    assert not list(tmp_path.glob(".*"))


def test_of_several_tasks_one_is_named(genome: Genome, tmp_path: Path) -> None:
    several = untrained({"architecture": "hw4"}, length=LENGTH, tasks=("a", "b"))
    with pytest.raises(UsageError, match="the model has 2 tasks; choose one: a, b"):
        several.scan(genome)
    bed = tmp_path / "r.bed"
    bed.write_text("I\t0\t400\n")
    assert len(several.scan(genome, regions=bed, fpr=0.5, task="b"))
    with pytest.raises(UsageError, match="a stride of 61 bp"):
        several.scan(genome, task="a", stride=61)
