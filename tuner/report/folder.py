"""The folder of a report, and the commands that reproduce it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from tuner.errors import StudyError
from tuner.resources import RUNS
from tuner.storage.names import folder_name, shown
from tuner.study.plan import Plan


def default_folder(name: str) -> Path:
    """Default folder of a study's report.

    Raises
    ------
    StudyError
        The stored name cannot be a folder name; no command of this package creates such names.
    """
    if folder_name(name) != name or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}", name):
        raise StudyError(
            f"the study's name {shown(name)!r} cannot name a folder. Say where the report goes with --out."
        )
    return RUNS / "reports" / name


def rerun_commands(plan: Plan, typed: str) -> list[str]:
    """List the commands that reproduce study and report; `typed` is that of the report."""
    words = ["tuner", "run", "--study", plan.study.name, "--preset", plan.preset, "--name", plan.name]
    words += ["--seed", str(plan.seed)] if plan.seed else []
    words += ["--trials", str(plan.trials)] if plan.sampler != "grid" else []
    return [shlex.join(words), typed]


def use_commands(name: str, trial: int | None) -> list[tuple[str, str]]:
    """Commands that take a model out of a study and use it, each with what it does.

    Parameters
    ----------
    name : str
        Of the study.
    trial : int or None
        Whose models; None for the primary trial.
    """
    folder = f"{folder_name(name)}_model"
    export = ["tuner", "export", "--name", name, *([] if trial is None else ["--trial", str(trial)]), "--out", folder]
    predict = ["tuner", "predict", folder, "sequences.fa", "--out", "scores.tsv"]
    python = ["python", "-c", f"import tuner; print(tuner.load_model({folder!r}).predict_fasta('sequences.fa'))"]
    scan = ["tuner", "scan", folder, "--genome", "genome.fa", "--bigwig", "scores.bw", "--bed", "hits.bed"]
    variants = ["tuner", "variants", folder, "--vcf", "variants.vcf", "--genome", "genome.fa", "--out", "variants.tsv"]
    return [
        ("Write the models as a folder that needs no study", shlex.join(export)),
        ("Score the sequences of a FASTA file or a table", shlex.join(predict)),
        ("The same in Python", shlex.join(python)),
        ("Scan a genome: a track of scores, and hits", shlex.join(scan)),
        ("Score the alleles of a VCF", shlex.join(variants)),
    ]
