"""Claim: the mutation that changes a model's logit most lies in the factor's known site.

    tuner ism reb1_model Reb1_Rhee.bed --genome sacCer3.fa --out reb1_ism
    python benchmarks/mutated_sites.py reb1_ism --site 'TTACCC[GT]'

Reads what `tuner ism` wrote. Of the sequences that hold the site on either strand, prints in how many the base with the
largest |effect| of a mutation, and in how many the base with the largest mean |effect|, lies in a site; what a base
drawn at random would give; of the largest effects outside of sites, how many raise the logit, and how many make another
site; and the mean |effect| of the bases of sites and of the others.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import numpy as np

LETTERS = np.frombuffer(b"ACGTN", dtype=np.uint8)


def in_sites(text: str, pattern: re.Pattern[str]) -> np.ndarray:
    """Whether each base lies in a site, on either strand, shape=(length,); sites may overlap."""
    found = np.zeros(len(text), dtype=bool)
    turned = text[::-1].translate(str.maketrans("ACGT", "TGCA"))
    for strand, letters in ((1, text), (-1, turned)):
        for match in pattern.finditer(letters):
            at, width = match.start(1), len(match[1])
            start = at if strand == 1 else len(text) - at - width
            found[start : start + width] = True
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="that tuner ism wrote")
    parser.add_argument("--site", required=True, help="regular expression of the site, e.g. TTACCC[GT]")
    options = parser.parse_args()
    pattern = re.compile(f"(?=({options.site}))")
    with np.load(options.folder / "ism.npz") as kept:
        signed, one_hot = kept["delta"][:, 0], kept["sequences"]  # (n, 4, length)
    codes = np.where(one_hot.any(axis=1), one_hot.argmax(axis=1), 4)
    sites = np.stack([in_sites(row.tobytes().decode(), pattern) for row in LETTERS[codes]])
    holds = sites.any(axis=1)
    print(f"sequences {len(codes)}, with {options.site} {int(holds.sum())}")
    if not holds.any():
        return
    signed, codes, sites = signed[holds], codes[holds], sites[holds]
    effects, known = np.abs(signed), codes < 4
    rows = np.arange(len(sites))
    for word, values in (("largest |effect|", effects.max(axis=1)), ("largest mean |effect|", effects.sum(axis=1) / 3)):
        inside = sites[rows, values.argmax(axis=1)]
        print(f"{word} in a site: {int(inside.sum())} of {len(inside)} ({100 * inside.mean():.1f} %)")
    print(f"a base drawn at random: {100 * (sites.sum(axis=1) / known.sum(axis=1)).mean():.1f} %")
    raising = making = outside = 0
    for row, (own, at) in enumerate(zip(sites, effects.max(axis=1).argmax(axis=1), strict=True)):
        if not own[at]:
            base = int(effects[row, :, at].argmax())
            mutant = codes[row].copy()
            mutant[at] = base
            outside += 1
            raising += bool(signed[row, base, at] > 0)
            making += bool(in_sites(LETTERS[mutant].tobytes().decode(), pattern)[at])
    print(f"of {outside} outside: {raising} raise the logit, {making} make another site")
    mean = effects.sum(axis=1) / 3
    print(f"mean |effect| in sites {mean[sites].mean():.3f}, elsewhere {mean[~sites & known].mean():.3f}")


if __name__ == "__main__":
    main()
