"""Worker processes that train something tiny and die, stop or hang at a chosen moment."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna
import torch
from sqlalchemy import event
from storage_backends import note
from tiny import write_study
from waiting import wait_for

from tuner.data.registry import load_dataset
from tuner.models.training import EpochRecord
from tuner.search import shutdown
from tuner.search.loaded import Bench
from tuner.search.sampler import slot_sampler
from tuner.search.stages import OnEpoch, register
from tuner.search.trial import Outcome, train
from tuner.search.worker import Pace, Stopper, Worker
from tuner.storage.artifacts import Artifacts
from tuner.storage.storage import FencedStorage, open_storage
from tuner.study.file import read_study
from tuner.study.plan import make_plan, mix
from tuner.study.space import read_space

EPOCHS = 3
QUICK = Pace(poll=0.02, beat=0.1, grace=0.3)
STUDY = f"""
name = "tiny"
space = "tiny_space"
objectives = ["auroc"]
[data]
positives = "positives.fa"
negatives = "negatives.fa"
[training]
epochs = {EPOCHS}
"""
Hook = Callable[[], None]


def make_bench(folder: Path, trials: int = 2) -> Bench:
    """Read the study in `folder`, writing it if it is missing."""
    if not (folder / "tiny.toml").exists():
        write_study(folder, n=60, study=STUDY)
    space = read_space(folder / "search_spaces" / "tiny_space.toml")
    plan = make_plan(read_study(folder / "tiny.toml"), space, folder=folder, trials=trials)
    dataset = load_dataset(plan.data_spec, data_dir=None, cache=None).without_test()
    return Bench(plan, dataset, None, "cpu")  # type: ignore[arg-type]  # no motif is matched


class Tiny:
    """A search whose trials are trained for real and measured by their validation AUROC alone.

    `hooks` are called at moments of an attempt: ``prepare``, ``suggest``, ``execute``, ``epoch 1`` (its
    checkpoint is written), ``trained``.
    """

    name = "tiny"
    objectives = ("auroc",)

    def __init__(self, bench: Bench, hooks: Mapping[str, Hook] | None = None) -> None:
        self.plan, self.hooks = bench.plan, dict(hooks or {})

    def _at(self, moment: str) -> None:
        if moment in self.hooks:
            self.hooks[moment]()

    def prepare(self, storage: FencedStorage) -> None:
        storage.set_budget(register(storage, self.name, ["auroc"]), self.plan.trials)
        self._at("prepare")

    def sampler(self, number: int) -> optuna.samplers.BaseSampler:
        return slot_sampler("tpe", seed=mix(0, number, "sampler"), startup=1)

    def suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        self._at("suggest")
        return self.plan.space.suggest(trial)

    def execute(
        self, bench: Bench, trial: optuna.Trial, point: Mapping[str, Any], checkpoint: Path, on_epoch: OnEpoch
    ) -> Outcome:
        self._at("execute")

        def each(record: EpochRecord) -> None:
            self._at(f"epoch {record.epoch}")
            on_epoch(record)

        _, _, trained = train(
            bench, point, bench.dataset, seed=mix(0, trial.number), checkpoint=checkpoint, on_epoch=each
        )
        self._at("trained")
        losses = json.dumps([(r.loss, r.valid_loss, r.auroc) for r in trained.history])
        attributes = {"losses": losses, "resumed_from": trained.resumed_from}
        return Outcome({"auroc": trained.chosen.auroc}, attributes, {"a.tsv": b"a", "b.tsv": b"b"})


def run_here(url: str, folder: Path, hooks: Mapping[str, Hook] | None = None, pace: Pace = QUICK) -> None:
    """Run the study to its end in this process."""
    bench, storage = make_bench(folder), open_storage(url)
    worker = Worker(
        bench, storage, Artifacts(folder / "artifacts"), folder / "checkpoints", Stopper(), name="here", pace=pace,
        ahead=2,
    )  # fmt: skip
    assert worker.work([Tiny(bench, hooks)])
    storage.close()


def die() -> None:
    """No handler, no cleanup: as a power cut for this process."""
    os.kill(os.getpid(), signal.SIGKILL)


def at_next_batch(action: Hook) -> Hook:
    """Arm `action` to run at the next forward pass: in the middle of an epoch."""

    def arm() -> None:
        def once(*args: object) -> None:
            handle.remove()
            action()

        handle = torch.nn.modules.module.register_module_forward_hook(once)

    return arm


def at_rename(action: Hook) -> Hook:
    """Arm `action` to run when a checkpoint is written but has not got its name yet."""

    def arm() -> None:
        def hear(what: str, arguments: tuple[Any, ...]) -> None:
            if what == "os.rename" and str(arguments[1]).endswith(".safetensors"):
                action()

        sys.addaudithook(hear)

    return arm


def at_statement(storage: FencedStorage, text: str, count: int, action: Hook) -> None:
    """Run `action` inside the transaction that sends the `count`-th statement with this text, after it."""
    seen: list[str] = []

    @event.listens_for(storage._backend.engine, "after_cursor_execute")
    def hear(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        seen.extend([statement] if statement.startswith(text) else [])
        if len(seen) == count:
            action()


class Disturbed(Artifacts):
    """A store in which something happens during and after an upload."""

    during: Hook | None = None
    after: Hook | None = None

    def put(self, files: Mapping[str, bytes], token: str | None = None) -> dict[str, str]:
        if self.during is not None:
            super().put(dict(list(files.items())[:1]), token)
            self.during()
        entries = super().put(files, token)
        if self.after is not None:
            self.after()
        return entries


HOOKS: Mapping[str, Mapping[str, Hook]] = {
    "between claim and first tick": {"suggest": die},
    "after suggest": {"execute": die},
    "mid-epoch": {"epoch 1": at_next_batch(die)},
    "while the checkpoint is written": {"epoch 1": at_rename(die)},
    "after the checkpoint": {"epoch 2": die},
}
STATEMENTS = {
    "amid the claim": ("INSERT INTO tuner_attempts", 1),
    "amid the tell": ("INSERT INTO trial_values", 1),
    "while making slots": ("INSERT INTO trials", 2),
    "amid reaping": ("UPDATE tuner_attempts SET ended", 1),
}
STORES = {"during the upload": "during", "between upload and tell": "after"}
MOMENTS = (*HOOKS, *STATEMENTS, *STORES)


def work_until_death(url: str, folder: str, moment: str) -> None:
    """Run the study and die at `moment`."""
    torch.set_num_threads(1)
    root, bench, storage = Path(folder), make_bench(Path(folder)), open_storage(url)
    artifacts = Disturbed(root / "artifacts")
    if moment in STATEMENTS:
        at_statement(storage, *STATEMENTS[moment], die)
    if moment in STORES:
        setattr(artifacts, STORES[moment], die)
    worker = Worker(bench, storage, artifacts, root / "checkpoints", Stopper(), name="victim", pace=QUICK, ahead=2)
    worker.work([Tiny(bench, HOOKS.get(moment, {}))])


def compute_natively() -> None:
    """A call that hears no signal, for minutes."""
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)


def busy(activity: str, folder: Path) -> tuple[Mapping[str, Hook], Hook | None]:
    """Hooks of a worker that says so and stays in an activity: of its training, and of its upload."""

    def say() -> None:
        note(str(folder / "log"), activity)

    def doing(what: Hook) -> Hook:
        return lambda: (say(), what())[-1]

    if activity == "an epoch":
        return {"epoch 1": at_next_batch(doing(lambda: time.sleep(60)))}, None
    if activity == "native code":
        return {"epoch 1": at_next_batch(doing(compute_natively))}, None
    if activity == "the database":
        return {"trained": doing(lambda: wait_for((folder / "locked").exists))}, None  # and then for the database
    return {}, doing(lambda: time.sleep(60))


def work_until_told(url: str, folder: str, activity: str) -> None:
    """Run the study, stay in one activity, and obey signals as `tuner worker` does."""
    torch.set_num_threads(1)
    shutdown.RELEASE_SECONDS, shutdown.LEAVE_SECONDS = 1.0, 3.0
    root, bench, storage = Path(folder), make_bench(Path(folder)), open_storage(url)
    hooks, during = busy(activity, root)
    artifacts, told = Disturbed(root / "artifacts"), Stopper()
    artifacts.during = during
    told.install()
    worker = Worker(bench, storage, artifacts, root / "checkpoints", told, name="victim", pace=QUICK, ahead=2)
    if not worker.work([Tiny(bench, hooks)]):
        told.resign()


def work_and_stop(url: str, folder: str) -> None:
    """Stop as a whole (SIGSTOP) in the second epoch, without a heartbeat; when continued, go on as if nothing was."""
    torch.set_num_threads(1)
    logging.basicConfig(filename=f"{folder}/victim.log", level=logging.INFO, force=True)
    root, bench, storage = Path(folder), make_bench(Path(folder)), open_storage(url)
    hooks = {"epoch 1": at_next_batch(lambda: os.kill(os.getpid(), signal.SIGSTOP))}
    worker = Worker(
        bench, storage, Artifacts(root / "artifacts"), root / "checkpoints", Stopper(), name="victim",
        pace=QUICK._replace(beat=3600, poll=60), ahead=2,
    )  # fmt: skip
    worker.work([Tiny(bench, hooks)])


def work_through_an_outage(url: str, folder: str, moment: str) -> None:
    """Say when `moment` has come, wait for the database to stop, and go on without it."""
    torch.set_num_threads(1)
    root, bench, storage = Path(folder), make_bench(Path(folder), trials=3), open_storage(url)

    def pause() -> None:
        if not (root / "stopped").exists():
            note(f"{folder}/log", f"at {moment}")
            wait_for((root / "stopped").exists)

    stage = Tiny(bench, {moment: pause, "execute": lambda: note(f"{folder}/log", "execute")})
    worker = Worker(
        bench, storage, Artifacts(root / "artifacts"), root / "checkpoints", Stopper(), name=moment, ahead=3,
        pace=QUICK._replace(beat=0.2, grace=1.0),
    )  # fmt: skip
    assert worker.work([stage])


def work_and_hang(url: str, folder: str) -> None:
    """Hang for ever in the second epoch."""
    torch.set_num_threads(1)
    root, bench, storage = Path(folder), make_bench(Path(folder)), open_storage(url)
    hooks = {"epoch 1": at_next_batch(lambda: threading.Event().wait() and None)}
    worker = Worker(
        bench, storage, Artifacts(root / "artifacts"), root / "checkpoints", Stopper(), name="victim",
        pace=QUICK._replace(stall_after=3.0), ahead=2,
    )  # fmt: skip
    worker.work([Tiny(bench, hooks)])
