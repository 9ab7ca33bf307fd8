"""Claim: the contributions of a report add up to the change of the logit that it displays.

    python benchmarks/explained.py --study klf1-fast --storage runs/tuner.db --artifacts runs/artifacts --trial 4

A trial's displayed logit is the mean over its models and, where they predict so, over both strands. For positives of
validation and training (the test split stays closed), DeepSHAP of three functions is compared with the change of that
logit from the references to the sequence: of the first model on the given strand, of the first model as it predicts,
and of the mean over all models as they predict. Prints how far the sum of contributions is from the change, in the
median over sequences; the correlation of position scores with those of the displayed logit; and the CPU seconds. Then
prints how well the contributions of single models agree, and how well contributions to a few references agree with
those to others, as many, in the median over sequences: what the number of references costs and buys.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tuner.cli import context
from tuner.interpret.attribution import Attribution, attribute
from tuner.interpret.averaged import agreement, references_for
from tuner.interpret.completeness import measure_completeness
from tuner.models.ensemble import predicted
from tuner.report.source import Options, open_source
from tuner.search.restore import restore_study
from tuner.storage.artifacts import Artifacts
from tuner.storage.storage import open_storage


def timed(network: nn.Module, codes: np.ndarray, task: int, references: np.ndarray) -> tuple[Attribution, float]:
    """Attribute, and count the CPU seconds of this thread."""
    started = time.process_time()
    found = attribute("deep_shap", network, codes, task=task, references=references)
    return found, time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", default="zbed2-fast")
    parser.add_argument("--storage", default="runs/tuner.db")
    parser.add_argument("--artifacts", type=Path, default=Path("runs/artifacts"))
    parser.add_argument("--trial", type=int, required=True)
    parser.add_argument("--sequences", type=int, default=100)
    parser.add_argument("--references", type=int, default=20)
    parser.add_argument("--few", type=int, nargs="*", default=[5, 10, 20], help="numbers of references to compare")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    storage = open_storage(options.storage)
    plan, identity, data_dir = restore_study(storage, options.study, data_dir=context.data_dir())
    source = open_source(
        storage, Artifacts(options.artifacts, reading=True), options.study, plan, identity, Options(),
        data_dir=data_dir, cache=context.cache_dir(), device="cpu",
    )  # fmt: skip
    data, task = source.bench.dataset, source.task
    parts = (data.valid, data.train)
    codes = np.concatenate([part.codes[part.labels[:, task] == 1] for part in parts])[: options.sequences]
    shown = source.explained(options.trial)
    network, both = source.network(source.models(options.trial)[0])
    functions = {
        "first model, given strand": network,
        "first model, as it predicts": predicted([network], both),
        "all models, as they predict": shown.network,
    }
    references = references_for(shown.network, codes, options.references, seed=plan.seed)
    print(
        f"{options.study}: {shown.words}; {len(codes)} positives of {data.length} bp, {options.references} references"
    )
    timed(network, codes[:2], task, references[:2])  # imports
    found = {name: timed(function, codes, task, references) for name, function in functions.items()}
    last = found["all models, as they predict"][0]
    rows: list[dict[str, Any]] = []
    for name, (one, seconds) in found.items():
        displayed = measure_completeness(shown.network, codes, one)
        own = measure_completeness(functions["first model, as it predicts"], codes, one)
        r = float(np.nanmedian(agreement([one.scores, last.scores])))
        rows.append(
            {"explained": name, "miss_displayed": displayed.median, "worst_displayed": displayed.maximum,
             "miss_first_model": own.median, "correlation": r, "cpu_seconds": seconds}
        )  # fmt: skip
        print(
            f"{name:28} misses the displayed logit by {displayed.median:.2%} (median), {displayed.maximum:.2%} (worst),"
            f" the first model's prediction by {own.median:.2%}; r = {r:.3f}; {seconds:.1f} s"
        )
    consensus = None
    if last.consensus is not None:
        consensus = float(np.nanmedian(last.consensus))
        print(f"contributions of two single models: r = {consensus:.3f} in the median over sequences")
    few: list[dict[str, Any]] = []
    half = 2 * max(options.few, default=0)
    if half:
        part = codes[: max(1, len(codes) // 4)]
        wide = references_for(shown.network, part, half, seed=plan.seed + 1)
        for k in options.few:
            row: dict[str, Any] = {"references": k}
            for name in ("first model, as it predicts", "all models, as they predict"):
                sides = [
                    attribute("deep_shap", functions[name], part, task=task, references=np.ascontiguousarray(r)).scores
                    for r in (wide[:, :k], wide[:, -k:])
                ]
                row[name] = float(np.nanmedian(agreement(sides)))
            few.append(row)
            words = ", ".join(f"{name}: {row[name]:.4f}" for name in row if name != "references")
            print(f"{k:3} references against {k} others: r = {words}")
    if options.json:
        options.json.write_text(json.dumps({"rows": rows, "consensus": consensus, "references": few}, indent=1))


if __name__ == "__main__":
    main()
