"""Claim: TPE is no worse than random search with the same rungs; how stopped trials are stored matters little.

    python benchmarks/rungs_sampler.py --study zbed2 --rungs 4 8 --seeds 20 runs/rungs/zbed2.jsonl

The tables are those of `rungs.py import`. No network is trained: a random forest, fitted to the tables, predicts the
objectives of a point at each rung and at the end. A residual of one of its training points, drawn by seed and trial
number, is added; it is the same for every arm. The figures thus hold for a search landscape like that of the forest,
which is smoother than the real one. Arms: TPE and random sampling, each without stopping, with stopped trials stored as
PRUNED (as in a search), and with stopped trials stored as COMPLETE with their values at the rung. The hypervolume is
that of trials trained to the end, above (.5, 0).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState
from rungs import read, volume
from sklearn.ensemble import RandomForestRegressor

from tuner.resources import find_resource
from tuner.search.sampler import slot_sampler
from tuner.study.file import read_study
from tuner.study.plan import mix, study_space
from tuner.study.space import SearchSpace
from tuner.study.stopping import StoppingSection

ARMS = [(sampler, fed) for sampler in ("tpe", "random") for fed in ("whole", "PRUNED", "rung values")]


class Landscape:
    """Predictions of a forest for a point at each rung and at the end."""

    def __init__(self, points: Sequence[Mapping[str, Any]], stops: Sequence[str], names: Sequence[str]) -> None:
        self.columns = sorted({(k, v if isinstance(v, str) else None) for p in points for k, v in p["params"].items()})
        self.stops, self.names = list(stops), list(names)
        x = np.array([self.encode(p["params"]) for p in points])
        y = np.array([[{**p["rungs"], "end": p["final"]}[s].get(n, 0.0) for s in stops for n in names] for p in points])
        self.forest = RandomForestRegressor(300, oob_score=True, min_samples_leaf=2, random_state=0).fit(x, y)
        self.residuals = y - self.forest.oob_prediction_
        self.explained = 1 - (self.residuals**2).sum(axis=0) / ((y - y.mean(axis=0)) ** 2).sum(axis=0)

    def encode(self, params: Mapping[str, Any]) -> list[float]:
        """Encode points: numbers unchanged, one column per choice, -1 if a parameter does not exist."""
        return [
            float(params.get(name, -1)) if value is None else float(params.get(name) == value)
            for name, value in self.columns
        ]

    def draw(self, params: Mapping[str, Any], seed: int) -> dict[str, dict[str, float]]:
        """Draw the values of one training: stop -> objective -> value."""
        residual = self.residuals[np.random.default_rng(seed).integers(len(self.residuals))]
        values = np.clip(self.forest.predict([self.encode(params)])[0] + residual, 0, 1)
        return {
            s: dict(zip(self.names, row, strict=True))
            for s, row in zip(self.stops, values.reshape(len(self.stops), -1).tolist(), strict=True)
        }


def search(
    land: Landscape, space: SearchSpace, rule: StoppingSection, names: Sequence[str], axes: Sequence[str],
    *, sampler: str, fed: str, trials: int, epochs: int, seed: int,
) -> tuple[int, float]:  # fmt: skip
    """Run one search on the landscape; return epochs used, and hypervolume of the trials trained to the end."""
    study = optuna.create_study(directions=["maximize"] * len(axes))
    for start in space.warm_starts:
        study.enqueue_trial(dict(start.parameters))
    seen: dict[int, list[list[float]]] = {}
    used, finals = 0, []
    for number in range(trials):
        study.sampler = slot_sampler(sampler, seed=mix(seed, number, "sampler"), startup=5)
        trial = study.ask()
        values = land.draw(space.suggest(trial), mix(seed, number))
        stopped = None
        for rung in rule.rungs if fed != "whole" else ():
            mine, before = [values[str(rung)][n] for n in names], seen.setdefault(rung, [])
            goes_on = rule.decide(rung, before, mine, number < len(space.warm_starts)).goes_on
            before.append(mine)
            if not goes_on:
                stopped = rung
                break
        used += stopped or epochs
        if stopped is None:
            finals.append(values["end"])
            study.tell(trial, [values["end"][a] for a in axes])
        elif fed == "PRUNED":
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, [values[str(stopped)][a] for a in axes])
    return used, volume(finals, axes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", type=Path, nargs="+")
    parser.add_argument("--study", default="zbed2", help="study whose space is searched")
    parser.add_argument("--rungs", type=int, nargs="+", default=StoppingSection().rungs)
    parser.add_argument("--eta", type=float, default=StoppingSection().eta)
    parser.add_argument("--minimum", type=int, default=StoppingSection().minimum)
    parser.add_argument("--axes", nargs="+", default=["auroc", "match_score"])
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    file = find_resource("studies", options.study, Path.cwd())
    space, _ = study_space(read_study(file), "standard", lambda name: find_resource("search_spaces", name, file.parent))
    rule = StoppingSection(rungs=options.rungs, eta=options.eta, minimum=options.minimum)
    points = [row for path in options.tables for row in read(path) if "final" in row]
    stops = [*map(str, rule.rungs), "end"]
    names = [a for a in options.axes if all(a in p["rungs"][s] for p in points for s in stops[:-1])]
    land = Landscape(points, stops, options.axes)
    explained = dict(zip([f"{n} at {s}" for s in stops for n in options.axes], land.explained, strict=True))
    print(f"{len(points)} points; compared by {', '.join(names)}; variance explained out of bag: "
          + ", ".join(f"{k} {v:.2f}" for k, v in explained.items()), flush=True)  # fmt: skip
    found: dict[tuple[str, str], list[tuple[int, float]]] = {arm: [] for arm in ARMS}
    for seed in range(options.seeds):
        for sampler, fed in ARMS:  # alternating, so that all arms meet the same state of the machine and the draws
            found[sampler, fed].append(
                search(
                    land, space, rule, names, options.axes,
                    sampler=sampler, fed=fed, trials=options.trials, epochs=points[0]["epochs"], seed=seed,
                )
            )  # fmt: skip
    base = np.array(found["random", "PRUNED"])[:, 1]
    rows = []
    for (sampler, fed), results in found.items():
        used, volumes = np.array(results).T
        difference = volumes - base
        error = difference.std(ddof=1) / len(difference) ** 0.5
        rows.append({
            "sampler": sampler, "stopped trials": fed, "epochs": used.mean() / options.trials / points[0]["epochs"],
            "hypervolume": volumes.mean(), "less random PRUNED": difference.mean(), "standard error": error,
        })  # fmt: skip
        print(
            f"{sampler:7}{fed:12} epochs {rows[-1]['epochs']:.3f} hypervolume {volumes.mean():.4f}, "
            f"less that of random with the same rungs {difference.mean():+.4f} +- {error:.4f}",
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
