"""`tuner check`: find every error that can be known before the first epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuner.cli import context, options
from tuner.cli.match import name_broken

if TYPE_CHECKING:
    from tuner.data.dataset import Dataset
    from tuner.motifs.database import MotifDatabase
    from tuner.study.plan import Plan

EXAMPLE = "Example: tuner check --study zbed2 --preset fast"


def command(
    study: options.Study,
    preset: options.Preset = "standard",
    points: Annotated[int, typer.Option(min=1, help="Number of random points of the space to build.")] = 50,
    seed: options.Seed = 0,
    max_memory: options.MaxMemory = None,
    as_json: options.Json = False,
) -> None:
    """Check study, space, data and motif database; nothing is trained or stored."""
    from tuner.data.sizes import counted

    limit = context.max_memory(max_memory)
    plan = context.plan_for(study, preset=preset, seed=seed)
    document, problems = examine(plan, points, limit)
    code = max((code for _, code in problems), default=0) if all(c == 2 for _, c in problems) else 1
    document |= {"problems": [text for text, _ in problems]}
    if problems:
        document |= {"error": "; ".join(document["problems"]), "exit_code": code}
    if as_json:
        context.emit(document)
    else:
        print_check(document)
    for text, _ in problems:
        context.note(f"error: {text}")
    if problems:
        raise typer.Exit(code)
    warnings = sum(len(document.get(part, {}).get("warnings", ())) for part in ("data", "audit"))
    warnings += bool(document.get("motifs", {}).get("broken"))
    found = f"no errors, but {counted(warnings, 'warning')} (above)" if warnings else "nothing is wrong"
    context.note(f"{plan.name}: {found}")


def examine(plan: Plan, points: int, max_memory: int | None = None) -> tuple[dict[str, Any], list[tuple[str, int]]]:
    """Load and build what a run would; returns a description of the run, and each problem with its exit code."""
    from tuner.data.registry import load_dataset
    from tuner.errors import TunerError
    from tuner.motifs.match import check_targets
    from tuner.search.checks import build_points, sample_points
    from tuner.search.loaded import load_motifs

    problems: list[tuple[str, int]] = []
    dataset: Dataset | None = None
    database: MotifDatabase | None = None
    document: dict[str, Any] = {
        "study": plan.name,
        "preset": plan.preset,
        "trials": plan.trials,
        "sampler": plan.sampler,
        "epochs": plan.recipe.epochs,
        "objectives": list(plan.study.objectives),
        "space": plan.space.name,
        "parameters": len(plan.space.parameters),
        "warm_starts": [start.source for start in plan.space.warm_starts],
        "confirmation": {
            **plan.confirmation.model_dump(), "composition": plan.composition_networks(paired=False),
        },
    }  # fmt: skip
    try:
        dataset = load_dataset(
            plan.data_spec, data_dir=context.data_dir(), cache=context.cache_dir(), max_memory=max_memory
        )
        document["data"] = dataset.describe()
        _add_random(document["data"]["relatives"], dataset, plan)
        document["confirmation"]["composition"] = plan.composition_networks(paired=dataset.shuffled)
        built = build_points(
            sample_points(plan.space, points, plan.seed), n_tasks=dataset.n_tasks, length=dataset.length
        )
        document["networks"] = built._asdict()
        problems += [(text, 1) for text in built.problems]
    except TunerError as e:
        problems.append((str(e), e.exit_code))
    try:
        database = load_motifs(plan, context.cache_dir())
        document["motifs"] = {
            "database": database.name,
            "targets": len(database.screened),
            "promiscuous": len(database.promiscuous),
            "null_rate": database.null_rate,
            "broken": list(database.broken),
            "named": plan.study.motifs.targets,
        }
        check_targets(database, plan.study.motifs.targets)
    except TunerError as e:
        problems.append((str(e), e.exit_code))
    if dataset is not None and not problems:
        document["audit"] = audit_document(dataset, database, plan)
    return document, problems


def _add_random(relatives: dict[str, dict[str, Any]], dataset: Dataset, plan: Plan) -> None:
    """Add what the memoriser would reach if peaks had been split at random, if they were not."""
    from tuner.data.leakage import random_memoriser
    from tuner.data.partition import rule_of

    split_otherwise = plan.data_spec.peaks is not None and rule_of(plan.data_spec).by != "random"
    if split_otherwise and not dataset.shuffled and "memoriser" in relatives.get("valid", {}):
        relatives["valid"]["memoriser_random"] = random_memoriser(dataset)


def audit_document(dataset: Dataset, database: MotifDatabase | None, plan: Plan) -> dict[str, Any]:
    """Measure what separates the classes before anything is trained, in plain values and in words."""
    from tuner.models.audit import audit
    from tuner.results.audit_words import audit_words

    named = {} if database is None else plan.study.motifs.targets
    targets = {family: [database.find(one) for one in ids] for family, ids in named.items() if database is not None}
    found = audit(dataset.without_test(), targets)
    words = audit_words(found, shuffled=dataset.shuffled)
    return {
        "features": [row._asdict() | {"auroc": row.auroc._asdict()} for row in found.features],
        "motifs": [row._asdict() | {"auroc": row.auroc._asdict()} for row in found.motifs],
        "lines": list(words.lines),
        "warnings": list(words.warnings),
    }


def print_check(d: dict[str, Any]) -> None:
    """Print what a run would do."""
    from tuner.data.sizes import counted
    from tuner.motifs.screen import FEWEST_COUNTED, SIGNIFICANT_E

    context.note(
        f"search   {d['study']}: {d['trials']} trials, {d['sampler']}, at most {d['epochs']} epochs, "
        f"{' and '.join(d['objectives'])} on validation"
    )
    context.note(f"space    {d['space']}: {d['parameters']} parameters, {len(d['warm_starts'])} warm starts")
    for source in d["warm_starts"]:
        context.note(f"         first: {source}")
    if "networks" in d and d["networks"]["fewest"] is not None:
        n = d["networks"]
        context.note(f"networks {n['points']} points built, {n['fewest']:,} to {n['most']:,} parameters")
    c = d["confirmation"]
    if c["candidates"]:
        runs = c["seeds"] * max(1, c["folds"])
        context.note(
            f"confirm  {counted(c['candidates'], 'candidate')}, {counted(runs, 'run')} each; "
            f"{counted(c['shuffled'], 'label-shuffled network')}, "
            f"{counted(c['composition'], 'composition-only network')}"
        )
    if "data" in d:
        context.note(f"data     {d['data']['source']}: {d['data']['length']} bp, tasks {', '.join(d['data']['tasks'])}")
        for split, s in d["data"]["splits"].items():
            context.note(f"         {split}: {_split(s)}{_relatives(d['data']['relatives'].get(split))}")
        for sentence in d["data"]["recipe"]:
            context.note(f"         {sentence}")
        told = d.get("audit", {"lines": [], "warnings": []})
        for number, line in enumerate(told["lines"]):
            context.note(f"{'' if number else 'audit':<9}{line}")
        for warning in [*d["data"]["warnings"], *told["warnings"]]:
            context.note(f"warning: {warning}")
    if "motifs" in d:
        m = d["motifs"]
        named = "; ".join(f"{family}: {', '.join(ids)}" for family, ids in m["named"].items()) or "none named"
        context.note(
            f"motifs   {m['database']}: {counted(m['targets'], 'target')}, {m['promiscuous']} promiscuous ones "
            f"left out; {named}"
        )
        if m["null_rate"] > SIGNIFICANT_E and m["targets"] < FEWEST_COUNTED:
            context.note(
                f"note: {m['database']} has {counted(m['targets'], 'target')}, so a filter matches at "
                f"p <= {SIGNIFICANT_E / m['targets']:.2g}, and {m['null_rate']:.1%} of column-permuted filters match "
                "by chance. Go by match_excess, which subtracts such matches, rather than by match_fraction."
            )
        if m["broken"]:
            name_broken(m["broken"])


def _relatives(found: dict[str, Any] | None) -> str:
    """Say how many sequences of a split have relatives in training, and what remembering these reaches."""
    if found is None:
        return ""
    reached = found.get("memoriser")
    reaches = "" if reached is None else f"; a memoriser reaches AUROC {reached:.2f}"
    if (random := found.get("memoriser_random")) is not None:
        reaches += f" ({random:.2f} if training and validation were split at random)"
    has = "has" if found["related"] == 1 else "have"
    return f"; {found['related'] or 'none'} {has} relatives in training{reaches}"


def _split(s: dict[str, Any]) -> str:
    if "positives" not in s:
        return f"{s['sequences']} sequences, closed until tuner evaluate"
    positives = ", ".join(
        f"{n} positive" + (f" for {task}" if len(s["positives"]) > 1 else "") for task, n in s["positives"].items()
    )
    pair = {m: [s[f"{m}_positives"], s[f"{m}_negatives"]] for m in ("gc", "cpg")}
    words = {"gc": "GC", "cpg": "CpG observed/expected"}
    shown = [f"{words[m]} {a:.2f} against {b:.2f}" for m, (a, b) in pair.items() if a is not None and b is not None]
    return "; ".join([f"{s['sequences']} sequences, {positives}", *shown])
