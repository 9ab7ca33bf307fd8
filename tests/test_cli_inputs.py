"""Commands on files that are larger than they look, and on files as people have them."""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from test_stored_version import STORED

from tuner.genome.sequence import decode

ROOT = Path(__file__).parents[1]


@pytest.fixture
def terminal(terminal, monkeypatch):
    monkeypatch.setenv("HOME", str(terminal.folder))
    return terminal


def write(folder, name, n, length, seed):
    texts = decode(np.random.default_rng(seed).integers(4, size=(n, length)).astype(np.uint8))
    (folder / name).write_text("".join(f">s{i}\n{s}\n" for i, s in enumerate(texts)))


def study(folder, data):
    (folder / "s.toml").write_text(f'name = "s"\nobjectives = ["auroc"]\n[data]\n{data}\n')


def test_a_bomb_ends_in_one_clear_error_with_size_limit_and_option(tmp_path):
    """In a process of its own, whose memory is limited to what reading may take at most."""
    with gzip.open(tmp_path / "bomb.fa.gz", "wb", compresslevel=9) as file:
        file.write(b">a\n")
        for _ in range(50):
            file.write(b"A" * 1_000_000)
    write(tmp_path, "n.fa", 10, 50, 0)
    study(tmp_path, 'positives = "bomb.fa.gz"\nnegatives = "n.fa"')
    done = subprocess.run(
        [sys.executable, "-m", "tuner.cli", "check", "--study", "s.toml", "--max-memory", "50 MB"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 1
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("error:"))
    assert "bomb.fa.gz: what its gzip data hold (at least " in line
    assert "50.0 MB are allowed (--max-memory, by default half of the available memory)" in line
    assert "this is a bug" not in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["check", "--study", "s.toml"],
        ["run", "--study", "s.toml", "--preset", "smoke"],
        ["worker", "--study", "./s.toml"],
    ],
)
def test_every_command_that_reads_data_heeds_the_limit(terminal, words):
    write(terminal.folder, "p.fa", 2000, 50, 0)
    write(terminal.folder, "n.fa", 2000, 50, 1)
    study(terminal.folder, 'positives = "p.fa"\nnegatives = "n.fa"')
    code, message = terminal.refuses(*words, "--max-memory", "1 MB")
    assert code == 1
    assert "p.fa: reading it takes about" in message
    assert terminal.refuses(*words, "--max-memory", "much") == (
        2, "--max-memory 'much' is not a size; write a number and a unit, e.g. 500 MB, 8 GB, 1.5 GiB.",
    )  # fmt: skip


@pytest.mark.parametrize(
    "words", [["evaluate"], ["report"], ["rerun", "--trial", "0"], ["confirm"]], ids=lambda words: words[0]
)
def test_every_command_on_a_stored_study_heeds_the_limit_before_it_reads_data(terminal, words, monkeypatch):
    with tarfile.open(STORED) as archive:
        archive.extractall(terminal.folder, filter="data")
    decoded = []
    monkeypatch.setattr("tuner.data.fasta.fit_lengths", lambda *args, **more: decoded.append(args))
    words = [*words, "--name", "tiny", "--data", "."]
    code, message = terminal.refuses(*words, "--max-memory", "1 KB")
    assert code == 1
    assert re.search(r"positives\.fa: reading it takes about [\d.]+ kB of memory; 1\.0 kB are allowed", message)
    assert not decoded
    assert not (terminal.folder / "runs" / "reports").exists()
    assert terminal("status", "--name", "tiny", "--json").json["test_openings"] == []


def test_a_check_reads_paths_with_a_home_and_counts_its_warnings(terminal):
    write(terminal.folder, "p.fa", 600, 60, 0)
    write(terminal.folder, "n.fa", 600, 50, 1)
    study(terminal.folder, 'positives = "~/p.fa"\nnegatives = "$HOME/n.fa"\nlength = "shortest"')
    found = terminal("check", "--study", "s.toml", "--points", "1")
    assert (found.code, found.err.splitlines()[-1]) == (0, "s: nothing is wrong")
    study(terminal.folder, 'positives = "~/p.fa"\nnegatives = "$HOME/n.fa"\nlength = 60')
    found = terminal("check", "--study", "s.toml", "--points", "1")
    assert (found.code, found.err.splitlines()[-1]) == (0, "s: no errors, but 2 warnings (above)")
    assert "the share of N alone reaches AUROC 1.000" in " ".join(found.err.split())
