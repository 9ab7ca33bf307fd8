"""A worker: claims a slot, runs it and stores its result, until every slot of every stage has ended.

A worker may die at any instruction. It holds one RUNNING slot, which it hands back if it is told to stop, and which
other workers reap if it dies.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import optuna
import torch
from optuna.trial import TrialState

from tuner.errors import (
    AttemptSuperseded,
    StorageError,
    StudyError,
    StudyGone,
    TrainingDiverged,
    is_out_of_memory,
    root_of,
)
from tuner.files import remove_empty
from tuner.models.training import EpochRecord
from tuner.results.quota import enforce_quota
from tuner.search import checkpoints
from tuner.search.checkpoint_copies import Checkpoints
from tuner.search.late_files import LateFiles
from tuner.search.loaded import Bench
from tuner.search.log_fields import log_fields
from tuner.search.shutdown import Interrupted, Stopper
from tuner.search.stages import Stage
from tuner.search.supervisor import HUNG
from tuner.search.trial import Outcome
from tuner.storage.artifacts import Artifacts, not_written
from tuner.storage.names import folder_name
from tuner.storage.outage import DatabaseGone, notices
from tuner.storage.storage import Attempt, FencedStorage, Heartbeat
from tuner.storage.workers import GRACE_SECONDS
from tuner.study.space import Scalar

__all__ = ["Interrupted", "Pace", "Stopper", "Worker"]

log = logging.getLogger("tuner.worker")

WHO = "this worker"  # used in the error about a study that is gone
HAND_BACK_SECONDS = 3.0  # a stop must not wait for a database that is away


class Pace(NamedTuple):
    """Intervals and time limits of a worker.

    Attributes
    ----------
    poll : float
        Seconds between tries to claim a slot.
    beat : float
        Seconds between heartbeats.
    grace : float
        Seconds without a heartbeat after which a worker on another machine counts as gone.
    stall_after : float or None
        Seconds without a finished epoch after which a training counts as hung; None for the study's setting.
    """

    poll: float = 1.0
    beat: float = 5.0
    grace: float = GRACE_SECONDS
    stall_after: float | None = None


class Worker:
    """Runs the slots of a study's stages in this process, one at a time.

    Parameters
    ----------
    bench : Bench
        Data, database, plan and device.
    storage : FencedStorage
        Shared by all workers.
    artifacts : Artifacts
        Shared by all workers.
    checkpoints : Path
        Folder of the slots' checkpoints.
    stopper : Stopper
        Says when to stop.
    name : str
        Shown in `tuner status` and in the log.
    ahead : int
        Number of waiting slots to keep: about the number of workers on this storage.
    pace : Pace
        Intervals and limits.
    look : callable, optional
        Called between slots and after each epoch, for example to show progress; it must not raise.
    """

    def __init__(
        self,
        bench: Bench,
        storage: FencedStorage,
        artifacts: Artifacts,
        checkpoints: Path,
        stopper: Stopper,
        *,
        name: str,
        ahead: int = 1,
        pace: Pace = Pace(),  # noqa: B008  it is immutable
        look: Callable[[], None] | None = None,
    ) -> None:
        self.bench, self.storage, self.artifacts = bench, storage, artifacts
        self.checkpoints, self.stopper, self.name, self.ahead = checkpoints, stopper, name, ahead
        self.pace, self.look = pace, look or (lambda: None)
        self.copies = Checkpoints(storage, artifacts)
        self.late = LateFiles(storage, artifacts)
        self._gone: DatabaseGone | None = None

    def work(self, stages: Sequence[Stage]) -> bool:
        """Run every stage to its end.

        Returns
        -------
        bool
            False if the worker was told to stop before the end.

        Raises
        ------
        StorageError
            The database refuses, stayed away, or its file was removed or replaced.
        StudyGone
            The study was deleted, and perhaps created again; nothing was written to the new one.
        """
        try:
            for stage in stages:
                self.stopper.check()
                stage.prepare(self.storage)
                if self._has(stage):  # a stage may have nothing to do, e.g. no candidate to confirm
                    self.storage.join(stage.name, who=WHO)
                    self._run_stage(stage)
        except Interrupted:
            if self._gone is not None:
                raise self._gone from None
            self.late.finish(wait=False)
            log.info("%s stops: %s", self.name, "time is over" if self.stopper.late else "asked to")
            return False
        self.late.finish(wait=True)
        return True

    def _has(self, stage: Stage) -> bool:
        try:
            self.storage.get_study_id_from_name(stage.name)
        except KeyError:
            return False
        return True

    def _run_stage(self, stage: Stage) -> None:
        study_id = self.storage.get_study_id_from_name(stage.name)
        while True:
            self.stopper.check()
            if self.stopper.leaving:
                raise Interrupted
            self.look()
            for number in self.storage.reap(study_id, grace=self.pace.grace):
                log.warning("%s trial %d: its worker is gone; the trial waits for another", stage.name, number)
            self.late.write()
            self.storage.ensure_slots(study_id, ahead=self.ahead)
            attempt = self.storage.claim(study_id, self.name)
            if attempt is not None:
                with log_fields(study=stage.name, trial=attempt.number, attempt=attempt.attempt):
                    self._run_attempt(stage, attempt)
            elif self.storage.open_slots(study_id) == 0:
                return
            else:
                time.sleep(self.pace.poll)

    def _run_attempt(self, stage: Stage, attempt: Attempt) -> None:
        folder = checkpoints.folder_of(self.checkpoints, stage.name, attempt.study)
        label = f"{stage.name} trial {attempt.number}"
        self.stopper.release = partial(self._hand_back, attempt, label)
        # A new Study each time: samplers read its cached list of trials, which only study.ask would renew.
        sampler = stage.sampler(attempt.number)
        study = optuna.load_study(study_name=stage.name, storage=self.storage, sampler=sampler)
        tokens = self.storage.slot_tokens(attempt.trial_id)
        checkpoint = checkpoints.take_over(
            folder, attempt, legacy=self.checkpoints / folder_name(stage.name), tokens=tokens
        )
        try:
            with self._heartbeat(attempt, label) as heartbeat:
                ended = self._attempt(stage, study, attempt, heartbeat, checkpoint, label)
            if ended:
                checkpoints.clear(folder, attempt.number)
                self.copies.delete()
        except AttemptSuperseded:
            self._discard(checkpoint)
            log.warning("%s: attempt %d was superseded; its result is discarded", label, attempt.attempt)
        except (Interrupted, KeyboardInterrupt):
            self.copies.hand_over()
            self._hand_back(attempt, label)
            raise
        finally:
            self.stopper.release = None

    def _discard(self, checkpoint: Path) -> None:
        checkpoints.discard(checkpoint)
        try:
            self.storage.check_joined()
        except StudyGone:
            remove_empty(checkpoint.parent)
            self.copies.withdraw()
            raise

    def _heartbeat(self, attempt: Attempt, label: str) -> Heartbeat:
        limit = self.pace.stall_after
        return Heartbeat(
            self.storage, attempt, interval=self.pace.beat, on_hang=partial(self._hung, attempt, label),
            on_gone=self._lose_database,
            stall_after=60 * self.bench.plan.study.search.stall_minutes if limit is None else limit,
        )  # fmt: skip

    def _lose_database(self, error: DatabaseGone) -> None:
        """End the training, because its result cannot be stored any more. Runs in the heartbeat's thread."""
        self._gone = error
        self.stopper.leave(at_once=True)

    def _hung(self, attempt: Attempt, label: str, reason: str) -> None:
        """Count the failure and end this process, as nothing else ends a hung call. Runs in the heartbeat's thread."""
        try:
            self.storage.fail_attempt(attempt, reason, max_failures=self.bench.plan.max_failures, patience=0)
        except AttemptSuperseded:
            reason += "; another worker has the slot already"
        log.error("%s: %s. This process ends; stack traces:", label, reason)
        faulthandler.dump_traceback(file=2)  # the file descriptor, because sys.stderr may be a stream of JSON lines
        os._exit(HUNG)

    def _hand_back(self, attempt: Attempt, label: str) -> None:
        try:
            self.storage.hand_back(attempt, "the worker was told to stop", patience=HAND_BACK_SECONDS)
        except StudyGone as e:
            log.debug("%s: %s", label, e)  # reported once, by the error that ends the worker
        except AttemptSuperseded:
            log.info("%s: another worker has it already", label)
        except StorageError as e:
            log.warning("%s: could not be handed back (%s); it will be reaped", label, e)
        else:
            log.info("%s: handed back", label)

    def _attempt(
        self,
        stage: Stage,
        study: optuna.Study,
        attempt: Attempt,
        heartbeat: Heartbeat,
        checkpoint: Path,
        label: str,
    ) -> bool:
        """Run one attempt; True if the slot has ended for good."""
        total = self.bench.plan.recipe.epochs

        def on_epoch(record: EpochRecord) -> None:
            log.info(
                "%s: epoch %d, loss %.4f, validation AUROC %.4f",
                label,
                record.epoch,
                record.loss,
                record.auroc,
                extra={"event": "epoch", "epoch": record.epoch, "loss": record.loss, "auroc": record.auroc},
            )
            heartbeat.tick({"epoch": record.epoch, "epochs": total, "auroc": round(record.auroc, 5)})
            if heartbeat.superseded.is_set():
                raise AttemptSuperseded(label)
            self.look()
            self.stopper.check()
            self.copies.save()

        try:
            with self.stopper.interruptible():
                with self.storage.drawing(attempt):
                    trial = optuna.trial.Trial(study, attempt.trial_id)
                    point = stage.suggest(trial)
                log.info("%s: attempt %d, %s", label, attempt.attempt, _shown(point))
                self.copies.open(attempt, checkpoint)
                outcome = stage.execute(self.bench, trial, point, checkpoint, on_epoch)
        except TrainingDiverged as e:
            return self._prune(attempt, label, str(e), {})
        except (AttemptSuperseded, StorageError):
            raise
        except Exception as e:
            if is_out_of_memory(e):  # on the CPU torch raises a RuntimeError
                return self._prune(attempt, label, self._memory(e), {"constraints:memory": 1.0})
            return self._fail(attempt, label, e)
        heartbeat.tick()
        self._store(stage, attempt, outcome, label)
        return True

    def _store(self, stage: Stage, attempt: Attempt, outcome: Outcome, label: str) -> None:
        attributes: dict[str, Any] = dict(outcome.attributes)
        entries: dict[str, str] = {}
        try:
            with self.stopper.interruptible():  # an upload may take long; its files are leftovers then
                entries = self.artifacts.put(outcome.files, attempt.token)
        except StorageError as e:  # the values are what matters: store them without the files
            attributes["artifacts_error"] = str(e)
            entries = not_written(outcome.files)
            log.error("%s: %s The values are stored without files.", label, e)
            notices.warning("%s: %s Its values are stored; its files will be written as soon as possible.", label, e)
        state, values = TrialState.COMPLETE, None
        if outcome.stopped is None:
            values = [outcome.measured[o] for o in stage.objectives]
        else:  # PRUNED: for TPE worse than every completed trial, for everything else without a result
            state, attributes["reason"] = TrialState.PRUNED, outcome.stopped
        try:
            self.storage.finish(attempt, state, values, user_attrs=attributes, system_attrs=entries)
        except AttemptSuperseded:
            self.artifacts.discard(entries)
            raise
        if "artifacts_error" in attributes:
            self.late.keep(attempt, label, outcome.files)
        if outcome.stopped is not None:
            log.info("%s: %s", label, outcome.stopped)
            return
        log.info("%s: complete, %s", label, ", ".join(f"{o} {outcome.measured[o]:.4f}" for o in stage.objectives))
        self._keep_quota()

    def _keep_quota(self) -> None:
        plan = self.bench.plan
        try:
            enforce_quota(self.storage, self.artifacts, plan.name, plan.confirmation.candidates)
        except (StorageError, StudyError) as e:
            log.error("%s: its quota could not be kept (%s)", plan.name, e)

    def _prune(self, attempt: Attempt, label: str, reason: str, system_attrs: dict[str, float]) -> bool:
        self.storage.finish(attempt, TrialState.PRUNED, None, user_attrs={"reason": reason}, system_attrs=system_attrs)
        log.warning("%s: pruned, %s", label, reason)
        return True

    def _memory(self, e: BaseException) -> str:
        device = self.bench.device
        peak = f", peak {torch.cuda.max_memory_allocated(device)} bytes" if device.startswith("cuda") else ""
        root = root_of(e)
        return f"out of memory on {device}{peak}: {str(root).splitlines()[0] if str(root) else type(root).__name__}"

    def _fail(self, attempt: Attempt, label: str, e: Exception) -> bool:
        where = traceback.extract_tb(e.__traceback__)[-1]
        reason = f"{type(e).__name__}: {e} ({Path(where.filename).name}:{where.lineno})"
        state = self.storage.fail_attempt(attempt, reason, max_failures=self.bench.plan.max_failures)
        log.error("%s: %s after %s", label, "failed for good" if state == "failed" else "will be retried", reason)
        log.debug("".join(traceback.format_exception(e)))
        return state == "failed"


def _shown(point: dict[str, Scalar]) -> str:
    return ", ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in point.items())
