"""TF-MoDISco on contributions whose motifs are known, on noise, on nothing, and when its process dies."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from tuner.data.simulate_synthetic import SYNTHETIC_MOTIFS, SYNTHETIC_RELEASE, synthetic
from tuner.errors import AttributionError
from tuner.interpret.modisco import (
    MINIMUM_SEQUENCES,
    Pattern,
    Patterns,
    above_null,
    find_patterns,
    match_patterns,
    patterns_meme,
)
from tuner.interpret.stability import stability
from tuner.motifs.database import MotifDatabase, load_database
from tuner.motifs.match import FilterMatch
from tuner.motifs.meme import column_information, read_meme

pytestmark = pytest.mark.slow

SEQUENCES = 500


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Patterns:
    """Patterns of positives of `synthetic`, each base credited with its log-odds under the matrix it was drawn from.

    And with a little noise, as by any network: the estimate of chance level fails where most bases have exactly 0.
    """
    split = synthetic(seed=0, sizes=(2 * SEQUENCES, 2, 2)).train
    positives = split.labels[:, 0] == 1
    assert split.truth is not None
    log_odds = np.log2(np.clip(split.truth[positives], 1e-3, None) / 0.25).astype(np.float32)
    log_odds += np.random.default_rng(0).normal(scale=0.1, size=log_odds.shape).astype(np.float32)
    return find_patterns(split.codes[positives], log_odds, folder=tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def jaspar() -> MotifDatabase:
    return load_database(SYNTHETIC_RELEASE)


def noise(n: int = 200, length: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 4, (n, length)).astype(np.uint8)
    return codes, rng.normal(size=(n, 4, length)).astype(np.float32)


def pattern(seqlets: int, ppm: np.ndarray | None = None, name: str = "pos.0") -> Pattern:
    matrix = np.full((4, 10), 0.25) if ppm is None else ppm
    zeros = np.zeros_like(matrix, dtype=np.float32)
    return Pattern(name, True, seqlets, zeros, zeros, matrix, 0.0)


# ------------------------------------------------------------------ known motifs


def test_planted_motifs_are_recovered_by_family(planted: Patterns, jaspar: MotifDatabase) -> None:
    matches = match_patterns(planted.patterns, jaspar)
    families = {jaspar.find(motif).family for motif in SYNTHETIC_MOTIFS}
    assert len(families) == 4
    found = {row.family for row in matches if row.significant and row.e_value <= 1e-3}
    assert families <= found
    assert stability([matches, matches, ()])[matches[0].family or ""] == 2


def test_patterns_are_ordered_named_and_counted(planted: Patterns) -> None:
    assert [p.name for p in planted.patterns] == [f"pos.{i}" for i in range(len(planted.patterns))]
    seqlets = [p.seqlets for p in planted.patterns]
    assert seqlets == sorted(seqlets, reverse=True)
    assert min(seqlets) >= 20
    n = len(planted.patterns)
    assert planted.words == f"{n} patterns in {SEQUENCES} sequences: {n} positive, 0 negative."
    for p in planted.patterns:
        assert p.cwm.shape == p.hypothetical_cwm.shape == p.ppm.shape
        np.testing.assert_allclose(p.ppm.sum(axis=0), 1.0, atol=1e-6)
        assert p.contribution == pytest.approx(float(p.cwm.sum(dtype=np.float64)), rel=1e-4)
        # Log-odds are those of the bases that the seqlets hold: where they are high, both prefer the same base.
        sharp = (column_information(p.ppm) > 1.0) & (p.cwm.max(axis=0) > 0.5)
        assert sharp.sum() >= 5
        assert (p.cwm.argmax(axis=0) == p.ppm.argmax(axis=0))[sharp].all()


def test_the_file_is_read_by_the_library_that_defines_it(planted: Patterns, tmp_path: Path) -> None:
    from modiscolite.io import write_meme_from_h5
    from modiscolite.util import MemeDataType

    assert planted.h5 is not None
    assert planted.h5.name == "modisco.h5"
    assert list(planted.h5.parent.iterdir()) == [planted.h5], "exchange files are left behind"
    out = tmp_path / "theirs.meme"
    write_meme_from_h5(planted.h5, MemeDataType.PFM, str(out), True)
    theirs = {motif.id: motif.ppm for motif in read_meme(out)}
    assert set(theirs) == {p.name.replace("pos.", "pos_patterns.pattern_") for p in planted.patterns}
    for p in planted.patterns:
        ppm = theirs[p.name.replace("pos.", "pos_patterns.pattern_")]
        np.testing.assert_allclose(p.ppm, ppm, atol=2e-6)  # six decimals


def test_meme_export_holds_trimmed_matrices_and_seqlet_counts(planted: Patterns, tmp_path: Path) -> None:
    path = tmp_path / "patterns.meme"
    flat = pattern(50, name="pos.99")
    path.write_text(patterns_meme([*planted.patterns, flat]))
    motifs = read_meme(path)
    assert [(m.id, m.n_sites) for m in motifs] == [(p.name, p.seqlets) for p in planted.patterns]
    for motif, p in zip(motifs, planted.patterns, strict=True):
        information = column_information(motif.ppm)
        assert information[0] > 0.25
        assert information[-1] > 0.25
        assert (column_information(p.ppm) > 0.25).sum() == (information > 0.25).sum()


# ------------------------------------------------------------------ the null


def test_noise_has_no_pattern_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "modisco.h5").write_text("of an earlier run")
    codes, hypothetical = noise(80)
    found = find_patterns(codes, hypothetical, folder=tmp_path, preset="fast")
    assert found.patterns == ()
    assert found.h5 is None
    assert found.words == "No pattern: no 20 seqlets in 80 sequences are similar."
    assert list(tmp_path.iterdir()) == []


def test_a_pattern_counts_only_above_the_largest_of_the_null() -> None:
    null = [pattern(40), pattern(90, name="neg.0")]
    assert above_null([pattern(91), pattern(90), pattern(41)], null) == (True, False, False)
    assert above_null([pattern(20)], []) == (True,)
    assert above_null([], null) == ()


def test_a_flat_or_rare_pattern_matches_nothing(jaspar: MotifDatabase) -> None:
    motif = jaspar.find("MA0139.2").ppm
    flat, rare, enough = match_patterns([pattern(100), pattern(19, motif), pattern(20, motif)], jaspar)
    assert (flat.target, flat.significant) == (None, False)
    assert (rare.target, rare.significant) == ("MA0139.2", False)
    assert (enough.target, enough.significant) == ("MA0139.2", True)
    assert match_patterns([], jaspar) == ()


def test_stability_counts_models_not_filters() -> None:
    def row(family: str | None, name: str, significant: bool = True) -> FilterMatch:
        values = dict.fromkeys(FilterMatch._fields, 0) | {"family": family, "target_name": name}
        return FilterMatch(**{**values, "significant": significant})

    one = [row("IRF", "IRF1"), row("IRF", "IRF4"), row("SP", "SP1", significant=False)]
    two = [row("SP", "SP1"), row(None, "ORPHAN"), row("IRF", "IRF8")]
    assert list(stability([one, two, []]).items()) == [("IRF", 2), ("ORPHAN", 1), ("SP", 1)]
    assert stability([]) == {}


# ------------------------------------------------------------------ nothing to find


@pytest.mark.parametrize(
    ("n", "length", "value", "words"),
    [
        (MINIMUM_SEQUENCES - 1, 200, None, "No pattern: 19 sequences, fewer than 20."),
        (0, 200, None, "No pattern: 0 sequences, fewer than 20."),
        (20, 49, None, "No pattern: sequences of 49 bp, shorter than 50."),
        (20, 200, 0.0, "No pattern: all contributions are 0: the network ignores these sequences."),
        (20, 200, 0.5, "No pattern: all contributions are 0.5: no base matters more than another."),
    ],
)
def test_too_little_is_a_result_in_words(tmp_path: Path, n: int, length: int, value: float | None, words: str) -> None:
    codes, hypothetical = noise(n, length)
    if value is not None:
        hypothetical[:] = value
    assert find_patterns(codes, hypothetical, folder=tmp_path) == Patterns((), None, words)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_contributions_of_one_sign_are_told_from_a_failure(tmp_path: Path, sign: float) -> None:
    codes, hypothetical = noise()
    found = find_patterns(codes, sign * np.abs(hypothetical), folder=tmp_path)
    assert found.patterns == ()
    assert found.words.startswith("No pattern: no window of 21 bp contributes with the opposite sign")


def test_what_is_no_contribution_is_refused(tmp_path: Path) -> None:
    codes, hypothetical = noise(30)
    hypothetical[7, 2, 5] = np.nan
    with pytest.raises(AttributionError, match=r"of 1 of 30 sequences are not finite \(first: sequence 7\)"):
        find_patterns(codes, hypothetical, folder=tmp_path)
    with pytest.raises(AttributionError, match=r"have shape \(30, 200, 4\); expected \(30, 4, 200\)"):
        find_patterns(codes, hypothetical.transpose(0, 2, 1), folder=tmp_path)
    with pytest.raises(AttributionError, match="and type int64; expected"):
        find_patterns(codes.astype(np.int64), hypothetical, folder=tmp_path)
    with pytest.raises(AttributionError, match="unknown TF-MoDISco preset 'fats'; did you mean 'fast'"):
        find_patterns(codes, hypothetical, folder=tmp_path, preset="fats")


# ------------------------------------------------------------------ a process that ends badly


def other_library(folder: Path, text: str) -> dict[str, str]:
    """An environment in which the worker imports this text in place of modisco-lite."""
    (folder / "library").mkdir()
    (folder / "library" / "modiscolite.py").write_text(text)
    return {"PYTHONPATH": str(folder / "library")}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("raise RuntimeError('kernel refused.')", "No pattern: TF-MoDISco failed: RuntimeError: kernel refused."),
        ("import os; os._exit(3)", "No pattern: TF-MoDISco failed: exit code 3."),
        (
            "import os; os.kill(os.getpid(), 9)",
            "No pattern: TF-MoDISco was killed by signal 9 (SIGKILL), perhaps because memory ran out.",
        ),
    ],
)
def test_a_crash_is_a_result_in_words(tmp_path: Path, text: str, words: str) -> None:
    environment = other_library(tmp_path, text)
    found = find_patterns(*noise(), folder=tmp_path / "out", environment=environment)
    assert found == Patterns((), None, words)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_process_that_takes_too_long_is_killed_with_its_children(tmp_path: Path) -> None:
    noted = tmp_path / "child"
    text = f"""
