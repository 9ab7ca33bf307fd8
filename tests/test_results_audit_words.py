"""The audit in words: each line names its measurement, each warning says what to change."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tuner.cli.app import app
from tuner.models.audit import Audit, Feature, MotifHits
from tuner.models.intervals import Interval
from tuner.results.audit_words import audit_words


def at(value: float, width: float = 0.02) -> Interval:
    return Interval(value, value - width, value + width, width / 2)


def hits(auroc: Interval, **changes: object) -> MotifHits:
    row = MotifHits("CTCF", "MA0139.2", "CTCF", "bound", 0.76, 0.075, auroc, 500, 9.0, 22.0, 1e-40)
    return row._replace(**changes)


def features(gc: float, cpg: float, task: str = "bound") -> list[Feature]:
    return [Feature("gc", task, at(gc)), Feature("cpg", task, at(cpg)), Feature("6-mer", task, at(0.9))]


def test_a_sound_data_set_has_lines_and_no_warning() -> None:
    lines, warnings = audit_words(Audit(tuple(features(0.52, 0.5)), (hits(at(0.9)),)), shuffled=False)
    assert warnings == ()
    assert lines == (
        "GC content alone: AUROC 0.520 (0.500 to 0.540)",
        "CpG observed/expected alone: AUROC 0.500 (0.480 to 0.520)",
        "6-mer regression (validation): AUROC 0.900 (0.880 to 0.920)",
        "CTCF (MA0139.2): a hit (p <= 0.0001) in 76 % of positives and 8 % of negatives, best window AUROC 0.900 "
        "(0.880 to 0.920); hits of positives lie 9 bp from the middle in the median (anywhere: 22 bp, p = 1e-40)",
    )


def test_composition_is_warned_of_once_by_the_stronger_one_and_never_for_shuffles() -> None:
    found = Audit(tuple(features(0.7, 0.8)), ())
    [text] = audit_words(found, shuffled=False).warnings
    assert text.startswith("positives have more CpG than negatives: that alone reaches AUROC 0.800")
    assert audit_words(found, shuffled=True).warnings == ()
    [text] = audit_words(Audit(tuple(features(0.3, 0.5)), ()), shuffled=False).warnings
    assert text.startswith("positives have less GC")


def test_repeats_are_told_and_warned_of_where_the_genome_shows_them() -> None:
    found = Audit((*features(0.5, 0.5), Feature("repeats", "bound", at(0.52))), ())
    lines, warnings = audit_words(found, shuffled=False)
    assert lines[2] == "share of repeats (lower case) alone: AUROC 0.520 (0.500 to 0.540)"
    assert warnings == ()
    found = Audit((*features(0.5, 0.5), Feature("repeats", "bound", at(0.31))), ())
    [text] = audit_words(found, shuffled=False).warnings
    assert text.startswith("positives have fewer repeats (lower-case letters) than negatives: that alone reaches AUROC")
    assert "a smaller ratio leaves it more choice" in text
    assert audit_words(found, shuffled=True).warnings == ()


def test_a_target_that_is_not_there_and_one_that_is_anywhere_are_warned_of() -> None:
    [text] = audit_words(Audit((), (hits(at(0.51)),)), shuffled=False).warnings
    assert "scores no higher in positives than in negatives: AUROC 0.510" in text
    assert "right assembly" in text
    [text] = audit_words(Audit((), (hits(at(0.8), p_value=0.2, distance=21.0),)), shuffled=False).warnings
    assert "do not gather at the middle" in text
    assert "check the summits" in text
    few = hits(at(0.8), hits=5, distance=None, p_value=None)
    lines, warnings = audit_words(Audit((), (few,)), shuffled=False)
    assert warnings == ()
    assert "from the middle" not in lines[0]


def test_tasks_are_named_and_many_of_them_are_a_range() -> None:
    two = Audit((*features(0.5, 0.5, "a"), *features(0.5, 0.7, "b")), (hits(at(0.9), task="b"),))
    lines, warnings = audit_words(two, shuffled=False)
    assert lines[0] == "GC content alone: a AUROC 0.500 (0.480 to 0.520); b AUROC 0.500 (0.480 to 0.520)"
    assert "of positives of b and" in lines[3]
    assert warnings[0].startswith("positives of b have more CpG")
    many = Audit(tuple(f for i in range(20) for f in features(0.4 + i / 100, 0.5, f"t{i}")), ())
    assert audit_words(many, shuffled=False).lines[0] == (
        "GC content alone: AUROC 0.400 (t0) to 0.590 (t19) over 20 tasks"
    )


@pytest.mark.slow
def test_check_prints_the_audit_of_zbed2(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["check", "--study", "zbed2", "--preset", "smoke"])
    assert done.exit_code == 0, done.output
    text = " ".join(done.output.split())
    assert "audit GC content alone: AUROC 0.723 (0.706 to 0.738)" in text
    assert "ZBED2 (MA1971.2): a hit (p <= 0.0001) in 20 % of positives and 2 % of negatives" in text
    assert "warning: positives have more CpG than negatives: that alone reaches AUROC 0.812" in text
