"""Every command on a person's own files of ordinary size: thousands of sequences, sorted by label and by strength."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from command_line import PLANTED, Answer, Terminal

pytestmark = pytest.mark.slow

SPACE = """[architecture]
fixed = "cnn"
[activation]
choices = ["relu", "exponential"]
[filters]
fixed = 4
[kernel_size]
fixed = 9
[n_blocks]
fixed = 1
[dense_units]
fixed = 4
[batch_size]
fixed = 100
"""

STUDY = """name = "own"
space = "./space.toml"
[data]
{data}
[motifs]
database = "motifs.meme"
[presets.smoke]
trials = 2
epochs = 1
candidates = 1
seeds = 1
"""

MOTIFS = "MEME version 4\n\nALPHABET= ACGT\n"
N, LENGTH = 1500, 40


def sequences(planted: bool, seed: int) -> list[str]:
    """Random sequences, those with the most copies of the motif first: sorted by strength, as peaks are."""
    rng = np.random.default_rng(seed)
    letters = np.array(list("ACGT"))
    found = ["".join(row) for row in letters[rng.integers(0, 4, (N, LENGTH))]]
    if not planted:
        return found
    strong = [s[:4] + PLANTED + s[14:24] + PLANTED + s[34:] for s in found[: N // 3]]
    return strong + [s[:15] + PLANTED + s[25:] for s in found[N // 3 :]]


def write_fasta(folder: Path) -> str:
    for name, planted, seed in (("pos", True, 1), ("neg", False, 2)):
        records = (f">{name}{i}\n{s}\n" for i, s in enumerate(sequences(planted, seed)))
        (folder / f"{name}.fa").write_text("".join(records))
    return 'positives = "pos.fa"\nnegatives = "neg.fa"'


def write_pairs(folder: Path) -> str:
    rows = [f"A\tseq_{i:05d}_peak\t{s}\t1\n" for i, s in enumerate(sequences(True, 1))]
    rows += [f"A\tseq_{i:05d}_shuf\t{s}\t0\n" for i, s in enumerate(sequences(False, 2))]
    (folder / "pairs.seq.gz").write_bytes(gzip.compress(("FoldID\tEventID\tseq\tBound\n" + "".join(rows)).encode()))
    return 'path = "pairs.seq.gz"'


def write_table(folder: Path) -> str:
    """Sorted by label, with a split column in which every split is sorted, too."""
    rows = [(s, 1) for s in sequences(True, 1)] + [(s, 0) for s in sequences(False, 2)]
    split = ["train"] * 7 + ["valid", "test", "test"]
    lines = [f"{s},{label},{split[i % 10]}" for i, (s, label) in enumerate(rows)]
    (folder / "sorted.csv").write_text("sequence,bound,part\n" + "\n".join(lines) + "\n")
    return 'path = "sorted.csv"\nsplit_column = "part"'


@pytest.fixture
def terminal(terminal: Terminal) -> Terminal:
    (terminal.folder / "space.toml").write_text(SPACE)
    rng, text = np.random.default_rng(0), [MOTIFS]
    for i, motif in enumerate([PLANTED, *("".join(rng.choice(list("ACGT"), 10)) for _ in range(11))]):
        rows = "\n".join(" ".join("0.85" if letter == base else "0.05" for base in "ACGT") for letter in motif)
        text.append(f"\nMOTIF M{i} name{i}\nletter-probability matrix: alength= 4 w= 10 nsites= 50 E= 0\n{rows}\n")
    (terminal.folder / "motifs.meme").write_text("".join(text))
    return terminal


def works(answer: Answer, *said: str) -> None:
    assert answer.code == 0, answer.err
    for text in said:
        assert text in answer.out + answer.err


@pytest.mark.parametrize("write", [write_fasta, write_pairs, write_table])
def test_every_command_takes_thousands_of_sorted_sequences(write, terminal: Terminal) -> None:
    (terminal.folder / "own.toml").write_text(STUDY.format(data=write(terminal.folder)))
    # Two motifs of ten bases in forty change the composition, which is the only thing to warn of.
    works(
        terminal("check", "--study", "./own.toml", "--preset", "smoke"), "no errors, but 1 warning",
        "positives have less CpG than negatives", "positive",
    )  # fmt: skip
    works(
        terminal("run", "--study", "./own.toml", "--preset", "smoke", "--workers", "1"),
        "trainings, about 1 min on this machine", "search 2/2", "COMPLETE", "Primary trial",
    )  # fmt: skip
    works(terminal("best"), "Primary trial")
    works(terminal("status"), "2 of 2 ended")
    works(terminal("show", "--trial", "0"), "match_fraction")
    works(terminal("table", "--out", "trials.tsv"))
    assert len((terminal.folder / "trials.tsv").read_text().splitlines()) == 3
    works(terminal("evaluate"), "first opening")
    works(terminal("rerun", "--trial", "0"), "every value is exactly the stored one")
    works(terminal("report", "--stages", "page", "--threads", "1"), "report.html")
    assert (terminal.folder / "runs" / "reports" / "own-smoke" / "report.html").stat().st_size > 10_000