import os, time
child = os.fork()
if child:
    with open({str(noted)!r} + ".new", "w") as file:
        file.write(str(child))
    os.rename({str(noted)!r} + ".new", {str(noted)!r})
time.sleep(600)
"""
    environment = other_library(tmp_path, text)
    seconds = 1.0
    while not noted.exists():  # a loaded machine may need longer to come as far as the fork
        found = find_patterns(*noise(), folder=tmp_path / "out", timeout=seconds, environment=environment)
        assert found == Patterns((), None, f"No pattern: TF-MoDISco was stopped after {seconds:g} s.")
        seconds *= 2
    child = int(noted.read_text())
    while Path(f"/proc/{child}").exists() and b"Z" not in Path(f"/proc/{child}/stat").read_bytes().rpartition(b")")[2]:
        assert not os.kill(child, 0)
        time.sleep(0.05)


REPORT = """
import sys
from pathlib import Path
import numpy as np
from tuner.interpret.modisco import find_patterns
rng = np.random.default_rng(0)
codes = rng.integers(0, 4, (2000, 300)).astype(np.uint8)
find_patterns(codes, rng.normal(size=(2000, 4, 300)).astype(np.float32), folder=Path(sys.argv[1]))
"""


def test_a_killed_report_leaves_no_process_and_no_temporary_folder(tmp_path: Path) -> None:
    """The report is killed as the kernel does, without a word; its child is recognised by the folder it works in."""
    folder = tmp_path / "report"

    def working() -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if any(f"{folder}/.modisco-" in word for word in process.cmdline()):
                    found.append(process)
        return found

    report = subprocess.Popen([sys.executable, "-c", REPORT, str(folder)])
    try:
        end = time.monotonic() + 120
        while len(working()) < 2 and time.monotonic() < end:  # the search and its guard
            time.sleep(0.05)
        assert len(working()) == 2
        here = int(Path(f"/proc/{report.pid}/oom_score_adj").read_text())
        search = min(process.pid for process in working())
        while int(Path(f"/proc/{search}/oom_score_adj").read_text()) == here and time.monotonic() < end:
            time.sleep(0.05)
        assert int(Path(f"/proc/{search}/oom_score_adj").read_text()) == here + 300
    finally:
        report.kill()
        report.wait()
    while working() and time.monotonic() < end:
        time.sleep(0.05)
    assert working() == []
    assert list(folder.iterdir()) == []
