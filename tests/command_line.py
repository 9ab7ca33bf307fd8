"""Call the command line inside the test's process, as a person would type it."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tuner.cli.app import main

if TYPE_CHECKING:
    from tuner.search.loaded import Bench
    from tuner.search.stages import Stage
    from tuner.search.worker import Worker
    from tuner.storage.storage import FencedStorage


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
    for name in ("TUNER_STORAGE", "TUNER_ARTIFACTS", "TUNER_DEBUG", "TUNER_LOG_FORMAT"):
        monkeypatch.delenv(name, raising=False)
    compiled = Path(os.environ["NUMBA_CACHE_DIR"]).resolve()
    compiled.mkdir(parents=True, exist_ok=True)
    if not (cache / "numba").exists():
        (cache / "numba").symlink_to(compiled)
    monkeypatch.setenv("TUNER_CACHE_DIR", str(cache))


def run_limited(folder: Path, *words: str, size: int | None = None) -> subprocess.Popen[str]:
    """Start a command in a process of its own, whose files may have `size` bytes: how a full disk looks to it."""

    def limit() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell has its background jobs ignore it
        if size is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return subprocess.Popen(
        [sys.executable, "-m", "tuner", *words], cwd=folder, preexec_fn=limit, text=True, stderr=subprocess.PIPE,
        stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )  # fmt: skip


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


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that the tests of a module share, empty at first."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def terminal(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Terminal:
    """A terminal in an empty folder; files that need more in theirs extend this fixture under its name."""
    prepare_environment(cache, monkeypatch)
    return Terminal(tmp_path, capsys, monkeypatch)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Bench:
    """The tiny study, loaded; files that ask for another one have a fixture of this name."""
    from tuner.search.loaded import load_bench
    from tuner.study.file import read_study
    from tuner.study.plan import make_plan
    from tuner.study.space import read_space

    folder = tmp_path_factory.mktemp("study")
    plan = make_plan(read_study(write_tiny_study(folder)), read_space(folder / "tiny_space.toml"), folder=folder)
    return load_bench(plan, data_dir=None, cache=cache)


@pytest.fixture(scope="module")
def finished(bench: Bench) -> Path:
    """Folder of the tiny study, whose search, confirmation and controls have ended."""
    from tuner.search.stages import Confirmation, Controls, Search

    work(bench.plan.folder, bench, [Search(bench.plan, bench.identity), Confirmation(bench.plan), Controls(bench.plan)])
    return bench.plan.folder


def work(folder: Path, bench: Bench, stages: list[Stage]) -> None:
    """Run stages to their end in this process."""
    from tuner.storage.storage import open_storage

    storage = open_storage(folder / "runs" / "tuner.db")
    stages[0].prepare(storage)
    assert worker_in(bench, folder / "runs", storage).work(stages)
    storage.close()


def worker_in(bench: Bench, runs: Path, storage: FencedStorage) -> Worker:
    """A worker whose artifacts and checkpoints lie beside the database."""
    from tuner.search.worker import Stopper, Worker
    from tuner.storage.artifacts import Artifacts

    return Worker(bench, storage, Artifacts(runs / "artifacts"), runs / "checkpoints", Stopper(), name="worker-0")


def copy_runs(folder: Path, to: Path) -> None:
    """Copy database and artifacts of a study to another folder, where a test may spoil them."""
    shutil.copytree(folder / "runs" / "artifacts", to / "runs" / "artifacts")
    with closing(sqlite3.connect(folder / "runs" / "tuner.db")) as source:
        with closing(sqlite3.connect(to / "runs" / "tuner.db")) as target:
            source.backup(target)


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
