"""`build_report`: choose, compute what is missing, and write the folder of a report."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tuner.report import collect
from tuner.report.assemble import model_report
from tuner.report.cache import Cache, Result, write_file
from tuner.report.caution import cautions
from tuner.report.dashboard import check_notes, write_report_notes
from tuner.report.data import ReportData, Selection
from tuner.report.figures import figure_files
from tuner.report.measure import now
from tuner.report.notes import summary, trial_note
from tuner.report.page import PER_FILTER, PER_TRIAL, check_size, render
from tuner.report.selection import MOST, Choice, choose, store_choice
from tuner.report.source import Source
from tuner.report.stages import MODISCO_STAGES, STAGES, Event, OnEvent, Runner
from tuner.report.tables import tables
from tuner.results import words
from tuner.results.confirmation import confirmed
from tuner.results.leaderboard import FrozenTrial, leaderboard, stage_trials
from tuner.results.test_split import openings
from tuner.storage.keys import CONFIRMATION

USUAL_FILTERS = 64  # where it is no parameter of the trial


class Built(NamedTuple):
    """A finished report.

    Attributes
    ----------
    out : Path
        Its folder.
    data : ReportData
        What it says.
    files : tuple of str
        What was written, relative to the folder.
    notes : tuple of str
        Where the dashboard now shows it.
    """

    out: Path
    data: ReportData
    files: tuple[str, ...]
    notes: tuple[str, ...]


def build_report(
    source: Source,
    out: Path,
    *,
    given: Sequence[int] = (),
    most: int = MOST,
    stages: Collection[str] | None = None,
    command: str,
    rerun: Sequence[str],
    on_event: OnEvent,
) -> Built:
    """Write the report of a study; only what is missing is computed.

    Parameters
    ----------
    source : Source
        The study.
    out : Path
        Folder of the report; results of stages computed before are in its ``.stages``.
    given : sequence of int
        Trials to report instead of those that the rule chooses.
    most : int
        How many trials the rule may choose.
    stages : collection of str or None
        As `Runner` takes it; `page` and `notes` are left out unless they are named, too.
    command : str
        The command that the user typed.
    rerun : sequence of str
        Commands that reproduce everything.
    on_event : callable
        Called for every stage; an exception from it ends the report, and finished stages are kept.

    Returns
    -------
    Built

    Raises
    ------
    StudyError
        There is nothing to report, or a given trial cannot be reported.
    StorageError
        Weights are missing, the folder cannot be written, or the record of an earlier report's figures is damaged.
    """
    objectives = source.bench.plan.study.objectives
    choice = choose(source.storage, source.name, objectives, most=most, given=given)
    if stages is None or "notes" in stages:
        check_notes(source.storage, source.name)
    cache = Cache(out)
    runner = Runner(source, cache, choice.trials, stages, on_event)
    whole = Whole(stage_trials(source.storage, source.name))
    if stages is None or "page" in stages:
        check_page(source, choice, whole, command=command, rerun=rerun)
    decided = store_choice(source.storage, source.name, choice, now())
    listed = ", ".join(str(n) for n in choice.trials)
    on_event(Event("select", None, "done", 1, runner.total, None, f"trial{'s' * (len(choice.trials) > 1)} {listed}"))
    found = runner.run()

    def frame(name: str, position: int, state: str, words: str) -> None:
        on_event(Event(name, None, state, position, runner.total, None, words))

    data = assemble(source, choice, decided, found, whole, command=command, rerun=rerun)
    files: tuple[str, ...] = ()
    if stages is None or "page" in stages:
        frame("page", runner.total - 1, "start", "figures, page and tables")
        files = write_pages(source, data, found, out)
        frame("page", runner.total - 1, "done", f"{len(files)} files in {out}")
    notes: tuple[str, ...] = ()
    if stages is None or "notes" in stages:
        words = {m.trial: trial_note(data, m) for m in data.models}
        images = {path.name: path.read_bytes() for path in sorted((out / "figures").glob("*.png"))}
        notes = tuple(write_report_notes(source.storage, source.artifacts, source.name, summary(data), words, images))
        frame("notes", runner.total, "done", ", ".join(notes) or "kept as somebody edited them")
    return Built(out, data, files, notes)


class Whole:
    """What a report says about the search as a whole, computed once.

    Parameters
    ----------
    trials : list of FrozenTrial
        Of the search.
    """

    def __init__(self, trials: list[FrozenTrial]) -> None:
        self.trials = trials
        self._importance: tuple[dict[str, dict[str, float]], str] | None = None

    def importance(self, source: Source) -> tuple[dict[str, dict[str, float]], str]:
        """As `collect.importance`."""
        if self._importance is None:
            self._importance = collect.importance(source, self.trials)
        return self._importance


def check_page(source: Source, choice: Choice, whole: Whole, *, command: str, rerun: Sequence[str]) -> None:
    """Estimate the largest size of the page, and refuse a report that is too large before the test split is opened.

    Raises
    ------
    StudyError
        The page would be too large.
    """
    none = choice._replace(trials=(), roles=())
    page = render(assemble(source, none, now(), {}, whole, command=command, rerun=rerun))
    filters = [int(t.params.get("filters", USUAL_FILTERS)) for t in whole.trials if t.number in choice.trials]
    check_size(source.name, len(page.encode()) + sum(PER_TRIAL + PER_FILTER * n for n in filters))


def assemble(
    source: Source,
    choice: Choice,
    decided: str,
    found: Mapping[int, Mapping[str, Result]],
    whole: Whole,
    *,
    command: str,
    rerun: Sequence[str],
) -> ReportData:
    """Assemble the report from results of stages and stored numbers."""
    storage, name = source.storage, source.name
    objectives = source.bench.plan.study.objectives
    trials = whole.trials
    candidates = confirmed(stage_trials(storage, name + CONFIRMATION))
    primary = next((c for c in candidates if c.candidate == choice.primary), None)
    fitted, shuffled = collect.controls(source, primary)
    models = tuple(model_report(source, choice, n, found[n], candidates, fitted) for n in choice.trials)
    opened = openings(storage, name)
    first = models[0].test if models else None
    baselines = first.baselines if first is not None else collect.baseline_rows(fitted, {})
    study = collect.study_info(source, command=command, created=now())
    data = collect.data_info(source, opened=bool(opened))
    selection = Selection(
        rule=choice.rule, trials=choice.trials, roles=choice.roles, primary=choice.primary, verdict=choice.verdict,
        verdict_words=choice.words, decided=decided,
    )  # fmt: skip
    composition = collect.about_composition(models, baselines, data)
    expected = [s for s in STAGES if source.options.modisco != "none" or s not in MODISCO_STAGES]
    left_out = [s for s in expected if any(s not in found[n] for n in choice.trials)]
    motifs = collect.motif_info(source, models)
    important, why_not = whole.importance(source)
    return ReportData(
        study=study, data=data, motifs=motifs, baselines=baselines, shuffled=shuffled,
        composition=composition,
        composition_words=words.composition(composition),
        trials=tuple(leaderboard(trials, objectives)), importance=important, importance_words=why_not,
        history=collect.best_so_far(trials, objectives), selection=selection, openings=len(opened), models=models,
        warnings=cautions(
            study, data, bool(motifs.targets), selection, models, baselines, shuffled, composition, len(opened),
            left_out,
        )
        + collect.undigested_files(source, choice.trials),
        rerun=tuple(rerun),
    )  # fmt: skip


def write_pages(
    source: Source, data: ReportData, found: Mapping[int, Mapping[str, Result]], out: Path
) -> tuple[str, ...]:
    """Write the page, report.json, tables, figures and each model's contributions, and return the paths."""
    contents = {"report.html": render(data).encode(), "report.json": data.to_json().encode()}
    contents |= {f"figures/{name}": content for name, content in figure_files(data).items()}
    contents |= {name: text.encode() for name, text in tables(data).items()}
    for path, content in contents.items():
        write_file(out / path, content)
    written = list(contents)
    for trial, results in found.items():
        written += sorted(name for result in results.values() for name in result.files)
        if "contributions" in results and "hypothetical" in results["contributions"].arrays:
            path = f"trial-{trial}/contributions.npz"
            _write_arrays(out / path, results["contributions"])
            written.append(path)
    return tuple(written)


def _write_arrays(path: Path, result: Result) -> None:
    """One-hot sequences, hypothetical and actual contributions, as TF-MoDISco and others read them."""
    one_hot = (result.arrays["codes"][:, None, :] == np.arange(4)[None, :, None]).astype(np.int8)
    hypothetical = result.arrays["hypothetical"]
    content = io.BytesIO()
    np.savez_compressed(
        content, allow_pickle=False, one_hot=one_hot, hypothetical=hypothetical, contributions=hypothetical * one_hot,
        references=result.arrays["references"], logits=result.arrays["logits"], rows=result.arrays["rows"],
    )  # fmt: skip
    write_file(path, content.getvalue())
