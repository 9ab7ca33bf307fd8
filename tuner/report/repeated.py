"""Stages that look for motifs in contributions: TF-MoDISco, its null, and the effect of each matched motif."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tuner.errors import AttributionError, TrainingDiverged
from tuner.interpret.attribution import attribute
from tuner.interpret.completeness import check_completeness
from tuner.interpret.marginal import marginalise as insert_motifs
from tuner.interpret.modisco import Patterns, find_patterns, match_patterns, patterns_meme
from tuner.models.ensemble import predicted
from tuner.motifs.filters import trim_ppm
from tuner.report.cache import Result, write_file
from tuner.report.measure import Inputs
from tuner.report.source import Source
from tuner.results.trial_files import DESCRIPTION, WEIGHTS, load_network, network_files
from tuner.search.null_networks import train_shuffled
from tuner.study.parameters import split_point
from tuner.study.plan import mix

NULL_CHECKED = 20
MARGINAL_MOTIFS, MARGINAL_BACKGROUNDS = 12, 100


def patterns(source: Source, trial: int, inputs: Inputs, out: Path) -> Result:
    """TF-MoDISco on the contributions, the patterns matched with the study's database."""
    given = inputs["contributions"]
    if given.values["refused"]:
        return Result({"patterns": [], "words": f"No pattern: {given.values['refused']}"})
    folder = f"trial-{trial}"
    found = find_patterns(
        given.arrays["codes"], given.arrays["hypothetical"], folder=out / folder, preset=source.options.modisco
    )
    meme = f"{folder}/patterns.meme"
    write_file(out / meme, patterns_meme(found.patterns).encode())
    return _result(source, found, ((f"{folder}/modisco.h5",) if found.h5 else ()) + (meme,))


def _result(source: Source, found: Patterns, files: tuple[str, ...]) -> Result:
    matches = match_patterns(found.patterns, source.bench.database) if found.patterns else ()
    rows: list[dict[str, Any]] = []
    arrays: dict[str, np.ndarray] = {}
    for p, m in zip(found.patterns, matches, strict=True):
        rows.append(
            {
                "name": p.name, "positive": p.positive, "seqlets": p.seqlets, "contribution": p.contribution,
                "match": None if m.target is None else
                {"id": m.target, "name": m.target_name, "family": m.family, "e_value": m.e_value},
                "significant": m.significant,
            }
        )  # fmt: skip
        arrays |= {f"cwm.{p.name}": p.cwm, f"ppm.{p.name}": p.ppm}
    return Result({"patterns": rows, "words": found.words}, arrays, files)


def null_model(source: Source, trial: int, inputs: Inputs, out: Path) -> Result:
    """Get networks with the trial's settings trained on shuffled labels: all that are stored, or else a new one."""
    runs = source.shuffled(trial)
    if runs:
        stored = [{name: source.artifacts.get(run, name) for name in (WEIGHTS, DESCRIPTION)} for run in runs]
        numbers = ", ".join(str(run.number) for run in runs)
        words = (
            f"label-shuffled network{'s' * (len(runs) > 1)} {numbers} of the study's controls, trained with the "
            f"settings of trial {trial}"
        )
    else:
        point = source.trial(trial).params
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # as a worker trains: compiled kernels, where they are in use, take one thread
        try:
            network, recipe, _ = train_shuffled(source.bench, point, replicate=0, on_epoch=lambda _: None)
        except TrainingDiverged as e:
            return Result({"words": f"No null: the network trained on shuffled labels diverged ({e})."})
        finally:
            torch.set_num_threads(threads)
        stored = [
            network_files(
                network, split_point(point)[0], source.bench.dataset, average_strands=recipe.average_strands
            )
        ]  # fmt: skip
        words = f"a network trained for this report on shuffled labels, with the settings of trial {trial}"
    return Result(
        {"words": words},
        {
            _of(index, name): np.frombuffer(content, np.uint8)
            for index, files in enumerate(stored)
            for name, content in files.items()
        },
    )


