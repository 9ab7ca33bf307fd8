"""Call the command line inside the test's process, as a person would type it."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tuner.cli.app import main


class Answer(NamedTuple):
    """How a command ended: exit code, stdout for machines, stderr for people."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def prepare_environment(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the person's own settings; a new cache, but for the compiled kernel, which takes a minute."""
    for name in ("TUNER_STORAGE", "TUNER_ARTIFACTS", "TUNER_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    compiled = Path(os.environ["NUMBA_CACHE_DIR"]).resolve()
    compiled.mkdir(parents=True, exist_ok=True)
    if not (cache / "numba").exists():
        (cache / "numba").symlink_to(compiled)
    monkeypatch.setenv("TUNER_CACHE_DIR", str(cache))


class Terminal:
    """Runs commands in one folder.

    Parameters
    ----------
    folder : Path
        Where the person stands.
    """

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.capsys, self.monkeypatch = folder, capsys, monkeypatch

    def __call__(self, *words: str) -> Answer:
        self.monkeypatch.chdir(self.folder)
        self.monkeypatch.setattr(sys, "argv", ["tuner", *words])
        self.capsys.readouterr()
        handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            with pytest.raises(SystemExit) as left:
                main()
        finally:
            # `worker` takes over what stops a process; a signal of a later test must not end this one.
            signal.set_wakeup_fd(-1)
            for number, handler in handlers.items():
                signal.signal(number, handler)
        shown = self.capsys.readouterr()
        return Answer(int(left.value.code or 0), shown.out, shown.err)

    def refuses(self, *words: str) -> tuple[int, str]:
        """Run what must fail: exactly one line of error, the last one, and no traceback; its code and text."""
        answer = self(*words)
        lines = answer.err.strip().splitlines()
        errors = [line for line in lines if line.startswith("error: ")]
        assert answer.code in (1, 2), answer
        assert errors == lines[-1:], answer.err
        assert "Traceback" not in answer.err
        if "--json" in words:
            assert answer.json == {"error": errors[0].removeprefix("error: "), "exit_code": answer.code}
        return answer.code, errors[0].removeprefix("error: ")


STUDY = """name = "tiny"
space = "./tiny_space.toml"

[data]
positives = "positives.fa"
negatives = "negatives.fa"

[motifs]
database = "motifs.meme"
targets = { planted = ["M0"] }

[training]
epochs = 2
batch_size = 32

[search]
trials = 2

[confirmation]
candidates = 1
seeds = 2
shuffled = 1
"""

SPACE = """[architecture]
fixed = "cnn"

[activation]
choices = ["relu", "exponential"]

[filters]
fixed = 8

[kernel_size]
low = 7
high = 11
step = 2

[n_blocks]
fixed = 1

[dense_units]
fixed = 8
"""

PLANTED = "GGGAAACTGA"


def write_tiny_study(folder: Path) -> Path:
    """Write a study that trains in a second: 60 + 60 sequences of 60 bp with a planted motif, 12 motifs."""
    import numpy as np

    rng = np.random.default_rng(0)
    letters = np.array(list("ACGT"))
    for name, planted in (("positives", True), ("negatives", False)):
        records = []
        for i in range(60):
            sequence = "".join(rng.choice(letters, 60))
            at = int(rng.integers(0, 50))
            sequence = sequence[:at] + PLANTED + sequence[at + 10 :] if planted else sequence
            records.append(f">{name}{i}\n{sequence}\n")
        (folder / f"{name}.fa").write_text("".join(records))
    motifs = [PLANTED] + ["".join(rng.choice(letters, 10)) for _ in range(11)]
    text = ["MEME version 4\n\nALPHABET= ACGT\n"]
    for i, motif in enumerate(motifs):
        rows = "\n".join(" ".join("0.85" if letter == base else "0.05" for base in "ACGT") for letter in motif)
        text.append(f"\nMOTIF M{i} name{i}\nletter-probability matrix: alength= 4 w= 10 nsites= 50 E= 0\n{rows}\n")
    (folder / "motifs.meme").write_text("".join(text))
    (folder / "tiny_space.toml").write_text(SPACE)
    (folder / "tiny.toml").write_text(STUDY)
    return folder / "tiny.toml"
