"""optuna-dashboard: serve it with artifacts, and write the notes it shows beside a study.

The only module that knows optuna_dashboard.
"""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import optuna
import optuna_dashboard

from tuner.errors import StorageError
from tuner.report.notes import escape
from tuner.search.artifacts import PREFIX, Artifacts
from tuner.search.barren import why_barren
from tuner.search.bench import Bench
from tuner.search.examination import openings
from tuner.search.objective import OBJECTIVES
from tuner.search.results import Confirmed, Row, Verdict, confirmed, declare, leaderboard, stage_trials
from tuner.search.stages import CONFIRMATION, CONTROLS
from tuner.search.storage import FencedStorage

WRITTEN = "tuner:note"  # digest of the note as written here: a note that a person has edited is kept
FIGURES = "tuner:report-figures"  # name -> artifact key and digest of what a report put there
SUMMARY = "\n\n## Report\n\n"  # begins the section that a report adds to the study's note
SHOWN = 5


class _Quiet(WSGIRequestHandler):
    """Without a line a request: the page polls every few seconds."""

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


class _Server6(WSGIServer):
    """For addresses such as ::1."""

    address_family = socket.AF_INET6


def serve(storage: FencedStorage, artifacts: Artifacts, *, host: str, port: int, ready: Callable[[int], None]) -> None:
    """Serve the dashboard until interrupted.

    Parameters
    ----------
    storage : FencedStorage
        Every study in it is shown.
    artifacts : Artifacts
        Where the trials' files are.
    host, port : str, int
        Where to listen (port 0: any free one); there is no authentication.
    ready : callable
        Called with the port once connections are accepted.

    Raises
    ------
    StorageError
        The address cannot be listened on.
    """
    app = optuna_dashboard.wsgi(storage, artifact_store=artifacts.store)
    try:
        server = make_server(host, port, app, _Server6 if ":" in host else WSGIServer, _Quiet)
    except OSError as e:
        raise StorageError(f"cannot listen on {host}:{port} ({e.strerror}). Choose another --port or --host.") from e
    with server:
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
        declare(candidates, objectives[0]),
        objectives,
        tested=len(openings(storage, name)),
    )
    if reason := why_barren(storage, name):
        found = f"## Found\n\nNothing. {escape(reason)}"
    notes = {
        name: question(bench) + "\n\n" + found + _summary_there(storage, name),
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
    """Word what a study asks: data, motifs, objectives, watched metrics."""
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
    rows: Sequence[Row],
    candidates: Sequence[Confirmed],
    verdict: Verdict | None,
    objectives: Sequence[str],
    *,
    tested: int,
) -> str:
    """Word what a study has found: best trials, confirmation, primary trial, test openings."""
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
                *(f"{c.mean[o]:.4f} ({c.low[o]:.3f} to {c.high[o]:.3f})" for o in objectives),
            ]
            for c in ended
        ]
        lines += ["## Confirmation", _table(["trial", "runs", *objectives], means)]
    if verdict is not None:
        sure = (
            f"ahead of trial {verdict.runner_up} by {verdict.lead:.4f} {objectives[0]}"
            if verdict.distinguishable
            else "the only candidate"
            if verdict.runner_up is None
            else f"not distinguishable from trial {verdict.runner_up}"
        )
        lines.append(f"**Primary trial: {verdict.primary}**, {sure}.")
    times = f"{tested} time{'s' * (tested > 1)}"
    lines.append(f"The test split has been opened {times}." if tested else "The test split has not been opened.")
    return "\n\n".join(lines)


def write_report_notes(
    storage: FencedStorage,
    artifacts: Artifacts,
    name: str,
    summary: str,
    notes: Mapping[int, str],
    figures: Mapping[str, bytes],
) -> list[str]:
    """Show a report in the dashboard: a section of the study's note, a note a trial, and figures on the study.

    Optuna takes no artifact for a trial that has ended, so the figures are the study's; a later report replaces
    those of the same name. A note that somebody edited stays.

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
    study = optuna.load_study(study_name=name, storage=storage, sampler=optuna.samplers.RandomSampler(seed=0))
    head = optuna_dashboard.get_note(study).partition(SUMMARY)[0]
    done = ["study note"] if _write(storage, name, f"{head}{SUMMARY}{summary}") else []
    by_number = {t.number: t._trial_id for t in stage_trials(storage, name)}
    for number, body in notes.items():
        trial = optuna.Trial(study, by_number[number])
        if _save(storage, name, trial, f"{WRITTEN}:{number}", body):
            done.append(f"note of trial {number}")
    uploaded = _upload(storage, artifacts, name, figures)
    return [*done, f"{uploaded} figure{'s' * (uploaded > 1)} on the study"] if uploaded else done


def _upload(storage: FencedStorage, artifacts: Artifacts, name: str, figures: Mapping[str, bytes]) -> int:
    """Store figures with the study; one of the same name is replaced by another content."""
    study_id = storage.get_study_id_from_name(name)
    attrs = storage.get_study_system_attrs(study_id)
    known: dict[str, list[str]] = json.loads(attrs.get(FIGURES, "{}"))  # name -> [key, digest]
    changed = {
        n: content for n, content in figures.items()
        if n not in known or known[n][1] != hashlib.sha256(content).hexdigest()
    }  # fmt: skip
    for filename, content in changed.items():
        stored = artifacts.put({filename: content})
        [(key, entry)] = stored.items()
        if filename in known:  # an entry cannot be taken back: the old key gets the new content
            old = known[filename][0]
            artifacts.replace(old, key)
            key, entry = old, json.dumps({**json.loads(entry), "artifact_id": old.removeprefix(PREFIX)})
        storage.set_study_system_attr(study_id, key, entry)
        known[filename] = [key, hashlib.sha256(content).hexdigest()]
    if changed:
        storage.set_study_system_attr(study_id, FIGURES, json.dumps(known))
    return len(changed)


def _summary_there(storage: FencedStorage, name: str) -> str:
    """The section that the latest report added to a study's note; empty without one."""
    try:
        study = optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        return ""
    return "".join(optuna_dashboard.get_note(study).partition(SUMMARY)[1:])


def _write(storage: FencedStorage, name: str, body: str) -> bool:
    try:
        study = optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        return False  # a stage that was not reached
    return _save(storage, name, study, WRITTEN, body)


def _save(storage: FencedStorage, name: str, owner: optuna.Study | optuna.Trial, key: str, body: str) -> bool:
    there = optuna_dashboard.get_note(owner)
    study_id = storage.get_study_id_from_name(name)
    written = storage.get_study_system_attrs(study_id).get(key)
    if there == body or (there and written != _digest(there)):
        return False
    optuna_dashboard.save_note(owner, body)
    storage.set_study_system_attr(study_id, key, _digest(body))
    return True


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
