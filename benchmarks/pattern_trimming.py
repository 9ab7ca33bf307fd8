"""Claim: how the matrix of a TF-MoDISco pattern is trimmed decides what it matches, truly and falsely.

    python benchmarks/pattern_trimming.py make zbed2 irf1 --out runs/patterns
    python benchmarks/pattern_trimming.py measure --out runs/patterns

make      trains one network on true labels and others on shuffled ones (a setting that a search chose, 16 epochs),
          and finds the patterns of each in the same 300 positives; one file per network
measure   matches every pattern with JASPAR2026 under each rule of trimming: patterns of true networks against the
          family of the factor, patterns of label-shuffled networks against everything, motifs planted in flanks of
          genomic composition against their own family (power), and column-permuted filters between such flanks (false
          matches)
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tuner.interpret.attribution import attribute
from tuner.interpret.modisco import find_patterns
from tuner.models import compiled
from tuner.motifs.database import MotifDatabase, load_database
from tuner.motifs.filters import passes_gates
from tuner.motifs.meme import Motif, column_information, corrected_information
from tuner.motifs.proportions import wilson_interval
from tuner.motifs.screen import SIGNIFICANT_E, permuted, reference_filters
from tuner.motifs.tomtom import tomtom
from tuner.resources import find_resource
from tuner.search.loaded import load_bench
from tuner.search.null_networks import train_shuffled
from tuner.search.trial import train
from tuner.study.file import check_study
from tuner.study.plan import make_plan
from tuner.study.space import read_space

DATA = Path(os.environ.get("TUNER_DATA_DIR", "."))
SETS: Mapping[str, tuple[Mapping[str, Any], tuple[str, ...]]] = {  # data section; names that are the factor's own
    "zbed2": ({"dataset": "zbed2"}, ("ZBED2",)),
    "irf1": ({"dataset": "irf1"}, ("IRF",)),
    "klf1": (
        {"positives": str(DATA / "klf1_mm9/Klf1.fna"), "negatives": "shuffle"}, ("KLF", "GATA", "SP"),
    ),
    "rest": ({"path": str(DATA / "encode/REST_GM12878_NRSF_HudsonAlpha_AC.seq.gz")}, ("REST",)),
    "usf1": ({"path": str(DATA / "encode/USF1_HepG2_USF-1_HudsonAlpha_AC.seq.gz")}, ("USF", "TFE", "MITF", "BHLHE")),
    "sp1": ({"path": str(DATA / "encode/SP1_GM12878_SP1_HudsonAlpha_AC.seq.gz")}, ("SP", "KLF")),
}  # fmt: skip
SEQUENCES, REFERENCES, EPOCHS = 300, 10, 16
POINT: Mapping[str, Any] = {  # of the confirmed trial with the most matches of a search on ZBED2
    "architecture": "residualbind", "activation": "exponential", "filters": 32, "kernel_size": 19,
    "initializer": "he_normal", "dropout_first": 0.1, "pool_first": 4, "residual_blocks": 0, "global_pool": "average",
    "dense_units": 64, "dropout_dense": 0.3, "dropout_scale": 0.25, "learning_rate": 0.004, "batch_size": 32,
    "shift": 30,
}  # fmt: skip
MOTIFS, SITES, WRONG = 50, (30, 100, 500), (0.0, 0.25)
FLANK, WIDTH = 12, 30


def make(name: str, out: Path, shuffled: int) -> None:
    """Train the networks of a data set and write their patterns."""
    data, _ = SETS[name]
    compiled.enable(out / "kernels")
    study = check_study({"name": name, "data": dict(data), "training": {"epochs": EPOCHS}}, name)
    space = read_space(find_resource("search_spaces", "default", Path.cwd()))
    bench = load_bench(make_plan(study, space, folder=Path.cwd()), data_dir=DATA, cache=None)
    split = bench.dataset.train
    rows = np.flatnonzero(split.labels[:, 0] == 1)[:SEQUENCES]
    codes = split.codes[rows]
    for index in range(1 + shuffled):
        file = out / f"{name}-{'true' if index == 0 else f'shuffled{index}'}.npz"
        if file.exists():
            continue
        if index == 0:
            network, _, trained = train(
                bench, POINT, bench.dataset, seed=1, checkpoint=None, on_epoch=lambda _: None
            )  # fmt: skip
        else:
            network, _, trained = train_shuffled(bench, POINT, replicate=1000 + index, on_epoch=lambda _: None)
        found = attribute("deep_shap", network.eval(), codes, references=REFERENCES, seed=0)
        with tempfile.TemporaryDirectory() as folder:
            patterns = find_patterns(codes, found.hypothetical, folder=Path(folder), environment=os.environ).patterns
        arrays = {f"{p.name}.{k}": getattr(p, k) for p in patterns for k in ("cwm", "ppm", "seqlets")}
        out.mkdir(parents=True, exist_ok=True)
        np.savez(file, **arrays)  # type: ignore[arg-type]
        print(f"{file.name}: AUROC {max(r.auroc for r in trained.history):.3f}; "
              f"{', '.join(f'{p.name} {p.seqlets}' for p in patterns) or 'no pattern'}", flush=True)  # fmt: skip


class Query:
    """Base frequencies and contributions of one pattern."""

    def __init__(self, ppm: np.ndarray, cwm: np.ndarray, sites: int) -> None:
        self.ppm, self.cwm, self.sites = ppm, cwm, sites


def by_information(bits: float, flank: int) -> Callable[[Query], np.ndarray]:
    """From the first to the last column above so many bits, and some beside them."""

    def rule(query: Query) -> np.ndarray:
        return _span(query.ppm, column_information(query.ppm) > bits, flank)

    return rule


def by_contribution(share: float, flank: int) -> Callable[[Query], np.ndarray]:
    """From the first to the last column whose contributions reach a share of the largest, and some beside them."""

    def rule(query: Query) -> np.ndarray:
        sums = abs(query.cwm).sum(axis=0)
        return _span(query.ppm, sums >= share * sums.max(), flank)

    return rule


def _span(ppm: np.ndarray, strong: np.ndarray, flank: int) -> np.ndarray:
    columns = np.flatnonzero(strong)
    if not len(columns):
        return ppm[:, :0]
    return ppm[:, max(0, columns[0] - flank) : columns[-1] + 1 + flank]


RULES: Mapping[str, Callable[[Query], np.ndarray]] = {
    **{f".5 bit, {n} flanking": by_information(0.5, n) for n in (0, 1, 2, 4)},
    **{f".25 bit, {n} flanking": by_information(0.25, n) for n in (0, 2)},
    **{f".3 of the largest contribution, {n} flanking": by_contribution(0.3, n) for n in (0, 2, 4)},
}


def match(queries: Sequence[Query], rule: Callable[[Query], np.ndarray], database: MotifDatabase) -> np.ndarray:
    """p-values, shape=(n_queries, n_targets); 1 for a query that does not pass the gates."""
    targets = [motif.ppm for motif in database.screened]
    p = np.ones((len(queries), len(targets)))
    cut = [rule(query) for query in queries]
    good = [
        i for i, (ppm, query) in enumerate(zip(cut, queries, strict=True))
        if ppm.shape[1] and passes_gates(query.sites, corrected_information(ppm, query.sites))
    ]  # fmt: skip
    for start in range(0, len(good), 250):
        part = good[start : start + 250]
        p[part] = tomtom([cut[i] for i in part], targets).p_value
    return p


def planted(database: MotifDatabase, rng: np.random.Generator) -> list[tuple[Query, Motif]]:
    """Patterns of motifs between flanks of genomic composition, some of whose seqlets hold no motif."""
    usable = [m for m in database.screened if m.family and 6 <= m.ppm.shape[1] <= WIDTH - 8]
    made = []
    for i in rng.choice(len(usable), MOTIFS, replace=False):
        for sites in SITES:
            for wrong in WRONG:
                gc = rng.uniform(0.4, 0.6)
                base = np.array([1 - gc, gc, gc, 1 - gc])[:, None] / 2
                ppm = np.tile(base, (1, WIDTH))
                start = (WIDTH - usable[i].ppm.shape[1]) // 2 + int(rng.integers(-3, 4))
                inner = slice(start, start + usable[i].ppm.shape[1])
                ppm[:, inner] = (1 - wrong) * usable[i].ppm + wrong * base
                made.append((sampled(ppm, sites, rng), usable[i]))
    return made


def sampled(ppm: np.ndarray, sites: int, rng: np.random.Generator) -> Query:
    """A pattern of so many seqlets drawn from a matrix; contributions as large as the information."""
    drawn = rng.multinomial(sites, (ppm / ppm.sum(axis=0)).T).T / sites
    return Query(drawn, drawn * column_information(drawn), sites)


def flanked(ppms: Sequence[np.ndarray], rng: np.random.Generator) -> list[Query]:
    """Column-permuted filters between flanks of genomic composition."""
    made = []
    for ppm in ppms:
        gc = rng.uniform(0.4, 0.6)
        base = np.array([1 - gc, gc, gc, 1 - gc])[:, None] / 2
        made.append(sampled(np.hstack([np.tile(base, FLANK), ppm, np.tile(base, FLANK)]), 500, rng))
    return made


def stored(out: Path, kind: str) -> list[tuple[str, str, Query]]:
    """(data set, pattern, query) of the networks of a kind."""
    found = []
    for file in sorted(out.glob(f"*-{kind}*.npz")):
        with np.load(file) as arrays:
            for key in (k for k in arrays if k.endswith(".ppm")):
                name = key.removesuffix(".ppm")
                query = Query(arrays[key], arrays[f"{name}.cwm"], int(arrays[f"{name}.seqlets"]))
                found.append((file.stem, name, query))
    return found


def rate(hits: np.ndarray) -> str:
    """A share with its 95 % interval."""
    low, high = wilson_interval(int(hits.sum()), len(hits)) if len(hits) else (0.0, 1.0)
    return f"{hits.mean() if len(hits) else float('nan'):.3f} ({low:.3f} to {high:.3f}, n = {len(hits)})"


def measure(out: Path) -> None:
    """Print one row per rule."""
    database = load_database("JASPAR2026")
    rng = np.random.default_rng(0)
    power, false = planted(database, rng), flanked(permuted([m.ppm for m in reference_filters()], 500, rng), rng)
    true, null = stored(out, "true"), stored(out, "shuffled")
    number = len(database.screened)
    names = [(m.name or "").upper() for m in database.screened]
    families = [m.family for m in database.screened]
    print("| trimmed at | planted, own family | permuted, any | label-shuffled networks, any | true networks, any | "
          "true networks, the factor |")  # fmt: skip
    print("|---|---|---|---|---|---|")
    told: dict[str, list[str]] = {}
    for rule, cut in RULES.items():
        p = match([q for q, _ in power], cut, database) * number <= SIGNIFICANT_E
        own = np.array([any(hit and f == m.family for hit, f in zip(row, families, strict=True))
                        for row, (_, m) in zip(p, power, strict=True)])  # fmt: skip
        cells = [rate(own), rate(match(false, cut, database).min(axis=1) * number <= SIGNIFICANT_E)]
        cells.append(rate(match([q for *_, q in null], cut, database).min(axis=1, initial=1) * number <= SIGNIFICANT_E))
        e = match([q for *_, q in true], cut, database) * number
        cells.append(rate(e.min(axis=1, initial=np.inf) <= SIGNIFICANT_E))
        owns = [[name.startswith(SETS[file.split("-")[0]][1]) for name in names] for file, *_ in true]
        factor = np.array([row[own].min(initial=np.inf) for row, own in zip(e, np.array(owns, bool), strict=True)])
        cells.append(rate(factor <= SIGNIFICANT_E))
        told[rule] = [
            f"{file} {name} ({q.sites}): {row.min():.1e} {names[int(row.argmin())]}; factor {f:.1e}"
            for (file, name, q), row, f in zip(true, e, factor, strict=True)
        ]
        print(f"| {rule} | " + " | ".join(cells) + " |", flush=True)
    for rule in (".5 bit, 0 flanking", ".25 bit, 0 flanking"):
        print(f"\n{rule}\n  " + "\n  ".join(told[rule]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("make", "measure"))
    parser.add_argument("sets", nargs="*", choices=[*SETS, []])
    parser.add_argument("--out", type=Path, default=Path("runs/patterns"))
    parser.add_argument("--shuffled", type=int, default=3, help="label-shuffled networks of each data set")
    options = parser.parse_args()
    if options.what == "measure":
        measure(options.out)
    for name in options.sets if options.what == "make" else ():
        make(name, options.out, options.shuffled)


if __name__ == "__main__":
    main()