def _of(index: int, name: str) -> str:
    """Name of what belongs to one of several null networks; of the first, as when there was only one."""
    return f"{index}.{name}" if index else name


def null_patterns(source: Source, trial: int, inputs: Inputs, out: Path) -> Result:
    """Repeat contributions and TF-MoDISco on the same sequences with each label-shuffled network."""
    given, null = inputs["contributions"], inputs["null_model"]
    words = str(null.values["words"])
    if given.values["refused"] or WEIGHTS not in null.arrays:
        return Result({"patterns": [], "words": words, "made": False})
    count = sum(name == _of(index, WEIGHTS) for index in range(len(null.arrays)) for name in null.arrays)
    rows: list[dict[str, Any]] = []
    said: list[str] = []
    arrays: dict[str, np.ndarray] = {}
    files: tuple[str, ...] = ()
    made = 0
    for index in range(count):
        weights, description = (null.arrays[_of(index, name)].tobytes() for name in (WEIGHTS, DESCRIPTION))
        network, average = load_network(weights, description)
        found = _null(source, given, predicted([network], average), out, f"trial-{trial}/null", index)
        if isinstance(found, str):
            said.append(found)
            continue
        made += 1
        rows += [{**row, "network": index} for row in found.values["patterns"]]
        said.append(str(found.values["words"]))
        arrays |= {_of(index, name): array for name, array in found.arrays.items()}
        files += found.files
    told = " ".join(dict.fromkeys(said))
    values = {"patterns": rows, "words": f"{told} Of {words}." if made else told, "made": bool(made), "networks": made}
    return Result(values, arrays, files)


def _null(source: Source, given: Result, network: nn.Module, out: Path, folder: str, index: int) -> Result | str:
    """Patterns of one null network, or why it gives none."""
    codes, device = given.arrays["codes"], source.bench.device
    try:
        found = attribute(
            "deep_shap", network, codes, task=source.task, references=given.arrays["references"], device=device
        )
        order = np.random.default_rng(mix(source.bench.plan.seed, "checked")).permutation(len(codes))
        checked = np.sort(order[:NULL_CHECKED])
        check_completeness(network, codes[checked], found.part(checked), device=device)
    except AttributionError as e:
        return f"No null: {e}"
    folder += f"-{index}" if index else ""
    repeated = find_patterns(codes, found.hypothetical, folder=out / folder, preset=source.options.modisco)
    return _result(source, repeated, (f"{folder}/modisco.h5",) if repeated.h5 else ())


def marginalise(source: Source, trial: int, inputs: Inputs, out: Path) -> Result:
    """Insert each matched motif into shuffled validation sequences."""
    best: dict[str, tuple[float, str, str | None]] = {}
    for p in inputs["patterns"].values["patterns"] if "patterns" in inputs else ():
        if p["significant"]:
            m = p["match"]
            best[m["id"]] = min(best.get(m["id"], (np.inf, "", None)), (m["e_value"], m["name"], m["family"]))
    for row in inputs["filters"].values["rows"]:
        if row["significant"]:
            key = str(row["target"])
            best[key] = min(best.get(key, (np.inf, "", None)), (row["e_value"], row["target_name"], row["family"]))
    chosen = sorted(best, key=lambda i: (best[i][0], i))[:MARGINAL_MOTIFS]
    if not chosen:
        return Result({"rows": []})
    network = source.explained(trial).network
    ppms = [trim_ppm(source.bench.database.find(i).ppm)[0] for i in chosen]
    effects = insert_motifs(
        network, ppms, source.dataset.valid.codes, task=source.task, device=source.bench.device,
        seed=mix(source.bench.plan.seed, "marginal"), n=MARGINAL_BACKGROUNDS,
    )  # fmt: skip
    return Result(
        {
            "rows": [
                {"id": i, "name": best[i][1], "family": best[i][2], "effect": e.effect, "low": e.low, "high": e.high}
                for i, e in zip(chosen, effects, strict=True)
            ]
        }
    )
