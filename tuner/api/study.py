"""`Study`: the results of a study as tables, and its trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from tuner.api.data import Data, other_data
from tuner.api.model import Ensemble
from tuner.api.places import Folders, artifacts_of, folders_of, storage_of
from tuner.api.trial import Trial
from tuner.errors import StudyError, unknown
from tuner.limits import parse_size
from tuner.results.barren import check_fertile, why_barren
from tuner.results.confirmation import Verdict
from tuner.results.findings import BESIDE, findings, primary_trial
from tuner.results.leaderboard import TrialState, objective_names, stage_trials
from tuner.results.nulls import NullMatches, null_matches
from tuner.results.overview import STAGES, find_trial, overview
from tuner.results.test_split import Examination, declared_models
from tuner.results.trial_table import tidy
from tuner.storage.artifacts import Artifacts
from tuner.storage.catalog import listed
from tuner.storage.keys import CONFIRMATION, CONTROLS
from tuner.storage.storage import FencedStorage, open_existing

if TYPE_CHECKING:
    import pandas as pd

    from tuner.api.progress import Callback
    from tuner.predictor.predictor import Predictor
    from tuner.report.stages import OnEvent

SHOWN = 10  # trials in the notebook view of a study


class Study:
    """A stored study, created by `tuner.run` or opened by `tuner.open_study`.

    Every table is read from the storage when it is requested, so it shows the current state even while others are
    working on the study.

    Parameters
    ----------
    name : str
        Its name in the storage.
    storage : FencedStorage
        The storage that holds it.
    artifacts : str
        Folder or address of its files.
    folders : Folders
        Folders of reference data and caches.
    """

    def __init__(self, name: str, storage: FencedStorage, artifacts: str, folders: Folders) -> None:
        self.name = name
        self._storage, self._place, self._folders = storage, artifacts, folders

    @property
    def storage(self) -> str:
        """Address of the study's storage, without the password."""
        return self._storage.address

    @property
    def artifacts(self) -> str:
        """Folder or address of its files."""
        return self._place

    @property
    def objectives(self) -> list[str]:
        """Names of its objectives; the first one decides."""
        return objective_names(self._storage, self.name)

    @property
    def finished(self) -> bool:
        """Whether every trial of its search or grid has ended."""
        return self._storage.open_slots(self._storage.get_study_id_from_name(self.name)) == 0

    def status(self) -> pd.DataFrame:
        """One row per stage: how many trials it will have, and how many have ended, by state."""
        import pandas as pd

        stages = overview(self._storage, self.name).stages
        rows = [{"total": s.total, "ended": s.ended, **s.states, "trials_per_hour": s.trials_per_hour} for s in stages]
        return pd.DataFrame(rows, index=pd.Index([s.stage for s in stages], name="stage"))

    def leaderboard(self, top: int | None = None) -> pd.DataFrame:
        """One row per trial, sorted by the first objective, as `tuner best` shows them.

        Values are measured on validation, with one seed each: the best of many is optimistic.

        Parameters
        ----------
        top : int, optional
            Return at most this many rows.
        """
        import pandas as pd

        objectives = self.objectives
        rows = findings(self._storage, self.name, objectives, top=top).rows
        beside = [name for name in BESIDE if name not in objectives]
        table = [
            {
                **{name: r.values.get(name) for name in objectives}, **{name: r.watched.get(name) for name in beside},
                "architecture": r.params.get("architecture"), "activation": r.params.get("activation"),
                "front": r.pareto, "state": r.state, "reason": r.reason,
            }
            for r in rows[:top]
        ]  # fmt: skip
        numbers = pd.Index([r.number for r in rows[:top]], name="trial")
        columns = [*objectives, *beside, "architecture", "activation", "front", "state", "reason"]
        return pd.DataFrame(table, index=numbers, columns=columns)

    def trials(self, stage: str = "search") -> pd.DataFrame:
        """One row per trial with everything that is recorded about it, as `tuner table --out` writes them.

        Parameters
        ----------
        stage : str
            ``search``, ``confirmation`` or ``controls``.
        """
        import pandas as pd

        name, objectives = self._stage(stage)
        rows = tidy(stage_trials(self._storage, name), objectives)
        return pd.DataFrame(rows).set_index("trial") if rows else pd.DataFrame(columns=["state"])

    def trial(self, number: int, stage: str = "search") -> Trial:
        """Return one trial.

        Parameters
        ----------
        number : int
            Its number.
        stage : str
            ``search``, ``confirmation`` or ``controls``.

        Raises
        ------
        StudyError
            There is no such trial or stage.
        """
        name, objectives = self._stage(stage)
        found = find_trial(self._storage, self.name, number, stage)
        return Trial(name, found, objectives, self._artifacts())

    def ensemble(self, number: int | None = None) -> Ensemble:
        """Return the models that stand for a trial as one predictor: their mean logit, which a report explains.

        Parameters
        ----------
        number : int, optional
            Number of the trial in the search; by default the primary trial. The models are its retrained ones, or the
            search's own network if it was not retrained.

        Raises
        ------
        StudyError
            There is no such completed trial, or no primary trial yet.
        StorageError
            A stored model is missing, or differs from what was stored.
        """
        trial = self.primary.number if number is None else number
        runs = declared_models(self._storage, self.name, trial)
        return Ensemble(tuple(Trial(self.name, run, self.objectives, self._artifacts()).model() for run in runs))

    def candidates(self) -> pd.DataFrame:
        """One row per retrained candidate, the best first: means over its runs, with 95 % intervals."""
        import pandas as pd

        objectives, rows = self.objectives, {}
        found = findings(self._storage, self.name, objectives, top=0)
        primary = None if found.verdict is None else found.verdict.primary
        for c in found.candidates:
            row: dict[str, object] = {"runs": len(c.runs), "collapsed": c.collapsed, "primary": c.candidate == primary}
            names = [*objectives, *(name for name in c.mean if name not in objectives)] if c.runs else []
            for name in names:
                row |= {name: c.mean[name], f"{name}_low": c.low[name], f"{name}_high": c.high[name]}
            rows[c.candidate] = row
        table = pd.DataFrame.from_dict(rows, orient="index", columns=None if rows else ["runs", "collapsed", "primary"])
        table.index.name = "trial"
        return table.sort_values(objectives[0], ascending=False) if objectives[0] in table else table

    @property
    def verdict(self) -> Verdict | None:
        """The primary trial and how far it is ahead of the next one; None before the first retraining."""
        return primary_trial(self._storage, self.name, self.objectives)

    @property
    def primary(self) -> Trial:
        """Return the primary trial, which the confirmation has determined.

        Raises
        ------
        StudyError
            There is none yet.
        NoResult
            All trials have ended, and none completed.
        """
        check_fertile(self._storage, self.name, ("", CONFIRMATION))
        verdict = self.verdict
        if verdict is None:
            raise StudyError(
                f"{self.name} has no primary trial yet: no candidate has been retrained. Run it to its end with "
                "confirm=True, or take a trial by its number."
            )
        return self.trial(verdict.primary)

    def baselines(self) -> pd.DataFrame:
        """One row per control: what composition, k-mers, one motif, or shuffled labels reach on validation."""
        import pandas as pd

        done = [t for t in stage_trials(self._storage, self.name + CONTROLS) if t.state == TrialState.COMPLETE]
        rows = [
            {
                "control": str(t.params["control"]), "auroc": t.values[0],
                "average_precision": t.user_attrs.get("average_precision"),
                "match_fraction": t.user_attrs.get("match_fraction"), "detail": t.user_attrs.get("detail", ""),
            }
            for t in done
        ]  # fmt: skip
        columns = ["control", "auroc", "average_precision", "match_fraction", "detail"]
        table = pd.DataFrame(rows, columns=columns).set_index("control")
        return table.sort_values("auroc", ascending=False)

    @property
    def nulls(self) -> NullMatches:
        """How often filters match where there is no motif, beside the primary trial; `excess` is what it has beyond."""
        found = findings(self._storage, self.name, self.objectives, top=0)
        primary = None if found.verdict is None else found.verdict.primary
        return null_matches(
            self._storage, self.name, next((c for c in found.candidates if c.candidate == primary), None)
        )

    def confirm(
        self,
        *,
        workers: int | None = 1,
        device: str = "auto",
        time_limit: float | str | None = None,
        max_memory: str | None = None,
        kernels: str = "auto",
        progress: bool | Callback | None = None,
    ) -> Study:
        """Retrain the best candidates of a finished search with new seeds, and train the controls; resumes.

        The study determines how many candidates and seeds there are. The arguments are those of `run`.

        Raises
        ------
        StudyError
            The search has not ended, or the study does not retrain candidates.
        TunerError
            As for `run`.
        """
        from tuner.api.running import run
        from tuner.search.restore import restore_study
        from tuner.search.run import check_finished

        check_finished(self._storage, restore_study(self._storage, self.name, data_dir=self._folders.data_dir).plan)
        return run(
            self, workers=workers, device=device, time_limit=time_limit, max_memory=max_memory, kernels=kernels,
            progress=progress,
        )  # fmt: skip

    def evaluate(
        self,
        trial: int | None = None,
        *,
        on: str | Path | Data | None = None,
        split: str = "all",
        data: str | Path | None = None,
        device: str = "auto",
        max_memory: str | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> Examination:
        """Score a trial's models and the baselines on the test split; the opening is recorded in the study.

        Parameters
        ----------
        trial : int, optional
            Number in the search; by default the primary trial.
        on : str, Path or Data, optional
            Other data to score instead, such as another replicate or cell type: a study, a file with a ``[data]`` table
            alone, or a `Data`. `Examination.on` describes what was scored.
        split : str
            Of `on`: ``all`` of its sequences, or its ``test`` split.
        data : str or Path, optional
            Location of the study's data on this machine: a file, or a folder of files.
        device : str
            ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        max_memory : str, optional
            Memory that reading the data may take, e.g. ``"8 GB"``.
        variables : mapping of str to str, optional
            Values of ``$NAME`` in the paths of the file that `on` names.

        Raises
        ------
        StudyError, NoResult, DataError, StorageError
            Something is missing or has changed; says what.
        """
        from tuner.search.evaluation import evaluate_study

        other = other_data(on, split, variables)
        self._storage.join(self.name)
        return evaluate_study(
            self._storage, self._artifacts(), self.name, trial, when=datetime.now(UTC).isoformat(timespec="seconds"),
            data=None if data is None else Path(data), data_dir=self._folders.data_dir, cache=self._folders.cache,
            device=device, max_memory=None if max_memory is None else parse_size(max_memory), on=other, part=split,
        ).examination  # fmt: skip

    def predictor(
        self,
        trial: int | None = None,
        *,
        data: str | Path | None = None,
        device: str = "auto",
        max_memory: str | None = None,
    ) -> Predictor:
        """Return the ensemble of a trial's confirmed models, calibrated on validation; the test split stays closed.

        Parameters
        ----------
        trial, data, device, max_memory
            As for `evaluate`.

        Raises
        ------
        StudyError, NoResult, DataError, StorageError
            Something is missing or has changed; says what.
        """
        from tuner.predictor.stored import study_predictor

        self._storage.join(self.name, adopt_it=False)
        return study_predictor(
            self._storage, self._artifacts(), self.name, trial, data=None if data is None else Path(data),
            data_dir=self._folders.data_dir, cache=self._folders.cache, device=device,
            max_memory=None if max_memory is None else parse_size(max_memory),
        )  # fmt: skip

    def report(
        self,
        out: str | Path | None = None,
        *,
        trials: Sequence[int] = (),
        most: int = 3,
        stages: str | None = None,
        sequences: int = 500,
        references: int = 20,
        modisco: str = "default",
        task: str | None = None,
        data: str | Path | None = None,
        device: str = "auto",
        max_memory: str | None = None,
        progress: OnEvent | None = None,
    ) -> Path:
        """Write the report of the best trials; this opens the test split, and the opening is recorded in the study.

        Parameters
        ----------
        out : str or Path, optional
            Folder; by default ``runs/reports/NAME``. Computed results stay there and are not computed again.
        trials : sequence of int
            Trials to report, instead of those that the rule chooses.
        most : int
            Largest number of trials that the rule may choose.
        stages : str, optional
            Compute only these again, e.g. ``"patterns,page"``.
        sequences, references : int
            Largest number of test positives to attribute, and number of shuffled references of each.
        modisco : str
            ``fast``, ``default``, ``thorough`` or ``none``.
        task : str, optional
            Task of curves, contributions and patterns; by default the first.
        data, device, max_memory
            As for `evaluate`.
        progress : callable, optional
            Called with the progress of each stage.

        Returns
        -------
        Path
            The page, or the folder if `stages` leaves the page out.

        Raises
        ------
        StudyError, NoResult, DataError, StorageError
            Something is missing or has changed; says what.
        """
        from tuner.api.places import prepare_matching
        from tuner.report.build import build_report
        from tuner.report.folder import default_folder, rerun_commands
        from tuner.report.source import Options, open_source
        from tuner.report.stages import parse_stages
        from tuner.search.restore import restore_study

        wanted = parse_stages(stages)
        options = Options(sequences=sequences, references=references, modisco=modisco, task=task)
        self._storage.join(self.name, adopt_it=False)
        check_fertile(self._storage, self.name)
        folder = default_folder(self.name) if out is None else Path(out)
        plan, identity, data_dir = restore_study(
            self._storage, self.name, None if data is None else Path(data), data_dir=self._folders.data_dir
        )
        source = open_source(
            self._storage, self._artifacts(), self.name, plan, identity, options, data_dir=data_dir,
            cache=self._folders.cache, device=device,
            max_memory=None if max_memory is None else parse_size(max_memory),
        )  # fmt: skip
        prepare_matching(self._folders)
        command = f"tuner report --name {self.name}"
        built = build_report(
            source, folder, given=tuple(trials), most=most, stages=wanted, command=command,
            rerun=rerun_commands(plan, command), on_event=progress or (lambda event: None),
        )  # fmt: skip
        return built.out / "report.html" if "report.html" in built.files else built.out

    def stop(self, *, now: bool = False) -> int:
        """Ask all running workers, on any machine, to finish their trials and leave.

        Parameters
        ----------
        now : bool
            Hand the running trials back instead of finishing them.

        Returns
        -------
        int
            How many workers were asked. `status` shows when they have left.
        """
        roster = self._storage.roster(self._storage.get_study_id_from_name(self.name))
        roster.ask(at_once=now)
        return sum(not member.is_gone() for member in roster.members())

    def close(self) -> None:
        """Close the connections to the database; the next call opens them again."""
        self._storage.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Study({self.name!r}, storage={self.storage!r})"

    def _repr_html_(self) -> str:
        from tuner.results.words import primary as primary_words

        board = self.leaderboard(SHOWN)
        stages = ", ".join(f"{s.stage} {s.ended} of {s.total}" for s in overview(self._storage, self.name).stages)
        words = why_barren(self._storage, self.name) or primary_words(self.verdict, self.objectives[0])
        return (
            f"<p><b>{escape(self.name)}</b> in {escape(self.storage)}: {escape(stages)}</p>"
            f"{board.drop(columns='reason').to_html(na_rep='', float_format='{:.4f}'.format)}<p>{escape(words)}</p>"
        )

    def _artifacts(self) -> Artifacts:
        return Artifacts(self._place, reading=True)

    def _stage(self, stage: str) -> tuple[str, list[str]]:
        """Return the name of a stage in the storage, and the names of its values."""
        if stage not in STAGES:
            raise StudyError(unknown("stage", stage, STAGES))
        return self.name + STAGES[stage], ["auroc"] if STAGES[stage] == CONTROLS else self.objectives


def open_study(
    name: str | None = None,
    *,
    storage: str | Path | None = None,
    artifacts: str | Path | None = None,
    data_dir: str | Path | None = None,
    cache: str | Path | None = None,
) -> Study:
    """Open a stored study.

    Parameters
    ----------
    name : str, optional
        Its name in the storage; may be left out if there is only one.
    storage, artifacts, data_dir, cache : str or Path, optional
        As for `tuner.run`.

    Raises
    ------
    StudyError
        There is no such study; names the nearest one.
    StorageError
        There is no storage, or it cannot be read.
    """
    opened = open_existing(storage_of(storage), reading=True)
    try:
        known = opened.catalog()
        names = sorted(known.searches)
        if name is None:
            if len(names) != 1:
                raise StudyError(f"which study? {opened.address} holds: {listed(names) or 'none'}.")
            name = names[0]
        known.check(name)
        if name not in names:
            raise StudyError(unknown("study in this storage", name, names))
    except BaseException:
        opened.close()
        raise
    return Study(name, opened, artifacts_of(artifacts), folders_of(data_dir, cache))
