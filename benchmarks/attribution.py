"""Claim: DeepSHAP and in-silico mutagenesis take a fraction of the time of the usual ways, with equal scores.

    python benchmarks/attribution.py --json attribution.json

DeepSHAP: this package is compared with tangermeme and shap.DeepExplainer at their default precision, float32, all with
the same references; the scores are compared with those of tangermeme in float64. Mutagenesis: windows are compared with
passing every mutant through the network as a whole, in batches of 256. The networks have random weights and batch norm
statistics of random sequences. The sides alternate.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from sides import alternate, begin, compare, finish
from torch import nn

from tuner.genome.sequence import one_hot
from tuner.interpret import mutagenesis as mutants
from tuner.interpret.attribution import make_target
from tuner.interpret.deep_shap import deep_shap, shap_scores, tangermeme_deep_shap
from tuner.interpret.references import make_references
from tuner.models.architectures import ARCHITECTURES, build_model
from tuner.models.memory import keep_freed_memory

REFERENCES, BATCH = 10, 256


def network(architecture: str) -> nn.Module:
    row = ARCHITECTURES[architecture]
    settings = {"architecture": architecture, "activation": "exponential"}
    model = build_model(settings, n_tasks=row.tasks, length=row.length, seed=0).train()
    rng = np.random.default_rng(1)
    with torch.no_grad():
        for _ in range(200):  # running statistics move by one hundredth a batch
            model(one_hot(rng.integers(0, 4, (8, row.length), dtype=np.uint8)))
    return model.eval()


def measure_deep_shap(architecture: str, sequences: int, rounds: int) -> dict[str, object]:
    model = network(architecture)
    codes = np.random.default_rng(0).integers(0, 4, (sequences, model.length), dtype=np.uint8)
    references = make_references(codes, REFERENCES, shuffle="dinucleotide", seed=0)
    double = make_target(model, "logit", 0, "cpu", double=True)
    single = make_target(model, "logit", 0, "cpu", double=False)
    here = one_hot(codes).numpy()
    exact = (tangermeme_deep_shap(double, codes, references, BATCH) * here).sum(axis=1)
    sides = {
        "tangermeme, float32": lambda: (tangermeme_deep_shap(single, codes, references, BATCH) * here).sum(axis=1),
        "shap, float32": lambda: shap_scores(single, codes, references),
        "package": lambda: (deep_shap(double, codes, references, BATCH) * here).sum(axis=1),
    }
    print(f"\n{architecture}: DeepSHAP of {sequences} sequences, {REFERENCES} references each")
    errors = {name: float(np.abs(side() - exact).max() / np.abs(exact).max()) for name, side in sides.items()}
    rows = compare(alternate(sides, rounds), "package")
    words = ", ".join(f"{name} {error:.0e}" for name, error in errors.items())
    print(f"largest error of a score, over the largest score: {words}", flush=True)
    return {"method": "deep_shap", "architecture": architecture, "errors": errors, "sides": rows}


def measure_mutagenesis(architecture: str, sequences: int, rounds: int) -> dict[str, object]:
    model = network(architecture)
    codes = np.random.default_rng(0).integers(0, 4, (sequences, model.length), dtype=np.uint8)
    target = make_target(model, "logit", 0, "cpu", double=False)

    def outputs(compute) -> torch.Tensor:
        with torch.inference_mode():
            return torch.cat([compute(target, row, BATCH) for row in codes])

    sides = {
        "every mutant as a whole": lambda: outputs(mutants._whole),
        "package": lambda: outputs(mutants._windows),
    }
    print(f"\n{architecture}: mutagenesis of {sequences} sequences")
    whole, windows = (side() for side in sides.values())
    error = float((whole - windows).abs().max() / whole.abs().max())
    rows = compare(alternate(sides, rounds), "package")
    print(f"largest difference of an output, over the largest output: {error:.0e}", flush=True)
    return {"method": "mutagenesis", "architecture": architecture, "error": error, "sides": rows}


def main() -> None:
    warnings.simplefilter("ignore")  # of the libraries
    keep_freed_memory()
    parser, head = begin(str(__doc__), __file__, rounds=5)
    parser.add_argument("--architectures", nargs="+", default=["residualbind", "cnn_deep"])
    parser.add_argument("--sequences", type=int, default=26)
    options = parser.parse_args()
    rows = []
    for architecture in options.architectures:
        rows.append(measure_deep_shap(architecture, options.sequences, options.rounds))
        rows.append(measure_mutagenesis(architecture, 2, options.rounds))
    finish(options.json, head, rows=rows)


if __name__ == "__main__":
    main()
