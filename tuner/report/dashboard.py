"""optuna-dashboard: serve it with artifacts, and write the notes that it shows with a study.

The only module that knows optuna_dashboard.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna_dashboard
from optuna_dashboard._note import get_note_from_system_attrs, note_str_key_prefix, note_ver_key, split_body

from tuner.errors import StorageError
from tuner.report.notes import escape
from tuner.report.server import Access, make_guarded_server
from tuner.results import words
from tuner.results.barren import why_barren
from tuner.results.confirmation import Confirmed, Verdict, confirmed
from tuner.results.findings import verdict_of
from tuner.results.leaderboard import TrialRow, leaderboard, stage_trials
from tuner.results.test_split import openings
from tuner.search.loaded import Bench
from tuner.storage.artifacts import PREFIX, Artifacts
from tuner.storage.digests import BadFile, Digest, figures_of
from tuner.storage.keys import CONFIRMATION, CONTROLS, FIGURES, NOTE
from tuner.storage.records import is_count
from tuner.storage.storage import FencedStorage
from tuner.storage.trials import trial_id
from tuner.study.objectives import OBJECTIVES

SUMMARY = "\n\n## Report\n\n"  # begins the section that a report adds to the study's note
SHOWN = 5

Note = str | Callable[[str], str]  # Markdown, or what becomes of the note that is there


def serve(
    storage: FencedStorage, artifacts: Artifacts, access: Access, *, port: int, ready: Callable[[int], None]
) -> None:
    """Serve the dashboard until interrupted.

    Parameters
    ----------
    storage : FencedStorage
        Every study in it is shown.
    artifacts : Artifacts
        Where the trials' files are.
    access : Access
        Where to listen, who is answered, and whether anything may be changed.
    port : int
        0 takes a free one.
    ready : callable
        Called with the port once connections are accepted.

    Raises
    ------
    StorageError
        The address cannot be listened on.
    """
    app = optuna_dashboard.wsgi(storage, artifact_store=artifacts.store)
    with make_guarded_server(app, access, port) as server:
        ready(server.server_port)
        server.serve_forever()


def write_notes(storage: FencedStorage, bench: Bench) -> list[str]:
    """Write the notes of a study and its stages: what was asked, and what has been found so far.

    Call it when the study starts and when it ends. A note that somebody edited in the dashboard stays.

    Parameters
    ----------
    storage : FencedStorage
        Where the study is.
    bench : Bench
        Its plan, data and motif database.

    Returns
    -------
    list of str
        Names of the Optuna studies whose notes were written.
    """
    name = bench.plan.name
    objectives = bench.plan.study.objectives
    candidates = confirmed(stage_trials(storage, name + CONFIRMATION))
    found = findings(
        leaderboard(stage_trials(storage, name), objectives),
        candidates,
        verdict_of(storage, name, objectives[0], candidates),
        objectives,
        tested=len(openings(storage, name)),
    )
    if reason := why_barren(storage, name):
        found = f"## Found\n\nNothing. {escape(reason)}"
    notes: dict[str, Note] = {
        name: lambda there: question(bench) + "\n\n" + found + "".join(there.partition(SUMMARY)[1:]),
        name + CONFIRMATION: (
            f"# Confirmation of {name}\n\nThe candidates of the search, each retrained with the same new "
            "seeds. `candidate` is the trial's number in the search. The means over the runs declare the "
            "primary trial; all values are validation."
        ),
        name + CONTROLS: (
            f"# Controls of {name}\n\nWhat is reached without a search on the same validation sequences: "
            "logistic regression on GC, CpG, 2-mers and 6-mers, the best single motif, and networks trained "
            "on shuffled labels."
        ),
    }
    return [n for n, body in notes.items() if _write(storage, n, body)]


def question(bench: Bench) -> str:
    """Describe the question of a study: data, motifs, objectives, watched metrics."""
    plan, data = bench.plan, bench.dataset.describe()
    targets = "; ".join(f"{family} ({', '.join(ids)})" for family, ids in plan.study.motifs.targets.items())
    lines = [
        f"# {plan.study.title or plan.name}",
        f"Study file `{plan.study.name}`, preset `{plan.preset}`, search space `{plan.space.name}` "
        f"({len(plan.space.parameters)} parameters, {len(plan.space.warm_starts)} warm starts), sampler "
        f"`{plan.sampler}`, seed {plan.seed}, {plan.trials} trials of at most {plan.recipe.epochs} epochs.",
        "**Every value is measured on the validation split, of one network with one seed. The best of many "
        "trials is therefore optimistic; the confirmation decides. No value here comes from the test split.**",
        "## Data",
        f"{data['name']}: {data['length']} bp, tasks {', '.join(data['tasks'])}",
        _table(
            ["split", "sequences", "positives", "GC +/-", "CpG +/-"],
            [_split(n, s) for n, s in data["splits"].items()],
        ),
        *(f"- {warning}" for warning in data["warnings"]),
        "## Objectives",
        _metrics(plan.study.objectives),
        f"Filters are matched with {bench.database.name}: {len(bench.database.screened)} targets, "
        f"{len(bench.database.promiscuous)} promiscuous ones left out. "
        + (
            f"Named targets: {targets}."
            if targets
            else "No target is named, so `target_fraction` and `coverage` are 0."
        ),
        "## Watched",
        _metrics([o for o in OBJECTIVES if o not in plan.study.objectives]),
    ]
    return "\n\n".join(lines)


def findings(
    rows: Sequence[TrialRow],
    candidates: Sequence[Confirmed],
    verdict: Verdict | None,
    objectives: Sequence[str],
    *,
    tested: int,
) -> str:
    """Describe what a study has found: best trials, confirmation, primary trial, test openings."""
    complete = [r for r in rows if r.values]
    if not complete:
        return "## Found\n\nNo trial has completed yet."
    cells = [
        [str(r.number), *(f"{r.values[o]:.4f}" for o in objectives), str(r.params.get("architecture", "")),
         str(r.params.get("activation", "")), "yes" if r.pareto else ""]
        for r in complete[:SHOWN]
    ]  # fmt: skip
    lines = ["## Found", _table(["trial", *objectives, "architecture", "activation", "front"], cells)]
    ended = [c for c in candidates if c.runs]
    if ended:
        means = [
            [
                str(c.candidate),
                str(len(c.runs)),
                *(words.mean(c, o) for o in objectives),
            ]
            for c in ended
        ]
        lines += ["## Confirmation", _table(["trial", "runs", *objectives], means)]
    if verdict is not None:
        lines.append(words.primary(verdict, objectives[0]).replace("Primary trial:", "**Primary trial:**", 1))
    times = f"{tested} time{'s' * (tested > 1)}"
    lines.append(f"The test split has been opened {times}." if tested else "The test split has not been opened.")
    return "\n\n".join(lines)


def check_notes(storage: FencedStorage, name: str) -> None:
    """Check that the record of an earlier report's figures can be read, before a report that may take hours.

    Raises
    ------
    StorageError
        The record is not what a report writes.
    """
    try:
        figures_of(storage.get_study_system_attrs(storage.get_study_id_from_name(name)), name)
    except StorageError as e:
        raise StorageError(f"{e} Without notes for the dashboard (--stages page) it is not needed.") from None


def write_report_notes(
    storage: FencedStorage,
    artifacts: Artifacts,
    name: str,
    summary: str,
    notes: Mapping[int, str],
    figures: Mapping[str, bytes],
) -> list[str]:
    """Show a report in the dashboard: a section of the study's note, a note for each trial, and figures.

    Optuna accepts no artifact for a trial that has ended, so the figures belong to the study; a later report replaces
    those of the same name. A note that somebody has edited is kept.

    Parameters
    ----------
    storage, artifacts : FencedStorage, Artifacts
        Where the study and its files are.
    name : str
        The study.
    summary : str
        Section of its note, Markdown.
    notes : mapping of int to str
        Trial -> note, Markdown.
    figures : mapping of str to bytes
        File name -> content.

    Returns
    -------
    list of str
        What was written, in words.
    """

    def with_summary(there: str) -> str:
        return f"{there.partition(SUMMARY)[0]}{SUMMARY}{summary}"

    done = ["study note"] if _write(storage, name, with_summary) else []
    by_number = {t.number: trial_id(t) for t in stage_trials(storage, name)}
    for number, body in notes.items():
        if _save(storage, name, by_number[number], f"{NOTE}:{number}", body):
            done.append(f"note of trial {number}")
    uploaded = _upload(storage, artifacts, name, figures)
    return [*done, f"{uploaded} figure{'s' * (uploaded > 1)} on the study"] if uploaded else done


def _upload(storage: FencedStorage, artifacts: Artifacts, name: str, figures: Mapping[str, bytes]) -> int:
    """Store figures with the study; one of the same name is replaced by another content."""
    study_id = storage.get_study_id_from_name(name)
    known = figures_of(storage.get_study_system_attrs(study_id), name)
    digests = {filename: hashlib.sha256(content).hexdigest() for filename, content in figures.items()}
    changed = {
        n: content for n, content in figures.items()
        if n not in known or known[n][1] != digests[n] or not _intact(artifacts, n, *known[n])
    }  # fmt: skip
    for filename, content in changed.items():
        [(key, entry)] = artifacts.put({filename: content}).items()  # first, so that an unreachable store holds no lock

        def enter(
            attrs: Mapping[str, Any], filename: str = filename, key: str = key, entry: str = entry
        ) -> tuple[dict[str, Any], list[str]]:
            there = figures_of(attrs, name)
            if filename not in there:
                there[filename] = [key, digests[filename]]
                return {key: entry, FIGURES: json.dumps(there)}, []
            # An entry cannot be taken back: the one that is there gets the new content, under the lock, because
            # another report may do the same. A second time it changes nothing.
            old = there[filename][0]
            artifacts.restore(old.removeprefix(PREFIX), changed[filename])
            there[filename] = [old, digests[filename]]
            return {FIGURES: json.dumps(there)}, [key]

        artifacts.remove(storage.update_attrs(study_id, enter))
    return len(changed)


def _intact(artifacts: Artifacts, name: str, key: str, sha256: str) -> bool:
    try:
        artifacts.read(key.removeprefix(PREFIX), name, expected=Digest(sha256, None))
    except BadFile:
        return False
    return True


def _write(storage: FencedStorage, name: str, note: Note) -> bool:
    if name in storage.catalog().foreign:
        return False  # a study of another program with the name of a stage
    try:
        storage.get_study_id_from_name(name)
    except KeyError:
        return False  # a stage that was not reached
    return _save(storage, name, None, NOTE, note)


def _save(storage: FencedStorage, name: str, trial_id: int | None, key: str, note: Note) -> bool:
    """Replace a note that was written here, as `optuna_dashboard.save_note` stores it, in one transaction."""

    def replace(attrs: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
        if not _is_note(attrs, trial_id):
            return {}, False  # not in the dashboard's format, so somebody else wrote it
        there = get_note_from_system_attrs(dict(attrs), trial_id)["body"]
        body = note if isinstance(note, str) else note(there)
        if there == body or (there and attrs.get(key) != _digest(there)):
            return {}, False
        wanted = split_body(body, trial_id)
        parts = {k: "" for k in attrs if k.startswith(note_str_key_prefix(trial_id))}
        version = note_ver_key(trial_id)
        return {**parts, **wanted, version: attrs.get(version, 0) + 1, key: _digest(body)}, True

    return storage.update_attrs(storage.get_study_id_from_name(name), replace)


def _is_note(attrs: Mapping[str, Any], trial_id: int | None) -> bool:
    """Whether the parts of a note, if there are any, are text, and its version is a number."""
    parts = [v for k, v in attrs.items() if k.startswith(note_str_key_prefix(trial_id))]
    return all(isinstance(part, str) for part in parts) and is_count(attrs.get(note_ver_key(trial_id), 0))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _split(name: str, s: Mapping[str, Any]) -> list[str]:
    if "positives" not in s:
        return [name, str(s["sequences"]), "closed", "", ""]
    pairs = [
        "" if None in (a, b) else f"{a:.2f} / {b:.2f}"
        for a, b in ((s[f"{m}_positives"], s[f"{m}_negatives"]) for m in ("gc", "cpg"))
    ]
    return [name, str(s["sequences"]), ", ".join(str(n) for n in s["positives"].values()), *pairs]


def _metrics(names: Sequence[str]) -> str:
    return _table(["metric", "better", "meaning"], [[f"`{n}`", _better(n), OBJECTIVES[n].note] for n in names])


def _better(name: str) -> str:
    return "higher" if OBJECTIVES[name].direction == "maximize" else "lower"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
